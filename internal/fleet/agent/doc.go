// Package agent is the daemon on a POP. It keeps releases in a store, serves them
// through an edge, and answers the API by which the members of its fleet deploy
// and operate it (docs/agent-api.md; the API's types are package api's).
//
//   - [Agent.Run] runs all of it: the edge, the API, every site. It needs no
//     network and nobody else: what is in the state directory is served.
//   - Who may do what is decided at every call by the roster of that moment, by
//     the table in routes.go and nowhere else.
//   - What a site serves is its head: a signed statement that only one of a higher
//     generation replaces. It is acknowledged when it is on disk, and what was
//     acknowledged is served after every crash.
//   - A release is staged, compiled, and only then activated. What does not
//     compile never takes the place of what does.
//   - All state is one directory, in which everything is written under a temporary
//     name, brought to the disk and renamed.
//
// The agent dials nobody, knows no other POP, and holds no key but its own.
package agent
