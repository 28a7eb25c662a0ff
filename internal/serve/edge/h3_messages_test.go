package edge_test

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/quic-go/quic-go"
)

// h3HTTP2Frames have no meaning in HTTP/3 and are forbidden (RFC 9114 §7.2.8).
var h3HTTP2Frames = map[uint64]string{0x2: "PRIORITY", 0x6: "PING", 0x8: "WINDOW_UPDATE", 0x9: "CONTINUATION"}

// h3Sorted puts rows in the order of their names, those of maps among them.
func h3Sorted(rows []h3Row) []h3Row {
	slices.SortStableFunc(rows, func(a, b h3Row) int { return cmp.Compare(a.name, b.name) })
	return rows
}

// h3RequestRows are about what a request stream begins with.
func h3RequestRows() []h3Row {
	unexpected := []h3Outcome{h3Connection(h3FrameUnexpected)}
	broken := []h3Outcome{h3Connection(h3FrameError)}
	get := h3Headers(h3Get("/")...)
	rows := []h3Row{
		{name: "DATA before HEADERS", rfc: "RFC 9114 §4.1", send: h3On(h3Frame(h3FrameData, []byte("x")), get), want: unexpected},
		{name: "SETTINGS before HEADERS on a request stream", rfc: "RFC 9114 §7.2.4", send: h3On(h3Settings(), get), want: unexpected},
		{name: "GOAWAY before HEADERS on a request stream", rfc: "RFC 9114 §7.2.6", send: h3On(h3Frame(h3FrameGoAway, h3Int(0)), get), want: unexpected},
		{name: "PRIORITY_UPDATE before HEADERS on a request stream", rfc: "RFC 9218 §7.2", send: h3On(h3Frame(0xf0700, h3Int(0), []byte("u=1")), get), want: unexpected},
		{name: "PRIORITY_UPDATE of a push before HEADERS on a request stream", rfc: "RFC 9218 §7.2", send: h3On(h3Frame(0xf0701, h3Int(0), []byte("u=1")), get), want: unexpected},
		{name: "CANCEL_PUSH before HEADERS on a request stream", rfc: "RFC 9114 §7.2.3", send: h3On(h3Frame(h3FrameCancelPush, h3Int(0)), get), want: unexpected},
		{name: "MAX_PUSH_ID before HEADERS on a request stream", rfc: "RFC 9114 §7.2.7", send: h3On(h3Frame(h3FrameMaxPushID, h3Int(0)), get), want: unexpected},
		{name: "PUSH_PROMISE before HEADERS on a request stream", rfc: "RFC 9114 §7.2.5", send: h3On(h3Frame(h3FramePushPromise, h3Int(0), h3Section()), get), want: unexpected},
		{name: "unknown frames before and behind HEADERS", rfc: "RFC 9114 §9", send: h3On(h3Frame(h3FrameGrease, []byte("grease")), h3Frame(h3FrameGrease+0x1f), get, h3Frame(h3FrameGrease, []byte("more"))), want: []h3Outcome{h3Status(200)}},
		{name: "a request stream without a byte", rfc: "RFC 9114 §4.1", send: h3On(), want: []h3Outcome{h3Reset(h3RequestIncomplete)}},
		{name: "a request stream of unknown frames only", rfc: "RFC 9114 §4.1", send: h3On(h3Frame(h3FrameGrease, []byte("grease"))), want: []h3Outcome{h3Reset(h3RequestIncomplete)}},
		{name: "a request stream that is reset within HEADERS", rfc: "RFC 9114 §7.1", send: h3ResetWithin, want: []h3Outcome{h3Ignored}},
		{name: "HEADERS cut behind their type", rfc: "RFC 9114 §7.1", send: h3On([]byte{0x1}), want: broken},
		{name: "HEADERS cut within their length", rfc: "RFC 9114 §7.1", send: h3On([]byte{0x1, 0x40}), want: broken},
		{name: "HEADERS longer than their stream", rfc: "RFC 9114 §7.1", send: h3On(h3FrameOfLength(h3FrameHeaders, 1000), h3Section(h3Lines(h3Get("/")...))), want: broken},
		{name: "HEADERS shorter than their fields", rfc: "RFC 9204 §2.2", send: h3On(h3FrameOfLength(h3FrameHeaders, 40), h3Section(h3Lines(h3Get("/")...))), want: []h3Outcome{h3Connection(h3DecompressionFailed)}},
		{name: "HEADERS without a byte", rfc: "RFC 9204 §4.5.1", send: h3On(h3Frame(h3FrameHeaders)), want: []h3Outcome{h3Connection(h3DecompressionFailed)}},
		{name: "HEADERS without a field", rfc: "RFC 9114 §4.1.2", send: h3On(h3Headers()), want: []h3Outcome{h3Reset(h3MessageError)}},
		{name: "HEADERS of four exabytes", rfc: "RFC 9114 §4.2.2", send: h3On(h3FrameOfLength(h3FrameHeaders, 1<<62-1), []byte("x")), want: []h3Outcome{h3Status(431), broken[0]}},
		{name: "an unknown frame longer than its stream", rfc: "RFC 9114 §7.1", send: h3On(h3FrameOfLength(h3FrameGrease, 1000), get), want: broken},
	}
	for kind, name := range h3HTTP2Frames {
		rows = append(rows, h3Row{name: "HTTP/2's " + name + " before HEADERS", rfc: "RFC 9114 §7.2.8", send: h3On(h3Frame(kind, make([]byte, 8)), get), want: unexpected})
	}
	return h3Sorted(rows)
}

