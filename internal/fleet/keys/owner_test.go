package keys_test

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

const words = "correct horse battery staple"

// saying returns a passphrase, and counts how often it was asked for.
func saying(passphrase string, asked *int) func() (string, error) {
	return func() (string, error) { *asked++; return passphrase, nil }
}

// unasked fails a test that asks for a passphrase.
func unasked(t *testing.T) func() (string, error) {
	return func() (string, error) {
		t.Error("a passphrase was asked for")
		return "", errors.New("no passphrase")
	}
}

func initFleet(t *testing.T, o keys.InitOptions) keys.Fleet {
	t.Helper()
	state, err := keys.InitFleet(withClock(o))
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func withClock(o keys.InitOptions) keys.InitOptions {
	o.Fleet, o.Now, o.Random, o.Work = fleet, time.Now, rand.Reader, 1 // or the race detector takes seconds
	return o
}

func openFleet(t *testing.T, dir string) *keys.Owner {
	t.Helper()
	owner, err := keys.OpenFleet(dir, fleet, unasked(t), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return owner
}

func TestAFleetIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	states := make([]keys.Fleet, 6)
	for i := range states {
		wg.Go(func() { states[i] = initFleet(t, keys.InitOptions{StateDir: dir, Passphrase: unasked(t)}) })
	}
	wg.Wait()
	made := 0
	for _, state := range states {
		if state.Owner != states[0].Owner || state.Encrypted || state.Offline {
			t.Errorf("%+v", state)
		}
		if state.Made {
			made++
		}
	}
	if made != 1 {
		t.Errorf("it was made %d times", made)
	}
	found, r, err := keys.FindFleet(dir, fleet)
	if err != nil {
		t.Fatal(err)
	}
	want := keys.Fleet{Dir: keys.FleetDir(dir, fleet), Owner: states[0].Owner, KeyFile: filepath.Join(dir, "fleets", fleet, "owner.key")}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
	if r.Number != 1 || len(r.Members)+len(r.POPs) != 0 || r.Owner() != found.Owner {
		t.Errorf("the first roster is %+v", r)
	}
}

func TestTheFilesOfAFleetAreForItsOwnerOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("cannot run: modes of files say nothing on Windows")
	}
	dir := filepath.Join(t.TempDir(), "state")
	initFleet(t, keys.InitOptions{StateDir: dir})
	id, err := openFleet(t, dir).AddMember("laptop", []keys.Right{{What: keys.Renew}}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := id.Keep(dir); err != nil {
		t.Fatal(err)
	}
	secrets := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		switch {
		case d.IsDir():
			want = 0o700
		case filepath.Base(path) == "ca.pem":
			want = 0o644 // it is shown to everybody
		case filepath.Ext(path) == ".key":
			secrets++
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
		return nil
	})
	if err != nil || secrets != 3 {
		t.Errorf("%d keys, %v", secrets, err)
	}
}

func TestAnOwnersKeyIsEncryptedIfThereIsAPassphrase(t *testing.T) {
	for name, later := range map[string]bool{"from the beginning": false, "later on": true} {
		t.Run(name, func(t *testing.T) {
			dir, asked := t.TempDir(), 0
			if later {
				if initFleet(t, keys.InitOptions{StateDir: dir}).Encrypted {
					t.Error("encrypted without a passphrase")
				}
			}
			before, err := os.ReadFile(filepath.Join(keys.FleetDir(dir, fleet), "owner.key"))
			if later && err != nil {
				t.Fatal(err)
			}
			state := initFleet(t, keys.InitOptions{StateDir: dir, NewPassphrase: saying(words, &asked), Passphrase: unasked(t)})
			if asked != 1 || !state.Encrypted || state.Made == later {
				t.Errorf("asked %d times: %+v", asked, state)
			}
			data := readFile(t, state.KeyFile)
			if !strings.HasPrefix(string(data), "-----BEGIN AGE ENCRYPTED FILE-----\n") || string(data) == string(before) {
				t.Errorf("the key's file is\n%s", data)
			}
			// Once more changes nothing and asks nothing.
			again := initFleet(t, keys.InitOptions{StateDir: dir, NewPassphrase: unasked(t), Passphrase: unasked(t)})
			if again.Made || !again.Encrypted || string(readFile(t, state.KeyFile)) != string(data) {
				t.Errorf("once more: %+v", again)
			}
			owner, err := keys.OpenFleet(dir, fleet, saying(words, &asked), time.Now)
			if err != nil || asked != 2 || owner.Identity().Key().Public() != state.Owner {
				t.Errorf("asked %d times, error %v", asked, err)
			}
			_, err = keys.OpenFleet(dir, fleet, saying("another one", &asked), time.Now)
			if list := mistake.Of(err); len(list) != 1 || list[0].What != "the passphrase is another" {
				t.Errorf("with another passphrase: %v", err)
			}
		})
	}
}

