package h1

import (
	"context"
	"fmt"
	"time"
)

// Protocol is what a connection speaks.
type Protocol uint8

// The protocols. Unknown is for connections that ended before they said.
const (
	ProtocolUnknown Protocol = iota
	ProtocolHTTP1
	ProtocolHTTP2
)

// String is the protocol's name.
func (p Protocol) String() string { return [...]string{"unknown", "HTTP/1", "HTTP/2"}[p] }

// Sniff waits until the first bytes tell the protocol; they stay to be read. Anything that is not the HTTP/2 preface is
// HTTP/1, TLS on a plain port included: that engine answers the refusal. Without Options.H2C it returns at once. Call it before
// the first Read, or not at all: Read finds out for itself.
func (c *Conn) Sniff(ctx context.Context) (Protocol, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for c.track.protocol == ProtocolUnknown && c.err == nil {
		if err := c.sniffMore(); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return ProtocolUnknown, fmt.Errorf("first bytes from %s: %w", c.RemoteAddr(), err)
		}
	}
	if c.refusal.Load() != nil {
		return ProtocolHTTP1, nil
	}
	return c.track.protocol, nil
}

// sniffMore reads once. The first byte goes to a place of its own: who has said nothing gets no buffer.
func (c *Conn) sniffMore() error {
	if !c.held.empty() {
		return c.fillHeld(false)
	}
	first := make([]byte, 1)
	n, err := c.pull(first, false)
	if n == 0 {
		return err
	}
	c.held.stash(first)
	c.vetHeld()
	return nil
}

// IsH2 reports whether the connection began with the HTTP/2 preface.
func (c *Conn) IsH2() bool { return c.isH2.Load() }

// Tunnel ends the guard's work: from here on every byte passes unseen, as after 101 (Switching Protocols). Call it after
// http.Hijacker's Hijack and before the first Read. Write limits stay.
func (c *Conn) Tunnel() error {
	if c.err != nil {
		return fmt.Errorf("tunnel from %s: %w", c.RemoteAddr(), c.err)
	}
	c.track.phase, c.track.protocol = phasePass, ProtocolHTTP1
	c.held.vetted = c.held.w
	return nil
}
