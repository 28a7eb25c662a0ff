package release

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pennyfarthing/internal/encode"
)

func openStore(t testing.TB) *Store {
	t.Helper()
	st, err := OpenStore(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

func put(t testing.TB, st *Store, content string) Hash {
	t.Helper()
	h := HashOf([]byte(content))
	if err := st.Put(t.Context(), h, int64(len(content)), strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	return h
}

// filesBelow lists the files below a directory that are more than locks.
func filesBelow(t testing.TB, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != lockName {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestAManifestThatSomebodyHasIsNotReadAgain, unless its file is another by now.
func TestAManifestThatSomebodyHasIsNotReadAgain(t *testing.T) {
	st := openStore(t)
	m := manifest(file("a", "one"))
	id, err := st.PutManifest(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := st.Manifest(id); err != nil || got != m {
		t.Errorf("it is %p, %v; want %p, which was put", got, err, m)
	}
	again, err := OpenStore(st.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	first, err := again.Manifest(id)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := again.Manifest(id); err != nil || second != first || second.ID() != id {
		t.Errorf("it is %p, %v; want %p, which was read", second, err, first)
	}
	if err := os.WriteFile(st.manifestPath(id), []byte("rot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Manifest(id); err == nil {
		t.Error("nobody sees that it is damaged")
	}
	if _, err := again.Manifest(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was not removed: %v", err)
	}
	if removed := again.Removed(); removed != 1 {
		t.Errorf("%d files were removed, want 1", removed)
	}
}

func TestWhatIsPutIsThereAndStays(t *testing.T) {
	st := openStore(t)
	h := put(t, st, "hello")
	if !st.Has(h) {
		t.Error("Has does not see it")
	}
	f, err := st.Open(h)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != "hello" {
		t.Errorf("it has %q, %v", got, err)
	}
	if got, err := st.Read(h, 5); err != nil || string(got) != "hello" {
		t.Errorf("Read: %q, %v", got, err)
	}
	if _, err := st.Read(h, 4); err == nil {
		t.Error("Read goes over its limit")
	}
	again, err := OpenStore(st.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if !again.Has(h) {
		t.Error("another store of the directory does not see it")
	}
	if err := st.Put(t.Context(), h, 5, iotestError{}); err != nil {
		t.Errorf("what is there is read again: %v", err)
	}
}

type iotestError struct{}

func (iotestError) Read([]byte) (int, error) { return 0, errors.New("read") }

func TestWhatIsPutMustBeWhatItsNameSays(t *testing.T) {
	st := openStore(t)
	for what, tt := range map[string]struct {
		content string
		size    int64
	}{
		"other bytes": {"hellO", 5},
		"too few":     {"hell", 5},
		"too many":    {"hello!", 5},
		"a lie":       {"hello!", 6},
	} {
		t.Run(what, func(t *testing.T) {
			h := HashOf([]byte("hello"))
			if err := st.Put(t.Context(), h, tt.size, strings.NewReader(tt.content)); !errors.Is(err, errContent) {
				t.Errorf("Put: %v", err)
			}
			if st.Has(h) || len(filesBelow(t, st.dir)) > 0 {
				t.Errorf("something is left: %q", filesBelow(t, st.dir))
			}
		})
	}
}

func TestAPutThatIsCancelledLeavesNothing(t *testing.T) {
	st := openStore(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if err := st.Put(ctx, HashOf([]byte("hello")), 5, strings.NewReader("hello")); !errors.Is(err, cause) {
		t.Errorf("Put: %v", err)
	}
	if files := filesBelow(t, st.dir); len(files) > 0 {
		t.Errorf("something is left: %q", files)
	}
}

func TestMissingAsksForEachOnceWhetherFewOrMany(t *testing.T) {
	st := openStore(t)
	had := []Hash{put(t, st, "one"), put(t, st, "two")}
	absent := []Hash{HashOf([]byte("three")), HashOf([]byte("four"))}
	ask := slices.Concat(had, absent, absent)
	if got := st.Missing(ask); !slices.Equal(got, absent) {
		t.Errorf("of few, Missing returns %v, want %v", got, absent)
	}
	var many []Hash
	for i := range manyHashes {
		many = append(many, HashOf([]byte{byte(i), byte(i >> 8), 'x'}))
	}
	if got := st.Missing(slices.Concat(ask, many)); !slices.Equal(got, slices.Concat(absent, many)) {
		t.Errorf("of many, Missing returns %d objects, want %d", len(got), len(absent)+len(many))
	}
	if got := st.Missing(nil); got != nil {
		t.Errorf("of none, Missing returns %v", got)
	}
}

func TestAWriteThatWasCutIsRemovedWhenTheStoreIsOpenedAgain(t *testing.T) {
	st := openStore(t)
	h := put(t, st, "hello")
	// A process that dies between writing and renaming leaves this, and no lock.
	left := filepath.Join(st.dir, tmpDir, "123")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{lockName, "1", "2"} {
		if err := os.WriteFile(filepath.Join(left, name), []byte("half an obj"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// This one is alive, and at work.
	mine := st.temporary()
	if err := os.WriteFile(mine, []byte("half an obj"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := OpenStore(st.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a dead process left is still there: %v", err)
	}
	if _, err := os.Lstat(mine); err != nil {
		t.Errorf("what a living process is writing is gone: %v", err)
	}
	if !again.Has(h) {
		t.Error("an object is gone")
	}
}

func TestADamagedObjectIsReportedRemovedAndAskedForAnew(t *testing.T) {
	st := openStore(t)
	for what, damage := range map[string]string{"a bit": "hellp", "its end": "hel", "more": "hello!"} {
		for how, read := range map[string]func(*Store, Hash) error{
			"Read":   func(st *Store, h Hash) error { _, err := st.Read(h, 100); return err },
			"Verify": func(st *Store, h Hash) error { return st.Verify(t.Context(), h) },
		} {
			t.Run(what+" found by "+how, func(t *testing.T) {
				h := put(t, st, "hello")
				if err := st.Verify(t.Context(), h); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(st.objectPath(h), []byte(damage), 0o600); err != nil {
					t.Fatal(err)
				}
				corrupt, ok := errors.AsType[*CorruptError](read(st, h))
				if !ok || corrupt.Name != h {
					t.Errorf("the error is %v", corrupt)
				}
				if got := st.Missing([]Hash{h}); !slices.Equal(got, []Hash{h}) {
					t.Errorf("Missing returns %v", got)
				}
				put(t, st, "hello")
				if err := read(st, h); err != nil {
					t.Errorf("after it was put again: %v", err)
				}
			})
		}
	}
}

func TestAManifestIsKeptWithWhatIsStatedAboutIt(t *testing.T) {
	st := openStore(t)
	m := manifest(file("a", "hello"))
	id, err := st.PutManifest(m, []byte("signed"))
	if err != nil || id != m.ID() {
		t.Fatalf("PutManifest: %s, %v", id, err)
	}
	if got, err := st.Manifest(id); err != nil || got.ID() != id {
		t.Errorf("Manifest: %v, %v", got, err)
	}
	if got, err := st.Statement(id); err != nil || string(got) != "signed" {
		t.Errorf("Statement: %q, %v", got, err)
	}
	if _, err := st.PutManifest(m, []byte("signed again")); err != nil {
		t.Error(err)
	}
	if got, err := st.Statement(id); err != nil || string(got) != "signed again" {
		t.Errorf("Statement: %q, %v", got, err)
	}
	if all, err := st.Manifests(); err != nil || len(all) != 1 || all[0].ID != id || all[0].Time.IsZero() {
		t.Errorf("Manifests: %v, %v", all, err)
	}
	if _, err := st.Manifest(Hash{1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a manifest that is not there: %v", err)
	}
	if _, err := st.Statement(Hash{1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a statement that is not there: %v", err)
	}
	if _, err := st.PutManifest(manifest(file("../a", "x")), nil); err == nil {
		t.Error("a manifest with a path that climbs out is stored")
	}
	if _, err := st.PutManifest(m, make([]byte, MaxStatement+1)); err == nil {
		t.Error("a statement of any size is stored")
	}
}

func TestADamagedManifestIsNotTaken(t *testing.T) {
	st := openStore(t)
	id, err := st.PutManifest(manifest(file("a", "hello")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(st.manifestPath(id), manifest(file("a", "other")).Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Manifest(id); err == nil {
		t.Fatal("it is taken")
	} else if _, ok := errors.AsType[*CorruptError](err); !ok {
		t.Errorf("the error is %v", err)
	}
	if _, err := st.Manifest(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestTheSizeOfAStoreFollowsWhatIsPutAndRemoved(t *testing.T) {
	st := openStore(t)
	measure := func() int64 {
		t.Helper()
		got, err := st.Size()
		if err != nil {
			t.Fatal(err)
		}
		fresh := &Store{dir: st.dir}
		if want, err := fresh.Size(); err != nil || got != want {
			t.Errorf("Size is %d, and looking at every file gives %d, %v", got, want, err)
		}
		return got
	}
	put(t, st, "before anybody asks")
	if got := measure(); got != 19 {
		t.Errorf("Size is %d", got)
	}
	h := put(t, st, "hello")
	m := manifest(file("a", "hello"))
	for range 2 {
		if _, err := st.PutManifest(m, []byte("signed")); err != nil {
			t.Fatal(err)
		}
		measure()
	}
	if err := st.Discard(h); err == nil {
		t.Error("Discard reports nothing")
	}
	measure()
}

func TestADamagedCodedFormIsNotThere(t *testing.T) {
	st := openStore(t)
	content := bytes.Repeat([]byte("hello "), 100)
	h, level := sendBrotli(t, st, content, encode.Best)
	if got, l, ok := st.Coded(h, encode.Brotli); !ok || l != level || len(got) == 0 {
		t.Fatalf("Coded: %d bytes, %s, %v", len(got), l, ok)
	}
	path := st.codedPath(h, encode.Brotli, level)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := st.Coded(h, encode.Brotli); ok {
		t.Error("a damaged form is returned")
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a damaged form is left: %v", err)
	}
	if !st.Has(h) {
		t.Error("the object went with it")
	}
}
