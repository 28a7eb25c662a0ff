package h3

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/quic-go/quic-go"
)

const (
	// maxControl is the largest payload of a frame of the control stream that is
	// read, in bytes.
	maxControl = 1 << 10
	// maxSettings is how many settings a client may have; each is looked for among
	// those before it.
	maxSettings = 64
	// uniRead is the buffer of a unidirectional stream, in bytes.
	uniRead = 256
)

// serveUni reads a unidirectional stream until it ends.
func (c *conn) serveUni(s receiver) {
	in := input{from: s, buf: make([]byte, 0, uniRead)}
	defer s.ReleaseStreamCredit()
	defer c.contain(&in)
	_ = s.SetReadDeadline(time.Now().Add(c.server.options.Head))
	kind, err := in.integer()
	if err != nil { // it has ended, or has taken too long (RFC 9114 §6.2)
		s.CancelRead(quic.StreamErrorCode(StreamCreationError))
		return
	}
	switch kind {
	case streamControl, streamPush, streamEncoder, streamDecoder:
		c.fail(c.serveKnown(kind, s, &in))
	default: // RFC 9114 §6.2.3, §9
		s.CancelRead(quic.StreamErrorCode(StreamCreationError))
		c.fail(c.spend(UnknownStreams))
	}
}

// integer reads an integer of variable length (RFC 9000 §16).
func (in *input) integer() (uint64, error) {
	for {
		if v, n := parseInt(in.rest()); n > 0 {
			in.at += n
			return v, nil
		}
		if in.ended {
			return 0, io.EOF
		}
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
}

// serveKnown reads a stream whose type has a meaning. Each may come once (RFC 9114
// §6.2.1, RFC 9204 §4.2), and its end is the connection's.
func (c *conn) serveKnown(kind uint64, s receiver, in *input) error {
	if kind == streamPush {
		return &connError{StreamCreationError, "a client does not push"}
	}
	c.mu.Lock()
	twice := c.seen[kind]
	c.seen[kind] = true
	c.mu.Unlock()
	if twice {
		return &connError{StreamCreationError, "a second stream of a type that comes once"}
	}
	var err error
	switch kind {
	case streamControl:
		err = c.readControl(s, in)
	case streamEncoder:
		_ = s.SetReadDeadline(time.Time{})
		err = c.readEncoder(in)
	case streamDecoder:
		_ = s.SetReadDeadline(time.Time{})
		err = c.readDecoder(in)
	}
	if _, ours := errors.AsType[*connError](err); ours {
		return err
	}
	return &connError{ClosedCriticalStream, "a stream that must stay has ended"}
}

// A control is what a client's control stream has said.
type control struct {
	conn      *conn
	settings  bool  // they have come
	goAway    int64 // of the last GOAWAY, or -1
	maxPushID int64 // or -1
}

// readControl reads the control stream (RFC 9114 §6.2.1). SETTINGS have the time
// for heads from the stream's beginning, each later frame from its own.
func (c *conn) readControl(s receiver, in *input) error {
	state := control{conn: c, goAway: -1, maxPushID: -1}
	for {
		kind, err := in.next()
		if err == nil && in.left <= maxControl && state.reads(kind) {
			var payload []byte
			if payload, err = in.whole(); err == nil {
				err = state.take(kind, payload)
			}
		} else if err == nil {
			err = state.refuse(kind)
		}
		if err == nil && !in.ended {
			err = c.awaitFrame(s, in)
		}
		switch {
		case err == nil:
		case isTimeout(err) && !state.settings:
			return c.abuse(SlowFrames, MissingSettings, "SETTINGS took too long")
		case isTimeout(err):
			return c.abuse(SlowFrames, ExcessiveLoad, "a frame took too long")
		default:
			return err
		}
	}
}

// awaitFrame waits for the first byte behind a frame, for any time. What is left of
// the frame itself is skipped, in the time that it has.
func (c *conn) awaitFrame(s receiver, in *input) error {
	for {
		in.skip()
		if in.left == 0 || in.ended {
			break
		}
		if err := in.fill(); err != nil {
			return err
		}
	}
	if len(in.rest()) == 0 && !in.ended {
		_ = s.SetReadDeadline(time.Time{})
		if err := in.fill(); err != nil {
			return err
		}
	}
	_ = s.SetReadDeadline(time.Now().Add(c.server.options.Head))
	return nil
}

// reads reports whether a frame's payload is of interest.
func (s *control) reads(kind uint64) bool {
	switch kind {
	case frameSettings, frameCancelPush, frameGoAway, frameMaxPushID, framePriorityRequest:
		return true
	}
	return false
}

// refuse judges a frame by its type alone.
func (s *control) refuse(kind uint64) error {
	if !s.settings {
		if kind == frameSettings {
			return &connError{ExcessiveLoad, "SETTINGS too large"}
		}
		return errNoSettings
	}
	switch kind {
	case frameData, frameHeaders, framePushPromise, http2Priority, http2Ping, http2WindowUpdate, http2Continuation:
		return &connError{FrameUnexpected, "a frame that control streams do not have"}
	case framePriorityPush:
		return &connError{IDError, "the priority of a push that never was"}
	case frameSettings, frameCancelPush, frameGoAway, frameMaxPushID:
		return &connError{FrameError, "a frame too large for what it says"}
	case framePriorityRequest:
		return &connError{ExcessiveLoad, "a priority too large"}
	}
	return s.conn.spend(UnknownFrames)
}

var errNoSettings = &connError{MissingSettings, "SETTINGS must come first"}

// take acts on a whole frame (RFC 9114 §7.2).
func (s *control) take(kind uint64, payload []byte) error {
	if kind == frameSettings {
		if s.settings {
			return &connError{FrameUnexpected, "SETTINGS twice"}
		}
		s.settings = true
		return checkSettings(payload)
	}
	if !s.settings {
		return errNoSettings
	}
	id, n := parseInt(payload)
	if n == 0 || n != len(payload) && kind != framePriorityRequest {
		return &connError{FrameError, "a frame that is not one identifier"}
	}
	bad := false
	switch kind {
	case frameCancelPush: // of a push that never was (§7.2.3)
		bad = true
	case frameGoAway: // it is about pushes, and must not grow (§5.2)
		bad = s.goAway >= 0 && int64(id) > s.goAway
		s.goAway = int64(id)
	case frameMaxPushID: // it must not shrink (§7.2.7)
		bad = int64(id) < s.maxPushID
		s.maxPushID = int64(id)
	case framePriorityRequest: // RFC 9218 §7.2
		if id%4 != 0 {
			return &connError{IDError, "the priority of what is no request"}
		}
		if err := s.conn.spend(Priorities); err != nil {
			return err
		}
		return s.conn.reprioritize(quic.StreamID(id), string(payload[n:]))
	}
	if bad {
		return &connError{IDError, "an identifier that cannot be"}
	}
	return s.conn.spend(ControlFrames)
}

// checkSettings checks SETTINGS, of which none matters to us (RFC 9114 §7.2.4).
func checkSettings(payload []byte) error {
	var seen []uint64
	for len(payload) > 0 {
		id, n := parseInt(payload)
		if n == 0 {
			return errSettingsCut
		}
		value, m := parseInt(payload[n:])
		if m == 0 {
			return errSettingsCut
		}
		payload = payload[n+m:]
		switch {
		case slices.Contains(seen, id):
			return &connError{SettingsError, "a setting twice"}
		case id == 0 || settingHTTP2First <= id && id <= settingHTTP2Last:
			return &connError{SettingsError, "a setting of HTTP/2"}
		case (id == settingConnectProtocol || id == settingDatagram) && value > 1:
			return &connError{SettingsError, "a setting that is 0 or 1"}
		case len(seen) == maxSettings:
			return &connError{ExcessiveLoad, "too many settings"}
		}
		seen = append(seen, id)
	}
	return nil
}

var errSettingsCut = &connError{FrameError, "SETTINGS end within a setting"}

// readEncoder reads the instructions for a dynamic table of no capacity: it can be
// set to zero, and nothing else (RFC 9204 §4.3).
func (c *conn) readEncoder(in *input) error {
	const setCapacityZero = 0x20
	for {
		b, err := in.byte()
		if err != nil {
			return err
		}
		if b != setCapacityZero {
			return &connError{EncoderStreamError, "an instruction that needs a dynamic table"}
		}
		if err := c.spend(Instructions); err != nil {
			return err
		}
	}
}

// readDecoder reads what a client says of sections that we have sent. None needs
// a dynamic table, so that none is acknowledged, but one may be cancelled (RFC
// 9204 §4.4).
func (c *conn) readDecoder(in *input) error {
	const pattern, cancellation, stream = 0xc0, 0x40, 0x3f
	for {
		b, err := in.byte()
		if err != nil {
			return err
		}
		if b&pattern != cancellation {
			return &connError{DecoderStreamError, "an acknowledgement of nothing"}
		}
		if b&stream == stream {
			if err := in.endInteger(); err != nil {
				return err
			}
		}
		if err := c.spend(Instructions); err != nil {
			return err
		}
	}
}

// endInteger reads what follows the first byte of an integer of QPACK (RFC 9204
// §4.1.1): of one that has 62 bits, nine bytes.
func (in *input) endInteger() error {
	for range 9 {
		b, err := in.byte()
		if err != nil {
			return err
		}
		if b&0x80 == 0 {
			return nil
		}
	}
	return &connError{DecoderStreamError, "an integer too large"}
}
