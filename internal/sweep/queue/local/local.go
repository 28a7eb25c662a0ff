// Package local is the queue of a sweep on one machine: two files in the run's
// directory.
//
// targets.bin has the targets of all shards, one record behind the other; it is only
// ever appended to. journal.db (bbolt) says where each record is, and what became of
// its shard. A record counts once the journal knows it: what a dying process has
// written behind the last such record is cut off when the files are opened.
//
// Leases are kept in memory, since nobody but this process hands them out: when it
// dies, they die with it. How often a shard was leased is in the journal.
//
// The journal's lock keeps a second process out. Every change is on disk when its
// method returns, which takes as long as one or two syncs: callers that must not wait
// call from elsewhere. No goroutine is started.
package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"pennyfarthing/internal/sweep/queue"
	"pennyfarthing/internal/sweep/target"
)

// The files of a run.
const (
	Journal = "journal.db"
	Targets = "targets.bin"
)

// version is that of both files together.
const version = "1"

// lockWait is how long an open waits for another process to let go of the journal.
const lockWait = 250 * time.Millisecond

// maxSuspicion is how long a suspicion may be, in bytes.
const maxSuspicion = 200

type state uint8

const (
	waiting state = iota
	leased
	done
)

// shard is what is remembered of each.
type shard struct {
	offset   int64
	length   int32
	count    int32
	attempts int32
	state    state
	suspect  bool
}

type lease struct {
	worker  string
	expires time.Time
}

// A Queue is a queue.Queue in the directory of a run.
type Queue struct {
	dir string
	now func() time.Time
	db  *bbolt.DB

	mu       sync.Mutex // guards what follows, and the order of changes on disk
	targets  *targetsFile
	shards   []shard
	waiting  []uint32 // sorted
	suspects []uint32 // in the order of their return
	leases   map[uint32]lease
	listed   bool
	progress queue.Progress // Leased and Waiting are counted when they are asked for
}

var _ queue.Queue = (*Queue)(nil)

// Open opens the queue in a directory, which must exist, and makes it if there is
// none. now is the clock by which leases run out.
func Open(dir string, now func() time.Time) (*Queue, error) {
	q := &Queue{dir: dir, now: now, leases: map[uint32]lease{}}
	path := filepath.Join(dir, Journal)
	if err := create(path); err != nil {
		return nil, explained(path, fmt.Errorf("create journal: %w", err))
	}
	var err error
	if q.db, err = openBolt(path); err != nil {
		return nil, err
	}
	end, err := q.load()
	if err == nil {
		q.targets, err = openTargets(filepath.Join(dir, Targets), end)
	}
	if err != nil {
		q.db.Close()
		return nil, explained(path, err)
	}
	return q, nil
}

// Close closes the files. Leases end with it.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return errors.Join(q.db.Close(), q.targets.close())
}

// shard is the one with a number, or nil.
func (q *Queue) shard(id uint32) *shard {
	if uint64(id) >= uint64(len(q.shards)) {
		return nil
	}
	return &q.shards[id]
}

// append adds a shard to what is remembered.
func (q *Queue) append(p placed) {
	q.shards = append(q.shards, shard{offset: p.Offset, length: int32(p.Length), count: int32(p.Count)}) //nolint:gosec // Add has looked
	q.progress.Shards++
	q.progress.Targets += int64(p.Count)
	q.progress.End = p.End
}

// finish marks a shard as done.
func (q *Queue) finish(s *shard, part queue.Part) {
	s.state = done
	if s.suspect {
		q.progress.Suspect--
	}
	q.progress.Done++
	q.progress.TargetsDone += int64(s.count)
	q.progress.Rows += part.Rows
	q.progress.Bytes += part.Bytes
}

// wait puts a shard among those that wait.
func (q *Queue) wait(id uint32) {
	s := &q.shards[id]
	s.state = waiting
	if s.suspect {
		q.suspects = append(q.suspects, id)
		return
	}
	at, _ := slices.BinarySearch(q.waiting, id)
	q.waiting = slices.Insert(q.waiting, at, id)
}

// expire takes shards back whose lease has run out.
func (q *Queue) expire() {
	now := q.now()
	for id, l := range q.leases {
		if !now.Before(l.expires) {
			delete(q.leases, id)
			q.wait(id)
		}
	}
}

