//go:build linux

package main

import "fmt"

// mode is how a process listens. Every server runs one process a mode.
type mode string

const (
	plain   mode = "plain"
	overTLS mode = "tls"
)

// load says what asks, and how.
type load int

const (
	loadWrk load = iota
	loadH2load
	loadHandshakes
)

const (
	wrkConnections    = 32
	h2loadConnections = 16
	handshakeWorkers  = 16
)

// benchCase is one row of the plan.
type benchCase struct {
	name    string
	mode    mode
	load    load
	streams int    // h2: concurrent streams a connection
	path    string // "" = the manual, by the Zipf draw
}

func (c benchCase) manual() bool { return c.path == "" }

func (c benchCase) describe() string {
	what := c.path
	if c.manual() {
		what = "the manual by a Zipf draw, gzip"
	}
	switch c.load {
	case loadH2load:
		return fmt.Sprintf("h2 over TLS, %d connections, %d streams each, %s", h2loadConnections, c.streams, what)
	case loadHandshakes:
		return fmt.Sprintf("new TLS 1.3 connections, %d at a time, one request each, %s", handshakeWorkers, what)
	case loadWrk:
		if c.mode == overTLS {
			return fmt.Sprintf("HTTP/1.1 over TLS, %d connections, %s", wrkConnections, what)
		}
		return fmt.Sprintf("HTTP/1.1 plain, %d connections, %s", wrkConnections, what)
	}
	return what
}

// fixedBodies are files of random bytes, asked for without Accept-Encoding. They are named as pictures: every server knows
// the type, compresses nothing and varies on nothing.
var fixedBodies = []struct {
	name string
	size int
}{{"1k", 1 << 10}, {"16k", 16 << 10}, {"128k", 128 << 10}}

func fixedPath(name string) string { return "/" + name + ".jpg" }

func allCases() []benchCase {
	type body struct{ name, path string }
	var bodies []body
	for _, f := range fixedBodies {
		bodies = append(bodies, body{f.name, fixedPath(f.name)})
	}
	bodies = append(bodies, body{"manual", ""})

	var cases []benchCase
	for _, b := range bodies {
		cases = append(cases, benchCase{name: "h1-" + b.name, mode: plain, load: loadWrk, path: b.path})
	}
	for _, b := range bodies {
		cases = append(cases, benchCase{name: "tls-" + b.name, mode: overTLS, load: loadWrk, path: b.path})
	}
	for _, b := range bodies {
		for _, streams := range []int{1, 10, 100} {
			cases = append(cases, benchCase{
				name: fmt.Sprintf("h2-%s-m%d", b.name, streams), mode: overTLS, load: loadH2load, streams: streams, path: b.path,
			})
		}
	}
	return append(cases, benchCase{name: "connect", mode: overTLS, load: loadHandshakes, path: fixedPath(fixedBodies[0].name)})
}
