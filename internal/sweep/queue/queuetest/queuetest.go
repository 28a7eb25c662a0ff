// Package queuetest is what every implementation of queue.Queue must pass. It is for
// tests only.
package queuetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/sweep/queue"
	"pennyfarthing/internal/sweep/target"
)

// A Clock is one that tests turn.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance lets time pass.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Shard is one with so many targets.
func Shard(id uint32, count int) queue.Shard {
	return queue.Shard{
		ID: id, Count: count, Data: fmt.Appendf(nil, "targets of %d", id),
		End: target.Position{Shards: id + 1, Lines: int64(id+1) * 10, Targets: int64(id+1) * int64(count), Check: 1<<63 + uint64(id)},
	}
}

// Part is one for a lease, with a name of the worker's.
func Part(l queue.Lease) queue.Part {
	name := fmt.Sprintf("parts/%d-%s", l.Shard, l.Worker)
	return queue.Part{File: name, Rows: int64(l.Count), Bytes: 100, SHA256: name, Counters: []byte{0, 1, byte(l.Shard)}}
}

// Run tests an implementation. open makes an empty queue that goes by a clock.
func Run(t *testing.T, open func(t *testing.T, clock *Clock) queue.Queue) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, q *tester)
	}{
		{"ShardsAreLeasedInTheOrderOfTheList", inOrder},
		{"ALeaseThatRunsOutIsSomebodyElses", runsOut},
		{"ALeaseThatIsExtendedDoesNotRunOut", extended},
		{"AShardIsDoneOnce", doneOnce},
		{"WhoComesLateIsBelievedWhenNobodyElseWasFirst", late},
		{"SuspectShardsComeLastAndKeepTheirHistory", suspects},
		{"WhatIsReturnedComesFirst", returned},
		{"AddingAgainChangesNothing", addedAgain},
		{"WhatMakesNoSenseIsRefused", refused},
		{"PartsAreListedInTheOrderOfTheShards", parts},
		{"ManyWorkersDoEveryShardOnce", manyWorkers},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := &Clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
			test.run(t, &tester{open(t, clock), clock, t})
		})
	}
}

type tester struct {
	queue.Queue
	clock *Clock
	t     *testing.T
}

func (q *tester) add(ids ...uint32) {
	q.t.Helper()
	var shards []queue.Shard
	for _, id := range ids {
		shards = append(shards, Shard(id, 4))
	}
	if err := q.Add(q.t.Context(), shards...); err != nil {
		q.t.Fatal(err)
	}
}

// lease leases a shard for a minute, and expects which.
func (q *tester) lease(worker string, shard uint32, attempt int) queue.Lease {
	q.t.Helper()
	l, err := q.Lease(q.t.Context(), worker, time.Minute)
	if err != nil {
		q.t.Fatal(err)
	}
	if l.Shard != shard || l.Attempt != attempt || l.Worker != worker || l.Count != 4 || !l.Expires.Equal(q.clock.Now().Add(time.Minute)) {
		q.t.Fatalf("%+v, want shard %d, attempt %d, for a minute from %v", l, shard, attempt, q.clock.Now())
	}
	return l
}

func (q *tester) none(want error) {
	q.t.Helper()
	if l, err := q.Lease(q.t.Context(), "nobody", time.Minute); !errors.Is(err, want) {
		q.t.Fatalf("%+v, %v, want %v", l, err, want)
	}
}

func (q *tester) done(l queue.Lease, want error) {
	q.t.Helper()
	if err := q.Done(q.t.Context(), l, Part(l)); !errors.Is(err, want) {
		q.t.Fatalf("shard %d is done: %v, want %v", l.Shard, err, want)
	}
}

func (q *tester) expect(want queue.Progress) {
	q.t.Helper()
	got, err := q.Progress(q.t.Context())
	if err != nil {
		q.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		q.t.Errorf("progress: -want +got:\n%s", diff)
	}
}

