package control_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pennyfarthing/internal/fleet/control"
	"pennyfarthing/internal/fleet/keys"
)

// What the machine has that brings a POP up is not fetched from another POP; what it has
// and is damaged is.
func TestAPOPCatchesUpFromWhatThisMachineHasKept(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 300_000)
	chacha := rand.NewChaCha8([32]byte{1})
	_, _ = chacha.Read(noise) // never fails
	for name, test := range map[string]struct{ damaged, fetched bool }{"as it was kept": {false, false}, "damaged": {true, true}} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, "au", "ny")
			c := f.open()
			ny := f.pops[1]
			ny.proxy.refuse.Store(true)
			tr := pages("one")
			tr["noise.bin"] = string(noise)
			f.deploy(c, tr)
			if test.damaged {
				sum := sha256.Sum256(noise)
				object := hex.EncodeToString(sum[:])
				file := filepath.Join(keys.FleetDir(f.state, fleetName), "cache", "releases", "objects", object[:2], object)
				kept, err := os.ReadFile(file)
				if err != nil || !bytes.Equal(kept, noise) {
					t.Fatalf("it has kept %d bytes, %v", len(kept), err)
				}
				kept[1000] ^= 1
				if err := os.WriteFile(file, kept, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ny.proxy.refuse.Store(false)
			r, err := c.CatchUp(t.Context(), control.RollbackOptions{Site: site})
			if err != nil || r.Live() != 2 {
				t.Fatalf("%+v, %v", r, err)
			}
			f.shows("one", ny)
			if status, got := ny.get("/noise.bin"); status != 200 || got != string(noise) {
				t.Errorf("it answers %d with %d bytes", status, len(got))
			}
			if fetched := r.POPs[0].Wire > int64(len(noise)); fetched != test.fetched || r.POPs[1].Wire < int64(len(noise)) {
				t.Errorf("%d bytes went over the wire of au, and %d over ny's; want that it is fetched: %v", r.POPs[0].Wire, r.POPs[1].Wire, test.fetched)
			}
		})
	}
}
