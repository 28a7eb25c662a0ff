package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/sweep"
)

// aboutOneRun are flags that a fleet file has no use for.
func aboutOneRun() map[string]string {
	return map[string]string{
		"file": "it names the fleet file", "optout": "the key of this name is the host of the page; optout_list and block name files",
		"simnet": "a try", "profile": "of a try", "seed": "of a try", "latency": "of a try", "loss": "of a try",
		"dns-only": "another question", "no-report": "of scripts",
		"help": "not a setting", "json": "of every command", "quiet": "of every command", "state": "of every command",
	}
}

func TestEveryFlagOfASweepIsAKeyOfTheFleetFile(t *testing.T) {
	keys := map[string]bool{}
	for _, k := range config.Keys() {
		if k.Table == "sweep" {
			keys[k.Name] = true
		}
	}
	flags := newSweep(new(globals), Env{}).Flags()
	flags.VisitAll(func(f *pflag.Flag) {
		key := strings.ReplaceAll(f.Name, "-", "_")
		_, excepted := aboutOneRun()[f.Name]
		if keys[key] == excepted && f.Name != "optout" {
			t.Errorf("--%s: a key: %v, an exception: %v", f.Name, keys[key], excepted)
		}
		delete(keys, key)
	})
	for key := range keys {
		if key != "optout_list" {
			t.Errorf("the key %s is no flag", key)
		}
	}
}

const fleetText = `fleet = "test"

[pops.au]
addresses = ["8.8.8.8"]

[sites."example.org"]
files = "."

[sweep]
output      = "run"
prices      = "prices.toml"
roots       = "/etc/ca.pem"
metrics     = "127.0.0.1:9100"
optout_list = "lists/out.txt"
`

// inFleet makes a fleet's directory, with lists of who opted out, the current one.
func inFleet(t *testing.T, text string) Env {
	t.Helper()
	dir, state := t.TempDir(), t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("lists", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{config.FileName, "lists/out.txt", filepath.Join(state, "optout.txt")} {
		content := "example.com\n"
		if file == config.FileName {
			content = text
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Env{Getenv: func(name string) string {
		if name == "PENNY_STATE" {
			return state
		}
		return ""
	}}
}

// options are those of penny sweep after flags were parsed.
func options(t *testing.T, args ...string) (*sweepOptions, *pflag.FlagSet) {
	t.Helper()
	o := &sweepOptions{globals: new(globals), settings: sweep.Defaults()}
	flags := pflag.NewFlagSet("sweep", pflag.ContinueOnError)
	o.add(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o, flags
}

func TestASweepTakesFilesAndControlsFromTheFleetFile(t *testing.T) {
	env := inFleet(t, fleetText)
	o, flags := options(t, "--metrics", "127.0.0.1:9200", "--optout", "more.txt")
	if err := o.settle(t.Context(), flags, []string{"list.csv"}, env); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(env.Getenv("PENNY_STATE"), "optout.txt")
	got := [][]string{{o.dir, o.prices, o.roots, o.metrics}, o.settings.Controls, o.settings.Optout}
	want := [][]string{{"run", "prices.toml", "/etc/ca.pem", "127.0.0.1:9200"}, {"https://example.org/"}, {"more.txt", "lists/out.txt", state}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files, controls, opt-outs (-want +got):\n%s", diff)
	}
	if !o.fleetControls {
		t.Error("nobody is told who the controls are")
	}
	o, flags = options(t, "--control", "https://example.net/", "--simnet", "10")
	if err := o.settle(t.Context(), flags, nil, env); err != nil {
		t.Fatal(err)
	}
	if o.dir != "" || o.fleetControls || o.settings.Controls[0] != "https://example.net/" {
		t.Errorf("the directory %q, the controls %v", o.dir, o.settings.Controls)
	}
}

func TestARunThatGoesOnHonoursWhoOptedOutMeanwhile(t *testing.T) {
	env := inFleet(t, fleetText)
	o := &sweepOptions{globals: new(globals), settings: sweep.Settings{Optout: []string{"more.txt", "lists/out.txt"}, Vantage: "here"}}
	flags := pflag.NewFlagSet("resume", pflag.ContinueOnError)
	if err := o.goOn(flags, env); err != nil {
		t.Fatal(err)
	}
	want := []string{"more.txt", "lists/out.txt", filepath.Join(env.Getenv("PENNY_STATE"), "optout.txt")}
	if diff := cmp.Diff(want, o.settings.Optout); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}
	if o.roots != "/etc/ca.pem" || len(o.settings.Controls) > 0 {
		t.Errorf("roots %q, controls %v: a run keeps its settings, and no certificates", o.roots, o.settings.Controls)
	}
}
