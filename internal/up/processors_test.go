package up

import (
	"context"
	"runtime"
	"testing"
)

// Handshakes and encoders ask how many processors there are when the process is put
// together: only what the machine has may count then.
func TestProcessorsForLoopsAreThereWhileTheyRun(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	c, _ := common(t)
	p, err := newProcess(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if p.loops == nil {
		t.Skip("this system has no loops")
	}
	if n := runtime.GOMAXPROCS(0); n != before || p.loops.Len() != before {
		t.Errorf("%d processors and %d loops, want %d", n, p.loops.Len(), before)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- runLoops(ctx, p.loops) }()
	for runtime.GOMAXPROCS(0) != before+p.loops.Len() {
		runtime.Gosched()
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := runtime.GOMAXPROCS(0); n != before {
		t.Errorf("%d processors at the end, want %d", n, before)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
}
