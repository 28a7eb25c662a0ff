package sweep

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/ask"
	"pennyfarthing/internal/sweep/block"
	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/fetch"
	"pennyfarthing/internal/sweep/health"
	"pennyfarthing/internal/sweep/pace"
	"pennyfarthing/internal/sweep/queue"
	"pennyfarthing/internal/sweep/queue/local"
	"pennyfarthing/internal/sweep/resolve"
	"pennyfarthing/internal/sweep/result"
	"pennyfarthing/internal/sweep/simnet"
	"pennyfarthing/internal/sweep/target"
)

// A Config is what a run needs beside its settings.
type Config struct {
	Settings Settings
	Dir      string // of the run
	Version  string // of penny
	Stdin    io.Reader
	Roots    *x509.CertPool // nil: the system's
	Log      *slog.Logger
	Metrics  string // address of Prometheus' metrics; empty: none
	DNSOnly  bool   // resolve, and ask nobody
	// Progress hears how far the run is, some times a second. It may be nil.
	Progress func(context.Context, Progress)
	// Say tells people what they should know. It may be nil.
	Say func(text string)
}

// manyTargets is from how many targets on a run needs a contact, and should not use a
// public resolver.
const manyTargets = 10_000

// ErrInterrupted is that ctx ended before the run did.
var ErrInterrupted = errors.New("interrupted")

// A run is one process's work on a run.
type run struct {
	*Config
	policy   ask.Policy
	manifest *Manifest
	queue    queue.Queue
	parts    *result.Parts
	counters Counters
	began    time.Time
	world    *simnet.World
	resolver *resolve.Resolver

	want     chan struct{} // a shard is wanted
	full     chan *openShard
	failed   chan error
	listed   chan struct{} // closed when the list was read
	ready    chan struct{} // closed when some of it was read, and it may be asked
	isReady  sync.Once     // closes ready
	told     chan struct{} // closed when the plan was said
	finished context.CancelFunc
	complete atomic.Bool
	begun    bool        // by this process
	leased   atomic.Bool // some shard was, so that somebody may have been asked

	mu   sync.Mutex // guards open
	open map[uint32]queue.Lease
}

// Run begins a run, or goes on with it, and returns what became of it. When ctx ends
// it stops within moments, with ErrInterrupted; what is committed stays.
func Run(ctx context.Context, c *Config) (*Manifest, error) {
	if c.Say == nil {
		c.Say = func(string) {}
	}
	r := &run{Config: c, began: time.Now(), want: make(chan struct{}, aheadShards+1), full: make(chan *openShard, 64), failed: make(chan error, 1), listed: make(chan struct{}), ready: make(chan struct{}), told: make(chan struct{}), open: map[uint32]queue.Lease{}}
	var err error
	if r.policy, err = c.Settings.policy(); err != nil {
		return nil, err
	}
	r.policy.DNSOnly = c.DNSOnly
	if r.manifest, err = r.prepare(ctx); err != nil {
		return nil, err
	}
	q, err := local.Open(c.Dir, time.Now)
	if err != nil {
		return nil, err
	}
	defer q.Close() // everything is on disk
	r.queue = q
	if err := result.Clean(c.Dir); err != nil {
		return nil, err
	}
	before, err := q.Progress(ctx)
	if err != nil {
		return nil, err
	}
	r.counters.Earlier.Store(before.TargetsDone)
	format, err := result.ParseFormat(c.Settings.Format)
	if err != nil {
		return nil, err
	}
	if r.parts, err = result.Open(c.Dir, format, result.Meta{Version: c.Version, Run: r.manifest.ID}); err != nil {
		return nil, err
	}
	defer r.parts.Close()
	if before.TargetsDone > 0 {
		c.Say(fmt.Sprintf("going on with %s: %d targets have their row already", c.Dir, before.TargetsDone))
	}
	usage := usageNow()
	err = r.work(ctx)
	if r.begun && !r.leased.Load() && ctx.Err() == nil && len(mistake.Of(err)) > 0 && !diskTrouble(err) {
		_ = q.Close()
		r.forget()
		return nil, err
	}
	r.manifest.Sessions = append(r.manifest.Sessions, r.session(usage))
	if err == nil {
		now := time.Now().UTC()
		r.manifest.Finished = &now
	}
	return r.manifest, errors.Join(err, r.manifest.write(c.Dir))
}

