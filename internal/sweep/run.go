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
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
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

// leaseTime is how long a shard is leased; it is extended while it is being asked.
const leaseTime = 10 * time.Minute

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
	r := &run{Config: c, began: time.Now(), want: make(chan struct{}, aheadShards+1), full: make(chan *openShard, 64), failed: make(chan error, 1), listed: make(chan struct{}), open: map[uint32]queue.Lease{}}
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

func (r *run) listOptions() target.Options {
	return target.Options{Column: r.Settings.Column, ShardSize: r.Settings.ShardSize, Stdin: r.Stdin}
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

// lister opens the list, or makes the names of the simulated internet one.
func (r *run) lister() (*target.Lister, error) {
	s := r.Settings.Simnet
	if s == nil {
		return target.Open(r.Settings.Lists, r.listOptions())
	}
	o := r.listOptions()
	o.Stdin = &names{world: r.world, n: s.Targets}
	return target.Open([]string{"-"}, o)
}

// names reads as the list of a simulated internet's names.
type names struct {
	world *simnet.World
	n, i  int
	rest  string
}

func (n *names) Read(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		if n.rest == "" {
			if n.i == n.n {
				break
			}
			n.rest = n.world.Name(n.i) + "\n"
			n.i++
		}
		c := copy(p[done:], n.rest)
		n.rest = n.rest[c:]
		done += c
	}
	if done == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return done, nil
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
		reactor: reactor, health: new(health.Monitor), counters: &r.counters, concurrency: concurrency, resolving: 2 * max(50, s.DNSConcurrency),
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
	blocked, err := lists(s.Block)
	if err != nil {
		return nil, nil, err
	}
	optout, err := lists(s.Optout)
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

// lists reads files of networks and names.
func lists(files []string) (*block.List, error) {
	l := new(block.List)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, &mistake.Error{File: name, What: fmt.Sprintf("cannot be read: %v", errors.Unwrap(err)), Hint: "it must have a network or a name a line"}
		}
		err = l.Read(f, name)
		_ = f.Close()
		if err != nil {
			return nil, &mistake.Error{What: err.Error(), Hint: "write a network such as 192.0.2.0/24, or a name, on each line"}
		}
	}
	return l, nil
}

// list adds the list's shards to the queue.
func (r *run) list(ctx context.Context) error {
	l, err := r.lister()
	if err != nil {
		return err
	}
	defer l.Close()
	codec, err := target.NewCodec()
	if err != nil {
		return err
	}
	if err := queue.Feed(ctx, &counting{r.queue, l, &r.counters, r.limitUnnamed}, l, codec, time.Now); err != nil {
		return err
	}
	stats := l.Stats()
	if stats.Targets > 0 {
		r.manifest.List = &stats
	}
	p, err := r.queue.Progress(ctx)
	if err != nil {
		return err
	}
	r.counters.Listed.Store(p.Targets)
	r.counters.Shards.Store(int64(p.Shards))
	r.counters.AllListed.Store(true)
	if p.Targets > manyTargets && !r.Settings.simulated() {
		r.warnResolvers(p.Targets)
	}
	close(r.listed)
	return nil
}

// limitUnnamed refuses long lists to who does not say who they are.
func (r *run) limitUnnamed(targets int64) error {
	if targets <= manyTargets || r.Settings.Contact != "" || r.Settings.simulated() {
		return nil
	}
	return &mistake.Error{
		What: fmt.Sprintf("a list of more than %d targets needs --contact: their owners must be able to reach you", manyTargets),
		Hint: "write --contact mailto:me@example.org or --contact https://example.org/bot; docs/abuse.md says what else is usual",
	}
}

func (r *run) warnResolvers(targets int64) {
	for _, addr := range r.Settings.Resolvers {
		if resolve.Public(addr.Addr()) {
			r.Say(fmt.Sprintf("note: %s is a public resolver, and will not answer for %d names as quickly as you ask; run one of your own (apt install unbound) and write --resolver 127.0.0.1", addr, targets))
			return
		}
	}
}

// counting is a queue that counts what is added.
type counting struct {
	queue.Queue
	list     *target.Lister
	counters *Counters
	check    func(targets int64) error
}

