package deploy_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/test/link"
)

// newFleetAcross starts two POPs at the other end of a line, where agents and visitors
// are found at the ports that there are for them: one by IPv4, one by IPv6. Where the
// POPs are is in the fleet file, and nowhere else.
func newFleetAcross(t *testing.T, o link.Options) (*fleet, *link.Link) {
	t.Helper()
	l := link.New(t, o) // skips where it must
	f := newFleet(t, "au", "fr")
	f.here, f.there = l.Client.Do, l.Server.Do
	for i, at := range []func(int) string{l.Server.At4, l.Server.At6} {
		f.pops[i].kill()
		f.pops[i].start(at(control.DefaultAPIPort), at(443))
	}
	f.must(nil, os.Remove(filepath.Join(keys.FleetDir(f.state, fleetName), control.POPsFile)))
	text := fmt.Sprintf("%s\n[pops.au]\naddresses = [%q]\n\n[pops.fr]\naddresses = [%q]\n", fleetFile, l.Server.IPv4, l.Server.IPv6)
	f.must(nil, os.WriteFile(f.file(), []byte(text), 0o600))
	t.Setenv("SSL_CERT_FILE", f.ca) // so that the site's certificate is as good as any
	if code, stdout, stderr := f.run("apply"); code != 0 || !strings.Contains(stdout, "is at 2 of 2") {
		t.Fatalf("penny apply ended with %d: %s%s", code, stdout, stderr)
	}
	return f, l
}

// Where packets come out of order, and some not at all, a deploy takes its time: what
// is staged, activated and verified, over QUIC too, is what it is anywhere.
func TestPacketsOutOfOrderCostTimeOnly(t *testing.T) {
	f, l := newFleetAcross(t, link.Options{Delay: 5 * time.Millisecond, Loss: 0.005, Reorder: 0.2, Seed: 5})
	names := []string{"one", "two", "three"}
	for _, name := range names {
		f.write(name)
		noise := make([]byte, 500_000) // a pack of many packets
		_, _ = rand.Read(noise)        // never fails
		f.put("noise.bin", string(noise))
		if out := f.deploy(); !regexp.MustCompile(`live on 2 of 2 in .*, 4[0-9] URLs verified`).MatchString(out) || strings.Contains(out, "not verified") {
			t.Errorf("penny deploy prints\n%s", out)
		}
		f.shows(name)
	}
	if code, stdout, stderr := f.run("rollback", site); code != 0 {
		t.Fatalf("penny rollback ended with %d: %s%s", code, stdout, stderr)
	}
	f.shows("two")
	code, stdout, stderr := f.run("verify", site, "--all", "--json")
	var checked control.Checked
	if err := json.Unmarshal([]byte(stdout), &checked); err != nil || code != 0 || !checked.OK() || len(checked.POPs) != 2 {
		t.Fatalf("penny verify ended with %d: %s%s (%v)", code, stdout, stderr, err)
	}
	for _, of := range checked.POPs { // each over HTTP/1.1 and over HTTP/3
		if of.URLs != 45 || of.Others != 2*of.URLs || len(of.Unasked) > 0 {
			t.Errorf("verified at %s: %+v", of.POP, of)
		}
	}
	up, down := l.Up(), l.Down()
	t.Logf("packets to the POPs: %+v; and back: %+v", up, down)
	if up.Late == 0 || up.Lost == 0 || down.Late == 0 || down.Lost == 0 {
		t.Error("the line was too good to show anything")
	}
}

// A job is a command in a CI: on a machine that has the repository, a key in a variable,
// and nothing that lasts.
type job struct {
	*exec.Cmd
	stdout, stderr recorder
}

// A recorder is what a command writes, and can be read meanwhile.
type recorder struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write adds to it.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

