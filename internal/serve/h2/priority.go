package h2

import (
	"encoding/binary"
	"net/http"
	"strings"
)

// A priority is what the order of answers goes by (RFC 9218 §4): the urgency, of
// which 0 is the highest, times two, and one more if the client has a use for
// parts of the body.
type priority uint8

const (
	defaultPriority priority = 3 << 1
	priorities               = 8 << 1 // how many there are
	urgencies                = 8
)

func newPriority(urgency int64, incremental bool) priority {
	p := priority(urgency) << 1
	if incremental {
		p |= 1
	}
	return p
}

func (p priority) urgency() uint8    { return uint8(p >> 1) }
func (p priority) incremental() bool { return p&1 != 0 }

// with returns the priority with the parameters that a Priority field has, or as
// it is if that is malformed. What a parameter may not be is as if it were not
// there (RFC 9218 §4).
func (p priority) with(field string) priority {
	urgency, incremental := int64(p.urgency()), p.incremental()
	ok := eachMember(field, func(key string, v member) {
		switch key {
		case "u": // the last one counts
			if urgency = int64(p.urgency()); v.kind == memberInteger && v.integer >= 0 && v.integer < urgencies {
				urgency = v.integer
			}
		case "i":
			if incremental = p.incremental(); v.kind == memberBoolean {
				incremental = v.integer != 0
			}
		}
	})
	if !ok {
		return p
	}
	return newPriority(urgency, incremental)
}

// A schedule is what a connection has whose client has given some priority.
type schedule struct {
	first   [urgencies]*stream  // of the streams in conn.queue that come one after the other, the one whose turn it is
	pending map[uint32]priority // of streams that have not been opened; nil is none
}

// prioritize has the client's priorities count from now on. mu is held.
func (c *conn) prioritize() {
	if c.schedule != nil {
		return
	}
	c.schedule = new(schedule)
	waiting := c.queue
	c.queue = nil
	for _, st := range waiting {
		c.enqueue(st)
	}
}

// prioritizeRequest finds out the priority of a request that has been decoded. A
// frame that came before it says more than its field (RFC 9218 §7). mu is held.
func (c *conn) prioritizeRequest(id uint32) {
	c.prioritize()
	s := c.schedule
	if p, ok := s.pending[id]; ok {
		c.reader.section.priority = p
	}
	for other := range s.pending {
		if other <= id { // those below it are closed now (RFC 9113 §5.1.1)
			delete(s.pending, other)
		}
	}
}

// handlePriorityUpdate notes the new priority of a stream (RFC 9218 §7.1).
func (c *conn) handlePriorityUpdate(f *frame) error {
	switch {
	case f.stream != 0:
		return &connError{ProtocolError, "PRIORITY_UPDATE on a stream"}
	case len(f.payload) < 4:
		return &connError{FrameSizeError, "PRIORITY_UPDATE is at least 4 bytes"}
	}
	id := binary.BigEndian.Uint32(f.payload) & maxStreamID
	if id%2 == 0 { // nothing is pushed
		return &connError{ProtocolError, "PRIORITY_UPDATE of a stream that a client cannot open"}
	}
	if err := c.spend(Priorities); err != nil {
		return err
	}
	p := defaultPriority.with(string(f.payload[4:]))
	c.prioritize()
	if c.idle(id) {
		return c.prioritizeLater(id, p)
	}
	if st := c.streams[id]; st != nil {
		c.reprioritize(st, p)
	}
	return nil
}

// prioritizeLater keeps the priority of a stream for when it is opened. No more
// are kept than there may be streams, and a client that knows how many breaks the
// protocol (RFC 9218 §7.1). mu is held.
func (c *conn) prioritizeLater(id uint32, p priority) error {
	pending := c.schedule.pending
	if _, known := pending[id]; !known && len(pending)+len(c.streams) >= c.server.options.Streams {
		if c.reader.acknowledged {
			return &connError{ProtocolError, "PRIORITY_UPDATE of too many streams"}
		}
		return nil
	}
	if pending == nil {
		pending = make(map[uint32]priority)
		c.schedule.pending = pending
	}
	pending[id] = p
	return nil
}

// reprioritize gives a stream another priority. mu is held.
func (c *conn) reprioritize(st *stream, p priority) {
	if st.priority == p {
		return
	}
	waits := c.dequeue(st)
	st.priority = p
	if waits {
		c.enqueue(st)
	}
}

// respond merges what a handler says of the priority into what the client has said
// (RFC 9218 §8). mu is held.
func (st *stream) respond(h http.Header) {
	if lines := h["Priority"]; len(lines) > 0 {
		st.conn.reprioritize(st, st.priority.with(strings.Join(lines, ", ")))
	}
}
