package keys_test

import (
	"bytes"
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/keys"
)

const backupWords = "seven wheels on a gravel road"

// backedUp is a state directory with a fleet, and a backup of it.
func backedUp(t *testing.T) (state string, backup []byte) {
	t.Helper()
	state = t.TempDir()
	if _, err := keys.InitFleet(keys.InitOptions{StateDir: state, Fleet: "wheels", Now: time.Now, Random: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	owner, err := keys.OpenFleet(state, "wheels", nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	id, err := owner.AddMember("home", []keys.Right{{What: keys.Renew}}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := id.Keep(state); err != nil {
		t.Fatal(err)
	}
	dir := keys.FleetDir(state, "wheels")
	if err := os.MkdirAll(filepath.Join(dir, "cache"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"pops.json": `{"pops":[]}`, "cache/holder": "abc", "control.lock": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	info, err := keys.Backup(&out, keys.BackupOptions{StateDir: state, Fleet: "wheels", Passphrase: backupWords, Work: 4, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if info.Fleet != "wheels" || !info.Owner || info.Files != 7 {
		t.Errorf("it says %+v", info)
	}
	return state, out.Bytes()
}

// backedFiles are the files below a directory.
func backedFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(name)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAFleetComesBackFromItsBackup(t *testing.T) {
	state, backup := backedUp(t)
	for _, secret := range []string{"PRIVATE KEY", "penny-key-1", "wheels", "owner.key"} {
		if bytes.Contains(backup, []byte(secret)) {
			t.Errorf("%q can be read in it", secret)
		}
	}
	restored := filepath.Join(t.TempDir(), "new", "state")
	info, err := keys.Restore(bytes.NewReader(backup), restored, backupWords)
	if err != nil {
		t.Fatal(err)
	}
	want := backedFiles(t, keys.FleetDir(state, "wheels"))
	for _, left := range []string{"cache/holder", "control.lock", "roster.lock", "ca/ca.lock"} {
		delete(want, left)
	}
	got := backedFiles(t, keys.FleetDir(restored, "wheels"))
	if diff := cmp.Diff(want, got); diff != "" || info.Files != len(got) {
		t.Errorf("%d files: %s", info.Files, diff)
	}
	if entries, err := os.ReadDir(filepath.Join(restored, "fleets")); err != nil || len(entries) != 1 {
		t.Errorf("it leaves %v, %v", entries, err)
	}
	owner, err := keys.OpenFleet(restored, "wheels", nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.AddMember("new", []keys.Right{{What: keys.Deploy}}, rand.Reader); err != nil {
		t.Error(err)
	}
	if _, err := keys.FindAuthority(restored, "wheels", time.Now); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeRestoredWritesNothing(t *testing.T) {
	state, backup := backedUp(t)
	flipped := func(at int) []byte {
		b := bytes.Clone(backup)
		b[at] ^= 1
		return b
	}
	tests := map[string]struct {
		data  []byte
		words string
		want  string
	}{
		"another passphrase":     {backup, "eight wheels on a gravel road", "the passphrase of this backup is another"},
		"no passphrase":          {backup, "", "the passphrase of this backup is another"},
		"a bit of its end":       {flipped(len(backup) - 1), backupWords, "no whole backup"},
		"a bit of its middle":    {flipped(len(backup) / 2), backupWords, "no whole backup"},
		"a bit of its beginning": {flipped(3), backupWords, "no whole backup"},
		"another file":           {[]byte("hello"), backupWords, "no whole backup"},
		"nothing":                {nil, backupWords, "no whole backup"},
	}
	for _, cut := range []int{1, 2, 10} {
		tests["cut into "+strings.Repeat("I", cut)] = struct {
			data  []byte
			words string
			want  string
		}{backup[:len(backup)-len(backup)/(cut+1)], backupWords, "no whole backup"}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := keys.Restore(bytes.NewReader(test.data), dir, test.words)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("it leaves %v, %v", entries, err)
			}
		})
	}
	before := backedFiles(t, state)
	if _, err := keys.Restore(bytes.NewReader(backup), state, backupWords); err == nil || !strings.Contains(err.Error(), "is here already") {
		t.Errorf("over a fleet: %v", err)
	}
	if diff := cmp.Diff(before, backedFiles(t, state)); diff != "" {
		t.Error(diff)
	}
}

func TestABackupNeedsAFleetAndAPassphrase(t *testing.T) {
	state, _ := backedUp(t)
	for name, o := range map[string]keys.BackupOptions{
		"bytes":   {StateDir: state, Fleet: "wheels", Passphrase: "short"},
		"no keys": {StateDir: t.TempDir(), Fleet: "wheels", Passphrase: backupWords},
	} {
		o.Now = time.Now
		var out bytes.Buffer
		if _, err := keys.Backup(&out, o); err == nil || !strings.Contains(err.Error(), name) || out.Len() > 0 {
			t.Errorf("%v, want %q, and %d bytes", err, name, out.Len())
		}
	}
}
