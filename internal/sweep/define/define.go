// Package define puts questions to rows: what is dead?
//
// A row says what was observed; whether that is called dead is a [Definition]'s
// affair, and several can be put to the same rows side by side. What a run did not
// ask, no definition answers: the class is then [Unasked], and not a guess. Nor does
// one call dead what may have been our own fault: that is [Suspect].
//
// Three definitions are built in: tonywang2024, strict and revised. Others are
// expressions over the columns of a row. A [Tally] counts.
package define

import (
	"strings"

	"pennyfarthing/internal/sweep/evidence"
)

// A Class is what a definition makes of a row. An expression may have classes of its
// own besides these.
type Class string

// The classes.
const (
	Dead    Class = "dead"
	Alive   Class = "alive"
	Blocked Class = "blocked" // answered, but only to say that we are not wanted
	Skipped Class = "skipped" // not to be asked: private, blocked, opted out, not a target
	Unasked Class = "unasked" // the run did not ask what this definition needs to know
	Suspect Class = "suspect" // no answer, and it may have been our own fault
	Failed  Class = "failed"  // the user's expression could not be computed for this row
)

// Judged reports whether the class is an answer to the question. Only these have
// shares.
func (c Class) Judged() bool {
	return c != Skipped && c != Unasked && c != Suspect && c != Failed
}

// The modes of --https.
const (
	HTTPSFirst = "first"
	HTTPSOnly  = "only"
	HTTPSNever = "never"
	HTTPSBoth  = "both"
)

// A Policy is what a run asked, as its flags had it (docs/sweep-policy.md).
type Policy struct {
	HTTPS     string `json:"https"`     // first, only, never or both
	WWW       bool   `json:"www"`       // the other name is asked where this one does not answer
	Follow    int    `json:"follow"`    // redirects
	Retries   int    `json:"retries"`   // of what may be otherwise in a moment
	Resolvers int    `json:"resolvers"` // how many there were
}

// A Definition says of a row which class it is in. [Builtin] and [Parse] make them.
// It may be used by several goroutines at once.
type Definition struct {
	name    string
	text    string
	unasked string
	judge   func(*evidence.Row) (Class, error)
}

// Name is what it is called in tables and on the command line.
func (d *Definition) Name() string { return d.name }

// Text says for people what dead means here: a sentence, or the user's expression.
func (d *Definition) Text() string { return d.text }

// Unasked says why the run cannot answer this question for plain names, such as
// "this run never asked port 80", and is empty where it can.
func (d *Definition) Unasked() string { return d.unasked }

// Judge says which class a row is in.
func (d *Definition) Judge(row *evidence.Row) Class {
	class, err := d.judge(row)
	if err != nil {
		return Failed
	}
	return class
}

// Builtin are the definitions that need no words: tonywang2024, strict and revised,
// as far as a run with this policy can answer them.
func Builtin(p Policy) []*Definition {
	return []*Definition{study(p), strict(p), revised(p)}
}

// builtinNames are the names of [Builtin].
func builtinNames() []string { return []string{"tonywang2024", "strict", "revised"} }

// answered reports whether anything has answered: an answer has a status.
func answered(row *evidence.Row) bool {
	if row.Status != 0 || row.FirstStatus != 0 {
		return true
	}
	for i := range row.Tries {
		if row.Tries[i].Status != 0 {
			return true
		}
	}
	return false
}

const (
	classSkip = "skip."
	classSelf = "self."
	classDNS  = "dns."
)

// silent is what there is to say of a row without any answer before a definition is
// asked: that the target was not to be asked, or that we were ill.
func silent(row *evidence.Row) (Class, bool) {
	if strings.HasPrefix(row.Verdict, classSkip) {
		return Skipped, true
	}
	if row.Suspect || strings.HasPrefix(row.Verdict, classSelf) {
		return Suspect, true
	}
	for i := range row.Tries {
		t := &row.Tries[i]
		last := i == len(row.Tries)-1 || row.Tries[i+1].Scheme != t.Scheme || row.Tries[i+1].Host != t.Host
		switch {
		case strings.HasPrefix(t.Verdict, classSkip):
			return Skipped, true
		case last && strings.HasPrefix(t.Verdict, classSelf): // and no better try came after it
			return Suspect, true
		}
	}
	return "", false
}
