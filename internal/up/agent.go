package up

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/serve/edge"
)

// AgentOptions are what `penny agent` can be told. State of [Common] is the
// agent's own directory. Without an AccessLog there it keeps one in it.
type AgentOptions struct {
	Common
	Enrolment agent.Enrolment // zero: the one that the directory has
	API       string          // address of the API
	Listen    []string        // addresses for visitors over TLS and QUIC
	Plain     []string        // addresses for visitors over plain HTTP, redirected to the others
	Disk      int64           // bytes that releases may take; 0 is most of what is free
	Version   string
}

// AgentRunning is what Agent reports once it answers.
type AgentRunning struct {
	Fleet string `json:"fleet"`
	POP   string `json:"pop"`
	Key   string `json:"key"`
	// Leaf is until when the agent's own certificate is valid, zero if it has none yet.
	Leaf  time.Time `json:"leaf_expires,omitzero"`
	API   string    `json:"api"`             // address
	HTTPS string    `json:"https,omitempty"` // address, "" for none
	HTTP  string    `json:"http,omitempty"`  // address, "" for none
	Admin string    `json:"admin"`           // URL of metrics, or ""
}

// accessLogName is the access log's place in an agent's directory.
const accessLogName = "access.log"

// Agent runs the daemon of a POP until ctx ends. It calls ready once when it
// answers.
func Agent(ctx context.Context, o AgentOptions, ready func(AgentRunning)) error {
	key, err := agent.Key(o.State) // makes the directory, or says why it can't
	if err != nil {
		return err
	}
	if o.AccessLog == "" {
		o.AccessLog = filepath.Join(o.State, "log", accessLogName)
		if err := os.MkdirAll(filepath.Dir(o.AccessLog), 0o700); err != nil {
			return err
		}
	}
	p, err := newProcess(ctx, o.Common)
	if err != nil {
		return err
	}
	a, report, err := p.agent(ctx, o)
	if err != nil {
		return errors.Join(err, p.close())
	}
	report.Key = key.String()
	p.servers = append(p.servers, a.Edge()) // for the admin's page; the agent runs it
	ready(report)
	return p.runAgent(ctx, a)
}

// agent binds addresses and makes the agent.
func (p *process) agent(ctx context.Context, o AgentOptions) (*agent.Agent, AgentRunning, error) {
	var report AgentRunning
	listeners, err := listenEdge(ctx, o)
	if err != nil {
		return nil, report, err
	}
	var config net.ListenConfig
	api, err := config.Listen(ctx, "tcp", o.API)
	if err != nil {
		return nil, report, errors.Join(inUse(err, "--listen"), listeners.Close())
	}
	a, err := agent.New(ctx, agent.Options{
		Dir: o.State, Enrolment: o.Enrolment, API: api, Edge: listeners, Disk: o.Disk,
		Bodies: p.store, Memory: p.budget.bodies, MemoryLimit: machineMemory(), Codings: p.codings,
		Engine: o.Engine, Loops: p.loops, ServerTiming: o.ServerTiming, AccessLog: p.access, AccessFile: o.AccessLog, Metrics: p.metrics,
		Version: o.Version, Log: o.Log,
	})
	if err != nil {
		return nil, report, err
	}
	report = AgentRunning{Fleet: a.Enrolment().Fleet, POP: a.Enrolment().POP, Leaf: a.LeafExpires(), API: api.Addr().String(), Admin: p.adminURL()}
	if len(listeners.TLS) > 0 {
		report.HTTPS = listeners.TLS[0].Addr().String()
	}
	if len(listeners.Plain) > 0 {
		report.HTTP = listeners.Plain[0].Addr().String()
	}
	return a, report, nil
}

// listenEdge binds the addresses for visitors.
func listenEdge(ctx context.Context, o AgentOptions) (edge.Listeners, error) {
	listeners, err := edge.Listen(ctx, true, o.Listen...)
	if err != nil {
		return edge.Listeners{}, inUse(err, "--https")
	}
	plain, err := edge.Listen(ctx, false, o.Plain...)
	if err != nil {
		return edge.Listeners{}, errors.Join(inUse(err, "--http"), listeners.Close())
	}
	listeners.Plain = plain.Plain
	return listeners, nil
}

// runAgent runs everything until ctx ends or the agent fails, and stops it in
// order: the agent, then what it writes to and waits on.
func (p *process) runAgent(ctx context.Context, a *agent.Agent) error {
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	var agents, behind errorGroup
	logging, stopLogging := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLogging()
	p.runBehind(logging, stopServing, &behind)
	p.runAdmin(logging, stopServing, &behind)
	agents.run(serving, stopServing, a.Run)
	err := p.waitFor(serving, &agents)
	stopLogging()
	return errors.Join(err, behind.wait())
}
