package site

import (
	"cmp"
	"io/fs"
	"time"
)

// A fileStat tells whether a file may have changed: a file whose fileStat is the
// same is taken to have the same content.
type fileStat struct {
	size    int64
	modTime int64 // nanoseconds since 1970
	change  int64 // of the inode, nanoseconds; 0 where the system has none
	id      fileID
	links   uint64
	mode    fs.FileMode
}

// fileID names a file on this machine, zero where the system does not say.
type fileID struct{ dev, inode uint64 }

func statOf(info fs.FileInfo) fileStat {
	s := fileStat{size: info.Size(), modTime: info.ModTime().UnixNano(), mode: info.Mode()}
	s.addSystem(info)
	return s
}

// racy reports whether a file changed so shortly before now that it may change
// again without its times moving: the kernel's clock ticks every few
// milliseconds, and some file systems count seconds only. A time of the inode
// can't be set by anybody, so it counts where there is one.
func (s fileStat) racy(now time.Time) bool {
	changed, window := cmp.Or(s.change, s.modTime), racyWindow
	if changed%int64(time.Second) == 0 {
		window = coarseWindow
	}
	return now.UnixNano()-changed < int64(window)
}

const (
	racyWindow   = 50 * time.Millisecond
	coarseWindow = 2 * time.Second
)

// sameContent reports whether an open file whose fileStat was s, and is now,
// still has the content it had. Content and size are one thing; a change time
// alone also moves when the file is renamed over or linked, which leaves an
// open file as it is, and then the number of links moves with it.
func (s fileStat) sameContent(now fileStat) bool {
	if s.size != now.size || s.modTime != now.modTime || s.id != now.id {
		return false
	}
	return s.change == now.change || s.links != now.links
}

// lastModified returns the file's time in seconds since 1970, never in the
// future (RFC 9110 §8.8.2.1).
func (s fileStat) lastModified(now time.Time) int64 {
	return max(0, min(s.modTime/int64(time.Second), now.Unix()))
}
