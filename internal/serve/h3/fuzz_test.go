package h3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2/hpack"

	"pennyfarthing/internal/serve/qpack"
)

// FuzzStream has the server answer any bytes on a request stream, in any pieces,
// and a reader that knows the protocol read what it answers.
func FuzzStream(f *testing.F) {
	for _, seed := range [][]byte{
		headers("GET", "/hit/5"), browser("/hit/3000"), headers("GET", "/host"),
		{},
		bytes.Join([][]byte{headers("POST", "/trailers", "trailer", "x-sum"), data("123"), fields("x-sum", "1")}, nil),
		bytes.Join([][]byte{frame(0x21, []byte("grease")), headers("POST", "/echo", "content-length", "3"), data("1"), frame(0x40, nil), data("23")}, nil),
		append(headers("POST", "/length", "content-length", "9"), data("123")...),
		append(headers("GET", "/inform"), frame(frameSettings, nil)...),
		fields(":method", "CONNECT", ":authority", "a.example:443"),
		headers("GET", "/hit/5", "x-large", strings.Repeat("a", 40000)),
		headers("GET", "/", "BAD", ""),
		{0x1},
		{0x1, 0x40},
		{0x1, 2, 0, 0x80},
		{0xc0, 0, 0, 0, 0, 0, 0, 0, 0x3f},
	} {
		f.Add(seed, []byte{})
		f.Add(seed, []byte{0})
		f.Add(seed, []byte{9, 0, 200})
	}
	o := talkOptions()
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/wait" { // it would
			talk(w, r)
		}
	})
	o.OnPanic = func(any) {}
	f.Fuzz(func(t *testing.T, input, pieces []byte) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := &feed{ctx: ctx, input: input, pieces: pieces}
		c := newConn(ctx, NewServer(o), s)
		c.take(s)
		c.work.Wait()
		if c.streams != 0 || c.busy != 0 {
			t.Fatalf("%d streams and %d requests are left", c.streams, c.busy)
		}
		checkAnswer(t, s)
	})
}

// checkAnswer checks that a stream was answered or ended, and that the frames of
// the answer are in order: 1xx, a header section, DATA, trailers.
func checkAnswer(t *testing.T, s *feed) {
	t.Helper()
	if len(s.ended) > 0 || len(s.reset) > 0 {
		return
	}
	if s.closed == 0 {
		t.Fatal("the stream was neither answered nor reset")
	}
	stage := 0
	for r := bytes.NewReader(s.out); r.Len() > 0; {
		kind, err := quicvarint.Read(r)
		if err != nil {
			t.Fatal(err)
		}
		n, err := quicvarint.Read(r)
		if err != nil || n > uint64(r.Len()) {
			t.Fatalf("a frame of %d bytes, %v", n, err)
		}
		payload := make([]byte, n)
		_, _ = io.ReadFull(r, payload)
		switch {
		case kind == frameData && stage == 1:
		case kind == frameHeaders && stage == 0:
			if status := describe(t, payload); len(status) != 3 || status[0] != '1' {
				stage = 1
			}
		case kind == frameHeaders && stage == 1:
			stage = 2
		default:
			t.Fatalf("frame %#x in stage %d", kind, stage)
		}
	}
	if stage == 0 {
		t.Fatal("there is no answer")
	}
}

// FuzzUni has the server read any bytes on a unidirectional stream. Whatever they
// are, it ends, in one way only.
func FuzzUni(f *testing.F) {
	settings := frame(frameSettings, []byte{settingFieldSectionSize, 0x40, 99, 0x21, 1})
	control := func(frames ...[]byte) []byte {
		return append(append([]byte{streamControl}, settings...), bytes.Join(frames, nil)...)
	}
	for _, seed := range [][]byte{
		{},
		{0x40},
		{streamPush, 0},
		{streamEncoder, 0x20, 0x20},
		{streamEncoder, 0x3f, 1},
		{streamDecoder, 0x41, 0x7f, 0x80, 1},
		{streamDecoder, 0},
		{0x21, 9},
		control(), control(frame(frameMaxPushID, []byte{1}), frame(frameMaxPushID, []byte{8}), frame(frameGoAway, []byte{0})),
		control(frame(framePriorityRequest, []byte("\x04u=1")), frame(0x21, letters(2000)), frame(frameData, nil)), control(settings), control(frame(frameCancelPush, []byte{1})),
		{streamControl, frameSettings, 4, 1, 0, 1, 0},
		{streamControl, 0x21, 0},
	} {
		f.Add(seed, []byte{})
		f.Add(seed, []byte{0, 3})
	}
	f.Fuzz(func(t *testing.T, input, pieces []byte) {
		s := &feed{ctx: t.Context(), input: input, pieces: pieces}
		c := newConn(t.Context(), NewServer(talkOptions()), s)
		c.serveUni(s)
		kind, n := parseInt(input)
		known := n > 0 && kind <= streamDecoder
		if len(s.ended) != 1 && known || len(s.ended) != 0 && !known {
			t.Fatalf("the connection was ended %d times, with %x", len(s.ended), s.ended)
		}
	})
}

