//go:build !linux && !darwin

package release

import (
	"io/fs"
	"os"
	"path/filepath"
)

const openFlags = os.O_RDONLY

func statOf(info fs.FileInfo) fileStat {
	return fileStat{size: info.Size(), modTime: info.ModTime().UnixNano()}
}

func lstatAt(dir *os.File, name string) (fileStat, fs.FileMode, error) {
	info, err := os.Lstat(filepath.Join(dir.Name(), name))
	if err != nil {
		return fileStat{}, 0, err
	}
	return statOf(info), info.Mode().Type(), nil
}

func openDirAt(dir *os.File, name, _ string) (*os.File, error) {
	return os.Open(filepath.Join(dir.Name(), name))
}
