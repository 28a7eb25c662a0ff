package h1

import "sync"

// Sizes of the buffers that are kept for the next one who needs them.
const (
	tinyBuffer  = 1 << 10
	smallBuffer = 4 << 10
	largeBuffer = 32 << 10
)

// The pools are caches and hold no state.
var (
	tinyBuffers  = sync.Pool{New: func() any { return new([tinyBuffer]byte) }}
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

// takeMemory returns at least n bytes.
func takeMemory(n int) []byte {
	switch {
	case n <= tinyBuffer:
		return tinyBuffers.Get().(*[tinyBuffer]byte)[:]
	case n <= smallBuffer:
		return smallBuffers.Get().(*[smallBuffer]byte)[:]
	case n <= largeBuffer:
		return largeBuffers.Get().(*[largeBuffer]byte)[:]
	}
	return make([]byte, n)
}

// giveMemory gives back what takeMemory returned.
func giveMemory(mem []byte) {
	switch len(mem) {
	case tinyBuffer:
		tinyBuffers.Put((*[tinyBuffer]byte)(mem))
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(mem))
	case largeBuffer:
		largeBuffers.Put((*[largeBuffer]byte)(mem))
	}
}

// A buffer holds bytes that came in and were not handed on: first those that passed, then those still to be vetted. An empty one
// has no memory.
type buffer struct {
	mem    []byte
	r      int // handed on until here
	vetted int // passed until here
	w      int // filled until here; r <= vetted <= w
}

func (b *buffer) empty() bool { return b.r == b.w }

// waiting is what is still to be vetted.
func (b *buffer) waiting() []byte { return b.mem[b.vetted:b.w] }

// room returns space behind the bytes held, at least one byte.
func (b *buffer) room() []byte {
	b.reserve(1)
	return b.mem[b.w:]
}

// reserve makes space for n more bytes: by moving what is held to the front, then by more memory.
func (b *buffer) reserve(n int) {
	held := b.w - b.r
	switch {
	case len(b.mem)-b.w >= n:
		return
	case len(b.mem)-held >= n:
		copy(b.mem, b.mem[b.r:b.w])
	default:
		mem := takeMemory(max(held+n, 2*held))
		copy(mem, b.mem[b.r:b.w])
		giveMemory(b.mem)
		b.mem = mem
	}
	b.vetted, b.w, b.r = b.vetted-b.r, held, 0
}

// stash puts p behind the bytes held, to be vetted.
func (b *buffer) stash(p []byte) {
	if len(p) == 0 {
		return
	}
	b.reserve(len(p))
	b.w += copy(b.mem[b.w:], p)
}

// hand moves bytes that passed to p.
func (b *buffer) hand(p []byte) int {
	n := copy(p, b.mem[b.r:b.vetted])
	b.r += n
	b.release()
	return n
}

// replace puts p, which needs no vetting, in the place of all that is still to be vetted.
func (b *buffer) replace(p string) {
	b.w = b.vetted
	b.reserve(len(p) + 1)
	b.w += copy(b.mem[b.w:], p)
	b.vetted = b.w
	b.release()
}

// release gives the memory back when nothing is held.
func (b *buffer) release() {
	if b.mem != nil && b.empty() {
		giveMemory(b.mem)
		*b = buffer{}
	}
}
