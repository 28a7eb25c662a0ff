package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/serve/site"
)

func TestRequestsAreCountedBySiteProtocolAndStatus(t *testing.T) {
	r := start(t, setup{fleet: true, secure: true})
	h1, h2, h3 := r.overHTTP1(hostA), r.overHTTP2(hostA), r.overHTTP3(hostA)
	page := h1.do("GET", hostA, "/")
	h2.do("GET", hostA, "/style.css")
	h2.do("GET", hostA, "/none")
	h2.do("POST", hostA, "/")
	h3.do("HEAD", hostA, "/")
	h3.do("GET", hostB, "/")
	got := make(map[string]float64)
	want := map[string]float64{
		`penny_requests_total{pop="au",protocol="HTTP/1.1",site="site-a",status="2xx"}`:            1,
		`penny_requests_total{pop="au",protocol="HTTP/2",site="site-a",status="2xx"}`:              1,
		`penny_requests_total{pop="au",protocol="HTTP/2",site="site-a",status="4xx"}`:              2,
		`penny_requests_total{pop="au",protocol="HTTP/3",site="site-a",status="2xx"}`:              1,
		`penny_requests_total{pop="au",protocol="HTTP/3",site="",status="4xx"}`:                    1,
		`penny_body_bytes_total{pop="au",site="site-a"}`:                                           float64(len(page.text) + 2100 + 14 + 43),
		`penny_answer_seconds_count{pop="au"}`:                                                     4,
		`penny_refusals_total{pop="au",reason="method not allowed"}`:                               1,
		`penny_refusals_total{pop="au",reason="host not covered by the certificate"}`:              1,
		`penny_tls_handshakes_total{pop="au",result="ok"}`:                                         2,
		`penny_panics_total{pop="au"}`:                                                             0,
		`penny_refusals_total{pop="au",reason="there is no such reason, and so there is no line"}`: 0,
	}
	for name := range want {
		got[name] = r.counter(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

// The page of metrics names all that there are, with their labels.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, setup{log: true, secure: true})
	one, two := newSite(t, "one", nil).Live, newSite(t, "one", nil).Live
	r.metrics.WatchSites("au", func() []*site.Live { return []*site.Live{one} })
	r.metrics.WatchSites("fr", func() []*site.Live { return []*site.Live{two} }) // the same site on another POP
	r.metrics.WatchAccessLog(r.access)
	r.overHTTP1("localhost").do("POST", "", "/")
	kinds := regexp.MustCompile(`(?m)^# TYPE (penny_\S+) (\S+)$`).FindAllStringSubmatch(exposition(t, r.metrics), -1)
	var want, got []string
	for _, kind := range kinds {
		want = append(want, kind[1]+" "+kind[2])
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(penny_[a-z_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(string(page), -1) {
		got = append(got, row[1]+" "+row[2])
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/metrics.md (-there are +it has):\n%s", diff)
	}
}

func TestASiteIsMeasuredOnEveryPOP(t *testing.T) {
	m := NewMetrics()
	live := newSite(t, "one", nil).Live
	for _, pop := range []string{"au", "fr"} {
		m.WatchSites(pop, func() []*site.Live { return []*site.Live{live} })
	}
	page := exposition(t, m)
	for _, pop := range []string{"au", "fr"} {
		if want := fmt.Sprintf("penny_site_files{pop=%q,site=%q} ", pop, live.Name()); !strings.Contains(page, want) {
			t.Errorf("there is no %s in\n%s", want, page)
		}
	}
}

// The page of limits names all fields, with their defaults.
func TestLimitsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		"| size of a head | `header_bytes` | 32 KiB |", "| fields of a head | `header_fields` | 128 |", "| request line | – | 8 KiB |",
		"| time for a head | `header_timeout` | 5 s |", "| idle time | `idle_timeout` | 60 s |", "| time for a handshake | – | 10 s |",
		"| minimum rate | `min_rate` | 1 KiB/s, 10 s of grace |", "| connections per client | `connections_per_client` | 1024 |",
		"| streams per connection | `streams_per_connection` | 128 |", "| time to drain | – | 30 s |",
	} {
		if !strings.Contains(string(page), "\n"+row) {
			t.Errorf("docs/limits.md lacks the row %s", row)
		}
	}
}

// The page of the access log has an example with every field.
func TestTheAccessLogIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/access-log.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"time", "pop", "client", "host", "method", "path", "status", "bytes", "ms", "protocol", "cache", "refused", "user_agent", "referrer", "sample"} {
		if !strings.Contains(string(page), "| `"+field+"` |") || !strings.Contains(string(page), `"`+field+`":`) {
			t.Errorf("docs/access-log.md lacks %s in its table or its examples", field)
		}
	}
}

func TestAdminServesItsOwnerAndNoBrowserFromElsewhere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ServeAdmin(ctx, ln, NewMetrics(), nil) }()
	c := client{t, "http://" + ln.Addr().String(), &http.Transport{DisableKeepAlives: true}}
	for _, test := range []struct {
		method, host, path string
		status             int
		contains           string
	}{
		{"GET", "", "/metrics", 200, "go_goroutines"},
		{"GET", "localhost:9090", "/metrics", 200, "process_"},
		{"GET", "[::1]:9090", "/metrics", 200, ""},
		{"GET", "rebound.example", "/metrics", 421, ""},
		{"GET", "rebound.example", "/debug/pprof/", 421, ""},
		{"GET", "", "/debug/pprof/", 200, "goroutine"},
		{"GET", "", "/debug/pprof/goroutine?debug=1", 200, "goroutine profile"},
		{"GET", "", "/debug/pprof/cmdline", 200, ""},
		{"GET", "", "/", 200, "/metrics"},
		{"GET", "", "/other", 404, ""},
		{"POST", "", "/metrics", 405, ""},
	} {
		got := c.do(test.method, test.host, test.path)
		if got.StatusCode != test.status || !strings.Contains(got.text, test.contains) {
			t.Errorf("%s %s of %q: %d %.80q", test.method, test.path, test.host, got.StatusCode, got.text)
		}
	}
	cancel()
	ends(t, ended)

	bad, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bad.Close()
	if err := ServeAdmin(t.Context(), bad, NewMetrics(), nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener that fails: %v", err)
	}
}