// h3ResetWithin leaves a request in the middle of its head.
func h3ResetWithin(c *h3Client) h3Outcome {
	c.openControl(h3Settings())
	s := c.open(h3FrameOfLength(h3FrameHeaders, 1000), h3Section(h3Lines(h3Get("/")...)))
	s.CancelWrite(quic.StreamErrorCode(h3RequestCancelled))
	s.CancelRead(quic.StreamErrorCode(h3RequestCancelled))
	return c.survives()
}

// h3BodyRows are about what comes behind the head of a request.
func h3BodyRows() []h3Row {
	unexpected := []h3Outcome{h3Connection(h3FrameUnexpected)}
	message := []h3Outcome{h3Reset(h3MessageError)}
	get, data, trailers := h3Headers(h3Get("/")...), h3Frame(h3FrameData, []byte("12345")), h3Headers("x-checksum", "1")
	post := func(length string) []byte { return h3Headers(h3Request("POST", "/", "content-length", length)...) }
	ping := h3Frame(0x6, make([]byte, 8))
	rows := []h3Row{
		{name: "a body of a length that is not told", rfc: "RFC 9114 §4.1", send: h3On(get, data, data), want: []h3Outcome{h3Status(413)}},
		{name: "a body of no bytes", rfc: "RFC 9114 §4.1", send: h3On(get, h3Frame(h3FrameData), h3Frame(h3FrameData)), want: []h3Outcome{h3Status(200)}},
		{name: "a body and trailers", rfc: "RFC 9114 §4.1", send: h3On(get, data, trailers), want: []h3Outcome{h3Status(413)}},
		{name: "trailers alone", rfc: "RFC 9114 §4.1", send: h3On(get, trailers), want: []h3Outcome{h3Status(200)}},
		{name: "a body of the length that is told", rfc: "RFC 9114 §4.1.2", send: h3On(post("5"), data), want: []h3Outcome{h3Status(405)}},
		{name: "a GET with a body that it tells of", rfc: "RFC 9110 §9.3.1", send: h3On(h3Headers(h3Request("GET", "/", "content-length", "5")...), data), want: []h3Outcome{h3Status(413)}},
		{name: "HEADERS behind trailers", rfc: "RFC 9114 §4.1", send: h3On(get, trailers, trailers), want: unexpected},
		{name: "DATA behind trailers", rfc: "RFC 9114 §4.1", send: h3On(get, trailers, data), want: unexpected},
		{name: "HEADERS behind a body and trailers", rfc: "RFC 9114 §4.1", send: h3On(get, data, trailers, trailers), want: unexpected},
		{name: "SETTINGS behind HEADERS", rfc: "RFC 9114 §7.2.4", send: h3On(get, h3Settings()), want: unexpected},
		{name: "GOAWAY behind HEADERS", rfc: "RFC 9114 §7.2.6", send: h3On(get, h3Frame(h3FrameGoAway, h3Int(0))), want: unexpected},
		{name: "CANCEL_PUSH behind HEADERS", rfc: "RFC 9114 §7.2.3", send: h3On(get, h3Frame(h3FrameCancelPush, h3Int(0))), want: unexpected},
		{name: "MAX_PUSH_ID behind HEADERS", rfc: "RFC 9114 §7.2.7", send: h3On(get, h3Frame(h3FrameMaxPushID, h3Int(0))), want: unexpected},
		{name: "PUSH_PROMISE behind HEADERS", rfc: "RFC 9114 §7.2.5", send: h3On(get, h3Frame(h3FramePushPromise, h3Int(0), h3Section())), want: unexpected},
		{name: "HTTP/2's PING behind the HEADERS of a POST", rfc: "RFC 9114 §7.2.8", send: h3On(h3Headers(h3Request("POST", "/")...), ping), want: unexpected},
		{name: "HTTP/2's PING behind a body", rfc: "RFC 9114 §7.2.8", send: h3On(get, data, ping), want: unexpected},
		{name: "DATA longer than its stream", rfc: "RFC 9114 §7.1", send: h3On(get, h3FrameOfLength(h3FrameData, 1000), []byte("x")), want: []h3Outcome{h3Connection(h3FrameError)}},
		{name: "DATA cut within its length", rfc: "RFC 9114 §7.1", send: h3On(get, []byte{0x0, 0x40}), want: []h3Outcome{h3Connection(h3FrameError)}},
		{name: "a pseudo-header in trailers", rfc: "RFC 9114 §4.3", send: h3On(get, h3Headers(":path", "/")), want: message},
		{name: "a capital letter in trailers", rfc: "RFC 9114 §4.2", send: h3On(get, h3Headers("X-Checksum", "1")), want: message},
		{name: "a static index out of range in trailers", rfc: "RFC 9204 §3.1", send: h3On(get, h3Frame(h3FrameHeaders, h3Section(h3Prefixed(nil, h3StaticLine, 6, h3StaticLast+1)))), want: []h3Outcome{h3Connection(h3DecompressionFailed)}},
		{name: "a body shorter than content-length", rfc: "RFC 9114 §4.1.2", send: h3On(post("10"), data), want: message},
		{name: "a body longer than content-length", rfc: "RFC 9114 §4.1.2", send: h3On(post("3"), data), want: message},
		{name: "a body where content-length is 0", rfc: "RFC 9114 §4.1.2", send: h3On(h3Headers(h3Request("GET", "/", "content-length", "0")...), data), want: message},
		{name: "no body where content-length is 5", rfc: "RFC 9114 §4.1.2", send: h3On(post("5")), want: message},
	}
	for kind, name := range h3HTTP2Frames {
		rows = append(rows, h3Row{name: "HTTP/2's " + name + " behind HEADERS", rfc: "RFC 9114 §7.2.8", send: h3On(get, h3Frame(kind, make([]byte, 8))), want: unexpected})
	}
	return h3Sorted(rows)
}

