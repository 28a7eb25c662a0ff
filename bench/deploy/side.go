//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// A sample is one deploy.
type sample struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds"` // of all processes at both ends
	Client  float64 `json:"cpu_seconds_client"`
	Traffic traffic `json:"bytes"`
	Said    string  `json:"said,omitempty"`
}

// A side is one of the two that are compared, with everything that it needs at both ends.
type side interface {
	name() string
	// reset gives it destinations that have nothing.
	reset(ctx context.Context) error
	// weather changes the network.
	weather(ctx context.Context, w weather) error
	// deploy deploys a tree. What changed is known, so that what arrived can be checked: all, if it is nil.
	deploy(ctx context.Context, t *tree, changed change) (sample, error)
	// rest waits until it has nothing left to do of what it was given before.
	rest(ctx context.Context) error
	// pause keeps it from doing anything of its own.
	pause(paused bool) error
	version() string
	// tell says where everything is and how it is asked to deploy once more.
	tell(out io.Writer)
	close()
}

// A change is what a deploy has to do.
type change struct {
	first bool
	names []string
}

// destinations are the names of the three.
func destinations() []string { return []string{"a", "b", "c"} }

// measure takes the CPU time of daemons before and after something, and the network's count.
func measure(n *network, daemons []*daemon, do func() (took, cpu time.Duration, err error)) (sample, error) {
	before, err := cpuOf(daemons)
	if err != nil {
		return sample{}, err
	}
	counted := n.bytes()
	took, client, err := do()
	if err != nil {
		return sample{}, err
	}
	if !n.quiet(stopPatience) {
		return sample{}, fmt.Errorf("connections are still open %v after the end", stopPatience)
	}
	after, err := cpuOf(daemons)
	if err != nil {
		return sample{}, err
	}
	return sample{
		Seconds: took.Seconds(), CPU: (after - before + client).Seconds(), Client: client.Seconds(), Traffic: n.bytes().since(counted),
	}, nil
}

// cpuOf sums CPU time once no daemon has children any more: those that have ended are counted by their parent.
func cpuOf(daemons []*daemon) (time.Duration, error) {
	var sum time.Duration
	for _, d := range daemons {
		for end := time.Now().Add(stopPatience); ; time.Sleep(5 * time.Millisecond) {
			cpu, descendants, err := d.cpu()
			if err != nil {
				return 0, err
			}
			if descendants == 0 {
				sum += cpu
				break
			}
			if time.Now().After(end) {
				return 0, fmt.Errorf("process %d has children %v after the end", d.cmd.Process.Pid, stopPatience)
			}
		}
	}
	return sum, nil
}
