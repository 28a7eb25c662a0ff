// Package control is the side of a fleet that pushes: it puts releases on POPs, proves
// from outside that they serve them, takes them back, and says how the POPs are.
//
// What is to be done is decided before anything is done:
//
//   - a [Fleet] asks every POP what it has ([Fleet.Observe]);
//   - [Make] turns what they said into a [Plan], without any input or output;
//   - [Run] does what the plan says, and no more, through a [Doer].
//
// So a dry run prints exactly what a run would do. A plan is a row of waves; the POPs of
// a wave go at the same time, the steps of one POP one after the other. Before the wave
// that activates nothing a visitor sees has changed, and every step may be repeated: a
// deploy that was cut anywhere is made whole by the same command, typed again. When
// something is wrong after that, every POP goes back to the release before, by a new head
// of a higher generation.
//
// The package never changes the configuration of a POP, holds no state that a fleet could
// not do without (what it keeps in the state directory are caches and leases of its own),
// and trusts no POP: what one sends is checked by its hash or by its signature.
package control
