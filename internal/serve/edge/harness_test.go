package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/site"
)

// patience is how long a test waits for what must come. It is no assertion about
// time: a test that waits this long has failed, and says so.
const patience = 30 * time.Second

// The hosts of a fleet: two sites with a certificate each, and a third whose
// certificate has a wildcard.
const (
	hostA    = "a.example"
	hostB    = "b.example"
	hostWild = "x.wild.example"
)

// A setup says what server a test wants. The zero value is one site for every
// host, over plain HTTP.
type setup struct {
	plain, secure bool              // both false: plain
	fleet         bool              // hostA, hostB and hostWild instead of one site for every host
	files         map[string]string // of every site; nil: an ordinary small site
	log           bool              // write an access log
	sample        int               // of one request in so many; 0 is each
	address       string            // "127.0.0.1:0"
	keepDir       *string           // [slowSite] tells its directory
	edit          func(*Options)
}

// A running is a server that runs until the test ends, or [running.stop].
type running struct {
	tb      testing.TB
	server  *Server
	plain   string // host:port, "" if it has none
	secure  string // of TLS and QUIC
	dir     string // of the site for every host, or hostA's
	logFile string
	access  *AccessLog
	metrics *Metrics
	stop    func() error // ends the server and returns what Run did; later calls return the same
}

// start runs a server for a test.
func start(tb testing.TB, o setup) *running {
	tb.Helper()
	if !o.plain && !o.secure {
		o.plain = true
	}
	r := &running{tb: tb, metrics: NewMetrics()}
	options := Options{Name: "au", Metrics: r.metrics, Engine: engineUnderTest}
	r.sites(&options, o)
	if o.log {
		r.openLog(&options, o.sample)
	}
	if o.edit != nil {
		o.edit(&options)
	}
	server, err := New(options, r.listen(o))
	if err != nil {
		tb.Fatal(err)
	}
	r.server = server
	r.run()
	return r
}

// sites fills the table and the certificates.
func (r *running) sites(options *Options, o setup) {
	r.tb.Helper()
	if !o.fleet {
		live := newSite(r.tb, "any", o.files)
		options.Table, r.dir = AnyHost(live.Live), live.dir
		options.Certificates = certificates(r.tb, false, newCertificate(r.tb, "localhost", "127.0.0.1", "::1"))
		return
	}
	a, b, w := newSite(r.tb, "site-a", o.files), newSite(r.tb, "site-b", o.files), newSite(r.tb, "site-w", o.files)
	table, err := NewTable(
		Route{Hosts: []string{hostA, "127.0.0.1", "::1"}, Site: a.Live},
		Route{Hosts: []string{hostB}, Site: b.Live},
		Route{Hosts: []string{hostWild, "deep.x.wild.example"}, Site: w.Live},
	)
	if err != nil {
		r.tb.Fatal(err)
	}
	options.Table, r.dir = table, a.dir
	options.Certificates = certificates(
		r.tb, true,
		newCertificate(r.tb, hostA, "127.0.0.1", "::1"), newCertificate(r.tb, hostB), newCertificate(r.tb, "*.wild.example"),
	)
}

func (r *running) openLog(options *Options, sample int) {
	r.tb.Helper()
	r.logFile = filepath.Join(r.tb.TempDir(), "access.log")
	access, err := OpenAccessLog(AccessLogOptions{File: r.logFile, Sample: sample})
	if err != nil {
		r.tb.Fatal(err)
	}
	r.access, options.AccessLog = access, access
}

// listen binds what the setup asks for.
func (r *running) listen(o setup) Listeners {
	r.tb.Helper()
	if o.address == "" {
		o.address = "127.0.0.1:0"
	}
	var all Listeners
	if o.secure {
		l, err := Listen(r.tb.Context(), true, o.address)
		if err != nil {
			r.tb.Fatal(err)
		}
		all, r.secure = l, l.TLS[0].Addr().String()
	}
	if o.plain {
		l, err := Listen(r.tb.Context(), false, o.address)
		if err != nil {
			r.tb.Fatal(err)
		}
		all.Plain, r.plain = l.Plain, l.Plain[0].Addr().String()
	}
	return all
}

// run runs the server and the access log; a server that fails fails the test.
func (r *running) run() {
	ctx, cancel := context.WithCancel(context.Background())
	logging, stopLog := context.WithCancel(context.Background())
	done, logged := make(chan struct{}), make(chan struct{})
	var err, logErr error
	go func() { defer close(done); err = r.server.Run(ctx) }()
	go func() {
		defer close(logged)
		if r.access != nil {
			logErr = r.access.Run(logging)
		}
	}()
	r.stop = func() error {
		cancel()
		<-done
		stopLog()
		<-logged
		return errors.Join(err, logErr)
	}
	r.tb.Cleanup(func() {
		if err := r.stop(); err != nil {
			r.tb.Errorf("Run: %v", err)
		}
	})
}

// records stops the server and returns what the access log has, time and
// duration zeroed.
func (r *running) records() []Record {
	r.tb.Helper()
	if err := r.stop(); err != nil {
		r.tb.Fatal(err)
	}
	return readRecords(r.tb, r.logFile)
}

