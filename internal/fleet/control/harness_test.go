package control_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/edge"
)

const fleetName = "tests"

// A testFleet is an owner with a state directory, and POPs with real agents on
// loopback, each behind a proxy that can do to its API what networks do.
type testFleet struct {
	t     *testing.T
	state string
	owner *keys.Owner
	pops  []*testPOP
	where *control.POPs
	roots *x509.CertPool
	pair  []byte // the site's certificate with its key, PEM

	mu     sync.Mutex // guards events
	events []control.Event
}

type testPOP struct {
	fleet *testFleet
	name  string
	dir   string
	proxy *proxy
	edge  string
	agent string // address, behind the proxy
	api   http.Handler
	stop  func()
}

// newFleet starts POPs, with rosters, a configured site, and a certificate for it.
func newFleet(t *testing.T, names ...string) *testFleet {
	t.Helper()
	f := &testFleet{t: t, state: t.TempDir(), where: new(control.POPs)}
	if _, err := keys.InitFleet(keys.InitOptions{StateDir: f.state, Fleet: fleetName, Random: rand.Reader, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.owner, err = keys.OpenFleet(f.state, fleetName, nil, time.Now); err != nil {
		t.Fatal(err)
	}
	f.certify()
	for _, name := range names {
		f.enrol(name)
	}
	for _, p := range f.pops {
		p.start()
	}
	for _, p := range f.pops {
		p.configure()
	}
	return f
}

// certify makes the site's certificate.
func (f *testFleet) certify() {
	f.t.Helper()
	ca, err := keys.OpenCA(f.t.TempDir(), "penny test", keys.Constraints{Names: []string{site}}, time.Now)
	if err != nil {
		f.t.Fatal(err)
	}
	pair, err := ca.Issue([]string{site, "*.preview." + site}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.pair, err = keys.EncodePair(pair); err != nil {
		f.t.Fatal(err)
	}
	f.where.Roots = ca.File()
	f.roots = x509.NewCertPool()
	f.roots.AddCert(ca.Certificate())
}

// pin makes a POP that is in the roster, and has no certificate yet.
func (f *testFleet) pin(name string) *testPOP {
	f.t.Helper()
	p := &testPOP{fleet: f, name: name, dir: f.t.TempDir()}
	key, err := agent.Key(p.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.owner.AddPOP(name, key); err != nil {
		f.t.Fatal(err)
	}
	if _, err := agent.Enrol(p.dir, p.enrolment()); err != nil {
		f.t.Fatal(err)
	}
	p.proxy = newProxy(f.t)
	f.pops = append(f.pops, p)
	return p
}

func (f *testFleet) enrol(name string) *testPOP {
	f.t.Helper()
	p := f.pin(name)
	leaf, err := f.owner.IssuePOP(name)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := agent.InstallLeaf(p.dir, p.enrolment(), leaf); err != nil {
		f.t.Fatal(err)
	}
	return p
}

func (p *testPOP) enrolment() agent.Enrolment {
	return agent.Enrolment{Fleet: fleetName, POP: p.name, Owner: p.fleet.owner.Identity().Owner}
}

// start runs the agent. Its edge keeps its address over a restart.
func (p *testPOP) start(change ...func(*agent.Options)) {
	t := p.fleet.t
	t.Helper()
	at := p.edge
	if at == "" {
		at = "127.0.0.1:0"
	}
	listeners, err := edge.Listen(t.Context(), true, at)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := agent.Options{
		Dir: p.dir, API: l, Edge: listeners, Bodies: body.NewStore(""), Disk: 1 << 30, Version: "test",
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, c := range change {
		c(&o)
	}
	p.agent, p.edge = l.Addr().String(), listeners.TLS[0].Addr().String()
	p.proxy.to.Store(new(p.agent))
	a, err := agent.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	p.api = a
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stop the agent %s: %v", p.name, err)
		}
	})
	t.Cleanup(p.stop)
	known := false
	for i := range p.fleet.where.POPs {
		if where := &p.fleet.where.POPs[i]; where.Name == p.name {
			known = true
			if where.API != p.proxy.addr() || where.Edge != p.edge { // or somebody may be reading it
				where.API, where.Edge = p.proxy.addr(), p.edge
			}
		}
	}
	if !known {
		p.fleet.where.POPs = append(p.fleet.where.POPs, control.POP{Name: p.name, API: p.proxy.addr(), Edge: p.edge})
	}
}

// configure brings the roster, the configuration and the site's certificate.
func (p *testPOP) configure() {
	t := p.fleet.t
	t.Helper()
	_, roster := p.fleet.owner.Roster()
	p.put("/v1/roster", marshal(t, roster))
	config, err := p.fleet.owner.Identity().Key().Sign(api.KindConfig, fleetName, marshal(t, api.Config{Number: 1, Time: time.Now().UTC(), Sites: []api.ConfigSite{{Name: site}}}))
	if err != nil {
		t.Fatal(err)
	}
	p.put("/v1/config", marshal(t, config))
	p.put("/v1/certificates/"+site, p.fleet.pair)
}

func (p *testPOP) put(path string, body []byte) {
	t := p.fleet.t
	t.Helper()
	roster := func() *keys.Roster { r, _ := p.fleet.owner.Roster(); return r }
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: keys.ClientTLS(p.fleet.owner.Identity(), p.name, roster, time.Now), Protocols: protocols}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://"+p.agent+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
		t.Fatalf("PUT %s at %s: %s %s", path, p.name, resp.Status, text)
	}
}

