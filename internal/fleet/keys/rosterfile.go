package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"pennyfarthing/internal/lockfile"
)

// ErrOldRoster is what [KeepRoster] returns for a roster that the one that is
// kept replaces, or that contradicts it.
var ErrOldRoster = errors.New("another roster is in force")

const rosterFile = "roster.json"

// LoadRoster reads the roster that a directory keeps, and the statement that it
// is in. It must be of the fleet and signed by its owner. The error is
// fs.ErrNotExist if there is none.
func LoadRoster(dir, fleet string, owner PublicKey) (*Roster, *Statement, error) {
	file := filepath.Join(dir, rosterFile)
	data, err := readSmall(file)
	if err != nil {
		return nil, nil, fmt.Errorf("load roster: %w", err)
	}
	st, err := ParseStatement(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	r, err := OpenRoster(st, owner, fleet)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, st, nil
}

// KeepRoster verifies a roster and keeps it in a directory, if its number is
// higher than that of the one there. It returns the roster that is in force then,
// also beside ErrOldRoster: for a lower number, and for the same number with
// other content, which an owner's key in two places brings about. The same once
// more is no error. Any number of processes may do this at once.
//
// A roster that is there and damaged is an error, and stays: a lower number could
// come back in its place.
func KeepRoster(dir, fleet string, owner PublicKey, st *Statement) (inForce *Roster, kept bool, err error) {
	r, err := OpenRoster(st, owner, fleet)
	if err != nil {
		return nil, false, fmt.Errorf("keep roster: %w", err)
	}
	err = withRosterLock(dir, func() error {
		old, oldStatement, err := LoadRoster(dir, fleet, owner)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case r.Number < old.Number:
			inForce = old
			return fmt.Errorf("%w: number %d, but this one has number %d", ErrOldRoster, old.Number, r.Number)
		case r.Number == old.Number:
			inForce = old
			if !sameStatement(st, oldStatement) {
				return fmt.Errorf("%w: it has number %d too, but says something else", ErrOldRoster, r.Number)
			}
			return nil
		}
		inForce, kept = r, true
		return saveRoster(dir, st)
	})
	if err != nil {
		return inForce, false, fmt.Errorf("keep roster: %w", err)
	}
	return inForce, kept, nil
}

// withRosterLock holds off everybody else who changes the directory's roster.
func withRosterLock(dir string, change func() error) error {
	unlock, err := lockfile.Wait(filepath.Join(dir, "roster.lock"))
	if err != nil {
		return err
	}
	return errors.Join(change(), unlock())
}

// saveRoster writes a roster that has been verified. The caller holds the lock.
func saveRoster(dir string, st *Statement) error {
	return writeFile(filepath.Join(dir, rosterFile), append(st.encode(), '\n'), 0o600)
}
