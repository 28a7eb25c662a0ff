package edge

import "sync"

// serialWindow is how many of the tickets that were issued last let their clients
// send early data, as a power of two: at ten a second, those of a day. Remembering
// which have been used takes a bit for each, 128 KiB.
const serialWindow = 1 << 20

// serials number the tickets for early data, and tell whether one is used for the
// first time. In doubt it is not. The zero value is ready.
type serials struct {
	mu     sync.Mutex // guards the fields below
	newest uint64     // serials begin with 1
	used   []uint64   // a bit for each serial of the window; nil before the first
}

// issue returns a serial that was never issued.
func (s *serials) issue() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == nil { // a server without HTTP/3 needs none
		s.used = make([]uint64, serialWindow/64)
	}
	s.newest++
	word, bit := s.place(s.newest)
	*word &^= bit // of the serial that has left the window
	return s.newest
}

// use reports whether a serial was issued lately and has not been used, and notes
// that it has.
func (s *serials) use(serial uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if serial == 0 || serial > s.newest || s.newest-serial >= serialWindow {
		return false
	}
	word, bit := s.place(serial)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// place returns where the bit of a serial is. mu is held.
func (s *serials) place(serial uint64) (word *uint64, bit uint64) {
	i := serial % serialWindow
	return &s.used[i/64], 1 << (i % 64)
}