// String is all of it until now.
func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// job begins a job with a key, or without one.
func (f *fleet) job(key string, args ...string) *job {
	f.t.Helper()
	j := &job{Cmd: exec.CommandContext(context.WithoutCancel(f.t.Context()), penny, args...)}
	j.Dir, j.Cmd.Stdout, j.Cmd.Stderr = f.dir, &j.stdout, &j.stderr
	j.Env = []string{"HOME=" + f.t.TempDir(), "PATH=" + os.Getenv("PATH"), "SSL_CERT_FILE=" + f.ca}
	if key != "" {
		j.Env = append(j.Env, keys.EnvKey+"="+key)
	}
	var err error
	f.here(func() { err = j.Start() })
	f.must(nil, err)
	f.t.Cleanup(func() { _ = j.Process.Kill() }) // it may have ended
	return j
}

// end waits for the end of a job, and returns its exit code.
func (f *fleet) end(j *job) int {
	f.t.Helper()
	stop := time.AfterFunc(patience, func() { _ = j.Process.Kill() }) // so that it ends
	defer stop.Stop()
	err := j.Wait()
	if _, wasExit := errors.AsType[*exec.ExitError](err); err != nil && !wasExit {
		f.t.Fatal(err)
	}
	return j.ProcessState.ExitCode()
}

// report reads what a job prints: one line on standard output, and lines of JSON on
// standard error.
func (f *fleet) report(j *job) *control.Report {
	f.t.Helper()
	report := new(control.Report)
	if text := j.stdout.String(); strings.Count(text, "\n") != 1 || json.Unmarshal([]byte(text), report) != nil {
		f.t.Fatalf("it prints %s\n%s", text, j.stderr.String())
	}
	for line := range strings.Lines(j.stderr.String()) {
		var event control.Event
		if err := json.Unmarshal([]byte(line), &event); err != nil || event.Kind == "" || event.Site != site || event.Time.IsZero() {
			f.t.Errorf("it says %q (%v)", line, err)
		}
	}
	return report
}

// files are the names of all files below the fleet file's directory.
func (f *fleet) files() []string {
	f.t.Helper()
	var all []string
	f.must(nil, filepath.WalkDir(f.dir, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, path)
		return err
	}))
	return all
}

