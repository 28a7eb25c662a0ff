package keys_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/keys"
)

func TestTrustHint(t *testing.T) {
	for goos, tc := range map[string]struct {
		file string
		want []string
	}{
		"linux": {"/home/ann/.local/state/penny/ca/local/ca.pem", []string{
			"# Debian, Ubuntu: all but browsers",
			"sudo cp /home/ann/.local/state/penny/ca/local/ca.pem /usr/local/share/ca-certificates/penny-local.crt && sudo update-ca-certificates",
			"# Fedora, Arch: all but some browsers",
			"sudo trust anchor --store /home/ann/.local/state/penny/ca/local/ca.pem",
			"# Chromium, Chrome (certutil is in the package libnss3-tools or nss-tools)",
			`certutil -d sql:"$HOME/.pki/nssdb" -D -n penny-local 2>/dev/null; certutil -d sql:"$HOME/.pki/nssdb" -A -t C,, -n penny-local -i /home/ann/.local/state/penny/ca/local/ca.pem`,
			"# Firefox: every profile",
			`for p in "$HOME"/.mozilla/firefox/*/cert9.db; do certutil -d sql:"${p%/cert9.db}" -D -n penny-local 2>/dev/null; ` +
				`certutil -d sql:"${p%/cert9.db}" -A -t C,, -n penny-local -i /home/ann/.local/state/penny/ca/local/ca.pem; done`,
			"# curl, this once",
			"curl --cacert /home/ann/.local/state/penny/ca/local/ca.pem https://...",
		}},
		"darwin": {"/Users/ann/Library/Application Support/penny/ca.pem", []string{
			"# Safari, Chrome, curl: for you alone",
			"security add-trusted-cert -r trustRoot -k ~/Library/Keychains/login.keychain-db '/Users/ann/Library/Application Support/penny/ca.pem'",
			"# curl, this once",
			"curl --cacert '/Users/ann/Library/Application Support/penny/ca.pem' https://...",
		}},
		"windows": {`C:\Users\Ann Lee\AppData\Local\penny\ca.pem`, []string{
			"# Edge, Chrome, Firefox: for you alone",
			`certutil -addstore -user -f ROOT "C:\Users\Ann Lee\AppData\Local\penny\ca.pem"`,
			"# curl, this once",
			`curl --cacert "C:\Users\Ann Lee\AppData\Local\penny\ca.pem" https://...`,
		}},
	} {
		t.Run("on "+goos, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, keys.TrustHint(goos, tc.file)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAPathStaysOneWordInTheShell(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("cannot run: there is no sh in PATH")
	}
	for _, path := range []string{"/a/ca.pem", "/it's a/ca.pem", "/$HOME/`id`/\"x\"/ca.pem", "/ü/~/*", "/a;b&c"} {
		lines := keys.TrustHint("linux", path)
		word := strings.TrimSuffix(strings.TrimPrefix(lines[len(lines)-1], "curl --cacert "), " https://...")
		out, err := exec.CommandContext(t.Context(), sh, "-c", "printf %s "+word).Output()
		if err != nil || string(out) != path {
			t.Errorf("%q came out as %q, %v", path, out, err)
		}
	}
}

// What the hint says to type for Chromium and Firefox must work, also when a CA was replaced.
func TestNSSTakesTheCAByWhatTheHintSays(t *testing.T) {
	certutil, err := exec.LookPath("certutil")
	if err != nil {
		t.Skip("cannot run: there is no certutil in PATH")
	}
	home, dir := t.TempDir(), filepath.Join(t.TempDir(), "it's state")
	run := func(line string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
		cmd.Env = append(os.Environ(), "HOME="+home)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	databases := []string{filepath.Join(home, ".pki", "nssdb"), filepath.Join(home, ".mozilla", "firefox", "a b.default")}
	for _, db := range databases {
		if err := os.MkdirAll(db, 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), certutil, "-d", "sql:"+db, "-N", "--empty-password").CombinedOutput(); err != nil {
			t.Skipf("cannot run: this certutil does not make databases: %v\n%s", err, out)
		}
	}
	for _, name := range []string{"first.test", "second.test", "second.test"} {
		ca := openCA(t, dir, keys.Constraints{Names: []string{name}}, time.Now)
		for _, line := range keys.TrustHint("linux", ca.File()) {
			if !strings.Contains(line, "certutil -d") {
				continue
			}
			if out, err := run(line); err != nil {
				t.Fatalf("%s\n%v\n%s", line, err, out)
			}
		}
		for _, db := range databases {
			der, err := exec.CommandContext(t.Context(), certutil, "-d", "sql:"+db, "-L", "-n", "penny-it-s-state", "-r").Output()
			if err != nil || string(der) != string(ca.Certificate().Raw) {
				t.Errorf("%s does not have the CA for %s: %v", db, name, err)
			}
			checkNSS(t, certutil, db, dir, name)
		}
	}
}

// checkNSS asks NSS about a certificate within the CA's constraints and one outside.
func checkNSS(t *testing.T, certutil, db, dir, name string) {
	t.Helper()
	for host, want := range map[string]bool{"www." + name: true, "example.org": false, "10.0.0.1": false} {
		file, _ := forge(t, dir, host)
		steps := [][]string{
			{"-A", "-t", ",,", "-n", "leaf", "-i", file},
			{"-V", "-u", "V", "-e", "-n", "leaf"},
			{"-D", "-n", "leaf"},
		}
		for i, step := range steps {
			out, err := exec.CommandContext(t.Context(), certutil, append([]string{"-d", "sql:" + db}, step...)...).CombinedOutput()
			if ok := i != 1 || want; (err == nil) != ok {
				t.Errorf("certutil %q for %s: %v\n%s", step, host, err, out)
			}
		}
	}
}
