package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/test/program"
)

// A homeTerminal is a machine with the owner's key, at which somebody types.
type homeTerminal struct {
	t   *testing.T
	dir string
}

// types runs a command to its end, and returns what it prints.
func (h *homeTerminal) types(code int, args ...string) (stdout, stderr string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, penny, append(args, "--state", filepath.Join(h.dir, "state"))...)
	cmd.Dir = h.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // its code says it
	if got := cmd.ProcessState.ExitCode(); got != code {
		h.t.Fatalf("penny %s ends with %d, want %d: %s%s", strings.Join(args, " "), got, code, &out, &errs)
	}
	return out.String(), errs.String()
}

// TestANewPOPNeedsNothingButItsKeyTold follows docs/keys.md: no file is carried to the
// new machine, and nothing but its public key from there.
func TestANewPOPNeedsNothingButItsKeyTold(t *testing.T) {
	h := &homeTerminal{t: t, dir: t.TempDir()}
	h.types(0, "init", "--fleet", fleetName)
	var listed struct {
		Owner keys.PublicKey `json:"owner"`
	}
	out, _ := h.types(0, "key", "list", "--json")
	if err := json.Unmarshal([]byte(out), &listed); err != nil {
		t.Fatal(err)
	}
	pop := t.TempDir()
	var made struct{ Key keys.PublicKey }
	first := program.Start(t, penny, "agent", "--state", pop, "--json")
	first.JSON(&made)
	if err := first.Wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	var running struct {
		API  string
		Leaf time.Time `json:"leaf_expires"`
	}
	program.Start(t, penny, "agent", "--state", pop, "--json", "--api", "127.0.0.1:0", "--listen", "", "--http", "127.0.0.1:0", "--admin", "",
		"--owner", listed.Owner.String(), "--fleet", fleetName, "--pop", popName).JSON(&running)
	if !running.Leaf.IsZero() {
		t.Errorf("it has a certificate until %v", running.Leaf)
	}
	where, err := json.Marshal(map[string]any{"pops": []map[string]string{{"name": popName, "api": running.API, "edge": "127.0.0.1:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "state", "fleets", fleetName, "pops.json"), where, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs := h.types(1, "control", "--once"); !strings.Contains(errs, keys.ErrNotPinned.Error()) {
		t.Errorf("a POP that nobody has pinned: %s", errs)
	}
	h.types(0, "key", "pin", popName, made.Key.String())
	var round struct {
		OK   bool
		Done []struct{ Do, POP string }
	}
	out, _ = h.types(0, "control", "--once", "--json")
	if err := json.Unmarshal([]byte(out), &round); err != nil {
		t.Fatal(err)
	}
	if !round.OK || len(round.Done) != 2 || round.Done[0].Do != "roster" || round.Done[1].Do != "certificate" {
		t.Errorf("done: %s", out)
	}
	var status struct {
		POPs []struct{ Says api.Status } `json:"pops"`
	}
	out, _ = h.types(0, "status", "--json")
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		t.Fatal(err)
	}
	if says := status.POPs[0].Says; !says.LeafExpires.After(time.Now()) || says.Roster != 2 {
		t.Errorf("the status: %s", out)
	}
}
