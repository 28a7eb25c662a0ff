package edge

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An h2Writer makes scripts of connections that keep to the protocol. Requests may
// be malformed.
type h2Writer struct {
	d        *dice
	choices  []fieldChoice
	s        *h2Script
	out      bytes.Buffer
	framer   *http2.Framer
	block    bytes.Buffer
	encoder  *hpack.Encoder
	next     uint32
	open     []uint32 // streams that have not ended
	known    []uint32 // streams that further frames may name
	allowed  h2Step   // what the client has allowed since the last step, at most
	current  h2Step   // what it allows now
	sent     int      // bytes of DATA
	large    int
	patience time.Duration // that is left for pauses
}

// Bounds of a script.
const (
	mostStreams = 20
	mostOps     = 60
	mostSent    = 40 << 10 // bytes of DATA: servers need not open windows for more
)

func newH2Writer(d *dice, choices []fieldChoice) *h2Writer {
	w := &h2Writer{d: d, choices: choices, next: 1, patience: 4 * time.Second}
	w.s = &h2Script{kind: rigTLS + rigType(d.roll(int(rigTypes-rigTLS))), requests: make(map[uint32]*h2Request)}
	w.framer = http2.NewFramer(&w.out, nil)
	w.framer.AllowIllegalWrites = true
	w.encoder = hpack.NewEncoder(&w.block)
	w.allowed = h2Step{window: 65535, initial: 65535, frame: 16 << 10, streams: make(map[uint32]int64)}
	w.current = w.allowed
	return w
}

// script decides until there is nothing left to decide. Writing to a buffer cannot
// fail, and no error of it is looked at.
func (w *h2Writer) script() *h2Script {
	w.out.WriteString(http2.ClientPreface)
	w.settings(w.d.roll(4))
	_ = w.framer.WriteSettingsAck()
	w.request()
	for range mostOps {
		if w.d.over() {
			break
		}
		w.op()
	}
	w.flush(0)
	return w.s
}

// op does one thing.
func (w *h2Writer) op() {
	switch d := w.d; d.roll(20) {
	case 0, 1, 2, 3, 4, 5, 6:
		w.request()
	case 7, 8:
		w.flush(0)
	case 9:
		pause := min(w.patience, time.Duration(1+d.roll(4))*250*time.Millisecond)
		w.patience -= pause
		w.flush(pause)
	case 10, 11:
		w.data()
	case 12:
		w.trailers()
	case 13:
		w.windowUpdate()
	case 14:
		w.settings(1 + d.roll(3))
	case 15:
		w.reset()
	case 16:
		var data [8]byte
		copy(data[:], d.text())
		_ = w.framer.WritePing(d.one(8), data)
	case 17:
		if w.next > 1 {
			_ = w.framer.WritePriority(1+2*uint32(d.roll(int(w.next/2))), http2.PriorityParam{Exclusive: d.one(2), Weight: uint8(d.roll(256))})
		}
	case 18:
		_ = w.framer.WriteRawFrame(http2.FrameType(0xb0+d.roll(8)), http2.Flags(d.roll(256)), uint32(d.roll(8)), []byte(d.text()))
	case 19: // many small updates, as some clients send them
		for range d.roll(8) {
			w.windowUpdate()
		}
	}
}

// flush ends a step.
func (w *h2Writer) flush(pause time.Duration) {
	if w.out.Len() == 0 && pause == 0 {
		return
	}
	step := w.allowed
	step.frames, step.pause, step.streams = bytes.Clone(w.out.Bytes()), pause, maps.Clone(w.allowed.streams)
	w.allowed.initial, w.allowed.frame = w.current.initial, w.current.frame
	w.out.Reset()
	w.s.steps = append(w.s.steps, step)
	if pause > 0 {
		for _, id := range w.open {
			w.s.requests[id].awaited = false
		}
	}
}

