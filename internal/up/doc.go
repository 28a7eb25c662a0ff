// Package up puts the parts of a process together by hand: [Serve] one directory
// on one address, [Agent] the daemon of a POP, and [Fleet] a whole fleet on
// loopback: an agent for each POP of it, with ports of its own, and for a moment
// the control that deploys to them. While it runs, control in other processes
// finds the agents by the state directory.
//
// All share what a process has once: the state directory, the store of bodies, the
// cache of codings, the memory budget, metrics and the access log. The order of
// stopping is: servers drain, then sites stop watching, then the access log is
// written out, then the admin listener closes. The servers of agents are the
// agents' own, and stop with them.
//
// The package decides nothing that a package below it could decide, and prints
// nothing: it reports what runs to a function of its caller's.
package up
