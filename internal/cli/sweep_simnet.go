package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"pennyfarthing/internal/sweep"
)

// A simulatedInternet is a penny simnet that runs as a child.
type simulatedInternet struct {
	cmd   *exec.Cmd
	stdin io.Closer // its end ends the child
	lines *bufio.Scanner
	ready struct {
		DNS   netip.AddrPort `json:"dns"`
		HTTP  uint16         `json:"http"`
		HTTPS uint16         `json:"https"`
	}
	roots string // file of its CA's certificate
}

// startSimnet starts the simulated internet of a run, and waits until it is ready.
func startSimnet(ctx context.Context, s *sweep.Simnet, dir string, env Env) (*simulatedInternet, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	n := &simulatedInternet{roots: filepath.Join(dir, "ca.pem")}
	n.cmd = exec.CommandContext(ctx, self, "simnet", "--dns", "127.0.0.1:0", "--http", "0", "--https", "0", "--json", "--ca", n.roots,
		"--profile", s.Profile, "--seed", strconv.FormatUint(s.Seed, 10), "--latency", s.Latency, "--loss", strconv.FormatFloat(s.Loss, 'g', -1, 64))
	n.cmd.Stderr = env.Stderr
	n.cmd.Cancel = func() error { return n.cmd.Process.Signal(syscall.SIGTERM) }
	n.cmd.WaitDelay = 5 * time.Second
	if n.stdin, err = n.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start the simulated internet: %w", err)
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the simulated internet: %w", err)
	}
	if err := n.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the simulated internet: %w", err)
	}
	n.lines = bufio.NewScanner(out)
	if !n.lines.Scan() {
		_ = n.stdin.Close()
		return nil, errors.Join(errors.New("the simulated internet did not start"), n.cmd.Wait())
	}
	if err := json.Unmarshal(n.lines.Bytes(), &n.ready); err != nil {
		_ = n.stdin.Close()
		return nil, errors.Join(fmt.Errorf("read what the simulated internet says: %w", err), n.cmd.Wait())
	}
	return n, nil
}

// stop ends it, and says what it needed.
func (n *simulatedInternet) stop() (cpu time.Duration) {
	_ = n.stdin.Close()
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	for n.lines.Scan() { // its counts, which the pipe must not keep it from telling
	}
	_ = n.cmd.Wait() // it was told to end
	return n.cmd.ProcessState.UserTime() + n.cmd.ProcessState.SystemTime()
}
