// Package loop waits for many connections at once, with one goroutine and one
// epoll instance (epoll(7)) for all of them.
//
// A [Loop] watches its [Conn]s. Whoever has nothing to do until a connection can
// be read says so with [Conn.Await], and a function is called by the loop's
// goroutine when it can. In that function reading does not wait: [ErrAgain] says
// that nothing more has come, and then the function awaits again and returns. A
// connection that waits costs no goroutine, no stack and no buffer, and what is
// worked off in one go costs one read, without one that finds nothing.
//
// A Conn is a net.Conn for everybody else: outside of the loop's calls it blocks,
// with deadlines, as those of package net do. The function that the loop calls may
// wait as well, for the peer to take what it is sent, or for a lock after
// [Conn.Leave]: the loop then goes on in another goroutine, and the function in
// its own. So there is one way to write a protocol, whoever runs it.
//
// The goroutine waits in a system call, for which the Go runtime lends it a
// processor (GOMAXPROCS) and takes it back only after some time. Whoever runs
// loops has one processor more for each of them: see [Group].
//
// Linux only; elsewhere [NewGroup] says that it is not supported.
//
// The package knows nothing of protocols, does not accept connections, and never
// closes one by itself.
package loop
