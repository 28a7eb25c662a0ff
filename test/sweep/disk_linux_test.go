package sweep_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pennyfarthing/internal/sweep/simnet"
	"pennyfarthing/test/program"
)

func TestAFullDiskStopsARunThatGoesOnWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small disk")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	i := startInternet(t, 6000, simnet.ChildConfig{Profile: simnet.Quick})
	dir := filepath.Join(disk, "run")
	args := i.sweep("-o", dir, "--quiet")
	p := program.Start(t, penny, args...)
	err := p.Wait(runLimit)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Fatalf("it ended with %v, want exit code 1: %s", err, p.Stderr())
	}
	t.Logf("it says: %s", p.Stderr())
	if said := p.Stderr(); !strings.Contains(said, "no space left on device") && !strings.Contains(said, "disk is full") || !strings.Contains(said, "penny sweep resume") {
		t.Errorf("it is not clear about the disk: %s", said)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=100m"); err != nil {
		t.Fatalf("make the disk larger: %v", err)
	}
	finish(t, append(i.resume(dir), "--quiet"))
	i.mustBeTrue(t, dir, simnet.DefaultPolicy())
}

func TestADirectoryThatCannotBeWrittenIsSaidBeforeAnybodyIsAsked(t *testing.T) {
	t.Parallel()
	list := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(list, []byte("example.com\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := "/proc/run" // where not even root may write
	p := program.Start(t, penny, "sweep", list, "-o", dir, "--resolver", "127.0.0.1:9")
	err := p.Wait(runLimit)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v, want exit code 1", err)
	}
	for _, want := range []string{"error: /proc/run: cannot be the run's directory", "hint: name another one with -o"} {
		if !strings.Contains(p.Stderr(), want) {
			t.Errorf("%q is not said: %s", want, p.Stderr())
		}
	}
}

// The limit of a process may become lower while it runs. Descriptors that a run
// cannot have are its own trouble, and not the targets'. Those of the rows' files have
// been kept.
func TestDescriptorsThatRunOutMakeNoRowWrong(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			i := startInternet(t, 1500, simnet.ChildConfig{Profile: simnet.Quick, Latency: 1})
			dir := filepath.Join(t.TempDir(), "run")
			p := program.Start(t, penny, i.sweep("-o", dir, "--engine", engine, "--https", "never")...)
			i.underWay(t, p)
			if err := unix.Prlimit(p.PID, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 60, Max: 4096}, nil); err != nil {
				t.Fatal(err)
			}
			if err := p.Wait(runLimit); err != nil {
				t.Fatalf("%v: %s", err, p.Stderr())
			}
			i.mustBeTrue(t, dir, plainHTTP())
			s := report(t, dir)
			t.Logf("%d seconds of illness, %d suspect", s.Run.Ill, s.Rows.Suspect)
			if s.Run.Ill == 0 {
				t.Error("no illness is reported")
			}
		})
	}
}