// prepare makes the directory, or finds in it what was begun.
func (r *run) prepare(ctx context.Context) (*Manifest, error) {
	m, err := readManifest(r.Dir)
	switch {
	case err == nil && m.Finished != nil:
		return nil, &mistake.Error{File: r.Dir, What: "there is a finished run here", Hint: "penny sweep report " + r.Dir + " shows it; -o names another directory for a new one"}
	case err == nil:
		if what := m.Settings.same(&r.Settings); what != "" {
			return nil, &mistake.Error{File: r.Dir, What: "there is an unfinished run here that differs in " + what, Hint: "penny sweep resume " + r.Dir + " goes on with it; -o names another directory for a new one"}
		}
		m.Settings = r.Settings // how fast, and who asks, is as was said last
		return m, m.write(r.Dir)
	case errors.Is(err, syscall.ENOTDIR):
		return nil, &mistake.Error{File: r.Dir, What: "cannot be the run's directory: it, or what it is in, is a file", Hint: "name another one with -o"}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	// The list is looked at before anything is written.
	if len(r.Settings.Lists) > 0 {
		lister, err := target.Open(r.Settings.Lists, r.listOptions())
		if err != nil {
			return nil, err
		}
		lister.Close()
	}
	if err := r.makeDir(); err != nil {
		return nil, err
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // it cannot fail
	r.begun = true
	m = &Manifest{Schema: manifestSchema, Rows: evidence.SchemaVersion, ID: hex.EncodeToString(id[:]), Version: r.Version, Settings: r.Settings, Started: r.began.UTC(), Vantage: vantage(ctx, r.Settings.Vantage)}
	return m, m.write(r.Dir)
}

// makeDir makes the run's directory. One in which a run was about to begin when it
// was killed will do, too.
func (r *run) makeDir() error {
	entries, err := os.ReadDir(r.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &mistake.Error{File: r.Dir, What: fmt.Sprintf("cannot be the run's directory: %v", errors.Unwrap(err)), Hint: "name another one with -o"}
	}
	for _, e := range entries {
		if e.Name() != partsDir && !strings.HasPrefix(e.Name(), manifestDraft) {
			return &mistake.Error{File: r.Dir, What: "is not empty, and no run", Hint: "name a directory with -o that is not there yet"}
		}
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(r.Dir, e.Name())); err != nil {
			return &mistake.Error{File: r.Dir, What: "is not empty, and no run", Hint: "name a directory with -o that is not there yet"}
		}
	}
	if err := os.MkdirAll(filepath.Join(r.Dir, partsDir), 0o755); err != nil {
		return &mistake.Error{File: r.Dir, What: fmt.Sprintf("cannot be the run's directory: %v", err), Hint: "name another one with -o"}
	}
	return nil
}

// forget removes the directory of a run that never asked anybody.
func (r *run) forget() {
	for _, name := range []string{manifestFile, local.Journal, local.Targets, partsDir, ""} {
		_ = os.Remove(filepath.Join(r.Dir, name)) // what has something in it stays
	}
}

// vantage is from where this machine would ask the internet. No packet is sent.
func vantage(ctx context.Context, name string) VantagePoint {
	v := VantagePoint{Name: name}
	if c, err := new(net.Dialer).DialContext(ctx, "udp4", "192.0.2.1:53"); err == nil {
		v.Address = c.LocalAddr().(*net.UDPAddr).IP.String()
		_ = c.Close()
	}
	if c, err := new(net.Dialer).DialContext(ctx, "udp6", "[2001:db8::1]:53"); err == nil {
		v.IPv6 = true
		_ = c.Close()
	}
	return v
}

// work asks everything that is to be asked.
func (r *run) work(outer context.Context) error {
	if s := r.Settings.Simnet; s != nil {
		profile, err := simnet.ParseProfile(s.Profile)
		if err != nil {
			return err
		}
		r.world = simnet.NewWorld(s.Seed, profile)
	}
	ctx, finish := context.WithCancel(outer)
	defer finish()
	r.finished = finish
	reactor, err := loop.NewReactor()
	if err != nil {
		return fmt.Errorf("prepare to ask: %w", err)
	}
	w, release, err := r.worker(reactor) //nolint:contextcheck // what it makes lives as long as the reactor does
	if err != nil {
		return err
	}
	defer release()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.list(ctx) })
	g.Go(func() error { return r.lease(ctx, w) })
	g.Go(func() error { return r.extend(ctx) })
	g.Go(func() error { return r.commit(ctx) })
	g.Go(func() error { return r.report(ctx) })
	g.Go(func() error {
		defer func() { w.stopped = true }()
		return w.run(ctx)
	})
	if r.Metrics != "" {
		at, serve, err := serveMetrics(ctx, r.Metrics, &r.counters, r.began)
		if err != nil {
			finish()
			_ = g.Wait() // it was told to end
			return &mistake.Error{What: err.Error(), Hint: "write --metrics with an address of this machine and a port that is free"}
		}
		r.Say("metrics at http://" + at.String() + "/metrics")
		g.Go(func() error { return serve(ctx) })
	}
	g.Go(func() error {
		select {
		case err := <-r.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	err = g.Wait()
	if r.complete.Load() && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	if outer.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = nil
	}
	if err == nil && outer.Err() != nil {
		return &mistake.Error{File: r.Dir, What: ErrInterrupted.Error(), Hint: "penny sweep resume " + r.Dir + " goes on"}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return r.explain(err)
	}
	if err != nil {
		return ErrInterrupted
	}
	return nil
}

// diskTrouble reports whether an error is one of the run's disk. The run can go on
// when that is mended, even if it has hardly begun.
func diskTrouble(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS, syscall.EIO} {
		if strings.Contains(err.Error(), e.Error()) { // the journal's errors are text in part
			return true
		}
	}
	return false
}

