// Package agent_test runs penny agent as a process: killed at any moment, in
// little memory, and spoken to by curl and openssl as docs/agent-api.md says.
package agent_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/test/program"
)

// penny is the program that all tests here run.
var penny string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &penny)) }

const (
	fleetName = "tests"
	popName   = "au"
	site      = "example.org"
)

// A pop is a POP of a fleet whose owner is the test.
type pop struct {
	t     *testing.T
	state string // the owner's
	dir   string // the agent's
	owner *keys.Owner

	process *program.Process
	running struct{ API, HTTP string }
	client  *http.Client
}

func newPOP(t *testing.T) *pop {
	t.Helper()
	p := &pop{t: t, state: t.TempDir(), dir: t.TempDir()}
	if _, err := keys.InitFleet(keys.InitOptions{StateDir: p.state, Fleet: fleetName, Random: rand.Reader, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.owner, err = keys.OpenFleet(p.state, fleetName, nil, time.Now); err != nil {
		t.Fatal(err)
	}
	var made struct {
		Key      keys.PublicKey
		Enrolled bool
	}
	program.Start(t, penny, "agent", "--state", p.dir, "--json").JSON(&made)
	if err := p.owner.AddPOP(popName, made.Key); err != nil {
		t.Fatal(err)
	}
	leaf, err := p.owner.IssuePOP(popName)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.state, "leaf.pem")
	if err := os.WriteFile(file, leaf, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start("--owner", p.owner.Identity().Owner.String(), "--fleet", fleetName, "--pop", popName, "--leaf", file)
	_, st := p.owner.Roster()
	if status, answer := p.ask("PUT", "/v1/roster", marshal(t, st)); status != http.StatusOK {
		t.Fatalf("the roster is refused: %s", answer)
	}
	return p
}

// start starts the agent, or starts it again.
func (p *pop) start(args ...string) {
	p.t.Helper()
	all := append([]string{"agent", "--state", p.dir, "--json", "--api", "127.0.0.1:0", "--listen", "", "--http", "127.0.0.1:0", "--admin", ""}, args...)
	p.process = program.Start(p.t, penny, all...)
	p.process.JSON(&p.running)
	roster := func() *keys.Roster { r, _ := p.owner.Roster(); return r }
	transport := &http.Transport{TLSClientConfig: keys.ClientTLS(p.owner.Identity(), popName, roster, time.Now), ForceAttemptHTTP2: true}
	p.t.Cleanup(transport.CloseIdleConnections)
	p.client = &http.Client{Transport: transport, Timeout: time.Minute}
}

// try makes a request with the owner's key.
func (p *pop) try(method, path string, body []byte, header ...string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(p.t.Context()), method, "https://"+p.running.API+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, data, err
}

func (p *pop) ask(method, path string, body []byte, header ...string) (int, []byte) {
	p.t.Helper()
	status, data, err := p.try(method, path, body, header...)
	if err != nil {
		p.t.Fatal(err)
	}
	return status, data
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (p *pop) sign(kind string, payload any) []byte {
	p.t.Helper()
	st, err := p.owner.Identity().Key().Sign(kind, fleetName, marshal(p.t, payload))
	if err != nil {
		p.t.Fatal(err)
	}
	return marshal(p.t, st)
}

// page is the content of a generation.
func page(generation uint64) string {
	return fmt.Sprintf("<title>generation %d</title>", generation)
}

// deploy deploys a generation step by step until one fails, and reports whether
// the head was acknowledged.
func (p *pop) deploy(generation uint64) bool {
	p.t.Helper()
	content := []byte(page(generation))
	filler := bytes.Repeat([]byte(strconv.FormatUint(generation, 10)+"\n"), 20_000) // a pack that takes a while
	file := func(path string, data []byte) release.File {
		return release.File{Path: path, Hash: release.HashOf(data), Size: int64(len(data)), Modified: 1_700_000_000, Type: "text/html; charset=utf-8"}
	}
	m := &release.Manifest{Site: site, Dialect: "netlify", Files: []release.File{file("filler.html", filler), file("index.html", content)}}
	id := m.ID().String()
	var pack bytes.Buffer
	w := release.NewPackWriter(&pack)
	for i, data := range [][]byte{filler, content} {
		f := m.Files[i]
		if err := w.Add(release.Header{Hash: f.Hash, Size: f.Size, Coding: release.Identity, Length: f.Size}, bytes.NewReader(data)); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		p.t.Fatal(err)
	}
	about := base64.StdEncoding.EncodeToString(p.sign(api.KindRelease, api.Release{Site: site, Release: id, Files: 2, Bytes: m.Bytes()}))
	for _, step := range []struct {
		method, path string
		body         []byte
		header       []string
	}{
		{"PUT", api.Path(1, "sites", site, "releases", id), m.Encode(), []string{api.HeaderStatement, about}},
		{"POST", api.Path(1, "sites", site, "pack"), pack.Bytes(), nil},
		{"POST", api.Path(1, "sites", site, "releases", id, "stage"), nil, nil},
		{"PUT", api.Path(1, "sites", site, "head"), p.sign(api.KindHead, api.Head{Site: site, Generation: generation, Release: id}), nil},
	} {
		status, answer, err := p.try(step.method, step.path, step.body, step.header...)
		if err != nil {
			return false // killed meanwhile
		}
		if status != http.StatusOK {
			p.t.Errorf("generation %d: %s %s is answered %d %s", generation, step.method, step.path, status, answer)
			return false
		}
	}
	return true
}

// served returns the home page.
func (p *pop) served() string {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), "GET", "http://"+p.running.HTTP+"/", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Host = site
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(data)
}

// TestAHeadThatWasAcknowledgedIsServedAfterEveryKill deploys one release after
// another and kills the agent at another moment each time, from the first request
// of a deploy to a while after the last.
func TestAHeadThatWasAcknowledgedIsServedAfterEveryKill(t *testing.T) {
	p := newPOP(t)
	if !p.deploy(1) {
		t.Fatalf("the first deploy failed: %s", p.process.Stderr())
	}
	began := time.Now()
	if !p.deploy(2) {
		t.Fatal("the second deploy failed")
	}
	whole := time.Since(began) // how long one takes on this machine
	const kills = 16
	acknowledged, tried := uint64(2), uint64(2)
	for i := range kills {
		at := whole * time.Duration(i) / (kills - 4) // now and then it is over by then
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			time.Sleep(at)
			p.process.Signal(syscall.SIGKILL)
			<-p.process.Ended()
		}()
		tried++
		if p.deploy(tried) {
			acknowledged = tried
		}
		<-killed
		p.start()
		_, answer := p.ask("GET", "/v1/status", nil)
		var s api.Status
		if err := json.Unmarshal(answer, &s); err != nil {
			t.Fatalf("status %q: %v", answer, err)
		}
		if len(s.Sites) != 1 || s.Sites[0].Head == nil || s.Sites[0].Error != "" {
			t.Fatalf("kill %d: the site is %s", i, answer)
		}
		head := s.Sites[0].Head
		if head.Generation < acknowledged || head.Generation > tried || s.Sites[0].Active != head.Release {
			t.Fatalf("kill %d: generation %d is served (%s), %d was acknowledged, and %d tried", i, head.Generation, s.Sites[0].Active, acknowledged, tried)
		}
		if got := p.served(); got != page(head.Generation) {
			t.Fatalf("kill %d: generation %d is %q", i, head.Generation, got)
		}
		acknowledged = head.Generation
	}
	if acknowledged < 4 {
		t.Errorf("of %d deploys only %d went through: the kills were too early to show anything", kills, acknowledged)
	}
	_, answer := p.ask("GET", "/v1/status", nil)
	var s api.Status
	if err := json.Unmarshal(answer, &s); err != nil {
		t.Fatal(err)
	}
	for _, id := range s.Sites[0].Staged { // what is called staged is whole on the disk
		if status, answer := p.ask("POST", api.Path(1, "sites", site, "releases", id, "stage")+"?verify=1", nil); status != http.StatusOK {
			t.Errorf("release %s: %d %s", id, status, answer)
		}
	}
}

// TestAnAgentWithASmallSiteIsSmall: the smallest VPS has little memory, and other
// programs too.
func TestAnAgentWithASmallSiteIsSmall(t *testing.T) {
	p := newPOP(t)
	for generation := range uint64(3) {
		if !p.deploy(generation + 1) {
			t.Fatalf("deploy %d failed: %s", generation+1, p.process.Stderr())
		}
	}
	for range 500 {
		if got := p.served(); got != page(3) {
			t.Fatalf("served is %q", got)
		}
	}
	const limit = 64 << 20
	if got := residentBytes(t, p.process.PID); got >= limit {
		t.Errorf("the agent has %d bytes of memory, want less than %d", got, limit)
	} else {
		t.Logf("the agent has %d bytes of memory", got)
	}
}

// residentBytes returns VmRSS of a process.
func residentBytes(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the process has no VmRSS")
	return 0
}

// TestTheManualsCommandsWork runs every command of docs/agent-api.md.
func TestTheManualsCommandsWork(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "openssl", "basenc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	manual, err := os.ReadFile("../../docs/agent-api.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("set -euo pipefail\n")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(manual), -1)
	if len(blocks) < 8 {
		t.Fatalf("the manual has %d blocks of commands", len(blocks))
	}
	for _, block := range blocks {
		script.WriteString(block[1])
	}
	p := newPOP(t)
	member, err := p.owner.AddMember("me", []keys.Right{{What: keys.Deploy, Site: site}, {What: keys.Operate}}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bash := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	bash.Dir = t.TempDir()
	bash.Env = append(os.Environ(), "STATE="+p.state, "FLEET="+fleetName, "POP="+popName, "SITE="+site, "API="+p.running.API,
		keys.EnvKey+"="+member.Secret())
	out, err := bash.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := p.served(); got != "hello\n" {
		t.Errorf("after the manual's deploy the page is %q", got)
	}
	for _, want := range []string{`"missing":["`, `"stored":1`, `"files":1`, `"generation":1`, `release activated`, "HTTP/1.1 200 OK"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the commands print no %s:\n%s", want, out)
		}
	}
}
