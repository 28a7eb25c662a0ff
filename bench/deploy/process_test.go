//go:build linux

package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestParseStatCountsWhatChildrenUsed(t *testing.T) {
	got, err := parseStat("42 (a (b) c) S 7 42 42 0 -1 0 0 0 0 0 11 22 33 44 20 0 1 0")
	if err != nil {
		t.Fatal(err)
	}
	if want := (procStat{42, 7, 1100 * time.Millisecond}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, wrong := range []string{"", "42 sh S", "42 (sh) S 1 2", "x (sh) S 7 42 42 0 -1 0 0 0 0 0 11 22 33 44 20"} {
		if _, err := parseStat(wrong); err == nil {
			t.Errorf("%q is taken for a stat", wrong)
		}
	}
}

// burn is a shell that computes for a while in a child of its own.
const burn = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'"

func TestTheCPUTimeOfADaemonsChildrenIsItsOwn(t *testing.T) {
	s := newSpawner()
	defer s.close()
	cmd := exec.Command("sh", "-c", burn+"; echo done; cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.daemon(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer d.stop()
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	used, descendants, err := d.cpu()
	if err != nil || used == 0 {
		t.Errorf("%v of CPU time, %d descendants, %v; its child used some", used, descendants, err)
	}
}

func TestTheCPUTimeOfARunHasItsChildren(t *testing.T) {
	s := newSpawner()
	defer s.close()
	out, took, used, err := s.run(t.Context(), exec.Command("sh", "-c", burn+"; echo said"))
	if err != nil || strings.TrimSpace(out) != "said" || took == 0 || used < 10*time.Millisecond {
		t.Errorf("said %q, took %v, used %v, %v", out, took, used, err)
	}
	if _, _, _, err := s.run(t.Context(), exec.Command("sh", "-c", "echo why >&2; exit 3")); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("a run that fails says %v", err)
	}
}
