// Package verdict has the codes for what became of a request.
//
// They are stable: rows, metrics, definitions and scripts name them. A code says
// what was observed, and no more; whether a site counts as dead is a question that
// is put to many observations afterwards (package define).
//
// Codes are kept apart by who said no: the DNS, the network below HTTP, TLS, the
// HTTP server, or we ourselves. Those of the class [Self] are our own faults and
// never a statement about a target.
package verdict

import (
	"fmt"
	"strings"
)

// A Code is what became of one try, or of a target.
type Code uint8

// The codes. Their order is that of the phases of a request, and may change; their
// names may not.
const (
	// None is no verdict yet.
	None Code = iota

	// OK is an answer with a status of 2xx.
	OK
	// HTTPStatus is a well-formed answer with a status that is neither of 2xx nor a redirect.
	HTTPStatus
	// HTTPRedirect is a redirect that was not followed, because nobody asked for it.
	HTTPRedirect
	// HTTPRedirectLoop is a redirect to where the chain has been.
	HTTPRedirectLoop
	// HTTPRedirectLimit is one redirect more than are followed.
	HTTPRedirectLimit
	// HTTPRedirectBad is a redirect without a target, or with one that is no URL of HTTP.
	HTTPRedirectBad
	// HTTPRedirectDead is a redirect to what did not answer.
	HTTPRedirectDead
	// HTTPTruncated is an answer whose body ended before its length, or in the middle of a chunk.
	HTTPTruncated
	// HTTPSlow is an answer whose body did not come in time.
	HTTPSlow
	// HTTPMalformed is something that is not an answer of HTTP/1.x (RFC 9112).
	HTTPMalformed
	// HTTPTooLarge is an answer whose head is over the limit.
	HTTPTooLarge
	// HTTPTimeout is no complete head in time.
	HTTPTimeout
	// HTTPClosed is a connection that ended before a complete head.
	HTTPClosed
	// HTTPReset is a connection that was reset before a complete head.
	HTTPReset

	// TLSExpired is a certificate whose time is over, or has not begun.
	TLSExpired
	// TLSName is a certificate for other names.
	TLSName
	// TLSUntrusted is a chain that no known root ends.
	TLSUntrusted
	// TLSVersion is a peer that knows no version or cipher of ours.
	TLSVersion
	// TLSAlert is a handshake that the peer refused for another reason.
	TLSAlert
	// TLSMalformed is something that is not TLS.
	TLSMalformed
	// TLSTimeout is no complete handshake in time.
	TLSTimeout
	// TLSClosed is a connection that ended during the handshake, cleanly or by a reset.
	TLSClosed

	// TCPRefused is a connection refused (RFC 9293 §3.10.7.1, ECONNREFUSED).
	TCPRefused
	// TCPReset is a connection that was reset while it was being made.
	TCPReset
	// TCPTimeout is no connection in time.
	TCPTimeout
	// TCPUnreachable is a network or host that cannot be reached, as a router says or for want of a route to this address.
	TCPUnreachable

	// DNSNXDomain is a name that does not exist (RFC 2308 §2.1).
	DNSNXDomain
	// DNSNoData is a name that exists, without an address (RFC 2308 §2.2).
	DNSNoData
	// DNSServFail is a resolver that could not find out (RFC 1035 §4.1.1, code 2).
	DNSServFail
	// DNSLame is a name whose servers refuse or do not answer to a resolver: REFUSED, or SERVFAIL with an extended error (RFC 8914) of 22 or 23.
	DNSLame
	// DNSTimeout is no answer of any resolver in time.
	DNSTimeout
	// DNSMalformed is an answer that cannot be read, or any other code.
	DNSMalformed
	// DNSLoop is a chain of CNAMEs that does not end.
	DNSLoop

	// SkipPrivate is an address that is not of the public internet.
	SkipPrivate
	// SkipBlocked is a name or an address on a block list.
	SkipBlocked
	// SkipOptout is a name or an address whose owner has asked not to be asked.
	SkipOptout
	// SkipRobots is a path that the site's robots.txt disallows (RFC 9309).
	SkipRobots
	// SkipInvalid is a target that cannot be asked, such as a name that is none.
	SkipInvalid

	// SelfDescriptors is our own want of descriptors.
	SelfDescriptors
	// SelfPorts is our own want of local ports.
	SelfPorts
	// SelfNetwork is our own line, which was down.
	SelfNetwork
	// SelfResolver is our own resolvers, which were ill.
	SelfResolver
	// SelfOther is another fault of our own.
	SelfOther

	numCodes
)

// A Class is who said no.
type Class uint8

// The classes.
const (
	Unknown Class = iota
	Answered
	HTTP
	TLS
	TCP
	DNS
	Skip
	Self
)

var classNames = [...]string{"unknown", "answered", "http", "tls", "tcp", "dns", "skip", "self"} //nolint:gochecknoglobals // a table

// String is the class's name: answered, http, tls, tcp, dns, skip, self.
func (c Class) String() string { return classNames[c] }

