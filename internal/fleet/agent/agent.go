package agent

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/loop"
	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/edge"
	"pennyfarthing/internal/serve/site"
)

// Options are what an agent is made of. Dir, API and Bodies are required.
type Options struct {
	// Dir is the state directory. It is made, for its owner alone; one agent has it
	// at a time.
	Dir string
	// Enrolment says to which fleet the POP belongs, and may be left out once it
	// has been said.
	Enrolment Enrolment
	// API is where members of the fleet connect to, and Edge where visitors do.
	// New owns both.
	API  net.Listener
	Edge edge.Listeners

	// Disk is how many bytes the releases may take; 0 is most of what is free.
	Disk int64
	// Bodies keeps what is served from memory, and Memory is how many bytes all
	// sites together may have in it; 0 means no bound.
	Bodies *body.Store
	Memory int64
	// MemoryLimit is what status says that the machine has; 0 is not known.
	MemoryLimit int64
	// Codings keeps codings that were made here; nil keeps none.
	Codings *encode.Cache

	// For the edge; see edge.Options. AccessFile is the file of AccessLog, which the
	// API shows; the caller runs AccessLog and Loops.
	Engine       edge.Engine
	Loops        *loop.Group
	ServerTiming bool
	AccessLog    *edge.AccessLog
	AccessFile   string
	Metrics      *edge.Metrics

	// Version is the program's.
	Version string
	// Versions are those of the API that the agent answers; zero are all that it
	// knows.
	Versions api.Versions
	Now      func() time.Time // nil is time.Now
	Log      *slog.Logger     // nil logs for the API only
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Versions == (api.Versions{}) {
		o.Versions = api.Supported()
	}
	if o.Metrics == nil {
		o.Metrics = edge.NewMetrics()
	}
	return o
}

func (o *Options) validate() error {
	var errs []error
	if o.API == nil {
		errs = append(errs, errors.New("agent: no listener for the API"))
	}
	if o.Bodies == nil {
		errs = append(errs, errors.New("agent: no store for bodies"))
	}
	if o.Disk < 0 || o.Memory < 0 {
		errs = append(errs, errors.New("agent: a budget is negative"))
	}
	return errors.Join(errs...)
}

// What may be under way at once. Members are few; a stranger must not take their
// places.
const (
	apiConnections      = 256
	apiConnectionsOfOne = 64 // from one address
	apiStreams          = 64 // of one connection
	packsAtOnce         = 8
	manifestsAt         = 1 // each may need some hundred megabytes
	followersAt         = 16
)

// An Agent is the daemon of a POP. [Agent.Run] does all the work and waits for all
// goroutines.
type Agent struct {
	o         Options
	routes    []route
	dir       directory
	unlock    func() error
	key       *keys.Key
	enrolment Enrolment
	began     time.Time
	log       *slog.Logger
	ring      *logRing

	roster atomic.Pointer[rosterState]
	config atomic.Pointer[configState]
	leaf   atomic.Pointer[tls.Certificate] // nil: none yet
	first  *tls.Certificate                // shown until there is one
	certs  atomic.Pointer[certificateSet]
	seen   *seen
	store  *release.Store
	disk   *disk
	leases *leases
	hush   *hush
	server *edge.Server

	packs, manifests, followers gate

	// Locks are taken in this order: collecting, changing, a site's changing, and
	// then one of those that guard fields.

	// collecting is held shared by whatever brings or uses objects, and alone by
	// what removes them.
	collecting sync.RWMutex
	// changing makes changes of the roster, the configuration, certificates and the
	// set of sites one after the other.
	changing sync.Mutex

	mu    sync.Mutex // guards sites
	sites map[string]*hostedSite

	started chan *hostedSite // sites whose goroutine Run is to start
	wake    chan struct{}    // a wish to collect; one that waits is enough

	postponed atomic.Bool   // there was no collecting when it was time
	stopping  chan struct{} // closed when Run stops
}

// New prepares an agent: it serves what the state directory has as soon as Run is
// called, and needs nobody for that. It owns the listeners also if it fails.
func New(ctx context.Context, o Options) (_ *Agent, err error) {
	o = o.withDefaults()
	a := &Agent{
		o: o, routes: routes(), began: o.Now(), leases: newLeases(o.Now), hush: &hush{now: o.Now}, sites: make(map[string]*hostedSite),
		packs: newGate(packsAtOnce), manifests: newGate(manifestsAt), followers: newGate(followersAt),
		started: make(chan *hostedSite), wake: make(chan struct{}, 1), stopping: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.abandon())
		}
	}()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if err := a.open(); err != nil {
		return nil, err
	}
	if err := a.loadCertificates(ctx); err != nil {
		return nil, err
	}
	if err := a.loadSites(ctx); err != nil {
		return nil, err
	}
	for _, configured := range a.config.Load().Sites {
		if a.sites[configured.Name] == nil {
			a.sites[configured.Name] = a.newSite(configured.Name)
		}
	}
	return a, a.listen()
}

