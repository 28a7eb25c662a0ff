//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// idleSettle is how long idle connections are left alone before the memory is read.
const idleSettle = 3 * time.Second

// idleFew are the connections that a new server has had before its memory is read for the first time: what it allocates
// once is no connection's.
const idleFew = 20

// idleFigures are a server's memory, read twice; the second reading is the sample's own.
type idleFigures struct {
	Connections int    `json:"connections"`
	Before      memory `json:"before"`
}

// perConnection is the growth of the resident memory by connection, in KiB.
func (s sample) perConnection() float64 {
	if s.Idle == nil || s.Idle.Connections == 0 {
		return 0
	}
	return float64(s.Memory.Rss-s.Idle.Before.Rss) / float64(s.Idle.Connections)
}

// classFigures are the answers to one kind of requests, and how they were spread over the connections.
type classFigures struct {
	What      string  `json:"what"`
	Done      int64   `json:"done"`
	P50Millis float64 `json:"p50_ms"`
	P99Millis float64 `json:"p99_ms"`
	MaxMillis float64 `json:"max_ms"`
	Least     int     `json:"least"` // answers on a connection
	Middle    float64 `json:"middle"`
	Most      int     `json:"most"`
	Jain      float64 `json:"jain"`
}

func figuresOf(what string, c crowdClass) classFigures {
	f := classFigures{
		What: what, Done: c.Done, P50Millis: millis(c.P50), P99Millis: millis(c.P99), MaxMillis: millis(c.Max), Jain: jain(c.ByConnection),
	}
	if len(c.ByConnection) > 0 {
		values := make([]float64, len(c.ByConnection))
		for i, n := range c.ByConnection {
			values[i] = float64(n)
		}
		f.Least, f.Most, f.Middle = slices.Min(c.ByConnection), slices.Max(c.ByConnection), median(values)
	}
	return f
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// jain is Jain's index of fairness: 1 when all have the same, 1/n when one has everything.
func jain(counts []int) float64 {
	var sum, squares float64
	for _, n := range counts {
		sum += float64(n)
		squares += float64(n) * float64(n)
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / (float64(len(counts)) * squares)
}

// crowdOrderOf is a case's order for a server.
func (b *bench) crowdOrderOf(c benchCase, s *server) crowdOrder {
	order := crowdOrder{
		Address: s.listen(), CA: b.cert.certFile, TLS: c.mode.tls(), H2: c.h2, Streams: c.streams,
		Warm: warmUp, Limit: time.Duration(b.opts.seconds) * time.Second,
	}
	switch c.load {
	case loadMix:
		order.Connections = wrkConnections
		if c.h2 {
			order.Connections = h2loadConnections
		}
		requests := b.mixtures(c)
		order.Requests = mixRequests(s, requests, b.variants[s.name][s.mode])
	case loadIdle:
		order.Connections, order.Limit, order.Own = b.opts.idle, 0, true
		order.Requests = []crowdRequest{b.plainRequest(c.path, 0)}
	case loadFair:
		order.Connections, order.Own = fairConnections, true
		order.Requests = []crowdRequest{b.plainRequest(c.path, 0)}
		if c.mixed {
			order.Requests = slices.Repeat(order.Requests, fairLargeOneIn)
			order.Requests[fairLargeOneIn-1] = b.plainRequest(largePath, 1)
		}
	case loadWrk, loadH2load, loadHandshakes:
	}
	return order
}

func (b *bench) plainRequest(path string, class int) crowdRequest {
	return crowdRequest{Path: path, Status: http.StatusOK, Body: b.site.assets[path].size, Class: class}
}

// mixtures is what a mixed case asks for.
func (b *bench) mixtures(c benchCase) []mixed {
	draw := b.site.draw
	if c.hot {
		draw = slices.Repeat([]string{b.site.hot}, len(draw))
	}
	return mixture(draw, drawSeed)
}

// measureCrowd is one server's turn in a case where all connections ask all the time.
func (b *bench) measureCrowd(ctx context.Context, c benchCase, s *server, seconds int) (sample, error) {
	l := b.loader
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	order := b.crowdOrderOf(c, s)
	order.Limit = time.Duration(seconds) * time.Second
	r, err := l.startCrowd(ctx, order)
	if err != nil {
		return sample{}, err
	}
	if err := r.release(ctx); err != nil {
		return sample{}, err
	}
	if err := r.expect(ctx, crowdBegin); err != nil {
		return sample{}, err
	}
	before, err1 := readTree(s.cmd.Process.Pid)
	began := time.Now()
	if err := r.expect(ctx, crowdEnd); err != nil {
		return sample{}, err
	}
	after, err2 := readTree(s.cmd.Process.Pid)
	wall := time.Since(began)
	report, err3 := r.finish(ctx)
	if err := errors.Join(err1, err2, err3); err != nil {
		return sample{}, err
	}
	cpu := after.cpu - before.cpu
	if err := sameProcesses(before, after, wall); err != nil {
		return sample{}, err
	}
	used, err := readMemory(after.pids)
	if err != nil {
		return sample{}, err
	}
	return crowdSample(report, cpu, wall, used)
}

// crowdSample makes a sample of a report.
func crowdSample(report crowdReport, cpu, wall time.Duration, used memory) (sample, error) {
	got := sample{Memory: used, ServerBusy: cpu.Seconds() / wall.Seconds(), LoadBusy: report.CPU.Seconds() / report.Elapsed.Seconds()}
	for i, class := range report.Classes {
		got.Requests += class.Done
		what := "1 KiB"
		if i > 0 {
			what = "1 MiB"
		}
		got.Classes = append(got.Classes, figuresOf(what, class))
	}
	if got.Requests == 0 {
		return sample{}, errNoResponse
	}
	got.CPUMicros = float64(cpu.Microseconds()) / float64(got.Requests)
	got.Rate = float64(got.Requests) / report.Elapsed.Seconds()
	got.P99Millis = got.Classes[0].P99Millis
	return got, nil
}

// measureIdle starts a server of its own, which has served nothing yet, and reads its memory before and after.
func (b *bench) measureIdle(ctx context.Context, c benchCase, name string) (got sample, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Minute, errors.New("the idle connections were not there within 3 minutes"))
	defer cancel()
	port, err := freePort(ctx)
	if err != nil {
		return got, err
	}
	dir := filepath.Join(b.dir, name+"-"+c.name)
	s, err := startServer(ctx, b.spawner, programNamed(name), place{
		engine: b.opts.engine, binary: b.binaries[name], dir: dir, root: b.site.small, rootGzip: b.site.small,
		mode: c.mode, port: port, cert: b.cert, privilege: os.Geteuid() == 0, most: b.opts.idle,
	})
	if err != nil {
		return got, err
	}
	defer func() {
		s.stop()
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	if err := settle(ctx, []*server{s}, 1); err != nil {
		return got, err
	}
	order := b.crowdOrderOf(c, s)
	few := order
	few.Connections = min(idleFew, order.Connections)
	if _, _, err := b.hold(ctx, few, s, 0); err != nil {
		return got, err
	}
	if err := settle(ctx, []*server{s}, 1); err != nil {
		return got, err
	}
	tree, err := readTree(s.cmd.Process.Pid)
	if err != nil {
		return got, err
	}
	before, err := readMemory(tree.pids)
	if err != nil {
		return got, err
	}
	after, cpu, err := b.hold(ctx, order, s, idleSettle)
	if err != nil {
		return got, err
	}
	return sample{
		Memory: after, Idle: &idleFigures{order.Connections, before}, Requests: int64(order.Connections),
		CPUMicros: float64(cpu.Microseconds()) / float64(order.Connections),
	}, nil
}

// hold opens the connections, reads the server's memory while they are idle, and proves afterwards that all are still
// served. The CPU time is that of opening them.
func (b *bench) hold(ctx context.Context, order crowdOrder, s *server, pause time.Duration) (used memory, cpu time.Duration, err error) {
	before, err := readTree(s.cmd.Process.Pid)
	if err != nil {
		return used, 0, err
	}
	r, err := b.loader.startCrowd(ctx, order)
	if err != nil {
		return used, 0, err
	}
	select {
	case <-ctx.Done():
		return used, 0, r.failed(ctx, context.Cause(ctx))
	case <-time.After(pause):
	}
	tree, err := readTree(s.cmd.Process.Pid)
	if err != nil {
		return used, 0, r.failed(ctx, err)
	}
	if used, err = readMemory(tree.pids); err != nil {
		return used, 0, r.failed(ctx, err)
	}
	if err := r.release(ctx); err != nil {
		return used, 0, err
	}
	if _, err := r.finish(ctx); err != nil {
		return used, 0, fmt.Errorf("after %s: %w", pause, err)
	}
	return used, tree.cpu - before.cpu, nil
}
