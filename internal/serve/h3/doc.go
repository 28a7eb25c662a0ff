// Package h3 is an HTTP/3 server (RFC 9114) for answers that stand ready, over the
// QUIC of quic-go.
//
// A [Server] serves connections with ALPN "h3". One goroutine takes the request
// streams of a connection in turn. Where the whole request has arrived with the
// first packet of its stream, as it does with browsers, and [Options.Hit] has a
// prepared answer that is small, the answer is written there and then: no
// goroutine, no allocation of ours. All other streams have a goroutine each until
// they have been answered, and run as http.Handler calls if there is no prepared
// answer, with bodies, trailers and 1xx answers, as net/http would run them.
// Unidirectional streams have a goroutine each as well. There is no server push,
// no dynamic table of QPACK, and no extended CONNECT.
//
// The handshake of a connection may still be in flight, if QUIC has accepted early
// data (0-RTT). Until it is complete, GET and HEAD that have a prepared answer are
// answered, up to a few, and everything else waits.
//
// ServeConn waits for all of these. When a connection ends, reading and writing
// on it fail, and the contexts of its requests end: a handler that takes notice of
// neither keeps ServeConn from returning.
//
// How much one client can have is bounded by QUIC: the caller's quic.Config says
// how many streams there may be at once, and RequireStreamCreditRelease makes it
// count handlers, too, whose streams were reset. Frames that cost us work and
// bring nobody forward have budgets (see budget.go). Time is bounded as well: of a
// head, of the type of a stream, of SETTINGS and of every later frame of the
// control stream; of a connection without requests; of a body that is waited for,
// and of an answer that is not read.
//
// Answers are sent by the priorities that their requests have (RFC 9218), which is
// QUIC's to do; see priority.go.
//
// Locking: conn.mu guards what the goroutines of a connection share; stream.mu
// what a handler and its body do; requestBody.mu the bytes of a request, and is
// held while they are waited for. They are taken in the order requestBody.mu,
// stream.mu, conn.mu. Hit is called by one goroutine at a time (conn.hitting).
package h3
