package fleet_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/agent"
	bodies "pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/edge"
)

// house runs the agent of a POP within the test, for fifty processes are too many and
// a process has only the machine's clock. The function that it returns stops it.
func (c *cluster) house(name string, now func() time.Time) (*node, func()) {
	c.t.Helper()
	n := &node{c: c, name: name, dir: filepath.Join(c.dir, "pop-"+name)}
	key, err := agent.Key(n.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.owner.AddPOP(name, key); err != nil {
		c.t.Fatal(err)
	}
	leaf, err := c.owner.IssuePOP(name)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := agent.InstallLeaf(n.dir, agent.Enrolment{Fleet: fleetOfFaults, POP: name, Owner: c.owner.Identity().Owner}, leaf); err != nil {
		c.t.Fatal(err)
	}
	listeners, err := edge.Listen(c.t.Context(), true, "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	a, err := agent.New(c.t.Context(), agent.Options{
		Dir: n.dir, API: api, Edge: listeners, Bodies: bodies.NewStore(""), Disk: 1 << 30, Version: "test", Now: now,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	n.api, n.edge = api.Addr().String(), listeners.TLS[0].Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Errorf("stop the agent %s: %v", name, err)
		}
	})
	c.t.Cleanup(stop)
	c.nodes = append(c.nodes, n)
	return n, stop
}

// A fleet of one, two and three POPs deploys, changes, goes back and is verified; one
// that is down does not stop the others, and is brought up to them.
func TestFleetsOfOneTwoAndThreePOPs(t *testing.T) {
	t.Parallel()
	names := []string{"au", "fr", "ny"}
	for count := 1; count <= len(names); count++ {
		c := newCluster(t, names[:count]...)
		all := fmt.Sprintf("live on %d of %d", count, count)
		c.writeVersion(0)
		c.wants("deploy", all, "verified")
		c.writeVersion(1)
		c.wants("deploy", all, "penny rollback "+site)
		c.serves(1)
		c.wants("rollback "+site, all)
		c.serves(0)
		c.wants("verify "+site+" --all", "0 differ")
		last := c.nodes[count-1]
		last.kill()
		c.writeVersion(2)
		if count == 1 {
			if _, stderr, code := run(t, c.command("deploy")); code != 1 || !strings.Contains(stderr, "no POP can be reached") {
				t.Errorf("exit code %d\n%s", code, stderr)
			}
			last.start()
			c.serves(0)
			continue
		}
		c.wants("deploy", fmt.Sprintf("live on %d of %d", count-1, count))
		c.serves(2, c.nodes[:count-1]...)
		c.writeVersion(3)
		if _, stderr, code := run(t, c.command("deploy", "--all")); code != 1 || !strings.Contains(stderr, "not every POP can be reached: "+last.name) {
			t.Errorf("with --all: exit code %d\n%s", code, stderr)
		}
		c.serves(2, c.nodes[:count-1]...)
		last.start()
		c.serves(0, last)
		if out, _, code := run(t, c.command("status")); code == 0 || !strings.Contains(out, last.name) {
			t.Errorf("status says nothing of who is behind: exit code %d\n%s", code, out)
		}
		c.wants("deploy --catch-up")
		c.serves(2)
	}
}

// Fifty are as one.
func TestAFleetOfFiftyPOPs(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	const count = 50
	var stopLast func()
	for i := range count {
		_, stopLast = c.house(fmt.Sprintf("p%02d", i), nil)
	}
	for _, n := range c.nodes {
		n.equip()
	}
	c.write()
	c.writeVersion(0)
	c.wants("deploy", "live on 50 of 50")
	c.writeVersion(1)
	c.wants("deploy", "live on 50 of 50")
	c.wants("rollback "+site, "live on 50 of 50")
	c.serves(0)
	stopLast()
	c.writeVersion(2)
	c.wants("deploy", "live on 49 of 50", "p49")
	c.serves(2, c.nodes[:count-1]...)
}

// Clocks are wrong now and then. What is served and who may do what depends on none.
func TestClocksThatAreDaysOffChangeNothing(t *testing.T) {
	t.Parallel()
	const off = 2 * 24 * time.Hour
	c := newCluster(t)
	for name, by := range map[string]time.Duration{"early": -off, "right": 0, "late": off} {
		c.house(name, func() time.Time { return time.Now().Add(by) })
	}
	for _, n := range c.nodes {
		n.equip()
	}
	c.write()
	for version := range 3 {
		c.writeVersion(version)
		c.wants("deploy", "live on 3 of 3")
		c.serves(version)
	}
	c.wants("rollback "+site, "live on 3 of 3")
	c.serves(1)
	out, _, _ := run(t, c.command("status"))
	if got := strings.Count(out, "its clock is wrong by "); got != 2 {
		t.Errorf("of three clocks two are wrong, and status says of %d:\n%s", got, out)
	}
	if _, err := c.owner.Revoke(c.member("ci", "deploy:"+site).Name); err != nil {
		t.Fatal(err)
	}
	run(t, c.command("status")) // which complains about the clocks
	for _, n := range c.nodes {
		if s := n.status(); s.Error != "" || s.Head.Generation != 4 {
			t.Errorf("%s: %+v", n.name, s)
		}
	}
}

// Of two who deploy at once the second is told who is at it, or waits for it.
func TestTheSecondOfTwoDeploysIsToldOrWaits(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")
	bob := c.elsewhere(c.member("bob", "deploy:"+site))
	c.wants("status")
	c.writeVersion(1)
	held := c.nodes[0].gate.stop("stage", before)
	first := c.deploy("")
	c.reach(held, first)
	stdout, stderr, code := run(t, bob("deploy", site))
	if code != 1 || !strings.Contains(stderr, "owner on ") || !strings.Contains(stderr, "--wait waits for it") {
		t.Errorf("the second is told: exit code %d\n%s%s", code, stdout, stderr)
	}
	c.serves(0)
	waiting := bob("deploy", site, "--wait", "--json")
	second := c.watch(waiting, `"event":"waiting"`)
	if !second.heard() {
		t.Errorf("the second does not wait: %s", &second.printed)
	}
	close(held.goOn) // the request is cut, and made again
	if !c.end(first) || !c.end(second) {
		t.Errorf("the first: %v\n%s\nthe second: %v\n%s", first.err, &first.printed, second.err, &second.printed)
	}
	c.serves(1)
}
