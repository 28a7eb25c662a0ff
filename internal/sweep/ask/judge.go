package ask

import (
	"net/netip"
	"slices"
	"time"

	"pennyfarthing/internal/verdict"
)

// finish ends the task, or has it begin again because our own line was ill.
func (t *Task) finish() {
	r := t.row()
	r.Tries = t.tries
	if t.summary < 0 && t.first >= 0 {
		try := &t.tries[t.first]
		r.Verdict, r.Scheme, r.Address = t.believed.String(), try.Scheme, try.Address
		r.DNSUS, r.ConnectUS, r.TLSUS, r.FirstByteUS, r.TotalUS = try.DNSUS, try.ConnectUS, try.TLSUS, try.FirstByteUS, try.TotalUS
		r.ObservedAt = try.At
		if r.Error == "" {
			r.Error = t.believed.Text()
		}
	}
	if t.summary >= 0 && r.Verdict == verdict.OK.String() {
		r.Error = ""
	}
	r.Attempts = int32(len(t.tries)) //nolint:gosec // some dozens
	if t.silentTries() {
		// Whose silence it was is known when the second is over.
		t.park(t.a.reactor.Now()+int64(settle), (*Task).judge)
		return
	}
	t.a.done(t)
}

// settle is how long a task that met silence waits until others have been heard.
const settle = 1100 * time.Millisecond

// judge has the task begin again where its silences overlap an illness of ours.
func (t *Task) judge() {
	now := t.a.reactor.Now()
	wall := t.a.reactor.Time()
	for i := range t.tries {
		if !silent(t.codes[i]) {
			continue
		}
		from, to := t.span(i, now, wall)
		if !t.a.health.Doubtful(from, to, timeout(t.codes[i])) || t.settled(i, now, wall) {
			continue
		}
		t.redone++
		if t.redone > t.a.redos {
			t.row().Suspect = true
			break
		}
		t.park(now+int64(time.Second)*int64(t.redone), (*Task).again)
		return
	}
	t.a.done(t)
}

// span is when a try began and ended, on the reactor's clock.
func (t *Task) span(i int, now int64, wall time.Time) (from, to int64) {
	try := &t.tries[i]
	from = now - int64(wall.Sub(try.At))
	return from, from + try.TotalUS*int64(time.Microsecond)
}

// settled reports whether the row does not hang on a try that is in doubt: the same
// was asked again later, and answered, or met the same silence while our line was
// well. Rows with many silences take so long that some second of them is often ill,
// and would be done again for nothing.
func (t *Task) settled(i int, now int64, wall time.Time) bool {
	try := &t.tries[i]
	for j := i + 1; j < len(t.tries); j++ {
		later := &t.tries[j]
		if later.Scheme != try.Scheme || later.Host != try.Host {
			break // another request
		}
		if later.Status > 0 {
			return true
		}
		if t.codes[j] != t.codes[i] || later.Address != try.Address {
			continue
		}
		if from, to := t.span(j, now, wall); !t.a.health.Doubtful(from, to, timeout(t.codes[j])) {
			return true
		}
	}
	return false
}

func (t *Task) again() {
	if t.a.health.Judge(t.a.reactor.Now()) && t.trouble < maxTrouble { // still ill
		t.trouble++
		t.park(t.a.reactor.Now()+int64(time.Second), (*Task).again)
		return
	}
	t.reset()
	t.nextChain()
}

func (t *Task) silentTries() bool { return slices.ContainsFunc(t.codes, silent) }

// silent reports whether a failure may be our own line's as well as the target's:
// nothing came, or a resolver could not find out.
func silent(v verdict.Code) bool {
	switch v { //nolint:exhaustive // all others came over our line
	case verdict.HTTPTimeout, verdict.TLSTimeout, verdict.TCPTimeout, verdict.TCPUnreachable, verdict.DNSTimeout, verdict.DNSServFail, verdict.DNSLame:
		return true
	}
	return v.Class() == verdict.Self
}

// timeout reports whether a failure is that time was over.
func timeout(v verdict.Code) bool {
	return v == verdict.HTTPTimeout || v == verdict.TLSTimeout || v == verdict.TCPTimeout || v == verdict.DNSTimeout
}

// maxTrouble is how many faults of our own in a row end in a row that says so.
const maxTrouble = 60

// own waits after a fault of our own, and does the same again.
func (t *Task) own(v verdict.Code, again func(*Task)) {
	now := t.a.reactor.Now()
	t.a.trouble(v)
	t.trouble++
	if t.trouble < maxTrouble {
		t.park(now+int64(min(time.Duration(t.trouble)*100*time.Millisecond, 2*time.Second)), again)
		return
	}
	t.note(v, netip.Addr{})
	r := t.row()
	r.Tries, r.Attempts = t.tries, int32(len(t.tries)) //nolint:gosec // some dozens
	r.Verdict, r.Suspect, r.Error = v.String(), true, v.Text()
	r.ObservedAt = t.a.reactor.Time()
	t.a.done(t)
}
