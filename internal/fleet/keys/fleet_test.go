package keys_test

import (
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/keys"
)

// actor makes the key of somebody.
func actor(t testing.TB) *keys.Key {
	t.Helper()
	key, err := keys.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign signs anything.
func sign(t testing.TB, key *keys.Key, kind, fleet string, payload any) *keys.Statement {
	t.Helper()
	data, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	st, err := key.Sign(kind, fleet, data)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// A small is a small fleet: an owner, a CA, a member for each right, two POPs.
type small struct {
	owner   *keys.Key
	members map[string]*keys.Key
	pops    map[string]*keys.Key
	ca      *keys.CA
	roster  *keys.Roster // what the owner has signed
}

const fleet = "test"

func newSmall(t *testing.T, now func() time.Time) *small {
	t.Helper()
	ca, err := keys.OpenAuthority(t.TempDir(), fleet, now)
	if err != nil {
		t.Fatal(err)
	}
	s := &small{owner: actor(t), members: map[string]*keys.Key{}, pops: map[string]*keys.Key{}, ca: ca}
	r := keys.Roster{
		Fleet: fleet, Number: 7, Time: now().UTC().Truncate(time.Second),
		CA: string(readFile(t, ca.File())),
	}
	for _, right := range []keys.Right{{What: keys.Deploy, Site: "a.test"}, {What: keys.Deploy}, {What: keys.Renew}, {What: keys.Operate}} {
		name := right.What
		if right.Site != "" {
			name = "one-site"
		}
		s.members[name] = actor(t)
		r.Members = append(r.Members, keys.Member{Name: name, Key: s.members[name].Public(), May: []keys.Right{right}})
	}
	for _, name := range []string{"au", "ny"} {
		s.pops[name] = actor(t)
		r.POPs = append(r.POPs, keys.POPKey{Name: name, Key: s.pops[name].Public()})
	}
	r.Revoked = []keys.PublicKey{actor(t).Public()}
	s.roster = s.reopen(t, r)
	return s
}

// reopen signs a roster and opens it.
func (s *small) reopen(t testing.TB, r keys.Roster) *keys.Roster {
	t.Helper()
	opened, err := keys.OpenRoster(sign(t, s.owner, keys.KindRoster, fleet, r), s.owner.Public(), fleet)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}
