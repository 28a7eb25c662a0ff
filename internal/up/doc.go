// Package up puts the parts of a process together by hand: [Serve] one directory
// on one address, and [Fleet] a whole fleet on loopback, every POP of it with
// ports of its own.
//
// Both share a process: the state directory, the store of bodies, the cache of
// codings, the memory budget, metrics and the access log. The order of stopping
// is: servers drain, then sites stop watching, then the access log is written
// out, then the admin listener closes.
//
// The package decides nothing that a package below it could decide, and prints
// nothing: it reports what runs to a function of its caller's.
package up
