package resolve

import (
	"encoding/binary"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
)

// A lookup finds out what a name comes to: by one opinion, which is what one server
// says, and if that is a failure by a second. An opinion may take several steps: A,
// AAAA, and names that a chain of CNAMEs leads on to. A step is one question, sent
// until it is answered.
type lookup struct {
	x       *Resolver
	index   int32
	state   state
	timer   loop.Timer
	next    *lookup // in a queue
	sibling *lookup // under the same hash
	hash    uint64
	name    string
	v6      bool
	probe   bool
	chosen  bool      // because it, or what it belongs to, has failed before
	ask     *Question // who has asked, and the last of those who have joined
	last    *Question

	began  int64 // when it was asked for, or asked for again
	holds  int
	all    int // sends
	graces int
	epoch  uint32 // of steps

	// The opinion.
	server    *server
	other     *server // who had the first one
	opened    int64   // when it was sent first
	lastSent  int64
	failed    verdict.Code
	rcode     uint16
	answered  bool
	failures  int
	failure   [2]failure
	links     int
	ended     int64
	withoutOP bool // without EDNS
	truncated bool // and so over TCP

	// The step.
	target string
	qtype  uint16
	n      int // sends
	fast   bool
	*wire  // nil while no server is asked
}

// A wire is what a lookup has while it is with a server: most of those that have
// failed wait without one until they are asked again, for long.
type wire struct {
	sent     [mostSends]send
	size     int
	question int // its size
	packet   [packetSize]byte
	free     *wire // the next one
}

// A failure is what a server said, or did not say.
type failure struct {
	server   *server
	opened   int64
	ended    int64
	rcode    uint16
	verdict  verdict.Code
	answered bool
}

// public is the failure for who has asked.
func (f *failure) public() Failure {
	p := Failure{Resolver: f.server.addr, Verdict: f.verdict, Took: time.Duration(f.ended - f.opened), At: f.server.x.wall(f.opened)}
	if f.answered {
		p.Rcode = rcodeName(f.rcode)
	}
	return p
}

// public are the failures for who has asked.
func (l *lookup) public() []Failure {
	if l.failures == 0 {
		return nil
	}
	all := make([]Failure, l.failures)
	for i := range all {
		all[i] = l.failure[i].public()
	}
	return all
}

// A send is one packet that was sent. Each has an id of its own, so that its answer
// tells its time.
type send struct {
	at   int64
	port uint32
	id   uint16
}

type state uint8

const (
	idle state = iota
	queued
	asking
	overTCP
	parked  // it has failed; it is not known yet whether that is to be believed
	pausing // until the only server is asked again
)

func (x *Resolver) newLookup(q *Question, name string, hash uint64) *lookup {
	l := x.free.pop()
	if l == nil {
		l = &lookup{x: x, index: int32(len(x.lookups) + 1)} //nolint:gosec // memory ends before
		l.timer.F = l.expired
		x.lookups = append(x.lookups, l)
	}
	l.name, l.hash, l.ask, l.last, l.began = name, hash, q, q, x.reactor.Now()
	l.state, l.probe, l.holds, l.all, l.failures = queued, false, 0, 0, 0
	l.server, l.other, l.answered, l.graces = nil, nil, false, 0
	if q != nil {
		l.v6, l.chosen = q.V6, q.Fresh || q.Expected
		b := &x.under[hash&uint64(len(x.under)-1)]
		l.sibling, *b = *b, l
	}
	return l
}

// retire gives a lookup back. Nobody joins it any more.
func (x *Resolver) retire(l *lookup) {
	x.leave(l)
	x.reactor.Stop(&l.timer)
	if !l.probe {
		for at := &x.under[l.hash&uint64(len(x.under)-1)]; *at != nil; at = &(*at).sibling {
			if *at == l {
				*at = l.sibling
				break
			}
		}
	}
	l.state, l.ask, l.last, l.sibling = idle, nil, nil, nil
	x.free.push(l)
}

// enter and leave count the lookups that are with servers.
func (x *Resolver) enter(l *lookup, s *server) {
	l.server = s
	if !l.probe {
		x.total++
	}
}

func (x *Resolver) leave(l *lookup) {
	if l.server == nil {
		return
	}
	l.endStep()
	l.server = nil
	if w := l.wire; w != nil {
		w.free, x.wires, l.wire = x.wires, w, nil
	}
	if !l.probe {
		x.total--
	}
}

// newWire is a wire for a lookup that has none.
func (x *Resolver) newWire() *wire {
	w := x.wires
	if w == nil {
		return new(wire)
	}
	x.wires, w.free = w.free, nil
	return w
}

