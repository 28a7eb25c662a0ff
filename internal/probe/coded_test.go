package probe_test

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/probe"
	"pennyfarthing/internal/verdict"
)

// ask asks for a path as browsers do.
func ask(t *testing.T, p *probe.Client, q probe.Request) probe.Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	q.Coded = true
	return p.Ask(ctx, q)
}

func at(path string) probe.Request {
	return probe.Request{URL: &url.URL{Scheme: "https", Host: host, Path: path}}
}

func TestACodingIsUndoneAndTheHashIsThatOfTheContent(t *testing.T) {
	pair, roots := issue(t, host, time.Now().Add(time.Hour))
	page := strings.Repeat("<p>hello</p>\n", 1000)
	bomb := make([]byte, 64<<20)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, what, _ := strings.Cut(r.URL.Path[1:], "/")
		coding, known := encode.ParseCoding(name)
		content := []byte(page)
		if what == "bomb" {
			content = bomb
		}
		body, err := encode.Encode(nil, content, coding, encode.Quick)
		if err != nil {
			t.Error(err)
		}
		switch {
		case !strings.Contains(r.Header.Get("Accept-Encoding"), name) && name != "lzma" && name != "identity":
			t.Errorf("%s is not asked for, but %q", name, r.Header.Get("Accept-Encoding"))
		case what == "cut":
			body = body[:len(body)/2]
		case what == "noise":
			body = []byte("\xff\xfe\xfd\xfc this is nothing in any coding")
		}
		if known && coding != encode.Identity || name == "lzma" {
			w.Header().Set("Content-Encoding", name)
		}
		_, _ = w.Write(body) // the client may be gone
	})
	for _, protocol := range probe.Protocols() {
		t.Run(protocol.String(), func(t *testing.T) {
			p := client(t, probe.Config{Address: serve(t, protocol, pair, handler), Protocol: protocol, Roots: roots, MaxBody: 1 << 20})
			for _, coding := range []encode.Coding{encode.Identity, encode.Gzip, encode.Brotli, encode.Zstd} {
				a := ask(t, p, at("/"+coding.String()))
				if a.Verdict != verdict.OK || a.Coding != coding || a.Bytes != int64(len(page)) || a.SHA256 != sha256.Sum256([]byte(page)) {
					t.Errorf("%s: got %+v", coding, a)
				}
				if coding == encode.Identity {
					continue
				}
				if a := ask(t, p, at("/"+coding.String()+"/bomb")); a.Verdict != verdict.HTTPTooLarge || a.Bytes != 1<<20+1 {
					t.Errorf("a bomb in %s: got %+v", coding, a)
				}
				short := at("/" + coding.String())
				if short.Limit = 100; ask(t, p, short).Verdict != verdict.HTTPTooLarge {
					t.Errorf("%s: a limit of its own does not hold", coding)
				}
				for _, what := range []string{"cut", "noise"} {
					if a := ask(t, p, at("/"+coding.String()+"/"+what)); a.Verdict != verdict.HTTPMalformed || a.Err == "" || a.SHA256 != [32]byte{} {
						t.Errorf("%s, %s: got %+v", coding, what, a)
					}
				}
				head := at("/" + coding.String())
				if head.Method = http.MethodHead; ask(t, p, head).Verdict != verdict.OK {
					t.Errorf("%s: a head alone: %+v", coding, ask(t, p, head))
				}
			}
			if a := ask(t, p, at("/lzma")); a.Verdict != verdict.HTTPMalformed || a.Err == "" {
				t.Errorf("a coding that is not known: %+v", a)
			}
		})
	}
}

func TestABodyThatIsCutInItsCodingIsTheConnectionsFault(t *testing.T) {
	pair, roots := issue(t, host, time.Now().Add(time.Hour))
	body, err := encode.Encode(nil, []byte(strings.Repeat("hello ", 10_000)), encode.Gzip, encode.Quick)
	if err != nil {
		t.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:len(body)/2]) // the rest never comes
	})
	for _, protocol := range probe.Protocols() {
		p := client(t, probe.Config{Address: serve(t, protocol, pair, handler), Protocol: protocol, Roots: roots})
		if a := ask(t, p, at("/")); a.Verdict != verdict.HTTPTruncated || a.Err == "" {
			t.Errorf("%s: got %+v", protocol, a)
		}
	}
}
