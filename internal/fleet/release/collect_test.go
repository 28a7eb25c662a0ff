package release

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"pennyfarthing/internal/encode"
)

func TestCollectingRemovesWhatNoKeptReleaseLists(t *testing.T) {
	st := openStore(t)
	page := strings.Repeat("a page of the old release ", 50)
	shared, dropped, orphan := put(t, st, "shared"), put(t, st, "dropped"), put(t, st, "orphan")
	codedOld, _ := sendBrotli(t, st, []byte(page), encode.Best)
	before, err := st.PutManifest(manifest(file("a", "shared"), file("b", "dropped"), file("c", page)), []byte("signed"))
	if err != nil {
		t.Fatal(err)
	}
	after, err := st.PutManifest(manifest(file("a", "shared")), []byte("signed"))
	if err != nil {
		t.Fatal(err)
	}
	size, err := st.Size()
	if err != nil {
		t.Fatal(err)
	}
	keep := func(r Stored) bool { return r.ID == after }
	if c, err := st.Collect(t.Context(), keep, time.Unix(0, 0)); err != nil || c != (Collected{}) {
		t.Errorf("what is new is collected: %+v, %v", c, err)
	}
	c, err := st.Collect(t.Context(), keep, time.Now().Add(time.Hour))
	if err != nil || c.Releases != 1 || c.Objects != 3 {
		t.Errorf("Collect: %+v, %v", c, err)
	}
	if left, err := st.Size(); err != nil || left+c.Bytes != size {
		t.Errorf("of %d bytes %d are left and %d were freed, %v", size, left, c.Bytes, err)
	}
	if missing := st.Missing([]Hash{shared, dropped, orphan, codedOld}); !slices.Equal(missing, []Hash{dropped, orphan, codedOld}) {
		t.Errorf("Missing: %v", missing)
	}
	if _, err := st.Manifest(before); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old manifest: %v", err)
	}
	if _, err := st.Manifest(after); err != nil {
		t.Error(err)
	}
	if files := filesBelow(t, st.dir); len(files) != 3 {
		t.Errorf("the store has %q", files)
	}
}

func TestCollectingStopsAtAManifestThatItCannotRead(t *testing.T) {
	st := openStore(t)
	h := put(t, st, "hello")
	id, err := st.PutManifest(manifest(file("a", "hello")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(st.manifestPath(id), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := st.Collect(t.Context(), func(Stored) bool { return true }, time.Now().Add(time.Hour))
	if _, ok := errors.AsType[*CorruptError](err); !ok || c != (Collected{}) || !st.Has(h) {
		t.Errorf("Collect: %+v, %v", c, err)
	}
}

func TestAStoreIsUsedBySeveralAtOnce(t *testing.T) {
	st := openStore(t)
	content := randomText(1, 5000)
	m := manifest(file("a", string(content)))
	if _, err := st.PutManifest(m, nil); err != nil {
		t.Fatal(err)
	}
	stream := pack(t, brotliOf(t, content, encode.Quick), identity("another"))
	group, ctx := errgroup.WithContext(t.Context())
	for range 4 {
		group.Go(func() error {
			if err := st.Put(ctx, HashOf(content), int64(len(content)), bytes.NewReader(content)); err != nil {
				return err
			}
			if got, err := ReadPack(ctx, bytes.NewReader(stream), st, PackOptions{}); err != nil || len(got.Bad) > 0 {
				return fmt.Errorf("ReadPack: %+v, %w", got, err)
			}
			if _, err := st.Collect(ctx, func(Stored) bool { return true }, time.Now().Add(time.Hour)); err != nil {
				return err
			}
			if _, err := st.Read(HashOf(content), int64(len(content))); err != nil {
				return err
			}
			_, err := st.Size()
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if lacking := st.Lacks(m); lacking != nil {
		t.Errorf("Lacks: %v", lacking)
	}
}

func TestAReleaseLacksWhatIsNotThereOrNotWhole(t *testing.T) {
	st := openStore(t)
	put(t, st, "one")
	cut := put(t, st, "two")
	if err := os.WriteFile(st.objectPath(cut), []byte("tw"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := manifest(file("a", "one"), file("b", "two"), file("c", "three"), file("d", "three"))
	if got, want := st.Lacks(m), []Hash{cut, HashOf([]byte("three"))}; !slices.Equal(got, want) {
		t.Errorf("Lacks: %v, want %v", got, want)
	}
	if st.Has(cut) {
		t.Error("what is not whole is still there")
	}
	put(t, st, "two")
	put(t, st, "three")
	if got := st.Lacks(m); got != nil {
		t.Errorf("Lacks: %v", got)
	}
}

func TestAStoreSendsWhatItHasToAnother(t *testing.T) {
	from, to := openStore(t), openStore(t)
	page := randomText(1, 20_000)
	coded, _ := sendBrotli(t, from, page, encode.Best)
	plain := put(t, from, "plain")
	var objects []*Prepared
	for _, h := range []Hash{coded, plain} {
		o, err := from.Prepared(h)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	deliver(t, to, objects...)
	wantObject(t, to, string(page))
	wantObject(t, to, "plain")
	if _, level, ok := to.Coded(coded, encode.Brotli); !ok || level != encode.Best {
		t.Errorf("the coded form: %s, %v", level, ok)
	}
	if _, err := from.Prepared(Hash{1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
}
