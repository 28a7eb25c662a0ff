package fleet_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pennyfarthing/test/program"
)

// lines collects what a process writes, and can be waited on.
type lines struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write adds to it.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text)
}

// Whenever all POPs are killed at once in a deploy, each serves a whole release
// afterwards: what was acknowledged at least, and nothing that was never deployed.
// They need nobody for that.
func TestWhatWasAcknowledgedIsServedAfterEveryKill(t *testing.T) {
	t.Parallel()
	moments := []string{
		`"event":"wave","site":"example.org","wave":"prepare"`,
		`"do":"send"`,
		`"event":"wave","site":"example.org","wave":"activate"`,
		`"do":"activate"`,
		`"event":"wave","site":"example.org","wave":"finish"`,
	}
	if testing.Short() {
		moments = moments[3:4]
	}
	term := newTerminal(t)
	term.writeVersion(0)
	acknowledged := 0
	for i, moment := range moments {
		p, r := term.up()
		wantVersion(t, r, acknowledged)
		next := i + 1
		term.writeVersion(next)
		finished := killIn(t, term, p, moment)
		if finished {
			acknowledged = next
		}
		t.Logf("killed after %s: acknowledged: %v", moment, finished)
		for _, p := range r.POPs {
			alone(t, term, r.CA, p.Name, acknowledged, next)
		}
		term.writeVersion(acknowledged)
	}
	_, r := term.up()
	wantVersion(t, r, acknowledged)
}

// killIn deploys, kills penny up when the deploy says something, and reports
// whether the deploy has succeeded nevertheless.
func killIn(t *testing.T, term *terminal, p *program.Process, moment string) bool {
	t.Helper()
	cmd := term.command("deploy", "--json")
	said := new(lines)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.After(time.Minute)
	for killed := false; ; {
		select {
		case err := <-ended:
			if !killed {
				p.Signal(syscall.SIGKILL)
			}
			_ = p.Wait(time.Minute) // killed
			return err == nil
		case <-deadline:
			t.Fatalf("the deploy does not end: %s", &said.buf)
		case <-time.After(200 * time.Microsecond):
			if !killed && said.has(moment) {
				p.Signal(syscall.SIGKILL)
				killed = true
			}
		}
	}
}

// alone runs the agent of one POP without control, and wants it to serve one
// whole version: the acknowledged one, or the next.
func alone(t *testing.T, term *terminal, ca, pop string, acknowledged, next int) {
	t.Helper()
	p := program.Start(t, penny, "agent", "--json", "--state", filepath.Join(term.state, "up", "terminal", "pops", pop),
		"--api", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--http", "", "--admin", "")
	var r struct {
		HTTPS string `json:"https"`
	}
	p.JSON(&r)
	_, port, _ := strings.Cut(r.HTTPS, ":")
	client := program.Client(t, "HTTP/2.0", ca)
	for _, page := range pages {
		resp, err := client.Get("https://localhost:" + port + page)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		version, wrong := versionOf(string(text))
		if err != nil || wrong != nil || resp.StatusCode != 200 {
			t.Errorf("%s of %s alone: %s, %v, %v", page, pop, resp.Status, err, wrong)
		}
		if version != fmt.Sprint(acknowledged) && version != fmt.Sprint(next) {
			t.Errorf("%s serves version %s of %s; %d was acknowledged, and %d was being deployed", pop, version, page, acknowledged, next)
		}
	}
	p.Signal(syscall.SIGTERM)
	if err := p.Wait(time.Minute); err != nil {
		t.Errorf("the agent of %s ends with %v: %s", pop, err, p.Stderr())
	}
}

// wantVersion wants every POP to serve a version.
func wantVersion(t *testing.T, r running, want int) {
	t.Helper()
	for _, page := range pages {
		for i, got := range served(t, r, page) {
			version, err := versionOf(strings.TrimPrefix(got, "200 OK "))
			if err != nil || version != fmt.Sprint(want) {
				t.Errorf("%s serves version %q of %s, want %d: %v", r.POPs[i].Name, version, page, want, err)
			}
		}
	}
}

// A start that has nothing to deploy leaves the head as it was before the kill.
func TestAKillThatNobodyNoticesChangesNothing(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.writeVersion(0)
	p, _ := term.up()
	term.writeVersion(1)
	term.wants("deploy", "live on 3 of 3")
	var deployed struct {
		Sites []struct {
			Release    string `json:"release"`
			Generation uint64 `json:"generation"`
		} `json:"sites"`
	}
	term.reads(&deployed, "status")
	p.Signal(syscall.SIGKILL)
	_ = p.Wait(time.Minute) // killed
	_, r := term.up()
	if s := r.Sites[0]; s.Deployed || s.Generation != deployed.Sites[0].Generation || s.Release != deployed.Sites[0].Release {
		text, _ := json.Marshal(s)
		t.Errorf("after the kill it is %s, before %+v", text, deployed.Sites[0])
	}
	wantVersion(t, r, 1)
}
