package ask

import (
	"net/netip"
	"slices"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/sweep/block"
	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/fetch"
	"pennyfarthing/internal/sweep/pace"
	"pennyfarthing/internal/sweep/target"
	"pennyfarthing/internal/verdict"
)

// A Task is a target under way. It may be used again when Done has been called.
type Task struct {
	// Set by the caller.
	Target target.Target
	Text   string // the target, normalised
	Rank   int64
	Index  int // in the shard
	Done   func(*Task)

	// Row is there, and complete, when Done is called. It belongs to the asker, as the
	// task does.
	Row *evidence.Row
	// Sent and Received are bytes of HTTP, in TLS or not.
	Sent, Received int64

	a *Asker

	tries    []evidence.Try // of the row
	only     int            // so many chains; 0: all
	chain    int            // the next one
	answered bool           // some chain was
	other    bool           // the chain is of the target's other name
	summary  int            // the chain that the row is about, or -1
	believed verdict.Code
	dead     lookup         // the last lookup that failed
	codes    []verdict.Code // of the tries

	// The request.
	here    place
	hop     int
	round   int
	seen    []place      // what the chain has asked
	failure verdict.Code // the round's first
	failed  int          // where its try is
	first   int          // the first request's try, of its last round

	addrs    []netip.Addr // left to ask
	buffer   [mostAddresses]netip.Addr
	asked    int  // addresses in this round
	asked6   bool // AAAA, in this round
	name     named
	addr     netip.AddrPort // that is asked
	exchange *exchange      // nil while nobody is asked
	turn     pace.Turn
	timer    loop.Timer
	next     func(*Task) // when the timer expires

	trouble int // faults of our own, in a row
	redone  int
	parked  bool
	robots  *robotsState // nil: not needed yet
}

// A named is what the resolver said of the name that is being asked.
type named struct {
	resolver, rcode string
	took            time.Duration
	cached, v6      bool
}

// A lookup is a name whose failure is known.
type lookup struct {
	host    string
	verdict verdict.Code
	try     int
}

// reset makes the task ready to begin, or to begin again.
func (t *Task) reset() {
	t.a.putRow(t)
	t.tries = t.tries[:0]
	t.only = 0
	t.chain, t.answered, t.summary, t.believed = 0, false, -1, verdict.None
	t.dead, t.seen, t.codes = lookup{}, t.seen[:0], t.codes[:0]
	t.first, t.trouble = -1, 0
	t.robots = nil
}

// row is the task's row. Most tasks wait for something before they have anything to say
// in one, so they have none until then.
func (t *Task) row() *evidence.Row {
	if t.Row == nil {
		t.Row = t.a.takeRow()
		*t.Row = evidence.Row{Rank: t.Rank, Target: t.Text, ContentLength: -1, Vantage: t.a.policy.Vantage}
	}
	return t.Row
}

// nextChain begins the next chain that is to be asked, or ends the task.
func (t *Task) nextChain() {
	for t.only == 0 || t.chain < t.only {
		c, ok := t.a.policy.start(&t.Target, t.chain)
		if !ok {
			break
		}
		t.chain++
		if t.answered && (c.other || t.a.policy.HTTPS != Both) {
			continue
		}
		t.hop, t.seen, t.other = 0, t.seen[:0], c.other
		t.request(c.place)
		return
	}
	t.finish()
}

// about reports whether the chain under way is the one that the row is about.
func (t *Task) about() bool { return t.summary == t.chain-1 }

// request asks for a place, with all that may have to be done again.
func (t *Task) request(p place) {
	t.here, t.round = p, 0
	t.seen = append(t.seen, p)
	if why := t.a.mayNot(p.host); why != verdict.None {
		t.begin()
		t.note(why, netip.Addr{})
		t.endRound()
		return
	}
	if t.a.policy.Robots && !t.robots.knows(&t.here) {
		t.askRobots()
		return
	}
	t.startRound()
}

// begin forgets what came of the last round.
func (t *Task) begin() {
	t.failure, t.failed, t.asked, t.asked6 = verdict.None, -1, 0, false
}

func (t *Task) startRound() {
	t.begin()
	if t.here.ip {
		t.addrs = append(t.buffer[:0], netip.MustParseAddr(t.here.host))
		if t.a.policy.DNSOnly {
			t.name = named{}
			t.found()
			return
		}
		t.tryAddress()
		return
	}
	if t.round == 0 && t.dead.host == t.here.host { // all that can be done about it was done
		t.failed = t.dead.try
		t.requestFailed(t.dead.verdict)
		return
	}
	t.resolve(false)
}

func (t *Task) resolve(v6 bool) {
	t.putExchange()
	q := t.a.question(t)
	q.Name, q.V6, q.Fresh, q.Expected = t.here.host, v6, t.round > 0, t.other
	t.a.resolving++
	t.a.resolver.Resolve(&q.Question)
}