// member makes a member, of whom the POPs are told, and returns what goes into the
// variable.
func (f *fleet) member(name, may string) string {
	f.t.Helper()
	code, stdout, stderr := f.run("key", "add", name, "--may", may, "--json")
	var added struct{ Secret string }
	if err := json.Unmarshal([]byte(stdout), &added); err != nil || code != 0 || added.Secret == "" {
		f.t.Fatalf("penny key add ended with %d: %s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := f.run("status"); code != 0 {
		f.t.Fatalf("penny status ended with %d: %s%s", code, stdout, stderr)
	}
	return added.Secret
}

// A CI has a checkout with a fleet file, and a key in a variable. Each job begins with
// an empty home. The agents were started by hand.
func TestACIDeploysWithAFleetFileAndAKeyAndNothingElse(t *testing.T) {
	f, _ := newFleetAcross(t, link.Options{Delay: 5 * time.Millisecond})
	ci, other := f.member("ci", "deploy:"+site), f.member("other", "deploy:other.example.org")
	deploy := []string{"deploy", site, "--wait", "--json"}
	f.write("one")
	before := f.files()

	j := f.job(ci, deploy...)
	if code := f.end(j); code != 0 {
		t.Fatalf("it ends with %d: %s", code, j.stderr.String())
	}
	r := f.report(j)
	if r.Live() != 2 || r.Files != 44 || r.Added != 44 || r.Generation != 1 || r.Verified == 0 || r.Nothing || len(r.Drift) > 0 {
		t.Errorf("it reports %+v", r)
	}
	for _, of := range r.POPs {
		if v := of.Verified; v == nil || v.Differences > 0 || v.Others == 0 || len(v.Unasked) > 0 || v.Certificate.String() != "ok" {
			t.Errorf("at %s is verified %+v", of.POP, v)
		}
	}
	f.shows("one")

	j = f.job(ci, deploy...)
	if code := f.end(j); code != 0 || !f.report(j).Nothing {
		t.Errorf("where nothing has changed it ends with %d: %s", code, j.stdout.String())
	}

	// Somebody is at it.
	f.write("two")
	f.lease(http.MethodPut, http.StatusOK, `{"holder":"ada on a laptop","ttl":600}`)
	j = f.job(ci, slices.Delete(slices.Clone(deploy), 2, 3)...) // without --wait
	if code := f.end(j); code != 1 || !strings.Contains(f.failure(j), "ada on a laptop") {
		t.Errorf("while somebody deploys it ends with %d: %s", code, j.stderr.String())
	}
	j = f.job(ci, deploy...)
	for deadline := time.Now().Add(patience); !strings.Contains(j.stderr.String(), `"event":"waiting"`); time.Sleep(10 * time.Millisecond) { // for another process
		if time.Now().After(deadline) {
			t.Fatalf("it does not wait: %s", j.stderr.String())
		}
	}
	f.shows("one")
	f.lease(http.MethodDelete, http.StatusNoContent, `{"holder":"ada on a laptop"}`)
	if code := f.end(j); code != 0 || f.report(j).Generation != 2 {
		t.Errorf("after it had waited it ends with %d: %s%s", code, j.stdout.String(), j.stderr.String())
	}
	f.shows("two")

	f.write("three")
	for what, test := range map[string]struct{ key, says string }{
		"a key of another site": {other, "may not"},
		"no key":                {"", keys.EnvKey},
		"half a key":            {ci[:len(ci)/2], keys.EnvKey},
	} {
		j := f.job(test.key, deploy...)
		if code := f.end(j); code != 1 || !strings.Contains(f.failure(j), test.says) {
			t.Errorf("with %s it ends with %d: %s", what, code, j.stderr.String())
		}
	}
	f.shows("two")
	f.put("_redirects", "/a /b\n/old\n")
	j = f.job(ci, deploy...)
	if code := f.end(j); code != 1 || !strings.Contains(f.failure(j), "_redirects:2:5") {
		t.Errorf("with a mistake in a file it ends with %d: %s", code, j.stderr.String())
	}
	f.must(nil, os.Remove(filepath.Join(f.dir, "public", "_redirects")))
	f.shows("two")
	if after := f.files(); !slices.Equal(after, before) {
		t.Errorf("jobs leave files in the checkout: %q, before %q", after, before)
	}
}

// failure is the error that a job ends with, in its last line.
func (f *fleet) failure(j *job) string {
	f.t.Helper()
	lines := strings.Split(strings.TrimSpace(j.stderr.String()), "\n")
	var said struct {
		Error    string
		Exit     int
		Problems []struct{ What, Hint string }
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &said); err != nil || said.Error == "" || said.Exit != j.ProcessState.ExitCode() || len(said.Problems) == 0 || said.Problems[0].Hint == "" {
		f.t.Errorf("it ends with %q (%v)", lines[len(lines)-1], err)
	}
	if text := j.stdout.String(); text != "" {
		f.t.Errorf("it has failed, and prints %s", text)
	}
	return said.Error + " " + said.Problems[0].Hint
}

// lease takes the lease of the site at every POP as the owner, or gives it back.
func (f *fleet) lease(method string, want int, body string) {
	f.t.Helper()
	roster := func() *keys.Roster { r, _ := f.owner.Roster(); return r }
	for _, p := range f.pops {
		transport := &http.Transport{TLSClientConfig: keys.ClientTLS(f.owner.Identity(), p.name, roster, time.Now), ForceAttemptHTTP2: true, DialContext: p.dial(p.api)}
		req, err := http.NewRequestWithContext(f.t.Context(), method, "https://"+p.api+"/v1/sites/"+site+"/lease", strings.NewReader(body))
		f.must(nil, err)
		resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
		f.must(nil, err)
		resp.Body.Close()
		transport.CloseIdleConnections()
		if resp.StatusCode != want {
			f.t.Fatalf("%s of the lease at %s: %s", method, p.name, resp.Status)
		}
	}
}
