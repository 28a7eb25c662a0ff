package fleet_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pennyfarthing/test/program"
)

// A poller asks for pages as visitors do, and for the asset that each names, at
// another POP.
type poller struct {
	fleet   running
	clients []*http.Client // one a protocol

	mu      sync.Mutex     // guards what follows
	seen    map[string]int // pages of each version
	open    []opened       // pages that somebody has open, the latest last
	late    int            // assets of such pages that were asked for
	assets  int
	strayed int // assets whose page came from another POP
	wrong   []string
}

// An opened is a page that somebody has open.
type opened struct{ asset, version string }

// maxOpen is how many pages are open at a time: some of many versions.
const maxOpen = 2000

func newPoller(t *testing.T, r running) *poller {
	t.Helper()
	p := &poller{fleet: r, seen: make(map[string]int)}
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		p.clients = append(p.clients, program.Client(t, protocol, r.CA))
	}
	return p
}

// pollers is how many visitors there are at a time.
const pollers = 4

// run polls until stop is closed.
func (p *poller) run(stop <-chan struct{}) {
	var wait sync.WaitGroup
	for number := range pollers {
		wait.Go(func() {
			for turn := number; ; turn++ {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond): // the deploys want some of the machine too
				}
				p.visit(turn)
			}
		})
	}
	wait.Wait()
}

// visit asks for a page and its asset. Which page, POPs, protocol and coding comes
// of the turn; all combinations come up.
func (p *poller) visit(turn int) {
	n := len(p.fleet.POPs)
	from := turn % n
	client := p.clients[turn/n%len(p.clients)]
	page := pages[turn/7%len(pages)]
	coding := []string{"", "gzip"}[turn/11%2]
	text, version, ok := p.ask(client, from, page, coding)
	if !ok {
		return
	}
	named := assetOf.FindStringSubmatch(text)
	if named == nil {
		p.complain("%s at %s names no asset", page, p.fleet.POPs[from].Name)
		return
	}
	at := (from + turn/5) % n
	_, of, ok := p.ask(client, at, named[1], coding)
	if !ok {
		return
	}
	if of != version {
		p.complain("%s, which a page of version %s names, is of version %s", named[1], version, of)
	}
	p.later(turn, client, coding)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[version]++
	p.assets++
	if at != from {
		p.strayed++
	}
	if p.open = append(p.open, opened{named[1], version}); len(p.open) > maxOpen {
		p.open = p.open[len(p.open)-maxOpen:]
	}
}

// later asks for what a page names that has been open for a while.
func (p *poller) later(turn int, client *http.Client, coding string) {
	p.mu.Lock()
	if len(p.open) == 0 {
		p.mu.Unlock()
		return
	}
	page := p.open[turn*31%len(p.open)]
	p.mu.Unlock()
	_, of, ok := p.ask(client, turn/3%len(p.fleet.POPs), page.asset, coding)
	if !ok {
		return
	}
	if of != page.version {
		p.complain("%s, which a page of version %s names, is of version %s later", page.asset, page.version, of)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late++
}

// ask asks one POP for one thing, and returns it with its version.
func (p *poller) ask(client *http.Client, pop int, path, coding string) (text, version string, ok bool) {
	what := fmt.Sprintf("%s at %s", path, p.fleet.POPs[pop].Name)
	req, err := http.NewRequest(http.MethodGet, p.fleet.POPs[pop].HTTPS+path, nil)
	if err != nil {
		p.complain("%s: %v", what, err)
		return "", "", false
	}
	if coding != "" {
		req.Header.Set("Accept-Encoding", coding)
	}
	resp, err := client.Do(req)
	if err != nil {
		p.complain("%s: %v", what, err)
		return "", "", false
	}
	defer resp.Body.Close()
	in := io.Reader(resp.Body)
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if in, err = gzip.NewReader(resp.Body); err != nil {
			p.complain("%s: %v", what, err)
			return "", "", false
		}
	}
	data, err := io.ReadAll(in)
	if err != nil || resp.StatusCode != http.StatusOK {
		p.complain("%s over %s: %s, %v", what, resp.Proto, resp.Status, err)
		return "", "", false
	}
	if version, err = versionOf(string(data)); err != nil {
		p.complain("%s over %s: %v", what, resp.Proto, err)
		return "", "", false
	}
	return string(data), version, true
}

func (p *poller) complain(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
}

// No visitor ever sees half a release, or a page whose asset is gone, whichever POP
// each comes from.
func TestVisitorsSeeWholeReleasesThroughoutFiftyDeploysAndRollbacks(t *testing.T) {
	t.Parallel()
	moves := 50
	if testing.Short() {
		moves = 10
	}
	term := newTerminal(t)
	term.writeVersion(0)
	_, r := term.up()
	p := newPoller(t, r)
	stop := make(chan struct{})
	var polling sync.WaitGroup
	polling.Go(func() { p.run(stop) })
	deploys, rollbacks := 0, 0
	for move := 1; move <= moves && !t.Failed(); move++ {
		if move%3 == 0 {
			term.wants("rollback "+site, "live on 3 of 3")
			rollbacks++
			continue
		}
		term.writeVersion(move)
		term.wants("deploy", "live on 3 of 3")
		deploys++
	}
	close(stop)
	polling.Wait()
	t.Logf("%d deploys and %d rollbacks; %d pages of %d versions with their assets, of which %d were asked at another POP than their page, and %d later", deploys, rollbacks, p.assets, len(p.seen), p.strayed, p.late)
	if len(p.wrong) > 0 {
		t.Errorf("%d answers were wrong, these among them:\n%s", len(p.wrong), strings.Join(p.wrong[:min(20, len(p.wrong))], "\n"))
	}
	if len(p.seen) < deploys/2 || p.strayed < moves || p.late < moves {
		t.Errorf("so little was asked that nothing is proved: %v", p.seen)
	}
}
