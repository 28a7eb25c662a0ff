// Package sweep_test runs penny sweep as a process against a simulated internet
// that is another process, does to both what happens to long runs, and compares the
// rows with what the simulated internet knows.
package sweep_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/result"
	"pennyfarthing/internal/sweep/simnet"
	"pennyfarthing/internal/verdict"
	"pennyfarthing/test/program"
)

// penny is the program that all tests here run.
var penny string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &penny)) }

// runLimit is how long a run may take on a machine that has much else to do.
const runLimit = 4 * time.Minute

// An internet is a simulated one in a process of its own, with switches.
type internet struct {
	*simnet.Child
	world *simnet.World
	dir   string // for its files
	names int    // in its list
}

// startInternet starts one, and writes a list of its first names.
func startInternet(t *testing.T, names int, c simnet.ChildConfig) *internet {
	t.Helper()
	var stderr bytes.Buffer
	c.Penny, c.Admin, c.Seed, c.Stderr = penny, true, 7, &stderr
	child, err := simnet.StartChild(t.Context(), c)
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	i := &internet{Child: child, world: simnet.NewWorld(c.Seed, c.Profile), dir: t.TempDir(), names: names}
	t.Cleanup(func() {
		if _, err := child.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("%v\n%s", err, &stderr)
		}
	})
	var list strings.Builder
	for n := range names {
		fmt.Fprintln(&list, i.world.Name(n))
	}
	i.write(t, "names.txt", list.String())
	i.write(t, "ca.pem", child.Ready.CA)
	return i
}

func (i *internet) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(i.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (i *internet) path(name string) string { return filepath.Join(i.dir, name) }

// sweep are the arguments of an unpaced sweep of its list, and more.
func (i *internet) sweep(more ...string) []string {
	return append(i.polite("--no-pacing"), more...)
}

// polite are the arguments of a sweep of its list, and more.
func (i *internet) polite(more ...string) []string {
	args := []string{
		"sweep", i.path("names.txt"), "--format", "jsonl", "--contact", "mailto:tests@example.org", "--vantage", "here",
		"--resolver", i.Ready.DNS, "--per-resolver", "0", "--ports", fmt.Sprintf("80=%d,443=%d", i.Ready.HTTP, i.Ready.HTTPS),
		"--timeout", "dns=1s,connect=2s,tls=4s,first-byte=2s,total=8s", "--roots", i.path("ca.pem"),
	}
	return append(args, more...)
}

// resume are the arguments that go on with a run.
func (i *internet) resume(dir string) []string {
	return []string{"sweep", "resume", dir, "--roots", i.path("ca.pem")}
}

// plainHTTP is the policy of --https never, for tests that are not about TLS: half of
// the chains, and none of the longest waits.
func plainHTTP() simnet.Policy {
	p := simnet.DefaultPolicy()
	p.HTTPS = simnet.Never
	return p
}

// A count is what rows are compared with the truth for.
type count struct {
	rows, missing, double, wrong, suspect int
	examples                              []string // of wrong rows
}

// compare compares the rows of a run, finished or not, with the truth.
func (i *internet) compare(t *testing.T, dir string, p simnet.Policy) count {
	t.Helper()
	var c count
	seen := map[string]bool{}
	for row, err := range result.Rows(dir) {
		if errors.Is(err, fs.ErrNotExist) && c.rows == 0 {
			break // it has hardly begun
		}
		if err != nil {
			t.Fatal(err)
		}
		c.rows++
		if seen[row.Target] {
			c.double++
		}
		seen[row.Target] = true
		if row.Suspect {
			c.suspect++
			if code, _ := verdict.Parse(row.Verdict); code.Class() == verdict.Self {
				continue // it says that it does not know
			}
		}
		if !i.world.Agrees(p, row.Target, row.Verdict, int(row.Status)) {
			code, status := i.world.Truth(p, row.Target)
			c.wrong++
			if len(c.examples) < 5 {
				c.examples = append(c.examples, describe(row, fmt.Sprintf("%s %d", code, status)))
			}
		}
	}
	for n := range i.names {
		if !seen[i.world.Name(n)] {
			c.missing++
		}
	}
	return c
}

func describe(row *evidence.Row, want string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s %d, want %s, suspect %v: %s", row.Target, row.Verdict, row.Status, want, row.Suspect, row.Error)
	for _, try := range row.Tries {
		fmt.Fprintf(&b, "\n\t%s %s://%s %s %s %s %d %s %s, %d us", try.At.Format("15:04:05.000"), try.Scheme, try.Host, try.Address, try.Resolver, try.Rcode, try.Status, try.Verdict, try.Location, try.TotalUS)
	}
	return b.String()
}

// mustBeTrue fails unless every name has one row, and that the true one.
func (i *internet) mustBeTrue(t *testing.T, dir string, p simnet.Policy) {
	t.Helper()
	c := i.compare(t, dir, p)
	if c.rows != i.names || c.missing+c.double+c.wrong > 0 {
		t.Errorf("%d rows for %d targets: %d missing, %d double, %d wrong\n%s", c.rows, i.names, c.missing, c.double, c.wrong, strings.Join(c.examples, "\n"))
	}
	if c.suspect > 0 { // a machine without time for penny is an illness, too
		t.Logf("%d rows are suspect", c.suspect)
	}
}

// finish runs penny to its end, which must be a good one.
func finish(t *testing.T, args []string) *program.Process {
	t.Helper()
	p := program.Start(t, penny, args...)
	if err := p.Wait(max(runLimit, time.Duration(*hostileNames)*runLimit/20_000)); err != nil {
		t.Fatalf("penny %q: %v\n%s", args, err, p.Stderr())
	}
	return p
}

// A summary is what a run's report says of how the run went.
type summary struct {
	Run struct {
		Sessions int   `json:"sessions"`
		Controls int   `json:"controls"`
		Failed   int   `json:"controls_failed"`
		Ill      int64 `json:"seconds_of_own_illness"`
		PeakRSS  int64 `json:"peak_rss"`
		Queries  int64 `json:"queries"`
	} `json:"run"`
	Rows struct {
		Targets int `json:"targets"`
		Suspect int `json:"suspect"`
	} `json:"rows"`
}

// report is what penny reports of a run.
func report(t *testing.T, dir string) summary {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), penny, "sweep", "report", dir, "--json").Output()
	if err != nil {
		t.Fatalf("report of %s: %v", dir, err)
	}
	var s summary
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatal(err)
	}
	return s
}
