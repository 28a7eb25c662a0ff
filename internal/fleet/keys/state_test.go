package keys_test

import (
	"path/filepath"
	"strings"
	"testing"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

func TestStateDir(t *testing.T) {
	home, err := filepath.Abs("home") // absolute in the way of the system that runs the test
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, goos, env string // env as "KEY=value KEY=value", where ~ is home
		want            string
	}{
		{"Linux", "linux", "HOME=~", "~/.local/state/penny"},
		{"FreeBSD", "freebsd", "HOME=~", "~/.local/state/penny"},
		{"macOS", "darwin", "HOME=~", "~/Library/Application Support/penny"},
		{"Windows", "windows", "LocalAppData=~ HOME=/elsewhere", "~/penny"},
		{"XDG", "linux", "HOME=~ XDG_STATE_HOME=~/xdg", "~/xdg/penny"},
		{"XDG on macOS", "darwin", "HOME=~ XDG_STATE_HOME=~/xdg", "~/xdg/penny"},
		{"a relative XDG directory is ignored", "linux", "HOME=~ XDG_STATE_HOME=xdg", "~/.local/state/penny"},
		{"our own variable is first", "linux", "HOME=~ XDG_STATE_HOME=~/xdg PENNY_STATE=~/here", "~/here"},
		{"our own variable is enough", "windows", "PENNY_STATE=~/here", "~/here"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			place := func(s string) string { return filepath.FromSlash(strings.ReplaceAll(s, "~", home)) }
			env := map[string]string{}
			for field := range strings.FieldsSeq(tc.env) {
				key, value, _ := strings.Cut(field, "=")
				env[key] = place(value)
			}
			got, err := keys.StateDir(func(key string) string { return env[key] }, tc.goos)
			if err != nil || got != place(tc.want) {
				t.Errorf("got %q, error %v, want %q", got, err, place(tc.want))
			}
		})
	}
}

func TestStateDirWithoutAHomeSaysWhatToSet(t *testing.T) {
	for goos, variable := range map[string]string{"linux": "HOME", "darwin": "HOME", "windows": "LocalAppData"} {
		_, err := keys.StateDir(func(string) string { return "" }, goos)
		found := mistake.Of(err)
		if len(found) != 1 || !strings.Contains(found[0].What, variable) || !strings.Contains(found[0].Hint, "PENNY_STATE") {
			t.Errorf("%s: got error %v", goos, err)
		}
	}
}
