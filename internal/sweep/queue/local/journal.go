package local

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/queue"
	"pennyfarthing/internal/sweep/target"
)

// The buckets of the journal. Keys are the numbers of shards, big-endian; values are
// JSON.
const (
	bucketRun      = "run"      // version; listed, once the list is complete
	bucketShards   = "shards"   // placed
	bucketAttempts = "attempts" // attempts
	bucketParts    = "parts"    // queue.Part
)

// placed is a shard of the journal: where its targets are.
type placed struct {
	Offset int64           `json:"offset"` // of its record in targets.bin
	Length int             `json:"length"` // of its data
	Count  int             `json:"count"`
	End    target.Position `json:"end"`
}

// attempts is what was tried with a shard.
type attempts struct {
	Leased     int      `json:"leased"`
	Suspicions []string `json:"suspicions,omitempty"`
}

// create makes an empty journal, whole or not at all.
func create(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// What a process left that died here, or had no disk left.
	temporary := path + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := openBolt(temporary)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{bucketRun, bucketShards, bucketAttempts, bucketParts} {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(bucketRun)).Put([]byte("version"), []byte(version))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func openBolt(path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o644, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistArrayType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, &mistake.Error{File: path, What: "another penny works on this run", Hint: "wait until it is done, or stop it"}
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, &mistake.Error{File: path, What: fmt.Sprintf("this is no journal of a sweep, or it is damaged (%v)", err), Hint: "begin another run with -o DIR"}
	case err != nil:
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	return db, nil
}

// syncDir makes names of files last. Windows has no such thing.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(path) //nolint:gosec // the run's directory
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// explained adds to an error of a full disk what it means and what to do.
func explained(path string, err error) error {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		// bbolt keeps only the text of some errors.
		if errors.Is(err, full) || err != nil && strings.Contains(err.Error(), full.Error()) {
			return fmt.Errorf("%w: %w", &mistake.Error{File: path, What: "the disk is full", Hint: "make room, and then: penny sweep resume RUN"}, err)
		}
	}
	return err
}

func key(id uint32) []byte { return binary.BigEndian.AppendUint32(nil, id) }

// put writes a value of JSON.
func put(tx *bbolt.Tx, bucket string, id uint32, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return tx.Bucket([]byte(bucket)).Put(key(id), data)
}

// load reads the journal, and returns where targets.bin ends.
func (q *Queue) load() (end int64, err error) {
	end = headerSize
	err = q.db.View(func(tx *bbolt.Tx) error {
		for _, name := range []string{bucketRun, bucketShards, bucketAttempts, bucketParts} {
			if tx.Bucket([]byte(name)) == nil {
				return damaged(q.dir, "a part of it is missing")
			}
		}
		run := tx.Bucket([]byte(bucketRun))
		if v := run.Get([]byte("version")); string(v) != version {
			return &mistake.Error{File: filepath.Join(q.dir, Journal), What: fmt.Sprintf("the run is of version %q, and this penny knows %s", v, version), Hint: "resume it with the penny that began it"}
		}
		q.listed = run.Get([]byte("listed")) != nil
		if err := each(tx, bucketShards, func(id uint32, p placed) error {
			if int(id) != len(q.shards) || p.Offset != end {
				return damaged(q.dir, "its shards have a gap")
			}
			q.append(p)
			end = p.Offset + recordSize + int64(p.Length)
			return nil
		}); err != nil {
			return err
		}
		if err := q.loadAttempts(tx); err != nil {
			return err
		}
		return q.loadParts(tx)
	})
	if err != nil {
		return 0, err
	}
	for id := range q.shards {
		if q.shards[id].state == waiting {
			q.wait(uint32(id)) //nolint:gosec // there are fewer
		}
	}
	return end, nil
}

func (q *Queue) loadAttempts(tx *bbolt.Tx) error {
	return each(tx, bucketAttempts, func(id uint32, a attempts) error {
		s := q.shard(id)
		if s == nil {
			return damaged(q.dir, "a shard is missing")
		}
		s.attempts = int32(a.Leased) //nolint:gosec // it was one
		if len(a.Suspicions) > 0 {
			s.suspect = true
			q.progress.Suspect++
		}
		return nil
	})
}

func (q *Queue) loadParts(tx *bbolt.Tx) error {
	return each(tx, bucketParts, func(id uint32, part queue.Part) error {
		s := q.shard(id)
		if s == nil {
			return damaged(q.dir, "a shard is missing")
		}
		q.finish(s, part)
		return nil
	})
}

// each calls f with every value of a bucket, in the order of shards.
func each[T any](tx *bbolt.Tx, bucket string, f func(id uint32, value T) error) error {
	return tx.Bucket([]byte(bucket)).ForEach(func(k, v []byte) error {
		var value T
		if len(k) != 4 {
			return fmt.Errorf("read the journal's %s: a key of %d bytes", bucket, len(k))
		}
		id := binary.BigEndian.Uint32(k)
		if err := json.Unmarshal(v, &value); err != nil {
			return fmt.Errorf("read shard %d of the journal's %s: %w", id, bucket, err)
		}
		return f(id, value)
	})
}

func damaged(dir, why string) error {
	return &mistake.Error{File: filepath.Join(dir, Journal), What: "the journal is damaged: " + why, Hint: "begin another run with -o DIR"}
}
