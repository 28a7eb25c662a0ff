package resolve

import (
	"log/slog"
	"math"
	"net/netip"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/verdict"
)

const (
	// mostSends is how often a question is sent to a server within a try.
	mostSends = 8
	// noHope is how likely it may be at the most, or else silence means nothing.
	noHope = 1e-2
	// mostDoubt is how likely it may be that all sends of a try were lost.
	mostDoubt = 3e-4
	// An id is taken from so many; where more than idsFull are in use there is no room.
	allIDs  = 1 << 16
	idsFull = allIDs * 3 / 4

	window   = int64(500 * time.Millisecond) // after which a server is judged
	settle   = int64(time.Second)            // until a new rate has shown what it does
	leastN   = 40                            // answers that a judgement needs
	leastQPS = 10
	tooMuch  = 0.1 // more lost than usual

	silentFirsts = 16 // first sends in a row that were not answered make one suspicious
	probeWait    = int64(250 * time.Millisecond)
	mostWait     = int64(5 * time.Second)
	parkedWait   = int64(100 * time.Millisecond) // for another answer, before a probe

	badShare = 0.5 // of answers that a server may give on its own account
	badMore  = 0.3 // more of them than usual
	// What fails so often is held, and asked again more slowly, before it is believed.
	doubtHolds = 4
	// Slowing down so often without effect shows that the names are to blame.
	badSlow = 2

	// Of what was held and asked again so little is good that the names are to blame.
	fewRegained = 0.08

	strangers = 3 // failures of a server that has never answered well which are believed
)

// A server is a resolver, and what it has shown so far.
type server struct {
	x    *Resolver
	addr netip.AddrPort
	name string
	line line
	most float64 // questions a second that it is asked for at most; 0: any number

	ids  []int32 // lookups that wait for an answer with an id, by index from 1
	used int

	srtt, rttvar, rto int64
	known             string // a name that it has answered well
	knownAge          int

	// Until when what it was sent was answered, at all and well.
	heardSent, goodSent int64

	ill      bool
	silent   int // first sends in a row that were not answered
	parked   queue
	later    []resend // that wait for their turn
	checking bool
	wait     int64 // until the next probe of an ill server
	timer    loop.Timer

	recentBad, usualBad float64
	regained            float64 // share of what was held that was good when it was asked again
	bads                int     // failures that may be its own

	folded int  // answers in a row that did not keep the case
	plain  bool // it does not know EDNS

	pace
	ServerStats
}

// A pace is how fast a server may be asked, and how much of it it loses.
type pace struct {
	rate     float64 // questions a second; 0: no limit but that of Server
	tokens   float64
	filled   int64
	ceiling  float64 // where it began to lose
	flow     float64 // answers a second of late
	goodFlow float64 // good ones
	innate   float64 // what it loses at any rate
	loss     float64
	sends    int  // that mean something
	hopeless bool // even mostSends mean nothing

	begin                 int64 // of the window
	answers, goods        int
	cohorts               [cohorts]cohort
	changed               int64 // when the rate was lowered
	calm                  int   // windows without too much loss since
	badSlows              int
	refuser               bool // it has failed more the more it was asked
	windowBad, windowAll  int  // first opinions
	badBefore             float64
	limited               bool
	slowed                bool
	lossBefore, rateFirst float64
	settled               int64
}

// ServerStats is what one server has done.
type ServerStats struct {
	Addr      netip.AddrPort
	Queries   int64         // packets sent
	Answers   int64         // that were awaited
	Timeouts  int64         // sends that were not answered in time
	Lost      int64         // sends that were not answered although a later one was
	Truncated int64         // answers
	TCP       int64         // questions over TCP
	Ignored   int64         // packets that answered no question of ours, or came late
	Probes    int64         //
	Illnesses int64         //
	Ill       bool          // now
	Rate      float64       // questions a second that are allowed now; 0: any
	RTT       time.Duration // smoothed
	Loss      float64       // share of sends
}

func (s *server) stats() ServerStats {
	st := s.ServerStats
	st.Addr, st.Ill, st.RTT, st.Loss, st.Rate = s.addr, s.ill, time.Duration(s.srtt), s.loss, s.limit()
	return st
}

