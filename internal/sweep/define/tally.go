package define

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"pennyfarthing/internal/sweep/evidence"
)

// maxClasses is how many classes an expression may have; rows of further ones count
// as [Failed].
const maxClasses = 64

// A Tally counts the classes of rows, under several definitions at once. It belongs
// to one goroutine; those of several are brought together by [Tally.Merge].
type Tally struct {
	rows   int64
	counts []count
}

type count struct {
	definition *Definition
	classes    map[Class]int64
	failure    string // the first
}

// NewTally begins to count under these definitions.
func NewTally(definitions ...*Definition) *Tally {
	t := &Tally{}
	for _, d := range definitions {
		t.counts = append(t.counts, count{definition: d, classes: map[Class]int64{}})
	}
	return t
}

// Add counts a row.
func (t *Tally) Add(row *evidence.Row) {
	t.rows++
	for i := range t.counts {
		c := &t.counts[i]
		class, err := c.definition.judge(row)
		if err != nil {
			class = Failed
			c.failure = cmp.Or(c.failure, row.Target+": "+err.Error())
		}
		c.add(class, 1)
	}
}

func (c *count) add(class Class, rows int64) {
	if _, ok := c.classes[class]; !ok && len(c.classes) >= maxClasses && class != Failed {
		c.failure = cmp.Or(c.failure, fmt.Sprintf("class %s: there are %d others already", class, maxClasses))
		class = Failed
	}
	c.classes[class] += rows
}

// Merge adds what another has counted. It must have the same definitions.
func (t *Tally) Merge(other *Tally) error {
	same := slices.EqualFunc(t.counts, other.counts, func(a, b count) bool {
		return a.definition.name == b.definition.name && a.definition.text == b.definition.text && a.definition.unasked == b.definition.unasked
	})
	if !same {
		return errors.New("add up two tallies: they are of different definitions")
	}
	t.rows += other.rows
	for i := range t.counts {
		c, o := &t.counts[i], &other.counts[i]
		for class, rows := range o.classes {
			c.add(class, rows)
		}
		c.failure = cmp.Or(c.failure, o.failure)
	}
	return nil
}

// A Table is what came of one definition.
type Table struct {
	Name    string  `json:"name"`
	Text    string  `json:"text"`
	Unasked string  `json:"unasked,omitempty"` // why there are no shares
	Rows    int64   `json:"rows"`
	Judged  int64   `json:"judged"`            // rows of which a class that is an answer is known
	Classes []Share `json:"classes"`           // the largest first; dead and alive even if there are none
	Failure string  `json:"failure,omitempty"` // the first row for which the expression could not be computed, and why
}

// A Share is one class's.
type Share struct {
	Class Class `json:"class"`
	Rows  int64 `json:"rows"`
	// Share is that of the rows judged, from 0 to 1. It is nil where the class is no
	// answer, where nothing was judged, and for a question that the run never asked.
	Share *float64 `json:"share"`
}

// Of is how many rows are in a class.
func (t *Table) Of(class Class) Share {
	for _, s := range t.Classes {
		if s.Class == class {
			return s
		}
	}
	return Share{Class: class}
}

// Tables are the counts, a table a definition.
func (t *Tally) Tables() []Table {
	tables := make([]Table, len(t.counts))
	for i := range t.counts {
		tables[i] = t.counts[i].table(t.rows)
	}
	return tables
}

func (c *count) table(rows int64) Table {
	t := Table{Name: c.definition.name, Text: c.definition.text, Unasked: c.definition.unasked, Rows: rows, Failure: c.failure}
	for class, n := range c.classes {
		if class.Judged() {
			t.Judged += n
		}
		t.Classes = append(t.Classes, Share{Class: class, Rows: n})
	}
	for _, class := range []Class{Dead, Alive} {
		if c.classes[class] == 0 {
			t.Classes = append(t.Classes, Share{Class: class})
		}
	}
	slices.SortFunc(t.Classes, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Class, b.Class))
	})
	if t.Judged == 0 || t.Unasked != "" {
		return t
	}
	for i := range t.Classes {
		if s := &t.Classes[i]; s.Class.Judged() {
			s.Share = new(float64(s.Rows) / float64(t.Judged))
		}
	}
	return t
}

// MarshalJSON writes the tables.
func (t *Tally) MarshalJSON() ([]byte, error) { return json.Marshal(t.Tables()) }
