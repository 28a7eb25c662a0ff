package result

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// reserved is how many descriptors are kept for a run's own files: a few parts that
// need one, and some more, because another goroutine may be quicker to take what was
// given up.
const reserved = 16

// A reserve is descriptors that are open for nothing. When the process is short of
// them, one is given up for each file that must be opened: a run without a socket for
// a target can wait, one without a file for its rows cannot.
type reserve struct {
	mu    sync.Mutex // guards spare
	spare []*os.File
}

// open opens a file, with a descriptor of the reserve if there is no other.
func (r *reserve) open(open func() (*os.File, error)) (*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		f, err := open()
		short := errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
		if !short || len(r.spare) == 0 {
			return f, err
		}
		last := len(r.spare) - 1
		_ = r.spare[last].Close() // nothing was written to it
		r.spare = r.spare[:last]
	}
}

// fill takes back what was given up, as far as there is any. It is for when a file has
// been closed.
func (r *reserve) fill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.spare) < reserved {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return // it is tried again
		}
		r.spare = append(r.spare, f)
	}
}

func (r *reserve) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.spare {
		_ = f.Close() // nothing was written to it
	}
	r.spare = nil
}
