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

func h2oProgram() program {
	return program{
		name: "h2o", debian: "h2o", serves: "file.send-compressed, .gz and .br made beforehand",
		version: func(ctx context.Context, binary string) (string, error) { return firstLine(ctx, binary, "-v") },
		configure: func(p place) (invocation, error) {
			file := filepath.Join(p.dir, "h2o.conf")
			if err := os.WriteFile(file, []byte(h2oConfig(p)), 0o644); err != nil {
				return invocation{}, err
			}
			return invocation{args: []string{"-m", "worker", "-c", file}, ifOrphaned: syscall.SIGKILL}, nil
		},
	}
}

func h2oConfig(p place) string {
	var b strings.Builder
	if p.privilege {
		// Not nobody: with a change of user the kernel forgets Pdeathsig, and h2o would outlive a killed run.
		b.WriteString("user: root\n")
	}
	fmt.Fprintf(&b, `num-threads: 1
num-name-resolution-threads: 1
max-connections: %d
http1-request-timeout: 3600
http2-idle-timeout: 3600
send-server-name: OFF
file.etag: ON
file.send-compressed: ON
file.index: ["index.html"]
file.mime.settypes:
`, p.room())
	for _, t := range mediaTypes {
		fmt.Fprintf(&b, "  %q: [\".%s\"]\n", t.value, t.extension)
	}
	for _, f := range fields {
		fmt.Fprintf(&b, "header.set: %q\n", f.name+": "+f.value)
	}
	fmt.Fprintf(&b, "listen:\n  host: 127.0.0.1\n  port: %d\n", p.port)
	if p.mode.tls() {
		// neverbleed would keep the key in a second process and pay a round trip to it in every handshake.
		fmt.Fprintf(&b, `  ssl:
    certificate-file: %s
    key-file: %s
    neverbleed: OFF
    ocsp-update-interval: 0
`, p.cert.certFile, p.cert.keyFile)
	}
	fmt.Fprintf(&b, "hosts:\n  default:\n    paths:\n      \"/\":\n        file.dir: %s\n", p.rootGzip)
	return b.String()
}
