package up

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/config"
)

func TestAllPOPsAnswerAlikeOverAllProtocols(t *testing.T) {
	c, _ := common(t)
	dir := directory(t, map[string]string{"index.html": "<p>home", "page.html": "<p>a page", "data.bin": strings.Repeat("\x00\x01", 3000)})
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(filesSite("site.localhost", dir))})
	v := newVisitor(t, f.report.CA)
	names := []string{"au", "ny", "fr"}
	if len(f.report.POPs) != len(names) {
		t.Fatalf("%+v run, want %v", f.report.POPs, names)
	}
	for _, path := range []string{"/", "/page", "/data.bin", "/nothing"} {
		var first answer
		for i, p := range f.report.POPs {
			if p.Name != names[i] || p.Place == "" {
				t.Errorf("POP %d is %+v, want %s", i, p, names[i])
			}
			for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
				got := v.get(protocol, p.HTTPS+path)
				for _, name := range []string{"Date", "Alt-Svc"} {
					got.header.Del(name)
				}
				if first.status == 0 {
					first = got
				}
				if diff := cmp.Diff(first, got, cmp.AllowUnexported(answer{})); diff != "" {
					t.Errorf("%s at %s over %s differs from the first answer:\n%s", path, p.Name, protocol, diff)
				}
			}
			plain := v.get("HTTP/1.1", p.HTTP+path+"?q=1")
			if plain.status != http.StatusPermanentRedirect || plain.header.Get("Location") != p.HTTPS+path+"?q=1" {
				t.Errorf("%s%s: %d to %q, want 308 to HTTPS", p.HTTP, path, plain.status, plain.header.Get("Location"))
			}
		}
		if want := http.StatusOK; path != "/nothing" && (first.status != want || first.header.Get("Etag") == "") {
			t.Errorf("%s: %+v", path, first)
		}
	}
}

func TestTheFirstSiteAnswersToAllNamesOfThisMachine(t *testing.T) {
	c, _ := common(t)
	site := filesSite("example.org", directory(t, map[string]string{"index.html": "home"}))
	site.Hosts = []string{"www.example.org"}
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(site)})
	v := newVisitor(t, f.report.CA)
	hosts := []string{"example.org", "example.org.localhost", "www.example.org", "www.example.org.localhost", "localhost", "127.0.0.1"}
	if hasIPv6() {
		hosts = append(hosts, "::1")
	}
	if diff := cmp.Diff(hosts, f.report.Sites[0].Hosts); diff != "" {
		t.Error(diff)
	}
	for _, p := range f.report.POPs {
		for _, host := range hosts {
			for _, protocol := range []string{"HTTP/2.0", "HTTP/3.0"} {
				if got := v.get(protocol, at(t, p.HTTPS, host)+"/"); got.status != http.StatusOK || got.body != "home" {
					t.Errorf("%s at %s over %s: %+v", host, p.Name, protocol, got)
				}
			}
		}
		plain := v.client("HTTP/1.1", "")
		for _, other := range []string{"other.example", "evil.localhost"} {
			if got, err := ask(plain, at(t, p.HTTP, other)+"/"); err != nil || got.status != http.StatusMisdirectedRequest {
				t.Errorf("%s at %s: %+v, %v, want 421", other, p.Name, got, err)
			}
		}
	}
	if got := v.get("HTTP/2.0", f.report.Sites[0].URL); got.status != http.StatusOK {
		t.Errorf("the URL that is told, %s: %+v", f.report.Sites[0].URL, got)
	}
}

// at returns a URL with another host and the same port.
func at(t *testing.T, base, host string) string {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = net.JoinHostPort(host, u.Port())
	return u.String()
}

