package edge

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// badHeads are requests that net/http, or somebody between it and a client, takes
// for something else than the client meant.
var badHeads = map[string]struct {
	request string
	status  int
	reason  string
}{
	"Content-Length with Transfer-Encoding": {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "content-length with transfer-encoding"},
	"obs-fold":                              {"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n 2\r\n\r\n", 400, "obs-fold"},
	"a bare CR":                             {"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r2\r\n\r\n", 400, "bare CR"},
	"a bare LF":                             {"GET / HTTP/1.1\nHost: h\n\n", 400, "bare LF"},
	"a bare LF behind a field":              {"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\n\r\n", 400, "bare LF"},
	"NUL in a value":                        {"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\x002\r\n\r\n", 400, "control character in a field value"},
	"two Hosts":                             {"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400, "two Host fields"},
	"no Host":                               {"GET / HTTP/1.1\r\n\r\n", 400, "no Host"},
	"a space before the colon":              {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello", 400, "space before the colon"},
	"two lengths":                           {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello", 400, "two content-length fields"},
	"chunked in HTTP/1.0":                   {"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "transfer-encoding in HTTP/1.0"},
	"an unknown coding":                     {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "unknown transfer coding"},
	"CONNECT":                               {"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 501, "CONNECT"},
	"the guard's own method":                {"REFUSED / HTTP/1.1\r\nHost: refused.invalid\r\n\r\n", 501, "reserved method"},
	"an unknown expectation":                {"GET / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n", 417, "unknown expectation"},
	"HTTP/2 without its preface":            {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, "unsupported HTTP version"},
	"a long request line":                   {"GET /" + strings.Repeat("x", 8<<10) + " HTTP/1.1\r\nHost: h\r\n\r\n", 414, "request line too long"},
	"a large head":                          {"GET / HTTP/1.1\r\nHost: h\r\nX-A: " + strings.Repeat("x", 32<<10) + "\r\n\r\n", 431, "head too large"},
	"many fields":                           {"GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X-A: 1\r\n", 128) + "\r\n", 431, "too many fields"},
	"a PROXY header from a nobody":          {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad request line"},
	"garbage":                               {"\x00\x01\x02\r\n\r\n", 400, "bad method"},
}

func TestABadHeadIsRefusedAfterTheAnswersOwedAndEndsTheConnection(t *testing.T) {
	for scheme, r := range map[string]*running{"plain": start(t, setup{}), "TLS": start(t, setup{secure: true})} {
		dial := r.dial
		if scheme == "TLS" {
			dial = func() *rawConn { return r.dialTLS("localhost") }
		}
		for name, c := range badHeads {
			t.Run(name+" over "+scheme, func(t *testing.T) {
				conn := dial()
				conn.tb = t
				conn.send("GET / HTTP/1.1\r\nHost: h\r\n\r\nHEAD /style.css HTTP/1.1\r\nHost: h\r\n\r\n" + c.request + "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
				first, second, refused := conn.receive("GET"), conn.receive("HEAD"), conn.receive("GET")
				conn.receiveEnd()
				if titleOf(first.text) != "any" || second.StatusCode != 200 || second.ContentLength != 2100 {
					t.Errorf("the answers before it: %d %q and %d with %d bytes", first.StatusCode, first.text, second.StatusCode, second.ContentLength)
				}
				want := refused.Status + ": " + c.reason + "\n"
				if refused.StatusCode != c.status || refused.text != want || !refused.Close {
					t.Errorf("got %d %q, close %v; want %d %q and the end", refused.StatusCode, refused.text, refused.Close, c.status, want)
				}
			})
		}
	}
}

func TestARefusalIsCountedOnceAndLoggedWithNothingOfTheGuards(t *testing.T) {
	r := start(t, setup{log: true})
	for _, c := range badHeads {
		conn := r.dial().send(c.request)
		conn.receive("GET")
		conn.receiveEnd()
	}
	reasons := make(map[string]int)
	for _, c := range badHeads {
		reasons[c.reason]++
	}
	for reason, want := range reasons {
		if got := r.counter(`penny_refusals_total{pop="au",reason="` + reason + `"}`); got != float64(want) {
			t.Errorf("%q is counted %v times, want %d", reason, got, want)
		}
	}
	records := r.records()
	if len(records) != len(badHeads) {
		t.Errorf("%d records of %d refusals", len(records), len(badHeads))
	}
	for _, rec := range records {
		reasons[rec.Refused]--
		want := Record{POP: "au", Client: "127.0.0.0/24", Status: rec.Status, Bytes: rec.Bytes, Protocol: "HTTP/1.1", Cache: "none", Refused: rec.Refused}
		if diff := cmp.Diff(want, rec, cmp.AllowUnexported(Record{}), cmp.Comparer(sameAddr)); diff != "" || rec.Status < 400 || rec.Bytes == 0 {
			t.Errorf("record (-want +got):\n%s", diff)
		}
	}
	for reason, left := range reasons {
		if left != 0 {
			t.Errorf("%q is logged %d times less than it happened", reason, left)
		}
	}
}

// A request body must never be read as the next request, whoever counts its bytes.
func TestABodyIsRefusedAndNeverTheNextRequest(t *testing.T) {
	r := start(t, setup{edit: func(o *Options) { o.Limits.Grace = time.Hour }})
	const smuggled = "GET /style.css HTTP/1.1\r\nHost: h\r\n\r\n"
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"GET with a body":                      {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 36\r\n\r\n" + smuggled, 413},
		"GET with a chunked body":              {"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n24\r\n" + smuggled + "\r\n0\r\n\r\n", 413},
		"GET with a body of no chunk":          {"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, 413},
		"HEAD with a body":                     {"HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 36\r\n\r\n" + smuggled, 413},
		"POST with a body":                     {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 36\r\n\r\n" + smuggled, 405},
		"POST with a chunked body":             {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n24\r\n" + smuggled + "\r\n0\r\n\r\n" + smuggled, 405},
		"OPTIONS with a body":                  {"OPTIONS / HTTP/1.1\r\nHost: h\r\nContent-Length: 36\r\n\r\n" + smuggled, 204},
		"a body whose chunks are broken":       {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n" + smuggled, 405},
		"a body that waits for 100 (Continue)": {"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 36\r\n\r\n", 405},
		"a GET that waits for 100 (Continue)":  {"GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 36\r\n\r\n", 413},
	} {
		t.Run(name, func(t *testing.T) {
			conn := r.dial()
			conn.tb = t
			got := conn.send(c.request).receive(strings.Fields(c.request)[0])
			conn.receiveEnd()
			if got.StatusCode != c.status || !got.Close {
				t.Errorf("got %d, close %v; want %d and the end", got.StatusCode, got.Close, c.status)
			}
		})
	}
}

func TestARequestWithoutAContentKeepsItsConnection(t *testing.T) {
	conn := start(t, setup{}).dial()
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "FOO / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
	} {
		if got := conn.send(request).receive("GET"); got.Close {
			t.Errorf("%q: %d, and the connection ends", request, got.StatusCode)
		}
	}
}

func TestMethods(t *testing.T) {
	r := start(t, setup{secure: true})
	r.everyProtocol(t, "localhost", func(t *testing.T, c client) {
		get := c.do("GET", "", "/style.css")
		head := c.do("HEAD", "", "/style.css")
		for _, h := range []http.Header{get.Header, head.Header} {
			if when, err := http.ParseTime(h.Get("Date")); err != nil || time.Since(when) > time.Hour {
				t.Errorf("Date is %q", h.Get("Date"))
			}
			delete(h, "Date")
		}
		if diff := cmp.Diff(get.Header, head.Header); diff != "" || head.text != "" || len(get.text) != 2100 || head.ContentLength != 2100 {
			t.Errorf("HEAD differs from GET, or has %d bytes of a body (-GET +HEAD):\n%s", len(head.text), diff)
		}
		for _, test := range []struct {
			method, target string
			status         int
		}{
			{"OPTIONS", "/", 204},
			{"OPTIONS", "*", 204},
			{"OPTIONS", "/none", 204},
			{"FOO", "/", 405},
			{"TRACE", "/", 405},
			{"DELETE", "/", 405},
			{"PATCH", "/none", 405},
			{"get", "/", 405},
		} {
			got := c.do(test.method, "", test.target)
			if got.StatusCode != test.status || got.Header.Get("Allow") != "GET, HEAD, OPTIONS" || got.Header.Get("Date") == "" {
				t.Errorf("%s %s: %d, Allow %q, Date %q; want %d", test.method, test.target, got.StatusCode, got.Header.Get("Allow"), got.Header.Get("Date"), test.status)
			}
			if _, there := got.Header["Content-Length"]; there && test.status == 204 {
				t.Errorf("%s %s: 204 with a Content-Length", test.method, test.target)
			}
		}
		notModified := c.do("GET", "", "/style.css", "If-None-Match", get.Header.Get("ETag"))
		if _, there := notModified.Header["Content-Length"]; notModified.StatusCode != 304 || there || notModified.text != "" {
			t.Errorf("If-None-Match: %d, a length: %v, %q", notModified.StatusCode, there, notModified.text)
		}
	})
}

func TestAltSvcIsSaidWhereItIsNewsAndTrue(t *testing.T) {
	secure, plain := start(t, setup{secure: true}), start(t, setup{})
	want := `h3=":` + secure.secure[strings.LastIndexByte(secure.secure, ':')+1:] + `"; ma=86400`
	for name, c := range map[string]struct {
		client client
		want   string
	}{
		"HTTP/1.1 over TLS": {secure.overHTTP1("localhost"), want}, "HTTP/2 over TLS": {secure.overHTTP2("localhost"), want},
		"HTTP/3 itself": {secure.overHTTP3("localhost"), ""}, "HTTP/1.1 in clear": {plain.overHTTP1(""), ""}, "HTTP/2 in clear": {plain.overHTTP2(""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.client.do("GET", "", "/").Header.Get("Alt-Svc"); got != c.want {
				t.Errorf("Alt-Svc is %q, want %q", got, c.want)
			}
		})
	}
}

// A site's own fields and ours must not share memory.
func TestServerTimingStandsBesideTheSitesOwn(t *testing.T) {
	r := start(t, setup{
		files: map[string]string{"index.html": "x", "_headers": "/*\n  Server-Timing: cdn\n"},
		edit:  func(o *Options) { o.ServerTiming = true },
	})
	c := r.overHTTP1("")
	for range 3 {
		got := c.do("GET", "", "/").Header.Values("Server-Timing")
		if len(got) != 2 || got[0] != "cdn" || !strings.HasPrefix(got[1], "answer;dur=") {
			t.Fatalf("Server-Timing is %q", got)
		}
	}
	if got := serverTiming(1234567 * time.Nanosecond); got != "answer;dur=1.235" {
		t.Errorf("1.234567 ms is %q", got)
	}
}