// FuzzHeaders compares what is taken for a request with the words of RFC 9114 §4.2
// and §4.3.
func FuzzHeaders(f *testing.F) {
	f.Add(":method\nGET\n:scheme\nhttps\n:authority\na.example\n:path\n/\nx-a\nb")
	f.Add(":method\nGET\n:scheme\nhttps\n:path\n/\nhost\na.example\ncookie\na=b\ncookie\nc=d")
	f.Add(":method\nPOST\n:scheme\nhttps\n:path\n/\n:path\n/\nx-a\nb")
	f.Add(":method\nGET\nx-a\nb\n:scheme\nhttps\n:path\n/")
	f.Add(":method\nGET\n:scheme\nhttps\n:path\n/\nhost\na\nConnection\nclose")
	f.Add(":method\nGET\n:scheme\nhttps\n:path\n/\nhost\na\nte\ngzip")
	f.Add(":method\nGET\n:scheme\nhttps\n:path\n/\nhost\na\ncontent-length\n0\ncontent-length\n1")
	f.Add(":method\nCONNECT\n:authority\na.example:1")
	f.Add(":method\nCONNECT\n:protocol\nwebsocket\n:scheme\nhttps\n:path\n/\n:authority\na.example")
	f.Add(":method\nGET\n:protocol\nwebsocket\n:scheme\nhttps\n:path\n/\n:authority\na.example")
	f.Add(":status\n200")
	f.Add(":method\n\n:scheme\n\n:path\n\nx\n y")
	f.Fuzz(func(t *testing.T, list string) {
		parts := strings.Split(list, "\n")
		if len(parts)%2 != 0 || len(parts) > 100 || len(list) > 5000 {
			return // no list of fields
		}
		wire := qpack.AppendPrefix(nil)
		for pair := range slices.Chunk(parts, 2) {
			wire = qpack.AppendField(wire, pair[0], pair[1])
		}
		o := Options{}.withDefaults()
		s := section{options: &o}
		s.reset(false)
		if err := s.decode(wire); err != nil {
			t.Fatal(err)
		}
		s.request.ended = true
		if got, want := s.check() == "", plainlyValid(parts); got != want {
			t.Errorf("accepted: %v (%q), want %v", got, s.check(), want)
		}
	})
}

// plainlyValid is RFC 9114 §4.2 and §4.3 word by word, for a request without a body.
func plainlyValid(parts []string) bool {
	pseudo, regular := map[string]string{}, map[string][]string{}
	for pair := range slices.Chunk(parts, 2) {
		name, value := pair[0], pair[1]
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) || strings.Trim(value, " \t") != value {
			return false
		}
		if name, ok := strings.CutPrefix(name, ":"); ok {
			_, twice := pseudo[name]
			if twice || len(regular) > 0 || !slices.Contains([]string{"method", "scheme", "authority", "path", "protocol"}, name) {
				return false
			}
			pseudo[name] = value
			continue
		}
		if name == "" || strings.Trim(name, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") != "" {
			return false
		}
		regular[name] = append(regular[name], value)
	}
	return plainlyComplete(pseudo, regular) && plainlyFramed(regular)
}

func plainlyFramed(regular map[string][]string) bool {
	for _, name := range []string{"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"} {
		if _, has := regular[name]; has {
			return false
		}
	}
	for _, te := range regular["te"] {
		if !strings.EqualFold(te, "trailers") {
			return false
		}
	}
	for _, length := range regular["content-length"] { // the request has no body
		if length == "" || len(strings.Trim(length, "0")) > 0 {
			return false
		}
	}
	return len(regular["host"]) <= 1
}

func plainlyComplete(pseudo map[string]string, regular map[string][]string) bool {
	_, schemed := pseudo["scheme"]
	path, pathed := pseudo["path"]
	method := pseudo["method"]
	authority, named := pseudo["authority"]
	_, extended := pseudo["protocol"]
	if hosts := regular["host"]; len(hosts) > 0 && named && !strings.EqualFold(authority, hosts[0]) {
		return false
	}
	const host = "!$%&'()*+,-.0123456789:;=ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~"
	switch {
	case method == http.MethodConnect && !extended:
		return !schemed && !pathed && authority != "" && strings.Trim(authority, host) == ""
	case extended && method != http.MethodConnect, pseudo["scheme"] == "":
		return false
	case method == "" || strings.Trim(method, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
		return false
	case !strings.HasPrefix(path, "/") && (path != "*" || method != http.MethodOptions):
		return false
	}
	if hosts := regular["host"]; len(hosts) > 0 && !named {
		authority = hosts[0]
	}
	return authority != "" && strings.Trim(authority, host) == ""
}

// TestAFieldSectionIsDecodedWithinItsBudget: what decoding hands over ends with the
// limit.
func TestAFieldSectionIsDecodedWithinItsBudget(t *testing.T) {
	line := qpack.AppendField(nil, "x", strings.Repeat("a", 1000))
	o := Options{}.withDefaults()
	s := section{options: &o}
	s.reset(false)
	taken := 0
	err := s.decoder.Decode(append([]byte{0, 0}, bytes.Repeat(line, 1000)...), func(f hpack.HeaderField) bool {
		taken++
		return s.add(f)
	})
	if want := o.HeaderBytes/(1000+1+fieldOverhead) + 1; errors.Is(err, qpack.ErrMalformed) || taken != want || s.refusal != HeadTooLarge {
		t.Errorf("%d fields were decoded, %v, want %d", taken, err, want)
	}
}