// limit is the rate that holds now.
func (s *server) limit() float64 {
	switch {
	case s.rate == 0:
		return s.most
	case s.most == 0:
		return s.rate
	}
	return min(s.rate, s.most)
}

// mayAsk reports whether a token is there, or else when.
func (s *server) mayAsk(now int64) (ok bool, at int64) {
	rate := s.limit()
	if rate == 0 {
		return true, 0
	}
	burst := max(1, rate/50) // timers come every 10 ms
	s.tokens = min(burst, s.tokens+rate*float64(now-s.filled)/1e9)
	s.filled = now
	if s.tokens >= 1 {
		return true, 0
	}
	s.limited = true
	return false, now + int64((1-s.tokens)/rate*1e9)
}

// sample takes the time of an answer (RFC 6298 §2).
func (s *server) sample(rtt int64) {
	if s.srtt == 0 {
		s.srtt, s.rttvar = rtt, rtt/2
	} else {
		d := s.srtt - rtt
		if d < 0 {
			d = -d
		}
		s.rttvar += (d - s.rttvar) / 4
		s.srtt += (rtt - s.srtt) / 8
	}
	s.rto = min(int64(s.x.timeouts.Max), max(int64(s.x.timeouts.First), s.srtt+4*s.rttvar))
}

// patience is how long the n-th send of a try waits. The last one has all the time.
func (s *server) patience(n int) int64 {
	if n >= s.sends {
		return int64(s.x.timeouts.Max)
	}
	return min(int64(s.x.timeouts.Max), s.rto<<min(n-1, 2))
}

// heard takes note of an answer to the n-th send (from 1) of a question that was first
// sent at a time.
func (s *server) heard(now, first, sent int64, n int) {
	s.Answers++
	s.answers++
	s.Lost += int64(n - 1)
	c := &s.cohorts[first/window%cohorts]
	if epoch := first / window; c.epoch != epoch {
		*c = cohort{epoch: epoch}
	}
	c.answered++
	c.lost += n - 1
	s.silent = 0
	s.heardSent = max(s.heardSent, sent)
	s.sample(max(1, now-sent))
	s.judge(now)
}

// A cohort is the questions that were first sent in the same window and have been
// answered. What a server loses is told by cohorts: the answers of one moment would
// tell too little of it at first, and too much in the end, when only those are left
// that were lost. What was never answered does not count, it may be the name's fault.
type cohort struct {
	epoch          int64 // the window's number
	answered, lost int   // questions, sends
}

const cohorts = 8

// lossOf is the share of sends that was lost of the cohorts of some windows, and of how
// many sends.
func (s *server) lossOf(from, to int64) (share float64, n int) {
	lost := 0
	for i := range s.cohorts {
		if c := &s.cohorts[i]; c.epoch >= from && c.epoch <= to {
			lost += c.lost
			n += c.lost + c.answered
		}
	}
	return float64(lost) / float64(max(1, n)), n
}

// judge looks at a window that is over.
func (s *server) judge(now int64) {
	elapsed := now - s.begin
	if elapsed < window {
		return
	}
	s.glance(0)
	flow := float64(s.answers) * 1e9 / float64(elapsed)
	s.flow = max(flow, 0.9*s.flow)
	if loss, n := s.lossOf(s.changed/window+1, now/window-1); n >= leastN {
		s.adapt(now, loss, flow)
	}
	good := float64(s.goods) * 1e9 / float64(elapsed)
	s.goodFlow = max(good, 0.9*s.goodFlow)
	s.adaptBad(now, good)
	s.begin, s.answers, s.goods, s.windowBad, s.windowAll, s.limited = now, 0, 0, 0, 0, false
}

// glance looks at what is lost, and reports whether a question that was sent so often
// should be sent again.
func (s *server) glance(sends int) (again bool) {
	if loss, n := s.lossOf(0, 1<<62); n >= leastN {
		s.believe(loss)
	}
	return sends < s.sends
}

