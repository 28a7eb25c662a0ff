package sweep_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennyfarthing/internal/sweep/result"
	"pennyfarthing/internal/sweep/simnet"
	"pennyfarthing/test/program"
)

// underWay waits until a run has its first queries answered.
func (i *internet) underWay(t *testing.T, p *program.Process) {
	t.Helper()
	time.Sleep(2 * time.Second)
	select {
	case <-p.Ended():
		t.Fatalf("it has ended already: %s", p.Stderr())
	default:
	}
}

func TestALineThatIsCutForTenSecondsMakesNoRowWrong(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			i := startInternet(t, 10_000, simnet.ChildConfig{Profile: simnet.TonyWang2024, Latency: 0.2})
			dir := filepath.Join(t.TempDir(), "run")
			p := program.Start(t, penny, i.sweep("-o", dir, "--engine", engine, "--https", "never")...)
			i.underWay(t, p)
			i.cut(t, true)
			time.Sleep(10 * time.Second)
			i.cut(t, false)
			if err := p.Wait(runLimit); err != nil {
				t.Fatalf("%v: %s", err, p.Stderr())
			}
			i.mustBeTrue(t, dir, plainHTTP())
			s := report(t, dir)
			t.Logf("%d seconds of illness, %d of %d controls failed", s.Run.Ill, s.Run.Failed, s.Run.Controls)
			if s.Run.Ill < 5 {
				t.Errorf("%d seconds of illness are reported, want about ten", s.Run.Ill)
			}
			if all := strings.Join(rest(p), "\n"); !strings.Contains(all, "own illness") || strings.Contains(all, "own illness        none") {
				t.Errorf("the report does not name the illness:\n%s", all)
			}
		})
	}
}

// rest are the lines that a process that has ended has printed.
func rest(p *program.Process) []string { return p.LinesUntil("rows in ") }

func (i *internet) cut(t *testing.T, cut bool) {
	t.Helper()
	if err := i.Cut(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
}

func TestALineThatStaysCutEndsInNoRowThatSaysDead(t *testing.T) {
	t.Parallel()
	i := startInternet(t, 6000, simnet.ChildConfig{Profile: simnet.Quick, Latency: 0.5})
	dir := filepath.Join(t.TempDir(), "run")
	p := program.Start(t, penny, i.sweep("-o", dir, "--https", "never")...)
	i.underWay(t, p)
	i.cut(t, true)
	select {
	case <-time.After(45 * time.Second):
		p.Signal(syscall.SIGINT)
	case <-p.Ended(): // rows that say so are allowed
	}
	_ = p.Wait(15 * time.Second) // 1, or 0
	whole := 0
	for row, err := range result.Rows(dir) {
		if err != nil {
			t.Fatal(err)
		}
		whole++
		if !row.Suspect && !i.world.Agrees(plainHTTP(), row.Target, row.Verdict, int(row.Status)) {
			code, status := i.world.Truth(plainHTTP(), row.Target)
			t.Errorf("while the line was cut: %s", describe(row, fmt.Sprintf("%s %d", code, status)))
		}
	}
	t.Logf("%d rows were written", whole)
	i.cut(t, false)
	finish(t, append(i.resume(dir), "--quiet"))
	i.mustBeTrue(t, dir, plainHTTP())
}

func TestAResolverThatThrottlesMakesNoRowWrong(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			i := startInternet(t, 4000, simnet.ChildConfig{Profile: simnet.Quick})
			if err := i.ThrottleDNS(t.Context(), 400); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "run")
			finish(t, i.sweep("-o", dir, "--engine", engine, "--https", "never"))
			i.mustBeTrue(t, dir, plainHTTP())
			s := report(t, dir)
			t.Logf("%d queries for %d targets, %d seconds of illness, %d suspect", s.Run.Queries, s.Rows.Targets, s.Run.Ill, s.Rows.Suspect)
		})
	}
}

func TestFewDescriptorsMakeARunSlowAndNoRowWrong(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			i := startInternet(t, 4000, simnet.ChildConfig{Profile: simnet.Quick, Latency: 0.2})
			dir := filepath.Join(t.TempDir(), "run")
			args := append([]string{"-c", `ulimit -n 300 && exec "$0" "$@"`, penny}, i.sweep("-o", dir, "--engine", engine, "--concurrency", "8000", "--https", "never")...)
			p := program.Start(t, "/bin/sh", args...)
			if err := p.Wait(runLimit); err != nil {
				t.Fatalf("%v: %s", err, p.Stderr())
			}
			i.mustBeTrue(t, dir, plainHTTP())
			s := report(t, dir)
			t.Logf("%d seconds of illness, %d suspect", s.Run.Ill, s.Rows.Suspect)
		})
	}
}
