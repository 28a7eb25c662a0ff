package h2

import (
	"encoding/binary"
	"math"
)

// handle acts on one frame. mu is held.
func (c *conn) handle(f *frame) error {
	if c.reader.block.open() && (f.kind != frameContinuation || f.stream != c.reader.block.stream) {
		return &connError{ProtocolError, "a header block was not finished"}
	}
	if !c.reader.settings && f.kind != frameSettings {
		return &connError{ProtocolError, "SETTINGS must come first"}
	}
	switch f.kind {
	case frameData:
		return c.handleData(f)
	case frameHeaders:
		return c.handleHeaders(f)
	case framePriority:
		return c.handlePriority(f)
	case frameRSTStream:
		return c.handleReset(f)
	case frameSettings:
		return c.handleSettings(f)
	case framePushPromise:
		return &connError{ProtocolError, "a client does not push"}
	case framePing:
		return c.handlePing(f)
	case frameGoAway:
		return c.handleGoAway(f)
	case frameWindowUpdate:
		return c.handleWindowUpdate(f)
	case frameContinuation:
		return c.handleContinuation(f)
	case framePriorityUpdate:
		return c.handlePriorityUpdate(f)
	}
	return c.spend(UnknownFrames) // RFC 9113 §4.1: to be ignored
}

// idle reports whether a stream has not been opened yet.
func (c *conn) idle(id uint32) bool { return id > c.opened || id%2 == 0 }

func (c *conn) handleData(f *frame) error {
	if f.stream == 0 || c.idle(f.stream) {
		return &connError{ProtocolError, "DATA on an idle stream"}
	}
	size := len(f.payload) // padding counts (RFC 9113 §6.9.1)
	if err := f.unpad(); err != nil {
		return err
	}
	if len(f.payload) == 0 && !f.has(flagEndStream) { // padding alone brings nobody forward either
		if err := c.spend(EmptyFrames); err != nil {
			return err
		}
	}
	c.got += int64(size)
	c.received += int64(size)
	if c.received > initialWindow {
		return &connError{FlowControlError, "more DATA than the connection's window"}
	}
	st := c.streams[f.stream]
	if st == nil || st.peerEnded {
		c.credit(nil, size)
		if st == nil && c.forgiven(f.stream, size) {
			return nil
		}
		return &streamError{f.stream, StreamClosed, "DATA on a closed stream"}
	}
	st.received += int64(size)
	if st.received > initialWindow {
		c.credit(nil, size)
		return &streamError{f.stream, FlowControlError, "more DATA than the stream's window"}
	}
	if err := st.in.take(f.payload, f.has(flagEndStream)); err != nil {
		c.credit(nil, size)
		return err
	}
	c.credit(st, size-len(f.payload)) // the padding is used up at once
	return nil
}

// credit gives back window that n received bytes took, when half of it is used,
// and the stream's too if it is to go on.
func (c *conn) credit(st *stream, n int) {
	c.consumed += int64(n)
	if c.consumed >= initialWindow/2 {
		c.windowUpdate(0, c.consumed)
		c.received -= c.consumed
		c.consumed = 0
	}
	if st == nil || st.peerEnded || st.gone {
		return
	}
	st.consumed += int64(n)
	if st.consumed >= initialWindow/2 {
		c.windowUpdate(st.id, st.consumed)
		st.received -= st.consumed
		st.consumed = 0
	}
}

func (c *conn) windowUpdate(id uint32, n int64) {
	c.begin(4, frameWindowUpdate, 0, id)
	c.out = appendUint32(c.out, uint32(n))
}

func (c *conn) handlePriority(f *frame) error {
	if f.stream == 0 {
		return &connError{ProtocolError, "PRIORITY on stream 0"}
	}
	bad := streamError{id: f.stream}
	switch {
	case len(f.payload) != 5:
		bad.code, bad.why = FrameSizeError, "PRIORITY is 5 bytes"
	case binary.BigEndian.Uint32(f.payload)&maxStreamID == f.stream:
		bad.code, bad.why = ProtocolError, "a stream cannot depend on itself"
	default:
		return c.spend(Priorities)
	}
	if c.idle(f.stream) { // it cannot be reset (RFC 9113 §5.1)
		return &connError{bad.code, bad.why}
	}
	return &bad
}

func (c *conn) handleReset(f *frame) error {
	switch {
	case f.stream == 0 || c.idle(f.stream):
		return &connError{ProtocolError, "RST_STREAM on an idle stream"}
	case len(f.payload) != 4:
		return &connError{FrameSizeError, "RST_STREAM is 4 bytes"}
	}
	if st := c.streams[f.stream]; st != nil {
		c.remove(st)
		st.abort(errReset)
	}
	return c.spend(ResetsReceived)
}

