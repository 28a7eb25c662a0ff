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

// handshakes counts the QUIC handshakes that are in flight. The zero value is
// ready.
type handshakes struct {
	inFlight atomic.Int64
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