func TestWhatTheFleetFileKeepsTheAgentsKeep(t *testing.T) {
	c, _ := common(t)
	fleet := demo(filesSite("a.example", directory(t, map[string]string{"index.html": "this is a"})))
	fleet.Retention = config.Retention{Releases: 3, Days: 2}
	start(t, Fleet, FleetOptions{Common: c, Fleet: fleet})
	for _, p := range fleet.POPs {
		text, err := os.ReadFile(filepath.Join(c.State, "up", fleet.Name, "pops", p.Name, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		var statement struct {
			Payload api.Config `json:"payload"`
		}
		if err := json.Unmarshal(text, &statement); err != nil {
			t.Fatal(err)
		}
		if want := (api.Retention{Releases: 3, Age: 2 * 24 * 60 * 60}); statement.Payload.Retention != want {
			t.Errorf("%s keeps %+v, want %+v", p.Name, statement.Payload.Retention, want)
		}
	}
}

func TestTwoSitesHaveCertificatesOfTheirOwn(t *testing.T) {
	c, _ := common(t)
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(
		filesSite("a.example", directory(t, map[string]string{"index.html": "this is a"})),
		filesSite("b.example", directory(t, map[string]string{"index.html": "this is b"})),
	)})
	v := newVisitor(t, f.report.CA)
	for _, p := range f.report.POPs {
		for _, name := range []string{"a", "b"} {
			for _, host := range []string{name + ".example", name + ".example.localhost"} {
				client := v.client("HTTP/2.0", "")
				resp, err := client.Get(at(t, p.HTTPS, host) + "/")
				if err != nil {
					t.Fatalf("%s at %s: %v", host, p.Name, err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(body) != "this is "+name {
					t.Errorf("%s at %s: %q, %v", host, p.Name, body, err)
				}
				other := map[string]string{"a": "b.example", "b": "a.example"}[name]
				if leaf := resp.TLS.PeerCertificates[0]; leaf.VerifyHostname(host) != nil || leaf.VerifyHostname(other) == nil {
					t.Errorf("%s at %s: the certificate is for %q", host, p.Name, leaf.DNSNames)
				}
			}
		}
		for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
			got, err := ask(v.client(protocol, "a.example"), at(t, p.HTTPS, "b.example")+"/")
			if err != nil || got.status != http.StatusMisdirectedRequest {
				t.Errorf("b.example on a connection of a.example at %s over %s: %+v, %v, want 421", p.Name, protocol, got, err)
			}
		}
	}
}

// occupy takes a port on IPv4, or finds it taken.
func occupy(t *testing.T, port int) {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
}

func portOf(t *testing.T, base string) int {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestPortsThatAreTakenAreLeftAlone(t *testing.T) {
	dir := directory(t, map[string]string{"index.html": "home"})
	t.Run("one of a few", func(t *testing.T) {
		occupy(t, firstHTTPS)
		occupy(t, firstHTTP)
		c, _ := common(t)
		f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(filesSite("site.localhost", dir))})
		v := newVisitor(t, f.report.CA)
		taken := map[int]string{firstHTTPS: "somebody", firstHTTP: "somebody"}
		for _, p := range f.report.POPs {
			for _, base := range []string{p.HTTPS, p.HTTP} {
				port := portOf(t, base)
				if who := taken[port]; who != "" {
					t.Errorf("%s has port %d, as %s has", p.Name, port, who)
				}
				taken[port] = p.Name
			}
			if got := v.get("HTTP/2.0", p.HTTPS+"/"); got.body != "home" {
				t.Errorf("%s: %+v", p.Name, got)
			}
		}
	})
	t.Run("all", func(t *testing.T) {
		for i := range portTries {
			occupy(t, firstHTTPS+i)
			occupy(t, firstHTTP+i)
		}
		c, _ := common(t)
		fleet := demo(filesSite("site.localhost", dir))
		fleet.POPs = fleet.POPs[:1]
		f := start(t, Fleet, FleetOptions{Common: c, Fleet: fleet})
		p := f.report.POPs[0]
		for _, base := range []string{p.HTTPS, p.HTTP} {
			if port := portOf(t, base); port < 1024 || port >= firstHTTP && port < firstHTTP+portTries || port >= firstHTTPS && port < firstHTTPS+portTries {
				t.Errorf("%s is not a free port", base)
			}
		}
		if got := newVisitor(t, f.report.CA).get("HTTP/3.0", p.HTTPS+"/"); got.body != "home" {
			t.Errorf("%+v", got)
		}
	})
}

