//go:build linux

package main

import "fmt"

// mode is how a process listens. Every server runs one process a mode.
type mode string

const (
	plain    mode = "plain"
	overTLS  mode = "tls"
	plainLog mode = "plain-log" // with an access log of one request in logOneIn
	tlsLog   mode = "tls-log"
)

// logOneIn is how much of the traffic the access logs hold where they are on.
const logOneIn = 100

func (m mode) tls() bool    { return m == overTLS || m == tlsLog }
func (m mode) logged() bool { return m == plainLog || m == tlsLog }

// withLog is the same mode with an access log.
func (m mode) withLog() mode {
	if m.tls() {
		return tlsLog
	}
	return plainLog
}

// load says what asks, and how.
type load int

const (
	loadWrk load = iota
	loadH2load
	loadHandshakes
	loadMix  // the crowd, with conditional requests and several codings
	loadIdle // the crowd, of which every connection asks once and stays
	loadFair // the crowd, of which every connection always waits for one answer
)

const (
	wrkConnections    = 32
	h2loadConnections = 16
	handshakeWorkers  = 16
	idleDefault       = 10000
	fairConnections   = 1000
	fairLargeOneIn    = 10 // in the mixed cases
	crowdTurns        = 3  // at most
	mixStreams        = 10
)

// benchCase is one row of the plan.
type benchCase struct {
	name    string
	mode    mode
	load    load
	h2      bool
	streams int    // h2: concurrent streams a connection
	path    string // "" = the manual, by the Zipf draw
	hot     bool   // loadMix: of the manual its most popular page alone
	mixed   bool   // fair: one connection in ten fetches the large body
	goals   []goal
}

func (c benchCase) manual() bool { return c.path == "" }

// kind groups the cases whose tables are alike.
func (c benchCase) kind() string {
	switch c.load {
	case loadIdle:
		return kindIdle
	case loadFair:
		return kindFair
	case loadWrk, loadH2load, loadHandshakes, loadMix:
	}
	return kindCPU
}

const (
	kindCPU  = "cpu"
	kindIdle = "idle"
	kindFair = "fair"
)

// turns is how many of a run's turns the case gets. Memory differs little from turn to turn and takes long to measure.
func (c benchCase) turns(wanted int) int {
	switch c.load {
	case loadIdle:
		return 1
	case loadFair, loadMix:
		return min(wanted, crowdTurns)
	case loadWrk, loadH2load, loadHandshakes:
	}
	return wanted
}

func (c benchCase) describe() string {
	what := c.path
	if c.manual() {
		what = "the manual by a Zipf draw, gzip"
	}
	protocol := "HTTP/1.1 plain"
	switch {
	case c.h2:
		protocol = "h2 over TLS"
	case c.mode.tls():
		protocol = "HTTP/1.1 over TLS"
	}
	switch c.load {
	case loadH2load:
		return fmt.Sprintf("h2 over TLS, %d connections, %d streams each, %s", h2loadConnections, c.streams, what)
	case loadHandshakes:
		return fmt.Sprintf("new TLS 1.3 connections, %d at a time, one request each, %s", handshakeWorkers, what)
	case loadWrk:
		return fmt.Sprintf("%s, %d connections, %s", protocol, wrkConnections, what)
	case loadMix:
		if what = "the manual by a Zipf draw"; c.hot {
			what = "the manual's most popular page"
		}
		if c.h2 {
			protocol += fmt.Sprintf(", %d connections, %d streams each", h2loadConnections, c.streams)
		} else {
			protocol += fmt.Sprintf(", %d connections", wrkConnections)
		}
		return protocol + ", " + what + ", " + describeMix()
	case loadIdle:
		return protocol + ", connections that fetched " + what + " once and are kept open"
	case loadFair:
		if c.mixed {
			what += fmt.Sprintf(", one in %d of them %s", fairLargeOneIn, largePath)
		}
		return fmt.Sprintf("%s, %d connections, one request in flight on each, %s", protocol, fairConnections, what)
	}
	return what
}

