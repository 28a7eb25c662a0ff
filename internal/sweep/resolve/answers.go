package resolve

import (
	"encoding/binary"
	"time"

	"pennyfarthing/internal/verdict"
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
	if l.other == nil && !l.chosen && v != verdict.DNSTimeout {
		s.opinion(l, ownFault(v))
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
	l.failure[l.failures] = failure{server: s, opened: l.opened, ended: l.ended, rcode: l.rcode, verdict: l.failed, answered: l.answered}
	l.failures++
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
	if l.other == nil && !l.chosen {
		s.opinion(l, false)
	}
	if s.knownAge++; s.known == "" || s.knownAge == 256 {
		s.known, s.knownAge = l.name, 0
	}
	x.stats.Names++
	if e := x.cache.put(l.hash, now, min(mostTTL, max(leastTTL, a.ttl))); e != nil {
		e.keep(s, a.addrs[:a.n])
	}
	failures := l.public()
	took, at := time.Duration(now-l.opened), x.wall(l.opened)
	for q := l.ask; q != nil; q = q.next {
		l.fill(q, verdict.OK, failures)
		q.Addrs = append(q.addrs[:0], a.addrs[:a.n]...)
		q.Resolver, q.Rcode, q.Took, q.At = s.addr, rcodeName(a.rcode), took, at
	}
	x.deliver(l)
}

// lost ends a lookup with its failures.
func (x *Resolver) lost(l *lookup) {
	x.stats.Names++
	failures := l.public()
	word := &failures[0]
	for i := range failures {
		if f := &failures[i]; plain(f.Verdict) < plain(word.Verdict) {
			word = f
		}
	}
	if e := x.cache.put(l.hash, x.reactor.Now(), negativeTTL); e != nil {
		e.rare = &rare{word: word, failures: failures}
	}
	for q := l.ask; q != nil; q = q.next {
		l.fill(q, word.Verdict, failures)
		q.Resolver, q.Rcode, q.Took, q.At = word.Resolver, word.Rcode, word.Took, word.At
	}
	x.deliver(l)
}

// giveUp ends a lookup without a word about its name.
func (x *Resolver) giveUp(l *lookup) {
	x.stats.Own++
	failures := l.public()
	for q := l.ask; q != nil; q = q.next {
		l.fill(q, verdict.SelfResolver, failures)
		q.Own = true
	}
	x.deliver(l)
}

func (l *lookup) fill(q *Question, v verdict.Code, failures []Failure) {
	q.Verdict, q.Sends, q.Failures = v, l.all, failures
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
