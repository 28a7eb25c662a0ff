package loop

import (
	"testing"

	"golang.org/x/sys/unix"
)

// handler is a function that hears of events.
type handler func(events uint32)

func (h handler) Ready(events uint32) { h(events) }

func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	return p[0], p[1]
}

func TestAReactorTellsWhatIsReady(t *testing.T) {
	in, out := pipe(t)
	defer unix.Close(in)
	read := make(chan byte, 10)
	reacting(t, func(r *Reactor) {
		err := r.Watch(in, unix.EPOLLIN|unix.EPOLLET|unix.EPOLLRDHUP, handler(func(events uint32) {
			var b [16]byte
			for {
				n, err := unix.Read(in, b[:])
				if err != nil || n == 0 {
					break
				}
				for _, c := range b[:n] {
					read <- c
				}
			}
			if events&unix.EPOLLHUP != 0 {
				r.Forget(in)
				close(read)
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
	})
	for c := range byte(5) {
		if _, err := unix.Write(out, []byte{c}); err != nil {
			t.Fatal(err)
		}
		if got := <-read; got != c {
			t.Fatalf("read %d, want %d", got, c)
		}
	}
	_ = unix.Close(out)
	if c, more := <-read; more {
		t.Errorf("read %d behind the end", c)
	}
}

// TestEventsOfADescriptorThatIsGoneAreNotToldToTheNext has two descriptors ready at
// once; whoever is told first closes the other, and watches a new one of the same
// number.
func TestEventsOfADescriptorThatIsGoneAreNotToldToTheNext(t *testing.T) {
	done := make(chan struct{})
	reacting(t, func(r *Reactor) {
		var ends [2][2]int
		told := 0
		for i := range ends {
			ends[i][0], ends[i][1] = pipe(t)
			if _, err := unix.Write(ends[i][1], []byte("x")); err != nil {
				t.Fatal(err)
			}
			err := r.Watch(ends[i][0], unix.EPOLLIN, handler(func(uint32) {
				if told++; told > 1 {
					t.Error("both were told")
					return
				}
				old := ends[1-i][0]
				r.Forget(old)
				_ = unix.Close(old)
				fresh, _ := unix.Eventfd(0, unix.EFD_CLOEXEC) // never readable
				if fresh != old {
					t.Errorf("the new descriptor is %d, not %d", fresh, old)
				}
				if err := r.Watch(fresh, unix.EPOLLIN, handler(func(uint32) { t.Error("the new descriptor was told of the old one's event") })); err != nil {
					t.Error(err)
				}
				r.Forget(ends[i][0])
				_ = unix.Close(ends[i][0])
				r.Set(&Timer{F: func() { close(done) }}, r.Now()+20e6)
			}))
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	<-done
}