// abandon gives back what New took.
func (a *Agent) abandon() error {
	var errs []error
	if a.o.API != nil {
		errs = append(errs, a.o.API.Close())
	}
	if a.server == nil {
		errs = append(errs, a.o.Edge.Close())
	}
	return errors.Join(append(errs, a.close())...)
}

func (a *Agent) close() error {
	var errs []error
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	if a.unlock != nil {
		errs = append(errs, a.unlock())
	}
	return errors.Join(errs...)
}

// open opens the state directory.
func (a *Agent) open() error {
	var err error
	if a.dir, err = openDirectory(a.o.Dir); err != nil {
		return err
	}
	if a.unlock, err = a.dir.lock(); err != nil {
		return err
	}
	if a.key, _, err = keys.OpenKey(a.dir.in(keyFile), rand.Reader); err != nil {
		return err
	}
	if a.enrolment, err = a.dir.enrol(a.o.Enrolment); err != nil {
		return err
	}
	a.ring = newLogRing(a.enrolment.POP)
	a.log = slog.New(slog.NewMultiHandler(a.o.Log.Handler(), &ringHandler{ring: a.ring}))
	roster, err := a.dir.loadRoster(a.enrolment)
	if err != nil {
		return err
	}
	a.roster.Store(roster)
	config, err := a.dir.loadConfig(a.enrolment)
	if err != nil {
		return err
	}
	a.config.Store(config)
	leaf, err := a.dir.loadLeaf(a.key, a.enrolment)
	if err != nil {
		return err
	}
	a.leaf.Store(leaf)
	if a.first, err = a.key.SelfSigned(a.enrolment.Fleet, a.enrolment.POP, a.o.Now()); err != nil {
		return err
	}
	a.seen = loadSeen(a.dir, a.o.Now)
	if a.store, err = release.OpenStore(a.dir.in(storeDir)); err != nil {
		return err
	}
	a.disk, err = newDisk(a.dir.in(storeDir), a.o.Disk, a.store.Size)
	return err
}

// listen makes the server of the edge.
func (a *Agent) listen() error {
	table, err := a.table()
	if err != nil {
		return err
	}
	o, err := a.config.Load().edgeOptions()
	if err != nil {
		return err
	}
	o.Name, o.Table, o.Engine, o.Loops = a.enrolment.POP, table, a.o.Engine, a.o.Loops
	o.ResetKey = a.key.Derive("stateless reset")
	o.ServerTiming, o.AccessLog, o.Metrics, o.Log = a.o.ServerTiming, a.o.AccessLog, a.o.Metrics, a.log
	if o.Certificates, err = a.edgeCertificates(); err != nil {
		return err
	}
	if a.server, err = edge.New(o, a.o.Edge); err != nil {
		return err
	}
	a.o.Metrics.WatchSites(a.enrolment.POP, a.lives)
	return nil
}

// lives returns what is served.
func (a *Agent) lives() []*site.Live {
	var all []*site.Live
	for _, s := range a.allSites() {
		if a.served(s.name) {
			all = append(all, s.live)
		}
	}
	return all
}

// table returns which site answers for which host.
func (a *Agent) table() (*edge.Table, error) {
	config := a.config.Load()
	var routes []edge.Route
	taken := make(map[string]bool)
	for _, s := range a.allSites() {
		if !a.served(s.name) {
			continue
		}
		hosts := config.hosts(s.name)
		for _, host := range hosts {
			taken[host] = true
		}
		routes = append(routes, edge.Route{Hosts: hosts, Site: s.live})
	}
	for _, s := range a.allSites() {
		if a.served(s.name) {
			routes = append(routes, a.previewRoutes(s, taken)...)
		}
	}
	return edge.NewTable(routes...)
}

// route tells the edge which site answers for which host. The caller holds
// changing.
func (a *Agent) route() error {
	table, err := a.table()
	if err != nil {
		return err
	}
	a.server.SetTable(table)
	return nil
}

// budget returns how many bytes of bodies a site may have in memory. Of a site
// there may be two generations at once.
func (a *Agent) budget() int64 {
	if a.o.Memory == 0 {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return max(1, a.o.Memory/2/int64(max(1, len(a.sites))))
}

// Enrolment returns to which fleet the POP belongs.
func (a *Agent) Enrolment() Enrolment { return a.enrolment }

// Edge returns the server that answers visitors.
func (a *Agent) Edge() *edge.Server { return a.server }

func errStopping() error {
	return &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeShuttingDown, Message: "the agent is stopping", Hint: "try again in a while"}
}
