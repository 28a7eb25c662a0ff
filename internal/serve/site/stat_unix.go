//go:build linux || darwin

package site

import (
	"io/fs"
	"syscall"
)

func (s *fileStat) addSystem(info fs.FileInfo) {
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	s.id = fileID{dev: uint64(sys.Dev), inode: sys.Ino}
	s.links = uint64(sys.Nlink)
	s.change = changeTime(sys)
}
