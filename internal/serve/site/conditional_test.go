package site

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// conditionalSite has one page of 1000 bytes, modified at a known time, with
// its best codings.
func conditionalSite(t testing.TB) (s *Site, tag, coded string) {
	t.Helper()
	o := options(t, t.TempDir())
	writeIn(t, o.Dir, "a.txt", text(1, 1000))
	modified := time.Date(1994, 11, 6, 8, 49, 37, 500, time.UTC)
	if err := os.Chtimes(filepath.Join(o.Dir, "a.txt"), modified, modified); err != nil {
		t.Fatal(err)
	}
	s = best(t, compileDir(t, o, nil))
	coded = ask(t, s, Request{Path: "/a.txt", AcceptEncoding: "br", HasAcceptEncoding: true}).header.Get("Etag")
	return s, get(t, s, "/a.txt").header.Get("Etag"), coded
}

func TestPreconditions(t *testing.T) {
	s, tag, coded := conditionalSite(t)
	const (
		then    = "Sun, 06 Nov 1994 08:49:37 GMT"
		rfc850  = "Sunday, 06-Nov-94 08:49:37 GMT"
		asctime = "Sun Nov  6 08:49:37 1994"
		before  = "Sun, 06 Nov 1994 08:49:36 GMT"
		after   = "Sun, 06 Nov 1994 08:49:38 GMT"
		other   = `"other"`
	)
	if coded != tag[:len(tag)-1]+`-br"` {
		t.Fatalf("the coded tag is %s, want that of the file %s with a suffix", coded, tag)
	}
	for _, test := range []struct {
		name string
		q    Request
		want int
	}{
		{"none", Request{}, 200},
		{"If-None-Match that matches", Request{IfNoneMatch: tag}, 304},
		{"If-None-Match that matches weakly", Request{IfNoneMatch: "W/" + tag}, 304},
		{"If-None-Match in a list", Request{IfNoneMatch: `"a", W/"b",` + tag + `, "c"`}, 304},
		{"If-None-Match with empty list members", Request{IfNoneMatch: `, ,"a",,` + tag}, 304},
		{"If-None-Match star", Request{IfNoneMatch: " * "}, 304},
		{"If-None-Match of another", Request{IfNoneMatch: other}, 200},
		{"If-None-Match of another coding", Request{IfNoneMatch: coded}, 200},
		{"If-None-Match of the coding that is sent", Request{IfNoneMatch: coded, AcceptEncoding: "br", HasAcceptEncoding: true}, 304},
		{"If-None-Match without quotes", Request{IfNoneMatch: tag[1 : len(tag)-1]}, 200},
		{"If-None-Match behind something malformed", Request{IfNoneMatch: `a,` + tag}, 200},
		{"If-None-Match cut off", Request{IfNoneMatch: tag[:len(tag)-1]}, 200},
		{"If-Modified-Since the same time", Request{IfModifiedSince: then}, 304},
		{"If-Modified-Since in RFC 850's form", Request{IfModifiedSince: rfc850}, 304},
		{"If-Modified-Since in asctime's form", Request{IfModifiedSince: asctime}, 304},
		{"If-Modified-Since a later time", Request{IfModifiedSince: after}, 304},
		{"If-Modified-Since an earlier time", Request{IfModifiedSince: before}, 200},
		{"If-Modified-Since that is no date", Request{IfModifiedSince: "yesterday"}, 200},
		{"If-None-Match comes before If-Modified-Since", Request{IfNoneMatch: other, IfModifiedSince: after}, 200},
		{"If-None-Match that matches, too", Request{IfNoneMatch: tag, IfModifiedSince: before}, 304},
		{"If-Match that matches", Request{IfMatch: tag}, 200},
		{"If-Match star", Request{IfMatch: "*"}, 200},
		{"If-Match in a list", Request{IfMatch: other + "," + tag}, 200},
		{"If-Match is strong", Request{IfMatch: "W/" + tag}, 412},
		{"If-Match of another", Request{IfMatch: other}, 412},
		{"If-Match of another coding", Request{IfMatch: coded}, 412},
		{"If-Unmodified-Since the same time", Request{IfUnmodifiedSince: then}, 200},
		{"If-Unmodified-Since an earlier time", Request{IfUnmodifiedSince: before}, 412},
		{"If-Unmodified-Since that is no date", Request{IfUnmodifiedSince: "x"}, 200},
		{"If-Match comes before If-Unmodified-Since", Request{IfMatch: tag, IfUnmodifiedSince: before}, 200},
		{"If-Match that fails comes first", Request{IfMatch: other, IfNoneMatch: tag}, 412},
		{"If-Match that holds leaves If-None-Match", Request{IfMatch: tag, IfNoneMatch: tag}, 304},
		{"If-Unmodified-Since that holds leaves If-Modified-Since", Request{IfUnmodifiedSince: then, IfModifiedSince: then}, 304},
		{"a range is evaluated last: 304", Request{IfNoneMatch: tag, Range: "bytes=0-1"}, 304},
		{"a range is evaluated last: 412", Request{IfMatch: other, Range: "bytes=5000-"}, 412},
		{"a range is evaluated last: 206", Request{IfMatch: tag, Range: "bytes=0-1"}, 206},
		{"a range that cannot be comes last, too", Request{IfNoneMatch: tag, Range: "bytes=5000-"}, 304},
		{"If-Range that matches", Request{IfRange: tag, Range: "bytes=0-1"}, 206},
		{"If-Range between spaces", Request{IfRange: " " + tag + "\t", Range: "bytes=0-1"}, 206},
		{"If-Range is strong", Request{IfRange: "W/" + tag, Range: "bytes=0-1"}, 200},
		{"If-Range of another", Request{IfRange: other, Range: "bytes=0-1"}, 200},
		{"If-Range of a coding", Request{IfRange: coded, Range: "bytes=0-1"}, 200},
		{"If-Range takes no list", Request{IfRange: tag + ", " + other, Range: "bytes=0-1"}, 200},
		{"If-Range with our date", Request{IfRange: then, Range: "bytes=0-1"}, 206},
		{"If-Range with a later date", Request{IfRange: after, Range: "bytes=0-1"}, 200},
		{"If-Range that is neither", Request{IfRange: "x", Range: "bytes=0-1"}, 200},
		{"If-Range that fails saves from 416", Request{IfRange: other, Range: "bytes=5000-"}, 200},
		{"If-Range without Range is nothing", Request{IfRange: other}, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.q.Path = "/a.txt"
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				want := test.want
				if method == http.MethodHead && want == 206 {
					want = 200 // RFC 9110 §14.2: ranges are for GET
				}
				test.q.Method = method
				if got := ask(t, s, test.q).status; got != want {
					t.Errorf("%s is answered %d, want %d", method, got, want)
				}
			}
		})
	}
}

