package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// ServeAdmin serves metrics at /metrics, profiles at /debug/pprof/ and the servers'
// engine at /engine on ln until ctx ends. It is for the machine's owner: ln should be on loopback. Browsers
// are kept out: a page elsewhere cannot reach it under a name of its own (DNS
// rebinding), because the Host must be an address or localhost, nor change
// anything, because that takes PUT.
func ServeAdmin(ctx context.Context, ln net.Listener, m *Metrics, servers []*Server) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /engine", engineHandler(servers))
	mux.HandleFunc("PUT /engine", engineHandler(servers))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "/metrics\n/debug/pprof/\n/engine") // nobody to tell
	})
	server := &http.Server{Handler: addressOnly(http.NewCrossOriginProtection().Handler(mux)), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin on %s: %w", ln.Addr(), err)
	}
	return nil
}

// addressOnly refuses requests under a host name other than localhost.
func addressOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := normalHost(r.Host); host != "localhost" && net.ParseIP(host) == nil {
			http.Error(w, "ask for it by address", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
