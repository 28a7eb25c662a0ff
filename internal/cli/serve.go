package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/edge"
	"pennyfarthing/internal/up"
)

// runFlags are the flags of commands that serve.
type runFlags struct {
	admin        string
	accessLog    string
	logSample    int
	memory       size
	serverTiming bool
	engine       engineFlag
}

func (f *runFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.admin, "admin", "127.0.0.1:0", "`address` for metrics and profiles; \"\" for none")
	flags.StringVar(&f.accessLog, "access-log", "", "`file` for the access log, JSON lines, rotated")
	flags.IntVar(&f.logSample, "access-log-sample", 1, "log one request in `N`, chosen at random; refusals are all logged")
	flags.Var(&f.memory, "memory", "memory budget (default half of the machine's or its cgroup's)")
	f.engine = engineFlag(edge.Fast)
	flags.Var(&f.engine, "engine", "what serves HTTP/1.1 and 2: plain (net/http) or fast (loops of our own)")
	flags.BoolVar(&f.serverTiming, "server-timing", false, "tell clients how long an answer took to make")
}

// common returns the options of everything that serves. Where there is no state
// directory State is empty, and the error says why.
func (f *runFlags) common(g *globals, env Env) (up.Common, error) {
	state, err := g.stateDir(env)
	return up.Common{
		State: state, Memory: int64(f.memory), Admin: f.admin, AccessLog: f.accessLog, LogSample: f.logSample,
		Engine: edge.Engine(f.engine), ServerTiming: f.serverTiming, Log: g.log(env),
	}, err
}

func (f *runFlags) validate() error {
	if f.admin != "" && !hasPort(f.admin) {
		return &usageError{what: fmt.Sprintf("--admin %s is not an address with a port", f.admin), hint: "write --admin 127.0.0.1:9090"}
	}
	if f.logSample < 1 {
		return &usageError{what: fmt.Sprintf("--access-log-sample %d is less than 1", f.logSample), hint: "write --access-log-sample 100 for one request in a hundred"}
	}
	return nil
}

// hasPort reports whether an address ends with a port.
func hasPort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

type serveOptions struct {
	*globals
	runFlags
	dir           string
	listen        string
	tls           bool
	cert, key     string
	hosts         []string
	dialect       string
	hsts          age
	proxies       prefixes
	proxyProtocol bool
}

func newServe(g *globals, env Env) *cobra.Command {
	o := serveOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "serve DIR",
		Short: "Serve a directory, now, from memory",
		Long: `Serves the files of a directory from memory over HTTP/1.1, 2 and, with TLS, 3.

No configuration: index.html, clean URLs, 404.html, compression, validators,
ranges and caching work by themselves; _redirects and _headers files in the
directory are obeyed. The directory is watched, and a change is live at once.`,
		Example: "  penny serve ./public\n  penny serve ./public --tls --listen localhost:8443\n  penny serve ./public --listen :443 --cert site.pem --key site.key --host example.org",
		Args:    oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.dir = args[0]
			return runServe(cmd.Context(), o, env)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8080", "`address` to serve on")
	flags.BoolVar(&o.tls, "tls", false, "serve HTTPS with a certificate of a private CA")
	flags.StringVar(&o.cert, "cert", "", "certificate `file` (PEM, chain included) instead of the private CA's")
	flags.StringVar(&o.key, "key", "", "key `file` (PEM) of --cert")
	flags.StringArrayVar(&o.hosts, "host", nil, "answer for this `host` only; may be given several times (default any)")
	flags.StringVar(&o.dialect, "dialect", rules.Netlify.String(), "`dialect` of _redirects and _headers: netlify or cloudflare")
	flags.Var(&o.hsts, "hsts", "send Strict-Transport-Security for this long, such as 180d")
	flags.Var(&o.proxies, "trusted-proxies", "networks of proxies whose X-Forwarded-For is believed")
	flags.BoolVar(&o.proxyProtocol, "proxy-protocol", false, "expect a PROXY header from the trusted proxies")
	o.add(flags)
	return cmd
}

// oneDirectory checks the arguments of serve.
func oneDirectory(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return &usageError{what: "which directory is to be served?", hint: "penny serve ./public"}
	case 1:
		return nil
	}
	return &usageError{what: fmt.Sprintf("one directory can be served at a time, not %d", len(args)), hint: "penny serve " + args[0]}
}

