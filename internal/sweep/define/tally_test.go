package define_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/sweep/define"
)

func TestATallyHasCountsAndSharesOfEveryDefinitionSideBySide(t *testing.T) {
	mine, err := define.Parse(`mine=tries[1].status == 404`, full())
	if err != nil {
		t.Fatal(err)
	}
	definitions := append(define.Builtin(full()), mine)
	total, other := define.NewTally(definitions...), define.NewTally(definitions...)
	for i, row := range [][]string{
		{"https example.com 200", "http example.com 404"},
		{"https example.com 403", "http example.com 200"},
		{"https example.com tcp.refused", "http example.com tcp.refused"},
		{"https example.com skip.private"},
	} {
		tally := total
		if i > 1 {
			tally = other
		}
		r := rowOf(t, "example.com", row...)
		r.Status = r.Tries[0].Status // the first chain's
		tally.Add(r)
	}
	if err := total.Merge(other); err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(total, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	var got []struct {
		Name    string
		Rows    int64
		Judged  int64
		Classes []struct {
			Class string
			Rows  int64
			Share *float64
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range got {
		var line strings.Builder
		line.WriteString(fmt.Sprintf("%s %d/%d:", d.Name, d.Judged, d.Rows))
		for _, c := range d.Classes {
			line.WriteString(fmt.Sprintf(" %s %d", c.Class, c.Rows))
			if c.Share != nil {
				line.WriteString(fmt.Sprintf(" (%.2f)", *c.Share))
			}
		}
		lines = append(lines, line.String())
	}
	want := []string{
		"tonywang2024 3/4: dead 2 (0.67) alive 1 (0.33) skipped 1",
		"strict 3/4: alive 2 (0.67) dead 1 (0.33) skipped 1",
		"revised 3/4: alive 1 (0.33) blocked 1 (0.33) dead 1 (0.33) skipped 1",
		"mine 3/4: alive 2 (0.67) dead 1 (0.33) skipped 1",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestAQuestionThatWasNotAskedHasNoFigure(t *testing.T) {
	tally := define.NewTally(define.Builtin(usual())...)
	tally.Add(rowOf(t, "example.com", "https example.com 200"))
	tally.Add(rowOf(t, "example.com", "https example.com dns.nxdomain"))
	table := tally.Tables()[0]
	if table.Unasked == "" || table.Of(define.Dead).Rows != 1 || table.Of(define.Dead).Share != nil || table.Of(define.Unasked).Rows != 1 {
		t.Errorf("got %+v", table)
	}
}

func TestWhatCannotBeComputedIsCountedAndTheFirstIsNamed(t *testing.T) {
	d, err := define.Parse(`tries[0].status == 200`, full())
	if err != nil {
		t.Fatal(err)
	}
	tally := define.NewTally(d)
	tally.Add(rowOf(t, "first.example"))
	tally.Add(rowOf(t, "second.example"))
	table := tally.Tables()[0]
	if table.Of(define.Failed).Rows != 2 || table.Judged != 0 || len(table.Failure) < 14 || table.Failure[:14] != "first.example:" {
		t.Errorf("got %+v", table)
	}
}

func TestAnExpressionWithAClassForEveryRowIsCutOff(t *testing.T) {
	d, err := define.Parse(`target`, full())
	if err != nil {
		t.Fatal(err)
	}
	tally := define.NewTally(d)
	for i := range 1000 {
		tally.Add(rowOf(t, fmt.Sprintf("name%d", i)))
	}
	table := tally.Tables()[0]
	if got := table.Of(define.Failed).Rows; got != 1000-64 || len(table.Classes) > 70 {
		t.Errorf("%d rows failed, and there are %d classes", got, len(table.Classes))
	}
}

func TestTalliesOfDifferentDefinitionsDoNotAddUp(t *testing.T) {
	if err := define.NewTally(define.Builtin(full())...).Merge(define.NewTally()); err == nil {
		t.Error("they did")
	}
}
