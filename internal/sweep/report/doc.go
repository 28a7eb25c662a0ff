// Package report makes what people read of the rows of a sweep: what came of a run
// ([Report], as text, JSON and one page of HTML), what is otherwise than in an
// earlier one ([Diff]), and whether it was us who asked somebody ([Trace]).
//
// All three read rows as a stream and keep what is bounded. A [Summary] of ten
// million rows takes a few megabytes at most: times go into a histogram with steps
// of three percent, and names whose number has no end (servers, networks, types of
// content) into a sketch of the frequent ones ([Frequent]), which says by how much
// it may be wrong. Summaries of parts can be merged, in any order.
//
// Rows carry text of strangers' machines. Whatever goes to a terminal has lost its
// control characters, and whatever goes into a page is escaped, below a policy that
// lets the page load and run nothing.
//
// The package starts no goroutine, and neither reads nor writes files.
package report
