package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/probe"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/site"
	"pennyfarthing/internal/verdict"
)

const (
	// maxVerified and verifyTime bound how many URLs a deploy verifies at each POP,
	// and for how long it begins to.
	maxVerified = 2000
	verifyTime  = 10 * time.Second
	// maxVerifiedFile is the largest file that a deploy fetches to verify, in bytes.
	maxVerifiedFile = 16 << 20
	// kinds is how many kinds of content are asked for over HTTP/1.1 and 3 too.
	kinds = 12
	// askers is how many URLs of one POP are asked at a time.
	askers = 16
	// maxDifferences is how many differences are told one by one.
	maxDifferences = 100
)

// A Difference is a URL that a POP does not answer as it should.
type Difference struct {
	POP      string         `json:"pop"`
	Protocol probe.Protocol `json:"protocol"`
	URL      string         `json:"url"`
	Verdict  verdict.Code   `json:"verdict"`
	Why      string         `json:"why"`
}

// String is the difference in a line.
func (d Difference) String() string {
	return fmt.Sprintf("%s over %s at %s: %s", d.URL, d.Protocol, d.POP, d.Why)
}

// A Verified is how far a POP has proved to serve what it should.
type Verified struct {
	POP  string `json:"pop"`
	URLs int    `json:"urls"` // that were asked for over HTTP/2, and answered as they should be
	// Of is how many there were to be asked for; URLs is less when time was over.
	Of int `json:"of"`
	// Whole is how many of URLs were asked for as a whole; of the others some bytes
	// were compared, or the head alone.
	Whole int `json:"whole"`
	// Others are requests over HTTP/1.1 and HTTP/3 that were answered as they should be.
	Others int `json:"others"`
	// Differs are the first of those that were not, and Differences their number.
	Differs     []Difference `json:"differs,omitempty"`
	Differences int          `json:"differences"`
	// Unasked says over what the POP could not be asked, and why; it could not before
	// either.
	Unasked map[string]string `json:"unasked,omitempty"`
	// Certificate is what is wrong with the site's certificate, [verdict.OK] if
	// nothing is.
	Certificate verdict.Code `json:"certificate"`
}

// A DiffersError says that a POP does not serve what it should.
type DiffersError struct {
	POP     string
	Differs []Difference
	Count   int
}

// Error names the first difference.
func (e *DiffersError) Error() string {
	if e.Count == 1 {
		return e.Differs[0].String()
	}
	return fmt.Sprintf("%s, and %d more", e.Differs[0], e.Count-1)
}

// A verifier asks POPs as visitors do, and compares what they answer with a manifest.
type verifier struct {
	fleet   *Fleet
	site    string
	host    string
	release release.Hash
	content content // the files, nil if they are not here
	targets []target
	// stretches are pieces of the targets' files, by target, as far as they were
	// asked for.
	stretches []stretch
	left      int      // URLs that are not among the targets, by choice
	all       bool     // every target, however long it takes, over every protocol
	preview   *preview // what is asked for; nil: the site itself

	mu       sync.Mutex               // guards what follows
	knocking map[string]chan struct{} // closed when it is over
	knocks   map[string]map[probe.Protocol]knock
	done     map[string]*Verified
}

// hostOf is the name by which visitors know a site. A name without a dot is not a
// host's: such sites are this machine's own.
func hostOf(name string) string {
	if strings.Contains(name, ".") {
		return name
	}
	return name + ".localhost"
}

// layout lays a release out.
func layout(m *release.Manifest, open func(release.File) (io.ReadCloser, error)) (*site.Layout, error) {
	dialect, err := rules.ParseDialect(cmp.Or(m.Dialect, rules.Netlify.String()))
	if err != nil {
		return nil, err
	}
	files := make([]site.SourceFile, len(m.Files))
	for i, f := range m.Files {
		files[i] = site.SourceFile{Name: f.Path, Hash: body.Key(f.Hash), Size: f.Size, Modified: f.Modified, Type: f.Type}
	}
	var redirects []byte
	if f, ok := m.File("_redirects"); ok {
		in, err := open(f)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		if redirects, err = io.ReadAll(io.LimitReader(in, rules.MaxFile+1)); err != nil {
			return nil, fmt.Errorf("read _redirects: %w", err)
		}
	}
	return site.Lay(dialect, files, redirects)
}

