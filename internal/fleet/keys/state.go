package keys

import (
	"path/filepath"

	"pennyfarthing/internal/mistake"
)

// StateDir returns the directory of a user's state, keys first of all, on a kind
// of system (a value of runtime.GOOS). It makes nothing. It is the first of these
// for which the environment is set:
//
//   - $PENNY_STATE
//   - $XDG_STATE_HOME/penny, if that is absolute, as its specification demands
//   - ~/Library/Application Support/penny on macOS
//   - %LocalAppData%\penny on Windows
//   - ~/.local/state/penny elsewhere
//
// This is state and not configuration: it belongs to one machine, is not edited,
// and must not go into a repository of dot files.
func StateDir(getenv func(string) string, goos string) (string, error) {
	if dir := getenv("PENNY_STATE"); dir != "" {
		return dir, nil
	}
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "penny"), nil
	}
	variable, below := "HOME", filepath.Join(".local", "state", "penny")
	switch goos {
	case "darwin":
		below = filepath.Join("Library", "Application Support", "penny")
	case "windows":
		variable, below = "LocalAppData", "penny"
	}
	base := getenv(variable)
	if base == "" {
		return "", &mistake.Error{
			What: "there is no place for keys: " + variable + " is not set",
			Hint: "set PENNY_STATE to a directory that only you can read",
		}
	}
	return filepath.Join(base, below), nil
}
