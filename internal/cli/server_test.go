package cli_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/cli"
)

// limit bounds every wait.
const limit = 20 * time.Second

// A run is a command that runs in this process.
type run struct {
	stdout, stderr *output
	stop           context.CancelFunc
	code           chan int // one
}

// output collects what a command prints and tells of each piece.
type output struct {
	mu     sync.Mutex // guards text
	text   bytes.Buffer
	pieces chan string // room for more than any command prints
}

func newOutput() *output { return &output{pieces: make(chan string, 1000)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pieces <- string(p)
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// begin runs penny until the test ends.
func begin(t *testing.T, args ...string) *run {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &run{stdout: newOutput(), stderr: newOutput(), stop: stop, code: make(chan int, 1)}
	state := t.TempDir()
	env := cli.Env{Stdout: r.stdout, Stderr: r.stderr, Getenv: func(name string) string {
		if name == "PENNY_STATE" {
			return state
		}
		return ""
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.code <- cli.Run(ctx, env, args)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return r
}

// line returns the first piece that the command prints, which must be a line.
func (r *run) line(t *testing.T) string {
	t.Helper()
	select {
	case piece := <-r.stdout.pieces:
		if !strings.HasSuffix(piece, "\n") || strings.Count(piece, "\n") != 1 {
			t.Errorf("penny printed %q, want one line", piece)
		}
		return piece
	case code := <-r.code:
		t.Fatalf("penny ended with %d: %s", code, r.stderr)
	case <-time.After(limit):
		t.Fatal("penny prints nothing")
	}
	return ""
}

// end waits for the exit code.
func (r *run) end(t *testing.T) int {
	t.Helper()
	select {
	case code := <-r.code:
		return code
	case <-time.After(limit):
		t.Fatal("penny does not end")
	}
	return -1
}

// keysOf returns the keys of a JSON object in order.
func keysOf(t *testing.T, text []byte) []string {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return slices.Sorted(maps.Keys(object))
}

func siteDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("home"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func body(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// trusting returns a client that trusts a CA.
func trusting(t *testing.T, caFile string) *http.Client {
	t.Helper()
	text, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(text)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: limit}
}

func TestServePrintsOneLineOfJSONOnceItAnswers(t *testing.T) {
	r := begin(t, "serve", siteDir(t), "--listen", "127.0.0.1:0", "--json")
	line := r.line(t)
	if diff := cmp.Diff([]string{"admin", "bytes", "ca", "files", "memory", "url"}, keysOf(t, []byte(line))); diff != "" {
		t.Error(diff)
	}
	var s struct {
		URL, CA, Admin       string
		Files, Bytes, Memory int64
	}
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		t.Fatal(err)
	}
	if got := body(t, http.DefaultClient, s.URL); got != "home" {
		t.Errorf("%s has %q", s.URL, got)
	}
	if got := body(t, http.DefaultClient, s.Admin+"/metrics"); !strings.Contains(got, "penny_requests_total") {
		t.Errorf("%s/metrics has %q", s.Admin, got)
	}
	if s.Files != 1 || s.Bytes != 4 || s.Memory != 4 || s.CA != "" {
		t.Errorf("%+v", s)
	}
	r.stop()
	if code := r.end(t); code != 0 || r.stdout.String() != line || r.stderr.String() != "" {
		t.Errorf("exit code %d, printed %q and %q", code, r.stdout, r.stderr)
	}
}

func TestUpPrintsOneLineOfJSONOnceAllAnswer(t *testing.T) {
	t.Chdir(t.TempDir())
	r := begin(t, "up", "--json", "--site", siteDir(t))
	line := r.line(t)
	if diff := cmp.Diff([]string{"admin", "ca", "file", "fleet", "pops", "sites"}, keysOf(t, []byte(line))); diff != "" {
		t.Error(diff)
	}
	var u struct {
		POPs, Sites []json.RawMessage
		CA, Admin   string
	}
	if err := json.Unmarshal([]byte(line), &u); err != nil {
		t.Fatal(err)
	}
	if len(u.POPs) != 3 || len(u.Sites) != 1 {
		t.Fatalf("%s", line)
	}
	client := trusting(t, u.CA)
	for _, pop := range u.POPs {
		if diff := cmp.Diff([]string{"api", "http", "https", "name", "place"}, keysOf(t, pop)); diff != "" {
			t.Error(diff)
		}
		var p struct{ HTTPS, HTTP string }
		if err := json.Unmarshal(pop, &p); err != nil {
			t.Fatal(err)
		}
		for _, url := range []string{p.HTTPS + "/", p.HTTP + "/"} { // the second by way of a redirect
			if got := body(t, client, url); got != "home" {
				t.Errorf("%s has %q", url, got)
			}
		}
	}
	if diff := cmp.Diff([]string{"bytes", "deployed", "dir", "files", "generation", "hosts", "name", "release", "url"}, keysOf(t, u.Sites[0])); diff != "" {
		t.Error(diff)
	}
	client.CloseIdleConnections()
	r.stop()
	if code := r.end(t); code != 0 || r.stdout.String() != line || r.stderr.String() != "" {
		t.Errorf("exit code %d, printed %q and %q", code, r.stdout, r.stderr)
	}
}

// What changes while a site is served is told on standard error.
func TestServeTellsOfChangesAndOfMistakesInThem(t *testing.T) {
	dir := siteDir(t)
	r := begin(t, "serve", dir, "--listen", "127.0.0.1:0", "--admin", "", "--quiet=false")
	r.line(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	says := func(wants ...string) {
		t.Helper()
		deadline := time.Now().Add(limit)
		for _, want := range wants {
			for !strings.Contains(r.stderr.String(), want) {
				if time.Now().After(deadline) {
					t.Fatalf("penny does not say %q, but %q", want, r.stderr)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	write("page.html", "page")
	says("site changed", "files=2")
	write("_redirects", "/old\n")
	says("error: site not changed", "_redirects:1:5: expected a target after the source", "  hint: write: /old /new-path 301")
	r.stop()
	if code := r.end(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// pair writes a certificate for a name, and its key.
func pair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	if err := errors.Join(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// What depends on this machine is not in the scripts.
func TestServeSaysWhyItCannotStart(t *testing.T) {
	dir, keys := siteDir(t), t.TempDir()
	aCert, aKey := pair(t, keys, "a.example")
	_, bKey := pair(t, keys, "b.example")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"a port that is taken": {
			[]string{"--listen", taken.Addr().String()},
			[]string{"error: --listen: another program listens there already: listen on " + taken.Addr().String(), "hint: --listen 127.0.0.1:0 takes a free port"},
		},
		"the key of another certificate": {
			[]string{"--cert", aCert, "--key", bKey},
			[]string{"error: " + bKey + ": is not the key of the certificate in " + aCert + ", which is for a.example", "hint: certificate and key must come from the same order"},
		},
		"certificate and key the wrong way round": {
			[]string{"--cert", aKey, "--key", aCert},
			[]string{"hint: are the certificate and the key the wrong way round?"},
		},
		"a certificate that is not there": {
			[]string{"--cert", filepath.Join(keys, "none.pem"), "--key", aKey},
			[]string{"none.pem: there is no such file", "hint: --cert and --key name the files"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := begin(t, append([]string{"serve", dir, "--listen", "127.0.0.1:0", "--admin", ""}, tc.args...)...)
			if code := r.end(t); code != 1 || r.stdout.String() != "" {
				t.Errorf("exit code %d, printed %q", code, r.stdout)
			}
			for _, want := range tc.want {
				if !strings.Contains(r.stderr.String(), want) {
					t.Errorf("penny says\n%s\nwant %s", r.stderr, want)
				}
			}
		})
	}
	t.Run("and with a pair that matches it does", func(t *testing.T) {
		r := begin(t, "serve", dir, "--listen", "127.0.0.1:0", "--cert", aCert, "--key", aKey, "--host", "a.example")
		if line := r.line(t); !strings.Contains(line, "https://a.example:") {
			t.Errorf("penny says %q", line)
		}
	})
}
