package fleet_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennyfarthing/test/program"
)

func TestAFleetFileIsAppliedAndADeployOnlySaysSo(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.write("index.html", "one\n")
	_, r := term.up()
	term.wants("apply --dry-run", "nothing changes", "nothing to do")
	if out := term.wants("deploy"); strings.Contains(out, "penny apply") {
		t.Errorf("a deploy says that something differs:\n%s", out)
	}
	term.write("../penny.toml", fleetFile+"also = [\"www.example.org\"]\n")
	term.write("index.html", "two\n")
	term.wants("deploy", "note: penny apply would change: ~ site example.org hosts: ", "live on 3 of 3")
	term.wants("apply --dry-run", "www.example.org", "penny apply would make this configuration 2")
	term.wants("apply", "au (has 1), ny (has 1), fr (has 1):", "configuration 2 is at 3 of 3")
	term.wants("apply", "nothing to do")
	if out := term.wants("deploy"); strings.Contains(out, "penny apply") {
		t.Errorf("after it, a deploy says that something differs:\n%s", out)
	}
	wantEverywhere(t, r, "/", "200 OK two\n")
}

func TestControlKeepsAFleetUpUntilItIsTold(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.write("index.html", "one\n")
	term.up()
	term.wants("control --once", "3 POPs looked at, 0 done, 0 failed")
	daemon := program.Start(t, penny, "control", "--json", "--state", term.state, "-f", term.file())
	deadline := time.After(time.Minute)
	for !strings.Contains(daemon.Stderr(), "keeping the fleet up") {
		select {
		case <-deadline:
			t.Fatalf("it does not begin:\n%s", daemon.Stderr())
		case <-time.After(10 * time.Millisecond): // for another process
		}
	}
	if _, stderr, code := term.types("control", "--once"); code != 1 || !strings.Contains(stderr, "another penny control keeps the fleet terminal up") {
		t.Errorf("a second one ends with %d:\n%s", code, stderr)
	}
	daemon.Signal(syscall.SIGTERM)
	if err := daemon.Wait(time.Minute); err != nil {
		t.Errorf("it ends with %v:\n%s", err, daemon.Stderr())
	}
}

func TestAfterARestoreTheOldMachineIsNotNeeded(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.write("index.html", "one\n")
	_, r := term.up()
	term.env = []string{"PENNY_PASSPHRASE=seven wheels on a gravel road"}
	term.wants("control backup my.backup", "files of the fleet terminal are in my.backup")
	old := filepath.Join(term.state, "fleets", "terminal")
	if err := os.Rename(old, old+".away"); err != nil {
		t.Fatal(err)
	}
	if _, _, code := term.types("deploy"); code != 1 {
		t.Errorf("without its keys a deploy ends with %d", code)
	}
	pops := term.state // penny up serves on from there
	term.state = filepath.Join(term.dir, "new")
	term.wants("control restore my.backup", "files of the fleet terminal are back in ")
	term.write("index.html", "two\n")
	term.wants("deploy", "live on 3 of 3")
	wantEverywhere(t, r, "/", "200 OK two\n")
	term.wants("rollback example.org", "live on 3 of 3")
	term.wants("control --once", "0 failed")
	term.state = pops
}
