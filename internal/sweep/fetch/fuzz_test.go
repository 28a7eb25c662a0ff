package fetch

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"pennyfarthing/internal/verdict"
)

// read has an answer read that comes in pieces, of which each is as long as the next
// of cuts says, and behind which the connection ends.
func read(text []byte, cuts []byte, x Exchange, s *store) Exchange {
	var a answer
	a.begin(&x, s)
	x.ContentLength = -1
	over := false
	for len(text) > 0 && !over {
		n := len(text)
		if len(cuts) > 0 {
			n = min(n, int(cuts[0])+1)
			cuts = append(cuts[1:], cuts[0])
		}
		piece := bytes.Clone(text[:n])
		over = a.add(piece, func(b []byte) string { return string(b) })
		if !over {
			clear(piece) // the buffer is used for another
		}
		text = text[n:]
	}
	if !over {
		a.end(io.EOF)
	}
	x.Sample = bytes.Clone(x.Sample)
	a.release()
	x.BytesIn = 0 // what is in the last piece depends on the cuts
	return x
}

func same(a, b *Exchange) bool {
	return a.Verdict == b.Verdict && a.Err == b.Err && a.Status == b.Status && a.Location == b.Location && a.Server == b.Server &&
		a.ContentType == b.ContentType && a.ContentLength == b.ContentLength && bytes.Equal(a.Sample, b.Sample) && a.Complete == b.Complete
}

// answers are seeds.
//
//nolint:gochecknoglobals // a table
var answers = []string{
	"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 26\r\n\r\n<title>hello</title> world",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 301\r\nLocation: /x\r\nX: a\r\n b\r\n\r\n",
	"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5;a=b\r\nhello\r\n0A \r\n</title> hi\r\n0\r\nX: y\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 3\r\n\r\nhello",
	"HTTP/1.1 204 No\r\nContent-Length: 1,1\r\n\r\nx",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.1 2000\r\n\r\n", "", "\r\nHTTP/1.1 200 OK\r\n\r\n", "SSH-2.0-x\r\n",
}

func FuzzPiecesMakeNoDifference(f *testing.F) {
	for _, text := range answers {
		f.Add([]byte(text), []byte{0}, true, false, uint16(100))
		f.Add([]byte(text), []byte{2, 7}, false, true, uint16(7))
	}
	f.Fuzz(func(t *testing.T, text, cuts []byte, title, head bool, want uint16) {
		x := Exchange{Method: "GET", Title: title, Body: int(want)}
		if head {
			x.Method = "HEAD"
		}
		whole := read(text, nil, x, nil)
		pieces := read(text, bytes.Clone(cuts), x, new(store))
		if !same(&whole, &pieces) {
			t.Errorf("in one piece %+v\nin pieces    %+v", whole, pieces)
		}
		if len(whole.Sample) > int(want) {
			t.Errorf("a sample of %d bytes, and %d were wanted", len(whole.Sample), want)
		}
		if whole.Verdict == verdict.None {
			t.Error("no verdict")
		}
	})
}

// What package net/http takes for a whole answer must be the same for us, unless it is
// something that we refuse and it forgives.
func FuzzLikeNetHTTP(f *testing.F) {
	for _, text := range answers {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		ours := read(text, nil, Exchange{Method: "GET", Body: 1 << 20}, nil)
		r := bufio.NewReader(bytes.NewReader(text))
		request := &http.Request{Method: http.MethodGet}
		theirs, err := http.ReadResponse(r, request)
		for i := 0; err == nil && theirs.StatusCode < 200 && theirs.StatusCode != 101 && i < interimLimit; i++ {
			theirs, err = http.ReadResponse(r, request)
		}
		if err != nil || ours.Status == 0 {
			return
		}
		defer theirs.Body.Close()
		if theirs.StatusCode != ours.Status {
			t.Fatalf("status %d, net/http says %d", ours.Status, theirs.StatusCode)
		}
		body, err := io.ReadAll(theirs.Body)
		switch te := theirs.TransferEncoding; {
		case ours.Verdict == verdict.HTTPTruncated || err != nil:
			if strings.HasPrefix(theirs.Proto, "HTTP/1.0") { // it ignores transfer codings there
				return
			}
			if err == nil {
				t.Logf("we refuse the framing of %q", text) // and it forgives: a space in front of a size
			}
		case len(te) == 0 && bytes.Contains(bytes.ToLower(text), []byte("transfer-encoding")):
			// it ignores those of HTTP/1.0
		case !bytes.Equal(body, ours.Sample):
			t.Errorf("the body is %q, net/http says %q", ours.Sample, body)
		}
	})
}

func FuzzTitle(f *testing.F) {
	f.Add([]byte("<title>a &amp; b</title>"), "text/html")
	f.Add([]byte("<meta charset=shift_jis><title>\x93\xfa\x96{"), "")
	f.Add([]byte("<TITLE\n>\xff\xfe</title"), "text/html; charset=utf-16")
	f.Fuzz(func(t *testing.T, sample []byte, contentType string) {
		title := Title(sample, contentType)
		if len([]rune(title)) > maxTitle || strings.ToValidUTF8(title, "") != title || strings.TrimSpace(title) != title || strings.ContainsAny(title, "\r\n\t\x00\x1b") {
			t.Errorf("the title %q", title)
		}
	})
}

func TestAHeadInOnePieceCostsOneString(t *testing.T) {
	text := []byte("HTTP/1.1 301 Moved\r\nServer: nginx\r\nContent-Type: text/html\r\nLocation: https://example.org/\r\nContent-Length: 3\r\n\r\nyes")
	shared := texts{}
	x := &Exchange{Method: "GET", Body: 100}
	s := new(store)
	var a answer
	allocs := testing.AllocsPerRun(100, func() {
		*x = Exchange{Method: "GET", Body: 100}
		a.begin(x, s)
		if !a.add(text, shared.of) {
			t.Fatal("it is not over")
		}
		a.release()
	})
	if allocs > 1 {
		t.Errorf("%v allocations", allocs)
	}
}
