package keys

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pennyfarthing/internal/mistake"
)

// fleetFiles are the files of a fleet in its directory.
type fleetFiles struct{ dir, fleet string }

func (f fleetFiles) key() string     { return filepath.Join(f.dir, "owner.key") }
func (f fleetFiles) public() string  { return filepath.Join(f.dir, "owner.pub") }
func (f fleetFiles) members() string { return filepath.Join(f.dir, "members") }
func (f fleetFiles) member(name string) string {
	return filepath.Join(f.members(), name+".key")
}

// owner reads the public key of the fleet's owner. The error is fs.ErrNotExist if
// the fleet has no keys here.
func (f fleetFiles) owner() (PublicKey, error) {
	data, err := readSmall(f.public())
	if err != nil {
		return PublicKey{}, err
	}
	key, err := ParsePublicKey(strings.TrimSpace(string(data)))
	if err != nil {
		return PublicKey{}, &mistake.Error{File: f.public(), What: err.Error(), Hint: "put it back from a backup, or remove it and type penny init --keys, which makes it from the owner's key"}
	}
	return key, nil
}

// open reads the owner's key. It asks for the passphrase if it is encrypted.
func (f fleetFiles) open(passphrase func() (string, error)) (key *Key, encrypted bool, err error) {
	data, err := readSecret(f.key())
	if err != nil {
		return nil, false, err
	}
	if sealed(data) {
		encrypted = true
		words, err := passphrase()
		if err != nil {
			return nil, true, err
		}
		data, err = unseal(data, words, openWork)
		if errors.Is(err, errPassphrase) {
			return nil, true, &mistake.Error{File: f.key(), What: "the passphrase is another", Hint: "type it once more; without it, only a copy of the key that is not encrypted helps"}
		}
		if err != nil {
			return nil, true, &mistake.Error{File: f.key(), What: "is damaged: " + err.Error(), Hint: "put it back from a backup"}
		}
	}
	key, err = parseActorKey(f.key(), data)
	return key, encrypted, err
}

// write writes the owner's key, encrypted if there is a passphrase to ask for.
func (f fleetFiles) write(key *Key, passphrase func() (string, error), work int) error {
	data := key.pem()
	if passphrase != nil {
		words, err := passphrase()
		if err != nil {
			return err
		}
		if data, err = seal(data, words, cmp.Or(work, sealWork)); err != nil {
			return err
		}
	}
	return writeFile(f.key(), data, 0o600)
}

// InitOptions say whose keys are made, and where.
type InitOptions struct {
	StateDir string
	Fleet    string

	NewPassphrase func() (string, error) // asked if the owner's key is to be encrypted; nil: it is not
	Passphrase    func() (string, error) // asked if an encrypted key has to be read
	Work          int                    // binary logarithm of scrypt's N for a new passphrase, 1 to 20; 0: 17

	Now    func() time.Time
	Random io.Reader // of keys; usually crypto/rand.Reader
}

// A Fleet says which keys of a fleet are on this machine.
type Fleet struct {
	Dir       string
	Owner     PublicKey
	KeyFile   string // the owner's key
	Made      bool   // just now
	Encrypted bool   // the owner's key is
	Offline   bool   // the owner's key is kept elsewhere: KeyFile is not there
}

// InitFleet makes what a fleet begins with, in its directory under the state
// directory: the owner's key, the CA and the first roster. What is there stays;
// what is missing because a process ended half-way is made. An owner's key that
// was taken elsewhere is missed by nobody and not made again. A key that is there
// is encrypted if it is not yet, and there is a new passphrase to ask for.
func InitFleet(o InitOptions) (Fleet, error) {
	if err := checkName("fleet", o.Fleet); err != nil {
		return Fleet{}, fmt.Errorf("make keys: %w", err)
	}
	if o.Work < 0 || o.Work > openWork {
		return Fleet{}, fmt.Errorf("make keys: scrypt's N cannot be 2^%d; at most 2^%d is read again", o.Work, openWork)
	}
	files := fleetFiles{FleetDir(o.StateDir, o.Fleet), o.Fleet}
	if err := makeDir(files.members()); err != nil {
		return Fleet{}, err
	}
	ca, err := OpenAuthority(o.StateDir, o.Fleet, o.Now)
	if err != nil {
		return Fleet{}, err
	}
	var state Fleet
	err = withRosterLock(files.dir, func() error {
		state, err = initLocked(o, files, ca)
		return err
	})
	if err != nil {
		return Fleet{}, fmt.Errorf("make the keys of the fleet %s: %w", o.Fleet, err)
	}
	return state, nil
}

