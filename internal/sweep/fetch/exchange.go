package fetch

import (
	"crypto/x509"
	"net/netip"
	"time"

	"pennyfarthing/internal/verdict"
)

// A Fetcher runs exchanges.
type Fetcher interface {
	// Fetch begins an exchange. Its Done is called once, by the reactor, and never
	// before Fetch returns. Fetch belongs to the reactor's goroutine.
	Fetch(x *Exchange)
	// Close gives up what is under way; Done is not called any more. It is for after
	// the reactor has ended.
	Close()
}

// Config is what a Fetcher needs.
type Config struct {
	// UserAgent is sent with every request.
	UserAgent string
	// Roots are trusted; nil: the system's.
	Roots *x509.CertPool
	// HandshakesAtOnce is how many handshakes are computed at a time; those that wait
	// for the peer do not count, and the time that one waits for its turn is not the
	// peer's. 0: one a processor.
	HandshakesAtOnce int
	// Descriptors is how many connections may be open; what is one more is
	// verdict.SelfDescriptors. 0: as many as the system allows.
	Descriptors int
}

// Limits of what is read.
const (
	// HeadLimit is the most that a head may have, interim ones included, in bytes.
	HeadLimit = 32 << 10
	// fieldLimit is the most fields of a head.
	fieldLimit = 256
	// interimLimit is the most interim answers (1xx).
	interimLimit = 8
)

// An Exchange is one request to one address, and what came of it.
type Exchange struct {
	// The request.
	Secure bool   // with TLS
	Host   string // for the Host field and SNI: with :port where it is not the scheme's
	Addr   netip.AddrPort
	Method string // GET or HEAD
	Path   string // with the query
	Body   int    // bytes of the body that are wanted
	Title  bool   // only up to the end of the title, where the sample is cut off, and only of HTML
	// The longest that each phase may take; 0: no limit of its own.
	Connect, Handshake, FirstByte, Total time.Duration
	Done                                 func(*Exchange)

	// What came of it.
	Verdict       verdict.Code
	Err           string // for people; empty where nothing went wrong
	Status        int    // 0: nothing answered
	Location      string
	Server        string
	ContentType   string
	ContentLength int64  // -1: none was sent
	Sample        []byte // of the body; valid until Done returns
	Complete      bool   // the sample is the whole body
	TLSVersion    uint16
	NotAfter      time.Time    // of the certificate
	Certificate   verdict.Code // what is wrong with it, or OK
	// How long each phase took; 0: it was not reached, or did not end.
	ConnectTook, TLSTook, FirstByteTook, TotalTook time.Duration
	BytesOut, BytesIn                              int64 // of HTTP, in TLS or not
}

// request appends the request's bytes.
func (x *Exchange) request(b []byte, agent string) []byte {
	b = append(b, x.Method...)
	b = append(b, ' ')
	b = append(b, x.Path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, x.Host...)
	b = append(b, "\r\nUser-Agent: "...)
	b = append(b, agent...)
	return append(b, "\r\nAccept: text/html,*/*;q=0.8\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n"...)
}

// answered takes the answer's head into the exchange.
func (x *Exchange) answered(h *head, text func([]byte) string) {
	x.Status, x.ContentLength = h.status, h.length
	x.Location, x.Server, x.ContentType = string(h.location), text(h.server), text(h.contentType)
}

// judge gives the verdict of an answer.
func (x *Exchange) judge(body verdict.Code) {
	switch {
	case x.Certificate != verdict.None && x.Certificate != verdict.OK:
		x.Verdict, x.Err = x.Certificate, x.Certificate.Text()
	case body != verdict.None:
		x.Verdict, x.Err = body, body.Text()
	default:
		x.Verdict = verdict.OfStatus(x.Status)
	}
}