// settings changes up to n settings. None comes twice in one frame, which may be
// (RFC 9113 §6.5.3), and upon which net/http ends the connection.
func (w *h2Writer) settings(n int) {
	var list []http2.Setting
	for range n {
		switch w.d.roll(6) {
		case 0, 1:
			list = append(list, http2.Setting{ID: http2.SettingInitialWindowSize, Val: []uint32{0, 1, 5, 100, 5000, 65535, 1 << 20, 3 << 20}[w.d.roll(8)]})
		case 2:
			list = append(list, http2.Setting{ID: http2.SettingHeaderTableSize, Val: []uint32{0, 10, 100, 4096, 8192, 65536}[w.d.roll(6)]})
		case 3:
			list = append(list, http2.Setting{ID: http2.SettingMaxFrameSize, Val: []uint32{16 << 10, 17000, 1 << 20, 1<<24 - 1}[w.d.roll(4)]})
		case 4:
			list = append(list, http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(w.d.roll(256))})
		case 5:
			list = append(list, http2.Setting{ID: http2.SettingID(0x90 + w.d.roll(8)), Val: uint32(w.d.word())})
		}
	}
	seen := make(map[http2.SettingID]bool)
	list = slices.DeleteFunc(list, func(s http2.Setting) bool {
		again := seen[s.ID]
		seen[s.ID] = true
		return again
	})
	// net/http changes its table while it may be encoding with it, and the process
	// ends with "concurrent map read and map write": nobody may be encoding.
	alone := seen[http2.SettingHeaderTableSize] && len(w.s.requests) > 0
	lowers := slices.ContainsFunc(list, func(s http2.Setting) bool {
		return s.ID == http2.SettingInitialWindowSize && int64(s.Val) < w.current.initial
	})
	if lowers && len(w.s.requests) > 0 && !alone {
		alone = w.d.one(2)
	}
	// Even alone: which streams have used the connection's window is not the same.
	w.s.races = w.s.races || lowers && len(w.s.requests) > 0
	if alone {
		w.flush(0)
	}
	for _, s := range list {
		switch s.ID {
		case http2.SettingInitialWindowSize:
			w.current.initial = int64(s.Val)
			w.allowed.initial = max(w.allowed.initial, w.current.initial)
		case http2.SettingMaxFrameSize:
			w.current.frame = int(s.Val)
			w.allowed.frame = max(w.allowed.frame, w.current.frame)
		}
	}
	w.s.settings++
	if _ = w.framer.WriteSettings(list...); alone {
		w.flush(0)
	}
}

func (w *h2Writer) windowUpdate() {
	n := []uint32{1, 2, 7, 100, 300, 5000, 65535, 1 << 20}[w.d.roll(8)]
	if w.d.one(3) || len(w.known) == 0 {
		w.allowed.window += int64(n)
		_ = w.framer.WriteWindowUpdate(0, n)
		return
	}
	id := w.known[w.d.roll(len(w.known))]
	w.allowed.streams[id] += int64(n)
	_ = w.framer.WriteWindowUpdate(id, n)
}

// reset cancels a stream, which may have ended.
func (w *h2Writer) reset() {
	if len(w.known) == 0 {
		return
	}
	id := w.known[w.d.roll(len(w.known))]
	q := w.s.requests[id]
	if q.cancelled {
		return
	}
	q.cancelled, w.s.cancels = true, true
	w.close(id)
	_ = w.framer.WriteRSTStream(id, []http2.ErrCode{http2.ErrCodeCancel, http2.ErrCodeNo, http2.ErrCodeInternal}[w.d.roll(3)])
}

func (w *h2Writer) close(id uint32) {
	for i, open := range w.open {
		if open == id {
			w.open = append(w.open[:i], w.open[i+1:]...)
			return
		}
	}
}

