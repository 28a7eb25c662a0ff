//go:build unix && !solaris && !illumos && !aix

package control

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock waits until no other process, nor another caller in this one, holds the
// lock of a file, and takes it. The kernel gives it back when the process ends,
// so it cannot be left behind; the file stays.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err == nil {
			return f.Close, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
	}
}
