package up

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/mistake"
)

func TestServeReportsWhatAnswers(t *testing.T) {
	dir := directory(t, map[string]string{"index.html": "home", "style.css": "p{}"})
	for name, tc := range map[string]struct {
		listen string
		tls    bool
		hosts  []string
		prefix string
	}{
		"plain":                 {"127.0.0.1:0", false, nil, "http://127.0.0.1:"},
		"all addresses":         {":0", false, nil, "http://localhost:"},
		"localhost":             {"localhost:0", false, nil, "http://localhost:"},
		"with TLS":              {"127.0.0.1:0", true, nil, "https://127.0.0.1:"},
		"for a host":            {"127.0.0.1:0", true, []string{"example.test", "www.example.test"}, "https://example.test:"},
		"for an address":        {"127.0.0.1:0", true, []string{"127.0.0.1"}, "https://127.0.0.1:"},
		"for one without TLS":   {"127.0.0.1:0", false, []string{"example.test"}, "http://example.test:"},
		"for a name in capital": {"127.0.0.1:0", true, []string{"Example.TEST"}, "https://Example.TEST:"},
	} {
		t.Run(name, func(t *testing.T) {
			c, l := common(t)
			s := start(t, Serve, ServeOptions{Common: c, Dir: dir, Listen: tc.listen, TLS: tc.tls, Hosts: tc.hosts})
			r := s.report
			if !strings.HasPrefix(r.URL, tc.prefix) || r.Files != 2 || r.Bytes != 7 || r.Memory < 7 || (r.CA != "") != tc.tls || r.NewCA != tc.tls {
				t.Errorf("%+v, want a URL that begins with %s", r, tc.prefix)
			}
			v := newVisitor(t, r.CA)
			if got := v.get("HTTP/1.1", r.URL); got.status != http.StatusOK || got.body != "home" {
				t.Errorf("%+v", got)
			}
			if got := v.get("HTTP/1.1", r.Admin+"/metrics"); got.status != http.StatusOK || !strings.Contains(got.body, "penny_") {
				t.Errorf("metrics: %+v", got)
			}
			s.stop()
			if err := s.wait(t); err != nil {
				t.Error(err)
			}
			if text := l.String(); text != "" {
				t.Errorf("it complains: %s", text)
			}
		})
	}
}

