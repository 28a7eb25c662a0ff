//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopPatience is how long a child may take to go by itself.
const stopPatience = 2 * time.Second

// spawner starts children pinned to a core. All are started by one OS thread that lives as long as the program: Linux
// sends Pdeathsig when the parent's *thread* ends, not only when the process does.
type spawner struct {
	jobs               chan func()
	serverCPU, loadCPU int
	urgent             bool // before all other work of the machine
}

func newSpawner(urgent bool) (*spawner, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	cpus, err := allowedCPUs(string(status))
	if err != nil {
		return nil, err
	}
	if len(cpus) < 2 {
		return nil, fmt.Errorf("two CPUs are needed, one for the server and one for the load; this process may use %d", len(cpus))
	}
	if _, err := os.Stat("/proc/self/autogroup"); urgent && (err != nil || os.Geteuid() != 0) {
		return nil, errors.New("-urgent needs root, and a kernel with autogroups (/proc/self/autogroup)")
	}
	s := &spawner{jobs: make(chan func()), serverCPU: cpus[0], loadCPU: cpus[1], urgent: urgent}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for job := range s.jobs {
			job()
		}
	}()
	return s, nil
}

// close ends the spawning thread. No child may be alive any more.
func (s *spawner) close() { close(s.jobs) }

// start starts cmd on one CPU, in a session of its own: the terminal's Ctrl-C reaches this program alone, which then stops
// everything in order; and the scheduler's autogroups give it a fair share beside whatever else runs in our session.
// ifOrphaned is what the kernel sends it when this program dies.
func (s *spawner) start(cmd *exec.Cmd, cpu int, ifOrphaned syscall.Signal) error {
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		return err
	}
	cmd.Args = slices.Concat([]string{"taskset", "-c", strconv.Itoa(cpu), cmd.Path}, cmd.Args[1:])
	cmd.Path = taskset
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: ifOrphaned}
	result := make(chan error, 1) // one result, so that the thread never waits
	s.jobs <- func() { result <- cmd.Start() }
	if err := <-result; err != nil || !s.urgent {
		return err
	}
	// The whole session's weight; the nice value of a process counts only within its autogroup.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", cmd.Process.Pid), []byte("-20"), 0); err != nil {
		err = errors.Join(err, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed; there is nothing else to learn
		return fmt.Errorf("-urgent: %w", err)
	}
	return nil
}

// run runs a load to its end on the load's CPU. It returns what it printed and the CPU time that it took.
func (s *spawner) run(ctx context.Context, env []string, name string, args ...string) (stdout string, cpu time.Duration, err error) {
	var out, diag strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &out, &diag
	if err := s.start(cmd, s.loadCPU, syscall.SIGKILL); err != nil {
		return "", 0, err
	}
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return out.String(), 0, fmt.Errorf("%s: %w: %s", filepath.Base(name), err, lastLine(out.String()+diag.String()))
	}
	return out.String(), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// stopGroup asks the leader of a process group to end, which knows how to stop its workers, and ends whatever does not.
func stopGroup(leader *os.Process, waited <-chan error) {
	_ = leader.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-waited:
		_ = syscall.Kill(-leader.Pid, syscall.SIGKILL) // those of the group that outlived their leader
	case <-time.After(stopPatience):
		_ = syscall.Kill(-leader.Pid, syscall.SIGKILL)
		<-waited
	}
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// allowedCPUs reads Cpus_allowed_list of a /proc/PID/status.
func allowedCPUs(status string) ([]int, error) {
	for line := range strings.Lines(status) {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return parseCPUList(strings.TrimSpace(list))
		}
	}
	return nil, errors.New("no Cpus_allowed_list in /proc/self/status")
}

// parseCPUList reads "0-3,8".
func parseCPUList(list string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		first, err1 := strconv.Atoi(low)
		last, err2 := strconv.Atoi(high)
		if err := errors.Join(err1, err2); err != nil || last < first {
			return nil, fmt.Errorf("CPU list %q: not understood", list)
		}
		for cpu := first; cpu <= last; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}
