package h2

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	xhpack "golang.org/x/net/http2/hpack"

	"pennyfarthing/internal/serve/hpack"
)

// A script is a connection of which the client has said everything beforehand,
// and then has closed its side.
type script struct {
	feed
	input  []byte
	pieces []byte // sizes of reads, over and over

	mu  sync.Mutex // guards out
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.input) == 0 {
		return 0, io.EOF
	}
	n := len(s.input)
	if len(s.pieces) > 0 {
		n = min(n, 1+int(s.pieces[0]))
		s.pieces = append(s.pieces[1:], s.pieces[0])
	}
	n = copy(p, s.input[:n])
	s.input = s.input[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

// recorded returns what a client sends, after the preface.
func recorded(send ...func(c *client)) []byte {
	var out bytes.Buffer
	c := &client{framer: http2.NewFramer(&out, nil)}
	c.t = &testing.T{}
	c.framer.AllowIllegalWrites = true
	c.hpack = xhpack.NewEncoder(&c.block)
	_ = c.framer.WriteSettings()
	for _, f := range send {
		f(c)
	}
	return out.Bytes()
}

// conversations are what clients say after the preface.
func conversations() (all [][]byte) {
	get := func(c *client) { c.get(1, "/hit/100000"); c.open(0, 100000); c.open(1, 100000) }
	post := func(c *client) { c.post(3, "/read"); c.data(3, false, letters(100)); c.data(3, true, letters(9)) }
	trailers := func(c *client) {
		c.post(5, "/flush", "trailer", "x-sum")
		c.data(5, false, letters(100))
		c.headers(5, true, c.fields("x-sum", "1"))
	}
	ends := func(c *client) {
		_ = c.framer.WriteRSTStream(3, http2.ErrCodeCancel)
		_ = c.framer.WritePing(false, [8]byte{})
		_ = c.framer.WritePriority(7, http2.PriorityParam{})
		_ = c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 9}, http2.Setting{ID: http2.SettingHeaderTableSize})
		_ = c.framer.WriteGoAway(0, http2.ErrCodeNo, nil)
	}
	prioritized := func(c *client) {
		c.prioritize(7, "u=1")
		c.get(5, "/hit/100000", "priority", "u=2, i")
		c.get(7, "/hit/100000")
		c.prioritize(5, "i=?0")
		c.open(0, 200000)
	}
	tunnel := func(c *client) { c.tunnel(9, "/flush"); c.data(9, false, letters(10)); c.data(9, true, nil) }
	large := func(c *client) { c.sendBlock(9, true, c.encode("GET", "/", "x-large", strings.Repeat("a", 50000))) }
	for _, seed := range [][]func(*client){{get}, {post}, {trailers}, {get, post, trailers, ends}, {ends, get, post}, {large, get}, {get, get}, {prioritized}, {get, prioritized, tunnel, ends}} {
		all = append(all, recorded(seed...))
	}
	return all
}

func FuzzConn(f *testing.F) {
	for _, in := range conversations() {
		f.Add(in, []byte{})
		f.Add(in, []byte{0, 8, 200})
	}
	o := talkOptions()
	o.ExtendedConnect = true
	f.Fuzz(func(t *testing.T, input, pieces []byte) {
		s := &script{input: append([]byte(preface), input...), pieces: pieces}
		NewServer(o).ServeConn(t.Context(), s)
		s.mu.Lock()
		defer s.mu.Unlock()
		checkOutput(t, s.out.Bytes())
	})
}

// checkOutput has a client that knows the protocol read what a server has sent.
func checkOutput(t *testing.T, out []byte) {
	framer := http2.NewFramer(nil, bytes.NewReader(out))
	framer.SetMaxReadFrameSize(maxFrame)
	framer.ReadMetaHeaders = xhpack.NewDecoder(4096, nil)
	over := map[uint32]string{}
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatalf("the server's output: %v\n%x", err, out)
			}
			return
		}
		h := f.Header()
		windows := h.Type == http2.FrameWindowUpdate && !strings.HasPrefix(over[h.StreamID], "RST_STREAM")
		if why := over[h.StreamID]; why != "" && h.Type != http2.FrameRSTStream && !windows {
			t.Fatalf("%s after %s", describe(f), why)
		}
		if reset := h.Type == http2.FrameRSTStream; h.StreamID != 0 && (reset || h.Type <= http2.FrameHeaders && h.Flags.Has(http2.FlagDataEndStream)) {
			over[h.StreamID] = describe(f)
		}
	}
}

