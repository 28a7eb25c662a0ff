//go:build unix

package local_test

import (
	"bytes"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/queue"
	"pennyfarthing/internal/sweep/queue/local"
	"pennyfarthing/internal/sweep/queue/queuetest"
)

// limitFiles lets no file of this process grow over so many bytes, as if the disk were
// full, until the function that it returns is called.
func limitFiles(t *testing.T, size uint64) (lift func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limited := before
	limited.Cur = size
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		t.Fatal(err)
	}
	lift = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	}
	t.Cleanup(lift)
	return lift
}

func isFull(t *testing.T, err error) {
	t.Helper()
	list := mistake.Of(err)
	if len(list) != 1 || list[0].What != "the disk is full" || list[0].Hint == "" || !strings.Contains(err.Error(), syscall.EFBIG.Error()) {
		t.Errorf("%v is not clear about the disk", err)
	}
}

func TestAFullDiskIsSaidAndLosesNothing(t *testing.T) {
	const limit = 1 << 20
	for _, test := range []struct {
		about string
		size  int // of a shard's data; the larger they are the sooner is targets.bin the first to be full
	}{{"targets.bin", 100 << 10}, {"journal.db", 10}} {
		t.Run(test.about, func(t *testing.T) {
			dir, ctx := t.TempDir(), t.Context()
			shard := func(id uint32) queue.Shard {
				s := queuetest.Shard(id, 4)
				s.Data = bytes.Repeat([]byte{byte(id)}, test.size)
				return s
			}
			q := open(t, dir, time.Now)
			lift := limitFiles(t, limit)
			added := uint32(0)
			var err error
			for ; err == nil; added++ {
				group := []queue.Shard{}
				for i := range uint32(4) {
					group = append(group, shard(4*added+i))
				}
				err = q.Add(ctx, group...)
			}
			added--
			isFull(t, err)
			if added == 0 {
				t.Fatal("not even the first shards were added")
			}

			// What was added is there, in this process and in the next one.
			check := func(want uint32) {
				t.Helper()
				p, err := q.Progress(ctx)
				if err != nil || p.Shards != int(4*want) || p.End != shard(4*want-1).End {
					t.Errorf("%+v, %v, want %d shards", p, err, 4*want)
				}
				for id := range 4 * want {
					if data, err := q.Targets(ctx, id); err != nil || !bytes.Equal(data, shard(id).Data) {
						t.Fatalf("the targets of shard %d differ: %v", id, err)
					}
				}
			}
			check(added)
			lift()
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			q = open(t, dir, time.Now)
			check(added)

			// Full again, room is made, and the same process goes on.
			lift = limitFiles(t, limit)
			more := shard(4 * added)
			more.Data = bytes.Repeat([]byte("x"), limit)
			isFull(t, q.Add(ctx, more))
			lift()
			if err := q.Add(ctx, shard(4*added), shard(4*added+1), shard(4*added+2), shard(4*added+3)); err != nil {
				t.Fatal(err)
			}
			check(added + 1)
			l, err := q.Lease(ctx, "w", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if err := q.Done(ctx, l, queuetest.Part(l)); err != nil {
				t.Error(err)
			}
			q.Close()
		})
	}
}

func TestARunThatCannotBeginForWantOfDiskCanBeginLater(t *testing.T) {
	dir := t.TempDir()
	for _, limit := range []uint64{0, 4 << 10} {
		lift := limitFiles(t, limit)
		_, err := local.Open(dir, time.Now)
		lift()
		isFull(t, err)
	}
	open(t, dir, time.Now).Close()
	if _, err := os.Stat(dir + "/" + local.Targets); err != nil {
		t.Error(err)
	}
}