// explain says what to do about an error that ended the run.
func (r *run) explain(err error) error {
	if len(mistake.Of(err)) > 0 {
		return err
	}
	return &mistake.Error{File: r.Dir, What: err.Error(), Hint: "nothing is lost: when that is mended, penny sweep resume " + r.Dir + " goes on"}
}

// fail ends the run.
func (r *run) fail(err error) {
	select {
	case r.failed <- err:
	default: // one is enough
	}
}

// worker makes the worker and what it works with.
func (r *run) worker(reactor *loop.Reactor) (*worker, func(), error) {
	s := &r.Settings
	concurrency, descriptors := budget(s.Concurrency)
	w := &worker{
		reactor: reactor, health: new(health.Monitor), counters: &r.counters, concurrency: concurrency,
		resolving: max(2*max(50, s.DNSConcurrency), concurrency*2/5),
		full: func(o *openShard) {
			select {
			case r.full <- o:
			default: // the disk is slower than the net: wait for it
				r.full <- o
			}
		},
		more:   func() { r.want <- struct{}{} },
		broken: r.fail,
	}
	var servers []resolve.Server
	for _, addr := range s.Resolvers {
		servers = append(servers, resolve.Server{Addr: addr, Rate: s.ResolverRate})
	}
	fast := s.Engine == "fast" && loop.Supported
	resolver, err := resolve.New(reactor, resolve.Config{
		Servers: servers, Fast: fast, InFlight: s.DNSConcurrency, Timeouts: resolve.Timeouts{First: min(300*time.Millisecond, s.DNSTimeout), Max: s.DNSTimeout},
		Pause: r.policy.Pause, Log: r.Log,
	})
	if err != nil {
		return nil, nil, err
	}
	r.resolver, w.resolver = resolver, resolver
	fc := fetch.Config{UserAgent: s.UserAgent(r.Version), Roots: r.Roots, Descriptors: descriptors}
	fetcher := fetch.NewPlain(reactor, fc)
	if fast {
		if fetcher, err = fetch.NewFast(reactor, fc); err != nil {
			return nil, nil, err
		}
	}
	limits, paced := s.limits()
	if paced {
		w.pacer = pace.New(limits)
	}
	blocked, err := block.ReadFiles(s.Block)
	if err != nil {
		return nil, nil, err
	}
	optout, err := block.ReadFiles(s.Optout)
	if err != nil {
		return nil, nil, err
	}
	controls := s.Controls
	if len(controls) == 0 && s.simulated() {
		controls = simnet.NewWorld(0, simnet.Quick).Controls() // those of every world
	}
	for _, text := range controls {
		t, err := target.Parse(text)
		if err != nil {
			return nil, nil, &mistake.Error{What: fmt.Sprintf("--control %s: not a target: %v", text, err), Hint: "write --control https://www.example.org/"}
		}
		w.controls = append(w.controls, t)
	}
	r.policy.NoIPv6 = !r.manifest.Vantage.IPv6 && !s.AllowPrivate && !s.simulated()
	w.asker = ask.New(ask.Config{
		Reactor: reactor, Resolver: resolver, Fetcher: fetcher, Pacer: w.pacer, Health: w.health, Policy: r.policy, Block: blocked, Optout: optout,
		Redos: 5, Trouble: w.own,
	})
	return w, func() { fetcher.Close(); resolver.Close() }, nil
}

// session sums up what this process did.
func (r *run) session(before usage) Session {
	after := usageNow()
	s := Session{
		Began: r.began.UTC(), Ended: time.Now().UTC(), Targets: r.counters.Done.Load(), Tries: r.counters.Tries.Load(),
		Sent: r.counters.Sent.Load(), Received: r.counters.Received.Load(), User: after.user - before.user, System: after.system - before.system, PeakRSS: after.peak,
		Queries: r.queries(), Ill: r.counters.IllSeconds.Load(), Controls: r.counters.Controls.Load(), Failed: r.counters.ControlsFailed.Load(),
	}
	return s
}

// queries are the packets that were sent to resolvers. The reactor has ended.
func (r *run) queries() int64 {
	if r.resolver == nil {
		return 0
	}
	n := int64(0)
	for _, s := range r.resolver.Stats().Servers {
		n += s.Queries
	}
	return n
}

// Save writes run.json again.
func (m *Manifest) Save(dir string) error { return m.write(dir) }
