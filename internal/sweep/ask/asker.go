package ask

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net/netip"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/sweep/block"
	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/fetch"
	"pennyfarthing/internal/sweep/health"
	"pennyfarthing/internal/sweep/pace"
	"pennyfarthing/internal/sweep/resolve"
	"pennyfarthing/internal/verdict"
)

// A Resolver resolves names.
type Resolver interface{ Resolve(q *resolve.Question) }

// A Fetcher asks addresses.
type Fetcher interface{ Fetch(x *fetch.Exchange) }

// Config is what an Asker works with.
type Config struct {
	Reactor  *loop.Reactor
	Resolver Resolver
	Fetcher  Fetcher
	Pacer    *pace.Pacer // nil: nobody waits
	Health   *health.Monitor
	Policy   Policy
	Block    *block.List
	Optout   *block.List // names and networks whose owners have opted out
	// Redos is how often a target is done again because our line was ill, before
	// its row is marked as suspect.
	Redos int
	// Trouble hears of faults of our own; it may be nil.
	Trouble func(verdict.Code)
}

// An Asker has targets under way.
type Asker struct {
	reactor  *loop.Reactor
	resolver Resolver
	fetcher  Fetcher
	pacer    *pace.Pacer
	health   *health.Monitor
	policy   *Policy
	block    *block.List
	optout   *block.List
	redos    int
	onOwn    func(verdict.Code)

	names     resolverNames
	asked     []*question // free ones
	exchanges []*exchange // free ones
	active    int
	resolving int
	parked    int
	free      []*Task
	rows      []*evidence.Row // free ones
	connect   phase
	tls       phase
	answer    phase
}

// New returns an asker.
func New(c Config) *Asker {
	return &Asker{
		reactor: c.Reactor, resolver: c.Resolver, fetcher: c.Fetcher, pacer: c.Pacer, health: c.Health, policy: &c.Policy,
		block: c.Block, optout: c.Optout, redos: c.Redos, onOwn: c.Trouble, names: resolverNames{},
	}
}

// Active is the number of tasks that are under way and do not wait for a turn, a
// retry, or the line's recovery.
func (a *Asker) Active() int { return a.active }

// Resolving is the number of active tasks that wait for a resolver.
func (a *Asker) Resolving() int { return a.resolving }

// A question is one of a task's. Tasks have one only while it is asked.
type question struct {
	resolve.Question
	t *Task
}

func (a *Asker) question(t *Task) *question {
	var q *question
	if n := len(a.asked); n > 0 {
		q = a.asked[n-1]
		a.asked = a.asked[:n-1]
	} else {
		q = new(question)
		q.Done = func(*resolve.Question) { q.t.resolved(q) }
	}
	q.t = t
	return q
}

func (a *Asker) putQuestion(q *question) {
	q.t = nil
	if len(a.asked) < mostFree {
		a.asked = append(a.asked, q)
	}
}

// An exchange is one of a task's. Tasks have one only while somebody is asked.
type exchange struct {
	fetch.Exchange
	t *Task
}

func (a *Asker) exchange(t *Task) *exchange {
	var x *exchange
	if n := len(a.exchanges); n > 0 {
		x = a.exchanges[n-1]
		a.exchanges = a.exchanges[:n-1]
	} else {
		x = new(exchange)
		x.Done = func(*fetch.Exchange) { x.t.fetched() }
	}
	x.t = t
	return x
}

func (a *Asker) putExchange(x *exchange) {
	x.Exchange = fetch.Exchange{Done: x.Done}
	x.t = nil
	if len(a.exchanges) < mostFree {
		a.exchanges = append(a.exchanges, x)
	}
}

// mostFree of each kind are kept to be used again. That is for what ends and begins in
// one turn of the reactor: all that were ever under way at once would be a waste.
const mostFree = 1 << 9

// Parked is the number of tasks that wait.
func (a *Asker) Parked() int { return a.parked }

// Task returns a task to fill in.
func (a *Asker) Task() *Task {
	if n := len(a.free); n > 0 {
		t := a.free[n-1]
		a.free = a.free[:n-1]
		return t
	}
	return &Task{a: a}
}

