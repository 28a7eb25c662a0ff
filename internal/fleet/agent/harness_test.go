package agent_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/mediatype"
	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/edge"
)

const (
	fleetName = "tests"
	siteName  = "example.org"
)

// A fleet is an owner with a state directory.
type fleet struct {
	t     *testing.T
	owner *keys.Owner
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	dir := t.TempDir()
	if _, err := keys.InitFleet(keys.InitOptions{StateDir: dir, Fleet: fleetName, Random: rand.Reader, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	owner, err := keys.OpenFleet(dir, fleetName, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return &fleet{t: t, owner: owner}
}

// member makes a member with rights.
func (f *fleet) member(name string, may ...string) *keys.Identity {
	f.t.Helper()
	var rights []keys.Right
	for _, text := range may {
		r, err := keys.ParseRight(text)
		if err != nil {
			f.t.Fatal(err)
		}
		rights = append(rights, r)
	}
	id, err := f.owner.AddMember(name, rights, rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// stranger makes somebody whom no roster has.
func (f *fleet) stranger() *keys.Identity {
	f.t.Helper()
	key, err := keys.GenerateKey(rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	own := f.owner.Identity()
	id, err := keys.NewIdentity(fleetName, "stranger", key, own.Owner, own.CA)
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// A pop is an agent of a fleet, running or not.
type pop struct {
	t     *testing.T
	fleet *fleet
	name  string
	dir   string
	now   func() time.Time

	agent *agent.Agent
	api   string // address
	http  string // address
	stop  func() error
}

// enrol makes a POP that is in the roster, and has its certificate.
func (f *fleet) enrol(name string) *pop {
	f.t.Helper()
	p := &pop{t: f.t, fleet: f, name: name, dir: f.t.TempDir()}
	key, err := agent.Key(p.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.owner.AddPOP(name, key); err != nil {
		f.t.Fatal(err)
	}
	leaf, err := f.owner.IssuePOP(name)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := agent.InstallLeaf(p.dir, p.enrolment(), leaf); err != nil {
		f.t.Fatal(err)
	}
	return p
}

func (p *pop) enrolment() agent.Enrolment {
	return agent.Enrolment{Fleet: fleetName, POP: p.name, Owner: p.fleet.owner.Identity().Owner}
}

// start runs the agent on loopback, with options as they are changed.
func (p *pop) start(change ...func(*agent.Options)) {
	p.t.Helper()
	if err := p.tryStart(change...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pop) tryStart(change ...func(*agent.Options)) error {
	p.t.Helper()
	o := agent.Options{
		Dir: p.dir, API: listen(p.t), Edge: edge.Listeners{Plain: []net.Listener{listen(p.t)}},
		Bodies: body.NewStore(""), Disk: 1 << 30, Version: "test", Now: p.now, Log: slog.New(slog.NewTextHandler(p.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, c := range change {
		c(&o)
	}
	p.api = o.API.Addr().String()
	if len(o.Edge.Plain) > 0 {
		p.http = o.Edge.Plain[0].Addr().String()
	}
	a, err := agent.New(p.t.Context(), o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	p.agent = a
	stopped := false
	p.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	p.t.Cleanup(func() {
		if err := p.stop(); err != nil {
			p.t.Errorf("stop the agent %s: %v", p.name, err)
		}
	})
	return nil
}

func (p *pop) restart(change ...func(*agent.Options)) {
	p.t.Helper()
	if err := p.stop(); err != nil {
		p.t.Fatal(err)
	}
	p.start(change...)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// A client is somebody connected to a POP.
type client struct {
	t    *testing.T
	id   *keys.Identity
	http *http.Client
	base string
}

// as returns a client of the POP with somebody's key.
func (p *pop) as(id *keys.Identity) *client {
	p.t.Helper()
	roster := func() *keys.Roster { r, _ := p.fleet.owner.Roster(); return r }
	speaks := new(http.Protocols)
	speaks.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: keys.ClientTLS(id, p.name, roster, time.Now), Protocols: speaks, DisableCompression: true}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &client{t: p.t, id: id, http: &http.Client{Transport: transport, Timeout: time.Minute}, base: "https://" + p.api}
}

// owner returns a client with the owner's key.
func (p *pop) owner() *client { return p.as(p.fleet.owner.Identity()) }

// An answer is what came before a body that has been read.
type answer struct {
	StatusCode int
	Status     string
	Header     http.Header
	TLS        *tls.ConnectionState
}

func answerOf(r *http.Response) answer {
	return answer{StatusCode: r.StatusCode, Status: r.Status, Header: r.Header, TLS: r.TLS}
}

// send makes one request.
func (c *client) send(method, path string, body []byte, header ...string) (answer, []byte) {
	c.t.Helper()
	resp, data, err := c.try(method, path, body, header...)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, data
}

func (c *client) try(method, path string, body []byte, header ...string) (answer, []byte, error) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(c.t.Context()), method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	return answerOf(resp), data, err
}

// want makes a request that must be answered 200, and reads the answer into v.
func (c *client) want(v any, method, path string, body []byte, header ...string) {
	c.t.Helper()
	resp, data := c.send(method, path, body, header...)
	if resp.StatusCode >= 300 {
		c.t.Fatalf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	if v == nil {
		return
	}
	if err := json.Unmarshal(data, v); err != nil {
		c.t.Fatalf("%s %s answers %q: %v", method, path, data, err)
	}
}

// refused makes a request that must be answered with an error.
func (c *client) refused(status int, code api.Code, method, path string, body []byte, header ...string) {
	c.t.Helper()
	_ = c.told(status, code, method, path, body, header...)
}

// told is refused for who wants to know more of the error.
func (c *client) told(status int, code api.Code, method, path string, body []byte, header ...string) *api.Error {
	c.t.Helper()
	resp, data := c.send(method, path, body, header...)
	told := &api.Error{Status: resp.StatusCode}
	if err := json.Unmarshal(data, told); err != nil && resp.StatusCode >= 400 {
		c.t.Fatalf("%s %s answers %s %q: %v", method, path, resp.Status, data, err)
	}
	if resp.StatusCode != status || told.Code != code {
		c.t.Fatalf("%s %s: %s %s, want %d with the code %s", method, path, resp.Status, data, status, code)
	}
	return told
}

func (c *client) status() *api.Status {
	c.t.Helper()
	s := new(api.Status)
	c.want(s, "GET", "/v1/status", nil)
	return s
}

// bringRoster brings the owner's roster of this moment.
func (p *pop) bringRoster() {
	p.t.Helper()
	_, st := p.fleet.owner.Roster()
	p.owner().want(nil, "PUT", "/v1/roster", marshal(p.t, st))
}

// ready starts an enrolled POP that has the roster.
func (f *fleet) ready(name string, change ...func(*agent.Options)) *pop {
	f.t.Helper()
	p := f.enrol(name)
	p.start(change...)
	p.bringRoster()
	return p
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A tree is the files of a release by path.
type tree map[string]string

// manifest returns the manifest of a tree.
func (tr tree) manifest() *release.Manifest {
	m := &release.Manifest{Site: siteName, Dialect: "netlify"}
	for _, path := range slices.Sorted(maps.Keys(tr)) {
		content := []byte(tr[path])
		m.Files = append(m.Files, release.File{Path: path, Hash: release.HashOf(content), Size: int64(len(content)), Modified: 1_700_000_000, Type: mediatype.Of(path, content)})
	}
	return m
}

func (tr tree) object(h string) string {
	for _, content := range tr {
		if release.HashOf([]byte(content)).String() == h {
			return content
		}
	}
	return ""
}

// pack returns a pack of objects.
func (tr tree) pack(t *testing.T, objects []string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := release.NewPackWriter(&buf)
	for _, name := range objects {
		content := tr.object(name)
		h, err := release.ParseHash(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(release.Header{Hash: h, Size: int64(len(content)), Coding: release.Identity, Length: int64(len(content))}, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// sign signs a statement with a client's key.
func (c *client) sign(kind string, payload any) []byte {
	c.t.Helper()
	st, err := c.id.Key().Sign(kind, fleetName, marshal(c.t, payload))
	if err != nil {
		c.t.Fatal(err)
	}
	return marshal(c.t, st)
}

// releaseStatement signs a manifest, as the header has it.
func (c *client) releaseStatement(m *release.Manifest) string {
	c.t.Helper()
	return base64.StdEncoding.EncodeToString(c.sign(api.KindRelease, api.Release{
		Site: m.Site, Release: m.ID().String(), Files: len(m.Files), Bytes: m.Bytes(), Time: time.Unix(1_700_000_000, 0).UTC(),
	}))
}

func sitePath(elements ...string) string {
	return api.Path(1, append([]string{"sites", siteName}, elements...)...)
}

// putManifest sends a manifest and returns what is missing.
func (c *client) putManifest(m *release.Manifest) api.ManifestResult {
	c.t.Helper()
	var result api.ManifestResult
	c.want(&result, "PUT", sitePath("releases", m.ID().String()), m.Encode(), api.HeaderStatement, c.releaseStatement(m))
	return result
}

// stage sends and stages a release, and returns its name.
func (c *client) stage(tr tree) string {
	c.t.Helper()
	m := tr.manifest()
	missing := c.putManifest(m).Missing
	if len(missing) > 0 {
		var packed api.PackResult
		c.want(&packed, "POST", sitePath("pack"), tr.pack(c.t, missing))
		if packed.Stored != len(missing) || len(packed.Bad) > 0 {
			c.t.Fatalf("of %d objects %d were stored, and bad are %v", len(missing), packed.Stored, packed.Bad)
		}
	}
	c.want(nil, "POST", sitePath("releases", m.ID().String(), "stage"), nil)
	return m.ID().String()
}

// head returns a signed head.
func (c *client) head(generation uint64, id string) []byte {
	c.t.Helper()
	return c.sign(api.KindHead, api.Head{Site: siteName, Generation: generation, Release: id, Time: time.Unix(1_700_000_000, 0).UTC()})
}

// deploy stages and activates a release.
func (c *client) deploy(generation uint64, tr tree) string {
	c.t.Helper()
	id := c.stage(tr)
	c.want(nil, "PUT", sitePath("head"), c.head(generation, id))
	return id
}

// visit asks the edge for a path of the site.
func (p *pop) visit(path string) (answer, string) {
	p.t.Helper()
	return p.visitHost(siteName, path)
}

func (p *pop) visitHost(host, path string) (answer, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(p.t.Context()), "GET", "http://"+p.http+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Host = host
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return answerOf(resp), string(data)
}

// serves fails unless a path has this content.
func (p *pop) serves(path, want string) {
	p.t.Helper()
	if resp, got := p.visit(path); resp.StatusCode != http.StatusOK || got != want {
		p.t.Fatalf("%s is %s %q, want %q", path, resp.Status, got, want)
	}
}

var errNever = errors.New("it never happened")

// eventually waits until something holds, for as long as a loaded machine may take.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatal(fmt.Errorf("%s: %w", what, errNever))
		}
		time.Sleep(10 * time.Millisecond)
	}
}
