package control

import (
	"context"
	"errors"
	"sync"
	"time"
)

// leaseTTL is how long a lease lasts that nobody renews, after its holder died.
const leaseTTL = 60 * time.Second

// lease takes the lease of a POP, and what goes along with that.
func (o *operation) lease(ctx context.Context, at *begun) error {
	if o.mayAhead(at) {
		if err := o.leaseAhead(ctx, at); !errors.Is(err, errNotAhead) {
			return err
		}
	}
	return at.agent.lease(ctx, o.plan.Site, o.fleet.holder, leaseTTL)
}

// hold notes which leases are to be renewed.
func (o *operation) hold(pop string, held bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leased[pop] = held
}

// renew renews the leases until the context ends. One that cannot be renewed runs out;
// the head decides in the end, not the lease.
func (o *operation) renew(ctx context.Context) {
	tick := time.NewTicker(leaseTTL / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var wait sync.WaitGroup
		for pop, at := range o.begun {
			o.mu.Lock()
			held := o.leased[pop]
			o.mu.Unlock()
			if held {
				wait.Go(func() {
					ctx, cancel := context.WithTimeout(ctx, leaseTTL/4)
					defer cancel()
					_ = at.agent.lease(ctx, o.plan.Site, o.fleet.holder, leaseTTL) // see above
				})
			}
		}
		wait.Wait()
	}
}
