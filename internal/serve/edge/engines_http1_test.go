package edge

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/serve/h1"
)

// An h1Script is all that a client does on one connection of HTTP/1.1.
type h1Script struct {
	kind  rigType
	parts []h1Part
	ends  bool // the client ends its side at last, and waits for answers
}

// An h1Part is a write, and how long the client waits after it.
type h1Part struct {
	text  []byte
	pause time.Duration
}

// String is what the client does, for people.
func (s *h1Script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "kind %d, ends %v", s.kind, s.ends)
	for _, p := range s.parts {
		fmt.Fprintf(&b, "\n\t%q, then %v", p.text, p.pause)
	}
	return b.String()
}

// speaksHTTP2 reports whether the connection is one of HTTP/2 with prior knowledge.
func (s *h1Script) speaksHTTP2() bool {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	var in []byte
	for _, p := range s.parts {
		in = append(in, p.text[:min(len(p.text), len(preface))]...)
	}
	return !s.kind.secure() && bytes.HasPrefix(in, []byte(preface))
}

// h1Patience is longer than any patience of a server.
const h1Patience = 10 * time.Minute

// An h1Talk is what came of a script.
type h1Talk struct {
	After  []int // bytes that had come after each part
	Ended  time.Duration
	Closed time.Duration // -1: never
	Unread bool          // a reset would have destroyed what was under way
}

// compare runs a script with both engines.
func (e *engines) compareHTTP1(t *testing.T, s *h1Script) {
	t.Helper()
	how := servingOf(s.parts, func(p *h1Part) []byte { return p.text })
	e.inBubble(t, how, s.kind, "http/1.1", func(plain, fast *rig) {
		for _, r := range []*rig{plain, fast} {
			r.reading.Go(r.read)
		}
		var want, got h1Talk
		step := func() {
			synctest.Wait()
			want.After, got.After = append(want.After, plain.received()), append(got.After, fast.received())
		}
		for _, part := range s.parts {
			for _, r := range []*rig{plain, fast} {
				_, _ = r.client.Write(part.text) // the server may have closed
			}
			step()
			if part.pause > 0 {
				time.Sleep(part.pause)
				step()
			}
		}
		if s.ends {
			for _, r := range []*rig{plain, fast} {
				_ = r.client.(interface{ CloseWrite() error }).CloseWrite()
			}
			step()
		}
		time.Sleep(h1Patience)
		step()
		want.conclude(plain)
		got.conclude(fast)
		// Then it is net/http that answers, whichever engine it is. Its PINGs have
		// random numbers, and it may end before it has sent its SETTINGS.
		if s.speaksHTTP2() {
			n := min(9, len(plain.out), len(fast.out))
			equalBytes(t, "first frame", plain.out[:n], fast.out[:n])
			return
		}
		records, others := plain.records(), fast.records()
		if how.pace != 0 && forgiveSlowBody(s, &want, &got, records, others) {
			plain.out, fast.out = []byte(undated(string(plain.out))), []byte(undated(string(fast.out)))
		}
		if !equalBytes(t, "answers", normalHTTP1(plain.out), normalHTTP1(fast.out)) {
			return
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the connection (-plain +fast):\n%s", diff)
		}
		if !slices.Equal(records, others) {
			t.Errorf("the access log (-plain +fast):\n%s", cmp.Diff(records, others, cmp.Comparer(sameAddr), cmp.AllowUnexported(Record{})))
		}
		counted, alsoCounted := plain.counted(), fast.counted()
		forgetUnanswered(records, counted, alsoCounted)
		if diff := cmp.Diff(counted, alsoCounted); diff != "" {
			t.Errorf("what was counted as refused (-plain +fast):\n%s", diff)
		}
	})
}

// forgiveSlowBody makes two ends of a slow body alike, but for their dates, and
// reports whether there were such. What comes in the read that
// ends a head does not count as received, so how bytes are cut may give a body as
// much time as they take at the lowest rate.
func forgiveSlowBody(s *h1Script, plain, fast *h1Talk, records, others []Record) bool {
	slow := func(r Record) bool { return r.Refused == h1.ReasonSlowBody.String() }
	i, j := slices.IndexFunc(records, slow), slices.IndexFunc(others, slow)
	var sent time.Duration
	for _, p := range s.parts {
		sent += time.Duration(len(p.text)) * time.Second >> 10
	}
	if late := (fast.Ended - plain.Ended).Abs(); i < 0 || i != j || late > sent || plain.After[len(plain.After)-1] != fast.After[len(fast.After)-1] {
		return false
	}
	others[j].Duration = records[i].Duration
	fast.After, fast.Ended, fast.Closed = plain.After, plain.Ended, plain.Closed
	return true
}

