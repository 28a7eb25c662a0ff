// Package cli is the command line: one file a verb, with an options struct for
// its flags and a run function that tests call directly. It has no logic of its
// own: it reads flags, calls the packages below, and prints.
//
// What goes where: results to standard output, in plain text or, with --json, as
// one documented shape; everything else, errors and the log among it, to standard
// error. Errors are one line of what went wrong and where, lower case and without
// a full stop, then "hint:" lines with what to type. With --json the last line on
// standard error is the error as JSON. Exit codes are in exit.go.
package cli