// What is on its way is finished, what is finished is in the access log, and then
// nothing listens any more.
func TestStoppingFinishesDownloadsAndThenEverythingElse(t *testing.T) {
	c, _ := common(t)
	c.AccessLog = filepath.Join(t.TempDir(), "access.log")
	large := strings.Repeat("0123456789abcdef", 2<<20) // 32 MiB
	dir := directory(t, map[string]string{"index.html": "home", "large.bin": large})
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(filesSite("site.localhost", dir))})
	v := newVisitor(t, f.report.CA)

	var bodies []io.ReadCloser
	for i, p := range f.report.POPs {
		resp, err := v.client([]string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"}[i], "").Get(p.HTTPS + "/large.bin")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		bodies = append(bodies, resp.Body)
	}
	f.stop()
	refused := func(base string) {
		t.Helper()
		for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
			conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(portOf(t, base))))
			if errors.Is(err, syscall.ECONNREFUSED) {
				return
			}
			if err == nil {
				conn.Close()
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s still takes connections (%v)", base, err)
			}
		}
	}
	for _, p := range f.report.POPs {
		refused(p.HTTPS)
		refused(p.HTTP)
	}
	if resp, err := http.Get(f.report.Admin + "/metrics"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("metrics are gone before the requests are: %v", err)
	} else {
		resp.Body.Close()
	}
	select {
	case err := <-f.ended:
		t.Fatalf("it ended in the middle of downloads: %v", err)
	default:
	}
	for i, body := range bodies {
		got, err := io.ReadAll(body)
		if err != nil || string(got) != large {
			t.Errorf("%s: %d bytes of %d, %v", f.report.POPs[i].Name, len(got), len(large), err)
		}
		body.Close()
	}
	if err := f.wait(t); err != nil {
		t.Errorf("it ended with %v", err)
	}
	refused(f.report.Admin)
	checkAccessLog(t, c.AccessLog, len(large))
}

