package h1

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	line = "GET / HTTP/1.1\r\n"
	host = "Host: a.test\r\n"
	head = line + host
	post = "POST /p HTTP/1.1\r\n" + host
	// chunked is a head whose body follows.
	chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
	// good is a request to recognise: it must be seen after what stays open, and never after what is closed.
	good = "GET /good HTTP/1.1\r\n" + host + "\r\n"
)

// attack is one connection: what a client sends and what must come of it.
type attack struct {
	name   string
	in     string
	status []int    // of every answer
	kept   bool     // the connection is still good after it
	saw    []string // by the handler
	why    Reason   // for the refusal, if there was one
}

// refusedAs is an attack whose first head is refused.
func refusedAs(why Reason, name, in string) attack {
	return attack{name: name, in: in + good, status: []int{why.Refusal().Status}, why: why}
}

// brokenAs is an attack whose head is good and whose body is not.
func brokenAs(why Reason, name, body string) attack {
	return attack{
		name: name, in: chunked + body + good, status: []int{why.Refusal().Status}, why: why,
		saw: []string{"POST a.test /p error request body: " + why.String()},
	}
}

// passes is an attack, or no attack, that net/http may see.
func passes(name, in string, saw ...string) attack {
	a := attack{name: name, in: in, kept: true, saw: saw}
	for range saw {
		a.status = append(a.status, 200)
	}
	return a
}

// closes is an exchange after which the server hangs up.
func (a attack) closes() attack {
	a.kept = false
	a.in += good
	return a
}

