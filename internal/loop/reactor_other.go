//go:build !linux

package loop

import "time"

// A Handler hears of nothing here.
type Handler interface{ Ready(events uint32) }

// A poller waits to be woken.
type poller struct{ woken chan struct{} }

func (p *poller) open() error {
	p.woken = make(chan struct{}, 1)
	return nil
}

func (p *poller) close() {}

func (p *poller) wait(timeout time.Duration) error {
	if timeout == 0 {
		return nil
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.woken:
	case <-timer.C:
	}
	return nil
}

func (p *poller) dispatch() {}

func (p *poller) wake() {
	select {
	case p.woken <- struct{}{}:
	default: // it will wake
	}
}

// Watch fails: descriptors cannot be watched here.
func (r *Reactor) Watch(int, uint32, Handler) error { return ErrUnsupported }

// Forget does nothing.
func (r *Reactor) Forget(int) {}
