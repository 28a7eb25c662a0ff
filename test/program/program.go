// Package program builds penny and runs it as its users do: as a process, from
// the command line. It is for the tests below test/, which see nothing of penny
// but what it prints and answers.
//
// A process that a test starts has a state directory of its own and is stopped
// when the test ends; if the test failed, what the process printed is logged.
package program

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build builds penny, as it is shipped, and returns its path in dir.
func Build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "penny")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", path, "pennyfarthing/cmd/penny")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build penny: %w\n%s", err, out)
	}
	return path, nil
}

// Main builds penny, stores its path for the tests of a package, runs them, and
// returns the exit code.
func Main(m *testing.M, path *string) int {
	dir, err := os.MkdirTemp("", "penny-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a directory for penny:", err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	if *path, err = Build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

const (
	startLimit = time.Minute      // until a process has printed what is waited for
	stopLimit  = 40 * time.Second // more than a drain may last
)

// A Process is a running penny.
type Process struct {
	PID   int
	State string // its state directory

	t      testing.TB
	cmd    *exec.Cmd
	lines  chan string // of standard output; closed at its end
	next   *string     // a line that was read ahead
	stderr *output
	done   chan struct{} // closed when the process has ended
	err    error         // how it ended; read after done
}

// Start starts penny with arguments.
func Start(t testing.TB, path string, args ...string) *Process {
	t.Helper()
	p := &Process{
		State: t.TempDir(), t: t, stderr: new(output),
		cmd:   exec.CommandContext(context.WithoutCancel(t.Context()), path, args...),
		lines: make(chan string, 1000), // more than any command prints, so that none waits for a test
		done:  make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), "PENNY_STATE="+p.State)
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.PID = p.cmd.Process.Pid
	go p.watch(stdout)
	t.Cleanup(p.stop)
	return p
}

func (p *Process) watch(stdout io.Reader) {
	scanner := bufio.NewScanner(stdout)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		p.lines <- scanner.Text()
	}
	close(p.lines)
	p.err = p.cmd.Wait()
	close(p.done)
}

// Line returns the next line of standard output.
func (p *Process) Line() string {
	p.t.Helper()
	if p.next != nil {
		line := *p.next
		p.next = nil
		return line
	}
	select {
	case line, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("penny %q ended: %s", p.cmd.Args[1:], p.Stderr())
		}
		return line
	case <-time.After(startLimit):
		p.t.Fatalf("penny %q prints nothing more: %s", p.cmd.Args[1:], p.Stderr())
	}
	return ""
}

// AtEnd reports whether all lines of standard output have been returned, and waits for
// one more, or for the end, if that is not known.
func (p *Process) AtEnd() bool {
	p.t.Helper()
	if p.next != nil {
		return false
	}
	select {
	case line, ok := <-p.lines:
		if ok {
			p.next = &line
		}
		return !ok
	case <-time.After(startLimit):
		p.t.Fatalf("penny %q neither prints nor ends: %s", p.cmd.Args[1:], p.Stderr())
	}
	return true
}

// LinesUntil returns the lines of standard output up to one that begins with a
// prefix, and that line.
func (p *Process) LinesUntil(prefix string) []string {
	p.t.Helper()
	var all []string
	for {
		line := p.Line()
		all = append(all, line)
		if strings.HasPrefix(line, prefix) {
			return all
		}
	}
}

// JSON reads the next line of standard output into v.
func (p *Process) JSON(v any) {
	p.t.Helper()
	line := p.Line()
	if err := json.Unmarshal([]byte(line), v); err != nil {
		p.t.Fatalf("penny printed %q: %v", line, err)
	}
}

// Stderr returns what the process has written to standard error until now.
func (p *Process) Stderr() string { return p.stderr.String() }

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Wait waits for the end of the process, for so long at most, and returns how it
// ended, as [exec.Cmd.Wait] does.
func (p *Process) Wait(limit time.Duration) error {
	p.t.Helper()
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		p.t.Fatalf("penny still runs after %v", limit)
	}
	return nil
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

func (p *Process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		p.t.Errorf("penny does not stop")
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	if _, wasExit := errors.AsType[*exec.ExitError](p.err); p.err != nil && !wasExit {
		p.t.Errorf("wait for penny: %v", p.err)
	}
	if p.t.Failed() {
		p.t.Logf("penny %q wrote to standard error:\n%s", p.cmd.Args[1:], p.Stderr())
	}
}

// output collects what a process writes.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write adds to it.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String returns all of it.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
