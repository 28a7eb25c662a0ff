//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	startPatience  = 60 * time.Second // penny compresses the manual first
	settlePatience = 5 * time.Minute  // on a machine with other work
)

// program is a server program that can be measured. One file each: server_*.go.
type program struct {
	name      string
	debian    string // its Debian package, "" = ours
	serves    string // one line for people: how the manual's gzip comes about
	cleanURLs bool   // it redirects /page.html to /page, so pages are asked for by the latter
	fixedOnly bool   // it serves the fixed bodies alone, over HTTP/1.1
	version   func(ctx context.Context, binary string) (string, error)
	configure func(p place) (invocation, error)
}

// answers says whether the program has a part in a case.
func (p program) answers(c benchCase) bool {
	return !p.fixedOnly || !c.h2 && !c.manual() && !c.mixed && c.load != loadIdle
}

// place is where one process of a program serves.
type place struct {
	binary    string
	dir       string // its own, for configuration and state
	root      string // the files
	rootGzip  string // the files with .gz beside them
	mode      mode
	port      int
	cert      *certificate
	privilege bool   // we are root: name the user to become
	engine    string // of penny
	most      int    // connections at the same time, 0 = a usual number
}

// usualMost is how many connections a server allows, where such a limit is the administrator's to set.
const usualMost = 8192

// room is how many connections and open files the server must allow.
func (p place) room() int { return max(usualMost, p.most+spareFiles) }

func (p place) listen() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

// invocation is how a process is started.
type invocation struct {
	args, env  []string
	ifOrphaned syscall.Signal
	saysReady  bool // prints one line on stdout once it answers; else a connection that works is the sign
}

func programs() []program {
	return []program{pennyProgram(ours, ""), pennyProgram(oursPlain, "plain"), nginxProgram(), h2oProgram(), caddyProgram(), floorProgram()}
}

// usualNames are the servers of a run that names none. The plain engine joins them where memory is measured; the floor never does.
func usualNames() []string {
	return slices.DeleteFunc(programNames(), func(name string) bool { return name == oursPlain || name == theFloor })
}

func programNames() []string {
	var names []string
	for _, p := range programs() {
		names = append(names, p.name)
	}
	return names
}

func programNamed(name string) program {
	all := programs()
	return all[slices.IndexFunc(all, func(p program) bool { return p.name == name })]
}

// server is one running process.
type server struct {
	place
	name   string
	clean  bool // program.cleanURLs
	fixed  bool // program.fixedOnly
	cmd    *exec.Cmd
	waited chan error
	log    string // file with its stderr
}

func (s *server) url(path string) string {
	if s.mode.tls() {
		return "https://" + s.listen() + path
	}
	return "http://" + s.listen() + path
}

// asked is how the server wants a path of the site to be asked for.
func (s *server) asked(path string) string {
	if s.clean {
		return cleanPath(path)
	}
	return path
}

// cleanPath is how a page is asked for where /page.html redirects to /page.
func cleanPath(path string) string { return strings.TrimSuffix(path, ".html") }

// startServer starts a program in one mode and waits until it answers.
func startServer(ctx context.Context, sp *spawner, prog program, p place) (*server, error) {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, err
	}
	inv, err := prog.configure(p)
	if err != nil {
		return nil, err
	}
	s := &server{place: p, name: prog.name, clean: prog.cleanURLs, fixed: prog.fixedOnly, waited: make(chan error, 1), log: filepath.Join(p.dir, "stderr.log")}
	diag, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer diag.Close() // the child has its own copy
	s.cmd = exec.CommandContext(ctx, p.binary, inv.args...)
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) } // stop does the rest
	s.cmd.Dir, s.cmd.Stderr = p.dir, diag
	s.cmd.Env = append(os.Environ(), append([]string{"GOMAXPROCS=1", "HOME=" + p.dir, "XDG_DATA_HOME=" + p.dir, "XDG_CONFIG_HOME=" + p.dir}, inv.env...)...)
	ready, err := s.watchStdout(inv.saysReady)
	if err != nil {
		return nil, err
	}
	if err := sp.start(s.cmd, sp.serverCPU, inv.ifOrphaned); err != nil {
		return nil, err
	}
	go func() { s.waited <- s.cmd.Wait() }()
	if err := s.waitReady(ctx, ready); err != nil {
		s.stop()
		return nil, fmt.Errorf("start %s (%s): %w", s.name, s.mode, err)
	}
	return s, nil
}

// watchStdout returns a channel that closes after the first line when the program says by one that it is ready.
// The pipe is drained to its end, which comes with the process's.
func (s *server) watchStdout(saysReady bool) (<-chan struct{}, error) {
	if !saysReady {
		return nil, nil
	}
	pipe, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go func() {
		r := bufio.NewReader(pipe)
		if line, err := r.ReadString('\n'); err == nil && strings.Contains(line, "{") {
			close(ready)
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	return ready, nil
}

func (s *server) waitReady(ctx context.Context, ready <-chan struct{}) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("does not answer within %s", startPatience))
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-s.waited:
			s.waited <- err
			return errors.Join(fmt.Errorf("it ended: %s", s.complaint()), err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), s.complaint())
		case <-ready:
			return nil
		case <-tick.C:
			if ready != nil {
				continue
			}
			if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", s.listen()); err == nil {
				return conn.Close()
			}
		}
	}
}

// complaint is the end of what the server wrote on stderr.
func (s *server) complaint() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-500):]))
}

func (s *server) stop() { stopGroup(s.cmd.Process, s.waited) }

// settle waits until the servers use no CPU: some compress or load in the background after they answer.
// One that gets no CPU seems to be at rest, so it must last for so many looks in a row.
func settle(ctx context.Context, servers []*server, looks int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settlePatience, errors.New("the servers never come to rest"))
	defer cancel()
	var last time.Duration = -1
	for quiet := 0; ; {
		var sum time.Duration
		for _, s := range servers {
			tree, err := readTree(s.cmd.Process.Pid)
			if err != nil {
				return fmt.Errorf("%s: %w: %s", s.name, err, s.complaint())
			}
			sum += tree.cpu
		}
		if quiet++; last < 0 || sum-last > clockTick {
			quiet = 0
		}
		if quiet == looks {
			return nil
		}
		last = sum
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// freePort finds a port that nobody listens on now.
func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// firstLine runs a program that prints its version.
func firstLine(ctx context.Context, binary string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil && line == "" {
		return "", fmt.Errorf("%s %s: %w", binary, strings.Join(args, " "), err)
	}
	return line, nil // wrk -v and h2o -v print it and exit with 1
}
