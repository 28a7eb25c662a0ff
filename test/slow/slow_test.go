// Package slow_test lets slowhttptest, which holds a thousand connections open by
// being slow on each, loose on penny, and asks meanwhile whether others are still
// answered.
package slow_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pennyfarthing/test/program"
)

// penny is the program that all tests here run.
var penny string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &penny)) }

const (
	// connections is what one attacker holds: a little less than penny grants one
	// client, so that the probe of slowhttptest, which comes from the same address,
	// is let in, too.
	connections = 1000

	granted = 1024 // as docs/limits.md says
	tooMany = 1500
)

// An attack is a way of being slow.
type attack struct {
	name    string
	flags   []string
	path    string
	seconds int  // that it lasts
	holds   bool // its connections for some seconds at least
}

var attacks = []attack{
	{"slow heads", []string{"-H", "-i", "2", "-x", "24"}, "", 15, true},
	{"slow bodies", []string{"-B", "-i", "2", "-x", "24", "-s", "8192"}, "", 15, false}, // 405, and the end
	{"slow reading", []string{"-X", "-w", "10", "-y", "20", "-n", "3", "-z", "32", "-k", "3"}, "large.bin", 10, true},
}

func TestOthersAreAnsweredWhileAThousandConnectionsAreSlow(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute; make test runs it")
	}
	c := newContent(t)
	for _, engine := range []string{"plain", "fast"} {
		for scheme, flag := range map[string]string{"http": "--tls=false", "https": "--tls"} {
			t.Run(engine+" "+scheme, func(t *testing.T) {
				t.Parallel()
				var s serving
				program.Start(t, penny, "serve", c.dir, "--json", flag, "--engine", engine, "--listen", "127.0.0.1:0").JSON(&s)
				for _, a := range attacks {
					t.Run(a.name, func(t *testing.T) {
						for a.attempt(t, s, c) == tooSlow {
							if a.seconds *= 2; a.seconds > 60 {
								t.Fatal("this machine has no time for slowhttptest to attack")
							}
						}
					})
				}
			})
		}
	}
}

// An attacker who asks for more connections than one client gets is refused, and
// nobody else is.
func TestOthersAreAnsweredWhileOneAddressHasAllItGets(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute; make test runs it")
	}
	c := newContent(t)
	for _, engine := range []string{"plain", "fast"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			var s serving
			program.Start(t, penny, "serve", c.dir, "--json", "--engine", engine, "--listen", "127.0.0.1:0").JSON(&s)
			stop := visit(t, s, c)
			seconds := attacks[2].run(t, s.URL, tooMany)
			stop()
			for i, s := range seconds {
				if s.connected > granted+20 { // some are about to be closed
					t.Errorf("second %d: the attacker has %d connections, want %d at most", i, s.connected, granted)
				}
			}
			const refusals = `penny_refusals_total{pop="",reason="connections per client"} `
			if n, err := s.metric(refusals); err != nil || n == 0 {
				t.Errorf("%d refusals are counted: %v", n, err)
			}
			s.waitUntilIdle(t)
		})
	}
}

// content is a directory with a few files.
type content struct {
	dir   string
	files map[string][]byte // by their path in a URL
}

