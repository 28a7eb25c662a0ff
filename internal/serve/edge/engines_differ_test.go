package edge

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

// A difference is one that may be: net/http cannot be told otherwise, and neither
// answer does harm.
type difference struct {
	name        string
	applies     func(q *h2Request) bool
	plain, fast []string // outcomes; nil is any
}

// malformed is what the fast engine does with malformed requests: "Malformed
// requests or responses that are detected MUST be treated as a stream error of type
// PROTOCOL_ERROR" (RFC 9113 §8.1.1).
var malformed = []string{"PROTOCOL_ERROR"}

// h2Differences are all that the engines may differ in, but for what the grammar
// leaves out: frames on streams whose head net/http has refused, and heads of twice
// the size that is allowed, both of which end the connection with net/http.
var h2Differences = []difference{
	{"a field of the connection's, or TE other than trailers (RFC 9113 §8.2.2)", (*h2Request).connectionSpecific, []string{"400"}, malformed},
	{"white space at an end of a value (RFC 9113 §8.2.1)", (*h2Request).untrimmed, nil, malformed},
	{"TE twice, which is a list (RFC 9110 §5.3)", func(q *h2Request) bool { return q.count("te") > 1 }, []string{"400"}, nil},
	{"Content-Length and DATA differ (RFC 9113 §8.1.1)", (*h2Request).miscounted, nil, malformed},
	{"content where none is announced, for which an answer need not wait", (*h2Request).unannounced, nil, nil},
	{"a host that is none, or two that differ (RFC 9113 §8.3.1)", (*h2Request).misnamed, []string{"400"}, malformed},
	{"a target that is none (RFC 9113 §8.3.1)", (*h2Request).mistargeted, []string{"400"}, malformed},
	{"a method that is no token (RFC 9110 §9.1)", (*h2Request).methodless, []string{"400"}, malformed},
	{"CONNECT, which no resource here has (RFC 9110 §15.6.2)", func(q *h2Request) bool { return q.is(":method", "CONNECT") }, []string{"405"}, []string{"501"}},
	{"too large a list of fields, which is answered without content", (*h2Request).tooLarge, []string{"431"}, []string{"431"}},
	{"the same of a malformed request, if there is nobody who looks", func(q *h2Request) bool { return q.tooLarge() && !q.wellFormed() }, []string{"400", "PROTOCOL_ERROR"}, []string{"431"}},
	{"a list in the range that net/http allows beyond its limit", (*h2Request).nearlyTooLarge, nil, []string{"431"}},
}

// allows reports whether two answers are as different as they may be.
func (s *h2Script) allows(q *h2Request, plain, fast *h2Answer) bool {
	for _, d := range h2Differences {
		if d.applies(q) && (d.plain == nil || slices.Contains(d.plain, plain.outcome())) && (d.fast == nil || slices.Contains(d.fast, fast.outcome())) {
			return true
		}
	}
	return false
}

// overlook takes away what only one has sent and says nothing: from plain 100
// (Continue), when content has come or its end (RFC 9110 §10.1.1), and from either,
// behind the answer, that content is not wanted (RFC 9113 §8.1) which has come to its
// end meanwhile: the handler ends while the frames that came with it are being read.
func overlook(q *h2Request, plain, fast *h2Answer) {
	if plain == nil || fast == nil || !q.ended {
		return
	}
	if q.has("expect") && len(fast.Early) == 0 && slices.Equal(plain.Early, []string{":status: 100"}) {
		plain.Early = nil
	}
	const unwanted = "NO_ERROR"
	if !q.bare && fast.Ended && plain.Ended && plain.Reset+fast.Reset == unwanted {
		plain.Reset, fast.Reset = "", ""
	}
}

// excused reports whether some request is one that the engines may differ about.
func (s *h2Script) excused() bool {
	for _, q := range s.requests {
		if slices.ContainsFunc(h2Differences, func(d difference) bool { return d.applies(q) }) {
			return true
		}
	}
	return false
}

// get returns a field's value, and how often it came.
func (q *h2Request) get(name string) (value string, n int) {
	for _, f := range q.fields {
		if f.Name == name {
			if n++; n == 1 {
				value = f.Value
			}
		}
	}
	return value, n
}

