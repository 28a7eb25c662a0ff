package fleet_test

import (
	"fmt"
	"testing"
)

// Each POP is killed at every request of a deploy in turn, and is back before whoever
// deploys knows. The deploy goes on with it, unless it is how the POP is that was asked:
// nobody else is left behind, and what the POP has acknowledged it serves.
func TestAPOPThatIsKilledAndIsBackInADeployGoesOnWithIt(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")
	version := 0
	for _, k := range kills() {
		// Where the two POPs are alike, one is killed before a request and the other
		// after it; those that stay dead die the other way round.
		if alike := k.step != "send" && k.step != "activate"; alike && (k.at == 0) == (k.when == before) {
			continue
		}
		what := k.String() + ", and back at once"
		c.round(what, version, func() {
			n := c.nodes[k.at]
			held := n.gate.stop(k.step, k.when)
			d := c.deploy("")
			c.reach(held, d)
			n.kill()
			n.start()
			close(held.goOn)
			ok := c.end(d)
			served := c.nodes
			if k.step == "GET status" { // which is asked once: who does not answer is left behind
				served = []*node{c.nodes[1-k.at]}
			}
			if c.serves(version+1, served...); !ok || t.Failed() {
				t.Errorf("%s: the deploy goes through: %v; it says\n%s", what, ok, &d.printed)
			}
		})
		version++
	}
}

// A POP is killed while it is asked as visitors ask, or about to be: it may be back at
// once, or when the deploy has ended. Either way the deploy ends, and the other POP serves
// what it says, old or new; each POP serves a whole release, and the same command goes on.
func TestAPOPThatIsKilledWhileVisitorsAreAskedCostsADeployAtMost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")
	version := 0
	for _, do := range []string{"stage", "knock", "activate"} { // what each is asked after, at this POP
		for i, n := range c.nodes {
			for _, back := range []bool{true, false} {
				what := fmt.Sprintf("%s killed after its %s, back at once: %v", n.name, do, back)
				c.round(what, version, func() {
					d := c.deploy(fmt.Sprintf(`"pop":%q,"do":%q`, n.name, do))
					if !d.heard() {
						t.Errorf("%s: the deploy says nothing of it:\n%s", what, &d.printed)
					}
					n.kill()
					if back {
						n.start()
					}
					ok := c.end(d)
					says := version
					if ok {
						says++
					}
					if c.serves(says, c.nodes[1-i]); t.Failed() {
						t.Errorf("%s: the deploy says\n%s", what, &d.printed)
					}
					if !back {
						n.start()
					}
					t.Logf("%s: the deploy goes through: %v", what, ok)
				})
				version++
			}
		}
	}
}

// Where a deploy is small it goes in one request, whose parts are carried out one by one.
// Whoever deploys, or the POP, is killed before it, in its middle and after it: each POP
// serves a whole release, and the same command goes on.
func TestABatchThatIsKilledIsMadeWholeByTheNext(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	for _, n := range c.nodes {
		n.gate.batches = true // before anything goes through
	}
	version := 0
	c.writeVersion(version)
	c.wants("deploy", "live on 2 of 2")
	for i, n := range c.nodes {
		for _, when := range []moment{before, during, after} {
			for _, who := range []string{"who deploys", "the POP"} {
				version++
				c.writeVersion(version)
				what := fmt.Sprintf("%s killed %s the batch to POP %d", who, when, i)
				held := n.gate.stop("POST batch", when)
				d := c.deploy("")
				c.reach(held, d)
				if who == "the POP" {
					n.kill()
					n.start()
				} else {
					d.kill()
					c.end(d)
				}
				close(held.goOn)
				c.end(d)
				c.whole(what, version-1, version)
				c.wants("deploy")
				if c.serves(version); t.Failed() {
					t.Fatalf("after %s", what)
				}
			}
		}
	}
}
