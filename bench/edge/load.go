//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"pennyfarthing/bench/debian"
)

const (
	warmUp        = 300 * time.Millisecond
	latencySample = 20000 // responses of the run that h2load logs
	// bodySlack allows wrk's figure of bytes its three digits.
	bodySlack = 0.99
)

// loadTLS is the OpenSSL configuration of wrk and h2load: every server must use the same cipher and group. Servers
// themselves keep their own preferences, of which only this one remains possible.
const loadTLS = `openssl_conf = conf
[conf]
ssl_conf = ssl
[ssl]
system_default = all
[all]
MinProtocol = TLSv1.3
Ciphersuites = ` + theCipher + `
Groups = X25519
`

// loader runs the loads, each bounded by itself.
type loader struct {
	spawner     *spawner
	wrk, h2load string
	self        string // this program, for the handshakes
	dir         string
	seconds     int
	env         []string
}

func newLoader(sp *spawner, dir string, seconds int, draw []string) (*loader, error) {
	l := &loader{spawner: sp, dir: dir, seconds: seconds, env: []string{"OPENSSL_CONF=" + filepath.Join(dir, "load.cnf"), "GOMAXPROCS=1"}}
	var err1, err2, err3 error
	l.wrk, err1 = debian.Find("wrk")
	l.h2load, err2 = debian.Find("h2load")
	l.self, err3 = os.Executable()
	clean := make([]string, len(draw))
	for i, path := range draw {
		clean[i] = cleanPath(path)
	}
	return l, errors.Join(err1, err2, err3,
		os.WriteFile(filepath.Join(dir, "load.cnf"), []byte(loadTLS), 0o644),
		os.WriteFile(l.script(false), []byte(wrkScript(draw)), 0o644),
		os.WriteFile(l.script(true), []byte(wrkScript(clean)), 0o644),
		os.WriteFile(l.list(false), []byte(uriList(draw)), 0o644),
		os.WriteFile(l.list(true), []byte(uriList(clean)), 0o644))
}

// script and list are the draw for wrk and h2load, with clean URLs or those of the files.
func (l *loader) script(clean bool) string { return l.draw(clean) + ".lua" }
func (l *loader) list(clean bool) string   { return l.draw(clean) + ".uris" }

func (l *loader) draw(clean bool) string {
	if clean {
		return filepath.Join(l.dir, "manual-clean")
	}
	return filepath.Join(l.dir, "manual")
}

func (l *loader) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	patience := time.Duration(l.seconds)*10*time.Second + 30*time.Second
	return context.WithTimeoutCause(ctx, patience, fmt.Errorf("the load did not end within %s", patience))
}

// warm asks for half a second and returns the rate, from which the counted loads take their number of requests.
func (l *loader) warm(ctx context.Context, c benchCase, s *server) (float64, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	if c.load == loadHandshakes {
		out, err := l.handshakes(ctx, c, s, handshakeOrder{Limit: warmUp})
		return out.rate(), err
	}
	args := []string{"-D", fmt.Sprintf("%dms", warmUp.Milliseconds())}
	if c.load == loadWrk { // wrk itself cannot run for less than a second
		args = append(args, "--h1", "-c", strconv.Itoa(wrkConnections), "-m", "1")
	} else {
		args = append(args, h2loadShape(c)...)
	}
	text, _, err := l.runH2load(ctx, c, s, args)
	if err != nil {
		return 0, err
	}
	out, err := parseH2load(text, false)
	return out.rate(), err
}

// measure is the load between the two readings of the server's CPU time.
func (l *loader) measure(ctx context.Context, c benchCase, s *server, rate float64, body int64) (outcome, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	var out outcome
	var err error
	switch c.load {
	case loadWrk:
		out, err = l.measureWrk(ctx, c, s)
		if err == nil && !c.manual() && out.bytes < bodySlack*float64(body*out.requests) {
			err = fmt.Errorf("wrk read %.0f bytes for %d responses of %d", out.bytes, out.requests, body)
		}
	case loadH2load:
		out, err = l.measureH2load(ctx, c, s, rate)
		if err == nil && !c.manual() && out.bytes != float64(body*out.requests) {
			err = fmt.Errorf("h2load read %.0f bytes for %d responses of %d", out.bytes, out.requests, body)
		}
	case loadMix, loadIdle, loadFair: // see crowd_parent.go
		err = fmt.Errorf("%s is not a load by itself", c.name)
	case loadHandshakes:
		out, err = l.handshakes(ctx, c, s, handshakeOrder{Count: int64(rate*float64(l.seconds)) + 1, Body: body})
	}
	return out, err
}

