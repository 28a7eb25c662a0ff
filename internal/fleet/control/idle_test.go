package control_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/lockfile"
)

// A safeLog is a log that is read while somebody writes it.
type safeLog struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

// Write adds to it.
func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is what was written.
func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// An idleHome is a home that makes best codings while it runs.
type idleHome struct {
	*home
	t      *testing.T
	log    *safeLog
	state  string
	opened atomic.Int64 // how often the fleet was opened, by rounds and by who codes
}

// idle makes a home that looks again and again, and is busy when somebody says so.
func (f *testFleet) idle(busy func() bool) *idleHome {
	f.t.Helper()
	h := &idleHome{home: f.home(0, all()...), t: f.t, log: new(safeLog)}
	open := h.Open
	h.Keeper.Open = func(events func(control.Event)) (*control.Fleet, error) {
		h.opened.Add(1)
		c, err := open(events)
		if err == nil {
			h.state = c.StateDir
		}
		return c, err
	}
	h.Best, h.Busy, h.Every, h.Log = true, busy, 20*time.Millisecond, slog.New(slog.NewTextHandler(h.log, nil))
	return h
}

// run runs it until what is returned is called, which waits for its end.
func (h *idleHome) run() (stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Errorf("it ends with %v", err)
		}
	})
	h.t.Cleanup(stop)
	return stop
}

// until waits for something.
func (h *idleHome) until(what string, is func() bool) {
	h.t.Helper()
	for limit := time.Now().Add(2 * time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			h.t.Fatalf("it does not come about that %s; the log:\n%s", what, h.log)
		}
	}
}

// later waits until the fleet has been looked at several times more, by both.
func (h *idleHome) later() {
	h.t.Helper()
	from := h.opened.Load()
	h.until("it goes on looking", func() bool { return h.opened.Load() >= from+8 })
}

// sent is how many codings the log says were sent.
func (h *idleHome) sent() int {
	h.t.Helper()
	total := 0
	for _, found := range regexp.MustCompile(`best codings sent".* objects=(\d+)`).FindAllStringSubmatch(h.log.String(), -1) {
		n, err := strconv.Atoi(found[1])
		if err != nil {
			h.t.Fatal(err)
		}
		total += n
	}
	return total
}

func never() bool { return false }

// allBest is how many best codings there are of a tree: as many as somebody makes who does
// not wait for idle time.
func allBest(t *testing.T, tr tree) int {
	t.Helper()
	f := newFleet(t, "xx")
	r, err := f.open().Deploy(t.Context(), control.DeployOptions{Site: site, Dir: tr.dir(t), Best: true})
	if err != nil || r.Refined.Objects == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	return r.Refined.Objects
}

// A machine at home that never had the files makes the best codings by itself, once.
func TestTheBestCodingsAreMadeAtHomeInIdleTime(t *testing.T) {
	want := allBest(t, pages("one"))
	f := newFleet(t, "au", "ny")
	c := f.open()
	f.deploy(c, pages("one"))
	h := f.idle(never)
	stop := h.run()
	h.until("the POPs have them", func() bool { return h.sent() > 0 })
	h.later()
	for _, p := range f.pops {
		if n := p.bestForms(); n != want {
			t.Errorf("%s has %d best codings, want %d", p.name, n, want)
		}
	}
	if n := strings.Count(h.log.String(), `msg="best codings sent"`); n != 1 || h.sent() != want {
		t.Errorf("%d codings were sent, %d times; want %d, once:\n%s", h.sent(), n, want, h.log)
	}
	f.shows("one")
	// Of the next release only what is new.
	tr := pages("one")
	tr["style.css"] = strings.Repeat("p { color: red }\n", 200)
	f.deploy(c, tr)
	h.until("those of the next release are sent", func() bool { return h.sent() > want })
	h.later()
	if got := h.sent(); got != want+1 {
		t.Errorf("%d codings were sent, want %d", got, want+1)
	}
	stop()
	// Somebody else who looks has nothing to do: POPs say what they lack.
	other := f.idleAs("other")
	other.run()
	other.later()
	if other.sent() != 0 {
		t.Errorf("another machine sends them again:\n%s", other.log)
	}
}

// idleAs is idle for another machine.
func (f *testFleet) idleAs(name string) *idleHome {
	f.t.Helper()
	id, err := f.owner.AddMember(name, []keys.Right{{What: keys.Deploy}}, cryptoRand())
	if err != nil {
		f.t.Fatal(err)
	}
	h := &idleHome{home: &home{Keeper: new(control.Keeper)}, t: f.t, log: new(safeLog)}
	state := f.t.TempDir()
	_, roster := f.owner.Roster()
	for _, p := range f.pops {
		p.put("/v1/roster", marshal(f.t, roster))
	}
	h.Keeper.Open = func(events func(control.Event)) (*control.Fleet, error) {
		h.opened.Add(1)
		return control.Open(control.Options{StateDir: state, ID: id, POPs: f.where, Events: events})
	}
	h.Best, h.Busy, h.Every, h.Log = true, never, 20*time.Millisecond, slog.New(slog.NewTextHandler(h.log, nil))
	return h
}

// Whatever else wants the machine goes before, and nothing that was sent is sent again.
func TestBestCodingsWaitForIdleTime(t *testing.T) {
	tr := pages("one")
	for i := range 10 {
		tr[fmt.Sprintf("long/%d.txt", i)] = prose(uint64(i), 100)
	}
	want := allBest(t, tr)
	f := newFleet(t, "au")
	f.deploy(f.open(), tr)
	var busy atomic.Bool
	busy.Store(true)
	h := f.idle(busy.Load)
	var ahead atomic.Int64 // of the clock, in nanoseconds
	h.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	h.run()
	h.later()
	if n := f.pops[0].bestForms(); n != 0 || strings.Contains(h.log.String(), "best codings wait") {
		t.Errorf("%d were made while the machine was busy:\n%s", n, h.log)
	}
	ahead.Store(int64(61 * time.Minute))
	h.until("it says that they wait", func() bool { return strings.Contains(h.log.String(), "best codings wait") })
	busy.Store(false)
	h.until("they are sent", func() bool { return f.pops[0].bestForms() == want })
	h.later()
	if got := h.sent(); got != want {
		t.Errorf("%d codings were sent, want %d:\n%s", got, want, h.log)
	}
}

func TestBestCodingsWaitForADeployFromThisMachine(t *testing.T) {
	f := newFleet(t, "au")
	f.deploy(f.open(), pages("one"))
	h := f.idle(never)
	if r := h.round(t); !r.OK() { // which makes the state directory
		t.Fatalf("%+v", r)
	}
	dir := filepath.Join(keys.FleetDir(h.state, fleetName), "cache", "sites", "other.example")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	giveBack, err := lockfile.Take(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	h.run()
	h.later()
	if n := f.pops[0].bestForms(); n != 0 {
		t.Errorf("%d were made during a deploy", n)
	}
	if err := giveBack(); err != nil {
		t.Fatal(err)
	}
	h.until("they are sent", func() bool { return f.pops[0].bestForms() > 0 })
}

func TestAPOPThatWasAwayGetsItsBestCodingsWhenItIsBack(t *testing.T) {
	f := newFleet(t, "au", "ny")
	c := f.open()
	f.deploy(c, pages("one"))
	want := allBest(t, pages("one"))
	h := f.idle(never)
	ny := f.pops[1]
	ny.stop()
	h.run()
	h.until("the other has them", func() bool { return f.pops[0].bestForms() == want })
	ny.start()
	h.until("it gets them when it is back", func() bool { return ny.bestForms() == want })
}
