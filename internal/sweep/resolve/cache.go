package resolve

import (
	"hash/maphash"
	"net/netip"

	"pennyfarthing/internal/verdict"
)

// A cache remembers what names came to. It is a table of buckets of a few entries
// each: a new one takes the place of an old one, or else of the one that expires
// first, so that its size never changes.
type cache struct {
	seed    maphash.Seed
	entries []entry
	mask    uint64 // of buckets
}

const (
	ways      = 4
	mostFound = 4 // addresses that are remembered; nobody asks more

	leastTTL    = 30           // seconds, here and below
	mostTTL     = 3600         //
	negativeTTL = 30           // of failures
	inSecond    = int64(1e9)   //
	forV6       = uint64(0x55) // tells AAAA's keys from A's
)

type entry struct {
	name    string // empty: none
	hash    uint64
	expires int64
	result  *result // of failures
	n       int
	addrs   [mostFound]netip.Addr
	server  netip.AddrPort
}

// A result is how a lookup failed.
type result struct {
	verdict  verdict.Code
	failures []Failure
}

func newCache(entries int) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	if entries > 0 {
		buckets := 1
		for buckets*ways < entries {
			buckets *= 2
		}
		c.entries = make([]entry, buckets*ways)
		c.mask = uint64(buckets - 1) //nolint:gosec // it is positive
	}
	return c
}

// hash is a key for a name and a family.
func (c *cache) hash(name string, v6 bool) uint64 {
	h := maphash.String(c.seed, name)
	if v6 {
		h ^= forV6 << 32
	}
	return h
}

func (c *cache) bucket(hash uint64) []entry {
	i := hash & c.mask * ways
	return c.entries[i : i+ways]
}

// get returns what is known about a name, or nil.
func (c *cache) get(name string, hash uint64, now int64) *entry {
	if len(c.entries) == 0 {
		return nil
	}
	b := c.bucket(hash)
	for i := range b {
		if e := &b[i]; e.hash == hash && e.name == name && e.expires > now {
			return e
		}
	}
	return nil
}

// put returns the entry for a name, which is empty, or nil if nothing is kept.
func (c *cache) put(name string, hash uint64, now int64, ttl uint32) *entry {
	if len(c.entries) == 0 {
		return nil
	}
	b := c.bucket(hash)
	at := &b[0]
	for i := range b {
		if b[i].hash == hash && b[i].name == name {
			at = &b[i]
			break
		}
		if b[i].expires < at.expires {
			at = &b[i]
		}
	}
	*at = entry{name: name, hash: hash, expires: now + int64(ttl)*inSecond}
	return at
}