func (c *conn) handleSettings(f *frame) error {
	switch {
	case f.stream != 0:
		return &connError{ProtocolError, "SETTINGS on a stream"}
	case f.has(flagAck) && len(f.payload) > 0, len(f.payload)%6 != 0:
		return &connError{FrameSizeError, "SETTINGS of a wrong size"}
	}
	c.reader.settings = true
	if err := c.spend(SettingsFrames); err != nil {
		return err
	}
	if f.has(flagAck) {
		c.reader.acknowledged = true
		return nil
	}
	window, scheme := c.peerWindow, c.reader.noRFC7540Priorities
	for p := f.payload; len(p) > 0; p = p[6:] {
		id, value := binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])
		if err := c.setting(id, value); err != nil {
			return err
		}
		switch id {
		case settingInitialWindowSize:
			window = int64(value) // the last one counts, or else one frame costs as many rounds as it has room for
		case settingNoRFC7540Priorities:
			scheme = uint8(value)
		}
	}
	if c.reader.announced && scheme != c.reader.noRFC7540Priorities {
		return &connError{ProtocolError, "SETTINGS_NO_RFC7540_PRIORITIES may not change"}
	}
	c.reader.announced, c.reader.noRFC7540Priorities = true, scheme
	c.begin(0, frameSettings, flagAck, 0)
	return c.setPeerWindow(window)
}

func (c *conn) setting(id uint16, value uint32) error {
	switch id {
	case settingHeaderTableSize:
		c.table.SetLimit(value)
	case settingEnablePush:
		if value > 1 {
			return &connError{ProtocolError, "SETTINGS_ENABLE_PUSH is 0 or 1"}
		}
	case settingInitialWindowSize:
		if value > maxWindow {
			return &connError{FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE too large"}
		}
	case settingMaxFrameSize:
		if value < maxFrame || value > 1<<24-1 {
			return &connError{ProtocolError, "SETTINGS_MAX_FRAME_SIZE out of range"}
		}
	case settingNoRFC7540Priorities:
		if value > 1 {
			return &connError{ProtocolError, "SETTINGS_NO_RFC7540_PRIORITIES is 0 or 1"}
		}
	}
	return nil
}

// setPeerWindow changes the send window of all streams (RFC 9113 §6.9.2).
func (c *conn) setPeerWindow(value int64) error {
	grown := value - c.peerWindow
	if grown == 0 {
		return nil
	}
	c.peerWindow = value
	for _, st := range c.streams {
		if st.window += grown; st.window > maxWindow {
			return &connError{FlowControlError, "a stream's window is too large"}
		}
		st.unstick()
	}
	return nil
}

func (c *conn) handlePing(f *frame) error {
	switch {
	case f.stream != 0:
		return &connError{ProtocolError, "PING on a stream"}
	case len(f.payload) != 8:
		return &connError{FrameSizeError, "PING is 8 bytes"}
	case f.has(flagAck):
		return c.spend(Pings)
	}
	c.begin(8, framePing, flagAck, 0)
	c.out = append(c.out, f.payload...)
	return c.spend(Pings)
}

// handleGoAway ends the connection when its streams have ended. Should the client
// open more of them meanwhile, they are answered.
func (c *conn) handleGoAway(f *frame) error {
	switch {
	case f.stream != 0:
		return &connError{ProtocolError, "GOAWAY on a stream"}
	case len(f.payload) < 8:
		return &connError{FrameSizeError, "GOAWAY is at least 8 bytes"}
	}
	c.leaving = true
	c.endIfDone()
	return nil
}

func (c *conn) handleWindowUpdate(f *frame) error {
	if len(f.payload) != 4 {
		return &connError{FrameSizeError, "WINDOW_UPDATE is 4 bytes"}
	}
	n := int64(binary.BigEndian.Uint32(f.payload) & math.MaxInt32)
	if n < tinyUpdate {
		if err := c.spend(WindowUpdates); err != nil {
			return err
		}
	}
	if f.stream == 0 {
		if n == 0 {
			return &connError{ProtocolError, "WINDOW_UPDATE of nothing"}
		}
		if c.sendWindow += n; c.sendWindow > maxWindow {
			return &connError{FlowControlError, "the connection's window is too large"}
		}
		return nil
	}
	if c.idle(f.stream) {
		return &connError{ProtocolError, "WINDOW_UPDATE on an idle stream"}
	}
	if n == 0 {
		return &streamError{f.stream, ProtocolError, "WINDOW_UPDATE of nothing"}
	}
	st := c.streams[f.stream]
	if st == nil {
		return nil // it has ended; the update was on its way
	}
	if st.window += n; st.window > maxWindow {
		return &streamError{f.stream, FlowControlError, "the stream's window is too large"}
	}
	st.unstick()
	return nil
}
