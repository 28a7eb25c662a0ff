package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pennyfarthing/internal/loop/looptest"
	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/site"
)

// The fuzz tests that compare the engines send the same bytes to two servers of
// the same sites, one with each engine, and compare all that a client sees and all
// that is counted and logged. Each run is a bubble of testing/synctest: the time of
// an answer is exact, patience costs nothing, and everything has happened that is
// going to happen before the next bytes are sent. The fast engine is called as by a
// loop, or reads in a goroutine: see serving.

// engineFiles are the files of the sites: pages, files of their own codings, what
// is never coded, what is empty, what is larger than one write, and what is served
// from disk.
func engineFiles() map[string]string {
	return map[string]string{
		"index.html":           "<!doctype html><title>home</title>" + prose(1, 3000),
		"about.html":           prose(2, 900),
		"docs/index.html":      prose(3, 1500),
		"docs/deep/page.html":  prose(4, 2000),
		"docs/404.html":        prose(5, 1200),
		"404.html":             "<!doctype html><title>none</title>" + prose(6, 800),
		"style.css":            prose(7, 4000),
		"app.3f9c2b1e.js":      prose(8, 6000),
		"short.txt":            "x",
		"empty.txt":            "",
		"logo.png":             noise(9, 2500),
		"font.woff2":           noise(10, 15<<10),
		"long.txt":             strings.Repeat(prose(11, 1<<10), 70),
		"photo.jpg":            noise(12, 90<<10),
		"film.mp4":             noise(13, 1<<20+5),
		"a b/\u00e4 + %41.txt": "an odd name",
		"plain/a.txt":          "plain",
		"private/x.json":       `{"x":1}`,
		"app/index.html":       prose(14, 600),
	}
}

const engineRedirects = `
/old        /about            301
/forced     /style.css        302!
/news/:y/:s /blog/:y-:s       302
/app/*      /app/index.html   200
/missing    /docs/            404
/vanished   /none.html        410
/latest.js  /app.3f9c2b1e.js  200
/away/*     https://example.net/:splat 308
`

const engineHeaders = `
/*
  X-Frame-Options: DENY
  X-Two: a
  X-Two: b
/private/*
  Cache-Control: private
/plain/*
  ! ETag
  ! Last-Modified
  Set-Cookie: a=1
  Set-Cookie: b=2
  Content-Type: text/x-own
`

// engineHostRules make fields that are different for each host.
const engineHostRules = "https://:sub.example/*\n  X-Robots-Tag: noindex\n"