func (c *counting) Add(ctx context.Context, shards ...queue.Shard) error {
	stats := c.list.Stats()
	c.counters.Bad.Store(stats.Bad)
	c.counters.Duplicates.Store(stats.Duplicates)
	if err := c.check(stats.Targets); err != nil {
		return err
	}
	if err := c.Queue.Add(ctx, shards...); err != nil {
		return err
	}
	c.counters.Listed.Store(stats.Targets)
	c.counters.Shards.Add(int64(len(shards)))
	return nil
}

// mayAsk waits until it is known that the list may be asked: one without a contact
// must be short.
func (r *run) mayAsk(ctx context.Context) error {
	if r.Settings.Contact != "" || r.Settings.simulated() {
		return nil
	}
	select {
	case <-r.listed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lease hands shards to the worker, as it wants them, until there are none.
func (r *run) lease(ctx context.Context, w *worker) error {
	codec, err := target.NewCodec()
	if err != nil {
		return err
	}
	if err := r.mayAsk(ctx); err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d", r.Settings.Vantage, os.Getpid())
	for {
		select {
		case <-r.want:
		case <-ctx.Done():
			return ctx.Err()
		}
		lease, err := r.next(ctx, name)
		if errors.Is(err, queue.ErrFinished) {
			r.complete.Store(true)
			r.finished()
			return nil
		}
		if err != nil {
			return err
		}
		r.leased.Store(true)
		data, err := r.queue.Targets(ctx, lease.Shard)
		if err != nil {
			return err
		}
		items, err := codec.Decode(data)
		if err != nil {
			return fmt.Errorf("read the targets of shard %d: %w", lease.Shard, err)
		}
		part, err := r.parts.Create(int(lease.Shard), len(items))
		if err != nil {
			return err
		}
		s := &openShard{lease: lease, items: items, part: part}
		r.opened(s)
		w.reactor.Post(func() { w.take(s) })
	}
}

// opened notes a shard whose lease must be extended.
func (r *run) opened(s *openShard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[s.lease.Shard] = s.lease
}

func (r *run) closed(s *openShard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, s.lease.Shard)
}

// extend extends the leases of the shards that are being asked.
func (r *run) extend(ctx context.Context) error {
	ticker := time.NewTicker(leaseTime / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		r.mu.Lock()
		leases := slices.Collect(maps.Values(r.open))
		r.mu.Unlock()
		for _, lease := range leases {
			err := r.queue.Extend(ctx, lease, leaseTime)
			if err != nil && !errors.Is(err, queue.ErrDone) && !errors.Is(err, queue.ErrLost) {
				return err
			}
		}
	}
}

// next waits for a shard. The list may still be growing, and shards that are being
// asked may come back.
func (r *run) next(ctx context.Context, worker string) (queue.Lease, error) {
	const often = 20 * time.Millisecond
	for {
		lease, err := r.queue.Lease(ctx, worker, leaseTime)
		if !errors.Is(err, queue.ErrNone) {
			return lease, err
		}
		select {
		case <-time.After(often):
		case <-ctx.Done():
			return lease, ctx.Err()
		}
	}
}

// suspectShare of a shard's rows has it done again, once: its targets were asked
// again one by one already, as often as Redos says.
const suspectShare = 0.01

// commit commits the shards that are full.
func (r *run) commit(ctx context.Context) error {
	for {
		var s *openShard
		select {
		case s = <-r.full:
		case <-ctx.Done():
			return ctx.Err()
		}
		r.closed(s)
		if float64(s.suspect) >= suspectShare*float64(len(s.items)) && s.suspect > 0 && len(s.lease.Suspicions) == 0 {
			s.part.Discard()
			if err := r.queue.Return(ctx, s.lease, fmt.Sprintf("our own line was ill: %d of %d rows are suspect", s.suspect, len(s.items))); err != nil {
				return err
			}
			r.uncount(s)
			continue
		}
		info, err := s.part.Commit()
		if err != nil {
			return fmt.Errorf("write the rows of shard %d: %w", s.lease.Shard, err)
		}
		err = r.queue.Done(ctx, s.lease, queue.Part{
			Shard: s.lease.Shard, Attempt: s.lease.Attempt, File: filepath.Join(partsDir, info.File), Rows: int64(info.Rows), Bytes: info.Bytes, SHA256: info.SHA256,
		})
		if err != nil {
			return err
		}
		r.counters.Done.Add(int64(info.Rows))
		r.counters.ShardsDone.Add(1)
	}
}

// plan says what the run will do.
func (r *run) plan() string {
	s := &r.Settings
	if limits, paced := s.limits(); !paced {
		return fmt.Sprintf("asking as fast as this machine can, at most %d targets at a time", s.Concurrency)
	} else if !s.Pacing {
		return fmt.Sprintf("asking %g requests a second, and nobody in particular less", limits.All)
	}
	text := fmt.Sprintf("asking at most %g/s of an address and %g/s of a network (/24, /48)", s.AddressRate, s.NetworkRate)
	if s.DomainRate > 0 {
		text += fmt.Sprintf(", %g/s of a domain", s.DomainRate)
	}
	if s.Rate > 0 {
		text += fmt.Sprintf(", %g/s in all", s.Rate)
	}
	return text + "; how long that takes is known when names have been resolved"
}

// floorText says how long a polite run takes at least, and why.
func floorText(p *Progress) string {
	return fmt.Sprintf("at least %v, because about %d of the targets are in %s", p.Floor.Round(time.Second), p.InBusiest, p.Busiest)
}

// uncount takes the rows of a shard out of the counters: it is done again.
func (r *run) uncount(s *openShard) {
	r.counters.Asked.Add(-int64(len(s.items)))
	r.counters.Suspect.Add(-int64(s.suspect))
	for code, n := range s.codes {
		r.counters.Verdicts[code].Add(-int64(n))
	}
}

// report tells the progress.
func (r *run) report(ctx context.Context) error {
	r.Say(r.plan())
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	floor := time.Minute // less is not worth a word
	for {
		select {
		case now := <-ticker.C:
			p := r.counters.progress(r.began, now)
			if p.Floor > floor+floor/2 {
				floor = p.Floor
				r.Say(floorText(&p))
			}
			if r.Progress != nil {
				r.Progress(ctx, p)
			}
		case <-ctx.Done():
			return nil
		}
	}
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

// Unfinished finds the newest run below a directory that the same settings began and
// that is not finished, or is empty.
func Unfinished(below string, s *Settings) string {
	entries, err := os.ReadDir(below)
	if err != nil {
		return ""
	}
	found, newest := "", time.Time{}
	for _, e := range entries {
		dir := filepath.Join(below, e.Name())
		m, err := readManifest(dir)
		if err == nil && m.Finished == nil && m.Settings.same(s) == "" && m.Started.After(newest) && !strings.HasPrefix(e.Name(), ".") {
			found, newest = dir, m.Started
		}
	}
	return found
}

// A Status is how far a run is.
type Status struct {
	Dir        string    `json:"dir"`
	Started    time.Time `json:"started"`
	Finished   bool      `json:"finished"`
	Running    bool      `json:"running"` // by some penny, now
	Shards     int64     `json:"shards"`
	ShardsDone int64     `json:"shards_done"`
	Targets    int64     `json:"targets"`
	Rows       int64     `json:"rows"`
}

// ReadStatus reads how far a run is. While a penny works on it the parts that are
// there say so.
func ReadStatus(ctx context.Context, dir string) (*Status, error) {
	m, err := Open(dir)
	if err != nil {
		return nil, err
	}
	s := &Status{Dir: dir, Started: m.Started, Finished: m.Finished != nil}
	if m.List != nil {
		s.Targets = m.List.Targets
	}
	q, err := local.Open(dir, time.Now)
	if err != nil {
		s.Running = true
		parts, err := os.ReadDir(filepath.Join(dir, partsDir))
		for _, p := range parts {
			if !strings.HasPrefix(p.Name(), ".") {
				s.ShardsDone++
			}
		}
		s.Rows = s.ShardsDone * int64(m.Settings.ShardSize)
		return s, err
	}
	defer q.Close() // it was only read
	p, err := q.Progress(ctx)
	if err != nil {
		return nil, err
	}
	s.Shards, s.ShardsDone, s.Targets, s.Rows = int64(p.Shards), int64(p.Done), p.Targets, p.Rows
	return s, nil
}
