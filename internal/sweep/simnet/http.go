package simnet

import (
	"bytes"
	"net/http"
	"strconv"
)

// maxRequest is how long a request's head may be, in bytes.
const maxRequest = 16 << 10

// A request is what matters of one of HTTP/1.1.
type request struct {
	host  []byte // in lower case, without a port
	path  string
	head  bool // the method is HEAD
	close bool // the client wants the connection closed
}

// parseRequest reads the head of a request, and how long it is: 0 where the end is
// not there yet. It lowers the case of the host in b.
func parseRequest(b []byte) (r request, n int, ok bool) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return r, 0, len(b) < maxRequest
	}
	line, fields, _ := bytes.Cut(b[:end+2], []byte("\r\n"))
	method, rest, found := bytes.Cut(line, []byte(" "))
	path, version, found2 := bytes.Cut(rest, []byte(" "))
	if !found || !found2 || !bytes.HasPrefix(version, []byte("HTTP/1.")) || len(path) == 0 {
		return r, 0, false
	}
	r.head = string(method) == "HEAD"
	r.path = string(path)
	if path[0] != '/' { // RFC 9112 §3.2.2, the absolute form
		_, after, _ := bytes.Cut(path, []byte("://"))
		slash := bytes.IndexByte(after, '/')
		if slash < 0 {
			return r, 0, false
		}
		r.path = string(after[slash:])
	}
	r.close = version[len(version)-1] == '0'
	for len(fields) > 0 {
		var field []byte
		field, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		colon := bytes.IndexByte(field, ':')
		if colon < 0 {
			return r, 0, false
		}
		value := bytes.TrimSpace(field[colon+1:])
		switch {
		case colon == 4 && bytes.EqualFold(field[:4], []byte("host")):
			r.host = withoutPort(value)
		case colon == 10 && bytes.EqualFold(field[:10], []byte("connection")):
			r.close = r.close || bytes.EqualFold(value, []byte("close"))
		}
	}
	for i, c := range r.host {
		if 'A' <= c && c <= 'Z' {
			r.host[i] = c + 'a' - 'A'
		}
	}
	return r, end + 4, len(r.host) > 0 && len(r.host) <= 253
}

// withoutPort is a Host without its port, and without a last dot.
func withoutPort(host []byte) []byte {
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	return bytes.TrimSuffix(host, []byte("."))
}

// An ending is what comes after the first bytes of an answer.
type ending uint8

const (
	thenKeep   ending = iota // the connection is there for more
	thenClose                //
	thenReset                //
	thenHang                 // nothing
	thenDrip                 // the block, a byte each second
	thenRepeat               // the block, again and again
)

// A reply is what is sent.
type reply struct {
	data  []byte
	then  ending
	block []byte
	delay uint16 // in thousandths of the mean latency
}

// web answers requests.
type web struct {
	world    *World
	failsNow func(key uint64) bool
	filler   []byte // of pages
	huge     []byte // the value of a header field
	fields   []byte // header fields, many
	chunk    []byte // a chunk of a body
}

const (
	hugeField = 512 << 10 // bytes
	pageMost  = 24 << 10
)

func newWeb(w *World, failsNow func(uint64) bool) *web {
	const line = "<p>The quick brown fox jumps over the lazy dog.</p>\n"
	s := &web{world: w, failsNow: failsNow}
	s.filler = bytes.Repeat([]byte(line), pageMost/len(line)+1)
	s.huge = bytes.Repeat([]byte("a"), hugeField)
	s.fields = bytes.Repeat([]byte("X-More: of the same, and there is no end to it\r\n"), 300)
	s.chunk = append(strconv.AppendInt(nil, int64(len(s.filler)), 16), "\r\n"...)
	s.chunk = append(append(s.chunk, s.filler...), "\r\n"...)
	return s
}