func TestAPassphraseThatProtectsNothingIsRefused(t *testing.T) {
	for name, passphrase := range map[string]string{"empty": "", "short": "1234567", "long": strings.Repeat("x", 1025)} {
		dir, asked := t.TempDir(), 0
		_, err := keys.InitFleet(withClock(keys.InitOptions{StateDir: dir, NewPassphrase: saying(passphrase, &asked)}))
		if len(mistake.Of(err)) != 1 {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(keys.FleetDir(dir, fleet), "owner.key")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: there is a key all the same: %v", name, err)
		}
	}
}

func TestADamagedSealIsNoPassphraseProblem(t *testing.T) {
	data, err := keys.Seal([]byte("secret"), words)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	body := []byte(lines[1])
	for name, damaged := range map[string]string{
		"cut off": string(data[:len(data)/2]),
		"changed": strings.Replace(string(data), lines[len(lines)-3], strings.Repeat("A", len(lines[len(lines)-3])), 1),
		"empty":   "",
		"plain":   string(body),
	} {
		if plain, err := keys.Unseal([]byte(damaged), words); err == nil {
			t.Errorf("%s: it is opened as %q", name, plain)
		}
	}
	if plain, err := keys.Unseal(data, words); err != nil || string(plain) != "secret" {
		t.Errorf("%q, %v", plain, err)
	}
}

