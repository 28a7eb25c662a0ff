// Package fleet_test works with a fleet as its owner does: penny up in one
// terminal, and everything else in another.
package fleet_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pennyfarthing/test/program"
)

// penny is the program that all tests here run.
var penny string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &penny)) }

// site is the one site of the fleets here.
const site = "example.org"

const fleetFile = `fleet = "terminal"

[sites."` + site + `"]
files = "./public"
`

// A terminal is a directory with a fleet file, a site, and a state directory.
type terminal struct {
	t      *testing.T
	dir    string
	state  string
	public string   // the site's directory
	env    []string // that commands get beside the usual one
}

// newTerminal makes a fleet that nobody runs yet.
func newTerminal(t *testing.T) *terminal {
	t.Helper()
	dir := t.TempDir()
	term := &terminal{t: t, dir: dir, state: filepath.Join(dir, "state"), public: filepath.Join(dir, "public")}
	term.write("../penny.toml", fleetFile)
	return term
}

// file is the fleet file.
func (term *terminal) file() string { return filepath.Join(term.dir, "penny.toml") }

// write writes a file of the site.
func (term *terminal) write(name, text string) {
	term.t.Helper()
	file := filepath.Join(term.public, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.MkdirAll(term.public, 0o755)); err != nil {
		term.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		term.t.Fatal(err)
	}
}

// remove removes a file of the site.
func (term *terminal) remove(name string) {
	term.t.Helper()
	if err := os.Remove(filepath.Join(term.public, name)); err != nil {
		term.t.Fatal(err)
	}
}

// A running is the line that penny up --json prints.
type running struct {
	Fleet string `json:"fleet"`
	POPs  []struct {
		Name  string `json:"name"`
		HTTPS string `json:"https"`
	} `json:"pops"`
	Sites []struct {
		Name       string `json:"name"`
		Release    string `json:"release"`
		Generation uint64 `json:"generation"`
		Deployed   bool   `json:"deployed"`
	} `json:"sites"`
	CA string `json:"ca"`
}

// up runs the fleet until the test ends.
func (term *terminal) up() (*program.Process, running) {
	term.t.Helper()
	p := program.Start(term.t, penny, "up", "--json", "--state", term.state, "-f", term.file())
	var r running
	p.JSON(&r)
	if len(r.POPs) != 3 || len(r.Sites) != 1 {
		term.t.Fatalf("penny runs %+v, want three POPs and a site", r)
	}
	return p, r
}

// command returns a command of another terminal.
func (term *terminal) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(term.t.Context(), penny, args...)
	cmd.Dir = term.dir
	cmd.Env = append(append(os.Environ(), "PENNY_STATE="+term.state), term.env...)
	return cmd
}

// types types a command, and returns what it prints and its exit code.
func (term *terminal) types(args ...string) (stdout, stderr string, code int) {
	term.t.Helper()
	return run(term.t, term.command(args...))
}

func run(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			t.Fatalf("penny %q: %v", cmd.Args[1:], err)
		}
		code = exit.ExitCode()
	}
	return out.String(), complaints.String(), code
}

// wants types a command that must succeed, and print all of what is given.
func (term *terminal) wants(command string, parts ...string) string {
	term.t.Helper()
	stdout, stderr, code := term.types(strings.Fields(command)...)
	if code != 0 {
		term.t.Fatalf("penny %s: exit code %d\n%s%s", command, code, stdout, stderr)
	}
	for _, part := range parts {
		if !strings.Contains(stdout, part) {
			term.t.Errorf("penny %s does not print %q, but\n%s", command, part, stdout)
		}
	}
	return stdout
}

// reads types a command with --json, and reads its only line.
func (term *terminal) reads(v any, command string) {
	term.t.Helper()
	stdout := term.wants(command + " --json")
	if err := json.Unmarshal([]byte(stdout), v); err != nil {
		term.t.Fatalf("penny %s --json prints %q: %v", command, stdout, err)
	}
}

// interrupt is Ctrl-C.
func interrupt(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
}
