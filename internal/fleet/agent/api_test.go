package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/serve/edge"
)

func TestAgentsAndClientsOneVersionApartSpeakTheOlder(t *testing.T) {
	f := newFleet(t)
	for name, tt := range map[string]struct {
		agents api.Versions
		want   int
	}{
		"one version older": {api.Versions{Min: 1, Max: 1}, 1},
		"as old as we":      {api.Versions{Min: 1, Max: 2}, 2},
		"one version newer": {api.Versions{Min: 1, Max: 3}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			agents := tt.agents
			p := f.ready("au", func(o *agent.Options) { o.Versions = agents })
			c := p.owner()
			version, ok := api.Supported().Common(c.status().API)
			if !ok || version != tt.want {
				t.Fatalf("both speak version %d, %v", version, ok)
			}
			c.deploy(1, tree{"index.html": "one"})
			p.serves("/", "one")
			newer := api.Versions{Min: 1, Max: 3} // a client of the next version
			both, _ := newer.Common(agents)
			c.want(nil, "GET", api.Path(both, "status"), nil)
		})
		if err := f.owner.RemovePOP("au"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsTooOldIsToldWhichVersionsThereAre(t *testing.T) {
	f := newFleet(t)
	p := f.enrol("au")
	p.start(func(o *agent.Options) { o.Versions = api.Versions{Min: 2, Max: 3} })
	c := p.owner()
	for _, path := range []string{"/v1/status", "/v4/status", "/v1/nothing"} {
		told := c.told(http.StatusNotFound, api.CodeVersion, "GET", path, nil)
		if told.API == nil || *told.API != (api.Versions{Min: 2, Max: 3}) || told.Hint == "" {
			t.Errorf("%s: told %+v", path, told)
		}
	}
	c.want(nil, "GET", "/v2/status", nil)
}

func TestWhatIsNotThereIsToldAsJSON(t *testing.T) {
	f := newFleet(t)
	c := f.ready("au").owner()
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/nothing", "/v1//status", "/v1/status/", "/v0/status", "/status", "/v1/sites/example.org", "/v1/sites/%zz/head"} {
		resp, data, err := c.try("GET", path, nil)
		if path == "/v1/sites/%zz/head" {
			if err == nil {
				t.Errorf("%s was sent", path)
			}
			continue
		}
		var told api.Error
		if err != nil || resp.StatusCode != http.StatusNotFound || json.Unmarshal(data, &told) != nil || told.Code != api.CodeNotFound && told.Code != api.CodeVersion {
			t.Errorf("%s: %v %q, %v", path, resp, data, err)
		}
	}
	resp, _ := c.send("POST", "/v1/status", nil)
	if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET" {
		t.Errorf("POST is answered %s, Allow %q", resp.Status, resp.Header.Get("Allow"))
	}
	resp, _ = c.send("PATCH", sitePath("lease"), nil)
	if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "PUT, DELETE" {
		t.Errorf("PATCH is answered %s, Allow %q", resp.Status, resp.Header.Get("Allow"))
	}
	if resp.Header.Get(api.HeaderVersion) != "test" {
		t.Errorf("the version is %q", resp.Header.Get(api.HeaderVersion))
	}
}

func TestWithoutAClientCertificateNobodyIsLetIn(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	for _, config := range []*tls.Config{
		{InsecureSkipVerify: true}, // without a certificate
		{InsecureSkipVerify: true, Certificates: []tls.Certificate{ecdsaPair(t)}}, // of a key that is nobody's identity
	} {
		transport := &http.Transport{TLSClientConfig: config}
		t.Cleanup(transport.CloseIdleConnections)
		c := &client{t: t, http: &http.Client{Transport: transport}, base: "https://" + p.api}
		if resp, _, err := c.try("GET", "/v1/status", nil); err == nil {
			t.Errorf("answered %s", resp.Status)
		}
	}
}

