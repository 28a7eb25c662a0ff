// Package ask turns one target into the requests that docs/sweep-policy.md
// describes, and what comes of them into a row of evidence.
//
// An [Asker] has any number of targets under way, all in the goroutine of one
// loop.Reactor. Names are resolved and addresses asked by others (packages resolve
// and fetch), turns are given by a third (pace). What is decided here is what to ask
// next and what to believe.
//
// It believes no failure that may be our own, as package health tells.
package ask
