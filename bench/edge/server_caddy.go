//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func caddyProgram() program {
	return program{
		name: "caddy", debian: "caddy", serves: "file_server precompressed, .gz and .br made beforehand",
		version: func(ctx context.Context, binary string) (string, error) {
			line, err := firstLine(ctx, binary, "version")
			return "caddy " + line, err
		},
		configure: func(p place) (invocation, error) {
			file := filepath.Join(p.dir, "Caddyfile")
			if err := os.WriteFile(file, []byte(caddyConfig(p)), 0o644); err != nil {
				return invocation{}, err
			}
			return invocation{args: []string{"run", "--config", file, "--adapter", "caddyfile"}, ifOrphaned: syscall.SIGKILL}, nil
		},
	}
}

func caddyConfig(p place) string {
	var headers strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&headers, "    %s %q\n", f.name, f.value)
	}
	site, tls := "http://", ""
	if p.mode.tls() {
		site, tls = "https://", fmt.Sprintf("  tls %s %s {\n    protocols tls1.3\n  }\n", p.cert.certFile, p.cert.keyFile)
	}
	return `{
  admin off
  auto_https off
  log {
    level ERROR
  }
  servers {
    protocols h1 h2
    timeouts {
      idle 1h
    }
  }
}
` + fmt.Sprintf("%s:%d {\n  bind 127.0.0.1\n", site, p.port) + tls + `  root * ` + p.rootGzip + `
  header {
    -Server
` + headers.String() + `  }
  file_server {
    precompressed br gzip
  }
}
`
}
