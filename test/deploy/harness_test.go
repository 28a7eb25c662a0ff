// Package deploy_test deploys with penny to POPs that are pennies of their own: every
// one a process, killed at any moment.
package deploy_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/test/program"
)

// penny is the program that all tests here run.
var penny string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &penny)) }

const (
	fleetName = "tests"
	site      = "example.org"
	// local is the site's name on this machine, below which previews are.
	local = site + ".localhost"
	// patience only ends tests that fail anyway.
	patience = 2 * time.Minute
)

// A fleet is POPs that are processes, and somebody who deploys to them.
type fleet struct {
	t     *testing.T
	state string // of who deploys
	dir   string // of the fleet file; the site's files are in public
	owner *keys.Owner
	pops  []*pop
	roots *x509.CertPool
	ca    string // file of what roots has
	// In which networks who deploys is, and visitors; and the POPs.
	here, there func(func())
}

type pop struct {
	fleet   *fleet
	name    string
	dir     string
	process *program.Process
	api     string
	https   string
}

func newFleet(t *testing.T, names ...string) *fleet {
	t.Helper()
	onThisMachine := func(do func()) { do() }
	f := &fleet{t: t, state: t.TempDir(), dir: t.TempDir(), here: onThisMachine, there: onThisMachine}
	f.must(keys.InitFleet(keys.InitOptions{StateDir: f.state, Fleet: fleetName, Random: rand.Reader, Now: time.Now}))
	owner, err := keys.OpenFleet(f.state, fleetName, nil, time.Now)
	f.must(owner, err)
	f.owner = owner
	where := new(control.POPs)
	for _, name := range names {
		p := f.enrol(name)
		p.start("127.0.0.1:0", "127.0.0.1:0")
		where.POPs = append(where.POPs, control.POP{Name: name, API: p.api, Edge: p.https})
	}
	ca, err := keys.OpenCA(t.TempDir(), "penny test", keys.Constraints{Names: []string{site, local}}, time.Now)
	f.must(ca, err)
	f.ca, where.Roots = ca.File(), ca.File()
	f.roots = x509.NewCertPool()
	f.roots.AddCert(ca.Certificate())
	f.must(nil, where.Write(f.state, fleetName))
	c, err := control.Open(control.Options{StateDir: f.state, ID: f.owner.Identity(), POPs: where})
	f.must(c, err)
	defer c.Close()
	f.must(c.Status(t.Context())) // brings the roster
	f.must(c.Configure(t.Context(), api.Config{Sites: []api.ConfigSite{{Name: site, Hosts: []string{local}}}}))
	f.must(nil, c.SetCertificate(t.Context(), site, certificate(t, ca)))
	f.must(nil, os.WriteFile(f.file(), []byte(fleetFile), 0o600))
	return f
}

const fleetFile = `fleet = "` + fleetName + `"

[sites."` + site + `"]
files = "./public"
`

// must fails on an error.
func (f *fleet) must(_ any, err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) file() string { return filepath.Join(f.dir, "penny.toml") }

// certificate is a site's, with its key, in PEM.
func certificate(t *testing.T, ca *keys.CA) []byte {
	t.Helper()
	pair, err := ca.Issue([]string{site, local, "*.preview." + local}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys.EncodePair(pair)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (f *fleet) enrol(name string) *pop {
	f.t.Helper()
	p := &pop{fleet: f, name: name, dir: f.t.TempDir()}
	key, err := agent.Key(p.dir)
	f.must(key, err)
	f.must(nil, f.owner.AddPOP(name, key))
	leaf, err := f.owner.IssuePOP(name)
	f.must(leaf, err)
	f.must(nil, agent.InstallLeaf(p.dir, agent.Enrolment{Fleet: fleetName, POP: name, Owner: f.owner.Identity().Owner}, leaf))
	f.pops = append(f.pops, p)
	return p
}

// start starts the POP's agent, on addresses.
func (p *pop) start(apiAt, httpsAt string) {
	p.fleet.t.Helper()
	p.fleet.there(func() {
		p.process = program.Start(p.fleet.t, penny, "agent", "--state", p.dir, "--api", apiAt, "--listen", httpsAt, "--http", "", "--admin", "", "--json")
	})
	var running struct {
		API   string `json:"api"`
		HTTPS string `json:"https"`
	}
	p.process.JSON(&running)
	p.api, p.https = running.API, running.HTTPS
}

// kill ends the agent as a power cut would.
func (p *pop) kill() {
	p.process.Signal(syscall.SIGKILL)
	_ = p.process.Wait(patience) // it was killed
}

// again starts the agent where it was.
func (p *pop) again() { p.start(p.api, p.https) }

// dial returns what connects to an address of the POP, whatever is asked for, from where
// who deploys is.
func (p *pop) dial(address string) func(ctx context.Context, network, _ string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (conn net.Conn, err error) {
		p.fleet.here(func() { conn, err = new(net.Dialer).DialContext(ctx, network, address) })
		return conn, err
	}
}

// get asks the POP as a visitor.
func (p *pop) get(ctx context.Context, path string) (int, string, error) {
	return p.getAt(ctx, site, path)
}

// getAt is get of another host.
func (p *pop) getAt(ctx context.Context, host, path string) (int, string, error) {
	t := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: p.fleet.roots},
		DialContext:     p.dial(p.https),
	}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

// write makes the site's directory a release.
func (f *fleet) write(name string) {
	f.t.Helper()
	for i := range 40 {
		f.put(fmt.Sprintf("posts/%d.html", i), fmt.Sprintf("<!doctype html><p>post %d of %s", i, name))
	}
	f.put("index.html", "front of "+name)
	f.put("about.html", "about "+name)
	f.put("app.css", strings.Repeat("p { color: red }\n", 500)+name)
	f.put("same.txt", "the same in all")
}

func (f *fleet) put(name, content string) {
	f.t.Helper()
	file := filepath.Join(f.dir, "public", filepath.FromSlash(name))
	f.must(nil, os.MkdirAll(filepath.Dir(file), 0o700))
	f.must(nil, os.WriteFile(file, []byte(content), 0o600))
}

// start begins a command.
func (f *fleet) start(args ...string) (p *program.Process) {
	f.t.Helper()
	f.here(func() { p = program.Start(f.t, penny, append(args, "--state", f.state, "-f", f.file())...) })
	return p
}

// run runs a command to its end, and returns its exit code and what it printed.
func (f *fleet) run(args ...string) (code int, stdout, stderr string) {
	f.t.Helper()
	p := f.start(args...)
	err := p.Wait(patience)
	for !p.AtEnd() {
		stdout += p.Line() + "\n"
	}
	if err != nil {
		code = 1
		if strings.Contains(err.Error(), "exit status 2") {
			code = 2
		}
	}
	return code, stdout, p.Stderr()
}

// shows fails unless every POP shows a release.
func (f *fleet) shows(name string) {
	f.t.Helper()
	for _, p := range f.pops {
		if status, content, err := p.get(f.t.Context(), "/about"); err != nil || status != 200 || content != "about "+name {
			f.t.Errorf("%s shows %d %q (%v), want %s", p.name, status, content, err, name)
		}
	}
}

// deploy deploys, and fails if that fails.
func (f *fleet) deploy(args ...string) string {
	f.t.Helper()
	code, stdout, stderr := f.run(append([]string{"deploy"}, args...)...)
	if code != 0 {
		f.t.Fatalf("penny deploy ended with %d: %s%s", code, stdout, stderr)
	}
	return stdout
}
