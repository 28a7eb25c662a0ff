package target

import (
	"slices"

	"github.com/zeebo/xxh3"
)

// A set remembers which texts it has seen, by a hash of 64 bits that is the same in
// every run. Of each it keeps 6 bytes, 7 with the slack: the other two are which of
// 65,536 buckets they are in. Two texts of ten million are taken for the same with a
// chance of 3 in a million. The zero value is an empty set.
type set struct {
	buckets [buckets][]byte // sorted tails, big-endian
	n       int
}

const (
	buckets = 1 << 16
	tail    = 6 // bytes
)

// hashOf is what a set knows a text by (XXH3, 64 bits).
func hashOf(text []byte) uint64 { return xxh3.Hash(text) }

// Add adds a hash, and reports whether it was new.
func (s *set) Add(hash uint64) bool {
	bucket := &s.buckets[hash>>(8*tail)]
	key := hash & (1<<(8*tail) - 1)
	b := *bucket
	low, high := 0, len(b)/tail
	for low < high {
		middle := (low + high) / 2
		if tailAt(b, middle) < key {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low*tail < len(b) && tailAt(b, low) == key {
		return false
	}
	if cap(b)-len(b) < tail {
		// By an eighth: twice would cost half of the memory. Grow rounds up to what the
		// allocator gives anyway.
		b = append(slices.Grow([]byte(nil), len(b)+max(len(b)/8, 2*tail)), b...)
	}
	b = b[:len(b)+tail]
	at := low * tail
	copy(b[at+tail:], b[at:len(b)-tail])
	for i := range tail {
		b[at+i] = byte(key >> (8 * (tail - 1 - i)))
	}
	*bucket = b
	s.n++
	return true
}

func tailAt(b []byte, i int) uint64 {
	t := b[i*tail : i*tail+tail]
	_ = t[tail-1]
	return uint64(t[5]) | uint64(t[4])<<8 | uint64(t[3])<<16 | uint64(t[2])<<24 | uint64(t[1])<<32 | uint64(t[0])<<40
}

// Len is how many different hashes were added.
func (s *set) Len() int { return s.n }
