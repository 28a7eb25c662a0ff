package keys

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"pennyfarthing/internal/mistake"
)

// An Owner makes and revokes a fleet's members and POPs, with the owner's key. Its
// methods may be called at once, and so may those of other processes that have
// the same fleet open.
type Owner struct {
	files fleetFiles
	key   *Key
	ca    *CA
	now   func() time.Time

	mu     sync.Mutex
	roster *Roster
	signed *Statement
}

// OpenFleet opens a fleet with its owner's key, and asks for the passphrase if
// the key is encrypted. If the CA had to be replaced meanwhile, the roster gets
// the new one as well.
func OpenFleet(stateDir, fleet string, passphrase func() (string, error), now func() time.Time) (*Owner, error) {
	if err := checkName("fleet", fleet); err != nil {
		return nil, fmt.Errorf("open fleet: %w", err)
	}
	files := fleetFiles{FleetDir(stateDir, fleet), fleet}
	owner, err := files.owner()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noKeys(files)
	}
	if err != nil {
		return nil, err
	}
	key, _, err := files.open(passphrase)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &mistake.Error{File: files.key(), What: "the owner's key is not on this machine", Hint: "put it there for as long as this takes"}
	}
	if err != nil {
		return nil, fmt.Errorf("open the owner's key of the fleet %s: %w", fleet, err)
	}
	if key.Public() != owner {
		return nil, notTheOwner(files, owner)
	}
	o := &Owner{files: files, key: key, now: now}
	if o.ca, err = OpenAuthority(stateDir, fleet, now); err != nil {
		return nil, err
	}
	if o.roster, o.signed, err = LoadRoster(files.dir, fleet, owner); err != nil {
		return nil, err
	}
	return o, o.updateCA()
}

// updateCA puts a new CA's certificate into the roster, before those that are
// there: POPs have certificates from them for another month.
func (o *Owner) updateCA() error {
	present, err := o.roster.authorities()
	if err != nil {
		return err
	}
	if present[0].Equal(o.ca.pair.cert) {
		return nil
	}
	return o.change("put the new CA into the roster", func(r *Roster) error {
		chain := encodePEM(pemCertificate, o.ca.pair.cert.Raw)
		for _, old := range present[:min(len(present), maxCAs-1)] {
			chain = append(chain, encodePEM(pemCertificate, old.Raw)...)
		}
		r.CA = string(chain)
		return nil
	})
}

// Identity returns what the owner connects with.
func (o *Owner) Identity() *Identity {
	return &Identity{Fleet: o.files.fleet, Name: ownerName, Owner: o.key.Public(), CA: o.ca.Pin(), key: o.key}
}

// CA returns the fleet's CA. If it was about to end when the fleet was opened it is a
// new one, and in the roster.
func (o *Owner) CA() *CA { return o.ca }

// Roster returns the latest roster, which must not be changed, and the statement
// that it is in.
func (o *Owner) Roster() (*Roster, *Statement) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.roster, o.signed
}

