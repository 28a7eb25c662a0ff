package resolve

import (
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
)

// A Server is a recursive resolver.
type Server struct {
	Addr netip.AddrPort
	Rate float64 // questions a second that it is asked at most; 0: no limit
}

// Timeouts are how long a send waits: about as long as the server has shown that it
// takes, but at least First, more with each send, and at most Max.
type Timeouts struct{ First, Max time.Duration }

// Config is what a Resolver works with. Zero values mean what is said there.
type Config struct {
	Servers []Server // at least one
	// Fast has packets sent and received many at a time in the reactor's goroutine,
	// which only Linux can. Otherwise there is a goroutine a port.
	Fast     bool
	InFlight int           // questions that a first answer is awaited of, at most 10,000; 2,000
	Timeouts Timeouts      // 300 ms and 3 s
	Sends    int           // times that a question is sent within a try, 1 to 8, or more often where much is lost; 3
	Pause    time.Duration // before the only resolver is asked again; 2 s
	Hold     time.Duration // how long names wait for a resolver that is well; 30 s
	Cache    int           // names; 16,384. Less than 0: none
	Log      *slog.Logger  // nil: nothing is logged
	Rand     rand.Source   // must not be predictable; ChaCha8 with a random seed
}

const (
	mostServers  = 64
	mostInFlight = 10_000
	// slowShare is how many lookups may be under way for each that may be in flight:
	// most of those that wait long wait in vain.
	slowShare = 4
	// mostHolds is how often a lookup is asked again because its server was ill.
	mostHolds = 16
)

func (c Config) withDefaults() Config {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	defD := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.InFlight, 2000)
	def(&c.Sends, 3)
	def(&c.Cache, 16_384)
	defD(&c.Timeouts.First, 300*time.Millisecond)
	defD(&c.Timeouts.Max, 3*time.Second)
	defD(&c.Pause, 2*time.Second)
	defD(&c.Hold, 30*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Rand == nil {
		var seed [32]byte
		_, _ = crand.Read(seed[:]) // it never fails
		c.Rand = rand.NewChaCha8(seed)
	}
	return c
}

func (c *Config) validate() error {
	var errs []error
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(len(c.Servers) == 0, "no resolver is given")
	bad(len(c.Servers) > mostServers, "%d resolvers are given, at most %d can be asked", len(c.Servers), mostServers)
	for _, s := range c.Servers {
		bad(!s.Addr.IsValid() || s.Addr.Port() == 0, "%v is no address and port of a resolver", s.Addr)
		bad(s.Rate < 0, "the resolver %v has a rate below 0", s.Addr)
	}
	bad(c.InFlight < 1 || c.InFlight > mostInFlight, "%d questions in flight are not from 1 to %d", c.InFlight, mostInFlight)
	bad(c.Sends < 1 || c.Sends > mostSends, "%d sends are not from 1 to %d", c.Sends, mostSends)
	bad(c.Timeouts.First < 0 || c.Timeouts.Max < c.Timeouts.First, "timeouts from %v to %v", c.Timeouts.First, c.Timeouts.Max)
	bad(c.Pause < 0, "a pause of %v", c.Pause)
	bad(c.Hold < 0, "names are held for %v", c.Hold)
	bad(c.Cache > 1<<24, "a cache of %d names", c.Cache)
	bad(c.Fast && !fastSupported, "the fast engine needs Linux")
	return errors.Join(errs...)
}

// A Question is a name whose addresses are wanted. It must not be touched from
// [Resolver.Resolve] until Done is called. It may then be used again.
type Question struct {
	Name  string          // ASCII, without a final dot
	Done  func(*Question) // in the reactor's goroutine, never before Resolve returns
	V6    bool            // ask for AAAA at once
	Fresh bool            // do not ask the cache: this is a retry
	// Expected says that a name was chosen because another that has much to do with it
	// has failed: that it fails too tells nothing about the resolver.
	Expected bool

	// Verdict is OK when there are addresses, a code of the class DNS, SkipInvalid for
	// what is no name, or SelfResolver with Own.
	Verdict verdict.Code
	// Addrs are at most 16. From the cache there are at most 4.
	Addrs []netip.Addr
	// Failures are what each resolver said that did not help, whatever came in the
	// end, in order. They are not to be changed: others may have the same.
	Failures []Failure
	Resolver netip.AddrPort // that had the addresses, or was asked last
	Rcode    string         // of it; empty without an answer
	Took     time.Duration  // of it, from the first send to the answer; 0 from the cache
	At       time.Time      // when it was first sent
	Sends    int            // packets, for all who have asked at the same time
	Cached   bool
	Own      bool // our resolvers are ill: nothing is said about the name

	addrs [mostFound]netip.Addr
	next  *Question
}

