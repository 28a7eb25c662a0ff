package up

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// Where the kernel tells how much memory there is.
const (
	memInfo    = "/proc/meminfo"
	selfCgroup = "/proc/self/cgroup"
	cgroupRoot = "/sys/fs/cgroup"
)

// fallbackMemory is assumed where the system does not tell: the smallest VPS.
const fallbackMemory = 1 << 30

// minHeap is what the Go heap gets in any case.
const minHeap = 64 << 20

// A budget divides the process' memory: a quarter for the heap, the rest for
// bodies, of which there may be two generations at once.
type budget struct {
	heap   int64
	bodies int64
}

func newBudget(total int64) budget {
	if total <= 0 {
		total = machineMemory() / 2
	}
	return budget{heap: max(total/4, minHeap), bodies: total - total/4}
}

// apply tells the Go runtime, unless the user did so by GOMEMLIMIT.
func (b budget) apply() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(b.heap)
	}
}

// site returns the bytes of bodies that one of several sites may keep.
func (b budget) site(sites int) int64 { return max(1, b.bodies/2/int64(max(1, sites))) }

// machineMemory returns the bytes that this process can have: the machine's or,
// if that is less, those of its cgroup.
func machineMemory() int64 {
	total := int64(fallbackMemory)
	if data, err := os.ReadFile(memInfo); err == nil {
		if n := parseMemInfo(string(data)); n > 0 {
			total = n
		}
	}
	if data, err := os.ReadFile(selfCgroup); err == nil {
		if n := cgroupMemory(string(data), os.ReadFile); n > 0 {
			total = min(total, n)
		}
	}
	return total
}

// parseMemInfo returns MemTotal in bytes, or 0.
func parseMemInfo(text string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// cgroupMemory returns the least limit of the cgroups that text (the content of
// /proc/self/cgroup) names and of those above them, or 0 if there is none.
func cgroupMemory(text string, read func(string) ([]byte, error)) int64 {
	var least int64
	consider := func(file string) {
		data, err := read(file)
		if err != nil {
			return
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64) // "max" is no number
		if err == nil && n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mount, file := cgroupRoot, "memory.max"
		if slices.Contains(strings.Split(parts[1], ","), "memory") { // version 1
			mount, file = filepath.Join(cgroupRoot, "memory"), "memory.limit_in_bytes"
		} else if parts[1] != "" {
			continue
		}
		for dir := filepath.Clean("/" + parts[2]); ; dir = filepath.Dir(dir) {
			consider(filepath.Join(mount, dir, file))
			if dir == "/" {
				break
			}
		}
	}
	return least
}
