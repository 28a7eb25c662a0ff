// Package body keeps the bodies of answers outside the Go heap.
//
// A [Store] copies bodies into slabs: files without a name, mapped read-only.
// The garbage collector never scans them, equal bodies are kept once however
// many releases hold them, and because they are pages of a file the kernel can
// drop them under memory pressure and read them again, which it cannot do with
// heap on a machine without swap.
//
// A [Body] keeps its slab mapped for as long as the Body is reachable. Whoever
// uses the slice that [Body.Bytes] returns must keep the Body reachable too
// (runtime.KeepAlive where nothing else does).
//
// A slab is unmapped when the last of its bodies has gone. Bodies never move by
// themselves: a holder asks [Store.Sparse] and puts such bodies again, so that a
// few long-lived ones do not keep a slab of dead ones.
package body

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"
)

const (
	// slabSize is how much is mapped at once. Bodies are at most a mebibyte
	// as a rule, so that little is lost at a slab's end.
	slabSize = 8 << 20
	// align keeps bodies on cache lines of their own.
	align = 64
)

// A Key names the content of a body. Two bodies with one key are the same bytes.
type Key [sha256.Size]byte

// A Body is an immutable run of bytes outside the heap.
type Body struct {
	data []byte
	slab *slab
}

// Bytes returns the body's bytes, which are read-only: writing to them faults.
// They are valid while the Body is reachable.
func (b *Body) Bytes() []byte { return b.data }

// Len returns the body's length in bytes.
func (b *Body) Len() int { return len(b.data) }

// A Store holds bodies. Its methods may be called concurrently.
type Store struct {
	dir    string
	mapped atomic.Int64

	mu     sync.Mutex // guards the fields below
	bodies map[Key]weak.Pointer[Body]
	open   *slab
}

// NewStore returns an empty store whose slabs are files in dir, unlinked as soon
// as they are made. Where dir is empty, or cannot hold them, slabs are anonymous
// memory.
func NewStore(dir string) *Store {
	return &Store{dir: dir, bodies: make(map[Key]weak.Pointer[Body])}
}

// Mapped returns how many bytes of bodies are stored now, counting every body
// once and those that nobody holds any more until they are collected.
func (s *Store) Mapped() int64 { return s.mapped.Load() }

// Get returns the body that is stored under key, or nil.
func (s *Store) Get(key Key) *Body {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodies[key].Value()
}

// Put returns the body stored under key, copying data into the store unless it
// is there already in a slab that is worth keeping.
func (s *Store) Put(key Key, data []byte) (*Body, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.bodies[key].Value(); b != nil && !b.slab.sparse() {
		return b, nil
	}
	b, err := s.copyIn(data)
	if err != nil && s.dir != "" {
		s.dir = "" // the disk is full or gone: memory from now on
		s.seal()
		b, err = s.copyIn(data)
	}
	if err != nil {
		return nil, fmt.Errorf("store a body of %d bytes: %w", len(data), err)
	}
	s.keep(key, b)
	return b, nil
}

// copyIn appends data to a slab with room for it. mu is held.
func (s *Store) copyIn(data []byte) (*Body, error) {
	slab, err := s.slabFor(len(data))
	if err != nil {
		return nil, err
	}
	mem, err := slab.append(data)
	if err != nil {
		return nil, err
	}
	return &Body{data: mem, slab: slab}, nil
}

// keep indexes b under key and sees to the accounts when b is collected.
// mu is held.
func (s *Store) keep(key Key, b *Body) {
	left := remains{s, b.slab, int64(len(b.data)), key, weak.Make(b)}
	b.slab.live.Add(left.size)
	s.mapped.Add(left.size)
	s.bodies[key] = left.ref
	runtime.AddCleanup(b, remains.clear, left)
}

// remains are what is to be put in order when a body has been collected: one value for
// the garbage collector, where a closure would be several, for each of very many.
type remains struct {
	store *Store
	slab  *slab
	size  int64
	key   Key
	ref   weak.Pointer[Body]
}

func (r remains) clear() {
	r.slab.live.Add(-r.size)
	r.store.mapped.Add(-r.size)
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if r.store.bodies[r.key] == r.ref {
		delete(r.store.bodies, r.key)
	}
}

// Sparse reports whether b lies in a slab most of which is dead, so that putting
// b again would give memory back.
func (s *Store) Sparse(b *Body) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.slab.sparse()
}

// slabFor returns a slab with room for n bytes. mu is held.
func (s *Store) slabFor(n int) (*slab, error) {
	if s.open != nil && s.open.room() >= n {
		return s.open, nil
	}
	slab, err := newSlab(s.dir, max(n, slabSize))
	if err != nil {
		return nil, err
	}
	if n >= slabSize {
		slab.sealed.Store(true)
		return slab, nil
	}
	s.seal()
	s.open = slab
	return slab, nil
}

// seal lets the open slab take no more bodies. mu is held.
func (s *Store) seal() {
	if s.open != nil {
		s.open.sealed.Store(true)
		s.open = nil
	}
}

// A slab is one mapping that bodies are appended to.
type slab struct {
	memory
	used   int
	live   atomic.Int64
	sealed atomic.Bool
}

func newSlab(dir string, size int) (*slab, error) {
	mem, err := mapMemory(dir, size)
	if err != nil {
		return nil, err
	}
	s := &slab{memory: mem}
	runtime.AddCleanup(s, func(m memory) { m.release() }, mem)
	return s, nil
}

func (s *slab) room() int { return len(s.data) - s.used }

// append copies data to the slab's end and returns the copy.
func (s *slab) append(data []byte) ([]byte, error) {
	at := s.used
	if err := s.write(data, at); err != nil {
		return nil, err
	}
	s.used = min((at+len(data)+align-1)&^(align-1), len(s.data))
	return s.data[at : at+len(data) : at+len(data)], nil
}

// sparse reports whether a slab that takes no more bodies is less than half alive.
func (s *slab) sparse() bool {
	return s.sealed.Load() && s.live.Load() < int64(s.used)/2
}
