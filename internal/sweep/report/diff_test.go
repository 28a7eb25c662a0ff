package report_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/report"
)

func row(target, verdict string, status int32) *evidence.Row {
	return &evidence.Row{Target: target, Verdict: verdict, Status: status}
}

func blocked() report.Judge {
	return report.Judge{Name: "revised", Class: func(row *evidence.Row) string {
		switch {
		case row.Status == 403:
			return report.ClassBlocked
		case row.Status != 0:
			return report.ClassAlive
		case strings.HasPrefix(row.Verdict, "skip"):
			return "skipped"
		}
		return report.ClassDead
	}}
}

func TestADifferenceSaysWhatDiedAndWhatCameBack(t *testing.T) {
	before := []*evidence.Row{
		row("same.example", "ok", 200), row("dies.example", "ok", 200), row("back.example", "dns.nxdomain", 0), row("hides.example", "http.status", 403),
		row("bars.example", "ok", 200), row("moves.example", "http.status", 404), row("fails.example", "tcp.timeout", 0), row("left.example", "ok", 200),
		row("asked.example", "skip.optout", 0), row("a\x1b[31mnsi.example", "ok", 200),
	}
	after := []*evidence.Row{
		row("new.example", "ok", 200), row("dies.example", "tcp.refused", 0), row("back.example", "http.status", 403), row("hides.example", "dns.nxdomain", 0),
		row("bars.example", "http.status", 403), row("moves.example", "http.status", 410), row("fails.example", "tcp.refused", 0), row("same.example", "ok", 200),
		row("asked.example", "dns.nxdomain", 0), row("a\x1b[31mnsi.example", "dns.lame", 0),
	}
	var csv bytes.Buffer
	each, flush := report.ChangesCSV(&csv)
	d, err := report.Diff(seq(before), seq(after), report.DiffOptions{Judge: blocked(), Limit: 2, Before: "run-a", After: "run-b", Each: each})
	if err != nil {
		t.Fatal(err)
	}
	if err := flush(); err != nil {
		t.Fatal(err)
	}
	golden(t, "diff.txt", text(t, func(b *bytes.Buffer) error { return d.WriteText(b) }))
	golden(t, "diff.json", text(t, func(b *bytes.Buffer) error { return d.WriteJSON(b) }))
	golden(t, "diff.csv", csv.Bytes())
	fits(t, text(t, func(b *bytes.Buffer) error { return d.WriteText(b) }))
}

func TestWithoutADefinitionWhatWasAnsweredIsAlive(t *testing.T) {
	before := []*evidence.Row{row("a", "tls.expired", 200), row("b", "tls.alert", 0), row("c", "self.network", 0), row("d", "nonsense", 0)}
	after := []*evidence.Row{row("a", "tcp.timeout", 0), row("b", "http.redirect_dead", 301), row("c", "ok", 200), row("d", "ok", 200)}
	d, err := report.Diff(seq(before), seq(after), report.DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"died": 1, "came_back": 1, "class_changed": 2, "verdict_changed": 0, "status_changed": 0, "only_before": 0, "only_after": 0}
	if diff := cmp.Diff(want, d.Counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(d.Changes) != 0 {
		t.Errorf("with a limit of 0 it keeps %v", d.Changes)
	}
}

// TestADifferenceIsThatOfTwoMaps compares with the plain way to do it.
func TestADifferenceIsThatOfTwoMaps(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	random := func() []*evidence.Row {
		var rows []*evidence.Row
		for i := range 5000 {
			if r.IntN(10) == 0 {
				continue
			}
			one := []struct {
				verdict string
				status  int32
			}{{"ok", 200}, {"ok", 204}, {"http.status", 403}, {"http.status", 500}, {"dns.nxdomain", 0}, {"tcp.timeout", 0}, {"skip.optout", 0}}[r.IntN(7)]
			rows = append(rows, row(fmt.Sprintf("site-%d.example", i), one.verdict, one.status))
		}
		r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		return rows
	}
	for range 5 {
		before, after := random(), random()
		was := map[string]*evidence.Row{}
		for _, row := range before {
			was[row.Target] = row
		}
		want := map[string]string{}
		there := func(class string) bool { return class == "alive" || class == "blocked" }
		for _, now := range after {
			then, ok := was[now.Target]
			delete(was, now.Target)
			if !ok {
				want[now.Target] = "only_after"
				continue
			}
			a, b := blocked().Class(then), blocked().Class(now)
			switch {
			case there(a) && b == "dead":
				want[now.Target] = "died"
			case a == "dead" && there(b):
				want[now.Target] = "came_back"
			case a != b:
				want[now.Target] = "class_changed"
			case then.Verdict != now.Verdict:
				want[now.Target] = "verdict_changed"
			case then.Status != now.Status:
				want[now.Target] = "status_changed"
			}
		}
		for name := range was {
			want[name] = "only_before"
		}
		got := map[string]string{}
		d, err := report.Diff(seq(before), seq(after), report.DiffOptions{Judge: blocked(), Each: func(c report.Change) error {
			if _, ok := got[c.Target]; ok {
				t.Errorf("%s is reported twice", c.Target)
			}
			got[c.Target] = c.Kind.String()
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		sum := d.Same
		for _, n := range d.Counts {
			sum += n
		}
		if want := d.Both + d.Counts["only_before"] + d.Counts["only_after"]; sum != want {
			t.Errorf("the counts come to %d, want %d", sum, want)
		}
		transitions := int64(0)
		for _, one := range d.Transitions {
			transitions += one.Count
		}
		if transitions != d.Both {
			t.Errorf("the transitions come to %d, want %d", transitions, d.Both)
		}
	}
}

func TestAnErrorOfWhoTakesTheChangesEndsTheComparison(t *testing.T) {
	full := errors.New("no space left")
	for _, runs := range [][2][]*evidence.Row{{sample(3), nil}, {nil, sample(3)}} {
		n := 0
		_, err := report.Diff(seq(runs[0]), seq(runs[1]), report.DiffOptions{Each: func(report.Change) error { n++; return full }})
		if !errors.Is(err, full) || n != 1 {
			t.Errorf("got %v after %d changes", err, n)
		}
	}
}

func TestADefinitionOfTooManyClassesIsAnError(t *testing.T) {
	n := 0
	_, err := report.Diff(seq(sample(300)), seq(nil), report.DiffOptions{Judge: report.Judge{Name: "each", Class: func(*evidence.Row) string { n++; return fmt.Sprint(n) }}})
	if err == nil || !strings.Contains(err.Error(), "more than 256 classes") {
		t.Errorf("got %v", err)
	}
}
