//go:build linux || darwin

package release

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openFlags keep a named pipe that has taken a file's place from blocking us.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK

func statOf(info fs.FileInfo) fileStat {
	s := fileStat{size: info.Size(), modTime: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.change = sys.Ino, changeTime(sys)
	}
	return s
}

// lstatAt is os.Lstat of a name in an open directory, and many times as fast: a
// walk does hardly anything else.
func lstatAt(dir *os.File, name string) (fileStat, fs.FileMode, error) {
	var st unix.Stat_t
	for {
		err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == unix.EINTR { // a bare number, compared 100,000 times
			continue
		}
		if err != nil {
			return fileStat{}, 0, &fs.PathError{Op: "lstat", Path: name, Err: err}
		}
		break
	}
	s := fileStat{size: st.Size, modTime: st.Mtim.Nano(), change: st.Ctim.Nano(), inode: st.Ino}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return s, 0, nil
	case unix.S_IFDIR:
		return s, fs.ModeDir, nil
	case unix.S_IFLNK:
		return s, fs.ModeSymlink, nil
	default:
		return s, fs.ModeIrregular, nil
	}
}

// openDirAt opens a directory in an open directory, if it is still one and no
// link.
func openDirAt(dir *os.File, name, path string) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}
