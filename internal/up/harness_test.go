package up

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"pennyfarthing/internal/fleet/config"
)

// TestMain keeps what depends on the machine, the size of UDP's buffers, out of the
// logs.
func TestMain(m *testing.M) {
	_ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") // only a name with NUL or "=" is refused
	os.Exit(m.Run())
}

// limit bounds every wait.
const limit = 20 * time.Second

// directory makes a directory with files.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// common are options with a state directory and a log of their own.
func common(t *testing.T) (Common, *log) {
	t.Helper()
	l := new(log)
	return Common{State: t.TempDir(), Admin: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(l, nil))}, l
}

type log struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// started is something that runs until it is stopped.
type started[Report any] struct {
	report Report
	stop   context.CancelFunc
	ended  chan error // one error, or nil
}

// start runs Serve or Fleet until the test ends.
func start[Options, Report any](t *testing.T, run func(context.Context, Options, func(Report)) error, o Options) *started[Report] {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready := make(chan Report, 1)
	s := &started[Report]{stop: cancel, ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ended <- run(ctx, o, func(r Report) { ready <- r })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	select {
	case s.report = <-ready:
	case err := <-s.ended:
		t.Fatalf("it does not start: %v", err)
	case <-time.After(limit):
		t.Fatal("it does not start")
	}
	return s
}

// wait returns how it ended.
func (s *started[Report]) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(limit):
		t.Fatal("it does not end")
	}
	return nil
}

// A visitor asks servers on loopback, under any name.
type visitor struct {
	t     *testing.T
	trust *x509.CertPool
}

func newVisitor(t *testing.T, caFile string) visitor {
	t.Helper()
	v := visitor{t, x509.NewCertPool()}
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil || !v.trust.AppendCertsFromPEM(text) {
			t.Fatalf("read the CA: %v", err)
		}
	}
	return v
}

// client speaks one version of HTTP. Whatever name it is given, it connects to
// loopback. The name of the server, if not empty, replaces that of the URL in the
// handshake.
func (v visitor) client(protocol, serverName string) *http.Client {
	config := &tls.Config{RootCAs: v.trust, ServerName: serverName, MinVersion: tls.VersionTLS12}
	client := &http.Client{Timeout: limit, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if protocol == "HTTP/3.0" {
		transport := &http3.Transport{
			TLSClientConfig: config, DisableCompression: true,
			Dial: func(ctx context.Context, addr string, config *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
				return quic.DialAddrEarly(ctx, onLoopback(addr), config, quicConfig)
			},
		}
		v.t.Cleanup(func() { transport.Close() })
		client.Transport = transport
		return client
	}
	speaks := new(http.Protocols)
	speaks.SetHTTP1(protocol == "HTTP/1.1")
	speaks.SetHTTP2(protocol == "HTTP/2.0")
	transport := &http.Transport{
		TLSClientConfig: config, Protocols: speaks, DisableCompression: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, onLoopback(addr))
		},
	}
	v.t.Cleanup(transport.CloseIdleConnections)
	client.Transport = transport
	return client
}

// onLoopback returns the address where a name is served in these tests.
func onLoopback(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || net.ParseIP(host) != nil {
		return addr
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// An answer is what a visitor got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (v visitor) get(protocol, url string) answer {
	v.t.Helper()
	a, err := ask(v.client(protocol, ""), url)
	if err != nil {
		v.t.Fatalf("%s over %s: %v", url, protocol, err)
	}
	return a
}

func ask(client *http.Client, url string) (answer, error) {
	resp, err := client.Get(url)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}, err
}

// writePair writes a certificate and its key into files.
func writePair(t *testing.T, pair *tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	var chain bytes.Buffer
	for _, raw := range pair.Certificate {
		chain.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
	}
	if err := errors.Join(os.WriteFile(cert, chain.Bytes(), 0o644),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func filesSite(name, dir string) config.Site {
	return config.Site{Name: name, Files: dir, Dialect: config.DialectNetlify}
}

func demo(sites ...config.Site) *config.Fleet {
	fleet := Demo()
	fleet.Sites = sites
	return fleet
}
