//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	h2Window   = 1<<30 - 1 // as h2load has it: no answer waits for a window
	h2Refill   = 1 << 28   // when the connection's window is opened again
	frameHead  = 9
	frameLimit = 16 << 10
)

// preparedRequest is a request with everything ready that does not depend on the connection.
type preparedRequest struct {
	crowdRequest
	h1    []byte
	path  []byte              // HPACK: a literal that is not indexed, as nghttp2 and browsers have it
	keep  []hpack.HeaderField // fields that are worth the dynamic table
	other []byte              // HPACK: the rest
}

// passing is the field whose value differs from page to page, so that no client gives it a place in its table.
const passing = "if-none-match"

func prepareRequest(order crowdOrder, r crowdRequest) preparedRequest {
	p := preparedRequest{crowdRequest: r}
	p.h1 = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n", r.Path, order.Address)
	p.path = appendLiteral(nil, ":path", r.Path)
	for _, f := range r.Fields {
		p.h1 = fmt.Appendf(p.h1, "%s: %s\r\n", f[0], f[1])
		name := strings.ToLower(f[0])
		if name == passing {
			p.other = appendLiteral(p.other, name, f[1])
		} else {
			p.keep = append(p.keep, hpack.HeaderField{Name: name, Value: f[1]})
		}
	}
	p.h1 = append(p.h1, "\r\n"...)
	return p
}

// appendLiteral appends a field as a literal without indexing (RFC 7541 §6.2.2), its name by the static table where that
// has it.
func appendLiteral(b []byte, name, value string) []byte {
	switch name {
	case ":path":
		b = append(b, 4)
	case passing:
		b = append(b, 0x0f, 41-0x0f)
	default:
		b = appendHPACKString(append(b, 0), name)
	}
	return appendHPACKString(b, value)
}

func appendHPACKString(b []byte, s string) []byte {
	if n := hpack.HuffmanEncodeLength(s); n < uint64(len(s)) {
		return hpack.AppendHuffmanString(appendHPACKLength(b, 0x80, n), s)
	}
	return append(appendHPACKLength(b, 0, uint64(len(s))), s...)
}

// appendHPACKLength appends an integer with a prefix of seven bits (RFC 7541 §5.1).
func appendHPACKLength(b []byte, flag byte, n uint64) []byte {
	if n < 0x7f {
		return append(b, flag|byte(n))
	}
	b = append(b, flag|0x7f)
	for n -= 0x7f; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// talkH2 is a client of HTTP/2, as much as asking for files needs.
type talkH2 struct {
	authority string
	encoder   *hpack.Encoder
	block     *bytes.Buffer
	lastID    uint32
	streams   []streamH2 // in flight, few
	consumed  int64      // of the connection's window

	frame   []byte // the beginning of a frame, or all of one that is not DATA
	data    int64  // payload of a DATA frame that is to come
	id      uint32 // its stream
	dataEnd bool   // it has END_STREAM
}

type streamH2 struct {
	id     uint32
	got    int64
	headed bool
	answer
}

// newTalkH2 also returns what the client sends first.
func newTalkH2(authority string) (*talkH2, []byte) {
	t := &talkH2{authority: authority, block: new(bytes.Buffer)}
	t.encoder = hpack.NewEncoder(t.block)
	var hello bytes.Buffer
	hello.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&hello, nil)
	_ = framer.WriteSettings( // a buffer takes everything
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: h2Window},
	)
	_ = framer.WriteWindowUpdate(0, h2Window-65535)
	return t, hello.Bytes()
}

func (t *talkH2) ask(out []byte, r *preparedRequest, now time.Time) ([]byte, error) {
	if t.lastID == 0 {
		t.lastID = 1
	} else {
		t.lastID += 2
	}
	t.streams = append(t.streams, streamH2{id: t.lastID, answer: answer{r, now}})
	t.block.Reset()
	for _, f := range [...]hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: t.authority}} {
		_ = t.encoder.WriteField(f) // a buffer takes everything
	}
	t.block.Write(r.path)
	for _, f := range r.keep {
		_ = t.encoder.WriteField(f)
	}
	t.block.Write(r.other)
	out = appendFrame(out, http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, t.lastID, t.block.Len())
	return append(out, t.block.Bytes()...), nil
}

func appendFrame(out []byte, kind http2.FrameType, flags http2.Flags, id uint32, length int) []byte {
	out = append(out, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags))
	return binary.BigEndian.AppendUint32(out, id)
}

func (t *talkH2) feed(b []byte, done []answer, out []byte) ([]answer, []byte, error) {
	for len(b) > 0 {
		var err error
		switch {
		case t.data > 0:
			n := min(t.data, int64(len(b)))
			t.data -= n
			b = b[n:]
			if t.data == 0 && t.dataEnd {
				done, err = t.finish(t.id, done)
			}
		case len(t.frame) < frameHead:
			n := min(frameHead-len(t.frame), len(b))
			t.frame = append(t.frame, b[:n]...)
			b = b[n:]
			if len(t.frame) == frameHead {
				done, out, err = t.frameBegins(done, out)
			}
		default:
			n := min(t.missing(), len(b))
			t.frame = append(t.frame, b[:n]...)
			b = b[n:]
			if t.missing() == 0 {
				done, out, err = t.frameEnds(done, out)
			}
		}
		if err != nil {
			return done, out, err
		}
	}
	return done, out, nil
}

func (t *talkH2) missing() int {
	return frameHead + t.payload() - len(t.frame)
}

func (t *talkH2) payload() int { return int(t.frame[0])<<16 | int(t.frame[1])<<8 | int(t.frame[2]) }

