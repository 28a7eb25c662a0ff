package lockfile_test

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"

	"pennyfarthing/internal/lockfile"
)

func TestALockIsHadByOneAtATime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	giveBack, err := lockfile.Take(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockfile.Take(file); !errors.Is(err, lockfile.ErrLocked) {
		t.Errorf("the second gets %v, want ErrLocked", err)
	}
	if err := giveBack(); err != nil {
		t.Fatal(err)
	}
	again, err := lockfile.Take(file)
	if err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

func TestALockWithoutADirectoryIsAnError(t *testing.T) {
	if _, err := lockfile.Take(filepath.Join(t.TempDir(), "nowhere", "lock")); err == nil || errors.Is(err, lockfile.ErrLocked) {
		t.Errorf("%v", err)
	}
}

func TestWhoWaitsHasALockAfterItIsGivenBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	giveBack, err := lockfile.Wait(file)
	if err != nil {
		t.Fatal(err)
	}
	var given atomic.Bool
	waited := make(chan error, 1)
	go func() {
		again, err := lockfile.Wait(file)
		if err == nil && !given.Load() {
			err = errors.New("both have it")
		}
		if err == nil {
			err = again()
		}
		waited <- err
	}()
	if _, err := lockfile.Take(file); !errors.Is(err, lockfile.ErrLocked) {
		t.Errorf("who does not wait gets %v, want ErrLocked", err)
	}
	given.Store(true)
	if err := giveBack(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
}
