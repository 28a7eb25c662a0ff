package fetch

import (
	"errors"
	"io"
	"net"

	"pennyfarthing/internal/verdict"
	"pennyfarthing/internal/verdict/fault"
)

// An answer is one that comes in pieces.
type answer struct {
	x       *Exchange
	scanner headScanner
	body    body
	partial []byte // of a head that is not whole
	inBody  bool
}

// begin prepares for the answer to x. What is kept from one piece to the next is kept
// in slices of store, which may be nil.
func (a *answer) begin(x *Exchange, store *store) {
	*a = answer{x: x, body: body{store: store}}
}

// release gives the slices back. The sample is not valid any more.
func (a *answer) release() {
	a.body.store.give(a.partial)
	if !a.body.borrowed {
		a.body.store.give(a.body.sample)
	}
	*a = answer{}
}

// add takes a piece, and reports whether the exchange is over. If it is, the sample
// may lie in the piece.
func (a *answer) add(p []byte, text func([]byte) string) bool {
	x := a.x
	x.BytesIn += int64(len(p))
	if !a.inBody {
		whole := p
		if len(a.partial) > 0 {
			a.partial = append(a.partial, p...)
			whole = a.partial
		}
		var h head
		n, bad := a.scanner.scan(whole, &h)
		switch {
		case bad != verdict.None:
			x.Verdict, x.Err = bad, bad.Text()
			return true
		case n == 0:
			if len(a.partial) == 0 {
				a.partial = append(a.body.store.take(), p...)
			}
			return false
		}
		x.answered(&h, text)
		a.inBody = true
		if !a.body.begin(x, &h) {
			x.Complete = x.Method == "HEAD" || bodyless(h.status) || !h.coded && h.length == 0
			x.judge(verdict.None)
			return true
		}
		p = whole[n:]
	}
	switch a.body.add(p) {
	case bodyMore:
		a.body.own()
		return false
	case bodyComplete:
		x.Complete = true
		x.judge(verdict.None)
	case bodyEnough:
		x.judge(verdict.None)
	case bodyBad:
		x.judge(verdict.HTTPTruncated)
	}
	x.Sample = a.body.sample
	return true
}

// end says what the end of the connection means.
func (a *answer) end(err error) {
	x := a.x
	timeout := false
	if ne, ok := errors.AsType[net.Error](err); ok {
		timeout = ne.Timeout()
	}
	if a.inBody {
		x.Sample = a.body.sample
		switch {
		case timeout:
			x.judge(verdict.HTTPSlow)
		case errors.Is(err, io.EOF):
			complete, bad := a.body.closed()
			x.Complete = complete
			x.judge(bad)
		default:
			x.judge(verdict.HTTPTruncated)
		}
		return
	}
	x.Err = fault.Brief(err)
	switch v := fault.Own(err); {
	case v != verdict.None:
		x.Verdict = v
	case timeout:
		x.Verdict, x.Err = verdict.HTTPTimeout, "no whole head in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		x.Verdict, x.Err = verdict.HTTPClosed, verdict.HTTPClosed.Text()
	case fault.Reset(err):
		x.Verdict, x.Err = verdict.HTTPReset, verdict.HTTPReset.Text()
	case x.Secure: // in TLS 1.3 a peer refuses the handshake when for us it is over
		x.Verdict = handshakeVerdict(err)
	default:
		x.Verdict = verdict.HTTPClosed
	}
}

// A store has slices that are used again and again. It belongs to one goroutine. A
// nil store makes new ones.
type store struct{ free [][]byte }

const (
	maxStored = 256      // slices
	maxSlice  = 64 << 10 // bytes of one that is kept
)

// take is an empty slice.
func (s *store) take() []byte {
	if s == nil || len(s.free) == 0 {
		return nil
	}
	b := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	return b
}

// give gives back one that nobody uses any more.
func (s *store) give(b []byte) {
	if s != nil && cap(b) > 0 && cap(b) <= maxSlice && len(s.free) < maxStored {
		s.free = append(s.free, b[:0])
	}
}

// texts are values of fields that come again and again, such as the names of servers.
// They belong to one goroutine.
type texts map[string]string

const (
	maxTexts = 1 << 10
	maxText  = 64 // bytes
)

// of is the text of b.
func (t texts) of(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := t[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(t) < maxTexts && len(b) <= maxText {
		t[s] = s
	}
	return s
}
