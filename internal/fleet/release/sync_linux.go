package release

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// fewFiles is up to how many files it is quicker to wait for each than for all
// that the file system has to write.
const fewFiles = 8

// syncFiles brings the content of files to the disk, all of them on the file
// system of root, which was opened before they were written.
func syncFiles(root *os.File, paths []string) error {
	if len(paths) > fewFiles {
		return syncFileSystem(root)
	}
	for _, path := range paths {
		if err := syncPath(path); err != nil {
			return err
		}
	}
	return nil
}

// syncDirectories brings the names in directories to the disk.
func syncDirectories(root *os.File, dirs []string) error {
	if len(dirs) > fewFiles {
		return syncFileSystem(root)
	}
	for _, dir := range dirs {
		if err := syncPath(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncFileSystem(root *os.File) error {
	for {
		err := unix.Syncfs(int(root.Fd()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return os.NewSyscallError("syncfs", err)
	}
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
