package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// DefaultAPIPort is where agents take connections unless somebody says otherwise.
const DefaultAPIPort = 8440

// POPsFile is the name of the file in a fleet's directory of the state that says where
// its POPs are.
const POPsFile = "pops.json"

const (
	maxPOPs     = 1000
	maxPOPsFile = 1 << 20
	maxRoots    = 256 << 10
)

// POPs says where the POPs of a fleet are.
type POPs struct {
	POPs []POP `json:"pops"`
	// Roots is a file of certificates, PEM, by which visitors know the POPs' sites
	// beside the system's; "" for none.
	Roots string `json:"roots,omitempty"`
	// Certificates is what Roots would have in it. It takes the place of Roots in
	// [POPsFile], which is as good on another machine then.
	Certificates string `json:"certificates,omitempty"`
	// File is the fleet file of the fleet, absolute, if penny up runs it.
	File string `json:"file,omitempty"`

	up bool // penny up has written it
}

// A POP says where a POP is.
type POP struct {
	Name string `json:"name"`
	API  string `json:"api"`  // host:port of its agent
	Edge string `json:"edge"` // host:port where it serves visitors, TCP and UDP
}

// FindPOPs returns where a fleet's POPs are: what [POPsFile] in the state directory
// says, or else the first address of each in the fleet file, which may be nil.
func FindPOPs(stateDir, name string, fleet *config.Fleet) (*POPs, error) {
	file := filepath.Join(keys.FleetDir(stateDir, name), POPsFile)
	pops, err := readPOPs(file)
	if err == nil {
		pops.up = true
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return pops, err
	}
	pops = &POPs{}
	if fleet != nil {
		for _, p := range fleet.POPs {
			address := p.Addresses[0]
			pops.POPs = append(pops.POPs, POP{Name: p.Name, API: at(address, DefaultAPIPort), Edge: at(address, 443)})
		}
	}
	if len(pops.POPs) == 0 {
		return nil, &mistake.Error{What: "nobody says where the POPs of " + name + " are", Hint: "give them addresses in penny.toml, or run penny up in another terminal"}
	}
	return pops, nil
}

func at(address netip.Addr, port int) string {
	return net.JoinHostPort(address.String(), strconv.Itoa(port))
}

func readPOPs(file string) (*POPs, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPOPsFile+1))
	if err != nil {
		return nil, fmt.Errorf("read where the POPs are: %w", err)
	}
	pops := new(POPs)
	if len(data) > maxPOPsFile {
		err = errors.New("it is too large")
	} else if err = json.Unmarshal(data, pops); err == nil {
		err = pops.check()
	}
	if err != nil {
		return nil, &mistake.Error{File: file, What: "it does not say where the POPs are: " + err.Error(), Hint: "remove it; penny up writes another one"}
	}
	return pops, nil
}

// check says what is wrong.
func (p *POPs) check() error {
	if len(p.POPs) > maxPOPs {
		return fmt.Errorf("it has %d POPs, and at most %d can be", len(p.POPs), maxPOPs)
	}
	known := make(map[string]bool)
	for _, pop := range p.POPs {
		if pop.Name == "" || known[pop.Name] {
			return fmt.Errorf("the name %q is empty, or there twice", pop.Name)
		}
		known[pop.Name] = true
		for _, address := range []string{pop.API, pop.Edge} {
			if _, _, err := net.SplitHostPort(address); err != nil {
				return fmt.Errorf("%s: %q is no address with a port", pop.Name, address)
			}
		}
	}
	return nil
}

// Write writes [POPsFile] of a fleet, for others to find its POPs.
func (p *POPs) Write(stateDir, name string) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("write where the POPs are: %w", err)
	}
	written := *p
	if p.Roots != "" {
		roots, err := readRoots(p.Roots)
		if err != nil {
			return fmt.Errorf("write whom the POPs' sites are vouched for by: %w", err)
		}
		written.Roots, written.Certificates = "", string(roots)
	}
	data, err := json.MarshalIndent(written, "", "\t")
	if err != nil {
		return fmt.Errorf("write where the POPs are: %w", err)
	}
	return replaceFile(filepath.Join(keys.FleetDir(stateDir, name), POPsFile), append(data, '\n'))
}

func readRoots(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRoots+1))
	if err == nil && len(data) > maxRoots {
		err = fmt.Errorf("%s has more than %d bytes", file, maxRoots)
	}
	return data, err
}

// RemovePOPs removes what [POPs.Write] wrote, which need not be there.
func RemovePOPs(stateDir, name string) error {
	err := os.Remove(filepath.Join(keys.FleetDir(stateDir, name), POPsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// replaceFile writes a file whole or not at all.
func replaceFile(file string, data []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // it is in nobody's way
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return os.Rename(f.Name(), file)
}