// reply appends the answer to a request to dst.
func (s *web) reply(dst []byte, r *request, scheme Scheme) reply {
	f := s.world.fate(r.host)
	p := f.page(scheme, r.path)
	out := reply{delay: f.delay, then: thenClose}
	begin := "HTTP/1.1 "
	switch p.Manner {
	case Reset:
		out.then = thenReset
		return out
	case Close:
		return out
	case Hang:
		out.then = thenHang
		return out
	case Flaky:
		if s.failsNow(hashOf(r.host, flakyWeb+uint64(scheme))) {
			out.then = thenReset
			return out
		}
	case Interim:
		begin = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 "
	case HTTP10:
		begin = "HTTP/1.0 "
	case Proper, NoReason:
	default:
		return s.odd(dst, p, out)
	}
	if !r.close && p.Manner != HTTP10 {
		out.then = thenKeep
	}
	out.data = s.page(append(dst, begin...), p, &f, r, scheme)
	return out
}

// page appends an answer from its status on.
func (s *web) page(dst []byte, p Page, f *Fate, r *request, scheme Scheme) []byte {
	dst = strconv.AppendInt(dst, int64(p.Status), 10)
	dst = append(dst, ' ')
	if p.Manner != NoReason {
		dst = append(dst, reason(p.Status)...)
	}
	dst = append(append(append(dst, "\r\nServer: "...), software(p)...), "\r\nDate: Sat, 28 Nov 2026 18:00:00 GMT\r\n"...)
	if p.Status == 204 || p.Status == 304 { // RFC 9110 §6.4.1
		return append(dst, "\r\n"...)
	}
	if len(r.path) == len(robotsTxt) && p.Status == 200 && r.path == robotsTxt {
		return s.robots(dst, f, r)
	}
	dst = append(dst, "Content-Type: text/html; charset=utf-8\r\n"...)
	if p.To != Nowhere && p.To != Missing {
		dst = s.world.appendLocation(append(dst, "Location: "...), p, scheme, r.host, r.path)
		dst = append(dst, "\r\nX-Frame-Options: SAMEORIGIN\r\n"...)
	} else if p.Status == 200 {
		dst = append(dst, "Cache-Control: no-cache, private\r\nVary: Accept-Encoding\r\nSet-Cookie: session=eyJpdiI6Ik9pZ0xYb0J; path=/; httponly\r\nX-Powered-By: PHP/8.2.1\r\n"...)
	}
	before, after := title(p, r.path)
	size := bodySize(p)
	length := size
	if size > 0 {
		length += len(before) + len(r.host) + len(after)
	}
	chunked := p.Status == 200 && p.Look>>16&3 == 2 && p.Manner == Proper && size > 0
	switch {
	case chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n\r\n"...)
		if !r.head {
			dst = append(strconv.AppendInt(dst, int64(length), 16), "\r\n"...)
		}
	case p.Manner == HTTP10:
		dst = append(dst, "\r\n"...)
	default:
		dst = append(strconv.AppendInt(append(dst, "Content-Length: "...), int64(length), 10), "\r\n\r\n"...)
	}
	if r.head || size == 0 {
		return dst
	}
	dst = append(append(append(dst, before...), r.host...), after...)
	dst = append(dst, s.filler[:size]...)
	if chunked {
		dst = append(dst, "\r\n0\r\n\r\n"...)
	}
	return dst
}

func (s *web) robots(dst []byte, f *Fate, r *request) []byte {
	text := "User-agent: *\nDisallow:\n"
	if f.Robots == RobotsForbid {
		text = "User-agent: *\nDisallow: /\n"
	}
	dst = append(dst, "Content-Type: text/plain\r\nContent-Length: "...)
	dst = append(strconv.AppendInt(dst, int64(len(text)), 10), "\r\n\r\n"...)
	if r.head {
		return dst
	}
	return append(dst, text...)
}

// bodySize is how long the filler of a page is.
func bodySize(p Page) int {
	switch {
	case p.Text == Empty:
		return 0
	case p.To != Nowhere || isRedirect(p.Status):
		if p.Look>>16&3 == 0 {
			return 0
		}
		return 162
	case p.Status == 200 && p.Text == Ordinary:
		return [...]int{2 << 10, 8 << 10, 8 << 10, pageMost}[p.Look>>16&3]
	}
	return 1200
}