// forgetUnanswered forgets refusals that one engine alone has counted and nobody
// has answered: a head behind an answer that ended the connection, which had been
// read or not.
func forgetUnanswered(records []Record, counts ...map[string]float64) {
	ended := slices.ContainsFunc(records, func(r Record) bool {
		return r.Refused != "" || r.Status == http.StatusNoContent || r.Status == http.StatusPermanentRedirect
	})
	for _, reason := range slices.Concat(slices.Collect(maps.Keys(counts[0])), slices.Collect(maps.Keys(counts[1]))) {
		answered := slices.ContainsFunc(records, func(r Record) bool { return r.Refused == reason })
		if ended && !answered && counts[0][reason] != counts[1][reason] {
			delete(counts[0], reason)
			delete(counts[1], reason)
		}
	}
}

func (k *h1Talk) conclude(r *rig) {
	r.mu.Lock()
	k.Ended = r.ended
	r.mu.Unlock()
	closed, after, unread := r.raw.ending()
	k.Closed, k.Unread = after, unread > 0
	if !closed {
		k.Closed = -1
	}
}

// normalHTTP1 sorts the fields of answers by their names, as far as what a server
// sent are answers, and makes the boundaries of ranges alike.
func normalHTTP1(out []byte) []byte {
	normal := make([]byte, 0, len(out))
	for rest := out; ; {
		end := bytes.Index(rest, crlf2)
		if end < 0 || !bytes.HasPrefix(rest, []byte("HTTP/1.")) {
			return append(normal, rest...)
		}
		lines := strings.Split(string(rest[:end]), "\r\n")
		rest = rest[end+len(crlf2):]
		slices.SortStableFunc(lines[1:], func(a, b string) int { return strings.Compare(nameOf(a), nameOf(b)) })
		var length int
		var boundary string
		for i, line := range lines {
			switch name := nameOf(line); name {
			case "content-length":
				length, _ = strconv.Atoi(strings.TrimSpace(line[len(name)+1:]))
			case "content-type":
				if before, after, ok := strings.Cut(line, "boundary="); ok {
					boundary = after
					lines[i] = before + "boundary=B"
				}
			}
		}
		normal = append(append(normal, strings.Join(lines, "\r\n")...), crlf2...)
		if bodiless(lines[0]) || bytes.HasPrefix(rest, []byte("HTTP/1.")) { // no file of ours begins like this: it was HEAD
			continue
		}
		content := rest[:min(length, len(rest))]
		rest = rest[len(content):]
		if boundary != "" {
			content = bytes.ReplaceAll(content, []byte(boundary), []byte("B"))
		}
		normal = append(normal, content...)
	}
}

func nameOf(line string) string {
	name, _, _ := strings.Cut(line, ":")
	return strings.ToLower(name)
}

func bodiless(status string) bool {
	_, code, _ := strings.Cut(status, " ")
	return strings.HasPrefix(code, "1") || strings.HasPrefix(code, "304") || strings.HasPrefix(code, "204")
}

// h1Cut cuts in into parts. A byte below 240 is the length of a part, less one; a
// larger one is a pause of so many seconds.
func h1Cut(in, cuts []byte) (parts []h1Part) {
	const most = 64 // parts
	for _, c := range cuts[:min(len(cuts), most)] {
		n := int(c) + 1
		switch {
		case c >= 240 && len(parts) > 0:
			parts[len(parts)-1].pause += time.Duration(c-239) * time.Second
		case c < 240 && n < len(in):
			parts = append(parts, h1Part{text: in[:n]})
			in = in[n:]
		}
	}
	return append(parts, h1Part{text: in})
}

// most that one run sends and asks for; beyond it nothing new is found, only later.
const (
	mostHTTP1      = 8 << 10
	mostLargeFiles = 6
)

