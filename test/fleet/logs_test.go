package fleet_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pennyfarthing/test/program"
)

// A logged is a line that penny logs --json prints.
type logged struct {
	Time    time.Time `json:"time"`
	POP     string    `json:"pop"`
	Kind    string    `json:"kind"`
	Message string    `json:"msg"`
	Access  struct {
		Path   string `json:"path"`
		Status int    `json:"status"`
	} `json:"access"`
}

func readLogged(t *testing.T, text string) []logged {
	t.Helper()
	var all []logged
	for line := range strings.Lines(text) {
		var l logged
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("penny logs prints %q: %v", line, err)
		}
		all = append(all, l)
	}
	return all
}

// wait is how long something may take to be seen.
const wait = time.Minute

func TestLogsOfAllPOPsAreInTheOrderOfTheirTimes(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.write("index.html", "home")
	_, r := term.up()
	for round := range 3 {
		served(t, r, fmt.Sprintf("/round-%d", round))
	}
	var all []logged
	for deadline := time.Now().Add(wait); ; time.Sleep(100 * time.Millisecond) { // the access log is written every second
		all = readLogged(t, term.wants("logs --lines 0 --json"))
		rounds := 0
		for _, l := range all {
			if strings.HasPrefix(l.Access.Path, "/round-") && l.Access.Status == 404 {
				rounds++
			}
		}
		if rounds == 9 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of 9 requests are logged: %+v", rounds, all)
		}
	}
	pops := make(map[string]bool)
	activated := 0
	for _, l := range all {
		pops[l.POP] = true
		if l.Kind == "agent" && l.Message == "release activated" {
			activated++
		}
	}
	if len(pops) != 3 || activated != 3 {
		t.Errorf("%d releases were activated by the logs of %v", activated, pops)
	}
	if !slices.IsSortedFunc(all, func(x, y logged) int { return x.Time.Compare(y.Time) }) {
		t.Errorf("they are not in order: %+v", all)
	}
	few := readLogged(t, term.wants("logs --pop ny --kind access --lines 2 --json"))
	if len(few) != 2 || few[0].POP != "ny" || few[1].POP != "ny" || few[1].Access.Path != "/round-2" {
		t.Errorf("the last two of ny are %+v", few)
	}
	term.wants("logs", "ny 404 GET localhost/round-2 HTTP/2", "au release activated")
	if _, stderr, code := term.types("logs", "--pop", "elsewhere"); code != 1 || !strings.Contains(stderr, "hint: there are au, ny, fr") {
		t.Errorf("exit code %d, and %s", code, stderr)
	}
}

func TestLogsThatAreFollowedGoOn(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.write("index.html", "home")
	_, r := term.up()
	cmd := term.command("logs", "--follow", "--kind", "access", "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000) // more than are asked for
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	served(t, r, "/followed")
	seen := make(map[string]bool)
	for deadline := time.After(wait); len(seen) < 3; {
		select {
		case line := <-lines:
			if l := readLogged(t, line)[0]; l.Access.Path == "/followed" {
				seen[l.POP] = true
			}
		case <-deadline:
			t.Fatalf("of three requests only those at %v are seen", seen)
		}
	}
	interrupt(t, cmd)
	for range lines { // to its end
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C it ends with %v", err)
	}
}

func TestTopCountsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.write("index.html", "home")
	_, r := term.up()
	p := program.Start(t, penny, "top", "--json", "--state", term.state, "-f", term.file())
	requests := make(map[string]int64)
	paths := make(map[string]int64)
	for deadline := time.Now().Add(wait); requests["au"] < 3 || requests["ny"] < 3 || requests["fr"] < 3 || paths["/counted"] < 9; {
		if time.Now().After(deadline) {
			t.Fatalf("it has counted %v and %v", requests, paths)
		}
		served(t, r, "/counted")
		var m struct {
			Fleet   string `json:"fleet"`
			Traffic []struct {
				POP      string `json:"pop"`
				Requests int64  `json:"requests"`
				Missing  int64  `json:"missing"`
			} `json:"traffic"`
			Busiest []struct {
				Path     string `json:"path"`
				Requests int64  `json:"requests"`
			} `json:"busiest"`
		}
		p.JSON(&m)
		if m.Fleet != "terminal" || len(m.Traffic) != 3 {
			t.Fatalf("%+v", m)
		}
		for _, of := range m.Traffic {
			requests[of.POP] += of.Requests
			if of.Missing != of.Requests {
				t.Errorf("of %d answers %d were 404, want all", of.Requests, of.Missing)
			}
		}
		for _, b := range m.Busiest {
			paths[b.Path] += b.Requests
		}
	}
	term.wants("top --times 1 --every 1s", "fleet terminal at", "POP  UP", site)
}