// title is what stands before and behind the host's name in a page.
func title(p Page, path string) (before, after string) {
	switch {
	case p.Text == Parked:
		return "<!doctype html>\n<html><head><title>", " is for sale</title></head><body><h1>Buy this domain</h1>\n"
	case p.Text == Soft404:
		return "<!doctype html>\n<html><head><title>Page not found - ", "</title></head><body><h1>Oops!</h1>\n"
	case p.Status != 200:
		return "<!doctype html>\n<html><head><title>" + strconv.Itoa(int(p.Status)) + " ", "</title></head><body>\n"
	case path == home:
		return "<!doctype html>\n<html><head><title>Home - ", "</title></head><body>\n"
	}
	return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Welcome to ", "</title></head><body>\n"
}

// What a page begins with that is sent in part. It has no title: who looks for one has
// to read on.
const (
	part      = "<!doctype html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n"
	firstPart = "<!doctype html>\n" // is a chunk
)

// sentOf is how much of a body, in bytes, is sent before it turns out to be cut short.
func sentOf(m Manner) int {
	if m == BadChunk {
		return len(firstPart)
	}
	return len(part)
}

// odd appends the answers that are not what they should be.
func (s *web) odd(dst []byte, p Page, out reply) reply {
	const ok = "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\n"
	switch p.Manner {
	case LengthShort:
		dst = append(dst, ok+"Content-Length: 60\r\n\r\n<!doctype html><title>Short</title> and this goes on and on, further than said.\n"...)
	case LengthLong:
		dst = append(dst, ok+"Content-Length: 5000\r\n\r\n"+part...)
	case BadChunk:
		dst = append(dst, ok+"Transfer-Encoding: chunked\r\n\r\n10\r\n"+firstPart+"\r\nmany\r\n"+part...)
	case CutChunk:
		dst = append(dst, ok+"Transfer-Encoding: chunked\r\n\r\n1000\r\n"+part...)
	case Endless:
		dst = append(dst, ok+"Transfer-Encoding: chunked\r\n\r\n34\r\n<!doctype html><title>No end</title><p>in sight</p>\n\r\n"...)
		out.then, out.block = thenRepeat, s.chunk
	case SlowBody:
		dst = append(dst, ok+"Content-Length: 5000\r\n\r\n"...)
		out.then, out.block = thenDrip, []byte(part)
	case SlowHead:
		out.then, out.block = thenDrip, []byte(ok)
	case EndlessHead:
		dst = append(dst, ok...)
		out.then, out.block = thenRepeat, s.fields
	case HugeHead:
		dst = append(append(append(dst, ok+"X-Huge: "...), s.huge...), "\r\nContent-Length: 3\r\n\r\nok\n"...)
	case NotHTTP:
		dst = append(dst, "SSH-2.0-OpenSSH_9.6\r\n"...)
	case HTTP09:
		dst = append(dst, "<!doctype html>\n<html><head><title>As in 1991</title></head><body>Hello.</body></html>\n"...)
	case BadStatus:
		dst = append(dst, "HTTP/1.1 abc Fine\r\nContent-Length: 3\r\n\r\nok\n"...)
	case BadField:
		dst = append(dst, "HTTP/1.1 200 OK\r\nServer nginx\r\nContent-Length: 3\r\n\r\nok\n"...)
	case ControlBytes:
		dst = append(dst, "HTTP/1.1 200 OK\r\nServer: ng\x00inx\r\nContent-Length: 3\r\n\r\nok\n"...)
	case Proper, HTTP10, NoReason, Interim, Reset, Close, Hang, Flaky: // not odd
	}
	out.data = dst
	return out
}

// software is the Server of a page.
func software(p Page) string {
	if p.Status >= 520 && p.Status <= 530 {
		return "cloudflare" // nobody else has these
	}
	return [...]string{"nginx", "nginx", "nginx", "Apache", "Apache", "cloudflare", "cloudflare", "LiteSpeed"}[p.Look&7]
}

// reason is the phrase of a status.
func reason(status uint16) string {
	switch status {
	case 521:
		return "Web server is down"
	case 520, 523, 526, 530:
		return "Origin Error"
	}
	return http.StatusText(int(status))
}