// AddMember makes a member with a key of random and at least one right, and
// returns what the member works with. The key is kept nowhere but there.
func (o *Owner) AddMember(name string, may []Right, random io.Reader) (*Identity, error) {
	if name == ownerName {
		return nil, &mistake.Error{What: "nobody but the owner is called owner", Hint: "take another name, such as laptop"}
	}
	key, err := GenerateKey(random)
	if err != nil {
		return nil, err
	}
	id, err := NewIdentity(o.files.fleet, name, key, o.key.Public(), o.ca.Pin())
	if err != nil {
		return nil, err
	}
	may = slices.Clone(may)
	slices.SortFunc(may, func(a, b Right) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Site, b.Site)) })
	member := Member{Name: name, Key: key.Public(), May: slices.Compact(may)}
	if err := member.checkRights(); err != nil {
		return nil, fmt.Errorf("add the member %s: %w", name, err)
	}
	err = o.change("add the member "+name, func(r *Roster) error {
		if slices.ContainsFunc(r.Members, func(m Member) bool { return m.Name == name }) {
			return &mistake.Error{
				What: fmt.Sprintf("the fleet %s has a member %s", o.files.fleet, name),
				Hint: "take another name, or penny key revoke " + name + " first",
			}
		}
		r.Members = append(r.Members, member)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return id, nil
}

// Revoke takes a member out of the roster, for good: its key cannot come back.
func (o *Owner) Revoke(name string) (Member, error) {
	var gone Member
	err := o.change("revoke the member "+name, func(r *Roster) error {
		i := slices.IndexFunc(r.Members, func(m Member) bool { return m.Name == name })
		if i < 0 {
			return &mistake.Error{What: fmt.Sprintf("the fleet %s has no member %.80q", o.files.fleet, name), Hint: "penny key list prints who there is"}
		}
		gone = r.Members[i]
		r.Members = slices.Delete(r.Members, i, i+1)
		r.revoke(gone.Key)
		return nil
	})
	if err != nil {
		return Member{}, err
	}
	// What this machine kept of it is of no use to anybody.
	if err := os.Remove(o.files.member(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return gone, fmt.Errorf("revoked %s, but its key stays here: %w", name, err)
	}
	return gone, nil
}

// AddPOP pins the key of a POP. The same once more changes nothing.
func (o *Owner) AddPOP(name string, key PublicKey) error {
	return o.change("pin the key of the POP "+name, func(r *Roster) error {
		switch pinned, ok := r.POP(name); {
		case ok && pinned == key:
			return errUnchanged
		case ok:
			return &mistake.Error{
				What: fmt.Sprintf("the POP %s has another key, %v", name, pinned),
				Hint: "if it is a new machine, take the old one out of the fleet first: penny key unpin " + name,
			}
		case slices.Contains(r.Revoked, key):
			return &mistake.Error{
				What: fmt.Sprintf("the key %v was revoked and cannot come back", key),
				Hint: "remove agent.key on the POP: its agent makes a new one",
			}
		}
		r.POPs = append(r.POPs, POPKey{name, key})
		return nil
	})
}

// RemovePOP takes a POP out of the roster, for good: its key cannot come back. A
// POP that is not in it changes nothing.
func (o *Owner) RemovePOP(name string) error {
	return o.change("take the POP "+name+" out", func(r *Roster) error {
		i := slices.IndexFunc(r.POPs, func(p POPKey) bool { return p.Name == name })
		if i < 0 {
			return errUnchanged
		}
		r.revoke(r.POPs[i].Key)
		r.POPs = slices.Delete(r.POPs, i, i+1)
		return nil
	})
}

// IssuePOP makes the certificate of a POP that is in the roster, for the key that
// is pinned there. See [CA.IssuePOP].
func (o *Owner) IssuePOP(name string) ([]byte, error) {
	r, _ := o.Roster()
	key, ok := r.POP(name)
	if !ok {
		return nil, fmt.Errorf("issue certificate for the POP %s: %w", name, ErrNotPinned)
	}
	return o.ca.IssuePOP(o.files.fleet, name, key)
}

// Adopt takes over a roster that this owner has signed elsewhere, if its number
// is higher: after the state directory came out of a backup. It returns whether
// it did; the error is ErrOldRoster as with [KeepRoster].
func (o *Owner) Adopt(st *Statement) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, kept, err := KeepRoster(o.files.dir, o.files.fleet, o.key.Public(), st)
	if err != nil {
		return false, err
	}
	o.roster, o.signed, err = LoadRoster(o.files.dir, o.files.fleet, o.key.Public())
	return kept, err
}

// errUnchanged ends a change that is none.
var errUnchanged = errors.New("nothing to change")

// change makes the next roster from the latest on disk, signs it and keeps it.
func (o *Owner) change(what string, edit func(*Roster) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := withRosterLock(o.files.dir, func() error {
		latest, signed, err := LoadRoster(o.files.dir, o.files.fleet, o.key.Public())
		if err != nil {
			return err
		}
		o.roster, o.signed = latest, signed
		next := latest.clone()
		if err := edit(next); err != nil {
			return err
		}
		next.Number++
		next.Time = wholeSeconds(o.now())
		st, err := next.sign(o.key)
		if err != nil {
			return err
		}
		if err := saveRoster(o.files.dir, st); err != nil {
			return err
		}
		o.roster, o.signed = next, st
		return nil
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// revoke notes a key that is out, and forgets the first of too many: what no
// longer stands in the roster may do nothing anyway.
func (r *Roster) revoke(key PublicKey) {
	r.Revoked = append(r.Revoked, key)
	if extra := len(r.Revoked) - maxRevoked; extra > 0 {
		r.Revoked = slices.Delete(r.Revoked, 0, extra)
	}
}
