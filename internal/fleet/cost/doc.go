// Package cost says what a run on rented machines costs.
//
// [Parse] reads a price table, a TOML file that users edit; [Default] is the table
// that penny brings along. [Of] is pure: from what a run took ([Usage]) and one
// machine's price it makes a [Bill] of what would really be paid: whole machines,
// from the moment they are rented, in whole units of billing, with what leaves
// them over the network. The share of the processor time that was used is on the
// bill too, because studies like to publish it, but it is no sum that anybody
// charges.
//
// What a table does not say is missing on the bill, by name, and never guessed.
package cost