// fixedBodies are files of random bytes, asked for without Accept-Encoding. They are named as pictures: every server knows
// the type, compresses nothing and varies on nothing.
//
// The goals follow from what programs reached that do nothing but answer, on a loop over sockets with Go's TLS, less what an
// edge must do besides. Over plain HTTP the kernel's share leaves nothing to be won.
var fixedBodies = []struct {
	name string
	size int
	tls  []goal
	h2   []goal // with several streams
}{
	{"1k", 1 << 10, []goal{{"h2o", 1}, {"nginx", 0.7}}, []goal{{"h2o", 0.75}}},
	{"16k", 16 << 10, []goal{{"h2o", 0.95}}, []goal{{"h2o", 0.75}}},
	{"128k", 128 << 10, []goal{{"h2o", 0.95}}, []goal{{"h2o", 0.8}}},
}

// A goal is what the ratio of CPU to a peer's should be at most.
type goal struct {
	Peer string  `json:"peer"`
	Most float64 `json:"most"`
}

// level is not to be dearer than H2O.
var level = []goal{{"h2o", 1}}

// largePath is a body that only the mixed cases of fairness fetch.
const (
	largePath = "/1m.jpg"
	largeSize = 1 << 20
)

func fixedPath(name string) string { return "/" + name + ".jpg" }

// isFixed says whether a path is a fixed body's.
func isFixed(path string) bool {
	for _, f := range fixedBodies {
		if path == fixedPath(f.name) {
			return true
		}
	}
	return false
}

func allCases() []benchCase {
	type body struct {
		name, path string
		tls, h2    []goal
	}
	var bodies []body
	for _, f := range fixedBodies {
		bodies = append(bodies, body{f.name, fixedPath(f.name), f.tls, f.h2})
	}
	bodies = append(bodies, body{"manual", "", fixedBodies[0].tls, fixedBodies[0].h2})

	var cases []benchCase
	for _, b := range bodies {
		cases = append(cases, benchCase{name: "h1-" + b.name, mode: plain, load: loadWrk, path: b.path, goals: level})
	}
	for _, b := range bodies {
		cases = append(cases, benchCase{name: "tls-" + b.name, mode: overTLS, load: loadWrk, path: b.path, goals: b.tls})
	}
	for _, b := range bodies {
		for _, streams := range []int{1, 10, 100} {
			goals := b.h2
			if streams == 1 {
				goals = level // nothing to gather
			}
			cases = append(cases, benchCase{
				name: fmt.Sprintf("h2-%s-m%d", b.name, streams), mode: overTLS, load: loadH2load, h2: true, streams: streams, path: b.path, goals: goals,
			})
		}
	}
	cases = append(cases, benchCase{name: "connect", mode: overTLS, load: loadHandshakes, path: fixedPath(fixedBodies[0].name), goals: []goal{{"nginx", 0.9}}})
	return append(cases, crowdCases()...)
}

// crowdCases are those whose load is our own.
func crowdCases() []benchCase {
	small := fixedPath(fixedBodies[0].name)
	var cases []benchCase
	for _, hot := range []bool{true, false} {
		name := "manual"
		if hot {
			name = "hot"
		}
		cases = append(cases,
			benchCase{name: "h1-mix-" + name, mode: plain, load: loadMix, streams: 1, hot: hot, goals: level},
			benchCase{name: "tls-mix-" + name, mode: overTLS, load: loadMix, streams: 1, hot: hot, goals: level},
			benchCase{name: "h2-mix-" + name, mode: overTLS, load: loadMix, h2: true, streams: mixStreams, hot: hot, goals: level})
	}
	return append(cases,
		benchCase{name: "idle-h1", mode: plain, load: loadIdle, streams: 1, path: small},
		benchCase{name: "idle-tls", mode: overTLS, load: loadIdle, streams: 1, path: small},
		benchCase{name: "idle-h2", mode: overTLS, load: loadIdle, h2: true, streams: 1, path: small},
		benchCase{name: "fair-h1-tls", mode: overTLS, load: loadFair, streams: 1, path: small},
		benchCase{name: "fair-h2", mode: overTLS, load: loadFair, h2: true, streams: 1, path: small},
		benchCase{name: "fair-h1-tls-mixed", mode: overTLS, load: loadFair, streams: 1, path: small, mixed: true},
		benchCase{name: "fair-h2-mixed", mode: overTLS, load: loadFair, h2: true, streams: 1, path: small, mixed: true})
}
