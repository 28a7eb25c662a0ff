package sweep

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"pennyfarthing/internal/sweep/queue"
	"pennyfarthing/internal/sweep/target"
)

// leaseTime is how long a shard is leased; it is extended while it is being asked.
const leaseTime = 10 * time.Minute

// lease hands shards to the worker, as it wants them, until there are none.
func (r *run) lease(ctx context.Context, w *worker) error {
	codec, err := target.NewCodec()
	if err != nil {
		return err
	}
	if err := r.mayAsk(ctx); err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d", r.Settings.Vantage, os.Getpid())
	for {
		select {
		case <-r.want:
		case <-ctx.Done():
			return ctx.Err()
		}
		lease, err := r.next(ctx, name)
		if errors.Is(err, queue.ErrFinished) {
			r.complete.Store(true)
			r.finished()
			return nil
		}
		if err != nil {
			return err
		}
		r.leased.Store(true)
		data, err := r.queue.Targets(ctx, lease.Shard)
		if err != nil {
			return err
		}
		items, err := codec.Decode(data)
		if err != nil {
			return fmt.Errorf("read the targets of shard %d: %w", lease.Shard, err)
		}
		part, err := r.parts.Create(int(lease.Shard), len(items))
		if err != nil {
			return err
		}
		s := &openShard{lease: lease, items: items, part: part}
		r.opened(s)
		w.reactor.Post(func() { w.take(s) })
	}
}

// opened notes a shard whose lease must be extended.
func (r *run) opened(s *openShard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[s.lease.Shard] = s.lease
}

func (r *run) closed(s *openShard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, s.lease.Shard)
}

// extend extends the leases of the shards that are being asked.
func (r *run) extend(ctx context.Context) error {
	ticker := time.NewTicker(leaseTime / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		r.mu.Lock()
		leases := slices.Collect(maps.Values(r.open))
		r.mu.Unlock()
		for _, lease := range leases {
			err := r.queue.Extend(ctx, lease, leaseTime)
			if err != nil && !errors.Is(err, queue.ErrDone) && !errors.Is(err, queue.ErrLost) {
				return err
			}
		}
	}
}

// next waits for a shard. The list may still be growing, and shards that are being
// asked may come back.
func (r *run) next(ctx context.Context, worker string) (queue.Lease, error) {
	const often = 20 * time.Millisecond
	for {
		lease, err := r.queue.Lease(ctx, worker, leaseTime)
		if !errors.Is(err, queue.ErrNone) {
			return lease, err
		}
		select {
		case <-time.After(often):
		case <-ctx.Done():
			return lease, ctx.Err()
		}
	}
}

// suspectShare of a shard's rows has it done again, once: its targets were asked
// again one by one already, as often as Redos says.
const suspectShare = 0.01

// commit commits the shards that are full.
func (r *run) commit(ctx context.Context) error {
	for {
		var s *openShard
		select {
		case s = <-r.full:
		case <-ctx.Done():
			return ctx.Err()
		}
		r.closed(s)
		if float64(s.suspect) >= suspectShare*float64(len(s.items)) && s.suspect > 0 && len(s.lease.Suspicions) == 0 {
			s.part.Discard()
			if err := r.queue.Return(ctx, s.lease, fmt.Sprintf("our own line was ill: %d of %d rows are suspect", s.suspect, len(s.items))); err != nil {
				return err
			}
			r.uncount(s)
			continue
		}
		info, err := s.part.Commit()
		if err != nil {
			return fmt.Errorf("write the rows of shard %d: %w", s.lease.Shard, err)
		}
		err = r.queue.Done(ctx, s.lease, queue.Part{
			Shard: s.lease.Shard, Attempt: s.lease.Attempt, File: filepath.Join(partsDir, info.File), Rows: int64(info.Rows), Bytes: info.Bytes, SHA256: info.SHA256,
		})
		if err != nil {
			return err
		}
		r.counters.Done.Add(int64(info.Rows))
		r.counters.ShardsDone.Add(1)
	}
}

// uncount takes the rows of a shard out of the counters: it is done again.
func (r *run) uncount(s *openShard) {
	r.counters.Asked.Add(-int64(len(s.items)))
	r.counters.Suspect.Add(-int64(s.suspect))
	for code, n := range s.codes {
		r.counters.Verdicts[code].Add(-int64(n))
	}
}
