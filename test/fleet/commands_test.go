package fleet_test

import (
	"encoding/json"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pennyfarthing/test/program"
)

// assets are the assets of the version that is in the site's directory.
func (term *terminal) assets() iter.Seq[string] {
	return func(yield func(string) bool) {
		all, err := filepath.Glob(filepath.Join(term.public, "assets", "*"))
		if err != nil {
			term.t.Fatal(err)
		}
		for _, file := range all {
			if !yield("assets/" + filepath.Base(file)) {
				return
			}
		}
	}
}

// served returns what every POP answers, in their order.
func served(t *testing.T, r running, path string) []string {
	t.Helper()
	var all []string
	client := program.Client(t, "HTTP/2.0", r.CA)
	for _, p := range r.POPs {
		resp, err := client.Get(p.HTTPS + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, resp.Status+" "+string(text))
	}
	return all
}

func wantEverywhere(t *testing.T, r running, path, want string) {
	t.Helper()
	for i, got := range served(t, r, path) {
		if got != want {
			t.Errorf("%s answers %s with %.80q, want %.80q", r.POPs[i].Name, path, got, want)
		}
	}
}

func TestEveryCommandWorksWithAFleetThatRunsInAnotherTerminal(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.write("index.html", "one")
	term.write("kept.txt", "kept")
	_, r := term.up()
	wantEverywhere(t, r, "/", "200 OK one")

	term.write("index.html", "two")
	wantEverywhere(t, r, "/", "200 OK one")
	term.wants("diff "+site, "index.html", "1 changed")
	term.wants("deploy --dry-run", "activate, first")
	wantEverywhere(t, r, "/", "200 OK one")
	term.wants("deploy", "live on 3 of 3", "penny rollback "+site)
	wantEverywhere(t, r, "/", "200 OK two")
	term.wants("deploy", "nothing")
	if err := os.Symlink("/etc/hostname", filepath.Join(term.public, "link")); err != nil {
		t.Fatal(err)
	}
	term.wants("deploy", "nothing to do", "note: ", "link")
	term.remove("link")

	term.wants("rollback "+site, "live on 3 of 3")
	wantEverywhere(t, r, "/", "200 OK one")
	term.wants("releases "+site, "au ny fr")
	term.wants("verify "+site+" --all", "0 differ")
	term.wants("status", "fleet terminal", "au", "ny", "fr", site)
	var status struct {
		POPs []struct {
			POP   string `json:"pop"`
			Error string `json:"error"`
		} `json:"pops"`
	}
	term.reads(&status, "status")
	if len(status.POPs) != 3 {
		t.Errorf("penny status knows of %+v", status.POPs)
	}
	term.wants("pull " + site + " --dir pulled")
	for name, want := range map[string]string{"index.html": "one", "kept.txt": "kept"} {
		if got, err := os.ReadFile(filepath.Join(term.dir, "pulled", name)); err != nil || string(got) != want {
			t.Errorf("the %s that was pulled has %q, %v, want %q", name, got, err, want)
		}
	}
}

// What is wrong is refused with its place, and changes nothing.
func TestAMistakeInTheRulesIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.write("index.html", "home")
	_, r := term.up()
	term.write("index.html", "changed")
	term.write("_redirects", "/a /b\n/old\n")
	_, stderr, code := term.types("deploy")
	if code != 1 || !strings.Contains(stderr, "public/_redirects:2:5: expected a target after the source") || !strings.Contains(stderr, "hint: write: /old /new-path 301") {
		t.Errorf("exit code %d, and\n%s", code, stderr)
	}
	wantEverywhere(t, r, "/", "200 OK home")
	term.remove("_redirects")
	term.wants("deploy", "live on 3 of 3")
	wantEverywhere(t, r, "/", "200 OK changed")
}

// A member who may deploy one site deploys it, and the agents let it do no more.
func TestAKeyOfAMemberDeploysWhatItMayAndNothingElse(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.write("index.html", "one")
	_, r := term.up()
	var added struct{ Secret string }
	term.reads(&added, "key add ci --may deploy:"+site)
	var other struct{ Secret string }
	term.reads(&other, "key add other --may deploy:other.example.org")

	elsewhere := func(secret string, args ...string) (string, int) {
		t.Helper()
		// Another machine: it has the fleet file, the site, where the POPs are, and a key.
		state := t.TempDir()
		pops, err := os.ReadFile(filepath.Join(term.state, "fleets", "terminal", "pops.json"))
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(state, "fleets", "terminal")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pops.json"), pops, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := term.command(args...)
		cmd.Env = append(os.Environ(), "PENNY_STATE="+state, "PENNY_KEY="+secret)
		stdout, stderr, code := run(t, cmd)
		return stdout + stderr, code
	}
	term.write("index.html", "two")
	if text, code := elsewhere(other.Secret, "deploy"); code != 1 {
		t.Errorf("somebody deploys who may not: exit code %d\n%s", code, text)
	}
	wantEverywhere(t, r, "/", "200 OK one")
	// Nobody has told the POPs of the member yet: whoever works with the fleet does.
	term.wants("status")
	if text, code := elsewhere(added.Secret, "deploy"); code != 0 {
		t.Errorf("who may deploy cannot: exit code %d\n%s", code, text)
	}
	wantEverywhere(t, r, "/", "200 OK two")
	term.wants("key revoke ci")
	term.wants("status")
	term.write("index.html", "three")
	if text, code := elsewhere(added.Secret, "deploy"); code != 1 || !strings.Contains(text, "no POP lets this key in: au refuses: ") || !strings.Contains(text, "hint: penny key list") {
		t.Errorf("who was revoked deploys: exit code %d\n%s", code, text)
	}
	wantEverywhere(t, r, "/", "200 OK two")
}

func TestASecondPennyUpOfTheSameFleetIsTold(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.write("index.html", "home")
	term.up()
	_, stderr, code := term.types("up", "--json")
	var said struct{ Error string }
	if code != 1 || json.Unmarshal([]byte(strings.TrimSpace(stderr)), &said) != nil || !strings.Contains(said.Error, "the fleet terminal runs already, in another penny up") {
		t.Errorf("exit code %d, and\n%s", code, stderr)
	}
}
