package target

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
)

func TestASetKnowsWhatItHasSeen(t *testing.T) {
	// Few buckets and few tails, so that all of their order is met.
	random := rand.New(rand.NewPCG(1, 2))
	var s set
	plain := map[uint64]bool{}
	for range 50_000 {
		hash := random.Uint64N(4)<<62 | random.Uint64N(5_000)<<(random.UintN(2)*20) | random.Uint64N(3)<<47
		if got, want := s.Add(hash), !plain[hash]; got != want {
			t.Fatalf("Add(%x) = %v, want %v", hash, got, want)
		}
		plain[hash] = true
	}
	if s.Len() != len(plain) {
		t.Errorf("%d hashes, want %d", s.Len(), len(plain))
	}
}

func TestHashesAreTheSameInEveryRun(t *testing.T) {
	// A journal refers to them, so they may not change with a version either.
	if got, want := hashOf([]byte("example.com")), uint64(0x8b66107e8045bb73); got != want {
		t.Errorf("%#x, want %#x", got, want)
	}
}

func TestTenMillionTargetsTakeLessThanAHundredMegabytes(t *testing.T) {
	if raceEnabled {
		t.Skip("with the race detector this takes most of a minute")
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := new(set)
	addNumbers(s, 10_000_000)
	used := heap() - before
	if s.Len() != 10_000_000 {
		t.Errorf("%d are new, want all", s.Len())
	}
	t.Logf("%.2f bytes a target", float64(used)/10e6)
	if used > 100e6 {
		t.Errorf("%d bytes", used)
	}
	runtime.KeepAlive(s)
}

func BenchmarkSetTenMillion(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		addNumbers(new(set), 10_000_000)
	}
}

func addNumbers(s *set, n int) {
	var text [8]byte
	for i := range n {
		binary.LittleEndian.PutUint64(text[:], uint64(i))
		s.Add(hashOf(text[:]))
	}
}
