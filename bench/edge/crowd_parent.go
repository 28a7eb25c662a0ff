//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// crowdRun is a crowd at work, seen from the parent.
type crowdRun struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	diag   *strings.Builder
}

// startCrowd starts the child and waits until all its connections have had an answer. Whoever starts it ends it, by finish
// or by stop.
func (l *loader) startCrowd(ctx context.Context, order crowdOrder) (*crowdRun, error) {
	text, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(l.dir, "crowd.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		return nil, err
	}
	r := &crowdRun{cmd: exec.CommandContext(ctx, l.self, "-"+crowdFlag, name), diag: new(strings.Builder)}
	r.cmd.Cancel = func() error { return r.cmd.Process.Signal(syscall.SIGTERM) }
	r.cmd.WaitDelay = stopPatience
	r.cmd.Env = append(os.Environ(), l.env...)
	r.cmd.Stderr = r.diag
	stdin, err1 := r.cmd.StdinPipe()
	stdout, err2 := r.cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	r.stdin, r.stdout = stdin, bufio.NewReader(stdout)
	if err := l.spawner.start(r.cmd, l.spawner.loadCPU, syscall.SIGKILL); err != nil {
		return nil, err
	}
	if err := r.expect(ctx, crowdReady); err != nil {
		return nil, err
	}
	return r, nil
}

// expect waits for a line of the child. When another comes, or none, the child is ended and its complaint is the error.
func (r *crowdRun) expect(ctx context.Context, word string) error {
	line, err := r.stdout.ReadString('\n')
	if err == nil && strings.TrimSpace(line) == word {
		return nil
	}
	return r.failed(ctx, fmt.Errorf("instead of %q it said %q", word, strings.TrimSpace(line)))
}

// failed ends the child and makes an error of what it complained about.
func (r *crowdRun) failed(ctx context.Context, why error) error {
	r.stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if complaint := lastLine(r.diag.String()); complaint != "" {
		return errors.New(complaint)
	}
	return why
}

// release lets the child go on after ready.
func (r *crowdRun) release(ctx context.Context) error {
	if _, err := io.WriteString(r.stdin, crowdGo+"\n"); err != nil {
		return r.failed(ctx, err)
	}
	return nil
}

// finish reads the report and waits for the end.
func (r *crowdRun) finish(ctx context.Context) (crowdReport, error) {
	var report crowdReport
	text, err := r.stdout.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil {
		return report, r.failed(ctx, err)
	}
	return report, r.cmd.Wait()
}

// stop ends the child without a report. It holds nothing that is worth an orderly end.
func (r *crowdRun) stop() {
	if r.cmd.ProcessState == nil {
		_ = r.cmd.Process.Kill() // an error means that it has ended
		_ = r.cmd.Wait()         // it was ended; there is nothing else to learn
	}
}
