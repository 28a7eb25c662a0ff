package edge

import (
	"cmp"
	"time"

	"pennyfarthing/internal/serve/h1"
)

// Limits bound what one client can make the edge do. Zero fields mean the
// defaults that are named beside them; docs/limits.md explains them.
type Limits struct {
	HeaderBytes          int           // of a request head, 32 KiB; more is answered 431
	HeaderFields         int           // 128; more is answered 431
	RequestLine          int           // bytes, 8 KiB; more is answered 414
	HeaderTimeout        time.Duration // from a head's first byte to its last, 5 s; then 408
	IdleTimeout          time.Duration // between requests, 60 s
	Handshake            time.Duration // for TLS and the PROXY header, 10 s
	Grace                time.Duration // what a sender or reader may lag behind MinRate, 10 s
	MinRate              int64         // bytes a second, 1 KiB
	ConnectionsPerClient int           // per IPv4 address or IPv6 /64, 1024
	StreamsPerConnection int           // at once, over HTTP/2 and 3, 128
	Drain                time.Duration // for requests in flight when the server stops, 30 s
}

func (l Limits) withDefaults() Limits {
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 32<<10)
	l.HeaderFields = cmp.Or(l.HeaderFields, 128)
	l.RequestLine = cmp.Or(l.RequestLine, 8<<10)
	l.HeaderTimeout = cmp.Or(l.HeaderTimeout, 5*time.Second)
	l.IdleTimeout = cmp.Or(l.IdleTimeout, time.Minute)
	l.Handshake = cmp.Or(l.Handshake, 10*time.Second)
	l.Grace = cmp.Or(l.Grace, 10*time.Second)
	l.MinRate = cmp.Or(l.MinRate, 1<<10)
	l.ConnectionsPerClient = cmp.Or(l.ConnectionsPerClient, 1024)
	l.StreamsPerConnection = cmp.Or(l.StreamsPerConnection, 128)
	l.Drain = cmp.Or(l.Drain, 30*time.Second)
	return l
}

// guard returns the options of the scanner that stands before HTTP/1.1.
func (l Limits) guard(plain bool, onRefusal func(h1.Refusal)) h1.Options {
	return h1.Options{
		Limits: h1.Limits{HeadBytes: l.HeaderBytes, Fields: l.HeaderFields, RequestLine: l.RequestLine},
		Idle:   l.IdleTimeout, Head: l.HeaderTimeout, Grace: l.Grace, Rate: l.MinRate,
		H2C: plain, OnRefusal: onRefusal,
	}
}

// writeTime is how long a client may take to read n bytes.
func (l Limits) writeTime(n int64) time.Duration {
	return l.Grace + time.Duration(n/l.MinRate)*time.Second
}
