// Package resolve asks recursive resolvers for the addresses of very many names.
//
// [Resolver.Resolve] carries out point 1 of "A request" in docs/sweep-policy.md: A,
// and AAAA where there is no A; a failure is believed only when a second resolver
// has said so too, or, where there is one only, the same some time later.
//
// What makes a wrong verdict is usually not the name but we: packets that were
// lost, resolvers that throttle us or are down. So:
//
//   - A question is sent as often as it takes for silence to mean something: the
//     share of packets that this server loses, to the power of the sends, must be
//     below [mostDoubt]. Timeouts follow what the server has shown (RFC 6298).
//   - A failure that may be the server's own (silence, SERVFAIL, REFUSED, garbage) is
//     believed only when the server has answered another question well that was sent
//     later. Where there is none, one that it is known to answer is sent: a probe.
//   - A server that does not answer its probe is ill. It is asked nothing but probes,
//     and what it said or did not say in the meantime is forgotten; the names are
//     held until it, or another, is well, and in the end given up with [Question.Own].
//   - A server that loses more the more it is asked is asked less (AIMD).
//
// Against forged answers there are a random id, a random port of several that are
// opened anew now and then, random case of letters (draft-vixie-dnsext-dns0x20), and
// connected sockets; the question must be the one that was asked (RFC 5452). What does
// not match is ignored, and the real answer is awaited. A server that does not keep
// the case is asked over TCP, until it has shown three times in a row that this is its
// way.
//
// A Resolver belongs to the goroutine of a [loop.Reactor]. Packets go through lines
// (type line), of which there are two: many at a time by system calls of Linux's, in
// the reactor's goroutine; and one by one through package net, with a goroutine for
// each port. What they carry is the same.
//
// What it never does: search lists, /etc/hosts, mDNS, validation of DNSSEC, recursion.
// A resolver that answers from its cache while its own line is cut looks well from
// here: whoever runs a sweep watches that with controls (package health).
package resolve