// h3FieldRows are about the fields of a request.
func h3FieldRows() []h3Row {
	rows := []h3Row{
		{name: "no :scheme", rfc: "RFC 9114 §4.3.1", send: h3Asking(h3Without(":scheme")...), want: []h3Outcome{h3Reset(h3MessageError)}},
		{name: "an empty :scheme", rfc: "RFC 9114 §4.3.1", send: h3Asking(h3Without(":scheme", ":scheme", "")...), want: []h3Outcome{h3Reset(h3MessageError)}},
		{name: "Host alone", rfc: "RFC 9114 §4.3.1", send: h3Asking(h3Without(":authority", "host", h3Host)...), want: []h3Outcome{h3Status(200)}},
		{name: "Host and the same :authority", rfc: "RFC 9114 §4.3.1", send: h3Asking(append(h3Get("/"), "host", h3Host)...), want: []h3Outcome{h3Status(200)}},
		{name: "a host that is not served here", rfc: "RFC 9110 §15.5.20", send: h3Asking(h3Without(":authority", ":authority", "elsewhere.test")...), want: []h3Outcome{h3Status(421)}},
		{name: "te: trailers", rfc: "RFC 9114 §4.2", send: h3Asking(append(h3Get("/"), "te", "trailers")...), want: []h3Outcome{h3Status(200)}},
		{name: "content-length twice the same", rfc: "RFC 9110 §8.6", send: h3Asking(append(h3Get("/"), "content-length", "0", "content-length", "0")...), want: []h3Outcome{h3Status(200), h3Reset(h3MessageError)}},
		{name: "cookies in crumbs", rfc: "RFC 9114 §4.2.1", send: h3Asking(append(h3Get("/"), "cookie", "a=1", "cookie", "b=2")...), want: []h3Outcome{h3Status(200)}},
		{name: "an unknown method", rfc: "RFC 9110 §9.1", send: h3Asking(h3Request("BREW", "/")...), want: []h3Outcome{h3Status(405), h3Status(501)}},
		{name: "a method in lower case", rfc: "RFC 9110 §9.1", send: h3Asking(h3Request("get", "/")...), want: []h3Outcome{h3Status(405), h3Status(501)}},
		{name: "OPTIONS *", rfc: "RFC 9114 §4.3.1", send: h3Asking(h3Request("OPTIONS", "*")...), want: []h3Outcome{h3Status(204), h3Status(200)}},
		{name: "CONNECT", rfc: "RFC 9114 §4.4", send: h3Asking(":method", "CONNECT", ":authority", h3Host+":443"), want: []h3Outcome{h3Status(405), h3Status(501)}},
		{name: "extended CONNECT", rfc: "RFC 9220 §3", send: h3Asking(h3Request("CONNECT", "/", ":protocol", "websocket")...), want: []h3Outcome{h3Status(405), h3Status(501)}},
	}
	for _, m := range h3Malformed {
		rows = append(rows, h3Row{name: m.name, rfc: m.rfc, send: h3Asking(m.fields...), want: []h3Outcome{h3Reset(h3MessageError)}})
	}
	return rows
}

