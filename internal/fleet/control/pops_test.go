package control_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	want = &control.POPs{POPs: []control.POP{{Name: "au", API: "127.0.0.1:1", Edge: "127.0.0.1:2"}}, Roots: "/ca.pem"}
	if err := want.Write(state, fleetName); err != nil {
		t.Fatal(err)
	}
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
