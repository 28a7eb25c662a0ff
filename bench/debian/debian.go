// Package debian finds what the benchmarks need on a machine, and says which of Debian's
// packages bring what is missing, or installs them when it is told to. It does nothing by
// itself, and knows nothing of what is measured.
package debian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A Tool is what must be there, and the package that has it: a program by its name, or
// anything else by its whole path.
type Tool struct{ Program, Package string }

// Missing names the packages of all tools that are not there, each once.
func Missing(tools []Tool) []string {
	var missing []string
	for _, t := range tools {
		if _, err := Find(t.Program); err != nil && !slices.Contains(missing, t.Package) {
			missing = append(missing, t.Package)
		}
	}
	return missing
}

// Find returns where a program is. It also looks where Debian keeps servers, which is not
// in every user's PATH.
func Find(name string) (string, error) {
	if filepath.IsAbs(name) { // no program, but a part of one
		_, err := os.Stat(name)
		return name, err
	}
	if found, err := exec.LookPath(name); err == nil {
		return found, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if found, err := exec.LookPath(dir + name); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("%s: not found", name)
}

// Ensure says which packages to install, or installs them when asked to, which needs root.
func Ensure(ctx context.Context, missing []string, install bool, out io.Writer) error {
	if len(missing) == 0 {
		return nil
	}
	command := "apt-get install --no-install-recommends " + strings.Join(missing, " ")
	switch {
	case !install:
		return fmt.Errorf("programs are missing; install Debian's packages first\nhint: %s\nhint: or add -install (as root)", command)
	case os.Geteuid() != 0:
		return errors.New("-install needs root\nhint: sudo " + command)
	}
	fmt.Fprintln(out, command)
	args := append([]string{"install", "-y", "--no-install-recommends"}, missing...)
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}
