// Package h1 stands between an HTTP/1.1 connection and the engine that serves it.
//
// [ScanHead] is a strict scanner of request heads (RFC 9112): it takes no bare LF, no obs-fold, no Content-Length beside
// Transfer-Encoding, no second Host, and names the rule that was broken as a [Refusal]. It allocates nothing on a good head
// (a Host that is an IPv6 literal costs one small string).
//
// [Guard] puts that scanner and a tracker of body framing on a connection. Bytes leave [Conn.Read] unchanged, in order, and
// only when they passed. Two things are thrown away: one empty line before a request line, and what follows a request
// that said close. A bad head becomes a small request of the guard's own, so that the engine answers it in its turn, after
// the answers that are still owed; [Conn.Refused] recognises it. Then the connection ends.
//
// The guard owns the time limits of a connection too, because only it knows where a head begins. The deadlines that net/http
// sets are kept beside its own and the earlier one applies.
//
// A Conn starts no goroutine. One goroutine may read and one may write at a time; deadlines and Close may come from any.
// The guard never answers by itself, never reads a file and knows nothing of sites.
package h1