func TestNothingOfTheAdminIsServedToVisitors(t *testing.T) {
	r := start(t, setup{})
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/vars"} {
		if got := r.overHTTP1("").do("GET", "", path); got.StatusCode != 404 {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
	}
}

// A file that changes under an answer breaks the answer off.
func TestAnAnswerWhoseFileChangesIsNotPassedOffAsWhole(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2", "HTTP/3"} {
		t.Run("over "+version, func(t *testing.T) {
			dir := ""
			r := start(t, slowSite(t, setup{secure: true, keepDir: &dir}))
			c := map[string]client{"HTTP/1.1": r.overHTTP1("localhost"), "HTTP/2": r.overHTTP2("localhost"), "HTTP/3": r.overHTTP3("localhost")}[version]
			res, err := c.stream("/big.bin")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if err := os.WriteFile(filepath.Join(dir, "big.bin"), []byte("another"), 0o600); err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, res.Body); err == nil {
				t.Errorf("the answer ended well after %d bytes", n)
			}
			if got := c.do("GET", "", "/big.bin"); got.StatusCode != 503 || got.Header.Get("Retry-After") != "1" {
				t.Errorf("as long as the site does not know the new file: %d, want 503", got.StatusCode)
			}
		})
	}
}

func TestAPanicIsToldCountedAndBreaksTheAnswerOff(t *testing.T) {
	var told bytes.Buffer
	log := &syncWriter{w: &told}
	r := start(t, setup{secure: true, edit: func(o *Options) { o.Log = slog.New(slog.NewTextHandler(log, nil)) }})
	r.server.table.Store(nil) // a mistake of ours
	r.everyProtocol(t, "localhost", func(t *testing.T, c client) {
		if got, err := c.try("GET", "", "/", nil); err == nil {
			t.Errorf("got %d", got.StatusCode)
		}
	})
	eventually(t, "the panics are counted", func() bool { return r.counter(`penny_panics_total{pop="au"}`) >= 3 })
	log.mu.Lock()
	defer log.mu.Unlock()
	if !strings.Contains(told.String(), "msg=panic") || !strings.Contains(told.String(), "(*Table).lookup") {
		t.Errorf("told was %q", told.String())
	}
}
