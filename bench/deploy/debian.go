//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// tools are the programs that must be there, and the Debian package that has each.
func tools() [][2]string {
	return [][2]string{
		{"rsync", "rsync"}, {"sshd", "openssh-server"}, {"ssh", "openssh-client"}, {"ssh-keygen", "openssh-client"}, {"xargs", "findutils"}, {"unshare", "util-linux"},
	}
}

// missingPackages names the Debian packages of everything that is not there.
func missingPackages() []string {
	var missing []string
	for _, t := range tools() {
		if _, err := findProgram(t[0]); err != nil && !slices.Contains(missing, t[1]) {
			missing = append(missing, t[1])
		}
	}
	return missing
}

// findProgram also looks where Debian keeps servers, which is not in every user's PATH. An sshd has to be started by its
// whole path anyway.
func findProgram(name string) (string, error) {
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