// pump begins what may begin, and calls those back who are answered already.
func (x *Resolver) pump() {
	x.posted = false
	for x.ready != nil {
		q := x.ready
		if x.ready = q.next; x.ready == nil {
			x.last = nil
		}
		q.next = nil
		q.Done(q)
	}
	for _, s := range x.servers {
		x.resendLater(s)
	}
	x.pumpQueue(&x.again)
	x.pumpQueue(&x.first)
}

func (x *Resolver) pumpQueue(q *queue) {
	for q.n > 0 && x.fast < x.inFlight && x.total < slowShare*x.inFlight {
		s, at := x.choose(q.head)
		if s == nil {
			if at > 0 {
				x.wakeAt(at)
			}
			return
		}
		x.begin(q.pop(), s)
	}
}

// choose picks the server for a lookup's next opinion. Where there is none now, at is
// when one has its turn, or 0.
func (x *Resolver) choose(l *lookup) (s *server, at int64) {
	for choice := range choices {
		if s, at, any := x.pick(l, choice); any {
			return s, at
		}
	}
	return nil, 0
}

// The choices: a server that was not asked already and does not seem to be silent; one
// that was not asked already; any that is not ill.
const choices = 3

// pick is choose for one of the choices: the server with less to do of two random ones
// that may be asked now. any is whether one will be.
func (x *Resolver) pick(l *lookup, choice int) (best *server, at int64, any bool) {
	n, seen, now := len(x.servers), 0, x.reactor.Now()
	begin := 0
	if n > 1 {
		begin = int(x.random.Uint64() % uint64(n)) //nolint:gosec // it is less than n
	}
	for i := range n {
		s := x.servers[(begin+i)%n]
		if !s.fit() || choice < 2 && s == l.other || choice < 1 && s.silent >= silentFirsts {
			continue
		}
		any = true
		ok, when := s.mayAsk(now)
		if !ok {
			if at == 0 || when < at {
				at = when
			}
			continue
		}
		if best == nil || s.used < best.used {
			best = s
		}
		if seen++; seen == 2 {
			break
		}
	}
	return best, at, any
}

// fit reports whether a server can be asked.
func (s *server) fit() bool { return !s.ill && s.used < idsFull }

// begin begins an opinion.
func (x *Resolver) begin(l *lookup, s *server) {
	x.enter(l, s)
	l.opened, l.links, l.withoutOP = 0, 0, s.plain
	qtype := uint16(typeA)
	if l.v6 {
		qtype = typeAAAA
	}
	x.step(l, l.name, qtype)
}

// step asks a question of an opinion.
func (x *Resolver) step(l *lookup, target string, qtype uint16) {
	l.endStep()
	if l.wire == nil {
		l.wire = x.newWire()
	}
	l.state, l.target, l.qtype, l.graces, l.truncated = asking, target, qtype, 0, false
	l.size, l.question = packQuery(&l.packet, target, qtype, !l.withoutOP, x.random.Uint64)
	x.transmit(l)
}

// endStep forgets a question: its answer may not come any more.
func (l *lookup) endStep() {
	s := l.server
	for i := range l.n {
		if at := &s.ids[l.sent[i].id]; *at == l.index {
			*at = 0
			s.used--
		}
	}
	l.n = 0
	l.epoch++
	l.slow()
	l.x.reactor.Stop(&l.timer)
}

// slow takes a lookup out of those whose first answer is awaited.
func (l *lookup) slow() {
	if l.fast {
		l.fast = false
		l.x.fast--
	}
}

// transmit sends a question, once more.
func (x *Resolver) transmit(l *lookup) {
	s, now := l.server, x.reactor.Now()
	id := uint16(x.random.Uint64()) //nolint:gosec // 16 random bits
	if l.n > 0 && s.used >= idsFull {
		id = l.sent[l.n-1].id
	} else {
		for s.ids[id] != 0 {
			id = uint16(x.random.Uint64()) //nolint:gosec // as above
		}
		s.ids[id] = l.index
		s.used++
	}
	binary.BigEndian.PutUint16(l.packet[:], id)
	l.sent[l.n] = send{at: now, id: id, port: s.line.send(l.packet[:l.size])}
	if l.n++; l.n == 1 {
		if l.opened == 0 {
			l.opened = now
		}
		if !l.probe {
			l.fast = true
			x.fast++
		}
	}
	l.lastSent = now
	l.all++
	s.Queries++
	if most := s.limit(); most > 0 { // what is sent again does not wait for its turn, others do
		s.tokens = max(s.tokens-1, -most)
	}
	x.reactor.Set(&l.timer, now+s.patience(l.n))
}

