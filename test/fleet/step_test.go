package fleet_test

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
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

// A deployment is a penny deploy under way.
type deployment struct {
	cmd     *exec.Cmd
	said    chan struct{} // closed when it has said what was waited for
	ended   chan struct{} // closed at its end; what follows is read after that
	err     error
	printed strings.Builder
}

// deploy begins a penny deploy, and listens for something that it says.
func (c *cluster) deploy(word string) *deployment {
	c.t.Helper()
	return c.watch(c.command("deploy", "--json"), word)
}

// watch begins a command, and listens for something that it says.
func (c *cluster) watch(cmd *exec.Cmd, word string) *deployment {
	c.t.Helper()
	d := &deployment{cmd: cmd, said: make(chan struct{}), ended: make(chan struct{})}
	out, err := d.cmd.StderrPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		defer close(d.ended)
		heard := false
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			fmt.Fprintln(&d.printed, scanner.Text())
			if word != "" && !heard && strings.Contains(scanner.Text(), word) {
				heard = true
				close(d.said)
			}
		}
		_, _ = io.Copy(io.Discard, out) // a line that is too long
		d.err = d.cmd.Wait()
	}()
	return d
}

// end waits for the end of a deploy, and reports whether it has succeeded.
func (c *cluster) end(d *deployment) (ok bool) {
	c.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(wait):
		_ = d.cmd.Process.Kill() // so that it ends
		<-d.ended
		c.t.Fatalf("the deploy does not end:\n%s", &d.printed)
	}
	return d.err == nil
}

// kill is kill -9, of a process that may have ended.
func (d *deployment) kill() { _ = d.cmd.Process.Signal(syscall.SIGKILL) }

// reach waits until a deploy is held at a stop.
func (c *cluster) reach(s *stop, d *deployment) {
	c.t.Helper()
	select {
	case <-s.reached:
	case <-d.ended:
		c.t.Fatalf("the deploy does not come to %q, but ends with %v:\n%s", s.name, d.err, &d.printed)
	}
}

// heard reports whether a deploy says what is waited for before it ends.
func (d *deployment) heard() bool {
	select {
	case <-d.said:
		return true
	case <-d.ended:
		return false
	}
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
		n.gate.forget()
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
		c.round(k.String(), version, func() {
			held := c.nodes[k.at].gate.stop(k.step, k.when)
			d := c.deploy("")
			c.reach(held, d)
			d.kill()
			c.end(d)
			close(held.goOn)
		})
		version++
	}
	// What is not a request to an agent: between them, and while visitors are asked.
	for _, said := range []string{`"wave":"lease"`, `"do":"knock"`, `"wave":"prepare"`, `"wave":"activate"`, `"do":"activate"`, `"do":"verify"`, `"wave":"finish"`} {
		c.round("killed after "+said, version, func() {
			d := c.deploy(said)
			if !d.heard() {
				t.Errorf("the deploy does not say %s:\n%s", said, &d.printed)
			}
			d.kill()
			c.end(d)
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
	version := 0
	for _, k := range kills() {
		// Every deploy waits for who is dead. So where the two POPs are alike, one is
		// killed before a request and the other after it.
		if alike := k.step != "send" && k.step != "activate"; alike && (k.at == 0) != (k.when == before) {
			continue
		}
		c.round(k.String(), version, func() {
			n, other := c.nodes[k.at], c.nodes[1-k.at]
			held := n.gate.stop(k.step, k.when)
			d := c.deploy("")
			c.reach(held, d)
			n.kill()
			close(held.goOn)
			if !c.end(d) {
				t.Errorf("%s: the deploy fails: %s", k, &d.printed)
			}
			c.serves(version+1, other)
			n.start()
		})
		version++
	}
}