// believe sets how many sends mean something where a share of them is lost.
func (s *server) believe(loss float64) {
	s.loss, s.sends = loss, s.x.sends
	for s.sends < mostSends && math.Pow(loss, float64(s.sends)) > mostDoubt {
		s.sends++
	}
	s.hopeless = math.Pow(loss, float64(s.sends)) > noHope
}

// adapt changes the rate: to what was answered when too much was lost, and slowly
// back. Where being slower does not help, the loss is not our doing.
func (s *server) adapt(now int64, loss, answered float64) {
	switch {
	case now < s.settled:
	case loss <= s.innate+tooMuch:
		s.slowed = false
		s.innate += (loss - s.innate) / 8
		if s.rate == 0 || !s.limited {
			return
		}
		if s.rate < 0.9*s.ceiling {
			s.rate *= 1.5
		} else {
			if !s.refuser {
				s.calm = min(s.calm+1, 5)
			}
			s.rate += max(1, s.rate*float64(int(1)<<s.calm)/64) // carefully at first
		}
	case s.slowed && loss > 0.7*s.lossBefore:
		s.innate, s.rate, s.slowed, s.changed = loss, s.rateFirst, false, now
	default:
		if !s.slowed {
			s.rateFirst = s.rate
		}
		s.slowed, s.lossBefore = true, loss
		s.slow(now, max(0.9*answered, s.flow/2)) // of late: at a list's end little is answered
		s.ceiling = s.rate
	}
}

// adaptBad changes the rate of one that fails more than usual, as adapt does: good are
// its good answers a second.
func (s *server) adaptBad(now int64, good float64) {
	share := float64(s.windowBad) / float64(max(1, s.windowAll))
	switch {
	case !s.doubtful():
		s.badSlows = 0
		if s.refuser && now >= s.settled && s.windowAll >= leastN/2 && share > s.usualBad+tooMuch {
			s.slow(now, max(0.9*good, s.goodFlow/2))
			s.ceiling = s.rate
		}
	case now < s.settled:
	case s.badSlows == badSlow && s.recentBad > 0.8*s.badBefore:
		s.usualBad, s.rate, s.badSlows, s.refuser = s.recentBad, s.rateFirst, 0, false
	default:
		if s.badSlows == 0 {
			s.rateFirst = s.rate
		}
		s.refuser = true
		s.badSlows = min(badSlow, s.badSlows+1)
		s.badBefore = s.recentBad
		s.slow(now, max(0.9*good, s.goodFlow/2))
		s.ceiling = s.rate
	}
}

func (s *server) slow(now int64, rate float64) {
	if s.rate == 0 {
		s.tokens, s.filled = 0, now
	}
	s.rate, s.changed, s.calm = max(leastQPS, rate), now, 0
	s.settled = now + settle + s.rto
	s.x.log.Debug("a resolver loses questions, it is asked less", slog.String("resolver", s.name), slog.Float64("rate", s.rate))
}

// opinion takes note of whether an answer to a first question was good, or bad on
// the server's own account, perhaps.
func (s *server) opinion(l *lookup, bad bool) {
	v := 0.0
	if bad {
		v = 1
		s.bads++
	}
	switch {
	case l.holds == 0:
		s.windowAll++
		s.windowBad += int(v)
	case s.hopes(l, v):
		return
	}
	before := s.doubtful()
	s.recentBad += (v - s.recentBad) / 16
	switch after := s.doubtful(); {
	case !after:
		s.usualBad += (v - s.usualBad) / 512
	case !before:
		s.x.reconsider(s)
		s.judge(s.x.reactor.Now())
		s.check()
	}
}

// hopes takes note of what came of a question that was held for its failure and asked
// again, and reports whether it tells nothing about the server. Those questions were
// chosen because they had failed. Where being slower makes them good, it was the server;
// where it does not, the names are to blame, and counting them would be doubting
// because of doubts.
func (s *server) hopes(l *lookup, bad float64) bool {
	if s.rate > 0 && l.opened > s.changed {
		s.regained += (1 - bad - s.regained) / 32
	}
	if s.regained >= fewRegained {
		return false
	}
	s.recentBad += (s.usualBad - s.recentBad) / 16 // the doubts fade
	if s.refuser {
		s.refuser, s.badSlows, s.rate = false, 0, s.rateFirst
	}
	return true
}

