package control

import (
	"runtime"
	"syscall"
	"testing"
)

// Codings are made at the lowest priority, and by nobody else.
func TestTheLowestPriorityIsOneThreads(t *testing.T) {
	// The system call returns 20 less the nice value (getpriority(2), notes).
	nice := func() int {
		n, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
		if err != nil {
			t.Error(err)
		}
		return 20 - n
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := nice()
	lowest := make(chan int, 1) // the other thread's
	go func() {
		runtime.LockOSThread() // and it ends with the goroutine
		lowerPriority()
		lowest <- nice()
	}()
	if got := <-lowest; got != 19 {
		t.Errorf("the nice value is %d, want 19", got)
	}
	if got := nice(); got != before {
		t.Errorf("another thread's nice value is %d now, and was %d", got, before)
	}
}

func TestTheLoadIsTheOneOfTheLastMinute(t *testing.T) {
	for text, want := range map[string]float64{
		"12.69 13.37 13.84 8/197 29246\n": 12.69, "0.00 0.01 0.05 1/80 7\n": 0, "": 0, "rot": 0, "NaN 1 1": 0, "-1 0 0": 0,
	} {
		if got := parseLoad(text); got != want {
			t.Errorf("%q is a load of %v, want %v", text, got, want)
		}
	}
}
