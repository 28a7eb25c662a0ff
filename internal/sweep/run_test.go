package sweep_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/sweep"
	"pennyfarthing/internal/sweep/block"
	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/result"
	"pennyfarthing/internal/sweep/simnet"
	"pennyfarthing/internal/verdict"
)

// internet starts a simulated internet.
func internet(t *testing.T, profile simnet.Profile, c simnet.Config) (*simnet.World, *simnet.Server) {
	t.Helper()
	w := simnet.NewWorld(7, profile)
	c.DNS = netip.MustParseAddrPort("127.0.0.1:0")
	s, err := simnet.Start(w, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the internet: %v", err)
		}
	})
	return w, s
}

// config is for a run over the targets of a simulated internet.
func config(t *testing.T, w *simnet.World, s *simnet.Server, targets int) *sweep.Config {
	t.Helper()
	c := &sweep.Config{Settings: sweep.Defaults(), Dir: filepath.Join(t.TempDir(), "run"), Version: "test", Roots: s.Roots()}
	http, https := s.Ports()
	set := &c.Settings
	set.Simnet = &sweep.Simnet{Targets: targets, Profile: w.Profile().String(), Seed: w.Seed()}
	set.Pacing, set.ResolverRate, set.Format = false, 0, "jsonl"
	set.ConnectTimeout, set.TLSTimeout, set.FirstByteTimeout, set.TotalTimeout = 2*time.Second, 4*time.Second, 2*time.Second, 8*time.Second
	set.Ports = map[uint16]uint16{80: http, 443: https}
	set.Resolvers = []netip.AddrPort{s.DNS()}
	set.Vantage = "here"
	if !loop.Supported {
		set.Engine = "plain"
	}
	return c
}

// truth compares the rows of a run with what the world knows, and returns how many
// there are.
func truth(t *testing.T, w *simnet.World, c *sweep.Config, n int) {
	t.Helper()
	mode, err := simnet.ParseHTTPSMode(c.Settings.HTTPS)
	if err != nil {
		t.Fatal(err)
	}
	set := &c.Settings
	policy := simnet.Policy{
		HTTPS: mode, WWW: set.WWW, Follow: set.Follow, Retries: set.Retries, Body: set.Body, Head: set.Method == "HEAD", Robots: set.Robots, DNSOnly: c.DNSOnly,
		Block: readLists(t, set.Block), Optout: readLists(t, set.Optout),
	}
	seen := map[string]bool{}
	wrong := map[string]int{}
	example := map[string]*evidence.Row{}
	for row, err := range result.Rows(c.Dir) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[row.Target] {
			t.Errorf("%s has two rows", row.Target)
		}
		seen[row.Target] = true
		if !w.Agrees(policy, row.Target, row.Verdict, int(row.Status)) {
			code, status := w.Truth(policy, row.Target)
			what := fmt.Sprintf("%s %d instead of %s %d", row.Verdict, row.Status, code, status)
			wrong[what]++
			example[what] = row
		}
	}
	for i := range n {
		if !seen[w.Name(i)] {
			t.Errorf("%s has no row", w.Name(i))
		}
	}
	if len(seen) != n {
		t.Errorf("%d rows for %d targets", len(seen), n)
	}
	for what, count := range wrong {
		var tries strings.Builder
		for _, try := range example[what].Tries {
			fmt.Fprintf(&tries, "\n\t%s://%s %s %s %s %d %s %s total %d us", try.Scheme, try.Host, try.Address, try.Resolver, try.Rcode, try.Status, try.Verdict, try.Location, try.TotalUS)
		}
		t.Errorf("%d rows have %s; %s: %s%s", count, what, example[what].Target, example[what].Error, tries.String())
	}
}

