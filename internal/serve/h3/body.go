package h3

import (
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

var errTimeout = os.ErrDeadlineExceeded

// A requestBody is the body of a request, read by its handler. What is wrong with
// it ends the stream, or the connection, as soon as somebody reads that far.
type requestBody struct {
	st      *stream
	request *http.Request
	want    int64 // Content-Length, or -1
	closed  atomic.Bool

	mu       sync.Mutex // guards the fields below and st.in
	data     bool       // the current frame is DATA
	pending  bool       // the current frame is the trailers
	trailers bool       // they have begun
	got      int64
	waited   time.Duration // all the time that Reads have waited
	err      error         // of all Reads from now on
}

// Read reads from the body.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	n, err := b.read(p)
	if err != nil && !isTimeout(err) { // what came too late may still come
		b.err = err
	}
	return n, err
}

// read waits for bytes of the body, or for its end. mu is held.
func (b *requestBody) read(p []byte) (int, error) {
	in := &b.st.in
	for {
		more, err := b.frames()
		switch {
		case err != nil:
			return 0, b.judge(err)
		case !more:
			n := copy(p, in.rest()[:min(uint64(len(in.rest())), in.left)])
			b.use(n)
			return n, nil
		}
		b.sendContinue()
		if err := b.fill(); err != nil {
			return 0, b.judge(err)
		}
	}
}

// use counts n bytes of DATA that were read, or thrown away. mu is held.
func (b *requestBody) use(n int) {
	in := &b.st.in
	in.at += n
	in.left -= uint64(n)
	b.got += int64(n)
}

// frames goes on to the next byte of DATA that has arrived; more says that there is
// none, and that more must be read. io.EOF is the end of the body. mu is held.
func (b *requestBody) frames() (more bool, err error) {
	in := &b.st.in
	for err == nil {
		switch {
		case b.pending && (uint64(len(in.rest())) >= in.left || in.ended):
			b.pending = false
			err = b.takeTrailers()
			continue
		case b.data && in.left > 0 && len(in.rest()) > 0:
			return false, nil
		case !b.pending && !b.data:
			in.skip()
		}
		if in.left == 0 {
			if kind, ok := in.parse(); ok {
				err = b.begin(kind)
				continue
			}
		}
		switch {
		case !in.ended:
			return true, nil
		case in.left > 0 || !in.over():
			return false, errCut
		}
		err = b.end()
	}
	return false, err
}

// begin acts on the header of a frame. mu is held.
func (b *requestBody) begin(kind uint64) error {
	in, c := &b.st.in, b.st.conn
	b.data = kind == frameData
	switch {
	case b.trailers && (kind == frameData || kind == frameHeaders):
		return &connError{FrameUnexpected, "a frame behind trailers"} // RFC 9114 §4.1
	case kind == frameData && in.left == 0:
		return c.spend(EmptyFrames)
	case kind == frameData && b.want >= 0 && in.left > uint64(b.want-b.got):
		return errLength
	case kind == frameData:
		return nil
	case kind == frameHeaders && in.left > uint64(b.st.section.options.HeaderBytes):
		return &streamError{ExcessiveLoad, "trailers too large"}
	case kind == frameHeaders:
		b.pending, b.trailers = true, true
		return nil
	}
	return c.strangeFrame(kind)
}

// takeTrailers decodes the trailer section, which has come whole or will not. mu is
// held.
func (b *requestBody) takeTrailers() error {
	wire, err := b.st.in.whole()
	if err != nil {
		return err
	}
	s := section{options: b.st.section.options, trailers: true, request: Request{length: -1}}
	if err := s.decode(wire); err != nil {
		return err
	}
	switch {
	case s.refusal != NotRefused:
		return &streamError{ExcessiveLoad, "trailers too large"}
	case s.malformed != "":
		return &streamError{MessageError, s.malformed}
	}
	for name, values := range s.regular() { // those that were announced, as net/http does
		if _, announced := b.request.Trailer[name]; announced {
			b.request.Trailer[name] = values
		}
	}
	return nil
}

// errLength is what RFC 9114 §4.1.2 makes of a body that is not as long as its
// head said.
var errLength = &streamError{MessageError, "body and Content-Length differ"}

// end is the end of the stream behind a frame. mu is held.
func (b *requestBody) end() error {
	if b.want >= 0 && b.got != b.want {
		return errLength
	}
	return io.EOF
}

// judge ends the stream or the connection for what is wrong with a body, and
// returns what the handler is told. mu is held.
func (b *requestBody) judge(err error) error {
	switch {
	case err == io.EOF: //nolint:errorlint // of end
		return err
	case isTimeout(err):
		return errTimeout
	case b.closed.Load(): // the stream was given up by us
		return http.ErrBodyReadAfterClose
	}
	st := b.st
	st.mu.Lock()
	begun := st.headed
	st.breakOff(err)
	st.mu.Unlock()
	if begun && !isProtocol(err) {
		st.reset(RequestCancelled) // an answer that had begun costs its client more than us
		return errReset
	}
	st.fail(err)
	if !isProtocol(err) {
		return errReset
	}
	return err
}

// isProtocol reports whether an error is ours, not one of the transport.
func isProtocol(err error) bool {
	switch err.(type) { //nolint:errorlint // they are never wrapped
	case *connError, *streamError:
		return true
	}
	return false
}

// fill reads once. A client that sends too slowly is given up, unless the handler
// has set a deadline of its own. mu is held.
func (b *requestBody) fill() error {
	st := b.st
	now := time.Now()
	st.mu.Lock()
	if !st.timed {
		_ = st.quic.SetReadDeadline(now.Add(st.conn.allowed(b.got) - b.waited))
	}
	st.mu.Unlock()
	err := st.in.fill()
	b.waited += time.Since(now)
	return err
}

// sendContinue asks for a body that the client holds back. mu is held.
func (b *requestBody) sendContinue() {
	st := b.st
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.expects || st.headed || st.in.ended {
		return
	}
	st.expects = false
	_ = st.writeHeaders(func(e *encoder) { e.add(":status", "100") }) // who writes next is told of it
}

// arrived looks at what has come and was not read, when the answer is complete. An
// error of the request is one even if nobody wants the rest.
func (b *requestBody) arrived() error {
	if !b.mu.TryLock() { // somebody reads, and will see it
		return nil
	}
	defer b.mu.Unlock()
	if b.err != nil {
		return nil // it was judged
	}
	in := &b.st.in
	for {
		more, err := b.frames()
		switch {
		case err == io.EOF: //nolint:errorlint // of frames
			return nil
		case err != nil:
			return b.judge(err)
		case more:
			return nil
		}
		b.use(int(min(uint64(len(in.rest())), in.left)))
	}
}

// Close gives up the rest of the body.
func (b *requestBody) Close() error {
	b.closed.Store(true)
	return nil
}
