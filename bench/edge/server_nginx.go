//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func nginxProgram() program {
	return program{
		name: "nginx", debian: "nginx", serves: "gzip_static and brotli_static, .gz and .br made beforehand",
		version: func(ctx context.Context, binary string) (string, error) {
			line, err := firstLine(ctx, binary, "-v")
			return strings.TrimPrefix(line, "nginx version: "), err
		},
		configure: func(p place) (invocation, error) {
			file := filepath.Join(p.dir, "nginx.conf")
			if err := os.WriteFile(file, []byte(nginxConfig(p)), 0o644); err != nil {
				return invocation{}, err
			}
			// SIGTERM, because a worker outlives a master that is killed.
			return invocation{args: []string{"-p", p.dir, "-c", file, "-e", "stderr"}, ifOrphaned: syscall.SIGTERM}, nil
		},
	}
}

// nginxBrotli is Debian's module for .br files made beforehand.
const nginxBrotli = "/usr/lib/nginx/modules/ngx_http_brotli_static_module.so"

func nginxConfig(p place) string {
	var types, headers strings.Builder
	for _, t := range mediaTypes {
		fmt.Fprintf(&types, "    %q %s;\n", t.value, t.extension)
	}
	for _, f := range fields {
		fmt.Fprintf(&headers, "  add_header %s %q;\n", f.name, f.value)
	}
	user, listen := "", fmt.Sprintf("listen %s backlog=4096;", p.listen())
	if p.privilege {
		user = "user nobody nogroup;\n"
	}
	if p.mode.tls() {
		listen = fmt.Sprintf(`listen %s ssl http2 backlog=4096;
    ssl_certificate %s;
    ssl_certificate_key %s;`, p.listen(), p.cert.certFile, p.cert.keyFile)
	}
	files, log := strconv.Itoa(2*usualMost), "  access_log off;\n"
	if p.most > 0 {
		files = strconv.Itoa(p.room()) // a limit beyond the system's would be refused
	}
	if p.mode.logged() {
		log = fmt.Sprintf("  split_clients \"$connection $connection_requests\" $drawn {\n    %d%% 1;\n    * 0;\n  }\n"+
			"  access_log access.log combined buffer=64k flush=1s if=$drawn;\n", 100/logOneIn)
	}
	return user + "load_module " + nginxBrotli + `;
daemon off;
worker_processes 1;
worker_rlimit_nofile ` + files + `;
pcre_jit on;
pid nginx.pid;
error_log stderr error;
events {
  use epoll;
  worker_connections ` + strconv.Itoa(p.room()) + `;
  multi_accept on;
}
http {
` + log + `  server_tokens off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  output_buffers 2 128k;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  reset_timedout_connection on;
  open_file_cache max=20000 inactive=1h;
  open_file_cache_valid 1h;
  open_file_cache_min_uses 1;
  open_file_cache_errors on;
  gzip_static on;
  brotli_static on;
  gzip_vary on;
  http2_max_concurrent_streams 256;
  ssl_protocols TLSv1.3;
  ssl_session_cache shared:tls:4m;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  default_type application/octet-stream;
  types {
` + types.String() + "  }\n" + headers.String() + `  server {
    ` + listen + `
    root ` + p.rootGzip + `;
    index index.html;
  }
}
`
}
