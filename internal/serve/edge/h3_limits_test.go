package edge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2/hpack"

	"pennyfarthing/internal/serve/h3"
	"pennyfarthing/internal/serve/qpack"
)

// h3Head is a HEADERS frame of a request, with more names and values.
func h3Head(path string, more ...string) []byte {
	section := qpack.AppendPrefix(nil)
	for pairs := append([]string{":method", "GET", ":scheme", "https", ":authority", "localhost", ":path", path}, more...); len(pairs) > 0; pairs = pairs[2:] {
		section = qpack.AppendField(section, pairs[0], pairs[1])
	}
	return append(quicvarint.Append([]byte{1}, uint64(len(section))), section...)
}

// h3AnswerOf reads an answer to its end and returns its status and its text.
func h3AnswerOf(t *testing.T, s *quic.Stream) (status, text string) {
	t.Helper()
	_ = s.SetReadDeadline(time.Now().Add(patience))
	wire, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	for r := bytes.NewReader(wire); r.Len() > 0; {
		kind, _ := quicvarint.Read(r) // what is wrong with it shows in the payload
		n, _ := quicvarint.Read(r)
		payload := make([]byte, n)
		if _, err := io.ReadFull(r, payload); err != nil {
			t.Fatal(err)
		}
		if kind == 0 {
			text += string(payload)
			continue
		}
		if err := new(qpack.Decoder).Decode(payload, func(f hpack.HeaderField) bool {
			status = strings.Clone(f.Value)
			return false
		}); err != nil {
			t.Fatal(err)
		}
	}
	return status, text
}

// TestH3HeadsThatAreRefusedAreCountedAndLogged: as over HTTP/1.1.
func TestH3HeadsThatAreRefusedAreCountedAndLogged(t *testing.T) {
	r := start(t, setup{secure: true, log: true, edit: func(o *Options) { o.Limits.HeaderTimeout = 4 * brief }})
	conn, err := r.dialQUIC(nil)
	if err != nil {
		t.Fatal(err)
	}
	head := h3Head("/", "x-long", strings.Repeat("z", 1000))
	for _, test := range []struct {
		name, status, reason string
		wire                 []byte
		slowly               bool
	}{
		{"a head by the byte", "408", "head too slow", head, true},
		{"a large head", "431", "head too large", h3Head("/", "x-large", strings.Repeat("x", 33<<10)), false},
		{"a head that is large only when it is decoded", "431", "head too large", h3Head("/", "x-large", strings.Repeat("a", 40<<10)), false},
		{"many fields", "431", "too many fields", h3Head("/", slicesOf(129, "x", "y")...), false},
		{"a target with a space", "400", "bad request target", h3Head("/a b"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := conn.OpenStreamSync(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			start, written := time.Now(), 0
			if test.slowly {
				for ; written < len(test.wire); written++ { // until the server wants no more
					if _, err := s.Write(test.wire[written : written+1]); err != nil {
						break
					}
					select {
					case <-s.Context().Done():
					case <-time.After(brief / 10):
					}
				}
				if took := time.Since(start); written == len(test.wire) || took < 4*brief {
					t.Errorf("%d bytes were taken in %v", written, took)
				}
			} else {
				_, _ = s.Write(test.wire) // what came of it is read
				_ = s.Close()
			}
			if status, text := h3AnswerOf(t, s); status != test.status || text != test.status+textOf[test.status]+test.reason+"\n" {
				t.Errorf("got %s %q, want %s: %s", status, text, test.status, test.reason)
			}
		})
	}
	for reason, want := range map[string]float64{"head too slow": 1, "head too large": 2, "too many fields": 1, "bad request target": 1} {
		if got := r.counter(`penny_refusals_total{pop="au",reason="` + reason + `"}`); got != want {
			t.Errorf("%q is counted %v times, want %v", reason, got, want)
		}
	}
	_ = conn.CloseWithError(quic.ApplicationErrorCode(h3.NoError), "")
	var reasons []string
	for _, rec := range r.records() {
		want := Record{POP: "au", Client: "127.0.0.0/24", Status: rec.Status, Bytes: rec.Bytes, Protocol: "HTTP/3", Cache: "none", Refused: rec.Refused}
		if diff := cmp.Diff(want, rec, cmp.AllowUnexported(Record{}), cmp.Comparer(sameAddr)); diff != "" || rec.Status < 400 || rec.Bytes == 0 {
			t.Errorf("record (-want +got):\n%s", diff)
		}
		reasons = append(reasons, rec.Refused)
	}
	if diff := cmp.Diff([]string{"head too slow", "head too large", "head too large", "too many fields", "bad request target"}, reasons); diff != "" {
		t.Errorf("reasons in the log (-want +got):\n%s", diff)
	}
}

var textOf = map[string]string{"408": " Request Timeout: ", "431": " Request Header Fields Too Large: ", "400": " Bad Request: "}

// slicesOf is a field n times.
func slicesOf(n int, name, value string) (pairs []string) {
	for range n {
		pairs = append(pairs, name, value)
	}
	return pairs
}

// TestH3AbuseEndsTheConnectionAndIsCounted: the kinds are tested where they are
// counted.
func TestH3AbuseEndsTheConnectionAndIsCounted(t *testing.T) {
	r := start(t, setup{secure: true})
	conn, err := r.dialQUIC(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := conn.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = s.Write(append([]byte{0, 4, 0}, bytes.Repeat([]byte{0x21, 0}, 1000)...)) // it ends in the middle
	<-conn.Context().Done()
	if e, ok := errors.AsType[*quic.ApplicationError](context.Cause(conn.Context())); !ok || e.ErrorCode != quic.ApplicationErrorCode(h3.ExcessiveLoad) {
		t.Errorf("it ended with %v", context.Cause(conn.Context()))
	}
	if got := r.counter(`penny_refusals_total{pop="au",reason="HTTP/3: unknown frames"}`); got != 1 {
		t.Errorf("it is counted %v times", got)
	}
}

// TestH3HitsAreCountedAndLoggedAsOthersAre: with the plain engine there are none,
// and nobody can tell.
func TestH3HitsAreCountedAndLoggedAsOthersAre(t *testing.T) {
	r := start(t, setup{secure: true, log: true})
	c := r.overHTTP3("localhost")
	get, head, missing := c.do("GET", "", "/style.css"), c.do("HEAD", "", "/style.css"), c.do("GET", "", "/none")
	same := c.do("GET", "", "/style.css", "If-None-Match", get.Header.Get("ETag"))
	if get.StatusCode != 200 || len(get.text) != 2100 || head.StatusCode != 200 || missing.StatusCode != 404 || same.StatusCode != 304 {
		t.Errorf("%d with %d bytes, %d, %d, %d", get.StatusCode, len(get.text), head.StatusCode, missing.StatusCode, same.StatusCode)
	}
	for class, want := range map[string]float64{"2xx": 2, "3xx": 1, "4xx": 1} {
		if got := r.counter(`penny_requests_total{pop="au",protocol="HTTP/3",site="any",status="` + class + `"}`); got != want {
			t.Errorf("%s is counted %v times, want %v", class, got, want)
		}
	}
	var got []int
	for _, rec := range r.records() {
		if rec.Protocol != "HTTP/3" || rec.Host != "127.0.0.1" {
			t.Errorf("record %+v", rec)
		}
		got = append(got, rec.Status)
	}
	if diff := cmp.Diff([]int{200, 200, 404, 304}, got); diff != "" {
		t.Errorf("statuses in the log (-want +got):\n%s", diff)
	}
}