// doubtful reports whether a server fails so much more than usual that it may be on
// its own account.
func (s *server) doubtful() bool {
	return s.recentBad > badShare && s.recentBad > s.usualBad+badMore
}

// strict reports whether a server's failures are asked for again before they are
// believed: it is in doubt, or was, until being slower helped, and may be so again.
func (s *server) strict() bool { return s.refuser || s.doubtful() }

// ownFault reports whether an answer may be the server's own fault, and not the name's.
func ownFault(v verdict.Code) bool {
	return v == verdict.DNSServFail || v == verdict.DNSLame || v == verdict.DNSMalformed || v == verdict.DNSTimeout
}

// A resend is a question that is to be sent again, if it was not answered meanwhile.
type resend struct {
	l     *lookup
	epoch uint32
}

// believes reports whether a lookup's failure is to be believed: another question was
// answered that was not sent earlier. Of a server that has never answered well, which
// then may not know a name to be probed with, a few failures are believed at once.
func (s *server) believes(l *lookup) bool {
	switch {
	case s.ill:
		return false
	case l.failed == verdict.DNSTimeout:
		return s.heardSent >= l.lastSent
	case s.known == "" && s.bads <= strangers: // it may be right
		return true
	}
	return (!s.strict() || l.holds >= doubtHolds) && s.goodSent >= l.lastSent
}

// park has a lookup wait until it can be told whose its failure is.
func (s *server) park(l *lookup) {
	l.state = parked
	s.parked.push(l)
	switch {
	case s.ill:
		s.release()
	case s.used == 0:
		s.check()
	case !s.timer.Armed():
		s.x.reactor.Set(&s.timer, s.x.reactor.Now()+parkedWait)
	}
}

// release has those parked lookups go on whose failures are to be believed. An ill
// server's are asked elsewhere, or again.
func (s *server) release() {
	for range s.parked.n {
		l := s.parked.pop()
		switch {
		case s.ill:
			s.x.hold(l)
		case s.believes(l):
			s.x.failed(l)
		default:
			s.parked.push(l)
		}
	}
}

// convicted reports whether failures remain that a probe, sent at a time, should have
// cleared up.
func (s *server) convicted(sent int64) bool {
	for l := s.parked.head; l != nil; l = l.next {
		if l.lastSent <= sent {
			return true
		}
	}
	return false
}

// tick is the timer: something is parked, or the server is ill.
func (s *server) tick() {
	if s.ill || s.parked.n > 0 {
		s.check()
	}
}

// check sends a probe: a question that the server has answered well before.
func (s *server) check() {
	if s.checking {
		return
	}
	s.checking = true
	s.x.probe(s)
}

// checked is what came of a probe that was sent at a time. Answers of any kind show
// that a server is there, and good ones that it is well.
func (s *server) checked(sent int64, answered, good bool) {
	s.checking = false
	switch {
	case !answered, s.ill && !good:
		s.fallIll()
		return
	case s.ill:
		s.ill, s.silent, s.wait = false, 0, 0
		s.x.log.Info("a resolver is well again", slog.String("resolver", s.name))
		s.x.illness()
	}
	s.release()
	switch {
	case s.convicted(sent):
		s.fallIll()
	case s.parked.n > 0: // they failed meanwhile
		s.check()
	}
}

// fallIll begins, or goes on with, an illness.
func (s *server) fallIll() {
	now := s.x.reactor.Now()
	if !s.ill {
		s.ill = true
		s.Illnesses++
		s.wait = probeWait
		if s.flow > 0 { // it may be that we have asked too much
			s.ceiling = s.flow
			s.slow(now, s.flow/4)
		}
		s.x.log.Warn("a resolver does not answer as it did, it is left alone", slog.String("resolver", s.name))
		s.x.illness()
		s.release()
	}
	s.wait = min(mostWait, 2*s.wait)
	s.x.reactor.Set(&s.timer, now+s.wait)
}