// prose is compressible text of n bytes that differs by seed.
func prose(seed uint64, n int) string {
	words := strings.Fields("the quick brown fox jumps over a lazy dog while seven wizards watch from their towers and count sheep")
	random := rand.New(rand.NewPCG(seed, 7))
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[random.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()[:n]
}

// noise is content that no coding makes smaller.
func noise(seed byte, n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return string(b)
}

// engineSite writes a site with all its codings. Every process that does so gets
// the same one, down to its validators.
func engineSite(tb testing.TB, name string, files map[string]string, o site.Options) *site.Live {
	tb.Helper()
	o.Dir, o.Store = tb.TempDir(), body.NewStore("")
	for path, content := range files {
		file := filepath.Join(o.Dir, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
		if err := os.Chtimes(file, engineModified, engineModified); err != nil {
			tb.Fatal(err)
		}
	}
	live, err := site.NewLive(tb.Context(), o, site.LiveOptions{Name: name})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(tb.Context())
	var improving sync.WaitGroup
	improving.Go(func() { err = live.Run(ctx) })
	eventually(tb, "the site has all codings", func() bool {
		s := live.Site().Summary()
		return s.Best == s.Codable-1 // there is nothing to code in the empty file
	})
	stop()
	improving.Wait()
	if err != nil {
		tb.Fatal(err)
	}
	return live
}

// engineModified is when the files were modified. Bubbles begin in 2000.
var engineModified = time.Date(1999, 5, 6, 7, 8, 9, 0, time.UTC)

// engines are both engines with what they share, which outlives the bubbles.
type engines struct {
	table        *Table
	certificates *Certificates
	tickets      *ticketKeys
	sessions     map[Engine]tls.ClientSessionCache
	metrics      map[Engine]*Metrics
	counters     map[Engine]*prometheus.Registry // of refusals alone
	tags         []string                        // entity tags of the sites' files
}

func newEngines(tb testing.TB) *engines {
	tb.Helper()
	tellOfCrashes(tb)
	files := engineFiles()
	bare := engineSite(tb, "bare", files, site.Options{})
	files["_redirects"], files["_headers"] = engineRedirects, engineHeaders
	ruled := engineSite(tb, "ruled", files, site.Options{HSTS: time.Hour})
	files["_headers"] = engineHostRules
	byHost := engineSite(tb, "by host", files, site.Options{HSTS: time.Hour})
	table, err := NewTable(
		Route{Hosts: []string{hostA, "::1"}, Site: ruled},
		Route{Hosts: []string{hostWild}, Site: bare},
		Route{Hosts: []string{hostB, "127.0.0.1"}, Site: byHost},
	)
	if err != nil {
		tb.Fatal(err)
	}
	tickets, err := newTicketKeys()
	if err != nil {
		tb.Fatal(err)
	}
	e := &engines{
		table: table, tickets: tickets,
		certificates: certificates(tb, true, newCertificate(tb, hostA, hostWild, "uncovered.example", "::1"), newCertificate(tb, hostB)),
		metrics:      make(map[Engine]*Metrics), sessions: make(map[Engine]tls.ClientSessionCache), counters: make(map[Engine]*prometheus.Registry),
	}
	for _, engine := range []Engine{Plain, Fast} {
		e.metrics[engine], e.sessions[engine], e.counters[engine] = NewMetrics(), tls.NewLRUClientSessionCache(4), prometheus.NewRegistry()
		e.counters[engine].MustRegister(e.metrics[engine].refusals)
	}
	e.collectTags(bare, ruled)
	return e
}

// tellOfCrashes has the end of a fuzzing process written to a file: its own output is
// lost, and what it died of is not always in the input.
func tellOfCrashes(tb testing.TB) {
	name := os.Getenv("ENGINES_CRASHES")
	if name == "" {
		return
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	if err := debug.SetCrashOutput(file, debug.CrashOptions{}); err != nil {
		tb.Fatal(err)
	}
}

// collectTags asks for the entity tags of all forms of some files.
func (e *engines) collectTags(sites ...*site.Live) {
	for _, live := range sites {
		for _, path := range []string{"/", "/style.css", "/app.3f9c2b1e.js", "/logo.png", "/long.txt", "/film.mp4", "/empty.txt"} {
			for _, coding := range []string{"", "br", "zstd", "gzip"} {
				answer := live.Site().Respond(&site.Request{Method: "GET", Path: path, AcceptEncoding: coding, HasAcceptEncoding: true})
				for f := range answer.Fields() {
					if f.Name == "Etag" {
						e.tags = append(e.tags, f.Values[0])
					}
				}
			}
		}
	}
}

// A rigType says how clients come to the servers.
type rigType uint8

const (
	rigPlain     rigType = iota // without TLS
	rigRedirects                // without TLS, to servers that have it
	rigTLS                      // for hostA
	rigTLSB                     // for hostB
	rigTLSNone                  // without a server name
	rigTypes
)

func (r rigType) secure() bool { return r >= rigTLS }

// A rig is a server with one connection to it. All of it lives in one bubble.
type rig struct {
	t          *testing.T
	shared     *engines
	engine     Engine
	server     *Server
	raw        *memConn // the server's end
	client     net.Conn
	stop       func() error
	before     map[string]float64 // what was counted before
	access     *AccessLog
	complaints complaints
	reading    sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	out   []byte     // what the server has sent
	ended time.Duration
	began time.Time
}

// complaints gathers what a server logs as an error: panics.
type complaints struct {
	slog.Handler
	mu  sync.Mutex // guards all
	all []string
}

func (c *complaints) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

func (c *complaints) Handle(_ context.Context, r slog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	c.all = append(c.all, text)
	return nil
}

// engineLimits are small, so that they are reached.
var engineLimits = Limits{HeaderBytes: 2 << 10, HeaderFields: 20, RequestLine: 300}

// A serving is how the fast engine serves a connection: in a goroutine of its own,
// or called when there is something to read, as by a loop.
type serving struct {
	called bool
	pace   uint64 // of what is read then; see looptest
}

// servingOf chooses a serving by what the client sends, so that what fails fails
// again.
func servingOf[T any](parts []T, text func(*T) []byte) serving {
	h := fnv.New64a()
	for i := range parts {
		_, _ = h.Write(text(&parts[i])) // never fails
	}
	switch sum := h.Sum64(); sum % 5 {
	case 0:
		return serving{}
	case 1:
		return serving{called: true}
	default:
		return serving{true, sum}
	}
}

func (s serving) wrap(c net.Conn) net.Conn {
	if !s.called {
		return c
	}
	return looptest.Wrap(c, s.pace)
}

// start starts a server and connects to it.
func (e *engines) start(t *testing.T, engine Engine, how serving, kind rigType, protocol string) *rig {
	t.Helper()
	r := &rig{t: t, shared: e, engine: engine, access: &AccessLog{records: make(chan Record, 1<<9)}, ended: -1, began: time.Now()}
	o := Options{
		Name: "au", Table: e.table, Certificates: e.certificates, Limits: engineLimits, TrustedProxies: prefixes("127.0.0.0/8"),
		Engine: engine, AccessLog: r.access, Metrics: e.metrics[engine], Log: slog.New(&r.complaints), noLoops: true,
	}
	l, other := newMemListener(), newMemListener()
	listeners := Listeners{Plain: []net.Listener{l}}
	switch {
	case kind.secure():
		listeners = Listeners{TLS: []net.Listener{l}}
	case kind == rigRedirects:
		listeners.TLS = []net.Listener{other}
	}
	var err error
	if r.server, err = New(o, listeners); err != nil {
		t.Fatal(err)
	}
	r.server.tickets = e.tickets
	if kind.secure() { // as if there was HTTP/3
		r.server.altSvc = []string{`h3=":443"; ma=86400`}
		r.server.fast = newFastEngine(r.server)
	}
	r.before = e.refusals(engine)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { err = r.server.Run(ctx) })
	r.stop = func() error { cancel(); running.Wait(); return err }
	var client *memConn
	client, r.raw = l.dial(how.wrap)
	r.client = client
	if kind.secure() {
		r.client = tls.Client(client, e.clientTLS(engine, kind, protocol))
	}
	return r
}

// clientTLS resumes sessions of TLS 1.2: no other handshake is as cheap.
func (e *engines) clientTLS(engine Engine, kind rigType, protocol string) *tls.Config {
	config := clientTLS(map[rigType]string{rigTLS: hostA, rigTLSB: hostB}[kind], protocol)
	config.MaxVersion, config.ClientSessionCache = tls.VersionTLS12, e.sessions[engine]
	return config
}

// read gathers all that the server sends.
func (r *rig) read() {
	p := make([]byte, 32<<10)
	for {
		n, err := r.client.Read(p)
		r.mu.Lock()
		r.out = append(r.out, p[:n]...)
		if err != nil {
			r.ended = time.Since(r.began)
		}
		r.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (r *rig) received() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.out)
}

// close ends the connection and the server.
func (r *rig) close() {
	_ = r.client.Close()
	r.reading.Wait()
	if err := r.stop(); err != nil {
		r.t.Errorf("%s engine: Run: %v", r.engine, err)
	}
	for _, complaint := range r.complaints.all {
		r.t.Errorf("%s engine: %s", r.engine, complaint)
	}
}

// records are what the access log got.
func (r *rig) records() (all []Record) {
	for len(r.access.records) > 0 {
		all = append(all, <-r.access.records)
	}
	return all
}

// counted is what was refused.
func (r *rig) counted() map[string]float64 {
	after := r.shared.refusals(r.engine)
	for reason, n := range r.before {
		if after[reason] -= n; after[reason] == 0 {
			delete(after, reason)
		}
	}
	return after
}

// refusals reads the counters of refusals.
func (e *engines) refusals(engine Engine) map[string]float64 {
	families, err := e.counters[engine].Gather()
	if err != nil {
		panic(err)
	}
	counts := make(map[string]float64)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, l := range metric.GetLabel() {
				if l.GetName() == "reason" {
					counts[l.GetValue()] += metric.GetCounter().GetValue()
				}
			}
		}
	}
	return counts
}

// inBubble runs f with both engines.
func (e *engines) inBubble(t *testing.T, how serving, kind rigType, protocol string, f func(plain, fast *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		plain, fast := e.start(t, Plain, serving{}, kind, protocol), e.start(t, Fast, how, kind, protocol)
		defer fast.close()
		defer plain.close()
		f(plain, fast)
		if t.Failed() {
			t.Logf("fast was served so: %+v", how)
		}
	})
}

// clip shortens what a failed test prints, around the first difference.
func clip(want, got []byte) string {
	at := 0
	for at < min(len(want), len(got)) && want[at] == got[at] {
		at++
	}
	from := max(0, at-400)
	return fmt.Sprintf("they differ at byte %d of %d and %d:\nplain %q\nfast  %q", at, len(want), len(got),
		want[from:min(len(want), at+300)], got[from:min(len(got), at+300)])
}

var crlf2 = []byte("\r\n\r\n")

// equalBytes is bytes.Equal with a complaint.
func equalBytes(t *testing.T, what string, want, got []byte) bool {
	t.Helper()
	if bytes.Equal(want, got) {
		return true
	}
	t.Errorf("%s: %s", what, clip(want, got))
	return false
}
