//go:build linux

package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	plainStat = "14777 (cat) R 14770 14770 10545 0 -1 4194304 102 0 0 0 12 34 0 0 20 0 1 0 175547 3133440 380 18446744073709551615 0 0"
	oddStat   = "77 (a) b (c 1 2) S 14777 14770 10545 0 -1 4194304 102 0 0 0 5 6 700 800 20 0 1 0 175547 3133440 380"
)

func TestParseStat(t *testing.T) {
	tests := []struct {
		name, line string
		want       procStat
	}{
		{"an ordinary process", plainStat, procStat{14777, 14770, 460 * time.Millisecond}},
		{"a name with spaces and parentheses", oddStat, procStat{77, 14777, 110 * time.Millisecond}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseStat(test.line)
			if err != nil || got != test.want {
				t.Errorf("got %v, %v, want %v", got, err, test.want)
			}
		})
	}
	for _, bad := range []string{"", "1 cat S", "1 (cat) S 1 2", strings.Replace(plainStat, " 12 ", " x ", 1)} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestATreeIsItsRootAndAllBelow(t *testing.T) {
	tick := clockTick
	all := []procStat{{4, 3, tick}, {3, 2, tick}, {2, 1, tick}, {5, 2, tick}, {6, 1, tick}}
	got, err := sumTree(2, all)
	if err != nil || got.cpu != 4*tick || !slices.Equal(got.pids, []int{2, 3, 4, 5}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := sumTree(7, all); err == nil {
		t.Error("a root that is gone passes")
	}
}

func TestReadingThisProcess(t *testing.T) {
	tree, err := readTree(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	used, err := readMemory([]int{os.Getpid()})
	if err != nil || !slices.Contains(tree.pids, os.Getpid()) || used.Rss < 1000 || used.Pss > used.Rss {
		t.Errorf("%v, %v, %v", tree, used, err)
	}
}

func TestKiBLines(t *testing.T) {
	const rollup = "5581-7ffc ---p 00000000 00:00 0 [rollup]\nRss:                6604 kB\nPss:                4321 kB\nPss_Anon:           1 kB\nAnonymous:          1204 kB\n"
	for key, want := range map[string]int64{"Rss:": 6604, "Pss:": 4321, "Anonymous:": 1204, "Swap:": 0} {
		if got := kibLine(rollup, key); got != want {
			t.Errorf("%s %d, want %d", key, got, want)
		}
	}
}

func TestCPULists(t *testing.T) {
	for list, want := range map[string][]int{"0": {0}, "0-3,8": {0, 1, 2, 3, 8}, "2,5-6": {2, 5, 6}} {
		got, err := allowedCPUs("Name:\tx\nCpus_allowed_list:\t" + list + "\n")
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", list, got, err)
		}
	}
	for _, bad := range []string{"", "x", "3-1", "1-"} {
		if _, err := parseCPUList(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}
