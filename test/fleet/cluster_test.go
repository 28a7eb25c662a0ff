package fleet_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/test/program"
)

const fleetOfFaults = "faults"

// A cluster is a fleet of processes: each POP a penny agent, and whoever deploys a
// penny deploy. The test is its owner.
type cluster struct {
	t      *testing.T
	dir    string
	public string // the site's directory
	state  string // the owner's
	owner  *keys.Owner
	roots  *x509.CertPool // of the site's certificate
	pair   []byte         // that certificate and its key, PEM
	where  control.POPs
	nodes  []*node
}

// A node is a POP.
type node struct {
	c       *cluster
	name    string
	dir     string
	process *program.Process
	api     string // address of the agent, behind the gate
	edge    string // address of visitors
	gate    *gate
	args    []string // that the agent gets beside the usual ones
}

// newCluster starts POPs that nothing was deployed to yet.
func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	dir := t.TempDir()
	c := &cluster{t: t, dir: dir, public: filepath.Join(dir, "public"), state: filepath.Join(dir, "state")}
	if err := os.WriteFile(filepath.Join(dir, "penny.toml"), []byte(strings.Replace(fleetFile, "terminal", fleetOfFaults, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.InitFleet(keys.InitOptions{StateDir: c.state, Fleet: fleetOfFaults, Random: rand.Reader, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.owner, err = keys.OpenFleet(c.state, fleetOfFaults, nil, time.Now); err != nil {
		t.Fatal(err)
	}
	c.certify()
	for _, name := range names {
		c.enrol(name)
	}
	for _, n := range c.nodes {
		n.equip()
	}
	if len(names) > 0 {
		c.write()
	}
	return c
}

// write tells commands where the POPs are.
func (c *cluster) write() {
	c.t.Helper()
	c.where.POPs = nil
	for _, n := range c.nodes {
		c.where.POPs = append(c.where.POPs, control.POP{Name: n.name, API: n.door(), Edge: n.edge})
	}
	if err := c.where.Write(c.state, fleetOfFaults); err != nil {
		c.t.Fatal(err)
	}
}

// door is where a POP's agent is reached: at its gate if it has one.
func (n *node) door() string {
	if n.gate == nil {
		return n.api
	}
	return n.gate.addr
}

// certify makes the site's certificate.
func (c *cluster) certify() {
	c.t.Helper()
	ca, err := keys.OpenCA(filepath.Join(c.dir, "ca"), "penny test", keys.Constraints{Names: []string{site}}, time.Now)
	if err != nil {
		c.t.Fatal(err)
	}
	pair, err := ca.Issue([]string{site}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.pair, err = keys.EncodePair(pair); err != nil {
		c.t.Fatal(err)
	}
	c.where.Roots = ca.File()
	c.roots = x509.NewCertPool()
	c.roots.AddCert(ca.Certificate())
}

// enrol makes a POP and starts its agent.
func (c *cluster) enrol(name string) *node {
	c.t.Helper()
	n := &node{c: c, name: name, dir: filepath.Join(c.dir, "pop-"+name)}
	var made struct{ Key keys.PublicKey }
	first := program.Start(c.t, penny, "agent", "--state", n.dir, "--json")
	first.JSON(&made)
	if err := first.Wait(time.Minute); err != nil { // it has the directory's lock until then
		c.t.Fatal(err)
	}
	if err := c.owner.AddPOP(name, made.Key); err != nil {
		c.t.Fatal(err)
	}
	leaf, err := c.owner.IssuePOP(name)
	if err != nil {
		c.t.Fatal(err)
	}
	file := filepath.Join(c.dir, name+".pem")
	if err := os.WriteFile(file, leaf, 0o600); err != nil {
		c.t.Fatal(err)
	}
	key, _, err := keys.OpenKey(filepath.Join(n.dir, "agent.key"), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	n.gate = newGate(c.t, c.owner, name, leaf, key)
	c.nodes = append(c.nodes, n)
	n.start("--owner", c.owner.Identity().Owner.String(), "--fleet", fleetOfFaults, "--pop", name, "--leaf", file)
	return n
}

// start starts the agent, or starts it again. Visitors find it where it was.
func (n *node) start(args ...string) {
	n.c.t.Helper()
	at := n.edge
	if at == "" {
		at = "127.0.0.1:0"
	}
	all := append([]string{"agent", "--state", n.dir, "--json", "--api", "127.0.0.1:0", "--listen", at, "--http", "", "--admin", ""}, args...)
	n.process = program.Start(n.c.t, penny, append(all, n.args...)...)
	var running struct{ API, HTTPS string }
	n.process.JSON(&running)
	_, port, err := net.SplitHostPort(running.HTTPS)
	if err != nil {
		n.c.t.Fatal(err)
	}
	n.api, n.edge = running.API, net.JoinHostPort("127.0.0.1", port)
	n.gate.lead(n.api)
}

// kill is a power failure.
func (n *node) kill() {
	n.process.Signal(syscall.SIGKILL)
	<-n.process.Ended()
}

// equip brings the roster and the site's certificate.
func (n *node) equip() {
	n.c.t.Helper()
	_, st := n.c.owner.Roster()
	for path, body := range map[string][]byte{"roster": n.c.marshal(st), "certificates/" + site: n.c.pair} {
		if status, answer := n.ask(n.c.owner.Identity(), http.MethodPut, "/v1/"+path, body); status != http.StatusOK {
			n.c.t.Fatalf("%s takes no %s: %d %s", n.name, path, status, answer)
		}
	}
}

func (c *cluster) marshal(v any) []byte {
	c.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

// http2Transport returns a transport that speaks HTTP/2 and no other.
func http2Transport(t *testing.T, config *tls.Config) *http.Transport {
	t.Helper()
	speaks := new(http.Protocols)
	speaks.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: config, Protocols: speaks, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func tlsOf(pair *tls.Certificate) func() *tls.Certificate {
	return func() *tls.Certificate { return pair }
}

// try asks the agent itself, past the gate, with somebody's key.
func (n *node) try(id *keys.Identity, method, path string, body []byte, header ...string) (int, []byte, error) {
	roster := func() *keys.Roster { r, _ := n.c.owner.Roster(); return r }
	transport := http2Transport(n.c.t, keys.ClientTLS(id, n.name, roster, time.Now))
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(context.WithoutCancel(n.c.t.Context()), method, "https://"+n.api+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	return resp.StatusCode, data, err
}

func (n *node) ask(id *keys.Identity, method, path string, body []byte, header ...string) (int, []byte) {
	n.c.t.Helper()
	status, data, err := n.try(id, method, path, body, header...)
	if err != nil {
		n.c.t.Fatalf("%s %s at %s: %v", method, path, n.name, err)
	}
	return status, data
}

// status is what the agent says of the site.
func (n *node) status() api.SiteStatus {
	n.c.t.Helper()
	code, answer := n.ask(n.c.owner.Identity(), http.MethodGet, "/v1/status", nil)
	var s api.Status
	if err := json.Unmarshal(answer, &s); err != nil || code != http.StatusOK {
		n.c.t.Fatalf("the status of %s: %d %q, %v", n.name, code, answer, err)
	}
	for _, of := range s.Sites {
		if of.Site == site {
			return of
		}
	}
	return api.SiteStatus{}
}

// visit asks for a path as a visitor does, over a connection of its own.
func (n *node) visit(path string) (status int, text string) {
	n.c.t.Helper()
	transport := http2Transport(n.c.t, &tls.Config{RootCAs: n.c.roots, MinVersion: tls.VersionTLS13})
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, n.edge)
	}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Get("https://" + site + path)
	if err != nil {
		n.c.t.Fatalf("%s at %s: %v", path, n.name, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		n.c.t.Fatalf("%s at %s: %v", path, n.name, err)
	}
	return resp.StatusCode, string(data)
}

// version is the one version that a POP serves: all of its pages, whole, and the asset
// that they name. Anything else fails the test.
func (n *node) version() string {
	n.c.t.Helper()
	is := ""
	for i, page := range pages {
		status, text := n.visit(page)
		version, err := versionOf(text)
		switch {
		case status != http.StatusOK || err != nil:
			n.c.t.Fatalf("%s at %s: %d, %v", page, n.name, status, err)
		case is != "" && version != is:
			n.c.t.Fatalf("%s serves half a release: version %s of %s, and %s of %s", n.name, version, page, is, pages[0])
		}
		is = version
		if i > 0 {
			continue
		}
		named := assetOf.FindStringSubmatch(text)
		if named == nil {
			n.c.t.Fatalf("%s at %s names no asset", page, n.name)
		}
		status, text = n.visit(named[1])
		if of, err := versionOf(text); status != http.StatusOK || err != nil || of != version {
			n.c.t.Fatalf("%s of version %s at %s: %d, version %s, %v", named[1], version, n.name, status, of, err)
		}
	}
	return is
}

// serves wants all POPs to serve a version, or those that are named.
func (c *cluster) serves(version int, at ...*node) {
	c.t.Helper()
	if len(at) == 0 {
		at = c.nodes
	}
	for _, n := range at {
		if got := n.version(); got != fmt.Sprint(version) {
			c.t.Errorf("%s serves version %s, want %d", n.name, got, version)
		}
	}
}

// command returns a command of the owner's.
func (c *cluster) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(c.t.Context()), penny, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "PENNY_STATE="+c.state)
	return cmd
}

// wants types a command that must succeed, and print all of what is given.
func (c *cluster) wants(command string, parts ...string) string {
	c.t.Helper()
	stdout, stderr, code := run(c.t, c.command(strings.Fields(command)...))
	if code != 0 {
		c.t.Fatalf("penny %s: exit code %d\n%s%s", command, code, stdout, stderr)
	}
	for _, part := range parts {
		if !strings.Contains(stdout, part) {
			c.t.Errorf("penny %s does not print %q, but\n%s", command, part, stdout)
		}
	}
	return stdout
}

// writeVersion makes the site's directory be a version.
func (c *cluster) writeVersion(version int) {
	c.t.Helper()
	(&terminal{t: c.t, public: c.public}).writeVersion(version)
}