func ecdsaPair(t *testing.T) tls.Certificate {
	t.Helper()
	made := certificate(t, "nobody")
	pair, err := tls.X509KeyPair(made.pem, made.pem)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestStatusSaysHowThePOPIs(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au", func(o *agent.Options) { o.MemoryLimit = 1 << 30 })
	c := p.owner()
	id := c.deploy(7, tree{"index.html": "one"})
	next := c.stage(tree{"index.html": "two"})
	c.want(nil, "PUT", sitePath("lease"), []byte(`{"holder":"ada","ttl":60}`))
	s := c.status()
	now := time.Now()
	switch site := s.Sites[0]; {
	case s.POP != "au", s.Fleet != fleetName, s.Version != "test", s.Key != p.key().String(), s.API != api.Supported():
		t.Errorf("who: %+v", s)
	case s.Time.Sub(now).Abs() > time.Minute, s.Uptime < 0, s.Uptime > 600:
		t.Errorf("time %v, uptime %d", s.Time, s.Uptime)
	case s.Roster != mustRoster(f).Number, s.Config != 0:
		t.Errorf("roster %d, config %d", s.Roster, s.Config)
	case s.LeafExpires.Before(now.AddDate(0, 0, 28)), s.ControlSeen.Sub(now).Abs() > time.Minute:
		t.Errorf("leaf expires %v, control seen %v", s.LeafExpires, s.ControlSeen)
	case s.Disk.Budget != 1<<30, s.Disk.Used <= 0, s.Disk.Size <= 0, s.Disk.Free <= 0:
		t.Errorf("disk: %+v", s.Disk)
	case s.Memory.Resident <= 0, s.Memory.Limit != 1<<30, s.Memory.Bodies <= 0, s.CPUs <= 0:
		t.Errorf("memory: %+v, %d CPUs", s.Memory, s.CPUs)
	case site.Active != id, site.Head == nil, site.Head.Generation != 7, site.HeadKey == "", site.Configured, site.Files != 1, site.Bytes != 3, site.InMemory < 3:
		t.Errorf("site: %+v", site)
	case len(site.Staged) != 2, site.Staged[0] != next && site.Staged[1] != next, site.Lease == nil, site.Lease.Holder != "ada":
		t.Errorf("staged: %+v", site)
	case len(s.Warnings) != 0:
		t.Errorf("warnings: %q", s.Warnings)
	}
	seen := s.ControlSeen
	p.restart(func(o *agent.Options) { o.Now = func() time.Time { return time.Now().Add(28 * 24 * time.Hour) } })
	s = p.owner().status()
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "expires") {
		t.Errorf("two days before its certificate expires the warnings are %q", s.Warnings)
	}
	if s.ControlSeen.Sub(seen).Abs() > time.Hour { // who asks now does not count
		t.Errorf("a member was heard %v, and it says %v", seen, s.ControlSeen)
	}
	data, err := os.ReadFile(filepath.Join(p.dir, "seen.json"))
	if err != nil || !bytes.Contains(data, []byte(seen.Format("2006-01-02"))) {
		t.Errorf("who was heard is not remembered: %s, %v", data, err)
	}
	if err := f.owner.RemovePOP("au"); err != nil {
		t.Fatal(err)
	}
}