// h3Asking sends a request of fields.
func h3Asking(fields ...string) func(*h3Client) h3Outcome { return h3On(h3Headers(fields...)) }

// h3Malformed are requests that must be refused as streams (RFC 9114 §4.1.2).
var h3Malformed = []struct {
	name, rfc string
	fields    []string
}{
	{"no :method", "RFC 9114 §4.3.1", h3Without(":method")},
	{"an empty :method", "RFC 9114 §4.3.1", h3Without(":method", ":method", "")},
	{"a :method that is no token", "RFC 9114 §4.3.1", h3Without(":method", ":method", "GET /")},
	{"no :path", "RFC 9114 §4.3.1", h3Without(":path")},
	{"an empty :path", "RFC 9114 §4.3.1", h3Without(":path", ":path", "")},
	{"a :path without a slash", "RFC 9114 §4.3.1", h3Without(":path", ":path", "index.html")},
	{"an absolute URI as :path", "RFC 9114 §4.3.1", h3Without(":path", ":path", "https://"+h3Host+"/")},
	{"* as :path of a GET", "RFC 9114 §4.3.1", h3Without(":path", ":path", "*")},
	{"neither :authority nor Host", "RFC 9114 §4.3.1", h3Without(":authority")},
	{"an empty :authority", "RFC 9114 §4.3.1", h3Without(":authority", ":authority", "")},
	{"an empty Host alone", "RFC 9114 §4.3.1", h3Without(":authority", "host", "")},
	{"userinfo in :authority", "RFC 9114 §4.3.1", h3Without(":authority", ":authority", "user@"+h3Host)},
	{"Host differs from :authority", "RFC 9114 §4.3.1", append(h3Get("/"), "host", "elsewhere.test")},
	{"Host twice", "RFC 9110 §7.2", append(h3Get("/"), "host", h3Host, "host", h3Host)},
	{":method twice", "RFC 9114 §4.3", append([]string{":method", "GET"}, h3Get("/")...)},
	{":scheme twice", "RFC 9114 §4.3", append([]string{":scheme", "https"}, h3Get("/")...)},
	{":path twice", "RFC 9114 §4.3", append([]string{":path", "/"}, h3Get("/")...)},
	{":authority twice", "RFC 9114 §4.3", append([]string{":authority", h3Host}, h3Get("/")...)},
	{"an unknown pseudo-header", "RFC 9114 §4.3", append([]string{":version", "3"}, h3Get("/")...)},
	{"a pseudo-header without a name", "RFC 9114 §4.3", append([]string{":", "3"}, h3Get("/")...)},
	{"a pseudo-header behind a field", "RFC 9114 §4.3", h3Without(":path", "accept", "*/*", ":path", "/")},
	{":status in a request", "RFC 9114 §4.3", append(h3Get("/"), ":status", "200")},
	{":protocol of a GET", "RFC 9220 §3", append(h3Get("/"), ":protocol", "websocket")},
	{"a name with a capital letter", "RFC 9114 §4.2", append(h3Get("/"), "Accept", "*/*")},
	{"an empty name", "RFC 9114 §4.2", append(h3Get("/"), "", "x")},
	{"a name with a space", "RFC 9114 §10.3", append(h3Get("/"), "x y", "z")},
	{"a name with a colon", "RFC 9114 §10.3", append(h3Get("/"), "x:y", "z")},
	{"a name with a NUL", "RFC 9114 §10.3", append(h3Get("/"), "x\x00y", "z")},
	{"a name with a line break", "RFC 9114 §10.3", append(h3Get("/"), "x\r\ny", "z")},
	{"a name beyond ASCII", "RFC 9114 §10.3", append(h3Get("/"), "x-\xc3\xa9", "z")},
	{"a value with a NUL", "RFC 9114 §10.3", append(h3Get("/"), "x-y", "a\x00b")},
	{"a value with CR", "RFC 9114 §10.3", append(h3Get("/"), "x-y", "a\rb")},
	{"a value with LF", "RFC 9114 §10.3", append(h3Get("/"), "x-y", "a\nb")},
	{"a value with a whole field", "RFC 9114 §10.3", append(h3Get("/"), "x-y", "a\r\nhost: elsewhere.test")},
	{"a :path with CR and LF", "RFC 9114 §10.3", h3Without(":path", ":path", "/ HTTP/1.1\r\nhost: elsewhere.test")},
	{"an :authority with a NUL", "RFC 9114 §10.3", h3Without(":authority", ":authority", h3Host+"\x00")},
	{"connection", "RFC 9114 §4.2", append(h3Get("/"), "connection", "close")},
	{"transfer-encoding", "RFC 9114 §4.2", append(h3Get("/"), "transfer-encoding", "chunked")},
	{"keep-alive", "RFC 9114 §4.2", append(h3Get("/"), "keep-alive", "timeout=5")},
	{"proxy-connection", "RFC 9114 §4.2", append(h3Get("/"), "proxy-connection", "keep-alive")},
	{"upgrade", "RFC 9114 §4.2", append(h3Get("/"), "upgrade", "h2c")},
	{"te: gzip", "RFC 9114 §4.2", append(h3Get("/"), "te", "gzip")},
	{"te: trailers, gzip", "RFC 9114 §4.2", append(h3Get("/"), "te", "trailers, gzip")},
	{"content-length that is no number", "RFC 9114 §4.1.2", append(h3Get("/"), "content-length", "five")},
	{"content-length with a sign", "RFC 9114 §4.1.2", append(h3Get("/"), "content-length", "+5")},
	{"content-length below zero", "RFC 9114 §4.1.2", append(h3Get("/"), "content-length", "-1")},
	{"content-length beyond any size", "RFC 9114 §4.1.2", append(h3Get("/"), "content-length", "99999999999999999999")},
	{"content-length twice, different", "RFC 9114 §4.1.2", append(h3Get("/"), "content-length", "0", "content-length", "5")},
	{"CONNECT with :scheme and :path", "RFC 9114 §4.4", h3Request("CONNECT", "/")},
	{"CONNECT without :authority", "RFC 9114 §4.4", []string{":method", "CONNECT"}},
	{"CONNECT with Host for :authority", "RFC 9114 §4.4", []string{":method", "CONNECT", "host", h3Host}},
	{"extended CONNECT without :path", "RFC 9220 §3", h3Without(":path", ":method", "CONNECT", ":protocol", "websocket")[2:]},
}

