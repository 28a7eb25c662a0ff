package keys_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/keys"
)

// TestCurlConnectsAsTheOwner follows docs/keys.md: openssl makes the certificate
// from the owner's key, and curl verifies the agent's with the fleet's CA.
func TestCurlConnectsAsTheOwner(t *testing.T) {
	for _, program := range []string{"openssl", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	dir := t.TempDir()
	state := initFleet(t, keys.InitOptions{StateDir: dir})
	owner := openFleet(t, dir)
	pop := actor(t)
	if err := owner.AddPOP("au", pop.Public()); err != nil {
		t.Fatal(err)
	}
	chain, err := owner.IssuePOP("au")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := keys.ParseLeaf(chain, pop, fleet, "au")
	if err != nil {
		t.Fatal(err)
	}
	roster, _ := owner.Roster()
	address := serveWhoAmI(t, keys.ServerTLS(func() *tls.Certificate { return leaf }, func() *keys.Roster { return roster }))

	certificate, stranger, strangers := filepath.Join(dir, "me.pem"), filepath.Join(dir, "stranger.key"), filepath.Join(dir, "stranger.pem")
	say(t, "openssl", "req", "-x509", "-new", "-key", state.KeyFile, "-subj", "/CN=me", "-days", "1", "-out", certificate)
	say(t, "openssl", "req", "-x509", "-new", "-newkey", "ed25519", "-nodes", "-keyout", stranger, "-subj", "/CN=me", "-days", "1", "-out", strangers)
	curl := func(cert, key string) (string, error) {
		url := "https://" + keys.POPName(fleet, "au")
		out, err := exec.CommandContext(t.Context(), "curl", "-sS", "--max-time", "60", "--noproxy", "*", "--connect-to", "::"+address,
			"--cacert", filepath.Join(state.Dir, "ca", "ca.pem"), "--cert", cert, "--key", key, url+"/").CombinedOutput()
		return string(out), err
	}
	if out, err := curl(certificate, state.KeyFile); err != nil || out != "HTTP/2.0 "+state.Owner.String() {
		t.Errorf("curl says %q, %v", out, err)
	}
	if out, err := curl(strangers, stranger); err == nil {
		t.Errorf("a stranger is told %q", out)
	}
}

// serveWhoAmI answers each request with its protocol and whose it is.
func serveWhoAmI(t *testing.T, config *tls.Config) (address string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		TLSConfig: config, ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			key, ok := keys.PeerKey(r.TLS)
			if !ok {
				http.Error(w, "nobody", http.StatusForbidden)
				return
			}
			_, _ = io.WriteString(w, r.Proto+" "+key.String())
		}),
	}
	done := make(chan error, 1) // why Serve ended
	go func() { done <- server.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		_ = server.Shutdown(context.WithoutCancel(t.Context()))
		<-done
	})
	return l.Addr().String()
}

// TestAnHTTPClientOfOursSpeaksHTTP2 is how control connects.
func TestAnHTTPClientOfOursSpeaksHTTP2(t *testing.T) {
	s := newSmall(t, time.Now)
	leaf := s.leaf(t, "au", s.pops["au"])
	roster := func() *keys.Roster { return s.roster }
	address := serveWhoAmI(t, keys.ServerTLS(func() *tls.Certificate { return leaf }, roster))
	transport := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: keys.ClientTLS(s.identity(t, s.members["deploy"]), "au", roster, time.Now),
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := "HTTP/2.0 " + s.members["deploy"].Public().String(); err != nil || string(body) != want {
		t.Errorf("the answer is %q, %v; want %q", body, err, want)
	}
}

// say runs a program that must not fail.
func say(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
