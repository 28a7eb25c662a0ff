//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of utime and stime: USER_HZ is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// procStat is what we need of /proc/PID/stat.
type procStat struct {
	pid, parent int
	cpu         time.Duration // utime + stime
}

// parseStat reads a /proc/PID/stat. The command stands in parentheses and may hold spaces and parentheses itself.
func parseStat(line string) (procStat, error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return procStat{}, errors.New("/proc stat: no command in parentheses")
	}
	rest := strings.Fields(line[end+1:]) // rest[0] is field 3, the state
	if len(rest) < 13 {
		return procStat{}, errors.New("/proc stat: too few fields")
	}
	pid, err1 := strconv.Atoi(strings.TrimSpace(line[:open]))
	parent, err2 := strconv.Atoi(rest[1])
	user, err3 := strconv.ParseInt(rest[11], 10, 64)
	system, err4 := strconv.ParseInt(rest[12], 10, 64)
	return procStat{pid, parent, time.Duration(user+system) * clockTick}, errors.Join(err1, err2, err3, err4)
}

// treeUsage is a process and all its descendants at one moment.
type treeUsage struct {
	pids []int // sorted
	cpu  time.Duration
}

// readTree sums a process tree. A tree without its root is an error: the server died.
func readTree(root int) (treeUsage, error) {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return treeUsage{}, err
	}
	all := make([]procStat, 0, len(names))
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it ended since the listing
		}
		stat, err := parseStat(string(text))
		if err != nil {
			return treeUsage{}, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, stat)
	}
	return sumTree(root, all)
}

func sumTree(root int, all []procStat) (treeUsage, error) {
	children := map[int][]procStat{}
	var usage treeUsage
	for _, stat := range all {
		if stat.pid == root {
			usage = treeUsage{[]int{root}, stat.cpu}
		}
		children[stat.parent] = append(children[stat.parent], stat)
	}
	if len(usage.pids) == 0 {
		return usage, fmt.Errorf("process %d is gone", root)
	}
	for i := 0; i < len(usage.pids); i++ {
		for _, child := range children[usage.pids[i]] {
			usage.pids = append(usage.pids, child.pid)
			usage.cpu += child.cpu
		}
	}
	slices.Sort(usage.pids)
	return usage, nil
}

// memory is in KiB.
type memory struct {
	Rss  int64 `json:"rss_kib"`
	Pss  int64 `json:"pss_kib"`  // pages that several processes share count once; mapped files count
	Anon int64 `json:"anon_kib"` // without mapped files
}

// readMemory sums the processes.
func readMemory(pids []int) (memory, error) {
	var sum memory
	for _, pid := range pids {
		m, err := readProcessMemory(pid)
		if err != nil {
			return sum, err
		}
		sum.Rss += m.Rss
		sum.Pss += m.Pss
		sum.Anon += m.Anon
	}
	return sum, nil
}

func readProcessMemory(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err == nil {
		m := memory{kibLine(string(text), "Rss:"), kibLine(string(text), "Pss:"), kibLine(string(text), "Anonymous:")}
		if m.Rss > 0 {
			return m, nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
		return memory{}, err
	}
	text, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // another user's process, or an old kernel
	if err != nil {
		return memory{}, err
	}
	rss := kibLine(string(text), "VmRSS:")
	return memory{rss, rss, kibLine(string(text), "RssAnon:")}, nil
}

// kibLine finds "Key:   123 kB".
func kibLine(text, key string) int64 {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, key)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return 0
}
