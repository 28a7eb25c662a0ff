package h1

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
)

// connKey is the key of a Conn in a context.
type connKey struct{}

// NewContext returns a context that carries c.
func NewContext(ctx context.Context, c *Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// FromContext returns the Conn that ctx carries, or nil. A nil Conn refuses nothing.
func FromContext(ctx context.Context) *Conn {
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}

// ConnContext is for http.Server.ConnContext: it puts the Conn that the listener yielded into the context of its requests.
func ConnContext(ctx context.Context, nc net.Conn) context.Context {
	if c, ok := nc.(interface{ guarded() *Conn }); ok {
		return NewContext(ctx, c.guarded())
	}
	return ctx
}

// guarded finds the Conn behind what ServerConn returned.
func (c *Conn) guarded() *Conn { return c }

// Refused reports whether r is the guard's own request, which stands for one that was refused, and how to answer. The context
// of r may be done already: nothing more is read from the client, and net/http takes that for a client that left.
func (c *Conn) Refused(r *http.Request) (Refusal, bool) {
	if c == nil || r.Method != refusedMethod || r.Host != refusedHost {
		return Refusal{}, false
	}
	refusal := c.refusal.Load()
	if refusal == nil {
		return Refusal{}, false
	}
	return *refusal, true
}

// Broken reports how the current request's body broke its framing, or that it came too slowly. It says what [BodyError]
// says, and also when net/http put an error of its own in that one's place, which it does in trailer sections.
func (c *Conn) Broken() (Refusal, bool) {
	if c == nil {
		return Refusal{}, false
	}
	refusal := c.broken.Load()
	if refusal == nil {
		return Refusal{}, false
	}
	return *refusal, true
}

// ServerConn is what to hand to an http.Server: c itself or, when the inner connection is TLS, c with a ConnectionState, from
// which net/http sets Request.TLS.
func (c *Conn) ServerConn() net.Conn {
	if t, ok := c.inner.(stater); ok {
		return tlsConn{c, t}
	}
	return c
}

// stater is a connection that knows its TLS state.
type stater interface {
	ConnectionState() tls.ConnectionState
}

// tlsConn is a Conn over TLS.
type tlsConn struct {
	*Conn
	stater
}
