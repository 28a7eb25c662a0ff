package control

import (
	"cmp"
	"context"
	"sync"
	"time"

	"pennyfarthing/internal/probe"
	"pennyfarthing/internal/verdict"
)

// A knock is what a POP's edge answered before anything was activated.
type knock struct {
	verdict verdict.Code
	why     string

	client *probe.Client // it answered: its connection is there for the verification
	at     time.Time
}

// knockAll begins to knock at POPs, where nobody has yet, and returns a function that waits
// for the end of it.
func (v *verifier) knockAll(ctx context.Context, pops []string) (wait func()) {
	var all sync.WaitGroup
	for _, pop := range pops {
		over := make(chan struct{})
		v.mu.Lock()
		_, begun := v.knocking[pop]
		if !begun {
			v.knocking[pop] = over
		}
		v.mu.Unlock()
		if begun {
			continue
		}
		all.Go(func() {
			defer close(over)
			v.knock(ctx, pop)
		})
	}
	return all.Wait
}

// knocked waits until it is known over which protocols a POP's edge answers.
func (v *verifier) knocked(ctx context.Context, pop string) error {
	v.mu.Lock()
	over := v.knocking[pop]
	v.mu.Unlock()
	if over == nil {
		v.knock(ctx, pop)
		return ctx.Err()
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// knock sees over which protocols a POP's edge answers, before anything is activated:
// for what does not work now a release is not to blame.
func (v *verifier) knock(ctx context.Context, name string) {
	pop := v.fleet.agent(name).pop
	var wait sync.WaitGroup
	for _, protocol := range probe.Protocols() {
		wait.Go(func() {
			c := v.client(pop, protocol)
			ctx, cancel := context.WithTimeout(ctx, v.fleet.Knock)
			defer cancel()
			a := c.Ask(ctx, probe.Request{URL: v.url(pop, "/")})
			if a.Status == 0 || a.Err != "" {
				_ = c.Close() // nothing is under way
				c = nil
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.knocks[name] == nil {
				v.knocks[name] = make(map[probe.Protocol]knock)
			}
			v.knocks[name][protocol] = knock{a.Verdict, cmp.Or(a.Err, a.Verdict.Text()), c, v.fleet.Now()}
		})
	}
	wait.Wait()
}

// fresh is how long a connection is taken for one that is still there. Servers give
// up idle ones after half a minute and more.
const fresh = 15 * time.Second

// reached returns what asks a POP over a protocol: with the connection that the knock
// made, if that is fresh, which spares the ways there and back of another handshake.
func (v *verifier) reached(pop POP, protocol probe.Protocol) *asking {
	v.mu.Lock()
	k := v.knocks[pop.Name][protocol]
	c := &asking{pop: pop, protocol: protocol}
	if k.client != nil && v.fleet.Now().Sub(k.at) < fresh {
		c.client, c.old = k.client, true
		k.client = nil
		v.knocks[pop.Name][protocol] = k
	}
	v.mu.Unlock()
	if c.client == nil {
		c.client = v.client(pop, protocol)
	}
	return c
}

// An asking is what asks one POP over one protocol.
type asking struct {
	pop      POP
	protocol probe.Protocol

	mu     sync.Mutex // guards what follows
	client *probe.Client
	old    bool            // its connection is the knock's, and may be dead by now
	left   []*probe.Client // what was given up; some may be waiting for it still
}

// use returns what to ask with, and whether its connection is an old one.
func (c *asking) use() (_ *probe.Client, old bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.client, c.old
}

// renew gives up an old connection that has not answered.
func (v *verifier) renew(c *asking) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.old {
		c.left = append(c.left, c.client)
		c.client, c.old = v.client(c.pop, c.protocol), false
	}
}

// close ends the connections. Nothing may be under way.
func (c *asking) close() {
	for _, client := range append(c.left, c.client) {
		_ = client.Close() // it has told all it had to
	}
}

// close ends the connections that nobody used. Nothing may be under way.
func (v *verifier) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, over := range v.knocks {
		for protocol, k := range over {
			if k.client != nil {
				_ = k.client.Close() // nobody uses it
				k.client = nil
				over[protocol] = k
			}
		}
	}
}

// answered reports whether somebody was there before. Where nobody knocked it is taken
// for granted.
func (v *verifier) answered(pop string, protocol probe.Protocol) (knock, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k, was := v.knocks[pop][protocol]
	if !was {
		return k, true
	}
	class := k.verdict.Class()
	return k, class == verdict.Answered || class == verdict.HTTP && k.verdict != verdict.HTTPTimeout
}

// ask asks for something, and reports whether that was over an old connection. A server
// that was started anew knows nothing of those, and over HTTP/3 only its word ends
// them, which may be lost: so they have less time to answer.
func (v *verifier) ask(ctx context.Context, c *asking, r probe.Request) (_ probe.Answer, old bool) {
	client, old := c.use()
	if old {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, v.fleet.Knock)
		defer cancel()
	}
	return client.Ask(ctx, r), old
}
