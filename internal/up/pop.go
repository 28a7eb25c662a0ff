package up

import (
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/serve/edge"
)

// Ports that POPs get as long as they are free: the first POP these, the next
// ones those that follow.
const (
	firstHTTPS = 8441
	firstHTTP  = 8081
	portTries  = 20
)

// A pop is a POP of a fleet that runs in this process: an agent with a directory
// of its own.
type pop struct {
	config.POP
	fleet *fleet
	dir   string
	owner keys.PublicKey

	https, http int
	address     string // of the API
	listeners   edge.Listeners
	api         net.Listener

	agent *agent.Agent    // nil until it is open
	again chan chan error // wishes to start again
}

// listen binds two ports for visitors, moving on from those that are taken, and any
// free one for the API.
func (p *pop) listen(ctx context.Context, https, http, stride int) error {
	var err error
	if p.listeners, err = bind(ctx, true, https, stride); err != nil {
		return err
	}
	plain, err := bind(ctx, false, http, stride)
	if err != nil {
		return err
	}
	p.listeners.Plain = plain.Plain
	var listener net.ListenConfig
	if p.api, err = listener.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	p.https = p.listeners.TLS[0].Addr().(*net.TCPAddr).Port
	p.http = p.listeners.Plain[0].Addr().(*net.TCPAddr).Port
	p.address = p.api.Addr().String()
	return nil
}

// listenAgain binds the ports that the POP had.
func (p *pop) listenAgain(ctx context.Context) error {
	var err error
	if p.listeners, err = edge.Listen(ctx, true, onPort(p.https)...); err != nil {
		return err
	}
	plain, err := edge.Listen(ctx, false, onPort(p.http)...)
	if err != nil {
		return err
	}
	p.listeners.Plain = plain.Plain
	var listener net.ListenConfig
	p.api, err = listener.Listen(ctx, "tcp", p.address)
	return err
}

// bind takes a port on both loopback addresses: first, or the next of its stride
// that is free, or any.
func bind(ctx context.Context, secure bool, first, stride int) (edge.Listeners, error) {
	for i := range portTries + 1 {
		port := first + i*stride
		if i == portTries {
			port = 0
		}
		l, err := edge.Listen(ctx, secure, onPort(port)...)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
			return l, err
		}
	}
	return edge.Listeners{}, errors.New("no free port on loopback")
}

// onPort is a port on both loopback addresses.
func onPort(port int) []string {
	addresses := []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	if hasIPv6() {
		addresses = append(addresses, net.JoinHostPort("::1", strconv.Itoa(port)))
	}
	return addresses
}

// open makes the agent, which takes the listeners over.
func (p *pop) open(ctx context.Context) error {
	f, shared := p.fleet, p.fleet.process
	listeners, api := p.listeners, p.api
	p.listeners, p.api = edge.Listeners{}, nil
	var err error
	p.agent, err = agent.New(ctx, agent.Options{
		Dir: p.dir, Enrolment: p.enrolment(), API: api, Edge: listeners,
		// What POPs have in common is in memory once.
		Bodies: shared.store, Memory: shared.budget.bodies, MemoryLimit: machineMemory(), Codings: shared.codings,
		Engine: f.Engine, Loops: shared.loops, ServerTiming: f.ServerTiming,
		AccessLog: shared.access, AccessFile: f.AccessLog, Metrics: shared.metrics,
		Version: f.Version, Now: f.now, Log: warnings(ctx, f.Log).With("pop", p.Name),
	})
	return err
}

func (p *pop) enrolment() agent.Enrolment {
	return agent.Enrolment{Fleet: p.fleet.Fleet.Name, POP: p.Name, Owner: p.owner}
}

// run runs the agent until ctx ends or it fails, and starts it again if somebody
// wishes so.
func (p *pop) run(ctx context.Context) error {
	for {
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1) // so that it ends also if nobody asks any more
		go func() { ended <- p.agent.Run(running) }()
		select {
		case err := <-ended:
			stop()
			return err
		case answer := <-p.again:
			stop()
			err := <-ended
			if err == nil {
				err = p.openAgain(ctx)
			}
			answer <- err
			if err != nil {
				return errors.Join(err, p.closeListeners())
			}
		}
	}
}

func (p *pop) openAgain(ctx context.Context) error {
	if err := p.listenAgain(ctx); err != nil {
		return err
	}
	return p.open(ctx)
}

// restart starts the agent again, whose configuration demands it.
func (p *pop) restart(ctx context.Context) error {
	answer := make(chan error, 1) // so that run never waits for who asked
	select {
	case p.again <- answer:
		return <-answer
	case <-ctx.Done():
		return ctx.Err()
	}
}

// abandon gives back what a POP has that does not run. Ctx has ended.
func (p *pop) abandon(ctx context.Context) error {
	if p.agent != nil {
		return p.agent.Run(ctx)
	}
	return p.closeListeners()
}

func (p *pop) closeListeners() error {
	err := p.listeners.Close()
	if p.api != nil {
		err = errors.Join(err, p.api.Close())
	}
	return err
}
