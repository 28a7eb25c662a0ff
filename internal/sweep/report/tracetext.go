package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteJSON writes the answer for machines.
func (a *Answer) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(a); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// WriteText writes the answer as text that can be pasted into a reply to whom it may
// concern: plain, in lines that mail programs leave alone, all times in UTC.
func (a *Answer) WriteText(w io.Writer) error {
	var b strings.Builder
	when := ""
	if !a.At.IsZero() {
		when = fmt.Sprintf(" within %s of %s", a.Window, moment(a.At))
	}
	who := plain(a.Query, 200)
	if a.Yes {
		a.yes(&b, who, when)
	} else {
		prose(&b, "No. This run sent nothing to %s%s.", who, when)
	}
	if a.OtherTimes > 0 {
		prose(&b, "At other times it did: %s.", plural(a.OtherTimes, "try", "tries"))
	}
	if a.Lookups > 0 {
		prose(&b, "%s of its names in the DNS led to no connection. They went to our resolvers; name servers may have seen those.", plural(a.Lookups, "lookup", "lookups"))
	}
	if a.Withheld > 0 {
		prose(&b, "%s withheld, because the address or the name is not to be asked: no packet was sent.", plural(a.Withheld, "try was", "tries were"))
	}
	b.WriteByte('\n')
	a.who(&b)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func (a *Answer) yes(b *strings.Builder, who, when string) {
	span := "at " + moment(a.First)
	if !a.Last.Equal(a.First) {
		span = fmt.Sprintf("between %s and %s", moment(a.First), moment(a.Last))
	}
	prose(b, "Yes. This run tried %s to ask %s%s, %s, for %s of its list.", plural(a.Tries, "time", "times"), who, when, span, plural(a.Targets, "target", "targets"))
	b.WriteByte('\n')
	for _, m := range a.Matches {
		fmt.Fprintf(b, "%s  %s  %s\n", m.At.UTC().Format("2006-01-02T15:04:05.000Z"), plain(m.Address, 45), plain(m.URL, 200))
		became := plain(m.Verdict, 30)
		if m.Status != 0 {
			became += fmt.Sprintf(", status %d", m.Status)
		}
		fmt.Fprintf(b, "    %s\n", became)
		if m.Redirected {
			fmt.Fprintf(b, "    because %s redirects there\n", plain(m.Target, 200))
		}
	}
	if more := a.Tries - int64(len(a.Matches)); more > 0 {
		fmt.Fprintf(b, "and %s more\n", number(more))
	}
	b.WriteByte('\n')
}

// who says who we are, as far as it is known.
func (a *Answer) who(b *strings.Builder) {
	f := &a.Run
	t := []fact{{"Run:", f.ID}}
	if !f.Started.IsZero() {
		span := moment(f.Started)
		if !f.Finished.IsZero() {
			span += " to " + moment(f.Finished)
		}
		t = append(t, fact{"Time:", span})
	}
	t = append(t, fact{"From:", f.Address}, fact{"User-Agent:", f.Agent}, fact{"Contact:", f.Contact}, fact{"Not to be asked:", f.Optout})
	for _, one := range t {
		if one.Value != "" {
			fmt.Fprintf(b, "%-17s%s\n", one.Name, plain(one.Value, 200))
		}
	}
}

// prose writes a paragraph in lines of at most 72 characters, which mail can quote.
func prose(b *strings.Builder, format string, args ...any) {
	const width = 72
	n := 0
	for word := range strings.FieldsSeq(fmt.Sprintf(format, args...)) {
		l := len([]rune(word))
		switch {
		case n == 0:
		case n+1+l > width:
			b.WriteByte('\n')
			n = 0
		default:
			b.WriteByte(' ')
			n++
		}
		b.WriteString(word)
		n += l
	}
	b.WriteByte('\n')
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// DefaultWindow is how far a time that somebody noted may be from ours.
const DefaultWindow = 10 * time.Minute
