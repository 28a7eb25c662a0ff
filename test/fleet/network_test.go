package fleet_test

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// noise writes a file that no coding makes small.
func (c *cluster) noise(name string, size int) {
	c.t.Helper()
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails
	if err := os.WriteFile(filepath.Join(c.public, name), data, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// Between whoever deploys and one of two POPs the network does what networks do. The
// other POP is not kept from anything, no POP serves half a release, and once the
// network is well the same command brings both up.
func TestANetworkThatIsCutCostsTimeOnly(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	fr := c.nodes[1]
	l := newLine(t, fr.api)
	c.where.POPs[1].API = l.listener.Addr().String()
	if err := c.where.Write(c.state, fleetOfFaults); err != nil {
		t.Fatal(err)
	}
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")
	version := 0
	for name, bad := range map[string]func(){
		"cut in the handshake":     func() { l.cut.Store(300) },
		"cut in the first request": func() { l.cut.Store(1500) },
		"cut among the objects":    func() { l.cut.Store(60_000) },
		"one bit flips":            func() { l.flip.Store(50_000) },
		"a few bytes at a time":    func() { l.trickle.Store(true) },
	} {
		version++
		c.writeVersion(version)
		c.noise("noise.bin", 200_000)
		bad()
		c.wants("deploy", "example.org", "live on ") // with fr, or without
		c.serves(version, c.nodes[0])
		c.whole(name, version-1, version)
		l.cut.Store(0)
		l.flip.Store(0)
		l.trickle.Store(false)
		c.wants("deploy")
		c.serves(version)
		if t.Failed() {
			t.Fatalf("after %s", name)
		}
	}
}

// A disk that gives other bytes than were written is found out: they are never served,
// and are sent again.
func TestADamagedObjectOnADiskIsSentAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "au", "fr")
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")
	fr := c.nodes[1]
	fr.kill()
	damaged := 0
	for _, f := range storedFiles(t, filepath.Join(fr.dir, "store", "objects")) {
		data, err := os.ReadFile(f.name)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(f.name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		damaged++
	}
	if damaged < 4 {
		t.Fatalf("only %d files were damaged", damaged)
	}
	fr.start()
	for _, page := range pages {
		if status, text := fr.visit(page); status == http.StatusOK {
			if _, err := versionOf(text); err != nil {
				t.Errorf("%s is served as it was damaged: %v", page, err)
			}
		}
	}
	c.wants("deploy")
	c.serves(0)
	c.wants("verify "+site+" --all", "0 differ")
}

// A deploy that does not fit is refused with the numbers before anything is sent. Where
// the disk is full in spite of the budget it fails, and what was served still is; once
// there is room the same command goes through.
func TestAFullDiskStopsADeployAndNothingElse(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	c := newCluster(t, "au", "fr")
	fr := c.nodes[1]
	disk := t.TempDir()
	mount := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "mount", args...).CombinedOutput(); err != nil {
			t.Skipf("a small disk cannot be mounted: %v: %s", err, bytes.TrimSpace(out))
		}
	}
	mount("-t", "tmpfs", "-o", "size=3m", "penny-test", disk)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", disk).CombinedOutput(); err != nil {
			t.Errorf("unmount the disk: %v: %s", err, out)
		}
	})
	move := func(args ...string) {
		fr.kill()
		fr.args = args
		fr.start()
	}
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", fr.dir+"/.", disk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fr.dir = disk
	move()
	c.writeVersion(0)
	c.wants("deploy", "live on 2 of 2")

	c.writeVersion(1)
	c.noise("large.bin", 6<<20)
	stored := len(storedFiles(t, filepath.Join(disk, "store")))
	_, stderr, code := run(t, c.command("deploy"))
	if code != 1 || !strings.Contains(stderr, "fr has no room: ") || !strings.Contains(stderr, "hint: ") {
		t.Errorf("exit code %d and\n%s", code, stderr)
	}
	if now := len(storedFiles(t, filepath.Join(disk, "store"))); now != stored {
		t.Errorf("of a deploy that does not fit %d files were stored", now-stored)
	}
	c.serves(0)

	move("--disk", "1GiB") // which is not true
	for range 2 {
		if _, stderr, code = run(t, c.command("deploy")); code != 1 || !strings.Contains(stderr, "fr") {
			t.Errorf("exit code %d and\n%s", code, stderr)
		}
		c.serves(0)
	}
	move("--disk", "1GiB") // it starts with a full disk
	c.serves(0)
	mount("-o", "remount,size=64m", disk)
	c.wants("deploy", "live on 2 of 2")
	c.serves(1)
	fr.kill()
	fr.start()
	c.serves(1)
}
