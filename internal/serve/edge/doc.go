// Package edge answers visitors: it owns the listeners, TLS, HTTP/1.1, 2 and 3,
// routing by host, limits, the access log and the metrics of one POP.
//
//   - [Listen] binds addresses; a [Server] serves on them until its context ends
//     and then drains.
//   - A [Table] says which site answers for which host, and [Certificates] which
//     certificate is shown for which name. Both are immutable; the server holds
//     them behind atomic pointers.
//   - There are two engines ([Engine]) for HTTP/1.1 and 2. The plain one is
//     net/http; in front of HTTP/1.1 stands the strict scanner of package h1, and
//     net/http sees only what passed. The fast one answers what stands ready on
//     the loops of packages h1 and h2, for which package loop waits on Linux, and
//     leaves the rest to the plain one.
//   - HTTP/3 is package h3's with either, on the QUIC of quic-go; with the fast
//     one it, too, answers what stands ready.
//
// A host that the table does not know, or that the certificate of the connection
// does not cover, is answered 421 (RFC 9110 §15.5.20): never with somebody
// else's site.
//
// The package does not read files of sites (package site does), does not make
// certificates, and keeps no client address: the access log has networks only.
package edge
