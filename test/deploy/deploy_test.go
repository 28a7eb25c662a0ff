package deploy_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/control"
)

// moments are where a deploy is killed: when it says that a wave begins, or that a step
// is done.
var moments = []string{
	`"wave":"lease"`, `"do":"lease"`, `"wave":"prepare"`, `"do":"offer"`, `"do":"send"`, `"do":"stage"`, `"do":"knock"`, `"wave":"activate"`, `"do":"activate"`, `"do":"verify"`, `"wave":"finish"`, `"do":"unlease"`,
}

// TestADeployThatIsKilledAnywhereIsMadeWholeByTheNext kills penny deploy at each moment,
// as kill -9 does, while visitors ask every POP.
func TestADeployThatIsKilledAnywhereIsMadeWholeByTheNext(t *testing.T) {
	if testing.Short() {
		t.Skip("deploys two dozen times; make test runs it")
	}
	t.Parallel()
	f := newFleet(t, "au", "fr", "ny")
	f.write("start")
	f.deploy()
	visitors := f.visitors()
	for _, moment := range moments {
		t.Run(moment, func(t *testing.T) {
			name := strings.Trim(regexp.MustCompile(`[^a-z]+`).ReplaceAllString(moment, "-"), "-")
			f.write(name)
			p := f.start("deploy", "--json")
			for !strings.Contains(p.Stderr(), moment) {
				select {
				case <-p.Ended():
					if !strings.Contains(p.Stderr(), moment) {
						t.Fatalf("it ended without %s: %s", moment, p.Stderr())
					}
				case <-time.After(time.Millisecond):
				}
			}
			p.Signal(syscall.SIGKILL)
			_ = p.Wait(patience) // it was killed, or had ended
			f.deploy()
			f.shows(name)
			if code, stdout, stderr := f.run("verify", site); code != 0 {
				t.Errorf("penny verify ended with %d: %s%s", code, stdout, stderr)
			}
		})
	}
	visitors()
}

// visitors ask every POP until they are told to stop, and fail if one ever answers
// anything but a release.
func (f *fleet) visitors() (stop func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	var wait sync.WaitGroup
	for _, p := range f.pops {
		wait.Go(func() {
			asked := 0
			for ; ctx.Err() == nil; asked++ {
				status, content, err := p.get(ctx, "/about")
				if ctx.Err() == nil && (err != nil || status != 200 || !strings.HasPrefix(content, "about ")) {
					f.t.Errorf("%s answers %d %q (%v)", p.name, status, content, err)
				}
			}
			if asked < 10 {
				f.t.Errorf("%s was asked %d times", p.name, asked)
			}
		})
	}
	return func() {
		cancel()
		wait.Wait()
	}
}

// TestAPOPThatIsKilledInADeployServesWhatItAcknowledged kills an agent at each wave.
func TestAPOPThatIsKilledInADeployServesWhatItAcknowledged(t *testing.T) {
	if testing.Short() {
		t.Skip("kills agents a few times; make test runs it")
	}
	t.Parallel()
	f := newFleet(t, "au", "fr", "ny")
	f.write("start")
	f.deploy()
	before := "start"
	for _, wave := range []string{"lease", "prepare", "activate", "finish"} {
		for i, victim := range f.pops[:2] { // the first that is activated, and another
			name := wave + "-" + victim.name
			f.write(name)
			p := f.start("deploy", "--json")
			for !strings.Contains(p.Stderr(), `"wave":"`+wave+`"`) {
				select {
				case <-p.Ended():
					t.Fatalf("it ended without %s: %s", wave, p.Stderr())
				case <-time.After(time.Millisecond):
				}
			}
			victim.kill()
			err := p.Wait(patience)
			victim.again()
			_, content, getErr := victim.get(t.Context(), "/about")
			if getErr != nil || content != "about "+before && content != "about "+name {
				t.Errorf("%s, killed at %s, shows %q (%v)", victim.name, wave, content, getErr)
			}
			if err != nil && wave != "activate" && i != 0 {
				t.Errorf("that %s was killed at %s stopped the others: %s", victim.name, wave, p.Stderr())
			}
			f.deploy()
			f.shows(name)
			before = name
		}
	}
}

