//go:build linux || darwin

package agent

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fileSystem returns the bytes that a file system has, and those that this user
// can still write.
func fileSystem(dir string) (size, free int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("ask how much room %s has: %w", dir, err)
	}
	block := uint64(s.Bsize)
	return int64(s.Blocks * block), int64(s.Bavail * block), nil
}