func (l *loader) measureWrk(ctx context.Context, c benchCase, s *server) (outcome, error) {
	args := []string{"-t1", "-c" + strconv.Itoa(wrkConnections), fmt.Sprintf("-d%ds", l.seconds), "--timeout", "10s", "--latency"}
	if c.manual() {
		args = append(args, "-s", l.script(s.clean), "-H", "Accept-Encoding: gzip")
	}
	text, cpu, err := l.spawner.run(ctx, l.env, l.wrk, append(args, s.url(c.path))...)
	if err != nil {
		return outcome{}, err
	}
	out, err := parseWrk(text)
	out.cpu = cpu
	return out, err
}

func h2loadShape(c benchCase) []string {
	return []string{"-c", strconv.Itoa(h2loadConnections), "-m", strconv.Itoa(c.streams)}
}

// measureH2load counts requests instead of seconds, so that no half-sent response is paid for and not counted.
func (l *loader) measureH2load(ctx context.Context, c benchCase, s *server, rate float64) (outcome, error) {
	text, cpu, err := l.runH2load(ctx, c, s, append(h2loadShape(c), "-n", l.requests(c, rate*float64(l.seconds))))
	if err != nil {
		return outcome{}, err
	}
	out, err := parseH2load(text, true)
	out.cpu = cpu
	return out, errors.Join(err, checkH2loadTLS(text, "h2"))
}

// requests rounds to the same number for every connection, and at least two rounds of streams.
func (l *loader) requests(c benchCase, wanted float64) string {
	each := max(int(wanted)/h2loadConnections, 2*c.streams)
	return strconv.Itoa(each * h2loadConnections)
}

func (l *loader) runH2load(ctx context.Context, c benchCase, s *server, args []string) (string, time.Duration, error) {
	args = append(args, "-t", "1", "--tls13-ciphers="+theCipher, "--groups=X25519")
	if c.manual() {
		args = append(args, "-H", "accept-encoding: gzip", "-B", s.url(""), "-i", l.list(s.clean))
	} else {
		args = append(args, s.url(c.path))
	}
	return l.spawner.run(ctx, l.env, l.h2load, args...)
}

// latency is h2load's 99th percentile, from a run of its own: its log costs the load a system call a response.
func (l *loader) latency(ctx context.Context, c benchCase, s *server, rate float64) (time.Duration, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	name := filepath.Join(l.dir, "h2load.log")
	n := l.requests(c, min(latencySample, rate*warmUp.Seconds()))
	if _, _, err := l.runH2load(ctx, c, s, append(h2loadShape(c), "-n", n, "--log-file="+name)); err != nil {
		return 0, err
	}
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	p99, err := parseH2loadLog(f)
	return p99, errors.Join(err, f.Close(), os.Remove(name))
}

// handshakes runs the load of new connections in a child, see handshake.go.
func (l *loader) handshakes(ctx context.Context, c benchCase, s *server, order handshakeOrder) (outcome, error) {
	order.Address, order.Path, order.CA, order.Workers = s.listen(), c.path, s.cert.certFile, handshakeWorkers
	text, err := json.Marshal(order)
	if err != nil {
		return outcome{}, err
	}
	printed, cpu, err := l.spawner.run(ctx, l.env, l.self, "-"+handshakeFlag, string(text))
	if err != nil {
		return outcome{}, err
	}
	var report handshakeReport
	if err := json.Unmarshal([]byte(printed), &report); err != nil {
		return outcome{}, fmt.Errorf("the handshake load's output: %w", err)
	}
	return outcome{requests: report.Done, elapsed: report.Elapsed, p99: report.P99, cpu: cpu}, nil
}