func TestTheCommandsOfAFleet(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "au", "fr")
	f.write("one")
	if out := f.deploy("--dry-run"); !strings.Contains(out, "deploy of release ") || !strings.Contains(out, "send about 44 files") {
		t.Errorf("a dry run prints\n%s", out)
	}
	out := f.deploy()
	for _, want := range []string{`(?m)^example\.org: 0 files changed, 44 added, 0 removed, of 44 files`, `(?m)^  au  44 files sent  \S+ kB over the network`, `(?m)^[0-9a-f]{10}: live on 2 of 2 in \d+\.\d s, 44 URLs verified$`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("penny deploy prints\n%swithout %s", out, want)
		}
	}
	if out := f.deploy(); !strings.Contains(out, "nothing to do") {
		t.Errorf("once more it prints %s", out)
	}
	f.write("two")
	code, out, _ := f.run("diff", site)
	if code != 0 || !strings.Contains(out, "changed  about.html (9 B, was 9 B)") || !strings.Contains(out, "43 changed, 0 added, 0 removed, 1 the same") {
		t.Errorf("penny diff ended with %d and printed\n%s", code, out)
	}
	var report control.Report
	if err := json.Unmarshal([]byte(f.deploy("--json")), &report); err != nil || report.Changed != 43 || report.Live() != 2 || report.Generation != 2 {
		t.Errorf("penny deploy --json: %+v, %v", report, err)
	}
	f.shows("two")
	if code, out, stderr := f.run("rollback", site); code != 0 || !strings.Contains(out, "to go back to "+report.Release[:10]) {
		t.Errorf("penny rollback ended with %d and printed\n%s%s", code, out, stderr)
	}
	f.shows("one")
	if code, out, _ := f.run("releases", site); code != 0 || strings.Count(out, "\n") != 3 || !strings.Contains(out, report.Release[:10]) {
		t.Errorf("penny releases ended with %d and printed\n%s", code, out)
	}
	if code, out, _ := f.run("verify", site, "--all"); code != 0 || !strings.Contains(out, "264 answers of 2 POPs are as they should be, 0 differ") {
		t.Errorf("penny verify ended with %d and printed\n%s", code, out)
	}
	back := filepath.Join(t.TempDir(), "back")
	if code, out, stderr := f.run("pull", site, "--dir", back); code != 0 || !strings.Contains(out, "44 files of release") {
		t.Errorf("penny pull ended with %d and printed\n%s%s", code, out, stderr)
	}
	if data, err := os.ReadFile(filepath.Join(back, "about.html")); err != nil || string(data) != "about one" {
		t.Errorf("what was pulled has %q (%v)", data, err)
	}
	if code, out, stderr := f.run("status"); code != 0 || !strings.Contains(out, "au fr") {
		t.Errorf("penny status ended with %d and printed\n%s%s", code, out, stderr)
	}
	f.pops[1].kill()
	if code, out, _ := f.run("status"); code != 1 || !strings.Contains(out, "fr does not answer: ") {
		t.Errorf("with a POP that is dead penny status ended with %d and printed\n%s", code, out)
	}
	if code, _, stderr := f.run("deploy", "--all"); code != 1 || !strings.Contains(stderr, "error: not every POP can be reached: fr: ") {
		t.Errorf("with a POP that is dead penny deploy --all ended with %d and printed\n%s", code, stderr)
	}
	if code, _, stderr := f.run("deploy", "nothing.org"); code != 1 || !strings.Contains(stderr, "hint: there are example.org") {
		t.Errorf("for a site that is not there penny deploy ended with %d and printed\n%s", code, stderr)
	}
}