// data sends some of a body.
func (w *h2Writer) data() {
	if len(w.open) == 0 {
		return
	}
	id := w.open[w.d.roll(len(w.open))]
	n := []int{0, 1, 2, 5, 100, 3000, 16000}[w.d.roll(7)]
	ends, pad := w.d.one(2), 0
	if w.d.one(4) {
		pad = w.d.roll(256)
	}
	if w.sent += n + pad + 1; w.sent > mostSent {
		return
	}
	content := bytes.Repeat([]byte("x"), n)
	q := w.s.requests[id]
	if q.content, q.ended = q.content+n, ends; ends {
		w.close(id)
	}
	if pad > 0 {
		_ = w.framer.WriteDataPadded(id, ends, content, make([]byte, pad))
		return
	}
	_ = w.framer.WriteData(id, ends, content)
}

// trailers ends a body that is still waited for: trailers that come after the
// answer end the connection with net/http, which has RST_STREAM sent by then and
// ought to ignore them (RFC 9113 §5.1).
func (w *h2Writer) trailers() {
	awaited := slices.DeleteFunc(slices.Clone(w.open), func(id uint32) bool { return !w.s.requests[id].awaited })
	if len(awaited) == 0 {
		return
	}
	id := awaited[w.d.roll(len(awaited))]
	q := w.s.requests[id]
	for range w.d.roll(3) {
		q.trailers = append(q.trailers, hpack.HeaderField{Name: choose(w.d, []string{"x-sum", "x-other", "etag", "x-large"}), Value: choose(w.d, []string{"1", "", strings.Repeat("t", 300)})})
	}
	q.ended = true
	w.close(id)
	w.headers(id, q.trailers, true, true)
}

// request opens a stream.
func (w *h2Writer) request() {
	if len(w.s.requests) >= mostStreams {
		return
	}
	q := &h2Request{fields: w.fields()}
	for q.size() > 4000 { // far too large a list is the end of the connection with net/http
		q.fields = q.fields[:len(q.fields)-1]
	}
	if path, _ := q.get(":path"); strings.HasPrefix(path, "/film") || strings.HasPrefix(path, "/long") || strings.HasPrefix(path, "/photo") {
		if w.large++; w.large > mostLargeFiles {
			return
		}
	}
	id := w.next
	w.next += 2
	w.s.requests[id] = q
	if q.bare = !w.d.one(6) || !q.plainlyGood(); !q.bare {
		w.open = append(w.open, id)
		q.awaited = !q.has("content-length")
	}
	if q.plainlyGood() {
		w.known = append(w.known, id)
	}
	q.ended = q.bare
	w.headers(id, q.fields, q.bare, q.plainlyGood())
}

// fields are those of a request, mostly a well-formed one.
func (w *h2Writer) fields() []hpack.HeaderField {
	d := w.d
	method := "GET"
	switch d.roll(8) {
	case 5, 6:
		method = "HEAD"
	case 7:
		method = mostly(d, []string{"POST", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "QUERY", "get"})
	}
	host := hostA
	if d.one(4) {
		host = choose(d, engineHosts)
	} else if w.s.kind == rigTLSB {
		host = hostB
	} else if d.one(3) {
		host = hostWild
	}
	fields := []hpack.HeaderField{
		{Name: ":method", Value: method},
		{Name: ":scheme", Value: choose(d, []string{"https", "https", "https", "http"})},
		{Name: ":authority", Value: host},
		{Name: ":path", Value: choose(d, enginePaths)},
	}
	for range d.roll(8) {
		name, value := d.field(w.choices)
		fields = append(fields, hpack.HeaderField{Name: strings.ToLower(name), Value: value})
	}
	switch d.roll(24) {
	case 20:
		fields = append(fields, hpack.HeaderField{Name: "content-length", Value: choose(d, []string{"0", "1", "2", "5", "100", "x", "-1", "00"})})
	case 21:
		fields = append(fields, hpack.HeaderField{Name: "expect", Value: choose(d, []string{"100-continue", "200-ok"})})
	case 22:
		fields = append(fields, hpack.HeaderField{Name: "host", Value: choose(d, []string{host, strings.ToUpper(host), hostB, ""})})
	case 23:
		fields = w.malform(fields)
	}
	return fields
}

