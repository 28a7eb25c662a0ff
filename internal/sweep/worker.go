package sweep

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/sweep/ask"
	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/health"
	"pennyfarthing/internal/sweep/pace"
	"pennyfarthing/internal/sweep/queue"
	"pennyfarthing/internal/sweep/resolve"
	"pennyfarthing/internal/sweep/result"
	"pennyfarthing/internal/sweep/target"
	"pennyfarthing/internal/verdict"
)

// How a worker holds itself back.
const (
	slowStart   = 200 // targets under way at the beginning; every row that is complete allows another one
	perTurn     = 256 // targets that begin in one turn of the reactor
	trickle     = 20  // targets a second while our line is ill and there are no controls
	between     = 1000
	aheadShards = 2 // that are decoded and wait
	late        = 500 * time.Millisecond

	leastUnderWay = 100 // however slow the machine is
)

// An openShard is one that is being asked.
type openShard struct {
	lease   queue.Lease
	items   []target.Item
	begun   int // items
	done    int
	suspect int
	codes   [256]int32 // rows, by verdict
	part    *result.Part
}

// A worker has the targets of its shards asked, in the goroutine of a reactor.
type worker struct {
	reactor  *loop.Reactor
	asker    *ask.Asker
	health   *health.Monitor
	resolver interface{ Stats() resolve.Stats }
	pacer    *pace.Pacer
	counters *Counters

	concurrency int // targets under way
	resolving   int // of which may wait for resolvers, to be asked and to be asked again
	controls    []target.Target
	full        func(*openShard) // has a shard's rows: they may be committed, or done again
	more        func()           // a shard is wanted
	broken      func(error)      // the run cannot go on

	shards  []*openShard // with items that have not begun
	wanted  int          // shards that were asked for and have not come
	limit   int          // targets under way, for now
	most    int          // what the machine can do, for now
	ended   int          // rows that are complete
	started int          // since the last control
	control int          // the next one
	lastControl,
	lastCut,
	lastTrickle,
	lastGrowth,
	lastNote int64
	stopped bool
	open    int // shards that have come and are not full

	networks map[netip.Prefix]int // rows, by the network of their address, of those that came first
}

// maxNetworks are watched. Those with many targets are among the first that come.
const maxNetworks = 1 << 14

// take begins a shard.
func (w *worker) take(s *openShard) {
	w.wanted--
	w.open++
	w.shards = append(w.shards, s)
}

// turn begins as many targets as may be under way. It runs at the end of every turn
// of the reactor.
func (w *worker) turn() bool {
	if w.stopped {
		return false
	}
	now := w.reactor.Now()
	ill := w.health.Judge(now)
	w.adjust(now)
	w.sendControl(now, ill)
	begun := 0
	for begun < perTurn && w.mayBegin(now, ill) {
		if !w.begin() {
			break
		}
		begun++
	}
	for len(w.shards)+w.wanted < aheadShards {
		w.wanted++
		w.more()
	}
	w.note(now, ill)
	return begun == perTurn
}

// adjust follows what the machine can do: when the processor was taken from us, or
// there is too much to do, less is under way; then it grows again.
func (w *worker) adjust(now int64) {
	if w.reactor.Late() > late {
		w.health.Slow(now)
		w.cut(now)
	}
	if w.most < w.concurrency && now-w.lastCut > int64(time.Second) && now-w.lastGrowth > int64(time.Second)/4 {
		w.lastGrowth = now
		w.most = min(w.concurrency, w.most+max(10, w.concurrency/50))
	}
	w.limit = min(slowStart+w.ended, w.most)
}

// cut lowers what may be under way, at most once a second.
func (w *worker) cut(now int64) {
	if now-w.lastCut < int64(time.Second) {
		return
	}
	w.lastCut = now
	w.most = max(leastUnderWay, min(w.most, w.asker.Active())*8/10)
}

// own hears of a fault of ours.
func (w *worker) own(v verdict.Code) {
	w.counters.OwnFaults[v].Add(1)
	if v == verdict.SelfDescriptors || v == verdict.SelfPorts {
		w.cut(w.reactor.Now())
	}
}

func (w *worker) mayBegin(now int64, ill bool) bool {
	if len(w.shards) == 0 || w.asker.Active() >= w.limit || w.asker.Resolving() >= w.resolving || w.asker.Parked() > 2*w.concurrency {
		return false
	}
	if !ill {
		return true
	}
	if len(w.controls) > 0 || now-w.lastTrickle < int64(time.Second)/trickle {
		return false
	}
	w.lastTrickle = now
	return true
}