func TestTheReportAsJSON(t *testing.T) {
	text, err := json.Marshal(Serving{URL: "u", Files: 1, Bytes: 2, Memory: 3, CA: "c", Admin: "a", NewCA: true, Skipped: []string{"x"}, OnDisk: 1})
	if want := `{"url":"u","files":1,"bytes":2,"memory":3,"ca":"c","admin":"a"}`; err != nil || string(text) != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
	text, err = json.Marshal(Running{
		POPs:  []RunningPOP{{Name: "au", Place: "Sydney", HTTPS: "s", HTTP: "p", API: "q"}, {Name: "ny", HTTPS: "s", HTTP: "p", API: "q"}},
		Sites: []RunningSite{{Name: "n", Hosts: []string{"h"}, URL: "u", Files: 1, Bytes: 2, Dir: "d", Release: "r", Generation: 3, Deployed: true}},
		CA:    "c", Admin: "a", Name: "x", File: "f", NewCA: true, NewKeys: "k",
	})
	want := `{"fleet":"x","file":"f","pops":[{"name":"au","place":"Sydney","https":"s","http":"p","api":"q"},{"name":"ny","https":"s","http":"p","api":"q"}],` +
		`"sites":[{"name":"n","hosts":["h"],"url":"u","files":1,"bytes":2,"dir":"d","release":"r","generation":3,"deployed":true}],"ca":"c","admin":"a"}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
}

// What the state directory would keep is made again; that is no reason not to
// serve.
func TestWithoutAStateDirectorySitesAreServedAllTheSame(t *testing.T) {
	dir := directory(t, map[string]string{"index.html": "home", "app.3f9a1b2c.js": "let a"})
	occupied := directory(t, map[string]string{"history": "a file where a directory should be", "file": ""})
	for name, tc := range map[string]struct {
		state string
		warns bool
	}{
		"there is none":            {"", false},
		"it is a file":             {filepath.Join(occupied, "file"), true},
		"it cannot be made":        {filepath.Join(occupied, "file", "below"), true},
		"a part of it is a file":   {occupied, true},
		"it is on a virtual disk":  {"/proc/penny", true},
		"it is there and in order": {t.TempDir(), false},
	} {
		t.Run(name, func(t *testing.T) {
			c, l := common(t)
			c.State = tc.state
			s := start(t, Serve, ServeOptions{Common: c, Dir: dir, Listen: "127.0.0.1:0"})
			if got := newVisitor(t, "").get("HTTP/1.1", s.report.URL); got.body != "home" {
				t.Errorf("%+v", got)
			}
			if warned := strings.Contains(l.String(), "state directory not used"); warned != tc.warns {
				t.Errorf("it says %q", l)
			}
			for _, name := range []string{"bodies", "history", "codings"} {
				if _, err := os.Stat(name); err == nil {
					t.Errorf("it made %s in the current directory", name)
				}
			}
		})
	}
	t.Run("but a private CA needs one", func(t *testing.T) {
		c, _ := common(t)
		c.State = filepath.Join(occupied, "file")
		err := Serve(t.Context(), ServeOptions{Common: c, Dir: dir, Listen: "127.0.0.1:0", TLS: true}, func(Serving) { t.Error("it says that it serves") })
		if list := mistake.Of(err); len(list) != 1 || !strings.Contains(list[0].Hint, "--state") {
			t.Errorf("%v without a hint", err)
		}
	})
}

func TestWhatCannotStartSaysWhatToDo(t *testing.T) {
	dir := directory(t, map[string]string{"index.html": "home"})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	type options = func(*ServeOptions)
	for name, tc := range map[string]struct {
		change options
		what   string
		hint   string
	}{
		"a port that is taken":     {func(o *ServeOptions) { o.Listen = taken.Addr().String() }, "another program listens there already", "--listen 127.0.0.1:0"},
		"an admin port that is":    {func(o *ServeOptions) { o.Admin = taken.Addr().String() }, "--admin: another program listens there already", "--admin 127.0.0.1:0"},
		"an admin that is nothing": {func(o *ServeOptions) { o.Admin = "nothing" }, "--admin nothing", "--admin 127.0.0.1:9090"},
		"somebody else's address":  {func(o *ServeOptions) { o.Listen = "192.0.2.1:0" }, "this machine has no such address", "--listen 127.0.0.1:0"},
		"an access log in nowhere": {func(o *ServeOptions) { o.AccessLog = filepath.Join(dir, "no", "log") }, "the access log's directory is not there", "mkdir -p " + filepath.Join(dir, "no")},
		"a directory that is not":  {func(o *ServeOptions) { o.Dir = filepath.Join(dir, "no") }, "there is no such directory", "./public"},
		"a file for a directory":   {func(o *ServeOptions) { o.Dir = filepath.Join(dir, "index.html") }, "this is a file, not a directory", dir},
		"a certificate that is not": {func(o *ServeOptions) {
			o.Cert, o.Key = filepath.Join(dir, "index.html"), filepath.Join(dir, "index.html")
		}, "index.html", "PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := common(t)
			o := ServeOptions{Common: c, Dir: dir, Listen: "127.0.0.1:0"}
			tc.change(&o)
			err := Serve(t.Context(), o, func(Serving) { t.Error("it says that it serves") })
			list := mistake.Of(err)
			if len(list) != 1 || !strings.Contains(list[0].Error(), tc.what) || !strings.Contains(list[0].Hint, tc.hint) {
				t.Errorf("%v with %v, want %q with the hint %q", err, list, tc.what, tc.hint)
			}
		})
	}
}

func TestHSTSIsSentOverTLSWithOnesOwnCertificate(t *testing.T) {
	dir := directory(t, map[string]string{"index.html": "home"})
	ca, cert, key := ownPair(t)
	c, l := common(t)
	s := start(t, Serve, ServeOptions{Common: c, Dir: dir, Listen: "127.0.0.1:0", Cert: cert, Key: key, HSTS: 180 * 24 * time.Hour})
	if got := newVisitor(t, ca).get("HTTP/2.0", s.report.URL).header.Get("Strict-Transport-Security"); got != "max-age=15552000" {
		t.Errorf("HSTS is %q", got)
	}
	if s.report.CA != "" || l.String() != "" {
		t.Errorf("%+v, %s", s.report, l)
	}
	plain, l := common(t)
	p := start(t, Serve, ServeOptions{Common: plain, Dir: dir, Listen: "127.0.0.1:0", HSTS: time.Hour})
	if got := newVisitor(t, "").get("HTTP/1.1", p.report.URL).header.Get("Strict-Transport-Security"); got != "" || !strings.Contains(l.String(), "HSTS not sent") {
		t.Errorf("without TLS HSTS is %q, and the log %s", got, l)
	}
}

// ownPair returns the files of a CA and of a certificate for 127.0.0.1.
func ownPair(t *testing.T) (ca, cert, key string) {
	t.Helper()
	authority, err := openCA(t.TempDir(), "test", []string{"localhost"}, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue([]string{"localhost"}, loopback())
	if err != nil {
		t.Fatal(err)
	}
	cert, key = writePair(t, pair)
	return authority.File(), cert, key
}

func TestSomeFilesAreNotServedAndItIsSaid(t *testing.T) {
	dir := directory(t, map[string]string{"index.html": "home", ".secret": "no"})
	if err := os.Symlink("/etc/hosts", filepath.Join(dir, "out.txt")); err != nil {
		t.Skipf("cannot run: no symbolic links here: %v", err)
	}
	want := []string{"out.txt: not served: a link that leaves the directory, or leads nowhere"}
	c, _ := common(t)
	s := start(t, Serve, ServeOptions{Common: c, Dir: dir, Listen: "127.0.0.1:0"})
	if diff := cmp.Diff(want, s.report.Skipped); diff != "" {
		t.Error(diff)
	}
	c, _ = common(t)
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(filesSite("site.localhost", dir))})
	if diff := cmp.Diff([]string{"site.localhost: out.txt: not in the release: symbolic links are not followed"}, f.report.Skipped); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"out.txt", ".secret"} {
		if got := newVisitor(t, "").get("HTTP/1.1", s.report.URL+name); got.status != http.StatusNotFound {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