func FuzzEnginesHTTP1(f *testing.F) {
	e := newEngines(f)
	for i, in := range h1Seeds(e.tags) {
		f.Add([]byte(in), [][]byte{{}, {60, 0, 200}, {20, 245, 70, 250}}[i%3], byte(i), i%4 == 0)
	}
	f.Fuzz(func(t *testing.T, in, cuts []byte, kind byte, ends bool) {
		if len(in) > mostHTTP1 || bytes.Count(in, []byte("/film"))+bytes.Count(in, []byte("/long"))+bytes.Count(in, []byte("/photo")) > mostLargeFiles {
			return
		}
		e.compareHTTP1(t, &h1Script{kind: rigType(kind) % rigTypes, parts: h1Cut(in, cuts), ends: ends})
	})
}

// FuzzEnginesHTTP1Grammar makes connections of whole requests: what it changes are
// not bytes but what is asked for, and how often.
func FuzzEnginesHTTP1Grammar(f *testing.F) {
	e := newEngines(f)
	g := h1Grammar{append(engineFields(e.tags), h1Fields...), engineFields(e.tags)}
	for i := range 24 {
		f.Add([]byte(strings.Repeat(string([]byte{byte(i), byte(i * 7), byte(i * 31)}), 12)))
		f.Add([]byte(noise(byte(i), 40+4*i)))
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 2<<10 {
			return
		}
		s := g.script(&dice{program})
		e.compareHTTP1(t, s)
		if t.Failed() {
			t.Logf("the client: %v", s)
		}
	})
}

// An h1Grammar has the fields that its requests may have.
type h1Grammar struct{ all, harmless []fieldChoice }

// script makes a connection.
func (g *h1Grammar) script(d *dice) *h1Script {
	s := &h1Script{kind: rigType(d.roll(int(rigTypes))), ends: d.one(4)}
	var large int
	var in []byte
	for range 1 + d.roll(12) {
		request := g.request(d)
		if large += strings.Count(request, "/film") + strings.Count(request, "/long") + strings.Count(request, "/photo"); large > mostLargeFiles {
			break
		}
		if in = append(in, request...); d.over() {
			break
		}
	}
	cuts := d.rest
	if len(cuts) == 0 || d.one(2) {
		cuts = nil
	}
	s.parts = h1Cut(in, cuts)
	return s
}

// request makes one request; most of them are well-formed.
func (g *h1Grammar) request(d *dice) string {
	method := "GET"
	switch roll := d.roll(8); roll {
	case 5, 6:
		method = "HEAD"
	case 7:
		method = mostly(d, engineMethods)
	}
	target := choose(d, enginePaths)
	if d.one(16) {
		target = choose(d, []string{"http://a.example", "http://b.example", "https://a.example:443", "HTTP://A.EXAMPLE", "http://", "*", "a.example:443", d.text()}) + target
	}
	version := "HTTP/1.1"
	if d.one(16) {
		version = choose(d, []string{"HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", ""})
	}
	var b strings.Builder
	b.WriteString(method + " " + target + " " + version + "\r\n")
	if !d.one(32) {
		b.WriteString(choose(d, []string{"Host", "host", "HOST", "hOsT"}) + ": " + mostly(d, engineHosts) + "\r\n")
	}
	fields := g.harmless
	if d.one(3) {
		fields = g.all
	}
	for range d.roll(8) {
		name, value := d.field(fields)
		switch d.roll(8) {
		case 6:
			name = strings.ToLower(name)
		case 7:
			name = strings.ToUpper(name)
		}
		b.WriteString(name + ":" + choose(d, []string{" ", "", "\t", "  "}) + value + choose(d, []string{"", "", "", " ", "\t "}) + "\r\n")
	}
	if d.one(32) {
		b.WriteString(choose(d, h1Broken))
	}
	switch d.roll(16) {
	case 13:
		content := d.text()
		b.WriteString("Content-Length: " + strconv.Itoa(len(content)) + "\r\n\r\n" + content)
	case 14:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n" + choose(d, h1Bodies))
	case 15:
		b.WriteString("\r\n" + choose(d, h1Bodies))
	default:
		b.WriteString("\r\n")
	}
	return b.String()
}
