//go:build linux

package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ours is the server that the others are measured against, with the engine that -engine names.
const (
	ours      = "penny"
	oursPlain = "penny-plain" // the same binary with the engine on net/http, never a peer
)

// isPeer says that a server is one that ours is compared with.
func isPeer(name string) bool { return !isOurs(name) && name != theFloor }

func isOurs(name string) bool { return name == ours || name == oursPlain }

// pennyProgram is ours; engine "" is the one of -engine.
func pennyProgram(name, engine string) program {
	return program{
		name: name, serves: "gzip of its own; /page for /page.html", cleanURLs: true,
		version: func(_ context.Context, binary string) (string, error) {
			info, err := buildinfo.ReadFile(binary)
			if err != nil {
				return "", err
			}
			revision := info.Main.Version
			for _, s := range info.Settings {
				switch {
				case s.Key == "vcs.revision":
					revision = s.Value[:min(12, len(s.Value))]
				case s.Key == "vcs.modified" && s.Value == "true":
					revision += ", modified,"
				}
			}
			return fmt.Sprintf("penny %s %s", revision, info.GoVersion), nil
		},
		configure: func(p place) (invocation, error) {
			args := []string{"serve", p.root, "--listen", p.listen(), "--json", "--quiet", "--engine", cmp.Or(engine, p.engine)}
			if p.mode.logged() {
				args = append(args, "--access-log", filepath.Join(p.dir, "access.log"), logSampleFlag, strconv.Itoa(logOneIn))
			}
			if p.mode.tls() {
				args = append(args, "--cert", p.cert.certFile, "--key", p.cert.keyFile)
			}
			env := []string{"PENNY_STATE=" + filepath.Join(p.dir, "state")}
			return invocation{args: args, env: env, ifOrphaned: syscall.SIGKILL, saysReady: true}, nil
		},
	}
}

// logSampleFlag makes penny's access log hold one request in so many. Older binaries do not have it.
const logSampleFlag = "--access-log-sample"

// pennySamples says whether a binary can write a sampled access log.
func pennySamples(ctx context.Context, binary string) (bool, error) {
	out, err := exec.CommandContext(ctx, binary, "serve", "--help").Output()
	if err != nil {
		return false, fmt.Errorf("%s serve --help: %w", binary, err)
	}
	return strings.Contains(string(out), logSampleFlag), nil
}

// buildPenny builds the command of this module into dir.
func buildPenny(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, ours)
	out, err := goBuild(ctx, binary, "-buildvcs=true") // so that figures name the revision
	if err != nil {
		out, err = goBuild(ctx, binary, "-buildvcs=false") // no repository, or somebody else's
	}
	if err != nil {
		return "", fmt.Errorf("build ./cmd/penny: %w\n%s\nhint: run this inside the module, or give a binary with -penny, or leave it out with -servers nginx,h2o,caddy", err, out)
	}
	return binary, nil
}

func goBuild(ctx context.Context, binary, revision string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", revision, "-o", binary, "pennyfarthing/cmd/penny")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return cmd.CombinedOutput()
}