// A Failure is what one resolver said, or did not say.
type Failure struct {
	Resolver netip.AddrPort
	Rcode    string // NXDOMAIN and so on; empty without an answer
	Verdict  verdict.Code
	Took     time.Duration // from the first send to the answer, or to the end of all patience
	At       time.Time     // when it was asked
}

// Stats is what a resolver has done.
type Stats struct {
	Questions int64 // asked of us
	Names     int64 // lookups that have ended
	Hits      int64 // from the cache
	Joined    int64 // with another question for the same that was under way
	Held      int64 // lookups that had to be done again because their server was ill
	Own       int64 // lookups that were given up
	Queries   int64 // packets sent, here and below for all servers
	Answers   int64
	Timeouts  int64
	Lost      int64
	Truncated int64
	TCP       int64
	Ignored   int64
	Probes    int64
	InFlight  int // questions now
	Waiting   int // lookups now that wait for their turn, or for a server that is well
	Ill       bool
	Servers   []ServerStats
}

// A Resolver resolves names.
type Resolver struct {
	reactor  *loop.Reactor
	log      *slog.Logger
	random   rand.Source
	timeouts Timeouts
	sends    int
	inFlight int
	pause    int64
	held     int64 // how long

	servers []*server
	cache   *cache
	answer  answer

	lookups []*lookup // all that there are, by index
	free    queue
	wires   *wire     // free ones
	under   []*lookup // what is under way, by hash
	first   queue     // lookups that have not begun
	again   queue     // that go on: second opinions
	ready   *Question // answered already
	last    *Question

	fast, total int // lookups: whose first answer is awaited; with servers
	stopped     bool
	posted      bool
	pumpFunc    func()
	timer       loop.Timer // when the next question may be sent
	nextTurn    int64      // when it expires
	watch       loop.Timer // while all are ill
	illSince    int64      // all servers; 0: not

	tcp   tcp
	stats Stats
}

// New returns a resolver, before r runs or in its goroutine. Whoever has called it calls
// [Resolver.Close] when r does not run any more.
func New(r *loop.Reactor, c Config) (*Resolver, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("make a resolver: %w", err)
	}
	x := &Resolver{
		reactor: r, log: c.Log, random: c.Rand, timeouts: c.Timeouts, sends: c.Sends, inFlight: c.InFlight,
		pause: int64(c.Pause), held: int64(c.Hold), cache: newCache(c.Cache), under: make([]*lookup, 1<<12),
	}
	x.pumpFunc = x.pump
	x.timer.F = func() {} // the turn's end looks
	x.watch.F = x.watchHeld
	x.tcp.init(x)
	in := newInbox()
	for _, server := range c.Servers {
		if err := x.addServer(server, c.Fast, in); err != nil {
			x.Close()
			return nil, fmt.Errorf("make a resolver: %w", err)
		}
	}
	r.EachTurn(func() bool {
		x.pump()
		return x.flush()
	})
	return x, nil
}

func (x *Resolver) addServer(c Server, fast bool, in *inbox) error {
	s := &server{x: x, addr: c.Addr, name: c.Addr.String(), most: c.Rate, ids: make([]int32, allIDs), rto: int64(min(x.timeouts.Max, 3*x.timeouts.First)), regained: 1}
	s.believe(0)
	s.timer.F = s.tick
	receive := func(port uint32, packet []byte) { x.receive(s, port, packet) }
	var err error
	if fast {
		s.line, err = newFastLine(x.reactor, c.Addr, x.random.Uint64, in, receive)
	} else {
		s.line, err = newPlainLine(x.reactor, c.Addr, x.random.Uint64, receive)
	}
	if err != nil {
		return err
	}
	x.servers = append(x.servers, s)
	return nil
}

