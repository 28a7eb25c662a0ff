// Package fetch asks one address once: it connects, makes a TLS handshake where one
// is wanted, sends a request of HTTP/1.1 and reads the head and a sample of the body.
// It does so for very many addresses at a time.
//
// There are two engines behind [Fetcher]. The plain one has a goroutine for each
// exchange and stands on package net: it is obviously right, and runs everywhere. The
// fast one (Linux) is a state machine on a loop.Reactor: an exchange that waits costs
// its state, and nothing else; only one that waits in the middle of a handshake costs a
// small stack. Handshakes are arithmetic, so they are computed beside the reactor, a few
// at a time, and never hold up others while they wait for their peer. Both engines read
// answers with the same scanner, and pass the same suite.
//
// What is wrong with a certificate is recorded and stops nothing. What is wrong with
// us (no descriptors, no ports) is never said of the peer: see verdict.Self.
//
// It resolves no names, follows no redirects, keeps no connection, and never waits
// for a turn.
package fetch
