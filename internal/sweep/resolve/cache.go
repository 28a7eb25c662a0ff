package resolve

import (
	"hash/maphash"
	"net/netip"
	"slices"
)

// A cache remembers what names came to. It is a table of buckets of a few entries
// each: a new one takes the place of an old one, or else of the one that expires
// first, so that its size never changes.
//
// Names are told apart by 64 bits of a keyed hash alone. Of ten million questions
// one gets another name's entry in one of 10^8 runs; the names themselves would take as
// much memory again, and keep whole shards of the list from being freed.
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
	hash    uint64
	expires int64 // 0: there is none
	server  *server
	rare    *rare // nil: there are addresses of IPv4
	n       uint8
	addrs   [mostFound][4]byte
}

// A rare is what few entries have.
type rare struct {
	word     *Failure // that was believed; nil: there are addresses
	failures []Failure
	addrs    []netip.Addr
}

// keep puts addresses into a new entry.
func (e *entry) keep(s *server, addrs []netip.Addr) {
	addrs = addrs[:min(len(addrs), mostFound)]
	e.server, e.n = s, uint8(len(addrs)) //nolint:gosec // mostFound at most
	for i, addr := range addrs {
		if !addr.Is4() {
			e.rare = &rare{addrs: slices.Clone(addrs)}
			return
		}
		e.addrs[i] = addr.As4()
	}
}

// found appends the addresses to those of to.
func (e *entry) found(to []netip.Addr) []netip.Addr {
	if e.rare != nil {
		return append(to, e.rare.addrs...)
	}
	for _, addr := range e.addrs[:e.n] {
		to = append(to, netip.AddrFrom4(addr))
	}
	return to
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
func (c *cache) get(hash uint64, now int64) *entry {
	if len(c.entries) == 0 {
		return nil
	}
	b := c.bucket(hash)
	for i := range b {
		if e := &b[i]; e.hash == hash && e.expires > now {
			return e
		}
	}
	return nil
}

// put returns the entry for a name, which is empty, or nil if nothing is kept.
func (c *cache) put(hash uint64, now int64, ttl uint32) *entry {
	if len(c.entries) == 0 {
		return nil
	}
	b := c.bucket(hash)
	at := &b[0]
	for i := range b {
		if b[i].hash == hash {
			at = &b[i]
			break
		}
		if b[i].expires < at.expires {
			at = &b[i]
		}
	}
	*at = entry{hash: hash, expires: now + int64(ttl)*inSecond}
	return at
}