// get asks a POP's edge as a visitor.
func (p *testPOP) get(path string) (status int, content string) {
	p.fleet.t.Helper()
	resp, content := p.getAt(site, path)
	return resp.StatusCode, content
}

// An answered is what came before a body that has been read.
type answered struct {
	StatusCode int
	Status     string
	Header     http.Header
}

// getAt is get of another host.
func (p *testPOP) getAt(host, path string, header ...string) (a answered, content string) {
	p.fleet.t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: p.fleet.roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.edge)
		},
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(p.fleet.t.Context(), http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		p.fleet.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(req)
	if err != nil {
		p.fleet.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.fleet.t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Status, resp.Header}, string(data)
}

// open opens the fleet as its owner does, or as somebody else from somewhere else.
func (f *testFleet) open() *control.Fleet { return f.openAs(f.owner.Identity(), f.state) }

func (f *testFleet) openAs(id *keys.Identity, state string) *control.Fleet {
	f.t.Helper()
	c, err := control.Open(control.Options{StateDir: state, ID: id, POPs: f.where, Knock: 20 * time.Second, Events: func(e control.Event) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.events = append(f.events, e)
	}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			f.t.Error(err)
		}
	})
	return c
}

// A tree is the files of a site by name.
type tree map[string]string

// dir writes a tree into a directory of its own.
func (tr tree) dir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	tr.write(t, dir)
	return dir
}

func (tr tree) write(t *testing.T, dir string) {
	t.Helper()
	for name, content := range tr {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// pages is a small site whose pages name their release.
func pages(name string) tree {
	tr := tree{
		"index.html": "<!doctype html><title>" + name + "</title>front of " + name, "404.html": "nothing here in " + name, "about.html": "about " + name,
		"style.css": strings.Repeat("p { color: black }\n", 100) + name, "same.txt": "the same in all", "_redirects": "/old /about 301\n", "blog/index.html": "blog of " + name,
		"picture.png": strings.Repeat("\x89PNG"+name, 100),
	}
	for i := range 20 {
		tr[fmt.Sprintf("posts/%d.html", i)] = fmt.Sprintf("post %d of %s", i, name)
	}
	return tr
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A proxy stands before an agent's API, and does what networks do.
type proxy struct {
	listener net.Listener
	to       atomic.Pointer[string]
	// refuse closes every connection at once.
	refuse atomic.Bool
	// left is after how many bytes towards the agent every connection is cut; negative
	// is never.
	left atomic.Int64
	// corrupt is which byte towards the agent is changed; negative is none.
	corrupt atomic.Int64
	// delay is how long every piece waits, in nanoseconds.
	delay atomic.Int64

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, conns: make(map[net.Conn]bool)}
	p.left.Store(-1)
	p.corrupt.Store(-1)
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { p.pass(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close() // a test's
		p.cut()
		wait.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// cut ends every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close() // that is what is wanted
	}
}

func (p *proxy) track(conn net.Conn) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = true
	return func() {
		_ = conn.Close() // it may be closed
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, conn)
	}
}

func (p *proxy) pass(in net.Conn) {
	defer p.track(in)()
	to := p.to.Load()
	if p.refuse.Load() || to == nil {
		return
	}
	out, err := net.Dial("tcp", *to)
	if err != nil {
		return
	}
	defer p.track(out)()
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() {
		_, _ = io.Copy(in, &slow{out, p}) // it ends when cut
		_ = in.Close()
		_ = out.Close()
	})
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if p.left.Load() >= 0 && p.left.Add(-int64(n)) < 0 {
				p.left.Store(0)
				break
			}
			if at := p.corrupt.Load(); at >= 0 {
				if p.corrupt.Add(-int64(n)); at < int64(n) {
					buf[at] ^= 1
					p.corrupt.Store(-1)
				}
			}
			p.wait()
			if _, err := out.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = in.Close()
	_ = out.Close()
}

func (p *proxy) wait() {
	if d := time.Duration(p.delay.Load()); d > 0 {
		time.Sleep(d) // that is what it is for
	}
}

// slow reads with the proxy's delay.
type slow struct {
	net.Conn
	p *proxy
}

// Read waits and reads.
func (s *slow) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.p.wait()
	return n, err
}

func cryptoRand() io.Reader { return rand.Reader }
