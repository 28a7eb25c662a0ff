// Package h2 is an HTTP/2 server (RFC 9113) for answers that stand ready.
//
// A [Server] serves connections that have finished their TLS handshake with ALPN
// "h2", or plain ones that begin with the preface. One goroutine reads a
// connection and works through all frames that have arrived; for each request it
// asks [Options.Hit] for a prepared answer and appends its frames to one buffer,
// which is written when nothing more is to be read. A hit allocates nothing,
// starts no goroutine, and takes the connection's lock once for a whole batch.
//
// Requests that are no hit run as http.Handler calls in goroutines of their own,
// with bodies, trailers and 1xx answers, as net/http would run them. CONNECT and
// server push are refused.
//
// Every connection has budgets (see budget.go): frames that cost us work and
// bring nobody forward are counted, and whoever sends too many of them gets
// GOAWAY with ENHANCE_YOUR_CALM.
//
// Locking: conn.mu guards all state of a connection but what only the reading
// goroutine touches, which is grouped in the reader struct. At most one goroutine
// writes to the connection at a time, without holding mu.
package h2
