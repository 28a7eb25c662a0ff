package control

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/api"
)

func TestLinesOfSeveralPOPsComeInTheOrderOfTheirTimes(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	type arrival struct{ line, arrives int } // seconds
	for name, tc := range map[string]struct {
		last  int
		lines []arrival
		asked []int // seconds up to which what has arrived is handed over
		want  [][]int
	}{
		"nothing": {asked: []int{1}, want: [][]int{nil}},
		"what arrives in disorder is put in order":  {lines: []arrival{{3, 1}, {1, 1}, {2, 1}}, asked: []int{1}, want: [][]int{{1, 2, 3}}},
		"what has just arrived waits for older":     {lines: []arrival{{5, 2}}, asked: []int{1, 2}, want: [][]int{nil, {5}}},
		"older lines that have just arrived do not": {lines: []arrival{{5, 1}, {4, 9}, {6, 9}}, asked: []int{1, 9}, want: [][]int{{4, 5}, {6}}},
		"too late is late":                          {lines: []arrival{{5, 1}, {4, 3}}, asked: []int{1, 3}, want: [][]int{{4, 5}, nil}},
		"of the first ones the last":                {last: 2, lines: []arrival{{1, 1}, {2, 1}, {3, 1}, {7, 5}, {8, 5}, {9, 5}}, asked: []int{1, 5}, want: [][]int{{2, 3}, {7, 8, 9}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := merger{last: tc.last}
			for _, l := range tc.lines {
				m.add(api.LogLine{Time: at(l.line)}, at(l.arrives))
			}
			for i, until := range tc.asked {
				var got []int
				for _, l := range m.due(at(until)) {
					got = append(got, int(l.Time.Sub(start)/time.Second))
				}
				if diff := cmp.Diff(tc.want[i], got); diff != "" {
					t.Errorf("up to %d: %s", until, diff)
				}
			}
		})
	}
}

func TestTheLastLinesAreTheLast(t *testing.T) {
	lines := []api.LogLine{{Message: "a"}, {Message: "b"}, {Message: "c"}}
	for n, want := range map[int]string{0: "[a b c]", 1: "[c]", 3: "[a b c]", 9: "[a b c]"} {
		var got []string
		for _, l := range last(lines, n) {
			got = append(got, l.Message)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("the last %d are %v, want %s", n, got, want)
		}
	}
}
