package up

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

func TestAFleetIsFoundWhileItRuns(t *testing.T) {
	c, _ := common(t)
	runs := func(what string, want ...RunningFleet) {
		t.Helper()
		got, err := RunningFleets(c.State)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	runs("before anything was started")
	f := start(t, Fleet, FleetOptions{Common: c, Fleet: demo(filesSite("example.org", directory(t, map[string]string{"index.html": "home"})))})
	where := filepath.Join(keys.FleetDir(c.State, f.report.Name), control.POPsFile)
	said, err := os.ReadFile(where)
	if err != nil {
		t.Fatal(err)
	}
	runs("while it runs", RunningFleet{Name: f.report.Name, File: f.report.File})
	if file, err := config.Load(f.report.File); err != nil || file.Name != f.report.Name {
		t.Errorf("its file is of %+v, %v", file, err)
	}
	f.stop()
	if err := f.wait(t); err != nil {
		t.Fatal(err)
	}
	runs("when it has ended")
	if err := os.WriteFile(where, said, 0o600); err != nil { // as one that is killed leaves it
		t.Fatal(err)
	}
	runs("when it was killed")
}