// TestAFleetThatWasHalfMadeIsCompleted takes away what a process that ended
// half-way has not written yet.
func TestAFleetThatWasHalfMadeIsCompleted(t *testing.T) {
	for name, missing := range map[string][]string{
		"the roster":                    {"roster.json"},
		"the public key":                {"owner.pub"},
		"the public key and the roster": {"owner.pub", "roster.json"},
		"the CA":                        {"ca/ca.pem", "ca/ca.key"},
		"the members":                   {"members"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first := initFleet(t, keys.InitOptions{StateDir: dir})
			for _, file := range missing {
				if err := os.Remove(filepath.Join(first.Dir, file)); err != nil {
					t.Fatal(err)
				}
			}
			if again := initFleet(t, keys.InitOptions{StateDir: dir}); again.Made || again.Owner != first.Owner {
				t.Errorf("once more: %+v", again)
			}
			owner := openFleet(t, dir)
			if r, _ := owner.Roster(); r.Owner() != first.Owner {
				t.Errorf("the roster: %+v", r)
			}
			key := actor(t)
			if err := owner.AddPOP("au", key.Public()); err != nil {
				t.Fatal(err)
			}
			chain, err := owner.IssuePOP("au")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := keys.ParseLeaf(chain, key, fleet, "au"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnOwnersKeyThatIsElsewhereIsNotMadeAgain(t *testing.T) {
	dir := t.TempDir()
	first := initFleet(t, keys.InitOptions{StateDir: dir})
	key := readFile(t, first.KeyFile)
	if err := os.Remove(first.KeyFile); err != nil {
		t.Fatal(err)
	}
	if again := initFleet(t, keys.InitOptions{StateDir: dir}); again.Made || !again.Offline || again.Owner != first.Owner {
		t.Errorf("once more: %+v", again)
	}
	if found, _, err := keys.FindFleet(dir, fleet); err != nil || !found.Offline {
		t.Errorf("found: %+v, %v", found, err)
	}
	_, err := keys.OpenFleet(dir, fleet, unasked(t), time.Now)
	if err == nil || !strings.Contains(err.Error(), "not on this machine") {
		t.Errorf("opened: %v", err)
	}
	if err := os.Remove(filepath.Join(first.Dir, "owner.pub")); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.InitFleet(withClock(keys.InitOptions{StateDir: dir})); err == nil || !strings.Contains(err.Error(), "there is a roster that it has signed") {
		t.Errorf("without its public key too: %v", err)
	}
	writeFile(t, first.KeyFile, key)
	if again := initFleet(t, keys.InitOptions{StateDir: dir}); again.Owner != first.Owner {
		t.Errorf("put back: %+v", again)
	}
	openFleet(t, dir)
}

func TestAnotherOwnersKeyIsRefused(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	first := initFleet(t, keys.InitOptions{StateDir: dir})
	writeFile(t, first.KeyFile, readFile(t, initFleet(t, keys.InitOptions{StateDir: other}).KeyFile))
	if err := os.Remove(filepath.Join(first.Dir, "roster.json")); err != nil {
		t.Fatal(err)
	}
	_, initErr := keys.InitFleet(withClock(keys.InitOptions{StateDir: dir}))
	_, openErr := keys.OpenFleet(dir, fleet, unasked(t), time.Now)
	_, findErr := keys.FindIdentity(keys.FindOptions{Getenv: func(string) string { return "" }, StateDir: dir, Fleet: fleet, Passphrase: unasked(t)})
	for _, err := range []error{initErr, openErr, findErr} {
		if err == nil || !strings.Contains(err.Error(), "is not the key of this fleet's owner") {
			t.Errorf("error %v", err)
		}
	}
}

func TestAFleetWithoutKeysSaysHowToMakeThem(t *testing.T) {
	dir := t.TempDir()
	_, openErr := keys.OpenFleet(dir, fleet, unasked(t), time.Now)
	_, _, findErr := keys.FindFleet(dir, fleet)
	_, idErr := keys.FindIdentity(keys.FindOptions{Getenv: func(string) string { return "" }, StateDir: dir, Fleet: fleet, Passphrase: unasked(t)})
	for _, err := range []error{openErr, findErr, idErr} {
		if list := mistake.Of(err); len(list) != 1 || !strings.HasPrefix(list[0].Hint, "penny init --keys makes them") {
			t.Errorf("%v", err)
		}
	}
	if _, err := os.Stat(keys.FleetDir(dir, fleet)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("looking made something: %v", err)
	}
	o := withClock(keys.InitOptions{StateDir: dir})
	o.Work = 21
	if _, err := keys.InitFleet(o); err == nil {
		t.Error("a key was to be encrypted so that it cannot be read again")
	}
	for _, name := range []string{"", "../x", "a/b", "A", "a_b", strings.Repeat("a", 64)} {
		o := withClock(keys.InitOptions{StateDir: dir})
		o.Fleet = name
		if _, err := keys.InitFleet(o); err == nil {
			t.Errorf("a fleet %q was made", name)
		}
		if _, err := keys.OpenFleet(dir, name, unasked(t), time.Now); err == nil {
			t.Errorf("a fleet %q was opened", name)
		}
	}
}

func TestMembersComeAndGo(t *testing.T) {
	dir := t.TempDir()
	initFleet(t, keys.InitOptions{StateDir: dir})
	owner := openFleet(t, dir)
	laptop, err := owner.AddMember("laptop", []keys.Right{{What: keys.Renew}, {What: keys.Deploy, Site: "a.test"}, {What: keys.Renew}}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, st := owner.Roster()
	want := []keys.Member{{Name: "laptop", Key: laptop.Key().Public(), May: []keys.Right{{What: keys.Deploy, Site: "a.test"}, {What: keys.Renew}}}}
	if diff := cmp.Diff(want, r.Members); diff != "" || r.Number != 2 {
		t.Errorf("roster %d: %s", r.Number, diff)
	}
	if opened, err := keys.OpenRoster(st, owner.Identity().Owner, fleet); err != nil || opened.Number != 2 {
		t.Errorf("its statement: %+v, %v", opened, err)
	}
	for name, add := range map[string]func() error{
		"the same name":  func() error { _, err := owner.AddMember("laptop", want[0].May, rand.Reader); return err },
		"no rights":      func() error { _, err := owner.AddMember("ci", nil, rand.Reader); return err },
		"a wrong right":  func() error { _, err := owner.AddMember("ci", []keys.Right{{What: "all"}}, rand.Reader); return err },
		"owner":          func() error { _, err := owner.AddMember("owner", want[0].May, rand.Reader); return err },
		"a name of two":  func() error { _, err := owner.AddMember("c i", want[0].May, rand.Reader); return err },
		"nobody to fire": func() error { _, err := owner.Revoke("ci"); return err },
	} {
		if err := add(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := laptop.Keep(dir); err != nil {
		t.Fatal(err)
	}
	gone, err := owner.Revoke("laptop")
	if err != nil || gone.Key != laptop.Key().Public() {
		t.Fatalf("%+v, %v", gone, err)
	}
	if _, err := os.Stat(filepath.Join(keys.FleetDir(dir, fleet), "members", "laptop.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its key is kept: %v", err)
	}
	r, _ = owner.Roster()
	if r.Number != 3 || len(r.Members) != 0 || !cmp.Equal(r.Revoked, []keys.PublicKey{gone.Key}) || r.Knows(gone.Key) {
		t.Errorf("the roster after that: %+v", r)
	}
	if again, err := owner.AddMember("laptop", want[0].May, rand.Reader); err != nil || again.Key().Public() == gone.Key {
		t.Errorf("a new laptop: %v, %v", again, err)
	}
}

func TestPOPsComeAndGo(t *testing.T) {
	dir := t.TempDir()
	initFleet(t, keys.InitOptions{StateDir: dir})
	owner := openFleet(t, dir)
	au, other := actor(t).Public(), actor(t).Public()
	steps := []struct {
		name   string
		do     func() error
		number uint64
		wrong  string
	}{
		{"a POP", func() error { return owner.AddPOP("au", au) }, 2, ""},
		{"the same", func() error { return owner.AddPOP("au", au) }, 2, ""},
		{"another key", func() error { return owner.AddPOP("au", other) }, 2, "has another key"},
		{"the key under another name", func() error { return owner.AddPOP("ny", au) }, 2, `has the key of the POP "au"`},
		{"one that was never there", func() error { return owner.RemovePOP("fr") }, 2, ""},
		{"taken out", func() error { return owner.RemovePOP("au") }, 3, ""},
		{"the revoked key", func() error { return owner.AddPOP("au", au) }, 3, "was revoked"},
		{"a certificate without a pin", func() error { _, err := owner.IssuePOP("au"); return err }, 3, "does not pin"},
		{"a new key", func() error { return owner.AddPOP("au", other) }, 4, ""},
		{"a certificate", func() error { _, err := owner.IssuePOP("au"); return err }, 4, ""},
	}
	for _, step := range steps {
		err := step.do()
		if step.wrong == "" && err != nil || step.wrong != "" && (err == nil || !strings.Contains(err.Error(), step.wrong)) {
			t.Errorf("%s: %v", step.name, err)
		}
		if r, _ := owner.Roster(); r.Number != step.number {
			t.Errorf("%s: roster %d, want %d", step.name, r.Number, step.number)
		}
	}
}

func TestTwoWhoHaveTheFleetOpenLoseNothing(t *testing.T) {
	dir := t.TempDir()
	initFleet(t, keys.InitOptions{StateDir: dir})
	var wg sync.WaitGroup
	for who := range 3 {
		owner := openFleet(t, dir)
		for n := range 4 {
			wg.Go(func() {
				if _, err := owner.AddMember(fmt.Sprintf("m%d-%d", who, n), []keys.Right{{What: keys.Renew}}, rand.Reader); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if _, r, err := keys.FindFleet(dir, fleet); err != nil || r.Number != 13 || len(r.Members) != 12 {
		t.Errorf("roster %d has %d members, %v", r.Number, len(r.Members), err)
	}
}

func TestAStateOutOfABackupTakesTheNewerRoster(t *testing.T) {
	dir := t.TempDir()
	state := initFleet(t, keys.InitOptions{StateDir: dir})
	backup := readFile(t, filepath.Join(state.Dir, "roster.json"))
	owner := openFleet(t, dir)
	if err := owner.AddPOP("au", actor(t).Public()); err != nil {
		t.Fatal(err)
	}
	_, newer := owner.Roster()
	writeFile(t, filepath.Join(state.Dir, "roster.json"), backup)
	restored := openFleet(t, dir)
	if took, err := restored.Adopt(newer); err != nil || !took {
		t.Fatalf("took %v, error %v", took, err)
	}
	if took, err := restored.Adopt(newer); err != nil || took {
		t.Errorf("once more: took %v, error %v", took, err)
	}
	if r, _ := restored.Roster(); r.Number != 2 || len(r.POPs) != 1 {
		t.Errorf("the roster: %+v", r)
	}
	old, err := keys.ParseStatement(backup)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restored.Adopt(old); !errors.Is(err, keys.ErrOldRoster) {
		t.Errorf("an older one: %v", err)
	}
}

// TestANewCAIsInTheRosterBesideTheOldOne lets ten years go by, all but a month.
func TestANewCAIsInTheRosterBesideTheOldOne(t *testing.T) {
	dir := t.TempDir()
	begin := time.Now()
	initFleet(t, keys.InitOptions{StateDir: dir})
	owner := openFleet(t, dir)
	pop := actor(t)
	if err := owner.AddPOP("au", pop.Public()); err != nil {
		t.Fatal(err)
	}
	chain, err := owner.IssuePOP("au")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := keys.ParseLeaf(chain, pop, fleet, "au")
	if err != nil {
		t.Fatal(err)
	}
	later := at(begin.AddDate(10, 0, -20))
	if late, err := keys.OpenFleet(dir, fleet, unasked(t), later); err != nil {
		t.Fatal(err)
	} else {
		owner = late
	}
	r, _ := owner.Roster()
	if n := strings.Count(r.CA, "BEGIN CERTIFICATE"); n != 2 || r.Number != 3 {
		t.Errorf("roster %d has %d CAs", r.Number, n)
	}
	roster := func() *keys.Roster { return r }
	_, clientErr, serverErr := shake(t, keys.ClientTLS(owner.Identity(), "au", roster, later), keys.ServerTLS(func() *tls.Certificate { return leaf }, roster))
	if err := errors.Join(clientErr, serverErr); err != nil {
		t.Errorf("a POP with a certificate of the old CA: %v", err)
	}
	if again, err := keys.OpenFleet(dir, fleet, unasked(t), later); err != nil {
		t.Error(err)
	} else if r, _ := again.Roster(); r.Number != 3 {
		t.Errorf("opening once more made roster %d", r.Number)
	}
}

func TestAPOPsCertificateIsShort(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	s := newSmall(t, at(now))
	leaf := s.leaf(t, "au", s.pops["au"]).Leaf
	got := fmt.Sprint(leaf.DNSNames, leaf.NotBefore.Sub(now), leaf.NotAfter.Sub(now), leaf.IsCA, leaf.ExtKeyUsage, s.ca.Certificate().PermittedDNSDomains)
	if want := "[au.test.penny.internal] -1h0m0s 719h0m0s false [serverAuth] [test.penny.internal]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for left, want := range map[time.Duration]bool{11 * 24 * time.Hour: false, 9 * 24 * time.Hour: true, -time.Hour: true} {
		if keys.RenewPOP(leaf.NotAfter, leaf.NotAfter.Add(-left)) != want {
			t.Errorf("with %v left it is %v that it must be renewed", left, !want)
		}
	}
	for name, issue := range map[string]func() ([]byte, error){
		"another fleet": func() ([]byte, error) { return s.ca.IssuePOP("other", "au", s.pops["au"].Public()) },
		"two labels":    func() ([]byte, error) { return s.ca.IssuePOP(fleet, "a.b", s.pops["au"].Public()) },
		"nobody":        func() ([]byte, error) { return s.ca.IssuePOP(fleet, "au", keys.PublicKey{}) },
	} {
		if _, err := issue(); err == nil {
			t.Errorf("%s has a certificate", name)
		}
	}
}

func TestACertificateMustBeThePOPs(t *testing.T) {
	s := newSmall(t, time.Now)
	chain, err := s.ca.IssuePOP(fleet, "au", s.pops["au"].Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		chain []byte
		key   *keys.Key
		pop   string
		what  string
	}{
		"another key": {chain, s.pops["ny"], "au", "another key"},
		"another POP": {chain, s.pops["au"], "ny", "ny.test.penny.internal"},
		"no PEM":      {[]byte("x"), s.pops["au"], "au", "is not PEM"},
		"too long":    {make([]byte, 1<<20+1), s.pops["au"], "au", "more than"},
	} {
		if _, err := keys.ParseLeaf(tc.chain, tc.key, fleet, tc.pop); err == nil || !strings.Contains(err.Error(), tc.what) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
