package fleet_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// elsewhere returns a client that finds every name on this machine, as browsers do with
// those below localhost.
func elsewhere(t *testing.T, caFile string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("%s has no certificate", caFile)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// An answered is what came before a body that has been read.
type answered struct {
	StatusCode int
	Status     string
	Header     http.Header
	TLS        *tls.ConnectionState
}

func read(t *testing.T, client *http.Client, at string) (answered, string) {
	t.Helper()
	resp, err := client.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Status, resp.Header, resp.TLS}, string(text)
}

// A previewed is what penny deploy --preview --json prints.
type previewed struct {
	Release string `json:"release"`
	Preview struct {
		Host    string    `json:"host"`
		URL     string    `json:"url"`
		Expires time.Time `json:"expires"`
		POPs    []string  `json:"pops"`
	} `json:"preview"`
}

func TestAPreviewIsShownPromotedAndEndedFromAnotherTerminal(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.write("../penny.toml", fleetFile+"\n[retention]\nreleases = 3\npreview = \"2d\"\n")
	term.write("index.html", "one")
	_, r := term.up()
	client := elsewhere(t, r.CA)

	term.write("index.html", "two")
	term.wants("deploy --preview --dry-run", "preview of release", "show ", "at a host of its own")
	var p previewed
	term.reads(&p, "deploy --preview")
	if left := time.Until(p.Preview.Expires); left < 47*time.Hour || left > 48*time.Hour {
		t.Errorf("it expires in %v, and the fleet file says two days", left)
	}
	term.wants("deploy --preview --expires 3h", p.Preview.URL, "a preview on 3 of 3", "--promote "+p.Release[:10])
	wantEverywhere(t, r, "/", "200 OK one")
	u, err := url.Parse(p.Preview.URL)
	if err != nil || !strings.HasSuffix(u.Hostname(), ".preview."+site+".localhost") || u.Hostname() != p.Preview.Host || len(p.Preview.POPs) != 3 {
		t.Fatalf("the preview is %+v (%v)", p.Preview, err)
	}
	for _, pop := range r.POPs { // each has a port of its own
		base, err := url.Parse(pop.HTTPS)
		if err != nil {
			t.Fatal(err)
		}
		resp, text := read(t, client, "https://"+net.JoinHostPort(u.Hostname(), base.Port())+"/")
		if text != "two" || resp.Header.Get("X-Robots-Tag") != "noindex" || resp.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s shows %s %q with %v", pop.Name, resp.Status, text, resp.Header)
		}
		for _, name := range resp.TLS.PeerCertificates[0].DNSNames {
			if name == u.Hostname() {
				t.Errorf("the certificate of %s tells the name of the preview", pop.Name)
			}
		}
	}
	term.wants("releases "+site, "preview of "+p.Release[:10], p.Preview.URL)
	var list struct {
		Releases []struct {
			Release  string `json:"release"`
			Previews []struct {
				URL string `json:"url"`
			} `json:"previews"`
		} `json:"releases"`
	}
	term.reads(&list, "releases "+site)
	if len(list.Releases) != 2 || len(list.Releases[0].Previews)+len(list.Releases[1].Previews) != 1 {
		t.Errorf("releases: %+v", list)
	}

	term.wants("deploy --promote "+p.Release[:8]+" --dry-run", "promote of release", "activate, first")
	wantEverywhere(t, r, "/", "200 OK one")
	term.wants("deploy --promote "+p.Release[:8], "0 files sent", "live on 3 of 3", "penny rollback "+site)
	wantEverywhere(t, r, "/", "200 OK two")
	term.wants("deploy", "nothing to do")

	var ended map[string]string
	term.reads(&ended, "deploy --end-preview "+p.Preview.Host)
	if resp, _ := read(t, client, p.Preview.URL); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a preview that has ended answers %s", resp.Status)
	}
	_, stderr, code := term.types("deploy", "--end-preview", p.Preview.Host, "--json")
	if code != 1 || !json.Valid([]byte(strings.TrimSpace(stderr))) || !strings.Contains(stderr, "has no preview at") {
		t.Errorf("ending it twice: exit code %d, %s", code, stderr)
	}
	_, stderr, code = term.types("deploy", "--promote", "0123456789")
	if code != 1 || !strings.Contains(stderr, "penny releases "+site+" lists them") {
		t.Errorf("promoting what nobody has: exit code %d, %s", code, stderr)
	}
	wantEverywhere(t, r, "/", "200 OK two")
}

// The best codings are sent behind: by the machine that deploys, and to POPs that have
// them never again, also by another command.
func TestBestCodingsAreSentBehindFromAnotherTerminal(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.write("index.html", strings.Repeat("<p>A penny for the small wheel, and a farthing for the big one.", 100))
	_, r := term.up()
	before := served(t, r, "/")
	term.wants("deploy --best", "nothing to do", "the best codings of 1 file (", "were sent behind")
	if text := term.wants("deploy --best --catch-up", "nothing to do"); strings.Contains(text, "best codings") {
		t.Errorf("they are sent again:\n%s", text)
	}
	for i, after := range served(t, r, "/") {
		if after != before[i] {
			t.Errorf("%s answers otherwise than before", r.POPs[i].Name)
		}
	}
}