func (o *serveOptions) validate() error {
	switch {
	case (o.cert == "") != (o.key == ""):
		return &usageError{what: "--cert and --key go together", hint: "penny serve " + o.dir + " --cert site.pem --key site.key"}
	case o.proxyProtocol && len(o.proxies) == 0:
		return &usageError{what: "--proxy-protocol needs --trusted-proxies", hint: "name the proxies that send the header: --trusted-proxies 10.0.0.0/8"}
	}
	if !hasPort(o.listen) {
		return &usageError{what: fmt.Sprintf("--listen %s is not an address with a port", o.listen), hint: "write --listen 127.0.0.1:8080, or :8080 for all addresses"}
	}
	for _, h := range o.hosts {
		if !isHost(h) {
			return &usageError{what: fmt.Sprintf("--host %q is not a host name", h), hint: "write it without scheme, port and path: --host example.org"}
		}
	}
	return o.runFlags.validate()
}

// isHost reports whether a request can be for h: a name or an address.
func isHost(h string) bool {
	other := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}
	return h != "" && !strings.ContainsFunc(h, other) || net.ParseIP(h) != nil
}

func runServe(ctx context.Context, o serveOptions, env Env) error {
	if err := o.validate(); err != nil {
		return err
	}
	dialect, err := rules.ParseDialect(o.dialect)
	if err != nil {
		return &usageError{what: err.Error(), hint: "write --dialect netlify or --dialect cloudflare"}
	}
	common, err := o.common(o.globals, env)
	if err != nil && o.tls && o.cert == "" {
		return err // there is no place for the CA
	}
	if err != nil {
		common.Log.LogAttrs(ctx, slog.LevelWarn, "state directory not used", slog.Any("err", err))
	}
	return up.Serve(ctx, up.ServeOptions{
		Common: common, Dir: o.dir, Listen: o.listen, TLS: o.tls, Cert: o.cert, Key: o.key, Hosts: o.hosts,
		Dialect: dialect, HSTS: time.Duration(o.hsts), TrustedProxies: o.proxies, ProxyProtocol: o.proxyProtocol,
	}, func(s up.Serving) {
		if o.json { // where the text has notes
			logSkipped(ctx, common.Log, s.Skipped)
		}
		o.print(env.Stdout, s)
	})
}

// logSkipped tells which files are not served.
func logSkipped(ctx context.Context, log *slog.Logger, reasons []string) {
	for _, reason := range reasons {
		log.LogAttrs(ctx, slog.LevelWarn, "file not served", slog.String("why", reason))
	}
}

// print tells that the directory is served. Standard output may be closed; there
// is nobody to tell then.
func (o *serveOptions) print(w io.Writer, s up.Serving) {
	if o.json {
		_ = json.NewEncoder(w).Encode(s)
		return
	}
	_, _ = fmt.Fprintf(w, "serving %s at %s\n", o.dir, s.URL)
	_, _ = fmt.Fprintf(w, "%s, %s, %s in memory", count(s.Files, "file"), bytes(s.Bytes), bytes(s.Memory))
	if s.OnDisk > 0 {
		_, _ = fmt.Fprintf(w, ", %d of the files from disk", s.OnDisk)
	}
	_, _ = fmt.Fprintln(w)
	if o.quiet {
		return
	}
	for _, reason := range s.Skipped {
		_, _ = fmt.Fprintf(w, "note: %s\n", reason)
	}
	if s.Admin != "" {
		_, _ = fmt.Fprintf(w, "metrics at %s/metrics\n", s.Admin)
	}
	printTrust(w, s.CA, s.NewCA)
}

// printTrust says how to trust a private CA.
func printTrust(w io.Writer, ca string, fresh bool) {
	if ca == "" {
		return
	}
	if fresh {
		_, _ = fmt.Fprintln(w, "a private CA was made; it can vouch for what is served here and for nothing else")
	}
	_, _ = fmt.Fprintln(w, "certificates are the private CA's. To trust it:")
	for _, line := range keys.TrustHint(runtime.GOOS, ca) {
		_, _ = fmt.Fprintf(w, "  %s\n", line)
	}
}