// initLocked makes the owner's key first: from then on there is one owner. The
// public key and the roster can be made from it at any time.
func initLocked(o InitOptions, files fleetFiles, ca *CA) (Fleet, error) {
	state := Fleet{Dir: files.dir, KeyFile: files.key()}
	keyFile, keyErr := readSecret(files.key())
	if keyErr != nil && !errors.Is(keyErr, fs.ErrNotExist) {
		return state, keyErr
	}
	owner, err := files.owner()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return state, err
	}
	known := err == nil
	if keyErr != nil && known {
		state.Owner, state.Offline = owner, true
		return state, nil
	}
	_, rosterErr := os.Stat(filepath.Join(files.dir, rosterFile))
	if rosterErr == nil && !known && keyErr != nil {
		return state, &mistake.Error{File: files.key(), What: "the owner's key is missing, though there is a roster that it has signed", Hint: "put it back from where you keep it"}
	}
	if keyErr == nil && known && rosterErr == nil {
		state.Owner, state.Encrypted = owner, sealed(keyFile)
		if state.Encrypted || o.NewPassphrase == nil {
			return state, nil
		}
	}
	var key *Key
	if keyErr == nil {
		if key, state.Encrypted, err = files.open(o.Passphrase); err != nil {
			return state, err
		}
		if known && key.Public() != owner {
			return state, notTheOwner(files, owner)
		}
	} else {
		state.Made = true
		if key, err = GenerateKey(o.Random); err != nil {
			return state, err
		}
	}
	if state.Made || !state.Encrypted && o.NewPassphrase != nil {
		if err := files.write(key, o.NewPassphrase, o.Work); err != nil {
			return state, err
		}
		state.Encrypted = o.NewPassphrase != nil
	}
	state.Owner = key.Public()
	return state, completeFleet(files, key, ca, rosterErr == nil, o.Now)
}

// completeFleet makes what follows from the owner's key.
func completeFleet(files fleetFiles, key *Key, ca *CA, hasRoster bool, now func() time.Time) error {
	if err := writeFile(files.public(), []byte(key.Public().String()+"\n"), 0o600); err != nil {
		return err
	}
	if hasRoster {
		return nil
	}
	r := NewRoster(files.fleet, key.Public())
	r.Number, r.Time, r.CA = 1, wholeSeconds(now()), string(encodePEM(pemCertificate, ca.pair.cert.Raw))
	st, err := r.sign(key)
	if err != nil {
		return err
	}
	return saveRoster(files.dir, st)
}

func wholeSeconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func notTheOwner(files fleetFiles, owner PublicKey) error {
	return &mistake.Error{
		File: files.key(),
		What: fmt.Sprintf("is not the key of this fleet's owner, which is %v", owner),
		Hint: "put the right one there",
	}
}

// FindFleet says which keys of a fleet are on this machine, and returns its
// latest roster. It needs no passphrase.
func FindFleet(stateDir, fleet string) (Fleet, *Roster, error) {
	if err := checkName("fleet", fleet); err != nil {
		return Fleet{}, nil, err
	}
	files := fleetFiles{FleetDir(stateDir, fleet), fleet}
	owner, err := files.owner()
	if errors.Is(err, fs.ErrNotExist) {
		return Fleet{}, nil, noKeys(files)
	}
	if err != nil {
		return Fleet{}, nil, err
	}
	state := Fleet{Dir: files.dir, Owner: owner, KeyFile: files.key()}
	switch data, err := readSecret(files.key()); {
	case err == nil:
		state.Encrypted = sealed(data)
	case errors.Is(err, fs.ErrNotExist):
		state.Offline = true
	default:
		return Fleet{}, nil, err
	}
	r, _, err := LoadRoster(files.dir, fleet, owner)
	if err != nil {
		return Fleet{}, nil, err
	}
	return state, r, nil
}

func noKeys(files fleetFiles) error {
	return &mistake.Error{
		File: files.dir,
		What: fmt.Sprintf("the fleet %s has no keys on this machine", files.fleet),
		Hint: "penny init --keys makes them; on another machine than the owner's, set " + EnvKey + " to what penny key add printed",
	}
}