func newContent(t *testing.T) content {
	t.Helper()
	c := content{t.TempDir(), map[string][]byte{"": []byte("<!DOCTYPE html><title>Here</title>"), "medium.bin": make([]byte, 20_000)}}
	large := make([]byte, 1_000_000) // more than the buffers of a connection hold, three times over
	random := rand.NewChaCha8([32]byte{'s', 'l', 'o', 'w'})
	_, _ = random.Read(large) // never fails
	_, _ = random.Read(c.files["medium.bin"])
	for name, data := range map[string][]byte{"index.html": c.files[""], "medium.bin": c.files["medium.bin"], "large.bin": large} {
		if err := os.WriteFile(filepath.Join(c.dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// serving is the line that penny serve --json prints.
type serving struct {
	URL   string `json:"url"`
	CA    string `json:"ca"`
	Admin string `json:"admin"`
}

// A second is a line of the statistics of slowhttptest.
type second struct{ closed, pending, connected, available int }

// run attacks for some seconds and returns the statistics.
func (a attack) run(t *testing.T, url string, connections int) []second {
	t.Helper()
	tool, err := exec.LookPath("slowhttptest")
	if err != nil {
		t.Skip("cannot run: there is no slowhttptest in PATH; scripts/packages names the package")
	}
	prefix := filepath.Join(t.TempDir(), "stats")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	args := append([]string{"-c", strconv.Itoa(connections), "-r", "300", "-p", "5", "-l", strconv.Itoa(a.seconds), "-g", "-o", prefix, "-u", url + a.path}, a.flags...)
	out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("slowhttptest: %v\n%s", err, out)
	}
	text, err := os.ReadFile(prefix + ".csv")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("slowhttptest says:\n%s", text)
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil || len(rows) < 2 || strings.Join(rows[0], ",") != "Seconds,Closed,Pending,Connected,Service Available" {
		t.Fatalf("the statistics of slowhttptest: %v", err)
	}
	seconds := make([]second, len(rows)-1)
	for i, row := range rows[1:] {
		for j, into := range []*int{&seconds[i].closed, &seconds[i].pending, &seconds[i].connected, &seconds[i].available} {
			if *into, err = strconv.Atoi(row[j+1]); err != nil {
				t.Fatalf("the statistics of slowhttptest: %v", err)
			}
		}
	}
	return seconds
}

// An attempt is what an attack came to.
type attempt int

const (
	attacked attempt = iota
	tooSlow          // too few connections were made to speak of an attack
)

// attempt attacks once, and fails if others, or slowhttptest's own probe, were not
// answered. A machine with other work to do may need a longer attack.
func (a attack) attempt(t *testing.T, s serving, c content) attempt {
	t.Helper()
	stop := visit(t, s, c)
	seconds := a.run(t, s.URL, connections)
	stop()
	s.waitUntilIdle(t)
	held := 0
	for i, second := range seconds {
		held = max(held, second.connected)
		if second.available == 0 {
			t.Errorf("second %d: slowhttptest found no service", i)
		}
	}
	// The last line may be a second old, and penny closes the first connections
	// while slowhttptest still makes others.
	last := seconds[len(seconds)-1]
	if made := last.closed + last.connected; made < connections/2 || a.holds && held < connections/5 {
		t.Logf("slowhttptest came to make %d connections and to hold %d at once", made, held)
		return tooSlow
	}
	return attacked
}

// protocols returns what penny speaks there.
func (s serving) protocols() []string {
	if s.CA == "" {
		return program.Protocols[:1]
	}
	return program.Protocols
}

// visitor is the address of somebody else on this machine.
var visitor = netip.MustParseAddr("127.0.0.9")

const (
	patience = 10 * time.Second // with an answer, on a machine that is busy
	atLeast  = 5                // answers for each file over each protocol in any attack
)

// visit lets a client for each protocol ask for one file after the other until
// stop is called, which fails if an answer was wrong or late.
func visit(t *testing.T, s serving, c content) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var visitors sync.WaitGroup
	for _, protocol := range s.protocols() {
		client := program.Client(t, protocol, s.CA)
		client.Timeout = patience
		program.From(t, client, visitor, nil)
		visitors.Go(func() {
			var longest time.Duration
			n := 0
			for ; ctx.Err() == nil; n++ {
				for path, want := range c.files {
					start := time.Now()
					if err := get(client, s.URL+path, protocol, want); err != nil {
						t.Errorf("%s: answer %d after %v: %v", protocol, n, time.Since(start), err)
						return
					}
					longest = max(longest, time.Since(start))
				}
				if n%5 == 0 {
					client.CloseIdleConnections() // to be let in anew is more than to be answered
				}
				time.Sleep(10 * time.Millisecond) // penny and the attack need the processors, too
			}
			t.Logf("%s: %d rounds, and the longest wait was %v", protocol, n, longest)
			if n < atLeast {
				t.Errorf("%s: only %d rounds of answers during the whole attack", protocol, n)
			}
		})
	}
	return func() {
		cancel()
		visitors.Wait()
	}
}

// get asks for a file and compares it.
func get(client *http.Client, url, protocol string, want []byte) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || resp.Proto != protocol || !bytes.Equal(body, want) {
		return fmt.Errorf("%s %s with %d bytes, want the %d of the file", resp.Proto, resp.Status, len(body), len(want))
	}
	return nil
}

// waitUntilIdle waits until penny has none of the connections of an attack left.
func (s serving) waitUntilIdle(t *testing.T) {
	t.Helper()
	const few = 10 // of the visitors
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		open, err := s.metric(`penny_connections{pop=""} `)
		if err == nil && open <= few {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the attack penny still has %d connections: %v", open, err)
		}
	}
}

// metric asks penny for one of its metrics, by its name with labels and a space.
func (s serving) metric(name string) (int, error) {
	resp, err := http.Get(s.Admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if number, ok := strings.CutPrefix(line, name); ok {
			return strconv.Atoi(strings.TrimSpace(number))
		}
	}
	return 0, errors.New("the metrics have no " + name)
}