// begin has the next target asked.
func (w *worker) begin() bool {
	s := w.shards[0]
	item := &s.items[s.begun]
	index := s.begun
	if s.begun++; s.begun == len(s.items) {
		w.shards[0] = nil
		w.shards = w.shards[1:]
	}
	t := w.asker.Task()
	parsed, err := target.Parse(item.Target)
	if err != nil {
		w.broken(fmt.Errorf("shard %d, target %d: %w", s.lease.Shard, index, err))
		return false
	}
	t.Target, t.Text, t.Rank, t.Index = parsed, item.Target, item.Rank, index
	t.Done = func(t *ask.Task) { w.done(s, t) }
	w.started++
	w.asker.Ask(t)
	return true
}

// sendControl asks a known-good target: one in a thousand, and one a second while
// the line is ill.
func (w *worker) sendControl(now int64, ill bool) {
	if len(w.controls) == 0 || now-w.lastControl < int64(time.Second)/2 {
		return
	}
	if w.started < between && now-w.lastControl < int64(5*time.Second) && !(ill && now-w.lastControl >= int64(time.Second)) {
		return
	}
	w.started, w.lastControl = 0, now
	t := w.asker.Task()
	t.Target = w.controls[w.control%len(w.controls)]
	w.control++
	t.Text, t.Rank = t.Target.String(), 0
	t.Done = func(t *ask.Task) {
		answered := t.Row.Status > 0 || t.Row.Verdict == verdict.OK.String() // found, where nobody is asked
		w.health.Control(w.reactor.Now(), answered)
		w.counters.Controls.Add(1)
		if !answered {
			w.counters.ControlsFailed.Add(1)
		}
		w.asker.Free(t)
	}
	w.asker.Ask(t)
}

// done takes a target's row.
func (w *worker) done(s *openShard, t *ask.Task) {
	if w.stopped {
		return
	}
	w.ended++
	s.done++
	row := t.Row
	if row.Suspect {
		s.suspect++
		w.counters.Suspect.Add(1)
	}
	w.locate(row)
	code, _ := verdict.Parse(row.Verdict)
	w.counters.Verdicts[code].Add(1)
	s.codes[code]++
	w.counters.Asked.Add(1)
	w.counters.Tries.Add(int64(row.Attempts))
	w.counters.Sent.Add(t.Sent)
	w.counters.Received.Add(t.Received)
	if err := s.part.Add(t.Index, row); err != nil {
		w.broken(fmt.Errorf("keep the row of %s: %w", row.Target, err))
		return
	}
	w.asker.Free(t)
	if s.done == len(s.items) {
		w.open--
		w.full(s)
	}
}

// locate counts the networks that targets are in, where they decide how long the run
// takes.
func (w *worker) locate(row *evidence.Row) {
	if w.pacer == nil || row.Address == "" {
		return
	}
	addr, err := netip.ParseAddr(row.Address)
	if err != nil {
		return
	}
	network := pace.NetworkOf(addr)
	if _, known := w.networks[network]; known || len(w.networks) < maxNetworks {
		if w.networks == nil {
			w.networks = map[netip.Prefix]int{}
		}
		w.networks[network]++
	}
}

// floor is how long the whole run takes at least, for its busiest network, as far as
// the rows so far tell.
func (w *worker) floor() (time.Duration, netip.Prefix, int) {
	var busiest netip.Prefix
	most := 0
	for network, n := range w.networks {
		if n > most {
			busiest, most = network, n
		}
	}
	const enough = 500
	if w.ended < enough || !w.counters.AllListed.Load() {
		return 0, busiest, 0
	}
	targets := int(float64(most) / float64(w.ended) * float64(w.counters.Listed.Load()-w.counters.Earlier.Load()))
	return w.pacer.Floor(targets), busiest, targets
}

// note tells the counters, some times a second.
func (w *worker) note(now int64, ill bool) {
	if now-w.lastNote < int64(200*time.Millisecond) {
		return
	}
	w.lastNote = now
	if w.resolver.Stats().Ill { // every one of them: nothing ends meanwhile that would say so
		w.health.Hurt(now)
	}
	c := w.counters
	c.Active.Store(int64(w.asker.Active()))
	c.Parked.Store(int64(w.asker.Parked()))
	c.IllSeconds.Store(w.health.Ill())
	c.Ill.Store(ill)
	if w.pacer == nil {
		return
	}
	_, n := w.pacer.Busiest()
	c.Waiting.Store(int64(n))
	d, network, targets := w.floor()
	name := network.String()
	c.Busiest.Store(&name)
	c.Floor.Store(int64(d))
	c.InBusiest.Store(int64(targets))
}

// run runs the reactor until ctx ends.
func (w *worker) run(ctx context.Context) error {
	w.limit, w.most = slowStart, w.concurrency
	w.reactor.EachTurn(w.turn)
	return w.reactor.Run(ctx)
}
