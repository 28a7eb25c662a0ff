package keys_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

func TestAPublicKeyHasOneSpelling(t *testing.T) {
	key := actor(t).Public()
	text := key.String()
	if parsed, err := keys.ParsePublicKey(text); err != nil || parsed != key {
		t.Fatalf("%s is read as %v, %v", text, parsed, err)
	}
	for name, s := range map[string]string{
		"nothing": "", "no prefix": text[3:], "another prefix": "PK1" + text[3:], "cut off": text[:len(text)-1], "too long": text + "A",
		"padding": text + "=", "a blank": text[:20] + " " + text[21:], "a line feed": text[:20] + "\n" + text[21:],
		"the other alphabet": "pk1" + strings.Repeat("+", 43), "bits that are left over": "pk1" + strings.Repeat("_", 43),
		"nobody's": keys.PublicKey{}.String(), "the neutral element": keys.PublicKey{0: 1}.String(),
		"a long text": strings.Repeat("x", 1<<20),
	} {
		if parsed, err := keys.ParsePublicKey(s); err == nil {
			t.Errorf("%s: %q is read as %v", name, s, parsed)
		} else if len(err.Error()) > 300 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
}

// TestNobodyCanSignForAWeakKey finds, for every key that is refused, a statement
// that package ed25519 takes without anybody having signed it.
func TestNobodyCanSignForAWeakKey(t *testing.T) {
	neutral := append([]byte{1}, make([]byte, 63)...) // R is the neutral element, S is 0
	weak := 0
	for _, sign := range []byte{0, 0x80} {
		for _, key := range keys.SmallOrder() {
			key[31] |= sign
			forged := keys.Statement{Kind: "head", Fleet: fleet, Key: key, Signature: neutral}
			for n := range 200 { // an order of 8 needs eight, on average
				forged.Payload = fmt.Appendf(nil, `{"generation":%d}`, n)
				if ed25519.Verify(key[:], append([]byte("penny statement v1\nhead\ntest\n"), forged.Payload...), neutral) {
					weak++
					if _, err := forged.Verify(fleet, "head"); !errors.Is(err, keys.ErrForged) {
						t.Errorf("%v: %v", key, err)
					}
					break
				}
			}
			if _, err := keys.ParsePublicKey(key.String()); err == nil {
				t.Errorf("%v is taken for somebody's", key)
			}
		}
	}
	if weak < 5 {
		t.Errorf("only %d of the keys can be forged for; is the list right?", weak)
	}
}

func TestAKeyNeverPrintsItsSecret(t *testing.T) {
	key := actor(t)
	id, err := keys.NewIdentity(fleet, "laptop", key, actor(t).Public(), keys.CAPin{})
	if err != nil {
		t.Fatal(err)
	}
	seed := seedOf(t, id)
	for name, v := range map[string]any{"the key": key, "a copy of it": *key, "the identity": id, "in a struct": struct{ K *keys.Key }{key}, "in a list": []any{*key, key}} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "k", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "k", v)
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
		for _, secret := range []string{
			fmt.Sprintf("%x", seed), fmt.Sprintf("%X", seed), strings.Trim(fmt.Sprint(seed), "[]"), string(seed),
			base64.StdEncoding.EncodeToString(seed)[:40], base64.RawURLEncoding.EncodeToString(seed)[:40],
			fmt.Sprintf("%#v", seed)[8:60],
		} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("%s prints its secret:\n%s", name, &out)
			}
		}
	}
	if got, want := fmt.Sprint(*key), "private key of "+key.Public().String(); got != want {
		t.Errorf("it prints %q, want %q", got, want)
	}
	if got := fmt.Sprint(keys.Key{}); got != "no key" {
		t.Errorf("the zero key prints %q", got)
	}
}

// seedOf digs the seed out of what a member is given.
func seedOf(t *testing.T, id *keys.Identity) []byte {
	t.Helper()
	_, text, _ := strings.Cut(id.Secret(), ".")
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ Seed string }
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	seed, err := base64.RawURLEncoding.DecodeString(f.Seed)
	if err != nil || len(seed) != ed25519.SeedSize {
		t.Fatalf("the seed has %d bytes: %v", len(seed), err)
	}
	return seed
}

func TestAKeyNeedsRandom(t *testing.T) {
	if key, err := keys.GenerateKey(io.LimitReader(rand.Reader, 31)); err == nil {
		t.Errorf("%v was made from too little", key)
	}
}

func TestAnAgentsKeyIsMadeOnceAndFoundAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent.key")
	var wg sync.WaitGroup
	var mu sync.Mutex
	found, made := map[keys.PublicKey]int{}, 0
	for range 8 {
		wg.Go(func() {
			key, fresh, err := keys.OpenKey(file, rand.Reader)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			found[key.Public()]++
			if fresh {
				made++
			}
		})
	}
	wg.Wait()
	if len(found) != 1 || made != 1 {
		t.Errorf("%d keys, %d of them made; want one, made once", len(found), made)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("its mode is %o", mode)
	}
}

func TestADamagedKeyIsReportedAndNotReplaced(t *testing.T) {
	_, ecdsaPEM := selfSigned(t, []string{"localhost"}, time.Now(), time.Hour)
	for name, tc := range map[string]struct {
		data []byte
		mode os.FileMode
		what string
	}{
		"empty":           {nil, 0o600, "is not PEM"},
		"another kind":    {ecdsaPEM, 0o600, "another kind than Ed25519"},
		"others can read": {nil, 0o644, "other users can use this key"},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && tc.mode != 0o600 {
				t.Skip("cannot run: modes of files say nothing on Windows")
			}
			file := filepath.Join(t.TempDir(), "agent.key")
			if err := os.WriteFile(file, tc.data, tc.mode); err != nil {
				t.Fatal(err)
			}
			_, made, err := keys.OpenKey(file, rand.Reader)
			if err == nil || made || !strings.Contains(err.Error(), tc.what) || len(mistake.Of(err)) != 1 {
				t.Errorf("made %v, error %v", made, err)
			}
			if !bytes.Equal(readFile(t, file), tc.data) {
				t.Error("the file was changed")
			}
		})
	}
}
