package lockfile

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// errSharing is ERROR_SHARING_VIOLATION: somebody else has the file open.
const errSharing = syscall.Errno(32)

// lock takes the lock of a file by opening it for this process alone. Without wait it
// returns ErrLocked where somebody has it.
func lock(path string, wait bool) (unlock func() error, err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	for {
		const shareNothing = 0
		h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, shareNothing,
			nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
		switch {
		case err == nil:
			return func() error { return syscall.CloseHandle(h) }, nil
		case !errors.Is(err, errSharing):
			return nil, fmt.Errorf("lock %s: %w", path, err)
		case !wait:
			return nil, ErrLocked
		}
		time.Sleep(5 * time.Millisecond) // there is nothing to wait on; what is done under a lock takes a few of these
	}
}
