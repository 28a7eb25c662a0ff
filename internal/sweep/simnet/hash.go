package simnet

import "math/bits"

// hashOf is FNV-1a over a name in lower case, with its bits spread.
func hashOf(name []byte, seed uint64) uint64 {
	h := 14695981039346656037 ^ seed
	for _, c := range name {
		h ^= uint64(c)
		h *= 1099511628211
	}
	return spread(h)
}

// spread is the finaliser of SplitMix64: each bit of x changes half of the result's.
func spread(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// dice draws numbers that depend on nothing but where it began.
type dice uint64

// roll draws one of 0 to n-1.
func (d *dice) roll(n uint64) uint64 {
	*d += 0x9e3779b97f4a7c15
	high, _ := bits.Mul64(spread(uint64(*d)), n)
	return high
}

// chance is true in so many of 10,000 cases.
func (d *dice) chance(in10000 uint64) bool { return d.roll(10_000) < in10000 }
