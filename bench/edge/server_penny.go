//go:build linux

package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// ours is the server that the others are measured against.
const ours = "penny"

func pennyProgram() program {
	return program{
		name: ours, serves: "gzip of its own; /page for /page.html", cleanURLs: true,
		version: func(_ context.Context, binary string) (string, error) {
			info, err := buildinfo.ReadFile(binary)
			if err != nil {
				return "", err
			}
			revision := info.Main.Version
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					revision = s.Value[:min(12, len(s.Value))]
				}
			}
			return fmt.Sprintf("penny %s %s", revision, info.GoVersion), nil
		},
		configure: func(p place) (invocation, error) {
			args := []string{"serve", p.root, "--listen", p.listen(), "--json", "--quiet", "--engine", p.engine}
			if p.mode == overTLS {
				args = append(args, "--cert", p.cert.certFile, "--key", p.cert.keyFile)
			}
			env := []string{"PENNY_STATE=" + filepath.Join(p.dir, "state")}
			return invocation{args: args, env: env, ifOrphaned: syscall.SIGKILL, saysReady: true}, nil
		},
	}
}

// buildPenny builds the command of this module into dir.
func buildPenny(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, ours)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "pennyfarthing/cmd/penny")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ./cmd/penny: %w\n%s\nhint: run this inside the module, or give a binary with -penny, or leave it out with -servers nginx,h2o,caddy", err, out)
	}
	return binary, nil
}
