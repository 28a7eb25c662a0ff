package queue_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/queue"
	"pennyfarthing/internal/sweep/queue/local"
	"pennyfarthing/internal/sweep/target"
)

// feed feeds a list of shards of two to a queue in a directory.
func feed(t *testing.T, dir, list string, stdin io.Reader, now func() time.Time) (queue.Progress, error) {
	t.Helper()
	q, err := local.Open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	return feedTo(t, q, list, stdin, now)
}

func feedTo(t *testing.T, q queue.Queue, list string, stdin io.Reader, now func() time.Time) (queue.Progress, error) {
	t.Helper()
	l, err := target.Open([]string{list}, target.Options{ShardSize: 2, Stdin: stdin})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	codec, err := target.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	err = queue.Feed(t.Context(), q, l, codec, now)
	p, progressErr := q.Progress(t.Context())
	if progressErr != nil {
		t.Fatal(progressErr)
	}
	return p, err
}

func TestAListCutShortIsGoneOnWithWhenItIsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "list.gz")
	const n = 20_001
	var whole bytes.Buffer
	w := gzip.NewWriter(&whole)
	for i := range n {
		fmt.Fprintf(w, "n%d.example\n", i)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole.Bytes()[:whole.Len()/2], 0o600); err != nil {
		t.Fatal(err)
	}
	cut, err := feed(t, dir, path, nil, time.Now)
	if len(mistake.Of(err)) != 1 || cut.Targets < 100 || cut.Listed {
		t.Errorf("%+v, %v", cut, err)
	}
	if err := os.WriteFile(path, whole.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to do
		p, err := feed(t, dir, path, nil, time.Now)
		if err != nil || p.Targets != n || !p.Listed {
			t.Errorf("%+v, %v", p, err)
		}
	}
}

func TestAnotherListIsNotTakenForTheRest(t *testing.T) {
	dir := t.TempDir()
	if _, err := feed(t, dir, "-", io.MultiReader(strings.NewReader("a.example\nb.example\n"), broken{}), time.Now); !errors.Is(err, errBroken) {
		t.Error(err)
	}
	p, err := feed(t, dir, "-", strings.NewReader("b.example\nc.example\n"), time.Now)
	if err == nil || !strings.Contains(err.Error(), "has changed") || p.Targets != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}

var errBroken = errors.New("the pipe broke")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

func TestShardsOfASlowListDoNotWaitForOneAnother(t *testing.T) {
	q, err := local.Open(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	now := time.Now()
	slow := func() time.Time { // every shard takes a second
		now = now.Add(time.Second)
		return now
	}
	r, w := io.Pipe()
	fed := make(chan error)
	go func() {
		_, err := feedTo(t, q, "-", r, slow)
		fed <- err
	}()
	for i := range 12 {
		if _, err := fmt.Fprintf(w, "a%d.example\nb%d.example\n", i, i); err != nil {
			t.Fatal(err)
		}
	}
	for { // the pipe is open still, and all that came out of it is to be had
		p, err := q.Progress(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if p.Shards == 12 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	w.Close()
	if err := <-fed; err != nil {
		t.Error(err)
	}
}
