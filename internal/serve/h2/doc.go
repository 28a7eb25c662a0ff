// Package h2 is an HTTP/2 server (RFC 9113) for answers that stand ready.
//
// A [Server] serves connections that have finished their TLS handshake with ALPN
// "h2", or plain ones that begin with the preface. One goroutine reads a
// connection and works through all frames that have arrived; for each request it
// asks [Options.Hit] for a prepared answer and appends its frames to one buffer,
// which is written when nothing more is to be read. A hit of up to a frame
// allocates nothing, starts no goroutine, and takes the connection's lock once
// for a whole batch. Larger ones are streams, which take turns, or go one after
// the other where the client has given priorities (RFC 9218; see schedule.go).
//
// Requests that are no hit run as http.Handler calls in goroutines of their own,
// with bodies, trailers and 1xx answers, as net/http would run them; an extended
// CONNECT (RFC 8441; see connect.go) is one of them. Any other CONNECT and server
// push are refused. When a connection ends, the contexts of its handlers
// do; ServeConn does not wait for those that take no notice.
//
// Every connection has budgets (see budget.go): frames that cost us work and
// bring nobody forward are counted, and whoever sends too many of them gets
// GOAWAY with ENHANCE_YOUR_CALM. Time is bounded, too (see deadline.go): of a
// frame, of a write, of a connection without streams, of a body that waits for
// windows, and of a handler that waits for the body of a request. So is memory:
// whoever adds to the buffer waits when the peer does not read it.
//
// Locking: conn.mu guards all state of a connection but what only the reading
// goroutine touches, which is grouped in the reader struct. There is at most one
// writer, whichever goroutine finds something to write; it does so without
// holding mu, so that after conn.flush all state may have changed. The writer
// takes DATA from conn.queue for everybody (conn.pump), and every change that may
// let a body go on is followed by a flush. Handlers wait on their stream's wake.
package h2
