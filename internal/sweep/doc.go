// Package sweep asks every target of a list and writes one row of evidence for each.
//
// A run is a directory: run.json says what was asked of whom and with what,
// journal.db and targets.bin what is still to be done (package queue), parts/ has
// the rows (package result). The list is read, normalised and cut into shards
// (package target) while the first shards are being asked already. A worker leases
// shards, has their targets asked (package ask), and commits one part for each;
// what was not committed when a run ended, however it ended, is asked again when it
// is resumed. So every target has one row.
//
// It decides how many targets are under way: it begins slowly, stops while our own
// line is ill, and gives way when descriptors or the processor run short.
package sweep