func readRecords(tb testing.TB, file string) []Record {
	tb.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var records []Record
	for line := range bytes.Lines(data) {
		var rec Record
		if err := json.Unmarshal(line, &rec); err != nil {
			tb.Fatalf("line %q: %v", line, err)
		}
		rec.Time, rec.Duration = time.Time{}, 0
		records = append(records, rec)
	}
	return records
}

// A testSite is a live site with its directory.
type testSite struct {
	*site.Live
	dir string
}

// newSite makes a site of files; nil stands for a page that names the site, a
// style sheet and a file that is served from disk.
func newSite(tb testing.TB, name string, files map[string]string) testSite {
	tb.Helper()
	dir := tb.TempDir()
	if files == nil {
		files = map[string]string{
			"index.html": "<!doctype html><title>" + name + "</title>\n",
			"style.css":  strings.Repeat("p { color: #123456 }\n", 100),
		}
	}
	for path, content := range files {
		file := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return siteOf(tb, name, dir)
}

// siteOf makes a site of a directory.
func siteOf(tb testing.TB, name, dir string) testSite {
	tb.Helper()
	live, err := site.NewLive(tb.Context(), site.Options{Dir: dir, Store: body.NewStore(""), Budget: 64 << 20}, site.LiveOptions{Name: name})
	if err != nil {
		tb.Fatal(err)
	}
	return testSite{live, dir}
}

// newCertificate returns a self-signed certificate for names and addresses.
func newCertificate(tb testing.TB, names ...string) *tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func certificates(tb testing.TB, strict bool, certs ...*tls.Certificate) *Certificates {
	tb.Helper()
	set, err := NewCertificates(strict, certs...)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// clientTLS is a client's configuration. It trusts everything: who vouches for
// whom is tested elsewhere.
func clientTLS(serverName string, protocols ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: serverName, NextProtos: protocols} //nolint:gosec // a test's own server
}

// dial opens a plain connection.
func (r *running) dial() *rawConn {
	r.tb.Helper()
	conn, err := net.Dial("tcp", r.plain)
	if err != nil {
		r.tb.Fatal(err)
	}
	return newRawConn(r.tb, conn)
}

// dialTLS opens a connection with a server name that speaks HTTP/1.1, or what
// protocols say.
func (r *running) dialTLS(serverName string, protocols ...string) *rawConn {
	r.tb.Helper()
	if protocols == nil {
		protocols = []string{"http/1.1"}
	}
	conn, err := tls.Dial("tcp", r.secure, clientTLS(serverName, protocols...))
	if err != nil {
		r.tb.Fatal(err)
	}
	return newRawConn(r.tb, conn)
}

// A rawConn is an HTTP/1.1 connection whose every byte a test decides.
type rawConn struct {
	net.Conn
	tb testing.TB
	in *bufio.Reader
}

func newRawConn(tb testing.TB, conn net.Conn) *rawConn {
	tb.Helper()
	tb.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	return &rawConn{Conn: conn, tb: tb, in: bufio.NewReader(conn)}
}

// send writes text as it stands.
func (c *rawConn) send(text string) *rawConn {
	c.tb.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.tb.Fatalf("send %.60q: %v", text, err)
	}
	return c
}

// A reply is an answer with its body.
type reply struct {
	*http.Response
	text string
}

// receive reads the answer to a request with this method.
func (c *rawConn) receive(method string) reply {
	c.tb.Helper()
	res, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		c.tb.Fatalf("read answer: %v", err)
	}
	return read(c.tb, res)
}

// receiveEnd checks that the server sends nothing more and closes.
func (c *rawConn) receiveEnd() {
	c.tb.Helper()
	rest, err := io.ReadAll(c.in)
	if err != nil || len(rest) > 0 {
		c.tb.Errorf("after the last answer came %q, %v; want the end", rest, err)
	}
}

func read(tb testing.TB, res *http.Response) reply {
	tb.Helper()
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatalf("read body: %v", err)
	}
	return reply{res, string(text)}
}

// eventually waits until a condition holds that nothing announces.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not after %v", what, patience)
		}
		time.Sleep(time.Millisecond) // there is nothing to wait on
	}
}

// counter returns the value of a metric by its name and labels as they stand in
// the exposition, `penny_x_total{pop="au"}`, or 0.
func (r *running) counter(name string) float64 {
	r.tb.Helper()
	for line := range strings.Lines(exposition(r.tb, r.metrics)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				r.tb.Fatal(err)
			}
			return f
		}
	}
	return 0
}

func exposition(tb testing.TB, m *Metrics) string {
	tb.Helper()
	w := &bareWriter{header: make(http.Header)}
	m.Handler().ServeHTTP(w, &http.Request{Method: http.MethodGet, Header: make(http.Header)})
	return w.body.String()
}

// A bareWriter is a response that is looked at without a connection.
type bareWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *bareWriter) Header() http.Header         { return w.header }
func (w *bareWriter) WriteHeader(status int)      { w.status = status }
func (w *bareWriter) Write(p []byte) (int, error) { return w.body.Write(p) }

func prefixes(list ...string) (all []netip.Prefix) {
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// A syncWriter is a writer for several goroutines.
type syncWriter struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (w *syncWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

func sameAddr(a, b netip.Addr) bool { return a == b }