// Free takes a task back after its Done.
func (a *Asker) Free(t *Task) {
	if len(a.free) < mostFree {
		clear(t.tries)
		a.free = append(a.free, t)
	}
	a.putRow(t)
}

// takeRow returns a row to fill in, and putRow takes a task's back.
func (a *Asker) takeRow() *evidence.Row {
	n := len(a.rows)
	if n == 0 {
		return new(evidence.Row)
	}
	r := a.rows[n-1]
	a.rows = a.rows[:n-1]
	return r
}

func (a *Asker) putRow(t *Task) {
	if t.Row != nil && len(a.rows) < mostFree {
		*t.Row = evidence.Row{}
		a.rows = append(a.rows, t.Row)
	}
	t.Row = nil
}

// Ask begins a task. Its Done is called when its row is complete, possibly before
// Ask returns where nothing had to be asked.
func (a *Asker) Ask(t *Task) {
	t.redone, t.parked = 0, false
	t.Sent, t.Received = 0, 0
	a.active++
	a.health.Began(a.reactor.Now())
	t.reset()
	t.nextChain()
}

func (a *Asker) done(t *Task) {
	t.putExchange()
	a.active--
	t.Done(t)
}

func (a *Asker) park(t *Task) {
	if !t.parked {
		t.parked = true
		a.active--
		a.parked++
	}
}

func (a *Asker) unpark(t *Task) {
	if t.parked {
		t.parked = false
		a.active++
		a.parked--
	}
}

func (a *Asker) trouble(v verdict.Code) {
	a.health.Short(a.reactor.Now())
	if a.onOwn != nil {
		a.onOwn(v)
	}
}

// port is the port that is asked instead of another.
func (a *Asker) port(port uint16) uint16 {
	if to, ok := a.policy.Ports[port]; ok {
		return to
	}
	return port
}

// mayNot says why a name must not be asked.
func (a *Asker) mayNot(host string) verdict.Code {
	switch {
	case a.optout.Name(host):
		return verdict.SkipOptout
	case a.block.Name(host):
		return verdict.SkipBlocked
	}
	return verdict.None
}

func hash(sample []byte) string {
	sum := sha256.Sum256(sample)
	return hex.EncodeToString(sum[:])
}

func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS13:
		return "1.3"
	case 0:
		return ""
	}
	return tls.VersionName(v)
}

// text is an address as text.
func (a *Asker) text(addr netip.Addr) string { return addr.String() }

// resolverNames are the few resolvers' addresses, as text.
type resolverNames map[netip.AddrPort]string

func (n resolverNames) of(addr netip.AddrPort) string {
	if !addr.IsValid() {
		return ""
	}
	name, ok := n[addr]
	if !ok {
		name = addr.String()
		n[addr] = name
	}
	return name
}

// adapt makes the timeouts of a first round as short as the run has shown that they
// may be. A retry has all the time there is.
func (a *Asker) adapt(x *fetch.Exchange) {
	x.Connect = a.connect.limit(x.Connect, 2500*time.Millisecond)
	x.Handshake = a.tls.limit(x.Handshake, 4*time.Second)
	x.FirstByte = a.answer.limit(x.FirstByte, 5*time.Second)
}

// learn takes note of how long phases take.
func (a *Asker) learn(x *fetch.Exchange) {
	if x.Status == 0 {
		return
	}
	a.connect.add(x.ConnectTook)
	a.answer.add(x.FirstByteTook)
	if x.Secure {
		a.tls.add(x.TLSTook)
	}
}

// A phase knows about how long the slowest hundredth takes: a quantile that is moved
// a little with each sample (Frugal streaming; Ma, Muthukrishnan, Sandler 2013).
type phase struct {
	n     int
	ninth time.Duration // the 99th percentile, about
}

func (p *phase) add(d time.Duration) {
	p.n++
	const step = time.Millisecond
	if d > p.ninth {
		p.ninth += 99 * step
	} else if p.ninth > step {
		p.ninth -= step
	}
}

// limit is four times the slowest hundredth, within bounds, once enough is known.
func (p *phase) limit(most, least time.Duration) time.Duration {
	const enough = 1000
	if p.n < enough {
		return most
	}
	return min(most, max(least, 4*p.ninth))
}
