package edge

import (
	"slices"
	"strings"
)

// What requests are made of: what programs send, and what is wrong by a hair. The
// grammars choose from these lists, and the seeds are made of them.

var enginePaths = []string{
	"/", "/about", "/style.css", "/app.3f9c2b1e.js", "/latest.js", "/logo.png", "/font.woff2", "/short.txt", "/empty.txt", "/none",
	"/docs/", "/docs", "/docs/none", "/docs/deep/page", "/docs/deep/page.html", "/index.html", "/about.html", "/about/", "/404.html", "/404",
	"/old", "/old?a=b", "/forced", "/news/2024/x", "/app/x/y", "/app/", "/missing", "/vanished", "/away/a/b?c=d",
	"/plain/a.txt", "/private/x.json", "/_headers", "/_redirects", "/a%20b/%C3%A4%20%2B%20%2541.txt", "/a b/x", "/a%20b/",
	"/long.txt", "/photo.jpg", "/film.mp4", "/style.css?v=1", "/?", "/?a=1&b=%zz", "/style%2ecss", "/STYLE.CSS", "//style.css", "/./style.css",
	"/docs/../style.css", "/%2e%2e/style.css", "/style.css/", "/style.css%00", "/docs%2fdeep/page", "/%ff", "/a|b", "/\\", "/%5c", "/.well-known/x",
	"/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" +
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
}

var engineMethods = []string{
	"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PRI", "get", "QUERY", "REFUSED", "PROPFIND", "G(T", "",
}

var engineHosts = []string{
	hostA, hostWild, hostB, "c.example", "a.example:443", "A.Example", "a.example.", "uncovered.example", "[::1]", "[::1]:8080", "127.0.0.1", "127.0.0.1:80",
	"X.WILD.example.:443", "deep.x.wild.example", "", "u@a.example", "a.example/x", "a.example:", "a.example:99999", "a.example:8o", "[::1", "::1", "a b", "*", "a.example,b.example",
	"localhost", "[fe80::1%25eth0]", "a_b.example", "\u00e4.example", "a.example:0443",
}

// A fieldChoice is a field with values that it may have.
type fieldChoice struct {
	name   string
	values []string
}

const (
	sinceModified = "Thu, 06 May 1999 07:08:09 GMT" // engineModified
	sinceBefore   = "Thu, 06 May 1999 07:08:08 GMT"
)

