package report

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"

	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/verdict"
)

// Rows are the rows of a run. Ranging over them again reads them again.
type Rows = iter.Seq2[*evidence.Row, error]

// The classes of a definition that [Diff] knows. Others are only compared.
const (
	ClassAlive   = "alive"
	ClassDead    = "dead"
	ClassBlocked = "blocked"
)

// A Kind is in what way a target is otherwise than before.
type Kind uint8

// The kinds, the gravest first: a target counts once, for the first that holds.
const (
	Died           Kind = iota // was alive or blocked and is dead
	CameBack                   // was dead and is alive or blocked
	ClassChanged               // otherwise of another class
	VerdictChanged             // of the same class, with another verdict
	StatusChanged              // of the same verdict, with another status
	Gone                       // only in the first run
	New                        // only in the second run
	numKinds
)

// String is the kind's name in JSON and CSV.
func (k Kind) String() string {
	switch k {
	case Died:
		return "died"
	case CameBack:
		return "came_back"
	case ClassChanged:
		return "class_changed"
	case VerdictChanged:
		return "verdict_changed"
	case StatusChanged:
		return "status_changed"
	case Gone:
		return "only_before"
	case New:
		return "only_after"
	case numKinds:
	}
	return fmt.Sprintf("Kind(%d)", k)
}

// MarshalText writes the name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// An Observation is what a run says of a target, in short. It is zero where the run
// did not have the target.
type Observation struct {
	Class   string `json:"class,omitempty"`
	Verdict string `json:"verdict,omitempty"`
	Status  int32  `json:"status,omitempty"`
}

// A Change is one target that is otherwise.
type Change struct {
	Kind   Kind        `json:"kind"`
	Target string      `json:"target"`
	Before Observation `json:"before,omitzero"`
	After  Observation `json:"after,omitzero"`
}

// DiffOptions are what is compared, and how much is kept.
type DiffOptions struct {
	// Judge is the definition. Without one, a target is alive that was answered, dead
	// that was not, and otherwise of the class of its verdict (skip, self).
	Judge Judge
	// Limit is how many changes of each kind are kept; 0 is none.
	Limit int
	// Each, unless nil, gets every change. Its error ends the comparison.
	Each func(Change) error
	// Before and After name the runs.
	Before, After string
}

// A Difference is what is otherwise in the second of two runs.
type Difference struct {
	Schema     int    `json:"schema"`
	Definition string `json:"definition"`
	Before     string `json:"before"`
	After      string `json:"after"`
	// Both is how many targets are in both runs; Same of them are as they were.
	Both   int64            `json:"in_both"`
	Same   int64            `json:"same"`
	Counts map[string]int64 `json:"counts"` // by kind; a target counts once
	// Transitions count the targets of both runs by class before and after.
	Transitions []Transition `json:"transitions"`
	// Changes are some of each kind, in the order of the runs.
	Changes map[string][]Change `json:"changes"`
	// Limit is how many of each kind are in Changes at most.
	Limit int `json:"limit"`
}

// A Transition is how many targets went from one class to another, or stayed.
type Transition struct {
	Before string `json:"before"`
	After  string `json:"after"`
	Count  int64  `json:"count"`
}

// state is an [Observation] in four bytes.
type state struct {
	class  uint8 // index of an interned text
	code   verdict.Code
	status uint16 // with seen on top
}

// seen marks what the second run has too. A status is below it.
const seen = 1 << 15

// entry is a target of the first run: 16 bytes.
type entry struct {
	hash  uint64
	state state
}

// index finds entries by their hashes. They are sorted, and because hashes are spread
// evenly, starts of the runs with the same first bits lead to within a few of each.
type index struct {
	entries []entry
	starts  []uint32
	shift   uint
}

func newIndex(entries []entry) *index {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.hash, b.hash) })
	bits := uint(1)
	for 1<<(bits+3) < len(entries) {
		bits++
	}
	x := &index{entries: entries, shift: 64 - bits, starts: make([]uint32, 1<<bits+1)}
	i := 0
	for b := range x.starts {
		for i < len(entries) && entries[i].hash>>x.shift < uint64(b) {
			i++
		}
		x.starts[b] = uint32(i) //nolint:gosec // no run has as many targets
	}
	return x
}

func (x *index) find(hash uint64) *entry {
	b := hash >> x.shift
	for i := x.starts[b]; i < x.starts[b+1]; i++ {
		if x.entries[i].hash == hash {
			return &x.entries[i]
		}
	}
	return nil
}

// differ is one comparison.
type differ struct {
	o       DiffOptions
	seed    maphash.Seed
	classes []string
	matrix  map[[2]uint8]int64
	out     *Difference
}

