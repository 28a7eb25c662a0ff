package fleet_test

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// steps are what a deploy asks of every POP, by the names that events have.
// TestADeployThatIsKilledAtEveryStepGoesOn fails if a deploy does not ask for one of
// them, or for anything else.
var steps = []string{"GET status", "lease", "offer", "send", "stage", "activate", "unlease"}

// A kill is a step, and when in it somebody dies.
type kill struct {
	at   int // which POP's request
	step string
	when moment
}

// String names it.
func (k kill) String() string { return fmt.Sprintf("%s %s of POP %d", k.when, k.step, k.at) }

// kills are all of them: at each request of a deploy to each of two POPs, before it
// arrives and after it was answered, and in the middle of those that have a long body.
func kills() []kill {
	var all []kill
	for at := range 2 {
		for _, s := range steps {
			all = append(all, kill{at, s, before})
			if s == "offer" || s == "send" {
				all = append(all, kill{at, s, during})
			}
			if s != "GET status" { // which changes nothing
				all = append(all, kill{at, s, after})
			}
		}
	}
	if testing.Short() {
		return slices.DeleteFunc(all, func(k kill) bool { return k.step != "send" && k.step != "activate" })
	}
	return all
}

// deploy runs penny deploy, and calls something once it has said something. It
// returns whether it has succeeded, and what it has printed.
func (c *cluster) deploy(started func(*exec.Cmd), said string, then func()) (ok bool, printed string) {
	c.t.Helper()
	cmd := c.command("deploy", "--json")
	out, err := cmd.StderrPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	if started != nil {
		started(cmd)
	}
	overdue := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }) // it then says so by failing
	defer overdue.Stop()
	var all strings.Builder
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		fmt.Fprintln(&all, scanner.Text())
		if said != "" && strings.Contains(scanner.Text(), said) {
			said = ""
			then()
		}
	}
	_, _ = io.Copy(io.Discard, out) // a line that is too long
	return cmd.Wait() == nil, all.String()
}

// whole wants each POP to serve one of two versions, all of it.
func (c *cluster) whole(what string, old, next int) {
	c.t.Helper()
	for _, n := range c.nodes {
		if got := n.version(); got != fmt.Sprint(old) && got != fmt.Sprint(next) {
			c.t.Errorf("%s: %s serves version %s, neither %d nor %d", what, n.name, got, old, next)
		}
	}
}

// keepsItsWord wants a POP to serve what it has last acknowledged, and nothing to be
// wrong with it.
func (n *node) keepsItsWord(what string) {
	n.c.t.Helper()
	s := n.status()
	if want := n.gate.acknowledged(); s.Active != want || s.Head == nil || s.Head.Release != want || s.Error != "" {
		n.c.t.Errorf("%s: %s serves %.10s with the head %+v and %q, and has acknowledged %.10s", what, n.name, s.Active, s.Head, s.Error, want)
	}
}

// Whoever deploys is killed at every request of a deploy in turn. What POPs serve is
// whole then, and what they have acknowledged; the same command once more goes on.
func TestADeployThatIsKilledAtEveryStepGoesOn(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")
	for _, n := range c.nodes {
		n.gate.stop("", "", nil)
	}
	c.writeVersion(1)
	c.wants("deploy", "live on 2 of 2")
	for _, n := range c.nodes {
		if got := n.gate.seen(); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(steps))) {
			t.Fatalf("a deploy asks %s for %q; somebody is killed at %q only", n.name, got, steps)
		}
	}
	version := 1
	for _, k := range kills() {
		killed := false
		c.round(k.String(), version, func() {
			var process *exec.Cmd
			var known sync.WaitGroup
			known.Add(1)
			n := c.nodes[k.at]
			n.gate.stop(k.step, k.when, func() {
				known.Wait()
				_ = process.Process.Signal(syscall.SIGKILL) // it cannot have ended, for it waits
				killed = true
			})
			ok, said := c.deploy(func(cmd *exec.Cmd) { process = cmd; known.Done() }, "", nil)
			if !killed || ok {
				t.Errorf("%s: killed: %v, succeeded: %v\n%s", k, killed, ok, said)
			}
		})
		version++
	}
	// What is not a request to an agent: between them, and while visitors are asked.
	for _, said := range []string{`"wave":"lease"`, `"do":"knock"`, `"wave":"prepare"`, `"wave":"activate"`, `"do":"activate"`, `"do":"verify"`, `"wave":"finish"`} {
		c.round("killed after "+said, version, func() {
			var process *exec.Cmd
			c.deploy(func(cmd *exec.Cmd) { process = cmd }, said, func() { _ = process.Process.Signal(syscall.SIGKILL) }) // it may have ended
		})
		version++
	}
	for _, n := range c.nodes {
		n.kill()
		n.start()
		n.keepsItsWord("after a last power failure")
	}
	c.serves(version)
}

// round deploys the version after one, in which something happens, and looks at
// what came of it; and then deploys it once more.
func (c *cluster) round(what string, version int, happens func()) {
	c.t.Helper()
	c.writeVersion(version + 1)
	happens()
	c.whole(what, version, version+1)
	for _, n := range c.nodes {
		n.keepsItsWord(what)
	}
	if stdout, stderr, code := run(c.t, c.command("deploy")); code != 0 {
		c.t.Fatalf("%s, and once more: exit code %d\n%s%s", what, code, stdout, stderr)
	}
	c.serves(version + 1)
	if c.t.Failed() {
		c.t.FailNow() // everything after it would fail too
	}
}

// Each POP is killed at every request of a deploy in turn. The others go on or go
// back, none serves half a release, and what each has acknowledged it serves when it
// is started again, before it has heard from anybody.
func TestAPOPThatIsKilledAtEveryStepOfADeployKeepsItsWord(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")
	version, behind := 0, 0
	die := func(n *node) { n.kill() }
	for _, k := range kills() {
		c.round(k.String(), version, func() {
			n := c.nodes[k.at]
			killed := false
			n.gate.stop(k.step, k.when, func() {
				die(n)
				killed = true
			})
			ok, said := c.deploy(nil, "", nil)
			if !killed {
				t.Errorf("%s: nobody was killed\n%s", k, said)
			}
			// The other POP has it, unless the one that died was the first to be switched.
			if other := c.nodes[1-k.at]; ok {
				behind++
				c.serves(version+1, other)
			} else {
				c.serves(version, other)
			}
			n.start()
		})
		version++
	}
	for _, said := range []string{`"do":"knock"`, `"do":"activate"`, `"do":"verify"`} {
		for _, n := range c.nodes {
			c.round(n.name+" killed after "+said, version, func() {
				killed := false
				c.deploy(nil, said, func() { die(n); killed = true })
				if killed {
					n.start()
				}
			})
			version++
		}
	}
	t.Logf("%d of %d deploys went through without the POP that was killed", behind, len(kills()))
	if behind == 0 {
		t.Error("a POP that dies stops all others")
	}
}