// engineFields are the fields that matter to either engine.
func engineFields(tags []string) []fieldChoice {
	weak := []string{"*", `"another"`, "W/" + tags[0], tags[0] + ", " + tags[1], `"", ` + tags[2], tags[0] + "x", strings.Trim(tags[0], `"`), "", ",", `"a" "b"`}
	conditions := append(append([]string{}, tags...), weak...)
	dates := []string{
		sinceModified, sinceBefore, "Thu, 06 May 1999 07:08:10 GMT", "Thursday, 06-May-99 07:08:09 GMT", "Thu May  6 07:08:09 1999", "0", "", "Fri, 06 May 1999 07:08:09 GMT",
		"Sat, 01 Jan 2000 00:00:00 GMT", "Sat, 01 Jan 2050 00:00:00 GMT", "thu, 06 may 1999 07:08:09 gmt",
	}
	return []fieldChoice{
		{"Accept-Encoding", []string{
			"gzip, deflate, br, zstd", "gzip", "br", "zstd", "identity", "*", "", "gzip;q=0, br;q=0.5", "br;q=0", "identity;q=0", "*;q=0", "deflate", "gzip, gzip", "GZIP", "br;q=1.001", "br ; q=0.1 , zstd", ",", "x-gzip",
		}},
		{"If-None-Match", conditions},
		{"If-Match", conditions},
		{"If-Modified-Since", dates},
		{"If-Unmodified-Since", dates},
		{"If-Range", append(append([]string{}, dates...), conditions...)},
		{"Range", []string{
			"bytes=0-0", "bytes=0-", "bytes=-1", "bytes=5-9", "bytes=0-1,4-5", "bytes=0-99999999", "bytes=99999999-", "bytes=5-2", "bytes=", "bytes=-0", "items=0-1", "bytes=0-0,-1", "bytes=0-5,3-8", "",
			"Bytes=1-2", "bytes = 1-2", "bytes=1-2,", "bytes=100-65600", "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20", "bytes=-18446744073709551616", "bytes=1 - 2",
		}},
		{"User-Agent", []string{"curl/8.14.1", "Mozilla/5.0 (X11; Linux x86_64)", "", strings.Repeat("u", 600), "\xff\xfe", "a\tb"}},
		{"Referer", []string{"https://a.example/x?secret=1", "/", "", "https://a.example/#top", strings.Repeat("r", 1100)}},
		{"X-Forwarded-For", []string{"198.51.100.7", "203.0.113.9, 127.0.0.1", "2001:db8::1", "unknown", "", "198.51.100.7:4711", "127.0.0.1", "[2001:db8::1]:1, 127.0.0.1"}},
		{"Accept", []string{"*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}},
		{"Cookie", []string{"theme=dark; _s=8c1f9f0e", "a=b"}},
		{"Authorization", []string{"Basic dTpw"}},
		{"Cache-Control", []string{"no-cache", "max-age=0", "only-if-cached"}},
		{"Pragma", []string{"no-cache"}},
		{"TE", []string{"trailers", "gzip", "trailers, deflate"}},
		{"Origin", []string{"https://b.example"}},
		{"X-Field", []string{"1", "", strings.Repeat("x", 900), "a, b"}},
		{"Via", []string{"1.1 proxy"}},
		{"Sec-Fetch-Mode", []string{"navigate"}},
		{"Max-Forwards", []string{"0"}},
		{"Priority", []string{"u=0, i"}},
		{"Access-Control-Request-Method", []string{"PUT"}},
	}
}

// h1Fields are fields of which HTTP/1.1 alone knows.
var h1Fields = []fieldChoice{
	{"Connection", []string{"keep-alive", "close", "Close, x", "x", "upgrade", "", "keep-alive, close", "HTTP2-Settings, Upgrade", "TE", "closed", "If-None-Match", "host"}},
	{"Proxy-Connection", []string{"keep-alive", "close"}},
	{"Keep-Alive", []string{"timeout=5"}},
	{"Upgrade", []string{"websocket", "h2c", "HTTP/2.0", "TLS/1.0", ""}},
	{"HTTP2-Settings", []string{"AAMAAABkAAQAoAAAAAIAAAAA"}},
	{"Expect", []string{"100-continue", "100-Continue", "200-ok", "", "100-continue, x"}},
	{"Content-Length", []string{"0", "2", "5", "00", "+0", "-1", "0, 0", "", "9223372036854775808", "100000"}},
	{"Transfer-Encoding", []string{"chunked", "Chunked", "gzip, chunked", "identity", "chunked, chunked", "", "\x0bchunked"}},
	{"Trailer", []string{"X-Sum", "Content-Length"}},
	{"Host", []string{hostA, hostB, ""}},
	{"Date", []string{sinceModified}},
	{"Content-Type", []string{"application/json"}},
	{"Content-Encoding", []string{"gzip"}},
}

// h1Broken are pieces that make a head malformed, or nearly so.
var h1Broken = []string{
	"\n", "\r", "\r\r\n", " ", "\t", "X : y\r\n", "X\t: y\r\n", " X: y\r\n", "X: a\r\n b\r\n", ": y\r\n", "X\r\n", "X\x00: y\r\n", "X: \x00\r\n", "X: \x7f\r\n", "X: a\rb\r\n", "X: a\nY: b\r\n", "X\xff: y\r\n",
	"X: \xe4\xf6\r\n", "X: \t a\tb \t\r\n", "Host : a.example\r\n", "Transfer-Encoding : chunked\r\n", "\r\n", "X:\r\n",
}

// h1Bodies are what may stand behind a head.
var h1Bodies = []string{
	"", "hi", "hello", "0\r\n\r\n", "2\r\nhi\r\n0\r\n\r\n", "2;a=\"b\"\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n", "2\r\nhip\r\n0\r\n\r\n", "0x2\r\nhi\r\n0\r\n\r\n", "2 \r\nhi\r\n0\r\n\r\n", "2\nhi\r\n0\r\n\r\n", "\r\n", "\r\n\r\n",
	"0\r\nContent-Length: 5\r\n\r\n", "0\r\nX: a\r\n b\r\n\r\n", "8000000000000000\r\nhi\r\n", "2;\r\nhi\r\n0\r\n\r\n", "0\r\n\n", strings.Repeat("x", 3000), "2\r\n", "GET / HTTP/1.1\r\n", "\x00\xff", "{\"a\":1}", "3\r\nabc\r\n",
}

// h1Get is a request of HTTP/1.1 for hostA, with these lines behind its own.
func h1Get(target string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: " + hostA + "\r\n" + strings.Join(append(lines, "\r\n"), "\r\n")
}

// programHeads are heads as programs send them.
var programHeads = []string{
	"GET /app.3f9c2b1e.js?v=3 HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n" +
		"sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\nAccept: */*\r\nSec-Fetch-Site: same-origin\r\n" +
		"Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\nReferer: https://a.example/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nCookie: theme=dark\r\nIf-None-Match: \"5f1c3e\"\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a.example:8080\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\nDNT: 1\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\nPriority: u=0, i\r\n\r\n",
	"GET /style.css HTTP/1.1\r\nHost: a.example\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n",
	"HEAD /logo.png HTTP/1.1\r\nHost: a.example\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n",
	"GET /film.mp4 HTTP/1.1\r\nHost: x.wild.example\r\nRange: bytes=0-99,1000000-\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n",
	"PUT /x HTTP/1.1\r\nHost: [::1]:8080\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\nContent-Length: 1048576\r\nExpect: 100-continue\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: a.example\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n" +
		"5\r\na=b&c\r\n0\r\n\r\n",
	"GET http://a.example/about?y=z HTTP/1.1\r\nHost: a.example\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\nProxy-Connection: Keep-Alive\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nUser-Agent: curl/8.14.1\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", // wrk
	"GET /index.html HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: 127.0.0.1:8080\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n", // ab
	"GET /about HTTP/1.1\r\nHost: a.example\r\nUser-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n",
	"GET / HTTP/1.1\r\nhost: b.example\r\nconnection: keep-alive\r\naccept: */*\r\naccept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\naccept-encoding: br, gzip, deflate\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
	"OPTIONS /style.css HTTP/1.1\r\nHost: a.example\r\nOrigin: https://b.example\r\nAccess-Control-Request-Method: GET\r\n\r\n",
	"GET /chat HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	"GET /old HTTP/1.0\r\n\r\n",
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}

// h1Settled are connections over which the engines have differed, by what was wrong.
var h1Settled = []string{
	// The log said that the head of an error document had not come from memory.
	strings.Replace(h1Get("/none"), "GET", "HEAD", 1),
	// The first value was forgotten because it is empty, and the second counted.
	h1Get("/style.css", "If-Modified-Since:", "If-Modified-Since: "+sinceModified), h1Get("/404", "Referer:", "Referer: /x"),
	// How much of what is pipelined behind content had been read decided whether
	// the answer could be lost.
	h1Get("/style.css", "Content-Length: 2") + "hi" + h1Get("/", "X-Field: "+strings.Repeat("x", 1200)),
	h1Get("/none", "X-Field: "+strings.Repeat("x", 900), "Transfer-Encoding: chunked") + "0\r\n\r\n" + h1Get("/missing", "Transfer-Encoding: chunked"),
	"POST /style.css HTTP/1.1\r\nHost: c.example\r\nContent-Length: 2\r\n\r\nhi" + "GET\xdf/",
}

// h1Seeds are connections as programs make them, and as attackers do. They are
// few: a fuzzer runs all of them before it begins.
func h1Seeds(tags []string) []string {
	good := h1Get("/short.txt")
	method := func(name, request string) string { return strings.Replace(request, "GET", name, 1) }
	seeds := append([]string{good, strings.Join(programHeads[:3], "") + good, strings.Repeat(h1Get("/"), 20)}, slices.Concat(h1Settled, programHeads)...)
	for paths := range slices.Chunk(enginePaths, 6) {
		var in strings.Builder
		for _, path := range paths {
			in.WriteString(h1Get(path) + method("HEAD", h1Get(path, "Accept-Encoding: br, gzip")))
		}
		seeds = append(seeds, in.String())
	}
	for _, choice := range engineFields(tags) {
		var in strings.Builder
		for _, value := range choice.values {
			in.WriteString(h1Get("/style.css", choice.name+": "+value))
		}
		seeds = append(seeds, in.String()[:min(len(in.String()), mostHTTP1)])
	}
	for _, choice := range h1Fields {
		for _, value := range choice.values {
			seeds = append(seeds, h1Get("/style.css", choice.name+": "+value)+good)
		}
	}
	for _, host := range engineHosts[10:] {
		seeds = append(seeds, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"+good)
	}
	for _, name := range engineMethods[1:] {
		seeds = append(seeds, method(name, h1Get("/about"))+good)
	}
	for _, broken := range h1Broken {
		seeds = append(seeds, good+h1Get("/about", "X: y\r\n"+strings.TrimSuffix(broken, "\r\n"))+good)
	}
	for _, content := range h1Bodies {
		seeds = append(seeds, method("POST", h1Get("/", "Transfer-Encoding: chunked"))+content+good)
	}
	return append(
		seeds, good+strings.Repeat("x", 5000), h1Get("/", strings.Repeat("X: y\r\n", 25)+"Y: z"), h1Get("/", "X: "+strings.Repeat("x", 3000)),
		good+h1Get("/long.txt")+h1Get("/film.mp4")+good, "\r\n"+good+"\r\n\r\n"+good, method("PUT", h1Get("/", "Content-Length: 2", "Expect: 100-continue"))+"hi"+good,
	)
}

// A dice is the bytes of a fuzzer, as decisions. When they are used up every
// decision is the first.
type dice struct{ rest []byte }

func (d *dice) over() bool { return len(d.rest) == 0 }

// roll decides between n.
func (d *dice) roll(n int) int {
	if len(d.rest) == 0 {
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return int(b) % n
}

// one is true once in n times.
func (d *dice) one(n int) bool { return d.roll(n) == n-1 }

func (d *dice) word() int { return d.roll(256)<<8 | d.roll(256) }

// text is a few bytes as they come.
func (d *dice) text() string {
	n := min(d.roll(24), len(d.rest))
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func choose(d *dice, list []string) string { return list[d.roll(len(list))] }

// mostly chooses the first half of the time, and sometimes something unheard of.
func mostly(d *dice, list []string) string {
	switch roll := d.roll(64); {
	case roll < 32:
		return list[0]
	case roll == 63:
		return d.text()
	}
	return choose(d, list)
}

// field is a field with a value.
func (d *dice) field(choices []fieldChoice) (name, value string) {
	c := choices[d.roll(len(choices))]
	value = choose(d, c.values)
	if d.one(32) {
		value += d.text()
	}
	return c.name, value
}
