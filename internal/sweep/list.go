package sweep

import (
	"context"
	"fmt"
	"io"
	"time"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/queue"
	"pennyfarthing/internal/sweep/resolve"
	"pennyfarthing/internal/sweep/simnet"
	"pennyfarthing/internal/sweep/target"
)

func (r *run) listOptions() target.Options {
	return target.Options{Column: r.Settings.Column, ShardSize: r.Settings.ShardSize, Stdin: r.Stdin}
}

// lister opens the list, or makes the names of the simulated internet one.
func (r *run) lister() (*target.Lister, error) {
	s := r.Settings.Simnet
	if s == nil {
		return target.Open(r.Settings.Lists, r.listOptions())
	}
	o := r.listOptions()
	o.Stdin = &names{world: r.world, n: s.Targets}
	return target.Open([]string{"-"}, o)
}

// names reads as the list of a simulated internet's names.
type names struct {
	world *simnet.World
	n, i  int
	rest  string
}

func (n *names) Read(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		if n.rest == "" {
			if n.i == n.n {
				break
			}
			n.rest = n.world.Name(n.i) + "\n"
			n.i++
		}
		c := copy(p[done:], n.rest)
		n.rest = n.rest[c:]
		done += c
	}
	if done == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return done, nil
}

// list adds the list's shards to the queue. One that has been read to its end is not
// needed again, and may be gone.
func (r *run) list(ctx context.Context) error {
	p, err := r.queue.Progress(ctx)
	if err != nil {
		return err
	}
	if known := r.manifest.List; p.Listed && known != nil {
		r.counters.Bad.Store(known.Bad)
		r.counters.Duplicates.Store(known.Duplicates)
	} else {
		if err := r.readList(ctx); err != nil {
			return err
		}
		if p, err = r.queue.Progress(ctx); err != nil {
			return err
		}
	}
	r.counters.Listed.Store(p.Targets)
	r.counters.Shards.Store(int64(p.Shards))
	r.counters.AllListed.Store(true)
	if p.Targets > manyTargets && !r.Settings.simulated() {
		r.warnResolvers(p.Targets)
	}
	r.isReady.Do(func() { close(r.ready) })
	close(r.listed)
	return nil
}

// readList reads what the queue does not have yet of the list.
func (r *run) readList(ctx context.Context) error {
	l, err := r.lister()
	if err != nil {
		return err
	}
	defer l.Close()
	codec, err := target.NewCodec()
	if err != nil {
		return err
	}
	if err := queue.Feed(ctx, &counting{r.queue, l, &r.counters, r.limitUnnamed, r.readable}, l, codec, time.Now); err != nil {
		return err
	}
	if stats := l.Stats(); stats.Targets > 0 {
		r.manifest.List = &stats
		return r.manifest.write(r.Dir)
	}
	return nil
}

// readable notes that a target has been read. A list without a contact is ready when
// it is known to be short.
func (r *run) readable() {
	if r.named() {
		r.isReady.Do(func() { close(r.ready) })
	}
}

// named reports whether a list may be long: the owners of targets know whom they hear
// from, or do not exist.
func (r *run) named() bool { return r.Settings.Contact != "" || r.Settings.simulated() }

// limitUnnamed refuses long lists to who does not say who they are.
func (r *run) limitUnnamed(targets int64) error {
	if targets <= manyTargets || r.named() {
		return nil
	}
	return &mistake.Error{
		What: fmt.Sprintf("a list of more than %d targets needs --contact: their owners must be able to reach you", manyTargets),
		Hint: "write --contact mailto:me@example.org or --contact https://example.org/bot; docs/abuse.md says what else is usual",
	}
}

func (r *run) warnResolvers(targets int64) {
	for _, addr := range r.Settings.Resolvers {
		if resolve.Public(addr.Addr()) {
			r.Say(fmt.Sprintf("note: %s is a public resolver, and will not answer for %d names as quickly as you ask; run one of your own (apt install unbound) and write --resolver 127.0.0.1", addr, targets))
			return
		}
	}
}

// counting is a queue that counts what is added.
type counting struct {
	queue.Queue
	list     *target.Lister
	counters *Counters
	check    func(targets int64) error
	readable func() // some target has been read
}

func (c *counting) Add(ctx context.Context, shards ...queue.Shard) error {
	stats := c.list.Stats()
	c.counters.Bad.Store(stats.Bad)
	c.counters.Duplicates.Store(stats.Duplicates)
	if err := c.check(stats.Targets); err != nil {
		return err
	}
	if err := c.Queue.Add(ctx, shards...); err != nil {
		return err
	}
	c.counters.Listed.Store(stats.Targets)
	c.counters.Shards.Add(int64(len(shards)))
	if len(shards) > 0 {
		c.readable()
	}
	return nil
}

// mayAsk waits until it is known that the list may be asked, and people have been told
// what that means.
func (r *run) mayAsk(ctx context.Context) error {
	select {
	case <-r.told:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