var attacks = []attack{
	// Line ends.
	refusedAs(ReasonBareLF, "a bare LF ends the request line", "GET / HTTP/1.1\n"+host+"\r\n"),
	refusedAs(ReasonBareLF, "a bare LF ends a field", line+"Host: a.test\n\r\n"),
	refusedAs(ReasonBareLF, "a bare LF ends the head", head+"\n"),
	refusedAs(ReasonBareLF, "a bare LF hides a second field", head+"X: a\nTransfer-Encoding: chunked\r\n\r\n"),
	refusedAs(ReasonBareLF, "a bare LF stands before the request line", "\n"+head+"\r\n"),
	refusedAs(ReasonBareCR, "a bare CR stands in a value", head+"X: a\rb\r\n\r\n"),
	refusedAs(ReasonBareCR, "a bare CR stands in the target", "GET /\r HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonBareCR, "two CRs end a field", head+"X: a\r\r\n\r\n"),
	refusedAs(ReasonBareCR, "a CR stands in a field name", head+"X\rY: a\r\n\r\n"),
	refusedAs(ReasonBareCR, "the empty line has two CRs", head+"\r\r\n"),
	refusedAs(ReasonBareCR, "a CR stands alone before the request line", "\r"+head+"\r\n"),
	passes("one empty line stands before the request line", "\r\n"+head+"\r\n", `GET a.test / ""`),
	refusedAs(ReasonEmptyLines, "two empty lines stand before the request line", "\r\n\r\n"+head+"\r\n"),
	passes("an empty line follows a body", post+"Content-Length: 2\r\n\r\nhi\r\n"+head+"\r\n", `POST a.test /p "hi"`, `GET a.test / ""`),

	// Request lines.
	refusedAs(ReasonTarget, "there are two spaces before the target", "GET  / HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonTarget, "there are two spaces after the target", "GET /  HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonMethod, "a tab stands in place of a space", "GET\t/ HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonRequestLine, "a space follows the version", "GET / HTTP/1.1 \r\n"+host+"\r\n"),
	refusedAs(ReasonMethod, "the request line begins with a space", " "+head+"\r\n"),
	refusedAs(ReasonMethod, "the method is no token", "G(T / HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonMethodSize, "the method has no end", strings.Repeat("A", 400)+" / HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonTarget, "a raw byte over 0x7f stands in the target", "GET /\xc3\xa4 HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonTarget, "a NUL stands in the target", "GET /\x00 HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonTarget, "the target has a fragment", "GET /#x HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonTarget, "the target has no slash", "GET index.html HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonTarget, "the asterisk is not for GET", "GET * HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonTarget, "an absolute target has user information", "GET http://u@a.test/ HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonTarget, "an absolute target has another scheme", "GET gopher://a.test/ HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonEscape, "an escape in the path is cut off", "GET /%4 HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonConnect, "CONNECT asks for a tunnel", "CONNECT a.test:443 HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonReservedMethod, "a client plays the guard", refusedRequest),
	refusedAs(ReasonVersion, "the version is HTTP/2.0", "GET / HTTP/2.0\r\n"+host+"\r\n"),
	refusedAs(ReasonVersion, "the version is HTTP/1.2", "GET / HTTP/1.2\r\n"+host+"\r\n"),
	refusedAs(ReasonVersion, "the HTTP/2 preface comes where none is spoken", preface),
	refusedAs(ReasonRequestLine, "the version is in lower case", "GET / http/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonRequestLine, "the version has a leading zero", "GET / HTTP/01.1\r\n"+host+"\r\n"),
	refusedAs(ReasonRequestLine, "there is no version", "GET /\r\n"+host+"\r\n"),
	refusedAs(ReasonTLS, "a ClientHello comes to a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
	refusedAs(ReasonMethod, "garbage comes", "\x16\x04\x01\x02\x00\x01"),
	passes("the target is absolute and wins over Host", "GET http://b.test/x?y HTTP/1.1\r\n"+host+"\r\n", `GET b.test http://b.test/x?y ""`),
	passes("the asterisk is for OPTIONS", "OPTIONS * HTTP/1.1\r\n"+host+"X: y\r\n\r\n"+good, `GET a.test /good ""`).optionsToo(),
	passes("a browser leaves characters raw", "GET /a|b?{\"q\"}=100% HTTP/1.1\r\n"+host+"\r\n", `GET a.test /a|b?{"q"}=100% ""`),

	// Fields.
	refusedAs(ReasonObsFold, "a value goes on in the next line", head+"X: a\r\n b\r\n\r\n"),
	refusedAs(ReasonObsFold, "a fold hides a coding", post+"Transfer-Encoding: chunked\r\n , gzip\r\n\r\n"),
	refusedAs(ReasonObsFold, "the first field begins with a tab", line+"\tX: a\r\n"+host+"\r\n"),
	refusedAs(ReasonSpaceBeforeColon, "a space stands before the colon", post+"Transfer-Encoding : chunked\r\n\r\n"),
	refusedAs(ReasonSpaceBeforeColon, "a tab stands before the colon", post+"Content-Length\t: 3\r\n\r\n"),
	refusedAs(ReasonFieldName, "a field has no colon", head+"Foo\r\n\r\n"),
	refusedAs(ReasonFieldName, "a field has no name", head+": a\r\n\r\n"),
	refusedAs(ReasonFieldName, "a NUL stands in a name", head+"X\x00: a\r\n\r\n"),
	refusedAs(ReasonFieldName, "a name is not ASCII", head+"X\xff: a\r\n\r\n"),
	refusedAs(ReasonFieldValue, "a NUL stands in a value", head+"X: long enough \x00 for a word\r\n\r\n"),
	refusedAs(ReasonFieldValue, "a DEL stands in a value", head+"X: \x7f\r\n\r\n"),
	refusedAs(ReasonFieldValue, "a vertical tab stands before chunked", post+"Transfer-Encoding: \x0bchunked\r\n\r\n"),
	refusedAs(ReasonHeadSize, "the head is too large", head+"X: "+strings.Repeat("a", 33<<10)+"\r\n\r\n"),
	refusedAs(ReasonRequestLineSize, "the request line is too long", "GET /"+strings.Repeat("a", 9<<10)+" HTTP/1.1\r\n"+host+"\r\n"),
	refusedAs(ReasonFieldCount, "there are too many fields", head+strings.Repeat("X: y\r\n", 128)+"\r\n"),
	passes("values hold tabs and obs-text", head+"X: \t a\tb \xe4\xf6 \t\r\nY:\r\n\r\n", `GET a.test / ""`),

	// Host.
	refusedAs(ReasonNoHost, "there is no Host", line+"\r\n"),
	refusedAs(ReasonTwoHosts, "there are two Hosts", head+"Host: b.test\r\n\r\n"),
	refusedAs(ReasonTwoHosts, "there are two equal Hosts", head+host+"\r\n"),
	refusedAs(ReasonTwoHosts, "HTTP/1.0 has two Hosts", "GET / HTTP/1.0\r\n"+host+host+"\r\n"),
	refusedAs(ReasonHost, "Host is empty", line+"Host:\r\n\r\n"),
	refusedAs(ReasonHost, "Host has user information", line+"Host: u@a.test\r\n\r\n"),
	refusedAs(ReasonHost, "Host has a path", line+"Host: a.test/x\r\n\r\n"),
	refusedAs(ReasonHost, "Host has a space in it", line+"Host: a.test b.test\r\n\r\n"),
	refusedAs(ReasonHost, "Host has a port that is no number", line+"Host: a.test:8o\r\n\r\n"),
	refusedAs(ReasonHost, "Host has a port too large", line+"Host: a.test:65536\r\n\r\n"),
	refusedAs(ReasonHost, "Host has an open bracket", line+"Host: [::1\r\n\r\n"),
	refusedAs(ReasonHost, "Host has an IPv6 address without brackets", line+"Host: ::1\r\n\r\n"),
	refusedAs(ReasonHost, "Host has a zone", line+"Host: [fe80::1%25eth0]\r\n\r\n"),
	passes("Host is an IPv6 address with a port", line+"Host: [2001:db8::1]:8443\r\n\r\n", `GET [2001:db8::1]:8443 / ""`),

	// Length and coding.
	refusedAs(ReasonLengthAndEncoding, "content-length stands before transfer-encoding", post+"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
	refusedAs(ReasonLengthAndEncoding, "transfer-encoding stands before content-length", post+"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
	refusedAs(ReasonTwoContentLengths, "there are two different content-lengths", post+"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
	refusedAs(ReasonTwoContentLengths, "there are two equal content-lengths", post+"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
	refusedAs(ReasonContentLength, "content-length is a list", post+"Content-Length: 3, 3\r\n\r\nabc"),
	refusedAs(ReasonContentLength, "content-length has a sign", post+"Content-Length: +3\r\n\r\nabc"),
	refusedAs(ReasonContentLength, "content-length is negative", post+"Content-Length: -3\r\n\r\nabc"),
	refusedAs(ReasonContentLength, "content-length is hexadecimal", post+"Content-Length: 0x3\r\n\r\nabc"),
	refusedAs(ReasonContentLength, "content-length is empty", post+"Content-Length:\r\n\r\n"),
	refusedAs(ReasonContentLength, "content-length has a space in it", post+"Content-Length: 1 3\r\n\r\n"),
	refusedAs(ReasonContentLength, "content-length overflows", post+"Content-Length: 9223372036854775808\r\n\r\n"),
	refusedAs(ReasonContentLength, "content-length has twenty digits", post+"Content-Length: 00000000000000000003\r\n\r\nabc"),
	refusedAs(ReasonOldTransferEncoding, "HTTP/1.0 is chunked", "POST / HTTP/1.0\r\n"+host+"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	refusedAs(ReasonTwoTransferEncodings, "there are two transfer-encodings", post+"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n"),
	refusedAs(ReasonTransferEncoding, "chunked comes twice", post+"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
	refusedAs(ReasonTransferEncoding, "transfer-encoding is xchunked", post+"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
	refusedAs(ReasonTransferEncoding, "chunked is not the last coding", post+"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
	refusedAs(ReasonTransferEncoding, "transfer-encoding is identity", post+"Transfer-Encoding: identity\r\n\r\n"),
	refusedAs(ReasonTransferEncoding, "transfer-encoding is quoted", post+"Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
	refusedAs(ReasonTransferEncoding, "transfer-encoding has a parameter", post+"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
	refusedAs(ReasonTransferEncoding, "transfer-encoding has an empty element", post+"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
	refusedAs(ReasonTransferEncoding, "transfer-encoding is empty", post+"Transfer-Encoding:\r\n\r\n"),
	refusedAs(ReasonUnknownCoding, "a coding before chunked is unknown", post+"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
	refusedAs(ReasonExpectation, "an expectation is unknown", post+"Expect: 200-ok\r\nContent-Length: 0\r\n\r\n"),
	refusedAs(ReasonTrailerField, "a trailer announces content-length", post+"Trailer: X, Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	passes("chunked is in upper case", post+"TRANSFER-ENCODING: \tChunked \r\n\r\n2\r\nhi\r\n0\r\n\r\n", `POST a.test /p "hi"`),
	passes("GET has a body", head+"Content-Length: 5\r\n\r\nGET /"+good, `GET a.test / "GET /"`, `GET a.test /good ""`),
	passes("content-length has leading zeros", post+"Content-Length: 0002\r\n\r\nhi"+good, `POST a.test /p "hi"`, `GET a.test /good ""`),

	// Chunks.
	brokenAs(ReasonChunkSize, "a chunk size has a prefix", "0x2\r\nhi\r\n0\r\n\r\n"),
	brokenAs(ReasonChunkSize, "a chunk size has a sign", "+2\r\nhi\r\n0\r\n\r\n"),
	brokenAs(ReasonChunkSize, "a chunk size is missing", "\r\nhi\r\n0\r\n\r\n"),
	brokenAs(ReasonChunkSize, "a chunk size overflows", "8000000000000000\r\nhi\r\n0\r\n\r\n"),
	brokenAs(ReasonChunkSize, "a chunk size wraps around", "10000000000000002\r\nhi\r\n0\r\n\r\n"),
	brokenAs(ReasonChunkSize, "a space follows a chunk size", "2 \r\nhi\r\n0\r\n\r\n"),
	brokenAs(ReasonBareLF, "a chunk size ends with a bare LF", "2\nhi\r\n0\r\n\r\n"),
	brokenAs(ReasonChunkEnd, "a chunk is longer than it says", "2\r\nhip\r\n0\r\n\r\n"),
	brokenAs(ReasonChunkEnd, "a chunk ends with a bare LF", "2\r\nhi\n0\r\n\r\n"),
	brokenAs(ReasonChunkEnd, "a chunk is shorter than it says", "3\r\nhi\r\n0\r\n\r\n"),
	brokenAs(ReasonChunkExtension, "an extension has no name", "2;\r\nhi\r\n0\r\n\r\n"),
	brokenAs(ReasonBareLF, "an extension hides a line end", "2;a\nxx\r\nhi\r\n0\r\n\r\n"),
	brokenAs(ReasonChunkExtension, "an extension's quote is open", "2;a=\"b\r\nhi\r\n0\r\n\r\n"),
	brokenAs(ReasonChunkExtension, "an extension is too long", "2;"+strings.Repeat("a", 300)+"\r\nhi\r\n0\r\n\r\n"),
	brokenAs(ReasonTrailerField, "a trailer is a content-length", "0\r\nContent-Length: 5\r\n\r\n"),
	brokenAs(ReasonTrailerField, "a trailer is a Host", "0\r\nHost: b.test\r\n\r\n"),
	brokenAs(ReasonObsFold, "a trailer is folded", "0\r\nX: a\r\n b\r\n\r\n"),
	brokenAs(ReasonBareLF, "the trailer section ends with a bare LF", "0\r\n\n"),
	brokenAs(ReasonTrailerSize, "the trailer section is too large", "0\r\nX: "+strings.Repeat("a", 5<<10)+"\r\n\r\n"),
	passes("chunks have extensions and trailers", chunked+"2;a;b=c;d=\"e\\\"\t;\"\r\nhi\r\n00001;x=\"\"\r\n!\r\n0;z\r\nX-Sum: 5\r\n\r\n"+good,
		`POST a.test /p "hi!"`, `GET a.test /good ""`),

	// After the answer.
	passes("Connection says close", head+"Connection: x, Close\r\n\r\n", `GET a.test / ""`).closes(),
	passes("Connection says close among words", head+"Connection: x, y Close\tz\r\n\r\n", `GET a.test / ""`).closes(),
	passes("HTTP/1.0 closes", "GET / HTTP/1.0\r\n\r\n", `GET  / ""`).closes(),
	passes("HTTP/1.0 keeps alive", "GET / HTTP/1.0\r\n"+host+"Connection: Keep-Alive\r\n\r\n", `GET a.test / ""`),
}

// optionsToo adds the answer that net/http gives by itself to OPTIONS with an asterisk.
func (a attack) optionsToo() attack {
	a.status = append([]int{200}, a.status...)
	return a
}

// run sends the attack in these parts and checks all that comes of it.
func (a attack) run(t *testing.T, e *edge, parts ...string) {
	t.Helper()
	e.sawSoFar()
	c := dial(t, e)
	defer c.close()
	c.send(parts...)
	for i, want := range a.status {
		if got, body := c.answer(); got != want {
			t.Fatalf("answer %d: status %d (%q), want %d", i+1, got, body, want)
		}
	}
	wantSaw := a.saw
	if a.kept {
		c.send("GET /probe HTTP/1.1\r\n" + host + "\r\n")
		if status, _ := c.answer(); status != 200 {
			t.Errorf("probe on the kept connection: status %d", status)
		}
		wantSaw = append(slices.Clip(wantSaw), `GET a.test /probe ""`)
	} else {
		c.wantEOF()
	}
	saw, refused := e.sawSoFar()
	if diff := cmp.Diff(wantSaw, saw); diff != "" {
		t.Errorf("the handler saw (-want +got):\n%s", diff)
	}
	if why := reasonOf(refused); why != a.why {
		t.Errorf("refused %v, want %v", refused, a.why)
	}
}

// reasonOf returns the reason of the only refusal.
func reasonOf(refused []Refusal) Reason {
	if len(refused) != 1 {
		return ReasonNone
	}
	return refused[0].Reason
}

func TestAttacksInOneWrite(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		e := on.newEdge(t, Options{}, nil)
		for _, a := range attacks {
			t.Run(a.name, func(t *testing.T) { a.run(t, e, a.in) })
		}
	})
}

func TestAttacksByteByByte(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		e := on.newEdge(t, Options{}, nil)
		for _, a := range attacks {
			t.Run(a.name, func(t *testing.T) { a.run(t, e, strings.Split(a.in, "")...) })
		}
	})
}

func TestAttacksCutAnywhere(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		e := on.newEdge(t, Options{}, nil)
		rows := map[string]bool{
			"content-length stands before transfer-encoding": true,
			"a value goes on in the next line":               true,
			"an empty line follows a body":                   true,
			"chunks have extensions and trailers":            true,
			"a chunk is longer than it says":                 true,
		}
		ran := 0
		for _, a := range attacks {
			if !rows[a.name] {
				continue
			}
			ran++
			t.Run(a.name, func(t *testing.T) {
				for i := 1; i < len(a.in); i++ {
					a.run(t, e, a.in[:i], a.in[i:])
				}
			})
		}
		if ran != len(rows) {
			t.Errorf("%d of %d rows exist", ran, len(rows))
		}
	})
}