// Close closes the ports and waits for what was started. Questions under way are not
// answered any more. It must be called when the reactor does not run, or in its
// goroutine.
func (x *Resolver) Close() {
	x.stopped = true
	x.tcp.close()
	for _, s := range x.servers {
		s.line.close()
		x.reactor.Stop(&s.timer)
	}
	for _, l := range x.lookups {
		x.reactor.Stop(&l.timer)
	}
	x.reactor.Stop(&x.timer)
	x.reactor.Stop(&x.watch)
}

// Resolve has q.Done called when q is answered.
func (x *Resolver) Resolve(q *Question) {
	x.stats.Questions++
	q.Verdict, q.Addrs, q.Failures = verdict.None, nil, nil
	q.Resolver, q.Rcode, q.Took, q.At, q.Cached, q.Sends, q.Own, q.next = netip.AddrPort{}, "", 0, time.Time{}, false, 0, false, nil
	x.wake()
	if !validName(q.Name) {
		q.Verdict = verdict.SkipInvalid
		x.later(q)
		return
	}
	name := q.Name
	if hasUpper(name) {
		name = strings.ToLower(name)
	}
	hash := x.cache.hash(name, q.V6)
	if !q.Fresh {
		if e := x.cache.get(hash, x.reactor.Now()); e != nil {
			x.stats.Hits++
			q.fromCache(e)
			x.later(q)
			return
		}
	}
	for l := x.under[hash&uint64(len(x.under)-1)]; l != nil; l = l.sibling {
		if l.hash == hash && l.name == name && l.v6 == q.V6 {
			x.stats.Joined++
			l.last.next = q
			l.last = q
			return
		}
	}
	x.first.push(x.newLookup(q, name, hash))
}

func hasUpper(s string) bool {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			return true
		}
	}
	return false
}

// wake has the pump run in this turn, even if our turn of it is over already.
func (x *Resolver) wake() {
	if !x.posted {
		x.posted = true
		x.reactor.Post(x.pumpFunc)
	}
}

func (x *Resolver) later(q *Question) {
	if x.ready == nil {
		x.ready = q
	} else {
		x.last.next = q
	}
	x.last = q
}

func (q *Question) fromCache(e *entry) {
	q.Cached = true
	if r := e.rare; r != nil && r.word != nil {
		q.Verdict, q.Resolver, q.Failures = r.word.Verdict, r.word.Resolver, r.failures
		q.Rcode = r.failures[len(r.failures)-1].Rcode
		return
	}
	q.Verdict, q.Resolver, q.Rcode = verdict.OK, e.server.addr, "NOERROR"
	q.Addrs = e.found(q.addrs[:0])
}

// Stats returns what was done so far. It must be called in the reactor's goroutine, or
// when that does not run.
func (x *Resolver) Stats() Stats {
	st := x.stats
	for _, s := range x.servers {
		one := s.stats()
		st.Queries += one.Queries
		st.Answers += one.Answers
		st.Timeouts += one.Timeouts
		st.Lost += one.Lost
		st.Truncated += one.Truncated
		st.TCP += one.TCP
		st.Ignored += one.Ignored
		st.Probes += one.Probes
		st.Servers = append(st.Servers, one)
	}
	st.InFlight, st.Waiting, st.Ill = x.total, x.first.n+x.again.n, x.illSince != 0
	return st
}

// A queue is a list of lookups, each in one at most.
type queue struct {
	head, tail *lookup
	n          int
}

func (q *queue) push(l *lookup) {
	l.next = nil
	if q.n == 0 {
		q.head = l
	} else {
		q.tail.next = l
	}
	q.tail = l
	q.n++
}

// pop takes out the first one, if there is one.
func (q *queue) pop() *lookup {
	l := q.head
	if l == nil {
		return nil
	}
	q.head, l.next = l.next, nil
	if q.n--; q.n == 0 {
		q.tail = nil
	}
	return l
}
