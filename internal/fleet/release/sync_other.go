//go:build !linux

package release

import (
	"errors"
	"os"
	"runtime"
)

// syncFiles brings the content of files to the disk.
func syncFiles(_ *os.File, paths []string) error {
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR, 0) // Windows flushes only what may be written
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// syncDirectories brings the names in directories to the disk. Windows has no way
// to ask for that; its file systems keep a journal of names.
func syncDirectories(_ *os.File, dirs []string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	for _, dir := range dirs {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}
