package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pennyfarthing/internal/mistake"
)

// maxKept is how many members' keys are looked at in a state directory.
const maxKept = 100

// FindOptions say who wants to do what.
type FindOptions struct {
	Getenv     func(string) string
	StateDir   string
	Fleet      string
	Need       Right                  // what is going to be done; zero: nothing but reading the status
	Passphrase func() (string, error) // asked if only an encrypted owner's key will do
}

// FindIdentity returns what this machine may work with a fleet as: what the
// environment variable [EnvKey] holds, if it is set; otherwise the first member by
// name whose key is kept here and who has the right that is needed, by the latest
// roster that is here; otherwise the owner. So the owner's key is read only for
// what nobody else here may do.
func FindIdentity(o FindOptions) (*Identity, error) {
	if err := checkName("fleet", o.Fleet); err != nil {
		return nil, err
	}
	if secret := o.Getenv(EnvKey); secret != "" {
		id, err := ParseIdentity(secret)
		if err != nil {
			return nil, err
		}
		if id.Fleet != o.Fleet {
			return nil, &mistake.Error{
				What: fmt.Sprintf("%s is of the fleet %s, not of %s", EnvKey, id.Fleet, o.Fleet),
				Hint: "unset " + EnvKey + ", or set it to a key of this fleet",
			}
		}
		return id, nil
	}
	files := fleetFiles{FleetDir(o.StateDir, o.Fleet), o.Fleet}
	owner, err := files.owner()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noKeys(files)
	}
	if err != nil {
		return nil, err
	}
	id, err := files.findMember(owner, o.Need)
	if err != nil || id != nil {
		return id, err
	}
	return files.findOwner(owner, o.Passphrase)
}

// findMember returns the first kept member that has a right, or nil.
func (f fleetFiles) findMember(owner PublicKey, need Right) (*Identity, error) {
	entries, err := os.ReadDir(f.members())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for members' keys: %w", err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return filepath.Ext(e.Name()) != ".key" })
	if len(entries) == 0 {
		return nil, nil
	}
	r, _, err := LoadRoster(f.dir, f.fleet, owner)
	if err != nil {
		return nil, err
	}
	for _, e := range entries[:min(len(entries), maxKept)] {
		id, err := f.readMember(strings.TrimSuffix(e.Name(), ".key"), owner)
		if err != nil {
			return nil, err
		}
		if public := id.key.Public(); need == (Right{}) && r.Knows(public) || r.May(public, need) {
			return id, nil
		}
	}
	return nil, nil
}

// readMember reads the key of a member that is kept here.
func (f fleetFiles) readMember(name string, owner PublicKey) (*Identity, error) {
	file := f.member(name)
	data, err := readSecret(file)
	if err != nil {
		return nil, err
	}
	id, err := ParseIdentity(string(data))
	if err == nil && (id.Name != name || id.Fleet != f.fleet || id.Owner != owner) {
		err = fmt.Errorf("it is of %s of the fleet %s", id.Name, id.Fleet)
	}
	if err != nil {
		return nil, &mistake.Error{File: file, What: "is not the key of this member: " + err.Error(), Hint: "remove it, and penny key add makes another one"}
	}
	return id, nil
}

func (f fleetFiles) findOwner(owner PublicKey, passphrase func() (string, error)) (*Identity, error) {
	key, _, err := f.open(passphrase)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &mistake.Error{
			File: f.dir,
			What: "no key on this machine may do this; the owner's is kept elsewhere",
			Hint: "set " + EnvKey + " to the key of a member who may, or put owner.key there for as long as this takes",
		}
	}
	if err != nil {
		return nil, err
	}
	if key.Public() != owner {
		return nil, notTheOwner(f, owner)
	}
	certs, err := readSmall(filepath.Join(f.dir, "ca", "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("read the fleet's CA: %w", err)
	}
	parsed, err := parseCertificates(certs)
	if err != nil {
		return nil, explain(filepath.Join(f.dir, "ca", "ca.pem"), "x509", err)
	}
	return &Identity{Fleet: f.fleet, Name: ownerName, Owner: owner, CA: pinOf(parsed[0]), key: key}, nil
}

// Keep writes a member's key into the state directory of this machine, which then
// works as this member where it can, and not as the owner.
func (id *Identity) Keep(stateDir string) (file string, err error) {
	f := fleetFiles{FleetDir(stateDir, id.Fleet), id.Fleet}
	if err := makeDir(f.members()); err != nil {
		return "", err
	}
	err = withRosterLock(f.dir, func() error { return writeFile(f.member(id.Name), []byte(id.Secret()+"\n"), 0o600) })
	if err != nil {
		return "", fmt.Errorf("keep the key of %s: %w", id.Name, err)
	}
	return f.member(id.Name), nil
}
