//go:build linux || darwin

package site

import (
	"io/fs"
	"os"
	"syscall"
)

// openFlags keep a named pipe that has taken a file's place from blocking us.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK

func (s *fileStat) addSystem(info fs.FileInfo) {
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	s.id = fileID{dev: uint64(sys.Dev), inode: sys.Ino} //nolint:unconvert // its type differs between systems
	s.links = uint64(sys.Nlink)                         //nolint:unconvert // its type differs between systems
	s.change = changeTime(sys)
}
