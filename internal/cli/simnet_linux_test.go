package cli_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"pennyfarthing/internal/sweep/simnet"
)

// pennyPath is the program as scripts find it.
func pennyPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("penny")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestASimulatedInternetRunsInAProcessOfItsOwn(t *testing.T) {
	var stderr bytes.Buffer
	child, err := simnet.StartChild(t.Context(), simnet.ChildConfig{Penny: pennyPath(t), Profile: simnet.Quick, Seed: 3, Admin: true, Stderr: &stderr})
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	ready := child.Ready
	if ready.Profile != "quick" || ready.Seed != 3 || len(ready.Controls) != 16 {
		t.Errorf("it says of itself %+v", ready)
	}
	addr := controlAddress(t, ready)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ready.CA)) {
		t.Fatalf("%q is no certificate", ready.CA)
	}
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(addr, strconv.Itoa(int(ready.HTTPS))))
		},
		TLSClientConfig: &tls.Config{RootCAs: roots},
	}}
	answer, err := client.Get("https://" + ready.Controls[0] + "/")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	for _, err := range []error{child.ThrottleDNS(t.Context(), 1000), child.Cut(t.Context(), true), child.Cut(t.Context(), false)} {
		if err != nil {
			t.Error(err)
		}
	}
	final, err := child.Stop(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	if final.DNS < 1 || final.Requests != 1 || final.Handshakes != 1 || final.UserSeconds+final.SystemSeconds <= 0 {
		t.Errorf("it says that it did %+v", final)
	}
	if stderr.Len() > 0 {
		t.Errorf("it complains: %s", &stderr)
	}
}

// controlAddress resolves a control.
func controlAddress(t *testing.T, ready simnet.Ready) string {
	t.Helper()
	answer, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion(ready.Controls[0]+".", dns.TypeA), ready.DNS)
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Answer) != 1 {
		t.Fatalf("a control has %v", answer.Answer)
	}
	return answer.Answer[0].(*dns.A).A.String()
}

func TestAChildWithoutSwitchesSaysSo(t *testing.T) {
	child, err := simnet.StartChild(t.Context(), simnet.ChildConfig{Penny: pennyPath(t), Profile: simnet.Quick})
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Cut(t.Context(), true); err == nil || !strings.Contains(err.Error(), "without switches") {
		t.Errorf("cutting the line says %v", err)
	}
	if _, err := child.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAChildThatCannotStartIsAnError(t *testing.T) {
	for _, penny := range []string{"/no/such/program", "/bin/true"} {
		if _, err := simnet.StartChild(t.Context(), simnet.ChildConfig{Penny: penny}); err == nil {
			t.Errorf("%s is a simulated internet", penny)
		}
	}
}

// parentVariable has the test below be the parent that dies.
const parentVariable = "PENNY_TEST_PARENT"

// TestAChildEndsWhenItsParentIsKilled starts a parent, kills it as nothing can be
// caught, and waits for the child's resolver to go.
func TestAChildEndsWhenItsParentIsKilled(t *testing.T) {
	if os.Getenv(parentVariable) != "" {
		child, err := simnet.StartChild(t.Context(), simnet.ChildConfig{Penny: pennyPath(t), Profile: simnet.Quick})
		if err != nil {
			t.Fatal(err)
		}
		if err := json.NewEncoder(os.Stderr).Encode(child.Ready); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * limit) // until it is killed
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self, "-test.run=^TestAChildEndsWhenItsParentIsKilled$")
	parent.Env = append(os.Environ(), parentVariable+"=1", "TMPDIR="+t.TempDir()) // what it leaves there goes, too
	output, err := parent.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var ready simnet.Ready
	if err := json.NewDecoder(output).Decode(&ready); err != nil {
		t.Fatal(errors.Join(err, parent.Process.Kill(), parent.Wait()))
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, output)
	_ = parent.Wait() // killed
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", ready.DNS, limit)
		if err != nil {
			return // nobody is there any more
		}
		conn.Close()
		if time.Now().After(end) {
			t.Fatal("the child outlives its parent")
		}
	}
}

func TestASimulatedInternetThatCannotStartSaysWhy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, args := range [][]string{
		{"--dns", taken.Addr().String(), "--http", "0", "--https", "0"},
		{"--dns", "127.0.0.1:0", "--http", "0", "--https", "0", "--admin", taken.Addr().String()},
		{"--dns", "127.0.0.1:0", "--http", "0", "--https", "0", "--ca", "/no/such/directory/ca.pem"},
	} {
		r := begin(t, append([]string{"simnet", "--profile", "quick"}, args...)...)
		if code := r.end(t); code != 1 || !strings.HasPrefix(r.stderr.String(), "error: ") {
			t.Errorf("penny simnet %s ends with %d: %s", strings.Join(args, " "), code, r.stderr)
		}
	}
}
