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
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// stopPatience is how long a child may take to go by itself.
	stopPatience = 5 * time.Second
	// deployLimit is how long a deploy may take, as the slowest that is to be expected takes minutes.
	deployLimit = 30 * time.Minute
	// clockTick is the unit of times in /proc: USER_HZ is 100 on every Linux that Go runs on.
	clockTick = 10 * time.Millisecond
)

// A spawner starts children. All are started by one OS thread that lives as long as the program: Linux sends Pdeathsig when
// the parent's thread ends, not only when the process does.
type spawner struct{ jobs chan func() }

func newSpawner() *spawner {
	s := &spawner{make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

// close ends the spawning thread. No child may be alive any more.
func (s *spawner) close() { close(s.jobs) }

// start starts a command in a session of its own: the terminal's Ctrl-C reaches this program alone, which then stops
// everything in order.
func (s *spawner) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	result := make(chan error, 1) // one result, so that the thread never waits
	s.jobs <- func() { result <- cmd.Start() }
	return <-result
}

// run runs a command to its end, and returns what it printed, how long it took, and the CPU time of it and of its children.
func (s *spawner) run(ctx context.Context, cmd *exec.Cmd) (stdout string, took, cpu time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deployLimit, fmt.Errorf("%s took more than %v", filepath.Base(cmd.Path), deployLimit))
	defer cancel()
	var out, diag strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &diag
	cmd.WaitDelay = stopPatience
	began := time.Now()
	if err := s.start(cmd); err != nil {
		return "", 0, 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // it may have ended
	err = cmd.Wait()
	took = time.Since(began)
	stop()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return out.String(), 0, 0, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, lastLines(diag.String()+out.String()))
	}
	return out.String(), took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// lastLines is the end of what a command printed.
func lastLines(s string) string {
	const most = 600
	s = strings.TrimSpace(s)
	return s[max(len(s)-most, 0):]
}

// A daemon is a process that stays.
type daemon struct {
	cmd    *exec.Cmd
	waited chan error // closed when it has ended
}

// daemon starts a process that stays.
func (s *spawner) daemon(cmd *exec.Cmd) (*daemon, error) {
	if err := s.start(cmd); err != nil {
		return nil, err
	}
	d := &daemon{cmd, make(chan error, 1)} // its end
	go func() {
		d.waited <- cmd.Wait()
		close(d.waited)
	}()
	return d, nil
}

// stop ends a process and its group.
func (d *daemon) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGCONT) // an error means that it has ended
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.waited:
	case <-time.After(stopPatience):
	}
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // what is left of the group, or nobody
	<-d.waited
}

// pause stops a process until it is resumed, so that what it does by itself disturbs nobody.
func (d *daemon) pause(paused bool) error {
	signal := syscall.SIGCONT
	if paused {
		signal = syscall.SIGSTOP
	}
	return d.cmd.Process.Signal(signal)
}

// procStat is what we need of /proc/PID/stat.
type procStat struct {
	pid, parent int
	cpu         time.Duration // its own, and that of children that have ended and were waited for
}

// parseStat reads a /proc/PID/stat. The command stands in parentheses and may hold spaces and parentheses itself.
func parseStat(line string) (procStat, error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return procStat{}, errors.New("/proc stat: no command in parentheses")
	}
	rest := strings.Fields(line[end+1:]) // rest[0] is field 3, the state
	if len(rest) < 15 {
		return procStat{}, errors.New("/proc stat: too few fields")
	}
	pid, err1 := strconv.Atoi(strings.TrimSpace(line[:open]))
	parent, err2 := strconv.Atoi(rest[1])
	stat, err := procStat{pid: pid, parent: parent}, errors.Join(err1, err2)
	for _, field := range rest[11:15] { // utime, stime, cutime, cstime
		ticks, parseErr := strconv.ParseInt(field, 10, 64)
		stat.cpu, err = stat.cpu+time.Duration(ticks)*clockTick, errors.Join(err, parseErr)
	}
	return stat, err
}

// cpu is the CPU time of a process with all its descendants, those that have ended too, and how many of them live.
func (d *daemon) cpu() (cpu time.Duration, descendants int, err error) {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, 0, err
	}
	children := make(map[int][]procStat)
	var root *procStat
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it ended since the listing
		}
		stat, err := parseStat(string(text))
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", name, err)
		}
		if stat.pid == d.cmd.Process.Pid {
			root = &stat
		}
		children[stat.parent] = append(children[stat.parent], stat)
	}
	if root == nil {
		return 0, 0, fmt.Errorf("%s has ended", filepath.Base(d.cmd.Path))
	}
	cpu = root.cpu
	next := []int{root.pid}
	for len(next) > 0 {
		pid := next[0]
		next = next[1:]
		for _, child := range children[pid] {
			cpu += child.cpu
			descendants++
			next = append(next, child.pid)
		}
	}
	return cpu, descendants, nil
}
