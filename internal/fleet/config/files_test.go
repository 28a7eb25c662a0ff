package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/config"
)

func TestCheckFilesPointsAtDirectoriesThatAreNotThere(t *testing.T) {
	dir := t.TempDir()
	src := `fleet = "a"
[sites."there.example.org"]
files = "there"
[sites."missing.example.org"]
files = "missing"
[sites."file.example.org"]
files = "penny.toml"
[sites."app.example.org"]
app = { run = "./app", files = "missing" }
[sites."below.example.org"]
files = "penny.toml/below"
[sites."origin.example.org"]
origin = "https://example.net"
`
	path := filepath.Join(dir, config.FileName)
	if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "there"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(string(show(config.CheckFiles(f).Err())), dir+"/", "")
	want := "penny.toml:5:9: `files`: there is no directory missing\n" +
		"\thint: create it, or build the site first\n" +
		"penny.toml:7:9: `files`: penny.toml is not a directory\n" +
		"\thint: name the directory that holds the files\n" +
		"penny.toml:9:32: `files`: there is no directory missing\n" +
		"\thint: create it, or build the site first\n" +
		"penny.toml:11:9: `files`: the directory penny.toml/below cannot be read: not a directory\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the mistakes differ (-want +got):\n%s", diff)
	}
}
