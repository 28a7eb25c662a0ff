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
// [Loop] may serve a connection before the guard does. It answers requests whose answers stand ready, with the same scanner
// and within the same limits. At the first thing that is not for it, it hands the connection over to a guard, with the
// bytes that it did not use. A client cannot tell whether there is a Loop. It lends pooled buffers only to connections on
// which something is under way, and a panic in it ends its connection only.
//
// Neither a Conn nor a Loop starts a goroutine. On a Conn, one goroutine may read and one may write at a time; deadlines and
// Close may come from any. Neither reads a file or knows of sites, and the guard never answers by itself.
package h1
