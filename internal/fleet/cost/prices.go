package cost

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"pennyfarthing/internal/mistake"
)

// MaxFile is the size in bytes that a price table may have.
const MaxFile = 256 << 10

// maxMachines is how many machines a table may have.
const maxMachines = 200

// A Unit is in what time is billed.
type Unit time.Duration

// The units. Every provider that we know bills in one of them.
const (
	Second = Unit(time.Second)
	Minute = Unit(time.Minute)
	Hour   = Unit(time.Hour)
)

// String is second, minute or hour.
func (u Unit) String() string {
	switch u {
	case Second:
		return "second"
	case Minute:
		return "minute"
	case Hour:
		return "hour"
	}
	return time.Duration(u).String()
}

// A Machine is a kind of machine that can be rented, and its price.
type Machine struct {
	Key    string    // of its table in the file
	Name   string    // as its provider calls it
	Hourly Money     // for one hour
	Date   time.Time // the day on which the price was seen
	Source string    // where
	// Unverified are the keys that whoever wrote the table has not looked up.
	Unverified []string
	VCPUs      int
	Memory     float64 // GB

	Unit    Unit
	Minimum time.Duration // that is billed for a machine; 0: one unit
	Startup time.Duration // from when it is billed until it can work
	// HasStartup says that the table knows the time of start-up, and HasEgress that it
	// knows what traffic costs. A bill names what it does not know.
	HasStartup, HasEgress bool
	Egress                Money   // for one GB that leaves the machine beyond the free ones
	EgressFree            float64 // GB a machine for which nothing is billed
}

// Prices is a price table: the machines in the order of the file.
type Prices struct {
	File     string // "" for the one that penny brings along
	Machines []Machine
}

//go:embed prices.toml
var defaultTable []byte

// Default is the table that penny brings along.
func Default() (*Prices, error) {
	p, err := Parse("prices.toml", defaultTable)
	if err != nil {
		return nil, fmt.Errorf("read the built-in prices: %w", err)
	}
	p.File = ""
	return p, nil
}

// DefaultText is the file of [Default], to begin an own one with.
func DefaultText() []byte { return append([]byte(nil), defaultTable...) }

// Load reads a price table. With an empty name it is penny/prices.toml in
// configDir, the user's directory for configuration, and [Default] where there is
// none.
func Load(name, configDir string) (*Prices, error) {
	asked := name != ""
	if !asked {
		if configDir == "" {
			return Default()
		}
		name = filepath.Join(configDir, "penny", "prices.toml")
	}
	f, err := os.Open(name)
	switch {
	case errors.Is(err, os.ErrNotExist) && !asked:
		return Default()
	case errors.Is(err, os.ErrNotExist):
		return nil, &mistake.Error{File: name, What: "there is no such file", Hint: "leave out the flag to use the prices that penny brings along"}
	case err != nil:
		return nil, fmt.Errorf("read prices: %w", err)
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read prices: %w", err)
	}
	return Parse(name, src)
}