func readLists(t *testing.T, files []string) *block.List {
	t.Helper()
	l, err := block.ReadFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func sweepAll(t *testing.T, c *sweep.Config) *sweep.Manifest {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	m, err := sweep.Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Nobody is asked for a page, so that controls are well who have an address.
func TestARunThatOnlyResolvesTakesControlsThatResolveForWell(t *testing.T) {
	w, s := internet(t, simnet.Quick, simnet.Config{})
	c := config(t, w, s, 1500) // there is a control for every thousand
	c.DNSOnly = true
	m := sweepAll(t, c)
	last := m.Sessions[len(m.Sessions)-1]
	if last.Controls == 0 || last.Failed > 0 {
		t.Errorf("%d of %d controls failed", last.Failed, last.Controls)
	}
	for row, err := range result.Rows(c.Dir) {
		if err != nil {
			t.Fatal(err)
		}
		if code, err := verdict.Parse(row.Verdict); err != nil || code != verdict.OK && code.Class() != verdict.DNS || row.Suspect {
			t.Errorf("%s: %s, suspect: %v", row.Target, row.Verdict, row.Suspect)
		}
	}
}

func eachEngine(t *testing.T, test func(t *testing.T, engine string)) {
	t.Helper()
	engines := []string{"plain"}
	if loop.Supported {
		engines = append(engines, "fast")
	}
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) { test(t, engine) })
	}
}

func TestEveryRowIsTheTruth(t *testing.T) {
	for _, profile := range []string{"quick", "hostile"} {
		t.Run(profile, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				p, err := simnet.ParseProfile(profile)
				if err != nil {
					t.Fatal(err)
				}
				w, s := internet(t, p, simnet.Config{})
				n := 4000
				if profile == "hostile" {
					n = 1500
				}
				c := config(t, w, s, n)
				c.Settings.Engine = engine
				c.Settings.ShardSize = 500
				began := time.Now()
				m := sweepAll(t, c)
				t.Logf("%d targets in %v, %v of CPU", n, time.Since(began).Round(time.Millisecond), m.Sessions[0].User+m.Sessions[0].System)
				truth(t, w, c, n)
			})
		})
	}
}

func TestARunThatIsFinishedIsNotBegunAgain(t *testing.T) {
	w, s := internet(t, mustProfile(t, "quick"), simnet.Config{})
	c := config(t, w, s, 100)
	sweepAll(t, c)
	if _, err := sweep.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "finished") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "run.json")); err != nil {
		t.Error(err)
	}
}

