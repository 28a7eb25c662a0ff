package up

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pennyfarthing/internal/fleet/agent"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// enrol makes the fleet's keys where there are none, puts the POPs into its roster,
// and gives each its certificate.
func (f *fleet) enrol() error {
	name := f.Fleet.Name
	made, err := keys.InitFleet(keys.InitOptions{StateDir: f.State, Fleet: name, Passphrase: f.Passphrase, Now: f.now, Random: rand.Reader})
	if err != nil {
		return err
	}
	if made.Made {
		f.report.NewKeys = made.KeyFile
	}
	_, roster, err := keys.FindFleet(f.State, name)
	if err != nil {
		return err
	}
	unknown, err := f.unknown(roster)
	if err != nil {
		return err
	}
	if f.id, err = f.identity(made, unknown); err != nil {
		return err
	}
	authority, err := keys.OpenAuthority(f.State, name, f.now)
	if err != nil {
		return err
	}
	for _, p := range f.pops {
		p.owner = made.Owner
		if err := p.certify(authority); err != nil {
			return fmt.Errorf("POP %s: %w", p.Name, err)
		}
	}
	return nil
}

// unknown returns the keys of POPs that the roster does not have, by name.
func (f *fleet) unknown(roster *keys.Roster) (map[string]keys.PublicKey, error) {
	unknown := make(map[string]keys.PublicKey)
	for _, p := range f.pops {
		key, err := agent.Key(p.dir)
		if err != nil {
			return nil, fmt.Errorf("POP %s: %w", p.Name, err)
		}
		if pinned, ok := roster.POP(p.Name); !ok || pinned != key {
			unknown[p.Name] = key
		}
	}
	return unknown, nil
}

// identity returns whom the fleet is set up as: the owner, who alone can put POPs
// into the roster. Where they are in it and the owner's key is elsewhere, somebody
// else will do who may operate the fleet.
func (f *fleet) identity(made keys.Fleet, unknown map[string]keys.PublicKey) (*keys.Identity, error) {
	if made.Offline && len(unknown) == 0 {
		return keys.FindIdentity(keys.FindOptions{
			Getenv: f.Getenv, StateDir: f.State, Fleet: f.Fleet.Name, Need: keys.Right{What: keys.Operate}, Passphrase: f.Passphrase,
		})
	}
	owner, err := keys.OpenFleet(f.State, f.Fleet.Name, f.Passphrase, f.now)
	if err != nil {
		return nil, err
	}
	for _, p := range f.pops {
		if key, ok := unknown[p.Name]; ok {
			if err := f.pin(owner, p, key); err != nil {
				return nil, err
			}
		}
	}
	return owner.Identity(), nil
}

// pin puts a POP into the roster. One that was made here before, and whose
// directory was removed since, is taken out first; a machine elsewhere is not.
func (f *fleet) pin(owner *keys.Owner, p *pop, key keys.PublicKey) error {
	ours, err := f.ownKeys()
	if err != nil {
		return err
	}
	roster, _ := owner.Roster()
	if pinned, ok := roster.POP(p.Name); ok {
		if !slices.Contains(ours, pinned.String()) {
			return &mistake.Error{
				What: fmt.Sprintf("the POP %s of the fleet %s is another machine, whose key is %v", p.Name, f.Fleet.Name, pinned),
				Hint: "penny up --state DIR runs a copy of the fleet that has nothing to do with it",
			}
		}
		if err := owner.RemovePOP(p.Name); err != nil {
			return err
		}
	}
	if !slices.Contains(ours, key.String()) {
		text := strings.Join(append(ours, key.String()), "\n") + "\n"
		if err := replaceFile(f.ownKeysFile(), []byte(text)); err != nil {
			return err
		}
	}
	return owner.AddPOP(p.Name, key)
}

// ownKeysFile lists the keys of the POPs that penny up has made. It lies with the
// fleet's keys, because whoever removes the POPs' directories means the POPs.
func (f *fleet) ownKeysFile() string {
	return filepath.Join(keys.FleetDir(f.State, f.Fleet.Name), "up.keys")
}

func (f *fleet) ownKeys() ([]string, error) {
	text, err := os.ReadFile(f.ownKeysFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return strings.Fields(string(text)), nil
}

// certify gives the agent a certificate for its API, for the next month.
func (p *pop) certify(authority *keys.CA) error {
	key, err := agent.Key(p.dir)
	if err != nil {
		return err
	}
	leaf, err := authority.IssuePOP(p.fleet.Fleet.Name, p.Name, key)
	if err != nil {
		return err
	}
	err = agent.InstallLeaf(p.dir, p.enrolment(), leaf)
	if m, ok := errors.AsType[*mistake.Error](err); ok {
		return &mistake.Error{File: m.File, What: m.What, Hint: "it is of an earlier fleet of that name: rm -r " + p.dir}
	}
	return err
}