// resolved goes on when a name has addresses, or has none. q may be used again when
// it returns, and by what it calls last.
func (t *Task) resolved(a *question) {
	q := &a.Question
	t.a.resolving--
	if v6 := q.V6; q.Own {
		t.a.putQuestion(a)
		t.own(verdict.SelfResolver, func(t *Task) { t.resolve(v6) })
		return
	}
	t.trouble = 0
	for i := range q.Failures {
		f := &q.Failures[i]
		if q.V6 && f.Verdict == verdict.DNSNoData { // that there is no IPv6 is no failure
			continue
		}
		t.tried(f.Verdict, evidence.Try{
			Scheme: t.here.scheme(), Host: t.here.hostport(), Resolver: t.a.names.of(f.Resolver), Rcode: f.Rcode,
			DNSUS: f.Took.Microseconds(), TotalUS: f.Took.Microseconds(), At: f.At,
		})
	}
	v, v6, found := q.Verdict, q.V6, q.Verdict == verdict.OK
	if found || !v6 {
		t.name = named{t.a.names.of(q.Resolver), q.Rcode, q.Took, q.Cached, false}
		t.addrs = append(t.buffer[:0], q.Addrs...)
		t.name.v6 = found && t.addrs[0].Is6()
	}
	t.a.putQuestion(a)
	switch {
	case v6:
		t.addrs = t.addrs[:min(1, len(t.addrs))]
		t.tryAddress()
	case !found:
		// Tries that say why are the last ones; the one that was believed counts.
		t.heard(!silent(v))
		t.failure, t.failed = v, t.lastTry(v)
		t.dead = lookup{t.here.host, v, t.failed}
		t.endRound()
	default:
		t.heard(true)
		t.dead = lookup{}
		if t.a.policy.DNSOnly {
			t.found()
			return
		}
		t.tryAddress()
	}
}

// found ends a task that was to resolve only.
func (t *Task) found() {
	addr, n := t.addrs[0], &t.name
	t.tried(verdict.OK, evidence.Try{
		Scheme: t.here.scheme(), Host: t.here.hostport(), Family: family(addr), Address: t.a.text(addr), Resolver: n.resolver, Rcode: n.rcode,
		DNSUS: n.took.Microseconds(), TotalUS: n.took.Microseconds(), At: t.a.reactor.Time().Add(-n.took),
	})
	t.chain, t.only, t.believed, t.first = 1, 1, verdict.OK, len(t.codes)-1
	t.finish()
}

// tried takes a try into the row.
func (t *Task) tried(v verdict.Code, try evidence.Try) {
	try.Verdict, try.Vantage = v.String(), t.a.policy.Vantage
	t.tries = append(t.tries, try)
	t.codes = append(t.codes, v)
}

// heard tells the monitor whether something came. What is asked again has failed
// already, and would only say so once more.
func (t *Task) heard(something bool) {
	if something || t.round == 0 && t.redone == 0 {
		t.a.health.Ended(t.a.reactor.Now(), something)
	}
}

// lastTry is the last try with a verdict.
func (t *Task) lastTry(v verdict.Code) int {
	for i, c := range slices.Backward(t.codes) {
		if c == v {
			return i
		}
	}
	return len(t.codes) - 1
}

// mostAddresses of one family are asked in a round.
const mostAddresses = 2

// tryAddress asks the next address that may be asked, or ends the round.
func (t *Task) tryAddress() {
	for len(t.addrs) > 0 {
		addr := t.addrs[0]
		t.addrs = t.addrs[1:]
		v := verdict.None
		switch {
		case t.a.policy.OnlyLoopback && !addr.IsLoopback(), !t.a.policy.OnlyLoopback && !t.a.policy.AllowPrivate && block.Private(addr):
			v = verdict.SkipPrivate
		case t.a.optout.Address(addr):
			v = verdict.SkipOptout
		case t.a.block.Address(addr):
			v = verdict.SkipBlocked
		}
		if v != verdict.None {
			t.note(v, addr)
			continue
		}
		if addr.Is6() && t.a.policy.NoIPv6 {
			t.note(verdict.TCPUnreachable, addr)
			continue
		}
		if t.asked == mostAddresses && !t.asked6 {
			break
		}
		t.asked++
		t.turnFor(addr)
		return
	}
	if !t.here.ip && !t.asked6 && t.failure.Class() == verdict.TCP && !t.a.policy.NoIPv6 && !t.was6() {
		t.asked6 = true
		t.resolve(true)
		return
	}
	t.endRound()
}

// was6 reports whether the addresses of this round were of IPv6 already.
func (t *Task) was6() bool { return t.name.v6 }

// note is a try for which no packet was sent.
func (t *Task) note(v verdict.Code, addr netip.Addr) {
	try := evidence.Try{Scheme: t.here.scheme(), Host: t.here.hostport(), At: t.a.reactor.Time()}
	if addr.IsValid() {
		try.Address, try.Family = addr.String(), family(addr)
	}
	t.tried(v, try)
	if t.failure == verdict.None {
		t.failure, t.failed = v, len(t.tries)-1
	}
}