// expired is a lookup's timer.
func (l *lookup) expired() {
	x, s := l.x, l.server
	if l.state == pausing {
		l.state = queued
		x.again.push(l)
		return
	}
	if x.reactor.Late() > late && l.graces < mostGraces { // we were not there to hear it
		l.graces++
		x.reactor.Set(&l.timer, x.reactor.Now()+s.patience(1))
		return
	}
	s.Timeouts++
	l.slow()
	if l.n == 1 {
		if s.silent++; s.silent == silentFirsts {
			s.check()
		}
	}
	switch {
	case l.probe && !s.glance(l.n):
		x.endProbe(l, false, false)
	case l.probe:
		x.transmit(l)
	case s.ill:
		x.hold(l)
	case s.glance(l.n):
		x.resend(l)
	case s.hopeless:
		x.hold(l)
	default:
		l.endStep()
		l.answered = false
		x.fails(l, verdict.DNSTimeout)
	}
}

// resend sends a question again, when it is its turn.
func (x *Resolver) resend(l *lookup) {
	s := l.server
	if len(s.later) == 0 {
		if ok, _ := s.mayAsk(x.reactor.Now()); ok {
			x.transmit(l)
			return
		}
	}
	s.later = append(s.later, resend{l, l.epoch})
}

// resendLater sends what waits for its turn.
func (x *Resolver) resendLater(s *server) {
	done := 0
	for _, r := range s.later {
		if r.epoch != r.l.epoch {
			done++
			continue
		}
		if s.ill {
			done++
			x.hold(r.l)
			continue
		}
		ok, at := s.mayAsk(x.reactor.Now())
		if !ok {
			x.wakeAt(at)
			break
		}
		done++
		x.transmit(r.l)
	}
	s.later = append(s.later[:0], s.later[done:]...)
}

// wakeAt has the pump run at a time, at the latest.
func (x *Resolver) wakeAt(at int64) {
	if !x.timer.Armed() || at < x.nextTurn {
		x.nextTurn = at
		x.reactor.Set(&x.timer, at)
	}
}

const (
	late       = 50 * time.Millisecond
	mostGraces = 3
)

const alwaysFolds = 3

const moment = int64(250 * time.Millisecond)

// reconsider forgets what a server has said of late that is not to be believed, where
// no second opinion has been asked for yet.
func (x *Resolver) reconsider(s *server) {
	for _, l := range x.lookups {
		if l.state == pausing && l.other == s && l.failures == 1 && ownFault(l.failed) && l.failed != verdict.DNSTimeout {
			l.failures, l.other = 0, nil
		}
	}
}

// wall is the wall clock's time at an earlier Now.
func (x *Resolver) wall(at int64) time.Time {
	return x.reactor.Time().Add(time.Duration(at - x.reactor.Now()))
}

// hasOther reports whether another server than s can be asked.
func (x *Resolver) hasOther(s *server) bool {
	for _, o := range x.servers {
		if o != s && !o.ill {
			return true
		}
	}
	return false
}

// hold has a lookup's opinion asked for anew: its server is not to be believed.
func (x *Resolver) hold(l *lookup) {
	x.stats.Held++
	ill := l.server.ill
	x.leave(l)
	if l.holds++; l.holds > mostHolds {
		x.giveUp(l)
		return
	}
	if !ill { // it is asked too much, and will be asked less
		l.state = pausing
		x.reactor.Set(&l.timer, x.reactor.Now()+moment<<min(l.holds-1, 4))
		return
	}
	l.state = queued
	x.again.push(l)
	x.wake()
}

// probe asks a server a question that it should answer well.
func (x *Resolver) probe(s *server) {
	s.Probes++
	l := x.newLookup(nil, s.known, 0)
	l.probe = true
	x.enter(l, s)
	l.opened, l.links, l.withoutOP = 0, 0, s.plain
	qtype := uint16(typeA)
	if s.known == "" {
		qtype = typeNS // of the root
	}
	x.step(l, s.known, qtype)
	x.wake() // it leaves in this turn
}

func (x *Resolver) endProbe(l *lookup, answered, good bool) {
	s, sent := l.server, l.lastSent
	x.retire(l)
	if good {
		s.goodSent = max(s.goodSent, sent)
	}
	s.checked(sent, answered, good)
}

// illness looks whether all servers are ill.
func (x *Resolver) illness() {
	for _, s := range x.servers {
		if !s.ill {
			x.illSince = 0
			x.reactor.Stop(&x.watch)
			x.wake()
			return
		}
	}
	if x.illSince == 0 {
		x.illSince = x.reactor.Now()
		x.watchHeld()
	}
}

// watchHeld gives those up who have waited too long for a server that is well.
func (x *Resolver) watchHeld() {
	now := x.reactor.Now()
	for _, q := range []*queue{&x.again, &x.first} {
		for range q.n {
			l := q.pop()
			if now-max(l.began, x.illSince) >= x.held {
				x.giveUp(l)
			} else {
				q.push(l)
			}
		}
	}
	x.reactor.Set(&x.watch, now+int64(time.Second))
}
