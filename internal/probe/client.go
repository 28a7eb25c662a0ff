package probe

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/verdict"
)

// Config says whom a [Client] asks and how. Address and Protocol are required.
type Config struct {
	// Address is where the server listens, host:port: TCP, or UDP for HTTP/3.
	Address  string
	Protocol Protocol
	// Roots are whom certificates are believed by; nil means the system's.
	Roots *x509.CertPool
	// Connect, Handshake, FirstByte and Total bound the phases of one request; 0 means
	// 5 s, 5 s, 10 s and a minute. Total is for all of it.
	Connect, Handshake, FirstByte, Total time.Duration
	// Connections bounds those of HTTP/1.1; 0 means 4. HTTP/2 and 3 share one.
	Connections int
	// MaxBody is how much of a body is read, in bytes; 0 means 1 GiB. A longer one is
	// [verdict.HTTPTooLarge].
	MaxBody int64
	// UserAgent names us to the server.
	UserAgent string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	or := func(d *time.Duration, other time.Duration) {
		if *d == 0 {
			*d = other
		}
	}
	or(&c.Connect, 5*time.Second)
	or(&c.Handshake, 5*time.Second)
	or(&c.FirstByte, 10*time.Second)
	or(&c.Total, time.Minute)
	if c.Connections == 0 {
		c.Connections = 4
	}
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 30
	}
	if c.UserAgent == "" {
		c.UserAgent = "penny"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// maxHead bounds the head of an answer, in bytes.
const maxHead = 256 << 10

// A Request is one URL and what to send with it.
type Request struct {
	Method string // "" means GET
	URL    *url.URL
	// Header is sent as it is; without an Accept-Encoding in it identity is asked for,
	// so that the hash is that of the file.
	Header http.Header
	// Coded asks for codings as browsers do, and undoes the one that comes: bytes and
	// hash are those of the content.
	Coded bool
	// Limit is how much of the content is read, in bytes; 0 means Config.MaxBody. A
	// longer one is [verdict.HTTPTooLarge].
	Limit int64
}

// An Answer is what came of one [Request].
type Answer struct {
	Verdict verdict.Code
	// Err says more of a verdict that is not an answer; "" for none.
	Err string
	// Certificate is what is wrong with the server's certificate, [verdict.OK] when
	// nothing is, or [verdict.None] without TLS.
	Certificate verdict.Code

	Protocol string // as the server spoke it, such as HTTP/2.0
	Status   int    // 0 without an answer
	Header   http.Header
	Coding   encode.Coding // of the body, if it was asked for
	Bytes    int64         // of the body, without the coding
	SHA256   [32]byte      // of the same; zero if it did not come whole
	Times    Times
}

// Times are how long the phases of a request took. Connect and TLS are 0 when a
// connection was there already; over HTTP/3 all of the handshake is TLS.
type Times struct {
	Connect   time.Duration
	TLS       time.Duration
	FirstByte time.Duration // from the request's sending to the head of the answer
	Total     time.Duration
}

// A Client asks one server. Make it with [New], and close it.
type Client struct {
	config Config
	tls    *tls.Config
	round  http.RoundTripper
	close  func() error

	mu     sync.Mutex // guards what follows
	judged map[judgement]verdict.Code
	quic   *quic.Transport // of HTTP/3; nil: nobody has dialled
	closed bool
}

// A judgement is a certificate and the name it was shown for.
type judgement struct {
	leaf [sha256.Size]byte
	name string
}

// New returns a client. It dials nothing yet.
func New(c Config) *Client {
	p := &Client{config: c.withDefaults(), judged: make(map[judgement]verdict.Code), tls: &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // what is wrong is told beside the verdict: see Answer.Certificate
		MinVersion:         tls.VersionTLS12,
	}}
	if c.Protocol == HTTP3 {
		t := &http3.Transport{
			TLSClientConfig: p.tls, Dial: p.dialQUIC, DisableCompression: true, MaxResponseHeaderBytes: maxHead,
			QUICConfig: &quic.Config{HandshakeIdleTimeout: p.config.Handshake, MaxIdleTimeout: max(p.config.FirstByte, 30*time.Second)},
		}
		p.round = t
		p.close = func() error { return errors.Join(t.Close(), p.closeQUIC()) }
		return p
	}
	t := &http.Transport{
		DialContext: p.dialTCP, DialTLSContext: p.dialTLS, DisableCompression: true, MaxResponseHeaderBytes: maxHead,
		MaxConnsPerHost: p.config.Connections, MaxIdleConnsPerHost: p.config.Connections, Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(c.Protocol == HTTP1)
	t.Protocols.SetHTTP2(c.Protocol == HTTP2)
	p.tls.NextProtos = []string{"http/1.1"}
	if c.Protocol == HTTP2 {
		p.tls.NextProtos = []string{"h2"}
	}
	p.round, p.close = t, func() error { t.CloseIdleConnections(); return nil }
	return p
}

// Close ends the connections. Nothing may be under way.
func (p *Client) Close() error { return p.close() }

// Ask asks for one URL, and returns when the whole answer has been read or it is
// clear that it will not come.
func (p *Client) Ask(ctx context.Context, q Request) Answer {
	t := &tracker{began: p.config.Now(), now: p.config.Now}
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.Total, errTotal)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	head := time.AfterFunc(p.config.Connect+p.config.Handshake+p.config.FirstByte, func() { stop(errHead) })
	defer head.Stop()

	a := p.ask(httptrace.WithClientTrace(context.WithValue(ctx, trackerKey{}, t), t.trace()), q, t, head)
	a.Times = t.times()
	return a
}

