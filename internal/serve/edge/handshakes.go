package edge

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// mostHandshakes is how many QUIC handshakes of a POP may be in flight before new
// clients must prove their addresses. Each costs a signature and some kilobytes,
// and whoever sends one packet from an address that is not its own has one for ten
// seconds.
const mostHandshakes = 128

// mostEarly is how many connections of a POP may be answered in early data at a
// time. Whoever says to be somebody else has goroutines of ours for at most so many
// connections; early data of others waits for the end of their handshakes.
const mostEarly = 64

// handshakes counts the QUIC handshakes that are in flight. The zero value is
// ready.
type handshakes struct {
	inFlight atomic.Int64
	early    atomic.Int64 // of them, those that are answered already
}

type handshakeKey struct{}

// begin counts a handshake until its context ends, or end is called. It returns
// the context that end wants.
func (h *handshakes) begin(ctx context.Context) context.Context {
	h.inFlight.Add(1)
	done := sync.OnceFunc(func() { h.inFlight.Add(-1) })
	context.AfterFunc(ctx, done)
	return context.WithValue(ctx, handshakeKey{}, done)
}

// end is called when the handshake of a connection with this context is complete.
func (h *handshakes) end(ctx context.Context) {
	if done, ok := ctx.Value(handshakeKey{}).(func()); ok {
		done()
	}
}

// suspicious is for [quic.Transport.VerifySourceAddress]: with so many handshakes
// that are not getting on, the next client is sent a Retry (RFC 9000 §8.1.2), which
// costs it a round trip and us nothing.
func (h *handshakes) suspicious(net.Addr) bool { return h.inFlight.Load() >= mostHandshakes }

// beginEarly reports whether one more connection may be answered before its
// handshake is complete; if so, endEarly must be called when that has ended.
func (h *handshakes) beginEarly() bool {
	if h.early.Add(1) <= mostEarly {
		return true
	}
	h.early.Add(-1)
	return false
}

func (h *handshakes) endEarly() { h.early.Add(-1) }
