package local_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/queue"
	"pennyfarthing/internal/sweep/queue/local"
	"pennyfarthing/internal/sweep/queue/queuetest"
	"pennyfarthing/internal/sweep/target"
)

func open(t *testing.T, dir string, now func() time.Time) *local.Queue {
	t.Helper()
	q, err := local.Open(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestQueue(t *testing.T) {
	queuetest.Run(t, func(t *testing.T, clock *queuetest.Clock) queue.Queue {
		q := open(t, t.TempDir(), clock.Now)
		t.Cleanup(func() { q.Close() })
		return q
	})
}

func TestAQueueIsAsItWasWhenItIsOpenedAgainButForItsLeases(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	q := open(t, dir, time.Now)
	for id := range uint32(4) {
		if err := q.Add(ctx, queuetest.Shard(id, 4)); err != nil {
			t.Fatal(err)
		}
	}
	lease := func(want uint32, attempt int) queue.Lease {
		t.Helper()
		l, err := q.Lease(ctx, "w", time.Hour)
		if err != nil || l.Shard != want || l.Attempt != attempt {
			t.Fatalf("%+v, %v, want shard %d, attempt %d", l, err, want, attempt)
		}
		return l
	}
	first, second := lease(0, 1), lease(1, 1)
	if err := q.Return(ctx, first, "ill"); err != nil {
		t.Fatal(err)
	}
	third := lease(2, 1)
	if err := q.Done(ctx, third, queuetest.Part(third)); err != nil {
		t.Fatal(err)
	}
	before, err := q.Progress(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}

	q = open(t, dir, time.Now)
	defer q.Close()
	after, err := q.Progress(ctx)
	if err != nil {
		t.Fatal(err)
	}
	before.Leased, before.Waiting = 0, 3
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
	lease(1, second.Attempt+1) // free at once
	lease(3, 1)
	if l := lease(0, 2); len(l.Suspicions) != 1 || l.Suspicions[0] != "ill" {
		t.Errorf("%+v", l)
	}
	if err := q.Done(ctx, third, queuetest.Part(third)); err != nil {
		t.Errorf("what was said before the end is said again: %v", err)
	}
	if err := q.Add(ctx, queuetest.Shard(4, 4)); err != nil {
		t.Error(err)
	}
	for id := range uint32(5) {
		if data, err := q.Targets(ctx, id); err != nil || string(data) != string(queuetest.Shard(id, 4).Data) {
			t.Errorf("shard %d: %q, %v", id, data, err)
		}
	}
}

func TestASecondProcessIsKeptOut(t *testing.T) {
	dir := t.TempDir()
	defer open(t, dir, time.Now).Close()
	_, err := local.Open(dir, time.Now)
	list := mistake.Of(err)
	if len(list) != 1 || list[0].File != filepath.Join(dir, local.Journal) || !strings.Contains(list[0].What, "another penny works on this run") || list[0].Hint == "" {
		t.Errorf("%v", err)
	}
}

func TestWhatADyingProcessLeftBehindTheLastShardIsCutOff(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	path := filepath.Join(dir, local.Targets)
	q := open(t, dir, time.Now)
	if err := q.Add(ctx, queuetest.Shard(0, 4)); err != nil {
		t.Fatal(err)
	}
	q.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(whole, "half a record"...), 0o600); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir, time.Now)
	if got, err := os.ReadFile(path); err != nil || string(got) != string(whole) {
		t.Errorf("%q, %v, want %q", got, err, whole)
	}
	if err := q.Add(ctx, queuetest.Shard(1, 4)); err != nil {
		t.Error(err)
	}
	if data, err := q.Targets(ctx, 1); err != nil || string(data) != string(queuetest.Shard(1, 4).Data) {
		t.Errorf("%q, %v", data, err)
	}
	q.Close()

	// Less than the journal knows, or something else, is not mended in silence.
	for what, data := range map[string]string{"missing": string(whole[:len(whole)-1]), "not the targets": strings.Repeat("x", 200)} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := local.Open(dir, time.Now); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want an error about %q", err, what)
		}
	}
}

func TestDamagedTargetsAreNoticed(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	q := open(t, dir, time.Now)
	defer q.Close()
	if err := q.Add(ctx, queuetest.Shard(0, 4)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, local.Targets)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1]++
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Targets(ctx, 0); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
}

func TestWhatIsNoJournalIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, local.Journal), []byte(strings.Repeat("no journal", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Open(dir, time.Now); len(mistake.Of(err)) != 1 {
		t.Error(err)
	}
	if _, err := local.Open(filepath.Join(dir, "none"), time.Now); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// The list of the kill test. Shards are small, so that there are many.
const (
	killTargets = 6000
	killShard   = 8
	kills       = 20
)

// TestMain is also the process that is killed: childOf names its directory.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childOf); dir != "" {
		fmt.Println("ready")
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const childOf = "PENNY_TEST_QUEUE_CHILD"

// child lists and does shards, until all are done or it is killed.
func child(dir string) error {
	q, err := local.Open(dir, time.Now)
	if err != nil {
		return err
	}
	defer q.Close()
	list, err := target.Open([]string{filepath.Join(dir, "list")}, target.Options{ShardSize: killShard})
	if err != nil {
		return err
	}
	defer list.Close()
	codec, err := target.NewCodec()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fed := make(chan error, 1)
	go func() { fed <- queue.Feed(ctx, q, list, codec, time.Now) }()
	for {
		lease, err := q.Lease(ctx, "child", time.Minute)
		switch {
		case errors.Is(err, queue.ErrFinished):
			return <-fed
		case errors.Is(err, queue.ErrNone):
			select {
			case err := <-fed:
				if err != nil {
					return err
				}
				fed <- nil
			default:
			}
			time.Sleep(time.Millisecond)
			continue
		case err != nil:
			return err
		}
		if lease.Shard%7 == 3 && len(lease.Suspicions) == 0 {
			if err := q.Return(ctx, lease, "now and then"); err != nil {
				return err
			}
			continue
		}
		if err := ask(ctx, dir, q, codec, lease); err != nil {
			return err
		}
	}
}

// ask writes a part as a worker does.
func ask(ctx context.Context, dir string, q queue.Queue, codec *target.Codec, lease queue.Lease) error {
	data, err := q.Targets(ctx, lease.Shard)
	if err != nil {
		return err
	}
	items, err := codec.Decode(data)
	if err != nil {
		return err
	}
	var rows strings.Builder
	for _, item := range items {
		fmt.Fprintln(&rows, item.Target)
	}
	name := fmt.Sprintf("part-%05d-%d", lease.Shard, lease.Attempt)
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path+".tmp", []byte(rows.String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return q.Done(ctx, lease, queue.Part{File: name, Rows: int64(len(items)), Bytes: int64(rows.Len())})
}

func TestEveryTargetIsThereOnceAfterTwentyKills(t *testing.T) {
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)) //nolint:gosec // any number will do
	for killed := 0; killed < kills; {
		dir := t.TempDir()
		var list strings.Builder
		for i := range killTargets {
			fmt.Fprintf(&list, "n%d.example\nbad\nN%d.example.\n", i, i)
		}
		if err := os.WriteFile(filepath.Join(dir, "list"), []byte(list.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		for {
			after := time.Duration(random.IntN(100)) * time.Millisecond
			if killed >= kills {
				after = time.Hour
			}
			if !runChild(t, dir, after) {
				break
			}
			killed++
		}
		checkRun(t, dir)
	}
}

// runChild starts a child and kills it some time after it has begun. It returns
// whether the child was killed, and not done.
func runChild(t *testing.T, dir string, after time.Duration) (killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childOf+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Errorf("the child does not begin: %v", err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	timer.Stop()
	if err != nil && cmd.ProcessState.Exited() {
		t.Fatalf("the child fails: %v\n%s", err, stderr.String())
	}
	return err != nil
}

// checkRun reads all parts of a run that is done.
func checkRun(t *testing.T, dir string) {
	t.Helper()
	q := open(t, dir, time.Now)
	defer q.Close()
	times := map[string]int{}
	rows := 0
	err := q.Parts(t.Context(), func(p queue.Part) error {
		data, err := os.ReadFile(filepath.Join(dir, p.File))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(data)) {
			times[strings.TrimSpace(line)]++
			rows++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range killTargets {
		if n := times[fmt.Sprintf("n%d.example", i)]; n != 1 {
			t.Errorf("n%d.example is there %d times", i, n)
		}
	}
	p, err := q.Progress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if rows != killTargets || p.Rows != killTargets || p.Targets != killTargets || p.Done != p.Shards || !p.Listed {
		t.Errorf("%d rows, %+v", rows, p)
	}
}
