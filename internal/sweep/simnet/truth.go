package simnet

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"pennyfarthing/internal/sweep/block"
	"pennyfarthing/internal/verdict"
)

// An HTTPSMode is which schemes a name is asked by.
type HTTPSMode uint8

// The modes.
const (
	First HTTPSMode = iota // https; when it was not answered, http
	Both
	Only
	Never

	numModes
)

//nolint:gochecknoglobals // a table
var modeNames = [numModes]string{"first", "both", "only", "never"}

// String is the mode's name.
func (m HTTPSMode) String() string { return modeNames[m] }

// ParseHTTPSMode reads a mode's name.
func ParseHTTPSMode(name string) (HTTPSMode, error) {
	for m := range numModes {
		if modeNames[m] == name {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%q is not one of %s", name, strings.Join(modeNames[:], ", "))
}

// A Policy is what a sweep's flags say about its questions: docs/sweep-policy.md
// explains each.
type Policy struct {
	HTTPS   HTTPSMode
	WWW     bool
	Follow  int // redirects
	Retries int
	Body    int // bytes of the sample; 0: what a title needs
	Head    bool
	Robots  bool
	DNSOnly bool
	Block   *block.List
	Optout  *block.List
}

// LeastBody and MostBody are between what samples there is a truth: a site that sends a
// byte each second has sent some when the sweep's patience ends, and no site sends more
// than 64 MiB.
const (
	LeastBody = 32       // bytes
	MostBody  = 16 << 20 // bytes
)

// DefaultPolicy is a sweep's without flags.
func DefaultPolicy() Policy { return Policy{HTTPS: First, WWW: true, Follow: 5, Retries: 1} }

// Truth is the verdict and the status that a sweep's row about a target must have,
// when its line loses nothing. A target that is none comes to skip.invalid.
//
// It goes through docs/sweep-policy.md from top to bottom, one question after the
// other, as a patient person would.
func (w *World) Truth(p Policy, target string) (code verdict.Code, status int) {
	groups, ok := chainsOf(p, target)
	if !ok {
		return verdict.SkipInvalid, 0
	}
	a := &asker{world: w, policy: p, flaked: map[string]bool{}, unresolved: map[string]verdict.Code{}}
	var first *outcome
	for _, group := range groups {
		var answered *outcome
		for _, start := range group {
			if answered != nil && p.HTTPS == First {
				break
			}
			o, row := a.chain(start)
			if first == nil {
				first = &o
			}
			if o.answered && answered == nil {
				answered = &row
			}
		}
		if answered != nil {
			return answered.code, answered.status
		}
	}
	return first.code, first.status
}

// Or is what a row about a target may say as well where its truth is tcp.reset, and none
// elsewhere. A host that resets whom it accepts meets a client that has not yet seen that
// it is connected, or one that has begun to speak: whichever of the two is quicker.
func Or(p Policy, target string, truth verdict.Code) verdict.Code {
	groups, ok := chainsOf(p, target)
	switch {
	case !ok || truth != verdict.TCPReset:
		return verdict.None
	case groups[0][0].Scheme == "https":
		return verdict.TLSClosed
	}
	return verdict.HTTPReset
}

// Agrees reports whether a row's verdict and status are the truth about its target.
func (w *World) Agrees(p Policy, target, code string, status int) bool {
	truth, want := w.Truth(p, target)
	or := Or(p, target, truth)
	return status == want && (code == truth.String() || or != verdict.None && code == or.String())
}

// chainsOf are the URLs that the chains begin with, in groups: each is asked when
// no chain of the one before it was answered.
func chainsOf(p Policy, target string) (groups [][]*url.URL, ok bool) {
	if strings.Contains(target, "://") {
		u, err := url.Parse(target)
		if err != nil || !askable(u) {
			return nil, false
		}
		return [][]*url.URL{{plain(u)}}, true
	}
	u, err := url.Parse("http://" + target)
	if err != nil || !askable(u) || u.Path != "" || u.RawQuery != "" {
		return nil, false
	}
	schemes := map[HTTPSMode][]string{First: {"https", "http"}, Both: {"https", "http"}, Only: {"https"}, Never: {"http"}}[p.HTTPS]
	hosts := []string{u.Host}
	_, notAddress := netip.ParseAddr(u.Hostname())
	switch {
	case u.Port() == "80":
		schemes = []string{"http"}
	case u.Port() == "443":
		schemes = []string{"https"}
	case u.Port() == "" && notAddress != nil && p.WWW:
		if base, www := bare([]byte(u.Host)); www {
			hosts = append(hosts, string(base))
		} else {
			hosts = append(hosts, "www."+u.Host)
		}
	}
	for _, host := range hosts {
		var group []*url.URL
		for _, scheme := range schemes {
			group = append(group, plain(&url.URL{Scheme: scheme, Host: host}))
		}
		groups = append(groups, group)
	}
	return groups, true
}

// askable reports URLs that a sweep may ask for.
func askable(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil
}

// plain is a URL in the form in which two are compared.
func plain(u *url.URL) *url.URL {
	n := *u
	n.Fragment, n.RawFragment = "", ""
	n.Host = strings.ToLower(n.Host)
	if n.Path == "" {
		n.Path = "/"
	}
	port := map[string]string{"http": ":80", "https": ":443"}[n.Scheme]
	n.Host = strings.TrimSuffix(n.Host, port)
	return &n
}

// An outcome is what a request came to.
type outcome struct {
	answered bool
	code     verdict.Code
	status   int
	location string // of an answer
}

// asker asks for one target.
type asker struct {
	world      *World
	policy     Policy
	flaked     map[string]bool // what fails every other time has failed the last time
	unresolved map[string]verdict.Code
	site       string // whose robots.txt is known
	forbidden  bool   // by it
}

// chain is what a chain's first request came to, and what a row says of the chain.
func (a *asker) chain(start *url.URL) (first, row outcome) {
	first = a.request(start)
	if !first.answered {
		return first, first
	}
	at, now := start, first
	asked := map[string]bool{start.String(): true}
	for followed := 0; now.status < 1000 && isRedirect(uint16(now.status)); followed++ { //nolint:gosec // just bounded
		now.code = verdict.HTTPRedirect
		if a.policy.Follow == 0 {
			return first, now
		}
		next, err := url.Parse(now.location)
		if now.location == "" || err != nil {
			now.code = verdict.HTTPRedirectBad
			return first, now
		}
		next = at.ResolveReference(next)
		if !askable(next) {
			now.code = verdict.HTTPRedirectBad
			return first, now
		}
		next = plain(next)
		if asked[next.String()] {
			now.code = verdict.HTTPRedirectLoop
			return first, now
		}
		if followed == a.policy.Follow {
			now.code = verdict.HTTPRedirectLimit
			return first, now
		}
		asked[next.String()] = true
		answer := a.request(next)
		if !answer.answered {
			now.code = verdict.HTTPRedirectDead
			return first, now
		}
		at, now = next, answer
	}
	return first, now
}

// request is a request with its retries, and with the robots.txt before it.
func (a *asker) request(u *url.URL) outcome {
	host := u.Hostname()
	switch {
	case a.policy.Optout.Name(host):
		return outcome{code: verdict.SkipOptout}
	case a.policy.Block.Name(host):
		return outcome{code: verdict.SkipBlocked}
	}
	if code, known := a.unresolved[host]; known {
		return outcome{code: code}
	}
	if a.policy.Robots {
		if code := a.robots(u); code != verdict.None {
			return outcome{code: code}
		}
	}
	var o outcome
	for round := 0; round <= a.policy.Retries; round++ {
		o, _ = a.round(u)
		if o.answered || !o.code.Passing() {
			break
		}
	}
	if !o.answered && o.code.Class() == verdict.DNS {
		a.unresolved[host] = o.code
	}
	return o
}

// robots is why robots.txt, or what keeps it from coming, forbids a request; none where
// nothing does. The rules of the last site are known.
func (a *asker) robots(u *url.URL) verdict.Code {
	site := u.Scheme + "://" + u.Host
	if a.site != site {
		file := url.URL{Scheme: u.Scheme, Host: u.Host, Path: robotsTxt}
		o, asked := a.round(&file)
		if !asked { // what kept it from being asked for keeps the request, too
			return verdict.None
		}
		a.site, a.forbidden = site, o.status >= 500 || o.status/100 == 2 && a.forbids(u)
	}
	if a.forbidden {
		return verdict.SkipRobots
	}
	return verdict.None
}

// forbids reports whether the robots.txt that a site serves forbids everything. One that
// answers oddly answers the same to everything.
func (a *asker) forbids(u *url.URL) bool {
	fate, err := a.world.Fate(u.Hostname())
	scheme := HTTP
	if u.Scheme == "https" {
		scheme = HTTPS
	}
	return err == nil && fate.Robots == RobotsForbid && fate.Front[scheme].Manner == Proper
}

// round is one round of a request: the name, and up to three addresses. It says whether
// any of them was asked.
func (a *asker) round(u *url.URL) (o outcome, asked bool) {
	fate, err := a.world.Fate(u.Hostname())
	if err != nil {
		return outcome{code: verdict.SkipInvalid}, false
	}
	if code := lookupCode(fate.Lookup); code != verdict.None {
		return outcome{code: code}, false
	}
	if a.policy.DNSOnly {
		return outcome{answered: true, code: verdict.OK}, false
	}
	addresses := fate.Lookup.Addresses() // at most two
	fallback := fate.Lookup.IPv6 && len(addresses) > 0
	if fate.Lookup.IPv6 {
		addresses = append(addresses, netip.IPv6Loopback())
	}
	var first outcome
	for i, ip := range addresses {
		if fallback && i == len(addresses)-1 && first.code.Class() != verdict.TCP {
			break // only a failed connection leads to the other family
		}
		if o = (outcome{code: a.mayNot(ip)}); o.code == verdict.None {
			o, asked = a.try(u, &fate, ip), true
		}
		if i == 0 {
			first = o
		}
		if o.answered {
			return o, asked
		}
		if class := o.code.Class(); class != verdict.TCP && class != verdict.Skip {
			break // only a failed connection leads to the next address
		}
	}
	return first, asked
}

// mayNot is why an address is not asked, or none.
func (a *asker) mayNot(ip netip.Addr) verdict.Code {
	switch {
	case !mayAsk(ip):
		return verdict.SkipPrivate
	case a.policy.Optout.Address(ip):
		return verdict.SkipOptout
	case a.policy.Block.Address(ip):
		return verdict.SkipBlocked
	}
	return verdict.None
}

// lookupCode is what two resolvers come to, each asked once; none where there is
// an address. What fails every other time gives one to the second.
func lookupCode(l Lookup) verdict.Code {
	switch l.Kind {
	case NXDomain:
		return verdict.DNSNXDomain
	case NoData:
		return verdict.DNSNoData
	case ServFail, ServFailEDE:
		return verdict.DNSServFail
	case Refused, LameNoReach, LameNetwork:
		return verdict.DNSLame
	case Silent:
		return verdict.DNSTimeout
	case CNAMELoop:
		return verdict.DNSLoop
	case FormErr, NotImp, BrokenRecord:
		return verdict.DNSMalformed
	case Found:
	}
	return verdict.None
}

// try connects to one address and asks once.
func (a *asker) try(u *url.URL, fate *Fate, ip netip.Addr) outcome {
	scheme := HTTP
	if u.Scheme == "https" {
		scheme = HTTPS
	}
	switch reachOf(u, scheme, ip) {
	case Refuses:
		return outcome{code: verdict.TCPRefused}
	case Blackholes:
		return outcome{code: verdict.TCPTimeout}
	case Unreachable:
		return outcome{code: verdict.TCPUnreachable}
	case Hangs:
		return outcome{code: [...]verdict.Code{HTTP: verdict.HTTPTimeout, HTTPS: verdict.TLSTimeout}[scheme]}
	case Resets:
		return outcome{code: verdict.TCPReset}
	case Slams:
		return outcome{code: [...]verdict.Code{HTTP: verdict.HTTPReset, HTTPS: verdict.TLSClosed}[scheme]}
	case Serves:
	}
	certificate := verdict.None
	if scheme == HTTPS {
		var failed verdict.Code
		if failed, certificate = a.handshake(u.Host, fate.TLS); failed != verdict.None {
			return outcome{code: failed}
		}
	}
	o := a.answer(u, fate, scheme)
	if o.answered && certificate != verdict.None {
		o.code = certificate
	}
	return o
}

// reachOf is what becomes of a connection for a URL. Nothing listens on other ports
// than those of the schemes.
func reachOf(u *url.URL, scheme Scheme, ip netip.Addr) Reach {
	var reach Reach
	if ip.Is4() {
		reach = address(ip.As4()).reach(scheme)
	}
	if port := u.Port(); port != "" && reach != Unreachable {
		other := map[string]Scheme{"80": HTTP, "443": HTTPS}
		if served, ok := other[port]; !ok || served != scheme {
			return Refuses
		}
	}
	return reach
}

// handshake is how TLS ends: with a failure, with a certificate that is no good, or well.
func (a *asker) handshake(host string, h Handshake) (failed, certificate verdict.Code) {
	switch h {
	case Good:
	case Expired:
		certificate = verdict.TLSExpired
	case WrongName:
		certificate = verdict.TLSName
	case SelfSigned:
		certificate = verdict.TLSUntrusted
	case OldVersion, OldServer, NoCipher:
		failed = verdict.TLSVersion
	case Alert:
		failed = verdict.TLSAlert
	case PlainHTTP, NotTLS:
		failed = verdict.TLSMalformed
	case CloseEarly, ResetEarly:
		failed = verdict.TLSClosed
	case Mute:
		failed = verdict.TLSTimeout
	case FlakyTLS:
		if a.failsNow("tls " + host) {
			failed = verdict.TLSClosed
		}
	}
	return failed, certificate
}

// failsNow is true every other time, beginning with the first.
func (a *asker) failsNow(what string) bool {
	a.flaked[what] = !a.flaked[what]
	return a.flaked[what]
}

// answer is what HTTP answers.
func (a *asker) answer(u *url.URL, fate *Fate, scheme Scheme) outcome {
	page := fate.page(scheme, u.EscapedPath())
	o := outcome{answered: true, status: int(page.Status)}
	switch page.Manner {
	case Proper, HTTP10, NoReason, Interim, LengthShort, Endless:
		o.code = statusCode(o.status)
	case LengthLong, BadChunk, CutChunk:
		if o.code = verdict.HTTPTruncated; a.policy.Head || a.policy.Body > 0 && a.policy.Body <= sentOf(page.Manner) {
			o.code = statusCode(o.status) // that it ends too early is not noticed
		}
	case SlowBody:
		if o.code = verdict.HTTPSlow; a.policy.Head {
			o.code = statusCode(o.status)
		}
	case SlowHead, Hang:
		return outcome{code: verdict.HTTPTimeout}
	case EndlessHead, HugeHead:
		return outcome{code: verdict.HTTPTooLarge}
	case NotHTTP, HTTP09, BadStatus, BadField, ControlBytes:
		return outcome{code: verdict.HTTPMalformed}
	case Reset:
		return outcome{code: verdict.HTTPReset}
	case Close:
		return outcome{code: verdict.HTTPClosed}
	case Flaky:
		if a.failsNow(strconv.Itoa(int(scheme)) + " " + u.Host) {
			return outcome{code: verdict.HTTPReset}
		}
		o.code = statusCode(o.status)
	}
	path := u.EscapedPath()
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	o.location = string(a.world.appendLocation(nil, page, scheme, []byte(u.Hostname()), path))
	return o
}

// statusCode is the verdict of a well-formed answer.
func statusCode(status int) verdict.Code {
	switch {
	case status >= 200 && status <= 299:
		return verdict.OK
	case isRedirect(uint16(status)): //nolint:gosec // of three digits
		return verdict.HTTPRedirect
	}
	return verdict.HTTPStatus
}
