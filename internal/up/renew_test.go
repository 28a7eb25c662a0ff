package up

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A fleet that runs for months goes on having certificates.
func TestCertificatesAreRenewedWhileItRuns(t *testing.T) {
	const day = 24 * time.Hour
	c, log := common(t)
	fleet := demo(filesSite("site.localhost", directory(t, map[string]string{"index.html": "home"})))
	fleet.POPs = fleet.POPs[:2]
	var ahead atomic.Int64 // of the clock, in nanoseconds
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: fleet, now: now, every: 20 * time.Millisecond})
	// shown is until when the certificates are valid that visitors are shown: of the site,
	// and of its previews.
	shown := func(base string) (all []time.Time) {
		t.Helper()
		for _, name := range []string{"site.localhost", strings.Repeat("a", 26) + ".preview.site.localhost"} {
			conn, err := tls.DialWithDialer(&net.Dialer{Timeout: limit}, "tcp", strings.TrimPrefix(base, "https://"), &tls.Config{ServerName: name, InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			leaf := conn.ConnectionState().PeerCertificates[0]
			_ = conn.Close() // it was only looked at
			if err := leaf.VerifyHostname(name); err != nil {
				t.Fatal(err)
			}
			all = append(all, leaf.NotAfter)
		}
		return all
	}
	agents := func(name string) time.Time {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(c.State, "up", fleet.Name, "pops", name, "leaf.pem"))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return leaf.NotAfter
	}
	for _, months := range []int{1, 2, 5} {
		ahead.Store(int64(months) * int64(31*day))
		well := func() bool {
			for _, p := range f.report.POPs {
				if agents(p.Name).Before(now().Add(9 * day)) {
					return false
				}
				for _, until := range shown(p.HTTPS) {
					if until.Before(now().Add(29 * day)) {
						return false
					}
				}
			}
			return true
		}
		for end := time.Now().Add(time.Minute); !well(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("after %d months certificates are not renewed:\n%s", months, log)
			}
		}
	}
	if n := strings.Count(log.String(), `msg="certificate renewed"`); n != 3*len(fleet.POPs) {
		t.Errorf("the agents' certificates were renewed %d times, want %d:\n%s", n, 3*len(fleet.POPs), log)
	}
	if text := log.String(); strings.Contains(text, "not renewed") {
		t.Errorf("something went wrong:\n%s", text)
	}
}
