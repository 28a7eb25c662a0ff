package control

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// errSharing is ERROR_SHARING_VIOLATION: somebody else has the file open.
const errSharing = syscall.Errno(32)

// lock waits until no other process, nor another caller in this one, holds the
// lock of a file, and takes it by opening the file for itself alone. Windows
// closes it when the process ends, so it cannot be left behind; the file stays.
func lock(path string) (unlock func() error, err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	for {
		const shareNothing = 0
		h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, shareNothing,
			nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
		if err == nil {
			return func() error { return syscall.CloseHandle(h) }, nil
		}
		if !errors.Is(err, errSharing) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		time.Sleep(5 * time.Millisecond) // there is nothing to wait on
	}
}
