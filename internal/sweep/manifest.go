package sweep

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/target"
)

// The files of a run.
const (
	manifestFile = "run.json"
	partsDir     = "parts"

	manifestDraft = "." + manifestFile + "-" // and what makes it unique, while it is written
)

// manifestSchema is the version of run.json.
const manifestSchema = 1

// A Manifest is what run.json says.
type Manifest struct {
	Schema   int           `json:"schema"`
	Rows     int           `json:"rows_schema"`
	ID       string        `json:"id"`
	Version  string        `json:"penny"`
	Settings Settings      `json:"settings"`
	Vantage  VantagePoint  `json:"vantage"`
	Started  time.Time     `json:"started"`
	Sessions []Session     `json:"sessions"`       // one for each time that penny ran on it
	List     *target.Stats `json:"list,omitempty"` // once all of it was read
	Finished *time.Time    `json:"finished,omitempty"`
}

// A VantagePoint is from where a run asks.
type VantagePoint struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"` // of this machine, towards the internet
	IPv6    bool   `json:"ipv6"`              // there is a route for it
}

// A Session is one process's part of a run.
type Session struct {
	Began    time.Time     `json:"began"`
	Ended    time.Time     `json:"ended,omitzero"`
	Targets  int64         `json:"targets"`  // rows committed
	Queries  int64         `json:"queries"`  // of the DNS
	Tries    int64         `json:"tries"`    //
	Sent     int64         `json:"sent"`     // bytes
	Received int64         `json:"received"` // bytes
	User     time.Duration `json:"user_ns"`  // of the processor
	System   time.Duration `json:"system_ns"`
	PeakRSS  int64         `json:"peak_rss"` // bytes
	Ill      int64         `json:"seconds_of_own_illness"`
	Controls int64         `json:"controls"`
	Failed   int64         `json:"controls_failed"`
	Internet time.Duration `json:"simnet_cpu_ns,omitempty"` // of the simulated internet
}

func readManifest(dir string) (*Manifest, error) {
	name := filepath.Join(dir, manifestFile)
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, &mistake.Error{File: name, What: fmt.Sprintf("is no run's description: %v", err), Hint: "it was changed or damaged; the rows in parts/ can be read without it"}
	}
	if m.Schema > manifestSchema {
		return nil, &mistake.Error{File: name, What: fmt.Sprintf("was written by a newer penny (%s)", m.Version), Hint: "use that one"}
	}
	return &m, nil
}

// Open reads what a directory says of its run.
func Open(dir string) (*Manifest, error) {
	m, err := readManifest(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, &mistake.Error{File: dir, What: "there is no run here: no " + manifestFile, Hint: "name the directory that penny sweep wrote, or that -o named"}
	}
	return m, err
}

// write replaces run.json.
func (m *Manifest) write(dir string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("describe the run: %w", err)
	}
	return writeFile(filepath.Join(dir, manifestFile), append(data, '\n'))
}

// writeFile replaces a file, wholly or not at all.
func writeFile(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", name, err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