func (p *Client) ask(ctx context.Context, q Request, t *tracker, head *time.Timer) Answer {
	method := q.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, q.URL.String(), nil)
	if err != nil {
		return Answer{Verdict: verdict.SkipInvalid, Err: err.Error()}
	}
	if q.Header != nil {
		req.Header = q.Header.Clone()
	}
	switch {
	case q.Coded:
		req.Header.Set("Accept-Encoding", browserCodings)
	case req.Header.Get("Accept-Encoding") == "":
		req.Header.Set("Accept-Encoding", "identity")
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", p.config.UserAgent)
	}
	resp, err := p.round.RoundTrip(req)
	if err != nil {
		code, text := t.fault(ctx, err)
		return Answer{Verdict: code, Err: text}
	}
	defer resp.Body.Close()
	head.Stop()
	t.answered()
	a := Answer{
		Verdict: verdict.OfStatus(resp.StatusCode), Certificate: p.certificate(resp.TLS, req.URL.Hostname()),
		Protocol: resp.Proto, Status: resp.StatusCode, Header: resp.Header,
	}
	p.read(ctx, &a, resp, q)
	return a
}

// browserCodings is what browsers send as Accept-Encoding, without what we cannot undo.
const browserCodings = "gzip, br, zstd"

// read reads the body into its hash.
func (p *Client) read(ctx context.Context, a *Answer, resp *http.Response, q Request) {
	limit := cmp.Or(q.Limit, p.config.MaxBody)
	body := &faithfulReader{r: resp.Body}
	content := io.Reader(body)
	if name := resp.Header.Get("Content-Encoding"); q.Coded && name != "" && q.Method != http.MethodHead {
		coding, known := encode.ParseCoding(name)
		if !known {
			a.Verdict, a.Err = verdict.HTTPMalformed, fmt.Sprintf("the body has the coding %.40q, which nobody asked for", name)
			return
		}
		decoder, err := encode.NewReader(body, coding)
		if err != nil {
			a.Verdict, a.Err = p.undecoded(ctx, body, err)
			return
		}
		defer decoder.Close()
		a.Coding, content = coding, decoder
	}
	sum := sha256.New()
	var err error
	a.Bytes, err = io.Copy(sum, io.LimitReader(content, limit+1))
	switch {
	case err != nil:
		a.Verdict, a.Err = p.undecoded(ctx, body, err)
	case a.Bytes > limit:
		a.Verdict, a.Err = verdict.HTTPTooLarge, fmt.Sprintf("the body has more than %d bytes", limit)
	default:
		a.SHA256 = [32]byte(sum.Sum(nil))
	}
}

// undecoded is the verdict on a body that cannot be read: the connection's fault, or
// that of its coding.
func (p *Client) undecoded(ctx context.Context, body *faithfulReader, err error) (verdict.Code, string) {
	if body.err != nil {
		return bodyVerdict(ctx, body.err), brief(body.err)
	}
	if ctx.Err() != nil {
		return bodyVerdict(ctx, err), brief(err)
	}
	return verdict.HTTPMalformed, brief(err)
}

// A faithfulReader remembers what went wrong with the reader below a decoder.
type faithfulReader struct {
	r   io.Reader
	err error // other than the end
}

func (f *faithfulReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}