func inOrder(t *testing.T, q *tester) {
	q.none(queue.ErrNone)
	q.expect(queue.Progress{})
	q.add(0, 1)
	a := q.lease("a", 0, 1)
	q.add(2)
	b := q.lease("b", 1, 1)
	c := q.lease("c", 2, 1)
	q.none(queue.ErrNone)
	for _, l := range []queue.Lease{a, b, c} {
		data, err := q.Targets(t.Context(), l.Shard)
		if err != nil || string(data) != string(Shard(l.Shard, 4).Data) {
			t.Errorf("the targets of %d are %q, %v", l.Shard, data, err)
		}
	}
	q.done(b, nil)
	q.expect(queue.Progress{Shards: 3, Done: 1, Leased: 2, Targets: 12, TargetsDone: 4, Rows: 4, Bytes: 100, End: Shard(2, 4).End})
	q.done(a, nil)
	q.done(c, nil)
	q.none(queue.ErrNone)
	for range 2 {
		if err := q.Listed(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	q.none(queue.ErrFinished)
	q.expect(queue.Progress{Shards: 3, Done: 3, Targets: 12, TargetsDone: 12, Rows: 12, Bytes: 300, Listed: true, End: Shard(2, 4).End})
}

func runsOut(t *testing.T, q *tester) {
	q.add(0, 1)
	a := q.lease("a", 0, 1)
	q.clock.Advance(time.Minute - 1)
	q.lease("b", 1, 1)
	q.none(queue.ErrNone)
	q.clock.Advance(1)
	c := q.lease("c", 0, 2)
	for _, err := range []error{q.Extend(t.Context(), a, time.Minute)} {
		if !errors.Is(err, queue.ErrLost) {
			t.Error(err)
		}
	}
	if err := q.Return(t.Context(), a, "ill"); err != nil {
		t.Error(err)
	}
	q.none(queue.ErrNone) // c has it still
	q.done(c, nil)
}

func extended(t *testing.T, q *tester) {
	q.add(0)
	a := q.lease("a", 0, 1)
	for range 3 {
		q.clock.Advance(59 * time.Second)
		if err := q.Extend(t.Context(), a, time.Minute); err != nil {
			t.Fatal(err)
		}
		q.none(queue.ErrNone)
	}
	q.done(a, nil)
	if err := q.Extend(t.Context(), a, time.Minute); !errors.Is(err, queue.ErrDone) {
		t.Error(err)
	}
}

func doneOnce(t *testing.T, q *tester) {
	q.add(0)
	a := q.lease("a", 0, 1)
	q.clock.Advance(time.Minute)
	b := q.lease("b", 0, 2)
	q.done(b, nil)
	q.done(a, queue.ErrDone)
	q.done(b, nil) // the same again
	other := Part(b)
	other.File = "parts/other"
	if err := q.Done(t.Context(), b, other); !errors.Is(err, queue.ErrDone) {
		t.Errorf("another part of the same worker: %v", err)
	}
	q.expect(queue.Progress{Shards: 1, Done: 1, Targets: 4, TargetsDone: 4, Rows: 4, Bytes: 100, End: Shard(0, 4).End})
}

func late(t *testing.T, q *tester) {
	q.add(0, 1)
	a := q.lease("a", 0, 1)
	q.clock.Advance(time.Hour)
	q.expect(queue.Progress{Shards: 2, Waiting: 2, Targets: 8, End: Shard(1, 4).End})
	q.done(a, nil) // it waits, and nobody has it
	b := q.lease("b", 1, 1)
	q.clock.Advance(time.Hour)
	c := q.lease("c", 1, 2)
	q.done(b, nil) // c has it
	q.done(c, queue.ErrDone)
	if err := q.Extend(t.Context(), c, time.Minute); !errors.Is(err, queue.ErrDone) {
		t.Error(err)
	}
	q.expect(queue.Progress{Shards: 2, Done: 2, Targets: 8, TargetsDone: 8, Rows: 8, Bytes: 200, End: Shard(1, 4).End})
}

func suspects(t *testing.T, q *tester) {
	q.add(0, 1)
	want := []string(nil)
	l := q.lease("a", 0, 1)
	if err := q.Return(t.Context(), l, "line down 0"); err != nil {
		t.Fatal(err)
	}
	q.expect(queue.Progress{Shards: 2, Waiting: 2, Suspect: 1, Targets: 8, End: Shard(1, 4).End})
	want = append(want, "line down 0")
	q.add(2)
	q.done(q.lease("a", 1, 1), nil)
	q.done(q.lease("a", 2, 1), nil)
	for i := 1; i < 10; i++ {
		l = q.lease("a", 0, i+1)
		if diff := cmp.Diff(want, l.Suspicions); diff != "" {
			t.Errorf("suspicions: -want +got:\n%s", diff)
		}
		why := fmt.Sprint("line down ", i)
		if err := q.Return(t.Context(), l, why); err != nil {
			t.Fatal(err)
		}
		want = append(want, why)
		want = want[max(0, len(want)-queue.KeptSuspicions):]
	}
	q.clock.Advance(time.Hour)
	q.done(q.lease("a", 0, 11), nil)
	q.expect(queue.Progress{Shards: 3, Done: 3, Targets: 12, TargetsDone: 12, Rows: 12, Bytes: 300, End: Shard(2, 4).End})
}

func returned(t *testing.T, q *tester) {
	q.add(0, 1, 2)
	a := q.lease("a", 0, 1)
	b := q.lease("a", 1, 1)
	for _, l := range []queue.Lease{b, a, a} {
		if err := q.Return(t.Context(), l, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Extend(t.Context(), a, time.Minute); !errors.Is(err, queue.ErrLost) {
		t.Error(err)
	}
	q.lease("b", 0, 2)
	q.lease("b", 1, 2)
	q.lease("b", 2, 1)
}

func addedAgain(t *testing.T, q *tester) {
	q.add(0, 1)
	q.done(q.lease("a", 0, 1), nil)
	q.add(0, 1)
	q.add(1, 2)
	q.add(0)
	q.add()
	q.lease("a", 1, 1)
	q.lease("a", 2, 1)
	if err := q.Listed(t.Context()); err != nil {
		t.Fatal(err)
	}
	q.add(2)
	q.none(queue.ErrNone)
}

func refused(t *testing.T, q *tester) {
	ctx := t.Context()
	if err := q.Add(ctx, Shard(1, 4)); !errors.Is(err, queue.ErrOrder) {
		t.Errorf("a gap: %v", err)
	}
	q.add(0)
	if err := q.Add(ctx, Shard(1, 4), Shard(3, 4)); !errors.Is(err, queue.ErrOrder) {
		t.Errorf("a gap within: %v", err)
	}
	q.expect(queue.Progress{Shards: 1, Waiting: 1, Targets: 4, End: Shard(0, 4).End})
	nobody := queue.Lease{Shard: 7, Attempt: 1, Worker: "x", Count: 4}
	if _, err := q.Targets(ctx, 7); !errors.Is(err, queue.ErrUnknown) {
		t.Error(err)
	}
	if err := q.Extend(ctx, nobody, time.Minute); !errors.Is(err, queue.ErrUnknown) {
		t.Error(err)
	}
	if err := q.Return(ctx, nobody, ""); !errors.Is(err, queue.ErrUnknown) {
		t.Error(err)
	}
	q.done(nobody, queue.ErrUnknown)
	q.done(queue.Lease{Shard: 0, Attempt: 1, Worker: "x", Count: 4}, queue.ErrLost)
	l := q.lease("a", 0, 1)
	part := Part(l)
	part.Rows--
	if err := q.Done(ctx, l, part); !errors.Is(err, queue.ErrRows) {
		t.Errorf("a row too few: %v", err)
	}
	q.done(l, nil)
	if err := q.Listed(ctx); err != nil {
		t.Fatal(err)
	}
	if err := q.Add(ctx, Shard(1, 4)); !errors.Is(err, queue.ErrOrder) {
		t.Errorf("behind the end: %v", err)
	}
}

func parts(t *testing.T, q *tester) {
	const n = 600
	var want []queue.Part
	for id := range uint32(n) {
		q.add(id)
	}
	for id := range uint32(n) {
		l := q.lease("a", id, 1)
		if id%3 == 0 {
			continue
		}
		q.done(l, nil)
		part := Part(l)
		part.Shard, part.Attempt = id, 1
		want = append(want, part)
	}
	var got []queue.Part
	err := q.Parts(t.Context(), func(p queue.Part) error {
		got = append(got, p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	stop := errors.New("enough")
	if err := q.Parts(t.Context(), func(queue.Part) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func manyWorkers(t *testing.T, q *tester) {
	const n, workers = 60, 8
	var mu sync.Mutex
	times := map[uint32]int{}
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for {
				l, err := q.Lease(t.Context(), fmt.Sprint(w), time.Minute)
				if errors.Is(err, queue.ErrNone) {
					time.Sleep(time.Millisecond) // another is at it, or adds
					continue
				}
				if err == nil && l.Attempt == 1 && l.Shard%5 == 0 {
					err = q.Return(t.Context(), l, "to see what happens")
				} else if err == nil {
					err = q.Done(t.Context(), l, Part(l))
					mu.Lock()
					times[l.Shard]++
					mu.Unlock()
				}
				if errors.Is(err, queue.ErrFinished) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for id := range uint32(n) {
		if err := q.Add(t.Context(), Shard(id, 4)); err != nil {
			t.Error(err)
		}
	}
	if err := q.Listed(t.Context()); err != nil {
		t.Error(err)
	}
	group.Wait()
	for id := range uint32(n) {
		if times[id] != 1 {
			t.Errorf("shard %d was done %d times", id, times[id])
		}
	}
}
