package control_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

func TestWherePOPsAreIsWrittenOrInTheFleetFile(t *testing.T) {
	fleet, err := config.Parse("penny.toml", []byte("fleet = \"tests\"\n[pops.au]\naddresses = [\"2001:db8::1\", \"203.0.113.1\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	got, err := control.FindPOPs(state, fleetName, fleet)
	if err != nil {
		t.Fatal(err)
	}
	want := &control.POPs{POPs: []control.POP{{Name: "au", API: "[2001:db8::1]:8440", Edge: "[2001:db8::1]:443"}}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(control.POPs{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	roots := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(roots, []byte("certificates"), 0o600); err != nil {
		t.Fatal(err)
	}
	want = &control.POPs{POPs: []control.POP{{Name: "au", API: "127.0.0.1:1", Edge: "127.0.0.1:2"}}, Roots: roots}
	if err := want.Write(state, fleetName); err != nil {
		t.Fatal(err)
	}
	want.Roots, want.Certificates = "", "certificates"
	got, err = control.FindPOPs(state, fleetName, fleet)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(control.POPs{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := control.FindPOPs(t.TempDir(), fleetName, nil); len(mistake.Of(err)) != 1 {
		t.Errorf("nowhere: %v", err)
	}
	if err := (&control.POPs{POPs: []control.POP{{Name: "au", API: "nowhere"}}}).Write(state, fleetName); err == nil {
		t.Error("an address without a port was written")
	}
}

// What penny up has written is right on the machine that a backup of it is restored on.
func TestWherePOPsAreSurvivesABackup(t *testing.T) {
	f := newFleet(t, "au")
	if err := f.where.Write(f.state, fleetName); err != nil {
		t.Fatal(err)
	}
	const words = "seven wheels on a gravel road"
	var backup bytes.Buffer
	if _, err := keys.Backup(&backup, keys.BackupOptions{StateDir: f.state, Fleet: fleetName, Passphrase: words, Work: 4, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	f.deploy(f.open(), pages("one"))
	for _, gone := range []string{f.where.Roots, keys.FleetDir(f.state, fleetName)} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
	}
	state := t.TempDir()
	if _, err := keys.Restore(&backup, state, words); err != nil {
		t.Fatal(err)
	}
	where, err := control.FindPOPs(state, fleetName, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.where = where
	checked, err := f.openAs(f.owner.Identity(), state).Verify(t.Context(), site, false)
	if err != nil || !checked.OK() || checked.POPs[0].Certificate.String() != "ok" {
		t.Errorf("the POP is verified so: %+v, %v", checked, err)
	}
	if err := control.RemovePOPs(state, fleetName); err != nil {
		t.Fatal(err)
	}
	if _, err := control.FindPOPs(state, fleetName, nil); len(mistake.Of(err)) != 1 {
		t.Errorf("after it was removed: %v", err)
	}
	if err := control.RemovePOPs(state, fleetName); err != nil {
		t.Errorf("it cannot be removed twice: %v", err)
	}
}

// FuzzPOPs reads whatever may stand in the file.
func FuzzPOPs(f *testing.F) {
	for _, seed := range []string{
		`{"pops":[{"name":"au","api":"127.0.0.1:1","edge":"127.0.0.1:2"}],"roots":"x"}`, `{"pops":[{"name":"au"}]}`, `{}`, `[]`, ``, `{"pops":[{"name":"","api":":1","edge":":1"}]}`,
	} {
		f.Add([]byte(seed))
	}
	state := f.TempDir()
	file := filepath.Join(keys.FleetDir(state, fleetName), control.POPsFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		pops, err := control.FindPOPs(state, fleetName, nil)
		if err != nil {
			if list := mistake.Of(err); len(list) != 1 || list[0].File != file {
				t.Errorf("%q: %v", data, err)
			}
			return
		}
		pops.Roots = "" // it need not be there
		if err := pops.Write(t.TempDir(), fleetName); err != nil {
			t.Errorf("what was read from %q cannot be written: %v", data, err)
		}
	})
}

func TestANameThatIsAPathIsNoSite(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.where.POPs = []control.POP{{Name: "au", API: "127.0.0.1:1", Edge: "127.0.0.1:1"}}
	c := f.open()
	for _, name := range []string{"../../x", "", ".hidden", "A.org", "a/b", strings.Repeat("x", 254)} {
		_, errs := c.Deploy(t.Context(), control.DeployOptions{Site: name, Dir: t.TempDir()})
		_, roll := c.Rollback(t.Context(), control.RollbackOptions{Site: name})
		_, verify := c.Verify(t.Context(), name, false)
		_, pull := c.Pull(t.Context(), name, "", filepath.Join(t.TempDir(), "x"))
		_, diff := c.Diff(t.Context(), control.DeployOptions{Site: name, Dir: t.TempDir()})
		_, _, list := c.Releases(t.Context(), name)
		for _, err := range []error{errs, roll, verify, pull, diff, list} {
			if m, ok := errors.AsType[*mistake.Error](err); !ok || !strings.Contains(m.What, "no name of a site") {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
}
