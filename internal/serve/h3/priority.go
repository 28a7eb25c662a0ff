package h3

import (
	"errors"
	"strings"
	"time"

	"github.com/quic-go/quic-go"
)

// A priority says when an answer is sent, beside others of its connection (RFC 9218
// §4). QUIC follows it where it makes packets.
type priority struct {
	urgency     int8 // 0 is sent first, 7 last
	incremental bool // takes turns with others of its urgency, or else they come one after the other
	given       bool // the client has said so
}

// defaultPriority is that of a request which says nothing (RFC 9218 §4.1, §4.2).
var defaultPriority = priority{urgency: 3}

// parsePriority reads the value of a Priority field or of PRIORITY_UPDATE. What has
// another form counts as not said (RFC 9218 §4, §5): a client that gets it wrong
// only has its own answers in another order. So a string with a comma in it, which
// no parameter has yet, is not worth a parser of structured fields.
func parsePriority(value string) priority {
	p := defaultPriority
	p.given = true
	for member := range strings.SplitSeq(value, ",") {
		member, _, _ = strings.Cut(member, ";")
		switch key, v, has := strings.Cut(strings.Trim(member, " \t"), "="); {
		case key == "u" && len(v) == 1 && '0' <= v[0] && v[0] <= '7':
			p.urgency = int8(v[0] - '0')
		case key == "i" && (!has || v == "?1"):
			p.incremental = true
		case key == "i" && v == "?0":
			p.incremental = false
		}
	}
	return p
}

// reprioritize acts on PRIORITY_UPDATE, which goes before the field and may come
// before the request (RFC 9218 §7.2). What it says of a request that has been
// answered says nothing.
func (c *conn) reprioritize(id quic.StreamID, value string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch st := c.live[id]; {
	case st != nil:
		st.priority = parsePriority(value)
		st.setPriority()
	case c.leaving || id+4 < c.opened:
	case id >= c.opened+4*quic.StreamID(c.server.options.Streams): // that many at most are open beside those that were taken
		return &connError{IDError, "the priority of a request that cannot be yet"}
	default: // of the last that was taken, or of one to come
		if c.announced == nil {
			c.announced = make(map[quic.StreamID]priority)
		}
		c.announced[id] = parsePriority(value)
	}
	return nil
}

// keep lets PRIORITY_UPDATE find a stream until it ends.
func (c *conn) keep(st *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == nil {
		c.live = make(map[quic.StreamID]*stream)
	}
	c.live[st.quic.StreamID()] = st
	if p, ok := c.announced[st.quic.StreamID()]; ok { // meanwhile
		st.priority = p
	}
}

// forget ends what keep began.
func (c *conn) forget(id quic.StreamID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.live, id)
}

// prioritize tells QUIC the priority of an answer, by what has come of its request.
// Those that one write is enough for take turns, as is QUIC's own way: they hold
// nobody up.
func (st *stream) prioritize(small bool) {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if !st.priority.given {
		st.priority = st.section.priority
	}
	st.turns = small
	if st.priority.given || !small {
		st.setPriority()
	}
}

// setPriority passes a priority on. conn.mu is held.
func (st *stream) setPriority() {
	st.quic.SetPriority(st.priority.urgency, st.priority.incremental || st.turns)
}

// QUIC sends answers that do not take turns from a heap: the first of it, for as long
// as that says that it has more. One whose client has left it no window says so,
// too, and sends nothing (quic-go v0.65.0, framer.getNextNonIncrementalStreamFrame):
// then nothing else of its urgency is sent until the client reads that very answer,
// which it may never do. An answer that uses its window up is taken out of the heap,
// but the beginning of the next Write, or Close, puts it back. So one keeps its place
// only where QUIC has just taken bytes with a window of their own, by TryWriteAll;
// without, it takes turns, and holds nobody up.
const (
	// firstLook is how long a write waits until it looks at its window. Between
	// reserve and Write the window may have been used up.
	firstLook = 10 * time.Millisecond
	// mostReserved is how much may be reserved without waiting for any of it to be
	// sent, in bytes. A window alone, which the client chooses, bounds no memory.
	mostReserved = 4 << 10
)

// takeTurns lets an answer take turns, whatever its priority is, or ends that.
func (st *stream) takeTurns(on bool) {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.turns != on {
		st.turns = on
		st.setPriority()
	}
}

// reserve hands p to QUIC if there is a window for all of it, and returns how much of
// it that was. What is left must be written, and then takes turns.
func (st *stream) reserve(p []byte) (int, error) {
	err := quic.ErrWouldBlock
	if st.reserved+len(p) <= mostReserved {
		err = st.quic.TryWriteAll(p)
	}
	if errors.Is(err, quic.ErrWouldBlock) {
		st.takeTurns(true)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	st.takeTurns(false)
	st.reserved += len(p)
	return len(p), nil
}

// close ends an answer. Less than a packet of it is left, so that it may take turns.
func (st *stream) close() {
	st.takeTurns(true)
	_ = st.quic.Close() // of a stream that the client has stopped
}
