package up

import (
	"io/fs"
	"testing"
)

func TestMemoryOfTheMachine(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want int64
	}{
		"as the kernel writes it":  {"MemTotal:       24466352 kB\nMemFree:        19842396 kB\n", 24466352 << 10},
		"not in the first line":    {"Other: 1 kB\nMemTotal: 1024 kB\n", 1 << 20},
		"without a number":         {"MemTotal: many kB\n", 0},
		"without the line":         {"MemFree: 1 kB\n", 0},
		"nothing":                  {"", 0},
		"a line that is like it":   {"XMemTotal: 5 kB\n", 0},
		"without a line's end":     {"MemTotal: 2048 kB", 2 << 20},
		"with a number and no end": {"MemTotal: 7", 7 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parseMemInfo(tc.text); got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
		})
	}
}

func TestMemoryOfTheControlGroup(t *testing.T) {
	const none = "9223372036854771712\n" // what version 1 writes for no limit
	for name, tc := range map[string]struct {
		text  string
		files map[string]string
		want  int64
	}{
		"version 2": {
			"0::/user.slice/penny.service\n",
			map[string]string{"/sys/fs/cgroup/user.slice/penny.service/memory.max": "268435456\n"},
			256 << 20,
		},
		"version 2, a limit above it": {
			"0::/a/b/c\n",
			map[string]string{"/sys/fs/cgroup/a/b/c/memory.max": "max\n", "/sys/fs/cgroup/a/b/memory.max": "max\n", "/sys/fs/cgroup/a/memory.max": "1000000\n"},
			1000000,
		},
		"version 2, the least of all": {
			"0::/a/b\n",
			map[string]string{"/sys/fs/cgroup/a/b/memory.max": "3000000\n", "/sys/fs/cgroup/a/memory.max": "2000000\n", "/sys/fs/cgroup/memory.max": "4000000\n"},
			2000000,
		},
		"version 2, in a container": {
			"0::/\n",
			map[string]string{"/sys/fs/cgroup/memory.max": "536870912\n"},
			512 << 20,
		},
		"version 2, without a limit": {
			"0::/a\n",
			map[string]string{"/sys/fs/cgroup/a/memory.max": "max\n"},
			0,
		},
		"version 1": {
			"12:cpu,cpuacct:/x\n7:memory:/docker/abc\n1:name=systemd:/docker/abc\n",
			map[string]string{"/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "100000000\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": none},
			100000000,
		},
		"version 1, in a container that sees itself as the root": {
			"7:memory:/docker/abc\n",
			map[string]string{"/sys/fs/cgroup/memory/memory.limit_in_bytes": "200000000\n"},
			200000000,
		},
		"version 1, beside another controller": {
			"4:hugetlb,memory:/x\n",
			map[string]string{"/sys/fs/cgroup/memory/x/memory.limit_in_bytes": "300000000\n"},
			300000000,
		},
		"both versions": {
			"7:memory:/x\n0::/y\n",
			map[string]string{"/sys/fs/cgroup/memory/x/memory.limit_in_bytes": "500000000\n", "/sys/fs/cgroup/y/memory.max": "400000000\n"},
			400000000,
		},
		"a group outside of what is mounted": {
			"0::/../../outside\n",
			map[string]string{"/sys/fs/cgroup/memory.max": "700000000\n"},
			700000000,
		},
		"nonsense": {"x\n:::\n0:\n", map[string]string{}, 0},
		"nothing":  {"", map[string]string{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := cgroupMemory(tc.text, func(file string) ([]byte, error) {
				if text, ok := tc.files[file]; ok {
					return []byte(text), nil
				}
				return nil, fs.ErrNotExist
			})
			if got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
		})
	}
}

func TestTheBudgetIsDivided(t *testing.T) {
	for _, tc := range []struct {
		name               string
		total              int64
		heap, bodies, site int64 // site: of one of three
	}{
		{"of a large machine", 16 << 30, 4 << 30, 12 << 30, 2 << 30},
		{"of half a small VPS", 512 << 20, 128 << 20, 384 << 20, 64 << 20},
		{"of next to nothing", 64 << 20, 64 << 20, 48 << 20, 8 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBudget(tc.total)
			if b.heap != tc.heap || b.bodies != tc.bodies || b.site(3) != tc.site {
				t.Errorf("heap %d, bodies %d, a site %d, want %d, %d and %d", b.heap, b.bodies, b.site(3), tc.heap, tc.bodies, tc.site)
			}
			if b.site(3)*2*3 > b.bodies {
				t.Error("two generations of three sites do not fit")
			}
		})
	}
	if b := newBudget(0); b != newBudget(machineMemory()/2) || b.bodies <= 0 {
		t.Errorf("without a wish the budget is %+v, want half of the machine's %d bytes", b, machineMemory())
	}
	if got := newBudget(1).site(0); got < 1 {
		t.Errorf("a site gets %d bytes; 0 would be no bound", got)
	}
}