func TestLogsHaveTheAgentsLinesAndTheVisitors(t *testing.T) {
	f := newFleet(t)
	file := filepath.Join(t.TempDir(), "access.log")
	access, err := edge.OpenAccessLog(edge.AccessLogOptions{File: file})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	written := make(chan error, 1)
	go func() { written <- access.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
	var outside bytes.Buffer
	p := f.ready("au", func(o *agent.Options) {
		o.AccessLog, o.AccessFile, o.Log = access, file, slog.New(slog.NewTextHandler(&outside, nil))
	})
	c := p.owner()
	c.deploy(1, tree{"index.html": "one"})
	p.visit("/first")
	read := func(query string) []api.LogLine {
		_, data := c.send("GET", "/v1/logs"+query, nil)
		var lines []api.LogLine
		for line := range strings.Lines(string(data)) {
			var l api.LogLine
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			lines = append(lines, l)
		}
		return lines
	}
	has := func(lines []api.LogLine, kind, text string) bool {
		for _, l := range lines {
			if l.Kind == kind && l.POP == "au" && !l.Time.IsZero() && (l.Message == text || bytes.Contains(l.Access, []byte(text))) {
				return true
			}
		}
		return false
	}
	eventually(t, "the visit stands in the log", func() bool { return has(read(""), "access", `"path":"/first"`) })
	if lines := read(""); !has(lines, "agent", "release activated") {
		t.Errorf("the activation is not in %+v", lines)
	}
	if lines := read("?since=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339)); len(lines) != 0 {
		t.Errorf("since a time to come there are %+v", lines)
	}
	c.refused(http.StatusBadRequest, api.CodeBadRequest, "GET", "/v1/logs?since=yesterday", nil)
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), "GET", c.base+"/v1/logs?follow=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	follower := bufio.NewScanner(resp.Body)
	until := func(text string) {
		t.Helper()
		for follower.Scan() {
			if strings.Contains(follower.Text(), text) {
				return
			}
		}
		t.Fatalf("the log ended before %q: %v", text, follower.Err())
	}
	until("release activated")
	p.visit("/second")
	until("/second")
	c.deploy(2, tree{"index.html": "two"})
	until("release activated")
	if err := p.stop(); err != nil { // does not wait for who follows
		t.Fatal(err)
	}
	if !strings.Contains(outside.String(), "release activated") {
		t.Errorf("the log outside has %q", outside.String())
	}
}

func TestAStateDirectoryIsOneAgents(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	second := &pop{t: t, fleet: f, name: "au", dir: p.dir}
	if err := second.tryStart(); len(mistake.Of(err)) != 1 || !strings.Contains(err.Error(), "another agent runs") {
		t.Errorf("a second agent: %v", err)
	}
	p.owner().status()
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	second.start()
}

func TestAnAgentIsEnrolledOnce(t *testing.T) {
	f := newFleet(t)
	p := &pop{t: t, fleet: f, name: "au", dir: t.TempDir()}
	if err := p.tryStart(); !errors.Is(err, agent.ErrNotEnrolled) {
		t.Errorf("without an enrolment: %v", err)
	}
	with := func(e agent.Enrolment) func(*agent.Options) { return func(o *agent.Options) { o.Enrolment = e } }
	for _, bad := range []agent.Enrolment{{Fleet: "Tests", POP: "au"}, {Fleet: fleetName, POP: "a.u"}, {Fleet: fleetName}, {Fleet: "../x", POP: "au"}} {
		bad.Owner = f.owner.Identity().Owner
		if err := p.tryStart(with(bad)); len(mistake.Of(err)) != 1 {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	p.start(with(p.enrolment()))
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	p.start()
	if p.agent.Enrolment() != p.enrolment() {
		t.Errorf("enrolled as %+v", p.agent.Enrolment())
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	other := p.enrolment()
	other.POP = "fr"
	if err := p.tryStart(with(other)); len(mistake.Of(err)) != 1 || !strings.Contains(err.Error(), "POP au of the fleet") {
		t.Errorf("as another POP: %v", err)
	}
}

func TestDamagedStateIsReportedAndNotReplaced(t *testing.T) {
	f := newFleet(t)
	for _, file := range []string{"enrolment.json", "roster.json", "leaf.pem", "agent.key"} {
		t.Run(file, func(t *testing.T) {
			name := "p" + strings.NewReplacer(".", "").Replace(file)
			p := f.ready(name)
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(p.dir, file)
			if err := os.WriteFile(path, []byte("rot"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := p.tryStart(); err == nil {
				t.Error("it started")
			}
			if data, err := os.ReadFile(path); err != nil || string(data) != "rot" {
				t.Errorf("the file is %q, %v", data, err)
			}
		})
	}
}

func TestNothingIsServedThatNeedsTheNetwork(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	p.owner().deploy(1, tree{"index.html": "one"})
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(p.dir, "leaf.pem")); err != nil { // nor a certificate of the fleet
		t.Fatal(err)
	}
	p.start()
	p.serves("/", "one")
}
