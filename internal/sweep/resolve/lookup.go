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
	fresh   bool
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
	failure   [2]Failure
	links     int
	ended     int64
	withoutOP bool // without EDNS
	truncated bool // and so over TCP

	// The step.
	target   string
	qtype    uint16
	n        int // sends
	fast     bool
	sent     [mostSends]send
	size     int
	question int // its size
	packet   [packetSize]byte
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
		l.v6, l.fresh = q.V6, q.Fresh
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
	if !l.probe {
		x.total--
	}
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
	l.state, l.target, l.qtype, l.graces, l.truncated = asking, target, qtype, 0, false
	l.size, l.question = packQuery(&l.packet, target, qtype, !l.withoutOP, x.random.Uint64)
	x.transmit(l)
}

// endStep forgets a question: its answer may not come any more.
func (l *lookup) endStep() {
	s := l.server
	for i := range l.sent[:l.n] {
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

// receive takes a packet that came to one of our ports.
func (x *Resolver) receive(s *server, port uint32, p []byte) {
	if p == nil { // nobody listens there. The questions time out, but no more are asked for now
		s.silent = max(s.silent, silentFirsts)
		return
	}
	if x.stopped || len(p) < headerSize {
		s.Ignored++
		return
	}
	id := binary.BigEndian.Uint16(p)
	index := s.ids[id]
	if index == 0 {
		s.Ignored++
		return
	}
	l := x.lookups[index-1]
	k := 0
	for l.sent[k].id != id {
		k++
	}
	if l.sent[k].port != port || !isResponse(p, l.question) {
		s.Ignored++
		return
	}
	asked, got := l.packet[headerSize:headerSize+l.question], p[headerSize:headerSize+l.question]
	folded := string(asked) != string(got)
	if folded && !sameFold(asked, got) {
		s.Ignored++
		return
	}
	sent := l.sent[k].at
	if !s.keepsCase(asked, folded) {
		l.endStep()
		x.tcp.ask(l)
		return
	}
	s.heard(x.reactor.Now(), l.sent[0].at, sent, k+1)
	l.endStep()
	x.take(l, p, sent)
}

// keepsCase reports whether an answer can be taken as the case of its question is. A
// server that has lost it three times in a row, and said the same over TCP, never
// keeps it.
func (s *server) keepsCase(asked []byte, folded bool) bool {
	if !folded {
		if s.folded > 0 && hasUpper(string(asked)) {
			s.folded = 0
		}
		return true
	}
	return s.folded >= alwaysFolds
}

const alwaysFolds = 3

// answeredTCP takes what came over TCP.
func (x *Resolver) answeredTCP(l *lookup, p []byte, err error) {
	s := l.server
	if err != nil {
		l.answered = false
		x.fails(l, failureOf(err))
		return
	}
	s.Answers++
	s.silent = 0
	s.heardSent = max(s.heardSent, l.lastSent)
	if string(p[headerSize:headerSize+l.question]) != string(l.packet[headerSize:headerSize+l.question]) || !l.truncated {
		s.folded++
	}
	x.take(l, p, l.lastSent)
}

// take goes on with a lookup whose step was answered.
func (x *Resolver) take(l *lookup, p []byte, sent int64) {
	s, a := l.server, &x.answer
	a.parse(p, l.question, l.qtype, l.links)
	l.rcode, l.answered = a.rcode, true
	if l.probe {
		x.endProbe(l, true, !ownFault(a.verdict))
		return
	}
	if a.truncated {
		s.Truncated++
		if l.state == overTCP {
			x.fails(l, verdict.DNSMalformed)
			return
		}
		l.truncated = true
		x.tcp.ask(l)
		return
	}
	if l.withoutOP {
		s.plain = s.plain || !ownFault(a.verdict)
	} else if a.rcode == rcodeFormErr || a.rcode == rcodeNotImp || a.rcode == rcodeBadVers { // RFC 6891 §7
		l.withoutOP = true
		x.step(l, l.target, l.qtype)
		return
	}
	if !ownFault(a.verdict) {
		s.goodSent = max(s.goodSent, sent)
		s.goods++
		if s.parked.n > 0 {
			s.release()
		}
	}
	switch {
	case a.verdict == verdict.OK:
		x.found(l)
	case a.verdict == verdict.None:
		l.links = a.links
		x.step(l, a.alias, l.qtype)
	case a.verdict == verdict.DNSNoData && l.qtype == typeA:
		l.links = 0
		x.step(l, l.name, typeAAAA)
	default:
		x.fails(l, a.verdict)
	}
}

// fails takes note that an opinion is a failure, which is to be believed or not.
func (x *Resolver) fails(l *lookup, v verdict.Code) {
	s := l.server
	l.failed, l.ended = v, x.reactor.Now()
	if l.other == nil && !l.fresh && v != verdict.DNSTimeout {
		s.opinion(ownFault(v), l.holds > 0)
	}
	if ownFault(v) && !s.believes(l) {
		if v != verdict.DNSTimeout && s.strict() && l.holds < doubtHolds {
			x.hold(l)
		} else {
			s.park(l)
		}
		return
	}
	x.failed(l)
}

// failed takes a failure into account, and asks for a second opinion.
func (x *Resolver) failed(l *lookup) {
	s := l.server
	f := &l.failure[l.failures]
	l.failures++
	*f = Failure{Resolver: s.addr, Verdict: l.failed, Took: time.Duration(l.ended - l.opened), At: x.wall(l.opened)}
	if l.answered {
		f.Rcode = rcodeName(l.rcode)
	}
	x.leave(l)
	if l.failures == len(l.failure) || l.v6 && l.failed == verdict.DNSNoData {
		x.lost(l)
		return
	}
	l.other = s
	pause := x.pause
	switch other := x.hasOther(s); {
	case other && ownFault(l.failed) && l.failed != verdict.DNSTimeout:
		// If it is not the name but a server that has begun to refuse us, the other may
		// as well. In a moment we shall know.
		pause = min(pause, moment)
	case other:
		l.state = queued
		x.again.push(l)
		x.wake()
		return
	}
	l.state = pausing
	x.reactor.Set(&l.timer, x.reactor.Now()+pause)
}

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

// plain is how plainly a failure speaks: the less the plainer.
func plain(v verdict.Code) int {
	switch v {
	case verdict.DNSNXDomain:
		return 0
	case verdict.DNSNoData:
		return 1
	case verdict.DNSLoop:
		return 2
	case verdict.DNSLame:
		return 3
	case verdict.DNSServFail:
		return 4
	case verdict.DNSMalformed:
		return 5
	default:
		return 6
	}
}

// found ends a lookup with the addresses that were just parsed.
func (x *Resolver) found(l *lookup) {
	s, a, now := l.server, &x.answer, x.reactor.Now()
	if l.other == nil && !l.fresh {
		s.opinion(false, l.holds > 0)
	}
	if s.knownAge++; s.known == "" || s.knownAge == 256 {
		s.known, s.knownAge = l.name, 0
	}
	x.stats.Names++
	if e := x.cache.put(l.name, l.hash, now, min(mostTTL, max(leastTTL, a.ttl))); e != nil {
		e.n = copy(e.addrs[:], a.addrs[:a.n])
		e.server = s.addr
	}
	took, at := time.Duration(now-l.opened), x.wall(l.opened)
	for q := l.ask; q != nil; q = q.next {
		l.fill(q, verdict.OK)
		q.Addrs = append(q.addrs[:0], a.addrs[:a.n]...)
		q.Resolver, q.Rcode, q.Took, q.At = s.addr, rcodeName(a.rcode), took, at
	}
	x.deliver(l)
}

// lost ends a lookup with its failures.
func (x *Resolver) lost(l *lookup) {
	x.stats.Names++
	word := &l.failure[0]
	for i := range l.failure[:l.failures] {
		if f := &l.failure[i]; plain(f.Verdict) < plain(word.Verdict) {
			word = f
		}
	}
	if e := x.cache.put(l.name, l.hash, x.reactor.Now(), negativeTTL); e != nil {
		e.server = word.Resolver
		e.result = &result{word.Verdict, append([]Failure(nil), l.failure[:l.failures]...)}
	}
	for q := l.ask; q != nil; q = q.next {
		l.fill(q, word.Verdict)
		q.Resolver, q.Rcode, q.Took, q.At = word.Resolver, word.Rcode, word.Took, word.At
	}
	x.deliver(l)
}

// giveUp ends a lookup without a word about its name.
func (x *Resolver) giveUp(l *lookup) {
	x.stats.Own++
	for q := l.ask; q != nil; q = q.next {
		l.fill(q, verdict.SelfResolver)
		q.Own = true
	}
	x.deliver(l)
}

func (l *lookup) fill(q *Question, v verdict.Code) {
	q.Verdict, q.Sends = v, l.all
	q.Failures = append(q.failures[:0], l.failure[:l.failures]...)
}

// deliver calls those back who have asked. They may ask again at once, and use their
// questions for it.
func (x *Resolver) deliver(l *lookup) {
	q := l.ask
	x.retire(l)
	for q != nil {
		next := q.next
		q.next = nil
		q.Done(q)
		q = next
	}
}

// flush sends what was collected, at the end of a turn.
func (x *Resolver) flush() (more bool) {
	now := x.reactor.Now()
	for _, s := range x.servers {
		more = s.line.flush(now) || more
	}
	return more
}