// Diff says what is otherwise in the run after than in the run before it. The lists
// of the two may differ. It reads before twice and after once, and keeps 17 bytes for
// each target of before, about twice that while it reads: targets are joined by a hash of 64 bits, so among ten
// million of them the chance that any two are mistaken for one another is about one
// in 200,000.
func Diff(before, after Rows, o DiffOptions) (*Difference, error) {
	if o.Judge.Class == nil {
		o.Judge = Judge{"answered", answered}
	}
	d := &differ{
		o: o, seed: maphash.MakeSeed(), matrix: map[[2]uint8]int64{},
		out: &Difference{
			Schema: Schema, Definition: o.Judge.Name, Before: o.Before, After: o.After, Limit: o.Limit,
			Counts: map[string]int64{}, Changes: map[string][]Change{}, Transitions: []Transition{},
		},
	}
	for k := range numKinds {
		d.out.Counts[k.String()] = 0
	}
	var entries []entry
	for row, err := range before {
		if err != nil {
			return nil, fmt.Errorf("read the run before: %w", err)
		}
		s, err := d.state(row)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{maphash.String(d.seed, row.Target), s})
	}
	x := newIndex(entries)
	for row, err := range after {
		if err != nil {
			return nil, fmt.Errorf("read the run after: %w", err)
		}
		if err := d.join(x, row); err != nil {
			return nil, err
		}
	}
	if err := d.gone(x, before); err != nil {
		return nil, err
	}
	for pair, n := range d.matrix {
		d.out.Transitions = append(d.out.Transitions, Transition{d.classes[pair[0]], d.classes[pair[1]], n})
	}
	slices.SortFunc(d.out.Transitions, func(a, b Transition) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Before, b.Before), cmp.Compare(a.After, b.After))
	})
	return d.out, nil
}

// answered is the definition where nobody named one.
func answered(row *evidence.Row) string {
	code, _ := verdict.Parse(row.Verdict) // what is no verdict is of the class unknown
	switch c := code.Class(); {
	case row.Status != 0 || c == verdict.Answered:
		return ClassAlive
	case c == verdict.HTTP || c == verdict.TLS || c == verdict.TCP || c == verdict.DNS:
		return ClassDead
	default:
		return c.String()
	}
}

func (d *differ) state(row *evidence.Row) (state, error) {
	class, err := d.intern(d.o.Judge.Class(row))
	code, _ := verdict.Parse(row.Verdict)                      // what is no verdict is None
	return state{class, code, uint16(status(row.Status))}, err //nolint:gosec // a status is below 1000
}

// intern gives a class a number. Definitions have a handful.
func (d *differ) intern(class string) (uint8, error) {
	i := slices.Index(d.classes, class)
	if i < 0 {
		if i = len(d.classes); i > 255 {
			return 0, fmt.Errorf("compare by the definition %s: it has more than 256 classes", d.o.Judge.Name)
		}
		d.classes = append(d.classes, strings.Clone(class))
	}
	return uint8(i), nil //nolint:gosec // checked above
}

func (d *differ) observation(s state) Observation {
	return Observation{d.classes[s.class], s.code.String(), int32(s.status &^ seen)}
}

// join compares a row of the second run with what the first one says.
func (d *differ) join(x *index, row *evidence.Row) error {
	now, err := d.state(row)
	if err != nil {
		return err
	}
	e := x.find(maphash.String(d.seed, row.Target))
	if e == nil {
		return d.change(New, row.Target, Observation{}, d.observation(now))
	}
	was := e.state
	was.status &^= seen
	e.state.status |= seen
	d.out.Both++
	d.matrix[[2]uint8{was.class, now.class}]++
	before, after := d.observation(was), d.observation(now)
	switch {
	case there(before.Class) && after.Class == ClassDead:
		return d.change(Died, row.Target, before, after)
	case before.Class == ClassDead && there(after.Class):
		return d.change(CameBack, row.Target, before, after)
	case was.class != now.class:
		return d.change(ClassChanged, row.Target, before, after)
	case was.code != now.code:
		return d.change(VerdictChanged, row.Target, before, after)
	case was.status != now.status:
		return d.change(StatusChanged, row.Target, before, after)
	}
	d.out.Same++
	return nil
}

// there reports whether a class says that somebody is there. What a run did not ask,
// or could not know, has neither died nor come back.
func there(class string) bool { return class == ClassAlive || class == ClassBlocked }

// gone reads the first run again, for the names of what the second did not have.
func (d *differ) gone(x *index, before Rows) error {
	left := 0
	for i := range x.entries {
		if x.entries[i].state.status&seen == 0 {
			left++
		}
	}
	for row, err := range before {
		if left == 0 {
			break
		}
		if err != nil {
			return fmt.Errorf("read the run before once more: %w", err)
		}
		e := x.find(maphash.String(d.seed, row.Target))
		if e == nil || e.state.status&seen != 0 {
			continue
		}
		left--
		if err := d.change(Gone, row.Target, d.observation(e.state), Observation{}); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) change(k Kind, target string, before, after Observation) error {
	d.out.Counts[k.String()]++
	c := Change{k, strings.Clone(target), before, after}
	if list := d.out.Changes[k.String()]; len(list) < d.o.Limit {
		d.out.Changes[k.String()] = append(list, c)
	}
	if d.o.Each != nil {
		if err := d.o.Each(c); err != nil {
			return fmt.Errorf("write that %s is otherwise: %w", plain(target, 60), err)
		}
	}
	return nil
}
