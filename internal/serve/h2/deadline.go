package h2

import (
	"errors"
	"time"
)

// checkEvery is how often streams are looked over for peers that are too slow.
const checkEvery = time.Second

// setReadDeadline sees to it that the next read ends in time: at the end of a
// head's time, when streams must be looked over, or when the connection has been
// idle for too long. It judges all of these, and says when there is nothing more
// to be read. A deadline that is nearly right is left: setting one is dear.
func (c *conn) setReadDeadline() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock()
	if len(c.streams) > 0 && (now.Sub(c.checked) >= checkEvery || !now.Before(c.readUntil)) {
		if err := c.checkStreams(now); err != nil {
			return err
		}
	}
	if c.ending || c.closed {
		return errConnClosed
	}
	until, err := c.nextDeadline(now)
	if err != nil {
		return err
	}
	if c.mayRest() {
		if c.silent && !now.Before(c.readUntil) { // what has come since then is read when it goes on
			return c.rest(until)
		}
		if rest := now.Add(c.server.options.Rest); rest.Before(until) {
			until = rest
		}
	}
	if early := until.Sub(c.readUntil); early < 0 || early > until.Sub(now)/4 {
		c.readUntil = until
		return c.nc.SetReadDeadline(until)
	}
	return nil
}

// clock is the time, as exactly as deadlines need it. A loop's clock stands still while
// it calls: it may say that a deadline is to come which has passed, and then the read
// that failed for it would be made again and again.
func (c *conn) clock() time.Time {
	if c.waiter != nil && !c.overdue {
		return c.waiter.Now()
	}
	return time.Now()
}

// mayRest reports whether the connection has nothing to do, and has not rested
// since something came. mu is held.
func (c *conn) mayRest() bool {
	r := &c.reader
	return c.rests && !c.rested && len(c.streams) == 0 && c.handlers == 0 && r.settings && r.have == 0 && !r.block.open()
}

// errResting says that the connection has had nothing to do for a while.
var errResting = errors.New("h2: the connection rests")

// rest prepares the connection for resting until something comes, or until a
// moment. mu is held.
func (c *conn) rest(until time.Time) error {
	c.rested = true
	r := &c.reader
	r.giveBack()
	r.section.request.Fields, c.encoded, r.block.bytes = nil, nil, nil
	c.readUntil = until
	if err := c.nc.SetReadDeadline(until); err != nil {
		return err
	}
	return errResting
}

// nextDeadline returns until when to read, or what has come too late. mu is held.
func (c *conn) nextDeadline(now time.Time) (time.Time, error) {
	r, o := &c.reader, &c.server.options
	busy := len(c.streams) > 0
	until := c.active.Add(o.Idle)
	if busy {
		until = now.Add(o.Grace / 2)
		if !c.soonest.IsZero() && c.soonest.Before(until) {
			until = c.soonest
		}
	}
	if r.have > 0 || r.block.open() || !r.settings { // the preface ends with SETTINGS
		if r.began.IsZero() {
			r.began = now
		}
		end := r.began.Add(o.Head)
		if r.have > 3 && frameType(r.buf[3]) == frameData { // it may take as long as Rate gives it
			end = end.Add(time.Duration(int64(r.wants())/o.Rate) * time.Second)
		}
		if !now.Before(end) {
			return end, c.abuse(SlowFrames, "a frame took too long")
		}
		if end.Before(until) || !busy {
			until = end
		}
	} else if !busy && !now.Before(until) {
		return until, &connError{NoError, "idle"}
	}
	return until, nil
}

// wakeReader ends the read that is going on, at a time. mu is held.
func (c *conn) wakeReader(at time.Time) {
	c.readUntil = at
	_ = c.nc.SetReadDeadline(at) // a connection on which this fails is closed
}

// checkStreams resets streams whose peer is too slow, and wakes handlers whose
// time is over. mu is held.
func (c *conn) checkStreams(now time.Time) error {
	c.checked, c.soonest = now, time.Time{}
	for _, st := range c.streams {
		switch {
		case !st.writeUntil.IsZero() && !now.Before(st.writeUntil):
			c.remove(st)
			st.abort(errTimeout)
			c.reset(st.id, Cancel, st.peerEnded)
			continue
		case st.stalled(now):
			if err := c.resetStream(&streamError{st.id, Cancel, "reader too slow"}); err != nil {
				return err
			}
			continue
		}
		c.remind(st.writeUntil)
		if b := st.in; b != nil {
			if b.late(now) {
				st.wake.Broadcast()
			} else {
				c.remind(b.until)
			}
		}
	}
	c.flush()
	return nil
}

// remind has the streams looked over at a time. mu is held.
func (c *conn) remind(at time.Time) {
	if at.IsZero() || !c.soonest.IsZero() && c.soonest.Before(at) {
		return
	}
	c.soonest = at
}

// deadlineSet wakes the reader in time for a deadline that a handler has set. mu is held.
func (c *conn) deadlineSet(at time.Time) {
	c.remind(at)
	if !at.IsZero() && at.Before(c.readUntil) && !c.ending {
		c.wakeReader(at)
	}
}

// allowed is how long a peer may take for n bytes.
func (c *conn) allowed(n int64) time.Duration {
	o := &c.server.options
	return o.Grace + time.Duration(n/o.Rate)*time.Second
}