func TestAConditionOnARangeIsOnThePlainForm(t *testing.T) {
	s, tag, coded := conditionalSite(t)
	q := Request{Path: "/a.txt", IfMatch: tag, Range: "bytes=0-1", AcceptEncoding: "br", HasAcceptEncoding: true}
	if r := ask(t, s, q); r.status != 206 {
		t.Errorf("If-Match with the plain form's tag is answered %d, want 206", r.status)
	}
	if q.IfMatch = coded; ask(t, s, q).status != 412 {
		t.Error("If-Match with the coded form's tag is not answered 412")
	}
	if q.Method = http.MethodHead; ask(t, s, q).status != 200 {
		t.Error("a HEAD, for which ranges do not count, is not about the coded form")
	}
}

func TestANotModifiedHasWhatACacheMustUpdate(t *testing.T) {
	s, tag, _ := conditionalSite(t)
	r := ask(t, s, Request{Path: "/a.txt", IfNoneMatch: tag})
	for _, name := range []string{"Etag", "Last-Modified", "Cache-Control", "Vary"} {
		if r.header.Get(name) == "" {
			t.Errorf("a 304 has no %s (RFC 9110 §15.4.5)", name)
		}
	}
	for _, name := range []string{"Content-Type", "Content-Length", "Content-Encoding"} {
		if r.header.Get(name) != "" {
			t.Errorf("a 304 has %s, which is metadata of a body that it has not", name)
		}
	}
}

func TestConditionsDoNotCountForErrors(t *testing.T) {
	s := compiled(t, files{"404.html": "none"})
	tag := get(t, s, "/404").header.Get("Etag")
	r := ask(t, s, Request{Path: "/none", IfNoneMatch: tag, Range: "bytes=0-0", IfUnmodifiedSince: "Sun, 06 Nov 1994 08:49:37 GMT"})
	if r.status != 404 || r.body != "none" {
		t.Errorf("got %d %q, want the whole 404", r.status, r.body)
	}
}

func TestTimesOutsideOfHTTPsAreBroughtInside(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		modified time.Time
		want     string
	}{
		"the future is now":             {now.AddDate(10, 0, 0), "Fri, 02 Jan 2026 03:04:05 GMT"},
		"before 1970 is 1970":           {time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC), "Thu, 01 Jan 1970 00:00:00 GMT"},
		"1970 itself is 1970":           {time.Unix(0, 0), "Thu, 01 Jan 1970 00:00:00 GMT"},
		"fractions are not rounded up":  {time.Unix(1, 999_999_999), "Thu, 01 Jan 1970 00:00:01 GMT"},
		"the second that is now is now": {now, "Fri, 02 Jan 2026 03:04:05 GMT"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, t.TempDir())
			o.Now = func() time.Time { return now }
			writeIn(t, o.Dir, "a.txt", "a")
			if err := os.Chtimes(filepath.Join(o.Dir, "a.txt"), test.modified, test.modified); err != nil {
				t.Fatal(err)
			}
			if got := get(t, compileDir(t, o, nil), "/a.txt").header.Get("Last-Modified"); got != test.want {
				t.Errorf("Last-Modified is %s, want %s", got, test.want)
			}
		})
	}
}

func TestContentThatIsRolledBackIsNewer(t *testing.T) {
	o := options(t, t.TempDir())
	file := filepath.Join(o.Dir, "a.txt")
	set := func(content string, modified time.Time) {
		writeIn(t, o.Dir, "a.txt", content)
		if err := os.Chtimes(file, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	newer, older := time.Unix(2_000_000, 0), time.Unix(1_000_000, 0)
	set("new", newer)
	first := compileDir(t, o, nil)
	seen := get(t, first, "/a.txt").header.Get("Last-Modified")
	set("old", older)
	second := compileDir(t, o, first)
	if r := ask(t, second, Request{Path: "/a.txt", IfModifiedSince: seen}); r.status != 200 || r.body != "old" {
		t.Errorf("after a roll-back If-Modified-Since is answered %d %q, want the content", r.status, r.body)
	}
	third := compileDir(t, o, second)
	if a, b := get(t, second, "/a.txt").header, get(t, third, "/a.txt").header; a.Get("Last-Modified") != b.Get("Last-Modified") {
		t.Errorf("Last-Modified changed from %s to %s without a change", a.Get("Last-Modified"), b.Get("Last-Modified"))
	}
}
