package body_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"pennyfarthing/internal/serve/body"
)

func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b) // never fails
	return b
}

func put(t *testing.T, s *body.Store, data []byte) *body.Body {
	t.Helper()
	b, err := s.Put(sha256.Sum256(data), data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBodiesComeBackAsTheyWere(t *testing.T) {
	for _, dir := range []string{"", t.TempDir(), "/nonexistent/and/never/made"} {
		s := body.NewStore(dir)
		var bodies []*body.Body
		var want [][]byte
		for i := range 200 {
			data := content(uint64(i), i*977)
			bodies, want = append(bodies, put(t, s, data)), append(want, data)
		}
		bodies, want = append(bodies, put(t, s, content(1, 20<<20))), append(want, content(1, 20<<20))
		for i, b := range bodies {
			if !bytes.Equal(b.Bytes(), want[i]) {
				t.Fatalf("dir %q: body %d differs", dir, i)
			}
		}
	}
}

func TestEqualBodiesAreStoredOnce(t *testing.T) {
	s := body.NewStore(t.TempDir())
	a, b := put(t, s, content(7, 5000)), put(t, s, content(7, 5000))
	if a != b || s.Mapped() != 5000 {
		t.Errorf("two bodies for one content, %d bytes mapped", s.Mapped())
	}
	runtime.KeepAlive(a)
}

func TestSlabFilesHaveNoName(t *testing.T) {
	dir := t.TempDir()
	s := body.NewStore(dir)
	b := put(t, s, content(1, 100))
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("the directory holds %v, %v; want nothing", entries, err)
	}
	runtime.KeepAlive(b)
}

func TestBodiesThatNobodyHoldsAreLetGo(t *testing.T) {
	s := body.NewStore(t.TempDir())
	keep := put(t, s, content(0, 1000))
	for i := range 64 {
		put(t, s, content(uint64(i+1), 1<<20))
	}
	for i := 0; s.Mapped() > 1000 && i < 100; i++ {
		runtime.GC()
	}
	if s.Mapped() != 1000 {
		t.Errorf("%d bytes mapped, want the 1000 that are held", s.Mapped())
	}
	if !s.Sparse(keep) {
		t.Error("the slab of a lone small body does not count as sparse")
	}
	moved := put(t, s, content(0, 1000))
	if moved == keep || s.Sparse(moved) {
		t.Error("putting a body of a sparse slab again did not move it")
	}
	if !bytes.Equal(keep.Bytes(), moved.Bytes()) {
		t.Error("the moved body differs")
	}
	if got := s.Get(sha256.Sum256(content(0, 1000))); got != moved {
		t.Error("the store does not know the moved body")
	}
}

func ExampleStore() {
	s := body.NewStore("")
	b, err := s.Put(sha256.Sum256([]byte("hello")), []byte("hello"))
	fmt.Println(string(b.Bytes()), err)
	// Output: hello <nil>
}
