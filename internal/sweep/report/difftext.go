package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// kindText says for people in what way a target is otherwise.
func kindText(k Kind) string {
	switch k {
	case Died:
		return "died"
	case CameBack:
		return "came back"
	case ClassChanged:
		return "another class"
	case VerdictChanged:
		return "another verdict"
	case StatusChanged:
		return "another status"
	case Gone:
		return "only before"
	case New:
		return "only after"
	case numKinds:
	}
	return k.String()
}

// WriteJSON writes the difference for machines.
func (d *Difference) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return fmt.Errorf("write the difference: %w", err)
	}
	return nil
}

// WriteText writes the difference for a terminal: first how many, then which.
func (d *Difference) WriteText(w io.Writer) error {
	var b strings.Builder
	t := table{textLast: true}
	t.add("before", plain(d.Before, 100))
	t.add("after", plain(d.After, 100))
	t.add("definition", plain(d.Definition, 100))
	b.WriteString(t.String())

	heading(&b, number(d.Both)+" targets are in both")
	t = table{}
	for k := Died; k <= StatusChanged; k++ {
		n := d.Counts[k.String()]
		t.add(kindText(k), number(n), share(n, d.Both))
	}
	t.add("as before", number(d.Same), share(d.Same, d.Both))
	b.WriteString(t.String())

	heading(&b, "In one of them")
	t = table{}
	t.add(kindText(Gone), number(d.Counts[Gone.String()]))
	t.add(kindText(New), number(d.Counts[New.String()]))
	b.WriteString(t.String())

	if len(d.Transitions) > 0 {
		heading(&b, "By class")
		t = table{}
		for _, one := range d.Transitions {
			name := plain(one.Before, 30) + " → " + plain(one.After, 30)
			if one.Before == one.After {
				name = plain(one.Before, 30) + ", still"
			}
			t.add(name, number(one.Count), share(one.Count, d.Both))
		}
		b.WriteString(t.String())
	}
	for k := range numKinds {
		d.list(&b, k)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the difference: %w", err)
	}
	return nil
}

// list writes which targets are otherwise in this way.
func (d *Difference) list(b *strings.Builder, k Kind) {
	all := d.Changes[k.String()]
	if len(all) == 0 {
		return
	}
	title := strings.ToUpper(kindText(k)[:1]) + kindText(k)[1:]
	if n := d.Counts[k.String()]; n > int64(len(all)) {
		title += fmt.Sprintf(" (%s of %s)", number(int64(len(all))), number(n))
	}
	heading(b, title)
	t := table{textLast: true}
	for _, c := range all {
		switch k {
		case Gone:
			t.add(plain(c.Target, 40), c.Before.String())
		case New:
			t.add(plain(c.Target, 40), c.After.String())
		default:
			t.add(plain(c.Target, 40), c.Before.String()+" → "+c.After.String())
		}
	}
	b.WriteString(t.String())
}

// String is the verdict, with the status where that is not 200.
func (o Observation) String() string {
	v := o.Verdict
	if v == "" {
		v = "?"
	}
	if o.Status != 0 && o.Status != 200 {
		return v + " " + strconv.Itoa(int(o.Status))
	}
	return v
}

// ChangesCSV writes changes as lines of CSV (RFC 4180) below a header. The first
// function is for [DiffOptions.Each]; the second writes what is left. Cells are
// written as they are, also those that a spreadsheet would take for a formula.
func ChangesCSV(w io.Writer) (each func(Change) error, flush func() error) {
	c := csv.NewWriter(w)
	c.UseCRLF = true
	header := c.Write([]string{"change", "target", "class_before", "class_after", "verdict_before", "verdict_after", "status_before", "status_after"})
	status := func(n int32) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(int(n))
	}
	each = func(ch Change) error {
		if header != nil {
			return header
		}
		return c.Write([]string{
			ch.Kind.String(), ch.Target, ch.Before.Class, ch.After.Class, ch.Before.Verdict, ch.After.Verdict, status(ch.Before.Status), status(ch.After.Status),
		})
	}
	flush = func() error {
		c.Flush()
		if err := c.Error(); err != nil {
			return fmt.Errorf("write the changes: %w", err)
		}
		return nil
	}
	return each, flush
}