// h3LimitRows are about our own limits.
func h3LimitRows() []h3Row {
	many := func(n int) []string {
		fields := h3Get("/")
		for i := range n {
			fields = append(fields, "x-"+strconv.Itoa(i), "1")
		}
		return fields
	}
	tooLarge := []h3Outcome{h3Status(431), h3Reset(h3ExcessiveLoad)}
	return []h3Row{
		{name: "a head of 40 KiB", rfc: "RFC 9114 §4.2.2", send: h3Asking(append(h3Get("/"), "x-large", strings.Repeat("x", 40<<10))...), want: tooLarge},
		{name: "a head of 16 KiB", rfc: "RFC 9114 §4.2.2", send: h3Asking(append(h3Get("/"), "x-large", strings.Repeat("x", 16<<10))...), want: []h3Outcome{h3Status(200)}},
		{name: "a :path of 40 KiB", rfc: "RFC 9114 §4.2.2", send: h3Asking(h3Get("/" + strings.Repeat("x", 40<<10))...), want: append(tooLarge, h3Status(414))},
		{name: "a head that is small on the wire and large without its coding", rfc: "RFC 9114 §4.2.2", send: h3On(h3Frame(h3FrameHeaders, h3Bomb(1000))), want: tooLarge},
		{name: "128 fields", rfc: "RFC 9114 §4.2.2", send: h3Asking(many(128)...), want: []h3Outcome{h3Status(200)}},
		{name: "129 fields", rfc: "RFC 9114 §4.2.2", send: h3Asking(many(129)...), want: tooLarge},
		{name: "900 fields", rfc: "RFC 9114 §4.2.2", send: h3Asking(many(900)...), want: tooLarge},
	}
}