func checkAccessLog(t *testing.T, file string, size int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		var r struct {
			POP   string `json:"pop"`
			Path  string `json:"path"`
			Bytes int    `json:"bytes"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got[r.POP+r.Path] = r.Bytes
	}
	for _, pop := range []string{"au", "ny", "fr"} {
		if _, verified := got[pop+"/"]; !verified {
			t.Errorf("nobody has verified what %s serves", pop)
		}
		delete(got, pop+"/")
	}
	want := map[string]int{"au/large.bin": size, "ny/large.bin": size, "fr/large.bin": size}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the access log:\n%s", diff)
	}
}

// A browser that has seen HSTS for localhost lets nothing else on this machine be
// tried out without TLS.
func TestHSTSIsNeverSentWithThePrivateCA(t *testing.T) {
	dir := directory(t, map[string]string{"index.html": "home"})
	t.Run("by a fleet", func(t *testing.T) {
		c, _ := common(t)
		site := filesSite("example.org", dir)
		site.HSTS = 180 * 24 * time.Hour
		f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(site)})
		v := newVisitor(t, f.report.CA)
		for _, p := range f.report.POPs {
			for _, url := range []string{p.HTTPS + "/", p.HTTPS + "/nothing", p.HTTP + "/"} {
				if got := v.get("HTTP/1.1", url); len(got.header.Values("Strict-Transport-Security")) > 0 {
					t.Errorf("%s has HSTS", url)
				}
			}
		}
	})
	t.Run("by one server", func(t *testing.T) {
		c, l := common(t)
		s := start(t, Serve, ServeOptions{Common: c, Dir: dir, Listen: "localhost:0", TLS: true, HSTS: time.Hour})
		if got := newVisitor(t, s.report.CA).get("HTTP/2.0", s.report.URL); len(got.header.Values("Strict-Transport-Security")) > 0 {
			t.Error("it sends HSTS")
		}
		if !strings.Contains(l.String(), "HSTS not sent") {
			t.Errorf("it does not say that HSTS is not sent: %q", l)
		}
	})
}

func TestAFleetWithoutPOPsRunsThoseOfTheDemo(t *testing.T) {
	c, _ := common(t)
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: &config.Fleet{
		Name: "mine", Sites: []config.Site{filesSite("example.org", directory(t, map[string]string{"index.html": "home"}))},
	}})
	if len(f.report.POPs) != 3 || f.report.Name != "mine" {
		t.Fatalf("%+v", f.report)
	}
	if got := newVisitor(t, f.report.CA).get("HTTP/2.0", f.report.POPs[2].HTTPS+"/"); got.body != "home" {
		t.Errorf("%+v", got)
	}
}

func TestSitesThatCannotRunYetAreNamedAndTheOthersRun(t *testing.T) {
	c, _ := common(t)
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(
		config.Site{Name: "app.example", App: &config.App{Run: "./app"}},
		filesSite("files.example", directory(t, map[string]string{"index.html": "home"})),
		config.Site{Name: "img.example", Origin: &url.URL{Scheme: "https", Host: "bucket.example"}},
	)})
	want := []string{
		"app.example: not yet: this version does not run apps",
		"img.example: not yet: this version does not fetch from origins",
	}
	if diff := cmp.Diff(want, f.report.NotYet); diff != "" {
		t.Error(diff)
	}
	if got := newVisitor(t, f.report.CA).get("HTTP/2.0", f.report.POPs[0].HTTPS+"/"); got.body != "home" {
		t.Errorf("%+v", got)
	}
}

func TestWithoutASiteTheWelcomeSiteIsServed(t *testing.T) {
	c, _ := common(t)
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: Demo(), Version: "v9.9"})
	v := newVisitor(t, f.report.CA)
	for _, p := range f.report.POPs {
		got := v.get("HTTP/2.0", p.HTTPS+"/")
		for _, want := range []string{"v9.9", "Sydney", "New York", "Strasbourg", f.report.POPs[2].HTTPS} {
			if !strings.Contains(got.body, want) {
				t.Errorf("the welcome page of %s does not have %q", p.Name, want)
			}
		}
	}
}

// A start that fails leaves no port taken.
func TestAStartThatFailsGivesItsPortsBack(t *testing.T) {
	c, _ := common(t)
	err := Fleet(t.Context(), FleetOptions{Common: c, Fleet: demo(filesSite("site.localhost", filepath.Join(t.TempDir(), "nothing")))}, func(Running) {
		t.Error("it says that it runs")
	})
	if err == nil || !strings.Contains(err.Error(), "there is no such directory") {
		t.Fatalf("%v", err)
	}
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(filesSite("site.localhost", directory(t, map[string]string{"index.html": "home"})))})
	if len(f.report.POPs) != 3 {
		t.Errorf("%+v", f.report)
	}
}

func TestMetricsNameEveryPOP(t *testing.T) {
	c, _ := common(t)
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(filesSite("site.localhost", directory(t, map[string]string{"index.html": "home"})))})
	v := newVisitor(t, f.report.CA)
	for _, p := range f.report.POPs {
		v.get("HTTP/2.0", p.HTTPS+"/")
	}
	metrics := v.get("HTTP/1.1", f.report.Admin+"/metrics").body
	for _, p := range f.report.POPs {
		if want := fmt.Sprintf("pop=%q", p.Name); !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestTheOptOutPageIsASiteOfEveryPOP(t *testing.T) {
	c, _ := common(t)
	fleet := demo(filesSite("example.org", directory(t, map[string]string{"index.html": "home"})))
	fleet.Sweep = config.Sweep{Contact: "mailto:me@example.org", OptOut: "bot.example.org", PerAddress: new(0.25)}
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: fleet, Version: "v9.9"})
	if len(f.report.Sites) != 2 || f.report.Sites[1].Name != "bot.example.org" {
		t.Fatalf("it serves %+v", f.report.Sites)
	}
	v := newVisitor(t, f.report.CA)
	for _, p := range f.report.POPs {
		_, port, _ := strings.Cut(strings.TrimPrefix(p.HTTPS, "https://"), ":")
		for _, host := range []string{"bot.example.org", "bot.example.org.localhost"} {
			got := v.get("HTTP/2.0", "https://"+host+":"+port+"/")
			for _, want := range []string{"compatible; penny/v9.9; +mailto:me@example.org", `href="mailto:me@example.org"`, "At most 15 requests a minute to one address."} {
				if got.status != 200 || !strings.Contains(html.UnescapeString(got.body), want) {
					t.Errorf("%s on %s: status %d, and the page does not have %q", host, p.Name, got.status, want)
				}
			}
			if policy := got.header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'self'; ") {
				t.Errorf("the policy is %q", policy)
			}
		}
		if got := v.get("HTTP/2.0", "https://example.org:"+port+"/"); got.body != "home" {
			t.Errorf("the other site says %q", got.body)
		}
	}
}

func TestAFleetWithNothingButAnOptOutPageShowsTheWelcomeSiteToo(t *testing.T) {
	c, _ := common(t)
	fleet := demo()
	fleet.Sweep = config.Sweep{Contact: "https://example.org/", OptOut: "bot.example.org"}
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: fleet})
	if len(f.report.Sites) != 2 || f.report.Sites[0].Name != WelcomeName || f.report.Sites[1].Name != "bot.example.org" {
		t.Fatalf("it serves %+v", f.report.Sites)
	}
}