func family(addr netip.Addr) int32 {
	if addr.Unmap().Is4() {
		return 4
	}
	return 6
}

// turnFor waits for the turn of an address, and asks it.
func (t *Task) turnFor(addr netip.Addr) {
	t.addr = netip.AddrPortFrom(addr, t.a.port(t.here.port))
	t.takeTurn()
}

func (t *Task) takeTurn() {
	if t.a.pacer == nil {
		t.fetch()
		return
	}
	domain := ""
	if t.a.pacer.Limits().Domain > 0 {
		domain = target.Registrable(t.here.host)
	}
	now := t.a.reactor.Now()
	if at := t.a.pacer.Next(&t.turn, now, t.addr.Addr(), domain); at > now {
		t.park(at, (*Task).takeTurn)
		return
	}
	t.fetch()
}

// park has the task wait. It is not under way meanwhile: others may be.
func (t *Task) park(at int64, next func(*Task)) {
	t.putExchange()
	t.next = next
	if t.timer.F == nil {
		t.timer.F = func() {
			t.a.unpark(t)
			next := t.next
			t.next = nil
			next(t)
		}
	}
	t.a.park(t)
	t.a.reactor.Set(&t.timer, at)
}

func (t *Task) fetch() {
	if t.exchange == nil {
		t.exchange = t.a.exchange(t)
	}
	p, x := t.a.policy, &t.exchange.Exchange
	*x = fetch.Exchange{
		Secure: t.here.secure, Host: t.here.hostport(), Addr: t.addr, Method: p.Method, Path: t.here.path, Body: p.Body, Title: p.Title,
		Connect: p.Timeouts.Connect, Handshake: p.Timeouts.TLS, FirstByte: p.Timeouts.FirstByte, Total: p.Timeouts.Total, Done: x.Done,
	}
	if t.askingRobots() {
		x.Path, x.Body, x.Title, x.Method = "/robots.txt", maxRobots, false, "GET"
	} else if t.round == 0 && t.a.policy.Retries > 0 {
		t.a.adapt(x)
	}
	t.a.fetcher.Fetch(x)
}

// putExchange gives the exchange back. What it has brought is not valid any more.
func (t *Task) putExchange() {
	if t.exchange != nil {
		t.a.putExchange(t.exchange)
		t.exchange = nil
	}
}

// fetched goes on when an address has answered, or has not.
func (t *Task) fetched() {
	x := &t.exchange.Exchange
	t.Sent += x.BytesOut
	t.Received += x.BytesIn
	if x.Verdict.Class() == verdict.Self {
		t.own(x.Verdict, (*Task).takeTurn)
		return
	}
	t.trouble = 0
	t.heard(x.Status > 0 || !silent(x.Verdict))
	if t.askingRobots() {
		t.fetchedRobots()
		return
	}
	t.a.learn(x)
	n := &t.name
	try := evidence.Try{
		Scheme: t.here.scheme(), Host: x.Host, Family: family(x.Addr.Addr()), Address: t.a.text(x.Addr.Addr()),
		Status: int32(x.Status), Location: x.Location, //nolint:gosec // three digits
		ConnectUS: x.ConnectTook.Microseconds(), TLSUS: x.TLSTook.Microseconds(), FirstByteUS: x.FirstByteTook.Microseconds(), TotalUS: x.TotalTook.Microseconds(),
		At: t.a.reactor.Time().Add(-x.TotalTook),
	}
	if !t.here.ip {
		try.Resolver, try.Rcode = n.resolver, n.rcode
		if t.asked == 1 && !n.cached {
			try.DNSUS = n.took.Microseconds()
			try.TotalUS += try.DNSUS
		}
	}
	t.tried(x.Verdict, try)
	if x.Status > 0 {
		t.requestAnswered()
		return
	}
	if t.failure == verdict.None {
		t.failure, t.failed = x.Verdict, len(t.tries)-1
		t.row().Error = x.Err
	}
	if x.Verdict.Class() == verdict.TCP {
		t.tryAddress()
		return
	}
	t.endRound()
}

// endRound does it again, or not.
func (t *Task) endRound() {
	if t.askingRobots() && t.asked > 0 { // the request will say what keeps it from coming
		t.gotRobots()
		return
	}
	v := t.failure
	if v == verdict.None { // there was no address to ask: cannot be, and must not stay
		v = verdict.DNSNoData
		t.note(v, netip.Addr{})
	}
	if v.Passing() && t.round < t.a.policy.Retries {
		t.round++
		t.park(t.a.reactor.Now()+int64(t.a.policy.Pause), (*Task).startRound)
		return
	}
	t.requestFailed(v)
}

// requestFailed ends a request that nobody answered.
func (t *Task) requestFailed(v verdict.Code) {
	if t.hop > 0 {
		if t.about() {
			t.row().Verdict = verdict.HTTPRedirectDead.String()
			t.row().Error = v.String() + ": " + t.here.url()
		}
		t.nextChain()
		return
	}
	if t.chain == 1 {
		t.believed, t.first = v, t.failed
	}
	t.nextChain()
}