func mustProfile(t *testing.T, name string) simnet.Profile {
	t.Helper()
	p, err := simnet.ParseProfile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryPolicyIsTheTruth(t *testing.T) {
	w, s := internet(t, mustProfile(t, "quick"), simnet.Config{})
	for _, p := range []struct {
		https           string
		www             bool
		follow, retries int
	}{
		{"both", true, 5, 1}, {"only", true, 5, 1}, {"never", true, 5, 1}, {"never", false, 0, 0}, {"first", false, 1, 0}, {"only", false, 0, 2}, {"both", false, 20, 0},
	} {
		t.Run(fmt.Sprintf("https=%s,www=%v,follow=%d,retries=%d", p.https, p.www, p.follow, p.retries), func(t *testing.T) {
			c := config(t, w, s, 600)
			set := &c.Settings
			set.HTTPS, set.WWW, set.Follow, set.Retries, set.Format = p.https, p.www, p.follow, p.retries, "csv"
			sweepAll(t, c)
			truth(t, w, c, 600)
		})
	}
}

// Every flag that changes a verdict is one of the truth's, too.
func TestFlagsThatChangeVerdictsAreTheTruths(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list.txt")
	const lines = "127.10.0.0/23 # of a hoster\n127.29.0.0/16 # who refuses\n::1\ncom.br\n"
	if err := os.WriteFile(list, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		about, profile string
		targets        int
		change         func(*sweep.Config)
		met            verdict.Code // by some row
	}{
		{"robots", "quick", 600, func(c *sweep.Config) { c.Settings.Robots = true }, verdict.SkipRobots},
		{"block", "quick", 600, func(c *sweep.Config) { c.Settings.Block = []string{list} }, verdict.SkipBlocked},
		{"optout", "quick", 600, func(c *sweep.Config) { c.Settings.Optout, c.Settings.Block = []string{list}, []string{list} }, verdict.SkipOptout},
		{"robots and block", "quick", 600, func(c *sweep.Config) { c.Settings.Robots, c.Settings.Block = true, []string{list} }, verdict.SkipRobots},
		{"DNS only", "quick", 600, func(c *sweep.Config) { c.DNSOnly = true }, verdict.OK},
		{"DNS only, and block", "quick", 600, func(c *sweep.Config) { c.DNSOnly, c.Settings.Block, c.Settings.WWW = true, []string{list}, false }, verdict.SkipBlocked},
		{"robots, of many troubles", "hostile", 300, func(c *sweep.Config) { c.Settings.Robots, c.Settings.Block = true, []string{list} }, verdict.SkipRobots},
		{"a short sample", "hostile", 300, func(c *sweep.Config) { c.Settings.Body = simnet.LeastBody }, verdict.HTTPTruncated},
		{"HEAD", "hostile", 300, func(c *sweep.Config) { c.Settings.Method = "HEAD" }, verdict.OK},
	} {
		t.Run(c.about, func(t *testing.T) {
			t.Parallel()
			w, s := internet(t, mustProfile(t, c.profile), simnet.Config{})
			config := config(t, w, s, c.targets)
			config.Settings.DNSTimeout = time.Second
			if c.profile == "hostile" { // half of the waits
				config.Settings.HTTPS, config.Settings.Retries = "never", 0
			}
			c.change(config)
			sweepAll(t, config)
			truth(t, w, config, c.targets)
			met := 0
			for row, err := range result.Rows(config.Dir) {
				if err != nil {
					t.Fatal(err)
				}
				if row.Verdict == c.met.String() {
					met++
				}
			}
			if met == 0 {
				t.Errorf("no row is %v: nothing was tried", c.met)
			}
		})
	}
}

func TestRobotsAreObeyed(t *testing.T) {
	w, s := internet(t, mustProfile(t, "hostile"), simnet.Config{})
	c := config(t, w, s, 500)
	c.Settings.Robots, c.Settings.HTTPS, c.Settings.WWW, c.Settings.Follow = true, "never", false, 0
	sweepAll(t, c)
	skipped := 0
	for row, err := range result.Rows(c.Dir) {
		if err != nil {
			t.Fatal(err)
		}
		fate, err := w.Fate(row.Target)
		if err != nil {
			t.Fatal(err)
		}
		if row.Verdict == verdict.SkipRobots.String() {
			skipped++
			if row.Status != 0 {
				t.Errorf("%s was asked all the same: %d", row.Target, row.Status)
			}
			if fate.Robots == simnet.NoRobots {
				t.Errorf("%s has nothing against being asked", row.Target)
			}
		}
	}
	if skipped == 0 {
		t.Error("nobody disallows anything")
	}
}

func TestADirectoryInWhichARunWasAboutToBeginWillDo(t *testing.T) {
	w, s := internet(t, mustProfile(t, "quick"), simnet.Config{})
	c := config(t, w, s, 50)
	if err := os.MkdirAll(filepath.Join(c.Dir, "parts"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, ".run.json-123"), []byte(`{"sch`), 0o644); err != nil {
		t.Fatal(err)
	}
	sweepAll(t, c)
	truth(t, w, c, 50)
	if _, err := os.Stat(filepath.Join(c.Dir, ".run.json-123")); err == nil {
		t.Error("what the killed one left is still there")
	}
}

func TestADirectoryWithSomethingElseIsLeftAlone(t *testing.T) {
	c := &sweep.Config{Settings: sweep.Defaults(), Dir: t.TempDir()}
	c.Settings.Simnet = &sweep.Simnet{Targets: 1, Profile: "quick"}
	letter := filepath.Join(c.Dir, "letter.txt")
	if err := os.WriteFile(letter, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := sweep.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(letter); err != nil {
		t.Error(err)
	}
}

func TestARunThatCannotBeginLeavesNothing(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list.csv")
	if err := os.WriteFile(list, []byte("a,b\n1,2\n3,4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for about, change := range map[string]func(*sweep.Settings){
		"a list without targets":   func(*sweep.Settings) {},
		"a block list that is not": func(s *sweep.Settings) { s.Block = []string{list + ".block"} },
	} {
		t.Run(about, func(t *testing.T) {
			c := &sweep.Config{Settings: sweep.Defaults(), Dir: filepath.Join(t.TempDir(), "run")}
			c.Settings.Lists, c.Settings.Resolvers = []string{list}, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}
			if !loop.Supported {
				c.Settings.Engine = "plain"
			}
			change(&c.Settings)
			m, err := sweep.Run(t.Context(), c)
			if err == nil || m != nil {
				t.Errorf("%v, %v", m, err)
			}
			if _, err := os.Stat(c.Dir); err == nil {
				t.Error("its directory is there")
			}
		})
	}
}

// How fast a run goes, and who asks, may change when it is gone on with.
func TestWhatARunWasToldLastIsWhatItSays(t *testing.T) {
	w, s := internet(t, mustProfile(t, "quick"), simnet.Config{})
	c := config(t, w, s, 50)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sweep.Run(ctx, c); err == nil {
		t.Fatal("a run that was interrupted at once is whole")
	}
	c.Settings.Contact = "mailto:me@example.org"
	m := sweepAll(t, c)
	if m.Settings.Contact != c.Settings.Contact {
		t.Errorf("the run is by %q", m.Settings.Contact)
	}
	truth(t, w, c, 50)
}

// What is known before anybody is asked is said before.
func TestHowLongARunTakesAtLeastIsSaidBeforeItBegins(t *testing.T) {
	w, s := internet(t, mustProfile(t, "quick"), simnet.Config{})
	c := config(t, w, s, 60)
	c.Settings.Rate = 40
	var said []string
	c.Say = func(text string) { said = append(said, fmt.Sprintf("%d queries: %s", s.Stats().DNS, text)) }
	sweepAll(t, c)
	want := []string{
		"0 queries: asking 40 requests a second, and nobody in particular less",
		"0 queries: the list takes about 2s at least, because its 60 targets are asked at 40/s in all",
	}
	if len(said) < 2 || said[0] != want[0] || said[1] != want[1] {
		t.Errorf("it says %q, want %q first", said, want)
	}
}

func TestMetricsTellHowFarARunIs(t *testing.T) {
	w, s := internet(t, mustProfile(t, "quick"), simnet.Config{})
	c := config(t, w, s, 600)
	c.Metrics = "127.0.0.1:0"
	address := make(chan string, 1)
	c.Say = func(text string) {
		if at, ok := strings.CutPrefix(text, "metrics at "); ok {
			address <- at
		}
	}
	read := make(chan string, 1)
	c.Progress = func(ctx context.Context, p sweep.Progress) {
		if p.Asked == 0 || len(read) > 0 {
			return
		}
		at := <-address
		address <- at
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return // the run has just ended
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		read <- string(body)
	}
	c.Settings.Concurrency = 20 // so that it lasts some seconds
	sweepAll(t, c)
	select {
	case text := <-read:
		for _, want := range []string{
			"penny_sweep_targets_listed 600\n", "penny_sweep_targets_asked_total ", `penny_sweep_verdicts_total{class="answered",verdict="ok"} `, "penny_sweep_in_flight ",
			"penny_sweep_controls_failed_total 0\n", "penny_sweep_ill 0\n",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("there is no %q in\n%s", want, text)
			}
		}
	default:
		t.Error("nothing was read")
	}
}

func TestWhatIsOnABlockListIsNotAsked(t *testing.T) {
	w, s := internet(t, mustProfile(t, "quick"), simnet.Config{})
	c := config(t, w, s, 200)
	list := filepath.Join(t.TempDir(), "block.txt")
	if err := os.WriteFile(list, []byte("127.10.0.0/16 # a hoster\n"+w.Name(0)+"\n"+w.Name(1)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Settings.Block = []string{list}
	sweepAll(t, c)
	hoster := netip.MustParsePrefix("127.10.0.0/16")
	names, networks := 0, 0
	for row, err := range result.Rows(c.Dir) {
		if err != nil {
			t.Fatal(err)
		}
		if row.Target == w.Name(0) || row.Target == w.Name(1) {
			names++
			if row.Verdict != verdict.SkipBlocked.String() {
				t.Errorf("%s: %s", row.Target, row.Verdict)
			}
		}
		for _, try := range row.Tries {
			addr, err := netip.ParseAddr(try.Address)
			if err != nil || !hoster.Contains(addr) {
				continue
			}
			networks++
			if try.Verdict != verdict.SkipBlocked.String() || try.TotalUS != 0 {
				t.Errorf("%s at %s: %s after %d us", try.Host, try.Address, try.Verdict, try.TotalUS)
			}
		}
	}
	if names != 2 || networks == 0 {
		t.Errorf("%d names and %d addresses were met", names, networks)
	}
}