// newVerifier decides what to ask for: what is new against another release, which may be
// nil, and what is gone; everything, if all is set. From has the files, if they are
// here.
func (f *Fleet) newVerifier(m, before *release.Manifest, l *site.Layout, all bool, from content) *verifier {
	return f.newVerifierAt(hostOf(m.Site), m, before, l, all, from)
}

// newVerifierAt is newVerifier for what is served at another host.
func (f *Fleet) newVerifierAt(host string, m, before *release.Manifest, l *site.Layout, all bool, from content) *verifier {
	v := f.newKnocker(m.Site, host)
	v.choose(m, before, l, all, from)
	return v
}

// newKnocker is a verifier that does not know yet what to ask for, and may knock.
func (f *Fleet) newKnocker(site, host string) *verifier {
	return &verifier{fleet: f, site: site, host: host, knocking: make(map[string]chan struct{}), knocks: make(map[string]map[probe.Protocol]knock), done: make(map[string]*Verified)}
}

// choose decides what to ask for, as newVerifier does.
func (v *verifier) choose(m, before *release.Manifest, l *site.Layout, all bool, from content) {
	v.all, v.release, v.content = all, m.ID(), from
	var names []string
	if all {
		for _, file := range m.Files {
			names = append(names, file.Path)
		}
	} else {
		changes := release.Diff(before, m)
		for _, file := range slices.Concat(changes.Added, changes.Removed) {
			names = append(names, file.Path)
		}
		for _, c := range changes.Changed {
			names = append(names, c.New.Path)
		}
		if len(m.Files) > 0 { // something is always asked
			names = append(names, m.Files[0].Path)
		}
	}
	asked := make(map[string]bool)
	add := func(at string) {
		if !asked[at] {
			asked[at] = true
			v.targets = append(v.targets, v.target(m, l, at))
		}
	}
	add("/")
	for _, name := range names {
		if at, served := l.Path(name); served {
			add(at)
		} else if _, there := m.File(name); !there && !site.Fingerprinted(name) { // which stay reachable for a while
			add((&url.URL{Path: "/" + name}).EscapedPath())
		}
	}
	if !all {
		v.sample(m)
	}
	v.list()
	v.stretches = make([]stretch, len(v.targets))
}

// client returns what asks a POP over a protocol.
func (v *verifier) client(pop POP, protocol probe.Protocol) *probe.Client {
	return probe.New(probe.Config{Address: pop.Edge, Protocol: protocol, Roots: v.fleet.trusted(), UserAgent: "penny verify", Now: v.fleet.Now})
}

func (v *verifier) url(pop POP, at string) *url.URL {
	host := v.host
	if _, port, err := net.SplitHostPort(pop.Edge); err == nil && port != "443" {
		host = net.JoinHostPort(v.host, port)
	}
	unescaped, err := url.PathUnescape(at)
	if err != nil {
		unescaped = at
	}
	return &url.URL{Scheme: "https", Host: host, Path: unescaped, RawPath: at}
}

// verify asks one POP for everything, and returns a [*DiffersError] if it answers
// anything otherwise.
func (v *verifier) verify(ctx context.Context, name string) error {
	pop := v.fleet.agent(name).pop
	out := &Verified{POP: name, Of: len(v.targets), Certificate: verdict.OK}
	var parts []*Verified
	var wait sync.WaitGroup
	for _, protocol := range []probe.Protocol{probe.HTTP2, probe.HTTP1, probe.HTTP3} {
		if before, there := v.answered(name, protocol); !there {
			if out.Unasked == nil {
				out.Unasked = make(map[string]string)
			}
			out.Unasked[protocol.String()] = fmt.Sprintf("%s (%s)", before.verdict, before.why)
			continue
		}
		part := &Verified{POP: name, Certificate: verdict.OK}
		parts = append(parts, part)
		wait.Go(func() { v.over(ctx, pop, protocol, part) })
	}
	wait.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, part := range parts {
		out.add(part)
	}
	v.mu.Lock()
	v.done[name] = out
	v.mu.Unlock()
	if out.Differences == 0 {
		return nil
	}
	return &DiffersError{POP: name, Differs: out.Differs, Count: out.Differences}
}