// FuzzHeaders compares what is taken for a request with what x/net's framer takes
// for one, where that is not more generous.
func FuzzHeaders(f *testing.F) {
	f.Add(":method\nGET\n:scheme\nhttps\n:authority\na.example\n:path\n/\nx-a\nb")
	f.Add(":method\nGET\n:scheme\nhttps\n:path\n/\nhost\na.example\ncookie\na=b\ncookie\nc=d")
	f.Add(":method\nPOST\n:scheme\nhttps\n:path\n/\n:path\n/\nx-a\nb")
	f.Add(":method\nGET\nx-a\nb\n:scheme\nhttps\n:path\n/")
	f.Add(":method\nGET\n:scheme\nhttps\n:path\n/\nConnection\nclose")
	f.Add(":method\nGET\n:scheme\nhttps\n:path\n/\nte\ngzip")
	f.Add(":method\nGET\n:scheme\nhttps\n:path\n/\nte\n")
	f.Add(":method\nGET\n:scheme\ngopher\n:path\n/")
	f.Add(":method\nGET\n:scheme\nhttps\n:path\n/\ncontent-length\n0\ncontent-length\n1")
	f.Add(":method\nCONNECT\n:authority\na.example:1")
	f.Add(":status\n200")
	f.Add(":method\n\n:scheme\n\n:path\n\nx\n y")
	f.Fuzz(func(t *testing.T, list string) {
		parts := strings.Split(list, "\n")
		if len(parts)%2 != 0 || len(parts) > 100 || len(list) > 5000 {
			t.Skip("no list of fields")
		}
		var fields []xhpack.HeaderField
		for pair := range slices.Chunk(parts, 2) {
			fields = append(fields, xhpack.HeaderField{Name: pair[0], Value: pair[1]})
		}
		got := accepts(t, fields)
		if want := plainlyValid(fields); got != want {
			t.Errorf("accepted: %v, want %v", got, want)
		}
		if got && !framerAccepts(t, fields) {
			t.Error("it is accepted, and x/net does not")
		}
	})
}

// accepts reports whether the server takes a field list for a request.
func accepts(t *testing.T, fields []xhpack.HeaderField) bool {
	c := newConn(t.Context(), NewServer(Options{}), &feed{})
	defer c.cancel()
	s := &c.reader.section
	var block []byte
	table := hpack.NewTable()
	for _, f := range fields {
		block = table.AppendField(block, f.Name, f.Value)
	}
	if err := c.reader.decoder.Decode(block, s.add); err != nil {
		t.Fatal(err)
	}
	s.request.ended = true
	return s.check() == ""
}

// plainlyValid is RFC 9113 §8.2 and §8.3 word by word.
func plainlyValid(fields []xhpack.HeaderField) bool {
	pseudo, regular := map[string]string{}, map[string][]string{}
	for _, f := range fields {
		if strings.ContainsFunc(f.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) || strings.Trim(f.Value, " \t") != f.Value {
			return false
		}
		if name, ok := strings.CutPrefix(f.Name, ":"); ok {
			_, twice := pseudo[name]
			if twice || len(regular) > 0 || !slices.Contains([]string{"method", "scheme", "authority", "path"}, name) {
				return false
			}
			pseudo[name] = f.Value
			continue
		}
		if f.Name == "" || strings.Trim(f.Name, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") != "" {
			return false
		}
		regular[f.Name] = append(regular[f.Name], f.Value)
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
		if te != "" && !strings.EqualFold(te, "trailers") {
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
	method, authority := pseudo["method"], pseudo["authority"]
	if method == http.MethodConnect {
		return !schemed && !pathed && authority != ""
	}
	if method == "" || strings.ContainsFunc(method, func(r rune) bool {
		return r >= 0x7f || !strings.ContainsRune("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", r)
	}) {
		return false
	}
	if scheme := pseudo["scheme"]; scheme != "http" && scheme != "https" {
		return false
	}
	if !strings.HasPrefix(path, "/") && (path != "*" || method != http.MethodOptions) {
		return false
	}
	if hosts := regular["host"]; len(hosts) > 0 {
		if authority != "" && !strings.EqualFold(authority, hosts[0]) {
			return false
		}
		authority = hosts[0]
	}
	return strings.Trim(authority, "!$%&'()*+,-.0123456789:;=ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~") == ""
}

// framerAccepts is the verdict of x/net.
func framerAccepts(t *testing.T, fields []xhpack.HeaderField) bool {
	var block, out bytes.Buffer
	enc := xhpack.NewEncoder(&block)
	for _, f := range fields {
		_ = enc.WriteField(f)
	}
	framer := http2.NewFramer(&out, &out)
	framer.ReadMetaHeaders = xhpack.NewDecoder(4096, nil)
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	_, err := framer.ReadFrame()
	return err == nil
}
