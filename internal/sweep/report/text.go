package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// WriteText writes the report for a terminal of 80 columns.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	facts(&b, "", r.identity())
	facts(&b, "In short", r.key())
	if lines := r.classes(); len(lines) > 0 {
		heading(&b, "What became of the targets")
		t := table{textLast: true}
		for _, l := range r.classes() {
			t.add(l.Name, l.Count(), l.Share(), l.Text)
		}
		b.WriteString(t.String())
		b.WriteString(wrapped(r.more()))
	}
	section(&b, "Verdicts", r.verdicts(), "")
	for _, d := range r.definitions() {
		section(&b, "By the definition "+d.Name, d.Lines, "")
	}
	section(&b, "Status of the last answer", r.statuses(), "")
	if phases := r.phases(); len(phases) > 0 {
		heading(&b, "Time of the phases")
		t := table{}
		t.add("", "tries", "p50", "p95", "p99")
		for _, p := range phases {
			t.add(p.Name, p.N(), p.P50(), p.P95(), p.P99())
		}
		b.WriteString(t.String())
	}
	s := r.Summary
	section(&b, "Redirects", r.redirects(), "")
	section(&b, "Servers", names(&s.Servers, topNames), doubt(&s.Servers))
	section(&b, "Networks", names(&s.Networks, topNames), doubt(&s.Networks))
	section(&b, "Types of content", names(&s.ContentTypes, topNames), doubt(&s.ContentTypes))
	section(&b, "Versions of TLS", r.tlsVersions(), "")
	section(&b, "Certificates", r.certificates(), "")
	if len(s.Certificates.Soonest) > 0 {
		heading(&b, "The next to expire")
		t := table{textLast: true}
		for _, c := range s.Certificates.Soonest[:min(topNames, len(s.Certificates.Soonest))] {
			t.add(c.NotAfter.UTC().Format(time.DateOnly), plain(c.Target, 60))
		}
		b.WriteString(t.String())
	}
	section(&b, "Tries a target", r.triesATarget(), "")
	facts(&b, "The run", r.running())
	facts(&b, "How far to trust it", r.trust())
	facts(&b, "Some of the bad lines", r.badLines())
	r.billText(&b)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func heading(b *strings.Builder, title string) {
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	if title != "" {
		b.WriteString(title + "\n")
	}
}

// section writes lines of which there are some.
func section(b *strings.Builder, title string, lines []line, note string) {
	if len(lines) == 0 {
		return
	}
	heading(b, title)
	t := table{textLast: slices.ContainsFunc(lines, func(l line) bool { return l.Text != "" })}
	for _, l := range lines {
		if t.textLast {
			t.add(l.Name, l.Count(), l.Share(), l.Text)
		} else {
			t.add(l.Name, l.Count(), l.Share())
		}
	}
	b.WriteString(t.String())
	b.WriteString(wrapped(note))
}

func facts(b *strings.Builder, title string, all []fact) {
	if len(all) == 0 {
		return
	}
	heading(b, title)
	t := table{textLast: true}
	for _, f := range all {
		t.add(f.Name, f.Value)
	}
	b.WriteString(t.String())
}

// wrapped is a note as prose; nothing where there is none.
func wrapped(note string) string {
	if note == "" {
		return ""
	}
	return wrap(note)
}

// wrap breaks prose into lines, with two spaces before each.
func wrap(s string) string {
	var b strings.Builder
	n := 0
	for word := range strings.FieldsSeq(s) {
		w := len([]rune(word))
		if n > 0 && n+1+w > textWidth {
			b.WriteByte('\n')
			n = 0
		}
		if n == 0 {
			b.WriteString("  " + word)
			n = 2 + w
			continue
		}
		b.WriteString(" " + word)
		n += 1 + w
	}
	return b.String() + "\n"
}

// billText writes what is paid, and of what it is made.
func (r *Report) billText(b *strings.Builder) {
	bills := r.bills()
	if len(bills) == 0 {
		return
	}
	heading(b, "The bill")
	b.WriteString("  on this machine: nothing\n")
	for _, l := range bills {
		b.WriteString(wrap(plain(l.Bill.String(), 200)))
	}
	b.WriteByte('\n')
	t := table{}
	t.add("of which", "CPU share", "start-up", "idle", "rounding", "egress")
	for _, l := range bills {
		t.add(l.Machine, l.CPUShare.String(), l.Startup.String(), l.Idle.String(), l.Rounding.String(), l.Egress.String())
	}
	b.WriteString(t.String())
	for _, l := range bills {
		b.WriteString(wrap(l.Machine + ": " + l.Terms + "."))
	}
}