// malform breaks a request (RFC 9113 §8.1.1, §8.2, §8.3), or nearly so.
func (w *h2Writer) malform(fields []hpack.HeaderField) []hpack.HeaderField {
	d := w.d
	i := d.roll(len(fields))
	switch d.roll(10) {
	case 0:
		return append(fields[:i:i], fields[i+1:]...)
	case 1:
		return append(fields, fields[i])
	case 2:
		fields[i].Value += choose(d, []string{" ", "\x00", "\n", "\t", "\x7f", "\xff", "#"})
	case 3:
		fields[i].Name = choose(d, []string{"X-Upper", "", "x y", ":status", ":x", "x:", "\u00e4"})
	case 4:
		return append(fields, hpack.HeaderField{Name: choose(d, []string{"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}), Value: choose(d, []string{"close", "chunked", "x"})})
	case 5:
		return append(fields, hpack.HeaderField{Name: "te", Value: choose(d, []string{"trailers", "gzip", ""})})
	case 6:
		return append([]hpack.HeaderField{{Name: "x-first", Value: "1"}}, fields...)
	case 7:
		for n := range 25 {
			fields = append(fields, hpack.HeaderField{Name: fmt.Sprintf("x-%d", n), Value: "1"})
		}
	case 8:
		fields[3].Value = choose(d, []string{"", "*", "x", "https://a.example/", "//", "/ /", "/\u00e4", "/#x"})
	case 9:
		fields[0].Value = choose(d, []string{"CONNECT", "", "G T", "PRI", "GET\x00"})
	}
	return fields
}

// headers writes a header block in one way of many, in several frames only if it
// may be.
func (w *h2Writer) headers(id uint32, fields []hpack.HeaderField, ends, several bool) {
	d := w.d
	if len(fields) > 0 && d.one(16) { // twice before a field would be two updates, of which hpack takes only one
		w.encoder.SetMaxDynamicTableSize([]uint32{0, 50, 200, 4096}[d.roll(4)])
	}
	for i, f := range fields {
		switch d.roll(8) {
		case 5:
			f.Sensitive = true
			_ = w.encoder.WriteField(f)
		case 6, 7:
			if i > 0 { // before the first there may be an update of the table's size, which is the encoder's
				w.literal(f, d.one(2))
				break
			}
			fallthrough
		default:
			_ = w.encoder.WriteField(f)
		}
	}
	block := bytes.Clone(w.block.Bytes())
	w.block.Reset()
	param := http2.HeadersFrameParam{StreamID: id, EndStream: ends}
	if d.one(6) {
		param.PadLength = uint8(d.roll(64))
	}
	if d.one(6) {
		param.Priority = http2.PriorityParam{StreamDep: uint32(d.roll(4)) * 2, Weight: uint8(d.roll(256)), Exclusive: d.one(2)}
	}
	var parts [][]byte
	if several && d.one(4) {
		for range 1 + d.roll(3) {
			n := d.roll(len(block) + 1)
			parts = append(parts, block[:n])
			block = block[n:]
		}
	}
	parts = append(parts, block)
	param.BlockFragment, param.EndHeaders = parts[0], len(parts) == 1
	_ = w.framer.WriteHeaders(param)
	for i, part := range parts[1:] {
		_ = w.framer.WriteContinuation(id, i == len(parts)-2, part)
	}
}

// literal writes a field without the table (RFC 7541 §6.2.2).
func (w *h2Writer) literal(f hpack.HeaderField, huffman bool) {
	w.block.WriteByte(0)
	for _, s := range []string{f.Name, f.Value} {
		text, flag := []byte(s), byte(0)
		if huffman {
			text, flag = hpack.AppendHuffmanString(nil, s), 0x80
		}
		n := len(text)
		if n < 127 {
			w.block.WriteByte(flag | byte(n))
		} else {
			w.block.WriteByte(flag | 127)
			for n -= 127; n >= 128; n >>= 7 {
				w.block.WriteByte(0x80 | byte(n))
			}
			w.block.WriteByte(byte(n))
		}
		w.block.Write(text)
	}
}
