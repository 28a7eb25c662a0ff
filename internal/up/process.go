package up

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/garbage"
	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/edge"
	"pennyfarthing/internal/serve/site"
)

// Common are the options that Serve and Fleet share.
type Common struct {
	State     string // the state directory, made if it is not there; "" keeps no state
	Memory    int64  // budget in bytes; 0 is half of what the machine has
	Admin     string // address for metrics and profiles; "" serves none
	AccessLog string // file; "" writes none
	LogSample int    // one request in so many is written; 0 is each
	// Engine serves HTTP/1.1 and 2.
	Engine edge.Engine
	// ServerTiming tells clients how long an answer took to make.
	ServerTiming bool
	Log          *slog.Logger
}

// cacheSize bounds the cache of codings on disk.
const cacheSize = 2 << 30

// A process holds what all sites and servers of a process share.
type process struct {
	Common
	budget  budget
	store   *body.Store
	codings *encode.Cache
	metrics *edge.Metrics
	access  *edge.AccessLog
	admin   net.Listener
	loops   *loop.Group // nil: this system has none
	lives   []*site.Live
	servers []*edge.Server
}

// newProcess prepares it. Where the state directory can't be used, sites are
// served all the same: only what it would keep is made again.
func newProcess(ctx context.Context, c Common) (*process, error) {
	p := &process{Common: c, budget: newBudget(c.Memory), metrics: edge.NewMetrics()}
	p.budget.apply()
	bodies := ""
	if p.State != "" {
		bodies = filepath.Join(p.State, "bodies")
		if err := usable(p.State); err != nil {
			c.Log.LogAttrs(ctx, slog.LevelWarn, "state directory not used", slog.Any("err", err))
			bodies, p.State = "", ""
		}
	}
	p.loops = newLoops(ctx, c.Log)
	p.store = body.NewStore(bodies)
	if p.State != "" {
		cache, err := encode.OpenCache(filepath.Join(c.State, "codings"), cacheSize)
		if err != nil {
			c.Log.LogAttrs(ctx, slog.LevelWarn, "codings not kept", slog.Any("err", err))
		}
		p.codings = cache
	}
	p.metrics.WatchSites("", func() []*site.Live { return p.lives })
	if err := p.openAdmin(ctx); err != nil {
		return nil, err
	}
	if err := p.openAccessLog(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// usable makes the directories of a state directory and tries whether files can
// be made there.
func usable(state string) error {
	for _, dir := range []string{"bodies", "history"} {
		if err := os.MkdirAll(filepath.Join(state, dir), 0o700); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(filepath.Join(state, "history"), "probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (p *process) openAdmin(ctx context.Context) error {
	if p.Admin == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(p.Admin)
	if err != nil {
		return &mistake.Error{What: "--admin " + p.Admin + " is not an address with a port", Hint: "write --admin 127.0.0.1:9090"}
	}
	if host == "" {
		host = "127.0.0.1" // profiles are for the owner
	}
	var config net.ListenConfig
	p.admin, err = config.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	return inUse(err, "--admin")
}

func (p *process) openAccessLog() error {
	if p.AccessLog == "" {
		return nil
	}
	log, err := edge.OpenAccessLog(edge.AccessLogOptions{File: p.AccessLog, Sample: p.LogSample, Log: p.Log})
	if errors.Is(err, fs.ErrNotExist) {
		return &mistake.Error{File: p.AccessLog, What: "the access log's directory is not there", Hint: "mkdir -p " + filepath.Dir(p.AccessLog)}
	}
	if err != nil {
		return err
	}
	p.access = log
	p.metrics.WatchAccessLog(log)
	return nil
}

// close gives back what newProcess took, when nothing was run.
func (p *process) close() error {
	if p.admin == nil {
		return nil
	}
	return p.admin.Close()
}

// live compiles a directory and keeps it live while the process runs.
func (p *process) live(ctx context.Context, name string, o site.Options, sites int) (*site.Live, error) {
	o.Store, o.Budget = p.store, p.budget.site(sites)
	live, err := site.NewLive(ctx, o, site.LiveOptions{Name: name, History: p.history(o.Dir), Codings: p.codings, Log: p.Log})
	if err != nil {
		return nil, err
	}
	p.lives = append(p.lives, live)
	return live, nil
}

// history names the file that remembers a directory's fingerprinted names.
func (p *process) history(dir string) string {
	abs, err := filepath.Abs(dir)
	if p.State == "" || err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(p.State, "history", hex.EncodeToString(sum[:8])+".json")
}

// serve adds a server.
func (p *process) serve(o edge.Options, l edge.Listeners) error {
	o.Metrics, o.AccessLog, o.Log, o.ServerTiming, o.Engine = p.metrics, p.access, p.Log, p.ServerTiming, p.Engine
	o.Loops = p.loops
	server, err := edge.New(o, l)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	p.servers = append(p.servers, server)
	return nil
}

// run runs everything until ctx ends or a server fails, and stops it in order.
func (p *process) run(ctx context.Context) error {
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	behind, stopBehind := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBehind()
	var servers, sites, logs errorGroup
	for _, s := range p.servers {
		servers.run(serving, stopServing, s.Run)
	}
	for _, l := range p.lives {
		sites.run(behind, stopServing, l.Run)
	}
	logging, stopLogging := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLogging()
	p.runBehind(logging, stopServing, &logs)
	p.runAdmin(logging, stopServing, &logs)
	err := p.waitFor(serving, &servers)
	stopBehind()
	err = errors.Join(err, sites.wait())
	stopLogging()
	return errors.Join(err, logs.wait())
}

// garbagePace is for thousands of idle connections, which are mostly heap: what their
// handshakes leave behind would stay as long as they do. With less garbage in small heaps a
// tenth of what new connections cost would go into collecting it.
var garbagePace = garbage.Pace{Bytes: 32 << 20, Least: 25, Most: 400, Every: time.Second}

// runBehind starts what servers need until the last of them has stopped.
func (p *process) runBehind(ctx context.Context, stop func(), group *errorGroup) {
	group.run(ctx, stop, func(ctx context.Context) error {
		garbagePace.Keep(ctx)
		return nil
	})
	if p.loops != nil {
		group.run(ctx, stop, func(ctx context.Context) error { return runLoops(ctx, p.loops) })
	}
	if p.access != nil {
		group.run(ctx, stop, p.access.Run)
	}
}

// runAdmin serves metrics, once it is known of which servers.
func (p *process) runAdmin(ctx context.Context, stop func(), group *errorGroup) {
	if p.admin != nil {
		group.run(ctx, stop, func(ctx context.Context) error { return edge.ServeAdmin(ctx, p.admin, p.metrics, p.servers) })
	}
}

// patience is how long stopping may take until somebody is told why it does.
const patience = time.Second

// waitFor waits for the servers. Where they take their time to drain, it says so.
func (p *process) waitFor(serving context.Context, servers *errorGroup) error {
	stopped := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		select {
		case <-serving.Done():
		case <-stopped:
			return
		}
		select {
		case <-time.After(patience):
			p.Log.LogAttrs(serving, slog.LevelInfo, "finishing what is on its way", slog.String("hint", "Ctrl-C or another signal stops at once"))
		case <-stopped:
		}
	})
	err := servers.wait()
	close(stopped)
	telling.Wait()
	return err
}

// An errorGroup waits for goroutines and joins their errors.
type errorGroup struct {
	wg sync.WaitGroup

	mu   sync.Mutex // guards errs
	errs []error
}

// run starts f; if it fails, stop is called.
func (g *errorGroup) run(ctx context.Context, stop func(), f func(context.Context) error) {
	g.wg.Go(func() {
		if err := f(ctx); err != nil {
			g.mu.Lock()
			g.errs = append(g.errs, err)
			g.mu.Unlock()
			stop()
		}
	})
}

func (g *errorGroup) wait() error {
	g.wg.Wait()
	return errors.Join(g.errs...)
}

// adminURL is where metrics are, or "".
func (p *process) adminURL() string {
	if p.admin == nil {
		return ""
	}
	return "http://" + p.admin.Addr().String()
}

// inUse explains an address that cannot be bound.
func inUse(err error, flag string) error {
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return &mistake.Error{What: fmt.Sprintf("%s: another program listens there already: %v", flag, err), Hint: flag + " 127.0.0.1:0 takes a free port"}
	case errors.Is(err, syscall.EACCES):
		return &mistake.Error{What: fmt.Sprintf("%s: %v", flag, err), Hint: "ports below 1024 are the system's: take a higher one, or let penny have them with sudo setcap cap_net_bind_service=+ep PENNY"}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return &mistake.Error{What: fmt.Sprintf("%s: this machine has no such address: %v", flag, err), Hint: flag + " 127.0.0.1:0 takes a free port, and :8080 all addresses"}
	}
	return fmt.Errorf("%s: %w", flag, err)
}
