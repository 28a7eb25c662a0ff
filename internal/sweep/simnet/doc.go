// Package simnet is a simulated internet on loopback whose truth is known.
//
// A [World] says what becomes of those who ask any host: whether its name
// resolves and to what, how a connection to each port fares, what TLS and HTTP
// answer. All of it follows from a hash of the name and a seed, also for names
// that nobody generated. A World is pure: it asks nobody and changes nothing.
//
// [World.Truth] computes from that, without a network, the verdict and status
// that docs/sweep-policy.md demands of a sweep's row. It shares no code with the
// sweep, on purpose: the two are compared.
//
// A [Server] is a running World: a resolver, and web servers on some hundreds of
// addresses of 127.0.0.0/8 and on ::1. It is there on Linux alone. One goroutine,
// locked to its thread, answers DNS over UDP and plain HTTP; TLS and DNS over TCP
// have a goroutine a connection. [Server.Close] ends and waits for all of them. A
// [Child] is a Server in a process of its own, which ends when its parent does.
//
// docs/simnet.md tells users which distribution each [Profile] has, and which
// addresses are whose.
//
// The package never binds an address that is not of the loopback, and never asks
// anyone anything.
package simnet
