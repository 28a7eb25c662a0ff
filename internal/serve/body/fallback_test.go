//go:build unix

package body

import (
	"crypto/sha256"
	"testing"
)

func TestAFullDiskMeansMemory(t *testing.T) {
	s := NewStore(t.TempDir())
	first, second := []byte("first"), []byte("second")
	before, err := s.Put(sha256.Sum256(first), first)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.open.file.Close(); err != nil { // writing to it fails from now on
		t.Fatal(err)
	}
	after, err := s.Put(sha256.Sum256(second), second)
	if err != nil || string(after.Bytes()) != "second" || after.slab.file != nil {
		t.Fatalf("got %q, %v", after.Bytes(), err)
	}
	if string(before.Bytes()) != "first" || !before.slab.sealed.Load() {
		t.Error("what was stored before differs, or its slab waits for more")
	}
}
