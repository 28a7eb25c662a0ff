package release

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// fewFiles is up to how many files it is quicker to wait for each than for all
// that the file system has to write.
const fewFiles = 8

// syncFiles brings the content of files to the disk, which hold what was written
// in a directory on the same file system.
func syncFiles(dir string, paths []string) error {
	if len(paths) > fewFiles {
		return syncFileSystem(dir)
	}
	for _, path := range paths {
		if err := syncPath(path); err != nil {
			return err
		}
	}
	return nil
}

// syncDirectories brings the names in directories to the disk.
func syncDirectories(dirs []string) error {
	if len(dirs) > fewFiles {
		return syncFileSystem(dirs[0])
	}
	for _, dir := range dirs {
		if err := syncPath(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncFileSystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		err := unix.Syncfs(int(f.Fd()))
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
