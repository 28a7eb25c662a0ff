package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/lockfile"
	"pennyfarthing/internal/mistake"
)

// pretend makes a fleet look as if penny up were running it, and returns its file.
func pretend(t *testing.T, state, name string) string {
	t.Helper()
	dir := filepath.Join(state, "up", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, config.FileName)
	if err := os.WriteFile(file, []byte("fleet = \""+name+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(keys.FleetDir(state, name), 0o700); err != nil {
		t.Fatal(err)
	}
	where := &control.POPs{File: file, POPs: []control.POP{{Name: "au", API: "127.0.0.1:1", Edge: "127.0.0.1:2"}}}
	if err := where.Write(state, name); err != nil {
		t.Fatal(err)
	}
	giveBack, err := lockfile.Take(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := giveBack(); err != nil {
			t.Error(err)
		}
	})
	return file
}

func TestTheFleetOfPennyUpIsFoundWhereNoneIsNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	state := t.TempDir()
	// find looks for the fleet, as somebody who types these flags.
	find := func(g *globals, args ...string) (string, *fleetFlags, string, error) {
		t.Helper()
		var f fleetFlags
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		f.add(flags)
		if err := flags.Parse(args); err != nil {
			t.Fatal(err)
		}
		g.state = state
		var said strings.Builder
		fleet, err := f.find(g, Env{Stderr: &said, Getenv: func(string) string { return "" }})
		if err != nil {
			return "", &f, said.String(), err
		}
		return fleet.Name, &f, said.String(), nil
	}
	missing := func(what string, err error, hints ...string) {
		t.Helper()
		wrong, ok := errors.AsType[*mistake.Error](err)
		if !ok || !strings.HasPrefix(wrong.What, "there is no such file") {
			t.Fatalf("%s: %v", what, err)
		}
		for _, hint := range hints {
			if !strings.Contains(wrong.Hint, hint) {
				t.Errorf("%s: the hint is %q, without %q", what, wrong.Hint, hint)
			}
		}
	}
	_, _, _, err := find(&globals{})
	missing("where nothing runs", err, "penny init")

	file := pretend(t, state, "one")
	name, f, said, err := find(&globals{})
	if err != nil || name != "one" || f.file != file || !strings.Contains(said, "fleet one that penny up runs, -f "+file) || strings.Count(said, "\n") != 1 {
		t.Errorf("found %q in %s, %v; said %q", name, f.file, err, said)
	}
	for _, g := range []*globals{{json: true}, {quiet: true}} {
		if name, _, said, err := find(g); err != nil || name != "one" || said != "" {
			t.Errorf("with %+v: found %q, %v; said %q", g, name, err, said)
		}
	}
	_, _, _, err = find(&globals{}, "-f", config.FileName)
	missing("where a file is named", err)

	other := pretend(t, state, "two")
	_, _, _, err = find(&globals{})
	missing("where two run", err, "one (-f "+file+")", "two (-f "+other+")")
	if name, _, said, err := find(&globals{}, "-f", other); err != nil || name != "two" || said != "" {
		t.Errorf("named: found %q, %v; said %q", name, err, said)
	}

	if err := os.WriteFile(config.FileName, []byte("fleet = \"here\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if name, _, said, err := find(&globals{}); err != nil || name != "here" || said != "" {
		t.Errorf("where there is a file: found %q, %v; said %q", name, err, said)
	}
	if err := os.WriteFile(config.FileName, []byte("fleet = 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := find(&globals{}); err == nil || strings.Contains(err.Error(), "no such file") {
		t.Errorf("where a file is wrong: %v", err)
	}
}
