package release

import (
	"cmp"
	"time"
)

// A fileStat tells whether a file may have changed: one whose fileStat is the
// same has the same content, unless it was racy.
type fileStat struct {
	size    int64
	modTime int64  // nanoseconds since 1970
	change  int64  // of the inode, nanoseconds; 0 where the system has none
	inode   uint64 // 0 where the system has none
}

const (
	racyWindow   = 50 * time.Millisecond
	coarseWindow = 2 * time.Second
)

// racy reports whether a file changed so shortly before it was read that it may
// have changed again without its times moving: the kernel's clock ticks every few
// milliseconds, and some file systems count seconds only. A time of the inode
// can't be set by anybody, so it counts where there is one. A time that is still
// to come says nothing.
func (s fileStat) racy(read time.Time) bool {
	changed, window := cmp.Or(s.change, s.modTime), racyWindow
	if changed%int64(time.Second) == 0 {
		window = coarseWindow
	}
	return read.UnixNano()-changed < int64(window)
}

// lastModified returns the file's time in seconds since 1970, never in the
// future (RFC 9110 §8.8.2.1).
func (s fileStat) lastModified(now int64) int64 {
	return max(0, min(s.modTime/int64(time.Second), now, maxModified))
}
