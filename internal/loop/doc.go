// Package loop waits for many connections at once, with one goroutine and one
// epoll instance (epoll(7)) for all of them.
//
// A [Loop] watches its [Conn]s. Whoever has nothing to do until a connection can
// be read says so with [Conn.Await], and a function is called by the loop's
// goroutine when it can. Then reading does not wait: [ErrAgain] says that nothing
// more has come, and the function awaits again and returns. A connection that waits costs no goroutine, no stack and no buffer, and what is
// worked off in one go costs one read, without one that finds nothing.
//
// A Conn is a net.Conn as well, which blocks, with deadlines, as those of package
// net do: before [Conn.Begin], and after [Conn.Block]. Writing always does. The
// function that the loop calls may wait: for the peer to take what it is sent, or
// for something else after [Conn.Leave]. The loop then goes on in another
// goroutine, and the function in its own. So a protocol is written in one way,
// whoever runs it.
//
// The goroutine waits in a system call. It is best off with a processor of its own
// (GOMAXPROCS): see [NewGroup].
//
// A [Reactor] is the other way round, for those who ask: callbacks in one goroutine,
// for bare descriptors, timers and what others post.
//
// Loops are for Linux only: elsewhere [Supported] is false, and [NewGroup] fails.
//
// The package knows nothing of protocols, does not accept connections, and never
// closes one by itself.
package loop
