package keys_test

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

func TestAnIdentityIsOneString(t *testing.T) {
	id, err := keys.NewIdentity(fleet, "laptop", actor(t), actor(t).Public(), keys.CAPin{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	secret := id.Secret()
	if len(strings.Fields(secret)) != 1 || !strings.HasPrefix(secret, "penny-key-1.") || len(secret) > 400 {
		t.Errorf("it is %d bytes long", len(secret))
	}
	got, err := keys.ParseIdentity(" " + secret + "\r\n")
	if err != nil {
		t.Fatal(err)
	}
	if got.Fleet != id.Fleet || got.Name != id.Name || got.Owner != id.Owner || got.CA != id.CA || got.Key().Public() != id.Key().Public() {
		t.Errorf("it is read as %v, want %v", got, id)
	}
	if want := "laptop of the fleet test (" + id.Key().Public().String() + ")"; id.String() != want {
		t.Errorf("it calls itself %q, want %q", id, want)
	}
	if _, err := keys.NewIdentity(fleet, "a b", actor(t), id.Owner, id.CA); err == nil {
		t.Error("a name with a blank is taken")
	}
}

func TestAnIdentityThatIsNotWholeIsRefusedAndNotRepeated(t *testing.T) {
	id, err := keys.NewIdentity(fleet, "laptop", actor(t), actor(t).Public(), keys.CAPin{})
	if err != nil {
		t.Fatal(err)
	}
	secret := id.Secret()
	_, text, _ := strings.Cut(secret, ".")
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	remade := func(old, new string) string {
		t.Helper()
		if !strings.Contains(string(plain), old) {
			t.Fatalf("%s does not hold %s", plain, old)
		}
		return "penny-key-1." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(plain), old, new, 1)))
	}
	for name, damaged := range map[string]string{
		"empty":            "",
		"a prefix":         "penny-key-1.",
		"a later version":  strings.Replace(secret, "-1.", "-2.", 1),
		"no prefix":        text,
		"cut off":          secret[:len(secret)-5],
		"a blank in it":    secret[:60] + " " + secret[60:],
		"twice":            secret + secret,
		"too long":         secret + strings.Repeat("A", 5000),
		"another member":   remade(`{"fleet"`, `{"more":1,"fleet"`),
		"two values":       remade(`}`, `}{}`),
		"a blank in JSON":  remade(`{"fleet"`, `{ "fleet"`),
		"a member twice":   remade(`{"fleet"`, `{"name":"x","fleet"`),
		"a fleet of paths": remade(`"test"`, `"../test"`),
		"no name":          remade(`"laptop"`, `""`),
		"a short seed":     remade(`"seed":"`+base64.RawURLEncoding.EncodeToString(seedOf(t, id)), `"seed":"AAAA`),
		"nobody's fleet":   remade(id.Owner.String(), keys.PublicKey{}.String()),
		"a short CA":       remade(`"ca":"AAAA`, `"ca":"`),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := keys.ParseIdentity(damaged)
			list := mistake.Of(err)
			if got != nil || len(list) != 1 || !strings.Contains(list[0].Hint, "copy it once more") {
				t.Fatalf("read as %v, error %v", got, err)
			}
			if len(text) > 20 && (strings.Contains(err.Error(), text[:20]) || strings.Contains(err.Error(), text[len(text)-20:])) {
				t.Errorf("the error has a part of the secret: %v", err)
			}
		})
	}
}

func TestTheLeastPowerfulKeyThatWillDoIsTaken(t *testing.T) {
	dir := t.TempDir()
	asked := 0
	initFleet(t, keys.InitOptions{StateDir: dir, NewPassphrase: saying(words, &asked)})
	owner, err := keys.OpenFleet(dir, fleet, saying(words, &asked), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	add := func(name string, right keys.Right) *keys.Identity {
		t.Helper()
		id, err := owner.AddMember(name, []keys.Right{right}, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	renewer, deployer := add("box", keys.Right{What: keys.Renew}), add("laptop", keys.Right{What: keys.Deploy, Site: "a.test"})
	elsewhere := add("ci", keys.Right{What: keys.Operate})
	for _, id := range []*keys.Identity{renewer, deployer} {
		if _, err := id.Keep(dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		env  string
		need keys.Right
		want string
		asks int
	}{
		"reading the status":    {want: "box"},
		"renewing":              {need: keys.Right{What: keys.Renew}, want: "box"},
		"deploying one's site":  {need: keys.Right{What: keys.Deploy, Site: "a.test"}, want: "laptop"},
		"deploying another one": {need: keys.Right{What: keys.Deploy, Site: "b.test"}, want: "owner", asks: 1},
		"operating":             {need: keys.Right{What: keys.Operate}, want: "owner", asks: 1},
		"the environment":       {env: elsewhere.Secret(), need: keys.Right{What: keys.Renew}, want: "ci"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			id, err := keys.FindIdentity(keys.FindOptions{
				Getenv:   func(string) string { return tc.env },
				StateDir: dir, Fleet: fleet, Need: tc.need, Passphrase: saying(words, &asked),
			})
			if err != nil {
				t.Fatal(err)
			}
			if id.Name != tc.want || asked != tc.asks || id.CA != owner.Identity().CA || id.Owner != owner.Identity().Owner {
				t.Errorf("it is %v, asked for the passphrase %d times", id, asked)
			}
		})
	}
	refused := func(fleet, env, what string) {
		t.Helper()
		_, err := keys.FindIdentity(keys.FindOptions{
			Getenv: func(string) string { return env }, StateDir: dir, Fleet: fleet, Need: keys.Right{What: keys.Operate},
			Passphrase: func() (string, error) { return "", errors.New("nobody is there to ask") },
		})
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v, want %q", err, what)
		}
	}
	refused("other", elsewhere.Secret(), "is of the fleet test, not of other")
	refused(fleet, "penny-key-1.x", "not a whole PENNY_KEY")
	refused("../test", "", "not a name for a fleet")
	refused(fleet, "", "nobody is there to ask")
	state, _, err := keys.FindFleet(dir, fleet)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(state.KeyFile); err != nil {
		t.Fatal(err)
	}
	refused(fleet, "", "no key on this machine may do this")
	writeFile(t, state.Dir+"/members/box.key", []byte(deployer.Secret()))
	refused(fleet, "", "is not the key of this member")
}