// Add is queue.Queue's.
func (q *Queue) Add(_ context.Context, shards ...queue.Shard) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(shards) > 0 && q.shard(shards[0].ID) != nil {
		shards = shards[1:] // it is there
	}
	if len(shards) == 0 {
		return nil
	}
	if q.listed {
		return fmt.Errorf("add shard %d to a list that is complete: %w", shards[0].ID, queue.ErrOrder)
	}
	for i := range shards {
		s := &shards[i]
		if uint64(s.ID) != uint64(len(q.shards)+i) {
			return fmt.Errorf("add shard %d behind %d: %w", s.ID, len(q.shards)+i, queue.ErrOrder)
		}
		if len(s.Data) > maxData || s.Count < 0 || s.Count > target.MaxShardSize {
			return fmt.Errorf("add shard %d: %d targets in %d bytes are too many", s.ID, s.Count, len(s.Data))
		}
	}
	places, err := q.targets.append(shards)
	if err != nil {
		return explained(filepath.Join(q.dir, Targets), fmt.Errorf("write the targets of %d shards: %w", len(shards), err))
	}
	err = q.db.Update(func(tx *bbolt.Tx) error {
		for i, p := range places {
			if err := put(tx, bucketShards, shards[i].ID, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return q.explained("add", shards[0].ID, err)
	}
	q.targets.keep(places)
	for i, p := range places {
		q.append(p)
		q.wait(shards[i].ID)
	}
	return nil
}

// explained is an error of the journal.
func (q *Queue) explained(what string, id uint32, err error) error {
	return explained(filepath.Join(q.dir, Journal), fmt.Errorf("%s shard %d: %w", what, id, err))
}

// Listed is queue.Queue's.
func (q *Queue) Listed(context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.listed {
		return nil
	}
	err := q.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketRun)).Put([]byte("listed"), []byte("1"))
	})
	if err != nil {
		return explained(filepath.Join(q.dir, Journal), fmt.Errorf("mark the list as complete: %w", err))
	}
	q.listed = true
	return nil
}

// Lease is queue.Queue's.
func (q *Queue) Lease(_ context.Context, worker string, d time.Duration) (queue.Lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire()
	from := &q.waiting
	if len(*from) == 0 {
		from = &q.suspects
	}
	if len(*from) == 0 {
		if q.listed && q.progress.Done == len(q.shards) {
			return queue.Lease{}, queue.ErrFinished
		}
		return queue.Lease{}, queue.ErrNone
	}
	id := (*from)[0]
	s := &q.shards[id]
	var a attempts
	err := q.change(id, func(now *attempts) {
		now.Leased = int(s.attempts) + 1
		a = *now
	})
	if err != nil {
		return queue.Lease{}, q.explained("lease", id, err)
	}
	*from = (*from)[1:]
	s.state, s.attempts = leased, s.attempts+1
	l := lease{worker, q.now().Add(d)}
	q.leases[id] = l
	return queue.Lease{Shard: id, Attempt: a.Leased, Count: int(s.count), Worker: worker, Expires: l.expires, Suspicions: a.Suspicions}, nil
}

// change changes what the journal has about a shard's attempts.
func (q *Queue) change(id uint32, f func(*attempts)) error {
	return q.db.Update(func(tx *bbolt.Tx) error {
		var a attempts
		if data := tx.Bucket([]byte(bucketAttempts)).Get(key(id)); data != nil {
			if err := json.Unmarshal(data, &a); err != nil {
				return err
			}
		}
		f(&a)
		return put(tx, bucketAttempts, id, a)
	})
}

// Targets is queue.Queue's.
func (q *Queue) Targets(_ context.Context, id uint32) ([]byte, error) {
	q.mu.Lock()
	s := q.shard(id)
	if s == nil {
		q.mu.Unlock()
		return nil, fmt.Errorf("read the targets of shard %d: %w", id, queue.ErrUnknown)
	}
	offset, length := s.offset, int(s.length)
	q.mu.Unlock()
	return q.targets.read(id, offset, length)
}

// holds reports whether a lease is the valid one of its shard.
func (q *Queue) holds(l queue.Lease) bool {
	s := q.shard(l.Shard)
	return s != nil && s.state == leased && int(s.attempts) == l.Attempt
}

