// Package lockfile lets one process at a time have something, by the lock of a
// file. The kernel gives the lock back when the process ends, however it does.
package lockfile

import "errors"

// ErrLocked says that another process, or another part of this one, has the lock.
var ErrLocked = errors.New("locked by another process")

// Take takes the lock of a file, which it makes if it is not there, or returns
// [ErrLocked]. It never waits. What it returns gives the lock back.
func Take(path string) (giveBack func() error, err error) { return lock(path, false) }

// Wait takes the lock of a file, which it makes if it is not there, once nobody else
// has it. What it returns gives the lock back; the file stays.
func Wait(path string) (giveBack func() error, err error) { return lock(path, true) }