// frameBegins looks at the head of a frame: the payload of DATA is counted as it comes, all others are collected.
func (t *talkH2) frameBegins(done []answer, out []byte) ([]answer, []byte, error) {
	length, flags := t.payload(), http2.Flags(t.frame[4])
	if length > frameLimit {
		return done, out, fmt.Errorf("a frame of %d bytes", length)
	}
	if http2.FrameType(t.frame[3]) != http2.FrameData {
		if length == 0 {
			return t.frameEnds(done, out)
		}
		return done, out, nil
	}
	t.id = binary.BigEndian.Uint32(t.frame[5:]) &^ (1 << 31)
	t.data, t.dataEnd = int64(length), flags.Has(http2.FlagDataEndStream)
	t.frame = t.frame[:0]
	if flags.Has(http2.FlagDataPadded) {
		return done, out, errors.New("DATA with padding is not expected")
	}
	s := t.stream(t.id)
	if s == nil || !s.headed {
		return done, out, fmt.Errorf("DATA on stream %d, which waits for none", t.id)
	}
	s.got += t.data
	if t.consumed += t.data; t.consumed >= h2Refill {
		out = binary.BigEndian.AppendUint32(appendFrame(out, http2.FrameWindowUpdate, 0, 0, 4), uint32(t.consumed))
		t.consumed = 0
	}
	if t.data == 0 && t.dataEnd {
		var err error
		done, err = t.finish(t.id, done)
		return done, out, err
	}
	return done, out, nil
}

// frameEnds handles a frame that is not DATA and is complete.
func (t *talkH2) frameEnds(done []answer, out []byte) ([]answer, []byte, error) {
	kind, flags, id := http2.FrameType(t.frame[3]), http2.Flags(t.frame[4]), binary.BigEndian.Uint32(t.frame[5:])&^(1<<31)
	payload := t.frame[frameHead:]
	t.frame = t.frame[:0] // payload stays valid until the next feed
	var err error
	switch kind {
	case http2.FrameHeaders:
		done, err = t.headers(id, flags, payload, done)
	case http2.FrameSettings:
		if !flags.Has(http2.FlagSettingsAck) {
			t.settings(payload)
			out = appendFrame(out, http2.FrameSettings, http2.FlagSettingsAck, 0, 0)
		}
	case http2.FramePing:
		if !flags.Has(http2.FlagPingAck) {
			out = append(appendFrame(out, http2.FramePing, http2.FlagPingAck, 0, len(payload)), payload...)
		}
	case http2.FrameGoAway:
		err = errors.New("the server said GOAWAY")
	case http2.FrameRSTStream:
		err = fmt.Errorf("the server reset stream %d", id)
	case http2.FrameContinuation, http2.FramePushPromise:
		err = fmt.Errorf("a frame %s is not expected", kind)
	default: // WINDOW_UPDATE and what may be ignored
	}
	return done, out, err
}

// settings obeys the one that concerns a client that asks little.
func (t *talkH2) settings(payload []byte) {
	for ; len(payload) >= 6; payload = payload[6:] {
		if http2.SettingID(binary.BigEndian.Uint16(payload)) == http2.SettingHeaderTableSize {
			t.encoder.SetMaxDynamicTableSizeLimit(binary.BigEndian.Uint32(payload[2:]))
		}
	}
}

func (t *talkH2) headers(id uint32, flags http2.Flags, block []byte, done []answer) ([]answer, error) {
	s := t.stream(id)
	if s == nil || s.headed || !flags.Has(http2.FlagHeadersEndHeaders) || flags.Has(http2.FlagHeadersPadded) || flags.Has(http2.FlagHeadersPriority) {
		return done, fmt.Errorf("HEADERS on stream %d with flags %#x are not expected", id, flags)
	}
	status, err := statusOf(block)
	if err != nil {
		return done, err
	}
	if status != s.request.Status {
		return done, fmt.Errorf("%s: status %d, not %d", s.request.Path, status, s.request.Status)
	}
	s.headed = true
	if flags.Has(http2.FlagHeadersEndStream) {
		return t.finish(id, done)
	}
	return done, nil
}

// statusOf reads :status, which comes first. Every server has 200 and 304 by the static table; nothing else is expected.
func statusOf(block []byte) (int, error) {
	for len(block) > 0 && block[0]&0xe0 == 0x20 { // the size of the dynamic table, RFC 7541 §6.3
		long := block[0] == 0x3f
		block = block[1:]
		for long && len(block) > 0 {
			long = block[0] >= 0x80
			block = block[1:]
		}
	}
	if len(block) > 0 {
		switch block[0] {
		case 0x88:
			return 200, nil
		case 0x8b:
			return 304, nil
		}
	}
	return 0, fmt.Errorf("a status that is neither 200 nor 304: % x", block[:min(len(block), 8)])
}

func (t *talkH2) stream(id uint32) *streamH2 {
	for i := range t.streams {
		if t.streams[i].id == id {
			return &t.streams[i]
		}
	}
	return nil
}

func (t *talkH2) finish(id uint32, done []answer) ([]answer, error) {
	s := t.stream(id)
	if s == nil || !s.headed {
		return done, fmt.Errorf("stream %d ended, which waits for nothing", id)
	}
	if s.got != s.request.Body {
		return done, fmt.Errorf("%s: %d bytes, not %d", s.request.Path, s.got, s.request.Body)
	}
	done = append(done, s.answer)
	last := len(t.streams) - 1
	*s = t.streams[last]
	t.streams = t.streams[:last]
	return done, nil
}
