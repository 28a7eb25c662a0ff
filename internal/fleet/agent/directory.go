package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"pennyfarthing/internal/lockfile"
	"pennyfarthing/internal/mistake"
)

// The names in the state directory.
const (
	keyFile       = "agent.key"
	enrolmentFile = "enrolment.json"
	leafFile      = "leaf.pem"
	rosterFile    = "roster.json"
	configFile    = "config.json"
	seenFile      = "seen.json"
	lockFile      = "lock"
	storeDir      = "store"
	sitesDir      = "sites"
	headFile      = "head.json"
	releasesDir   = "releases"
	previewsDir   = "previews"
	certsDir      = "certificates"
)

// tempSuffix marks files that are being written. What a killed process left of
// them is written over by the next one, or swept away at its start.
const tempSuffix = ".tmp"

// A directory is where an agent keeps its state. Every file is there either as
// before or as a whole, whatever happens; one goroutine writes a file at a time.
type directory struct{ path string }

// openDirectory makes a state directory, for its owner alone.
func openDirectory(path string) (directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return directory{}, &mistake.Error{What: fmt.Sprintf("there is no place for the agent's state: %v", err), Hint: "--state names a directory that you can write to"}
	}
	return directory{path}, nil
}

// in returns the path of something in the directory.
func (d directory) in(elements ...string) string {
	return filepath.Join(append([]string{d.path}, elements...)...)
}

// makeDir makes a directory below it, and has it on disk when it returns.
func (d directory) makeDir(elements ...string) error {
	dir := d.in(elements...)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for range elements {
		dir = filepath.Dir(dir)
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// read reads a file of at most limit bytes. One that is not there is
// [fs.ErrNotExist].
func (d directory) read(limit int64, elements ...string) ([]byte, error) {
	path := d.in(elements...)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: it has more than %d bytes", path, limit)
	}
	return data, nil
}

// write writes a file, which is on disk when it returns.
func (d directory) write(data []byte, elements ...string) error {
	path := d.in(elements...)
	temp := path + tempSuffix
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // its mode may be another one
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(temp))
	}
	return syncDir(filepath.Dir(path))
}

// remove removes a file, which need not be there.
func (d directory) remove(elements ...string) error {
	if err := os.Remove(d.in(elements...)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// list returns the names in a directory below it, without what was being written
// when somebody killed the process. A directory that is not there is empty.
func (d directory) list(elements ...string) ([]string, error) {
	entries, err := os.ReadDir(d.in(elements...))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if filepath.Ext(e.Name()) == tempSuffix {
			if err := d.remove(append(elements, e.Name())...); err != nil {
				return nil, err
			}
			continue
		}
		names = append(names, e.Name())
	}
	return names, nil
}

// syncDir has the names in a directory on disk when it returns.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// lock takes the state directory for this process. The kernel gives it back when
// the process ends, however it does.
func (d directory) lock() (unlock func() error, err error) {
	unlock, err = lockfile.Take(d.in(lockFile))
	if errors.Is(err, lockfile.ErrLocked) {
		return nil, &mistake.Error{What: fmt.Sprintf("another agent runs with the state directory %s", d.path), Hint: "stop it, or name another directory with --state"}
	}
	return unlock, err
}
