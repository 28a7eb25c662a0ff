package up

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/lockfile"
)

// A RunningFleet is a fleet that some `penny up` runs.
type RunningFleet struct {
	Name string
	File string // the fleet file by which other commands find it, absolute
}

// RunningFleets lists the fleets that `penny up` runs now with a state directory, in the
// order of their names.
func RunningFleets(state string) ([]RunningFleet, error) {
	entries, err := os.ReadDir(filepath.Dir(keys.FleetDir(state, "any")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // there never was one
	}
	if err != nil {
		return nil, fmt.Errorf("look for fleets that run: %w", err)
	}
	var all []RunningFleet
	for _, e := range entries {
		pops, err := control.FindPOPs(state, e.Name(), nil)
		if err != nil || pops.File == "" {
			continue // nobody says where its POPs are, or what cannot be read is nobody's
		}
		if running(lockOf(state, e.Name())) {
			all = append(all, RunningFleet{Name: e.Name(), File: pops.File})
		}
	}
	return all, nil
}

// lockOf is the file whose lock a fleet that runs has.
func lockOf(state, fleet string) string { return filepath.Join(state, "up", fleet, "lock") }

// running reports whether somebody has a lock. One that was killed has left what says
// where its POPs were.
func running(lock string) bool {
	if _, err := os.Lstat(lock); err != nil {
		return false
	}
	giveBack, err := lockfile.Take(lock)
	if err == nil {
		_ = giveBack() // nobody was kept from anything but for a moment
	}
	return errors.Is(err, lockfile.ErrLocked)
}
