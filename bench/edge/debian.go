//go:build linux

package main

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

// tool is a program that must be there, and the Debian package that has it.
type tool struct{ program, debian string }

// missingPackages names the Debian packages of everything that is not there.
func missingPackages(tools []tool, manual string) []string {
	var missing []string
	for _, t := range tools {
		if _, err := findProgram(t.program); err != nil && !slices.Contains(missing, t.debian) {
			missing = append(missing, t.debian)
		}
	}
	if _, err := os.Stat(manual); err != nil && manual == defaultManual {
		missing = append(missing, "postgresql-doc-15")
	}
	return missing
}

// findProgram also looks where Debian keeps servers, which is not in every user's PATH.
func findProgram(name string) (string, error) {
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

// ensurePackages says what to install, or installs it when asked to.
func ensurePackages(ctx context.Context, missing []string, install bool, out io.Writer) error {
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