func (q *h2Request) has(names ...string) bool {
	return slices.ContainsFunc(q.fields, func(f hpack.HeaderField) bool { return slices.Contains(names, f.Name) })
}

// size is that of the list of fields (RFC 9113 §10.5.1).
func (q *h2Request) size() (n int) {
	for _, f := range q.fields {
		n += int(f.Size())
	}
	return n
}

// plainlyGood reports whether nobody could refuse the head for its form or its size.
func (q *h2Request) plainlyGood() bool { return q.wellFormed() && q.size() < 1800 }

// wellFormed reports whether nobody could call the head malformed.
func (q *h2Request) wellFormed() bool {
	regulars := false
	for _, f := range q.fields {
		pseudo := strings.HasPrefix(f.Name, ":")
		if regulars = regulars || !pseudo; pseudo && regulars || !pseudo && !httpguts.ValidHeaderFieldName(f.Name) || f.Name != strings.ToLower(f.Name) {
			return false
		}
		if strings.ContainsFunc(f.Value, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			return false
		}
	}
	for _, name := range []string{":method", ":scheme", ":authority", ":path"} {
		if value, n := q.get(name); n != 1 || value == "" {
			return false
		}
	}
	path, _ := q.get(":path")
	if !q.is(":scheme", "https") && !q.is(":scheme", "http") || q.is(":method", "CONNECT") {
		return false
	}
	length, lengths := q.get("content-length")
	_, err := strconv.ParseUint(length, 10, 31)
	return strings.HasPrefix(path, "/") && plainTarget(path) && !q.misnamed() && !q.methodless() && !q.untrimmed() && q.count("te") <= 1 && !q.has("host", ":status", ":x") && !q.connectionSpecific() && (lengths == 0 || lengths == 1 && err == nil)
}

func (q *h2Request) count(name string) int {
	_, n := q.get(name)
	return n
}

func (q *h2Request) is(name, value string) bool {
	got, n := q.get(name)
	return n > 0 && got == value
}

// miscounted reports whether a length is announced that is none, or not that of the
// content.
func (q *h2Request) miscounted() bool {
	lengths := make(map[string]bool)
	for _, f := range q.fields {
		if n, err := strconv.Atoi(f.Value); f.Name == "content-length" && (err != nil || n < 0 || q.ended && n != q.content || n < q.content) {
			return true
		}
		if f.Name == "content-length" {
			lengths[f.Value] = true
		}
	}
	return len(lengths) > 1
}

func (q *h2Request) unannounced() bool {
	length, _ := q.get("content-length")
	n, err := strconv.Atoi(length)
	return err == nil && n == 0 && q.content > 0
}

func (q *h2Request) misnamed() bool {
	host, hosts := q.get("host")
	authority, named := q.get(":authority")
	if hosts > 1 || hosts == 1 && named > 0 && authority != "" && !strings.EqualFold(host, authority) {
		return true
	}
	if authority == "" {
		authority = host
	}
	return !plainHost(authority)
}

func (q *h2Request) mistargeted() bool {
	path, _ := q.get(":path")
	return !strings.HasPrefix(path, "/") && !q.is(":method", "OPTIONS") && !q.is(":method", "CONNECT")
}

func (q *h2Request) methodless() bool {
	method, _ := q.get(":method")
	return !httpguts.ValidHeaderFieldName(method)
}

func (q *h2Request) untrimmed() bool {
	return slices.ContainsFunc(q.fields, func(f hpack.HeaderField) bool { return f.Value != strings.Trim(f.Value, " \t") })
}

func (q *h2Request) tooLarge() bool {
	return q.size() > engineLimits.HeaderBytes || len(q.fields) > engineLimits.HeaderFields
}

// nearlyTooLarge knows the room that net/http adds.
func (q *h2Request) nearlyTooLarge() bool {
	return q.size() > engineLimits.HeaderBytes && q.size() <= engineLimits.HeaderBytes+10*32
}

func (q *h2Request) connectionSpecific() bool {
	te := slices.ContainsFunc(q.fields, func(f hpack.HeaderField) bool { return f.Name == "te" && f.Value != "trailers" && f.Value != "" })
	return te || q.has("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")
}