// over asks one POP over one protocol.
func (v *verifier) over(ctx context.Context, pop POP, protocol probe.Protocol, out *Verified) {
	c := v.reached(pop, protocol)
	defer c.close()
	if len(v.targets) > askers { // otherwise all are asked at once anyway
		if d, certificate := v.one(ctx, c, 0, whole); d != nil && unreachable(d.Verdict) {
			out.note(d, certificate, v.all)
			return // and so would be the others
		}
	}
	everything := v.all || protocol == probe.HTTP2
	var until time.Time
	if !v.all {
		until = v.fleet.Now().Add(verifyTime)
	}
	depths := v.depths(pop.Name)
	var mu sync.Mutex // guards out
	var next, well, wholly atomic.Int64
	var wait sync.WaitGroup
	for range askers {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(v.targets) || ctx.Err() != nil || !until.IsZero() && v.fleet.Now().After(until) {
					return
				}
				if !everything && !v.targets[i].listed {
					continue
				}
				d, certificate := v.one(ctx, c, i, v.overOther(protocol, &v.targets[i], depths[i]))
				if d == nil {
					well.Add(1)
				}
				if d == nil && depths[i] == whole {
					wholly.Add(1)
				}
				mu.Lock()
				out.note(d, certificate, v.all)
				mu.Unlock()
			}
		})
	}
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	ended := make(chan struct{})
	go func() {
		wait.Wait()
		close(ended)
	}()
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		case <-progress.C:
			v.fleet.tell(Event{Kind: EventProgress, Site: v.site, POP: pop.Name, Do: ActionVerify, Done: min(next.Load(), int64(len(v.targets))), Total: int64(len(v.targets))})
		}
	}
	if protocol == probe.HTTP2 {
		out.URLs, out.Whole = int(well.Load()), int(wholly.Load())
	} else {
		out.Others += int(well.Load())
	}
}

// unreachable reports whether a verdict is about a server, whatever it is asked for.
func unreachable(v verdict.Code) bool {
	class := v.Class()
	return class == verdict.TCP || class == verdict.TLS
}

// add takes up what came of asking over one protocol.
func (out *Verified) add(part *Verified) {
	out.URLs, out.Whole = out.URLs+part.URLs, out.Whole+part.Whole
	out.Others, out.Differences = out.Others+part.Others, out.Differences+part.Differences
	out.Differs = append(out.Differs, part.Differs[:min(len(part.Differs), maxDifferences-len(out.Differs))]...)
	if out.Certificate == verdict.OK {
		out.Certificate = part.Certificate
	}
}

// note takes up what came of one request. A certificate is a difference only where
// nobody has to be told which release is to blame.
func (out *Verified) note(d *Difference, certificate verdict.Code, strict bool) {
	if out.Certificate == verdict.OK && certificate != verdict.None {
		if out.Certificate = certificate; strict && certificate != verdict.OK && d == nil {
			d = &Difference{POP: out.POP, Verdict: certificate, Why: "the certificate: " + certificate.Text()}
		}
	}
	if d == nil {
		return
	}
	if out.Differences++; len(out.Differs) < maxDifferences {
		out.Differs = append(out.Differs, *d)
	}
}

// one asks for one URL, a second time if nothing came back.
func (v *verifier) one(ctx context.Context, c *asking, i int, d depth) (*Difference, verdict.Code) {
	t, q := &v.targets[i], v.question(i, d)
	u, r := v.url(c.pop, t.path), q.request(t, c.protocol)
	r.URL = u
	a, old := v.ask(ctx, c, r)
	if ctx.Err() == nil && (a.Verdict.Passing() || old && a.Status == 0) {
		v.renew(c)
		a, _ = v.ask(ctx, c, r)
	}
	why := t.differs(a, q)
	if why == "" && v.preview != nil && a.Header.Get("X-Robots-Tag") != "noindex" {
		why = "it lets robots find a preview"
	}
	if why != "" && ctx.Err() == nil {
		return &Difference{POP: c.pop.Name, Protocol: c.protocol, URL: u.String(), Verdict: a.Verdict, Why: why}, a.Certificate
	}
	return nil, a.Certificate
}

// results are what POPs have proved, in the order of the fleet.
func (v *verifier) results() []Verified {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []Verified
	for _, a := range v.fleet.agents {
		if r := v.done[a.pop.Name]; r != nil {
			all = append(all, *r)
		}
	}
	return all
}

// everywhere verifies POPs at the same time. That one differs is in the results.
func (v *verifier) everywhere(ctx context.Context, pops []string) error {
	var wait sync.WaitGroup
	errs := make([]error, len(pops))
	for i, pop := range pops {
		wait.Go(func() {
			if _, differs := errors.AsType[*DiffersError](v.verify(ctx, pop)); !differs {
				errs[i] = ctx.Err()
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