//nolint:gochecknoglobals // a table
var codes = [numCodes]struct {
	name  string
	class Class
	text  string
}{
	None:              {"", Unknown, "nothing yet"},
	OK:                {"ok", Answered, "answered with success"},
	HTTPStatus:        {"http.status", Answered, "answered with another status"},
	HTTPRedirect:      {"http.redirect", Answered, "redirects, not followed"},
	HTTPRedirectLoop:  {"http.redirect_loop", Answered, "redirects in a loop"},
	HTTPRedirectLimit: {"http.redirect_limit", Answered, "redirects too often"},
	HTTPRedirectBad:   {"http.redirect_bad", Answered, "redirects to nowhere"},
	HTTPRedirectDead:  {"http.redirect_dead", Answered, "redirects to what does not answer"},
	HTTPTruncated:     {"http.truncated", Answered, "the body ended too early"},
	HTTPSlow:          {"http.slow", Answered, "the body did not come in time"},
	HTTPMalformed:     {"http.malformed", HTTP, "the answer is not HTTP"},
	HTTPTooLarge:      {"http.too_large", HTTP, "the head of the answer is too large"},
	HTTPTimeout:       {"http.timeout", HTTP, "no answer in time"},
	HTTPClosed:        {"http.closed", HTTP, "closed without an answer"},
	HTTPReset:         {"http.reset", HTTP, "reset without an answer"},
	TLSExpired:        {"tls.expired", TLS, "the certificate is out of date"},
	TLSName:           {"tls.name", TLS, "the certificate is for other names"},
	TLSUntrusted:      {"tls.untrusted", TLS, "the certificate's issuer is unknown"},
	TLSVersion:        {"tls.version", TLS, "no common version or cipher of TLS"},
	TLSAlert:          {"tls.alert", TLS, "the handshake was refused"},
	TLSMalformed:      {"tls.malformed", TLS, "the peer does not speak TLS"},
	TLSTimeout:        {"tls.timeout", TLS, "no handshake in time"},
	TLSClosed:         {"tls.closed", TLS, "closed during the handshake"},
	TCPRefused:        {"tcp.refused", TCP, "connection refused"},
	TCPReset:          {"tcp.reset", TCP, "connection reset"},
	TCPTimeout:        {"tcp.timeout", TCP, "no connection in time"},
	TCPUnreachable:    {"tcp.unreachable", TCP, "cannot be reached"},
	DNSNXDomain:       {"dns.nxdomain", DNS, "no such name"},
	DNSNoData:         {"dns.nodata", DNS, "the name has no address"},
	DNSServFail:       {"dns.servfail", DNS, "the resolver failed"},
	DNSLame:           {"dns.lame", DNS, "the name's servers do not serve it"},
	DNSTimeout:        {"dns.timeout", DNS, "no answer of a resolver"},
	DNSMalformed:      {"dns.malformed", DNS, "the resolver's answer cannot be used"},
	DNSLoop:           {"dns.loop", DNS, "a chain of CNAMEs without an end"},
	SkipPrivate:       {"skip.private", Skip, "not an address of the public internet"},
	SkipBlocked:       {"skip.blocked", Skip, "on the block list"},
	SkipOptout:        {"skip.optout", Skip, "opted out"},
	SkipRobots:        {"skip.robots", Skip, "robots.txt disallows it"},
	SkipInvalid:       {"skip.invalid", Skip, "not a target"},
	SelfDescriptors:   {"self.descriptors", Self, "we had no descriptors left"},
	SelfPorts:         {"self.ports", Self, "we had no ports left"},
	SelfNetwork:       {"self.network", Self, "our own line was down"},
	SelfResolver:      {"self.resolver", Self, "our own resolvers were ill"},
	SelfOther:         {"self.other", Self, "a fault of our own"},
}

// String is the code's stable name, such as dns.nxdomain; empty for [None].
func (c Code) String() string {
	if c >= numCodes {
		return "?"
	}
	return codes[c].name
}

// Text says for people what the code means.
func (c Code) Text() string {
	if c >= numCodes {
		return "?"
	}
	return codes[c].text
}

// Class is who said no, or [Answered].
func (c Code) Class() Class {
	if c >= numCodes {
		return Unknown
	}
	return codes[c].class
}

// Passing reports whether the same may well be otherwise in a moment: timeouts,
// resets, lame and failing resolvers. What is said plainly (no such name, refused,
// a status) is not.
func (c Code) Passing() bool {
	switch c { //nolint:exhaustive // all others are said plainly, or our own
	case HTTPTimeout, HTTPClosed, HTTPReset, HTTPSlow, HTTPTruncated, TLSTimeout, TLSClosed, TCPReset, TCPTimeout, TCPUnreachable,
		DNSServFail, DNSLame, DNSTimeout, DNSMalformed:
		return true
	}
	return c.Class() == Self
}

// OfStatus is the code of an answer with a status: OK, [HTTPRedirect] for those whose
// Location leads on (RFC 9110 §15.4), or [HTTPStatus].
func OfStatus(status int) Code {
	switch status {
	case 301, 302, 303, 307, 308:
		return HTTPRedirect
	}
	if status >= 200 && status < 300 {
		return OK
	}
	return HTTPStatus
}

// Parse reads a code's name.
func Parse(name string) (Code, error) {
	for c := range codes {
		if codes[c].name == name {
			return Code(c), nil //nolint:gosec // there are fewer than 256
		}
	}
	return None, fmt.Errorf("%q is no verdict; there are %s", name, strings.Join(Names(), ", "))
}

// Names are all names, in the order of the codes.
func Names() []string {
	var names []string
	for _, c := range codes[1:] {
		names = append(names, c.name)
	}
	return names
}

// MarshalText writes the name.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the name.
func (c *Code) UnmarshalText(text []byte) (err error) {
	*c, err = Parse(string(text))
	return err
}