// Extend is queue.Queue's.
func (q *Queue) Extend(_ context.Context, l queue.Lease, d time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.holds(l) {
		q.leases[l.Shard] = lease{l.Worker, q.now().Add(d)}
		return nil
	}
	why := queue.ErrLost
	switch s := q.shard(l.Shard); {
	case s == nil:
		why = queue.ErrUnknown
	case s.state == done:
		why = queue.ErrDone
	}
	return fmt.Errorf("extend the lease of shard %d by %s: %w", l.Shard, l.Worker, why)
}

// Done is queue.Queue's.
func (q *Queue) Done(_ context.Context, l queue.Lease, part queue.Part) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	part.Shard, part.Attempt = l.Shard, l.Attempt
	s := q.shard(l.Shard)
	wrong := func(why error) error {
		return fmt.Errorf("finish shard %d, attempt %d by %s: %w", l.Shard, l.Attempt, l.Worker, why)
	}
	switch {
	case s == nil:
		return wrong(queue.ErrUnknown)
	case l.Attempt < 1 || l.Attempt > int(s.attempts):
		return wrong(queue.ErrLost) // it was never given
	case s.state == done:
		return q.doneAgain(part, wrong)
	case part.Rows != int64(s.count):
		return wrong(fmt.Errorf("%w: %d rows, %d targets", queue.ErrRows, part.Rows, s.count))
	}
	if err := q.db.Update(func(tx *bbolt.Tx) error { return put(tx, bucketParts, l.Shard, part) }); err != nil {
		return q.explained("finish", l.Shard, err)
	}
	// Its lease may have run out, and another may have it.
	delete(q.leases, l.Shard)
	same := func(id uint32) bool { return id == l.Shard }
	q.waiting, q.suspects = slices.DeleteFunc(q.waiting, same), slices.DeleteFunc(q.suspects, same)
	q.finish(s, part)
	return nil
}

// doneAgain compares a part with the one that the journal has.
func (q *Queue) doneAgain(part queue.Part, wrong func(error) error) error {
	var kept queue.Part
	err := q.db.View(func(tx *bbolt.Tx) error {
		return json.Unmarshal(tx.Bucket([]byte(bucketParts)).Get(key(part.Shard)), &kept)
	})
	if err != nil {
		return q.explained("read", part.Shard, err)
	}
	if kept.Attempt == part.Attempt && kept.File == part.File && kept.SHA256 == part.SHA256 {
		return nil
	}
	return wrong(queue.ErrDone)
}

// Return is queue.Queue's.
func (q *Queue) Return(_ context.Context, l queue.Lease, suspicion string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.shard(l.Shard)
	if s == nil {
		return fmt.Errorf("return shard %d: %w", l.Shard, queue.ErrUnknown)
	}
	if !q.holds(l) {
		return nil
	}
	if suspicion != "" {
		suspicion = suspicion[:min(len(suspicion), maxSuspicion)]
		err := q.change(l.Shard, func(a *attempts) {
			a.Suspicions = append(a.Suspicions, suspicion)
			a.Suspicions = a.Suspicions[max(0, len(a.Suspicions)-queue.KeptSuspicions):]
		})
		if err != nil {
			return q.explained("return", l.Shard, err)
		}
		if !s.suspect {
			s.suspect = true
			q.progress.Suspect++
		}
	}
	delete(q.leases, l.Shard)
	q.wait(l.Shard)
	return nil
}

// Progress is queue.Queue's.
func (q *Queue) Progress(context.Context) (queue.Progress, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire()
	p := q.progress
	p.Listed = q.listed
	p.Leased = len(q.leases)
	p.Waiting = len(q.waiting) + len(q.suspects)
	return p, nil
}

// Parts is queue.Queue's. It reads the journal in pieces, so that a slow yield does
// not make it grow.
func (q *Queue) Parts(ctx context.Context, yield func(queue.Part) error) error {
	const piece = 256
	for next := uint64(0); ; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var parts []queue.Part
		err := q.db.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket([]byte(bucketParts)).Cursor()
			for k, v := c.Seek(key(uint32(next))); k != nil && len(parts) < piece; k, v = c.Next() { //nolint:gosec // it is at most 1<<32-1 here
				var part queue.Part
				if err := json.Unmarshal(v, &part); err != nil {
					return err
				}
				parts = append(parts, part)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read the parts of %s: %w", filepath.Join(q.dir, Journal), err)
		}
		for _, part := range parts {
			if err := yield(part); err != nil {
				return err
			}
			next = uint64(part.Shard) + 1
		}
		if len(parts) < piece || next >= 1<<32 {
			return nil
		}
	}
}
