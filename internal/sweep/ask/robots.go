package ask

import (
	"github.com/temoto/robotstxt"

	"pennyfarthing/internal/sweep/fetch"
	"pennyfarthing/internal/verdict"
)

// maxRobots is how much of a robots.txt is read (RFC 9309 §2.5).
const maxRobots = 500 << 10

// robotsState is what a task knows of a site's robots.txt: the last one's.
type robotsState struct {
	asking bool
	known  bool
	of     place // without its path
	rules  *robotstxt.RobotsData
}

func site(p place) place {
	p.path = ""
	return p
}

// knows reports whether the rules for a place are there.
func (r *robotsState) knows(p *place) bool { return r != nil && r.known && r.of == site(*p) }

// askingRobots reports whether it is robots.txt that is being asked for.
func (t *Task) askingRobots() bool { return t.robots != nil && t.robots.asking }

// askRobots asks for robots.txt first. Whatever keeps it from coming will keep the
// request too, which says so in its own tries.
func (t *Task) askRobots() {
	t.robots = &robotsState{asking: true, of: site(t.here)}
	t.startRound()
}

// fetchedRobots goes on when an address has said what robots.txt is, or has not. Where
// there is no connection the next address is asked, as the request would.
func (t *Task) fetchedRobots() {
	if v := t.exchange.Verdict; v.Class() == verdict.TCP {
		if t.failure == verdict.None {
			t.failure = v
		}
		t.tryAddress()
		return
	}
	t.gotRobots()
}

// gotRobots reads the rules, and goes on with the request. Redirects of robots.txt
// are not followed: it counts as unavailable then, as one that is not there
// (RFC 9309 §2.3.1.3). A server's failure disallows everything (§2.3.1.4).
func (t *Task) gotRobots() {
	x := new(fetch.Exchange) // nobody was asked: it is unavailable
	if t.exchange != nil {
		x = &t.exchange.Exchange
	}
	t.robots.asking, t.robots.known = false, true
	switch {
	case x.Status >= 500:
		t.robots.rules, _ = robotstxt.FromString("User-agent: *\nDisallow: /\n")
	case x.Status >= 200 && x.Status < 300:
		t.robots.rules, _ = robotstxt.FromBytes(x.Sample) // nil where it cannot be read: all is allowed
	}
	if r := t.robots.rules; r != nil && !r.TestAgent(t.here.path, t.a.policy.Agent) {
		t.begin()
		t.note(verdict.SkipRobots, x.Addr.Addr())
		t.requestFailed(verdict.SkipRobots)
		return
	}
	t.startRound()
}
