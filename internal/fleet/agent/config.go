package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/edge"
)

// The limits of a configuration beside that of its statement.
const (
	maxHosts  = 10_000 // of all sites
	maxHSTS   = 10 * 365 * 24 * 60 * 60
	maxRetain = 1000
	maxAge    = 10 * 365 * 24 * 60 * 60
)

// A configState is a configuration with the statement that it came in. It is
// immutable. The zero one is that of a POP that was never told.
type configState struct {
	api.Config
	raw []byte
}

// site returns what is configured of a site.
func (c *configState) site(name string) (api.ConfigSite, bool) {
	i := slices.IndexFunc(c.Sites, func(s api.ConfigSite) bool { return s.Name == name })
	if i < 0 {
		return api.ConfigSite{}, false
	}
	return c.Sites[i], true
}

// hosts returns the names that a site answers to.
func (c *configState) hosts(name string) []string {
	s, ok := c.site(name)
	if !ok {
		return []string{name}
	}
	return append([]string{name}, s.Hosts...)
}

func (d directory) loadConfig(e Enrolment) (*configState, error) {
	raw, err := d.read(api.MaxConfig, configFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &configState{}, nil
	}
	if err != nil {
		return nil, err
	}
	st, err := keys.ParseStatement(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.in(configFile), err)
	}
	c, err := readConfig(st, raw, e.Fleet)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.in(configFile), err)
	}
	return c, nil
}

// readConfig returns the configuration in a statement whose signature holds.
// Whether the key may sign it is the caller's to ask.
func readConfig(st *keys.Statement, raw []byte, fleet string) (*configState, error) {
	payload, err := st.Verify(fleet, api.KindConfig)
	if err != nil {
		return nil, err
	}
	c := &configState{raw: raw}
	if err := json.Unmarshal(payload, &c.Config); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if err := checkConfig(&c.Config); err != nil {
		return nil, fmt.Errorf("read configuration %d: %w", c.Number, err)
	}
	return c, nil
}

// checkConfig finds everything that cannot be meant.
func checkConfig(c *api.Config) error {
	var wrong mistake.List
	add := func(format string, args ...any) { wrong.Add(&mistake.Error{What: fmt.Sprintf(format, args...)}) }
	if c.Number == 0 {
		add("its number is 0")
	}
	owners := make(map[string]string)
	for _, s := range c.Sites {
		for _, host := range append([]string{s.Name}, s.Hosts...) {
			if _, err := netip.ParseAddr(host); err != nil && !isSiteName(host) || host == "" {
				add("%.260q is not a host name", host)
			}
			if other, taken := owners[host]; taken {
				add("the host %.260q belongs to %s and to %s", host, other, s.Name)
			}
			owners[host] = s.Name
		}
		if !isSiteName(s.Name) {
			add("%.260q is not the name of a site", s.Name)
		}
		if _, err := rules.ParseDialect(s.Dialect); s.Dialect != "" && err != nil {
			add("site %s: %v", s.Name, err)
		}
		if s.HSTS < 0 || s.HSTS > maxHSTS {
			add("site %s: its HSTS of %d seconds is not between 0 and %d", s.Name, s.HSTS, maxHSTS)
		}
	}
	if len(c.Sites) > maxSites {
		add("it has %d sites; at most %d are possible", len(c.Sites), maxSites)
	}
	if len(owners) > maxHosts {
		add("it has %d hosts; at most %d are possible", len(owners), maxHosts)
	}
	if r := c.Retention; r.Releases < 0 || r.Releases > maxRetain || r.Age < 0 || r.Age > maxAge {
		add("its retention of %d releases and %d seconds is out of bounds", r.Releases, r.Age)
	}
	if _, err := trustedProxies(c.Edge); err != nil {
		add("%v", err)
	}
	for _, what := range checkMap(c) {
		add("%s", what)
	}
	for name, n := range map[string]int64{
		"header_bytes": int64(c.Edge.HeaderBytes), "header_fields": int64(c.Edge.HeaderFields), "header_timeout": c.Edge.HeaderTimeout,
		"idle_timeout": c.Edge.IdleTimeout, "min_rate": c.Edge.MinRate, "connections_per_client": int64(c.Edge.ConnectionsPerClient),
		"streams_per_connection": int64(c.Edge.StreamsPerConnection),
	} {
		if n < 0 || n > 1<<30 {
			add("edge: its %s of %d is out of bounds", name, n)
		}
	}
	return wrong.Err()
}

// checkMap finds what cannot be meant of the POPs, and of who answers whom.
func checkMap(c *api.Config) (wrong []string) {
	const most = 1000 // POPs, and countries
	if len(c.POPs) > most || len(c.Steer.Countries)+len(c.Steer.Continents) > most {
		return []string{fmt.Sprintf("it has more than %d POPs, or countries", most)}
	}
	known := make(map[string]bool)
	for _, p := range c.POPs {
		if !isSiteName(p.Name) || known[p.Name] {
			wrong = append(wrong, fmt.Sprintf("%.80q is not the name of a POP, or there twice", p.Name))
		}
		known[p.Name] = true
		for _, address := range p.Addresses {
			if _, err := netip.ParseAddr(address); err != nil {
				wrong = append(wrong, fmt.Sprintf("POP %s: %.80q is not an address", p.Name, address))
			}
		}
	}
	for _, places := range []map[string]string{c.Steer.Continents, c.Steer.Countries} {
		for place, pop := range places {
			if !known[pop] {
				wrong = append(wrong, fmt.Sprintf("%.80q is answered by %.80q, which is no POP", place, pop))
			}
		}
	}
	return wrong
}

func trustedProxies(e api.ConfigEdge) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range e.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%.80q is not a network", text)
		}
		all = append(all, prefix.Masked())
	}
	if e.ProxyProtocol && len(all) == 0 {
		return nil, errors.New("proxy_protocol without trusted_proxies lets every visitor claim any address")
	}
	return all, nil
}

// edgeOptions returns what a configuration says of the edge.
func (c *configState) edgeOptions() (edge.Options, error) {
	e := c.Edge
	proxies, err := trustedProxies(e)
	return edge.Options{
		TrustedProxies: proxies, ProxyProtocol: e.ProxyProtocol,
		Limits: edge.Limits{
			HeaderBytes: e.HeaderBytes, HeaderFields: e.HeaderFields, HeaderTimeout: time.Duration(e.HeaderTimeout) * time.Second,
			IdleTimeout: time.Duration(e.IdleTimeout) * time.Second, MinRate: e.MinRate,
			ConnectionsPerClient: e.ConnectionsPerClient, StreamsPerConnection: e.StreamsPerConnection,
		},
	}, err
}

func (a *Agent) getConfig(c *call) error {
	has := a.config.Load()
	if has.raw == nil {
		return &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound, Message: "this POP has no configuration yet", Hint: "penny apply"}
	}
	return c.answerStatement(has.raw)
}

// putConfig takes a configuration of a higher number.
func (a *Agent) putConfig(c *call) error {
	st, raw, err := c.statement(api.MaxConfig)
	if err != nil {
		return err
	}
	next, err := readConfig(st, raw, a.enrolment.Fleet)
	if err != nil {
		return invalid(err)
	}
	if !a.roster.Load().May(st.Key, keys.Right{What: keys.Operate}) {
		return &api.Error{
			Status: http.StatusForbidden, Code: api.CodeForbidden,
			Message: fmt.Sprintf("the configuration is signed by %s, which may not operate the fleet", a.nameOf(st.Key)), Hint: "sign a new one: penny apply",
		}
	}
	a.collecting.RLock()
	defer a.collecting.RUnlock()
	a.changing.Lock()
	defer a.changing.Unlock()
	has := a.config.Load()
	if bytes.Equal(bytes.TrimSpace(has.raw), bytes.TrimSpace(raw)) {
		return c.answer(api.ConfigResult{Number: has.Number})
	}
	if next.Number <= has.Number {
		return &api.Error{
			Status: http.StatusConflict, Code: api.CodeStale, Current: has.raw,
			Message: fmt.Sprintf("this is configuration %d, and the POP has %d", next.Number, has.Number),
			Hint:    "take the newer one into account: GET " + api.Path(a.o.Versions.Max, "config"),
		}
	}
	if err := a.dir.write(raw, configFile); err != nil {
		return err
	}
	a.config.Store(next)
	if err := a.reconfigure(context.WithoutCancel(c.r.Context()), has); err != nil {
		return err
	}
	result := api.ConfigResult{Number: next.Number}
	if !sameEdge(has.Edge, next.Edge) {
		result.Restart = append(result.Restart, "edge")
	}
	a.log.LogAttrs(c.r.Context(), slog.LevelInfo, "configuration taken", slog.Uint64("number", next.Number), slog.Int("sites", len(next.Sites)),
		slog.String("by", a.nameOf(st.Key)), slog.String("restart", strconv.FormatBool(len(result.Restart) > 0)))
	return c.answer(result)
}

func sameEdge(x, y api.ConfigEdge) bool {
	return slices.Equal(x.TrustedProxies, y.TrustedProxies) && fmt.Sprintf("%+v", x) == fmt.Sprintf("%+v", y)
}

// reconfigure serves what a new configuration says. The caller holds changing.
func (a *Agent) reconfigure(ctx context.Context, before *configState) error {
	now := a.config.Load()
	var errs []error
	for _, s := range a.allSites() {
		was, _ := before.site(s.name)
		is, ok := now.site(s.name)
		if !ok {
			continue // not routed any more
		}
		s.changing.Lock()
		s.mu.Lock()
		waits := !s.serving && s.head != nil
		s.mu.Unlock()
		var err error
		switch {
		case waits: // it was not configured when the agent started
			err = a.activate(ctx, s, s.head)
		case was.HSTS != is.HSTS:
			err = a.refresh(ctx, s)
		}
		s.changing.Unlock()
		if err != nil {
			s.fail(err)
			a.log.LogAttrs(ctx, slog.LevelWarn, "site not served as configured", slog.String("site", s.name), slog.Any("err", err))
		}
	}
	for _, configured := range now.Sites {
		if err := a.ensure(ctx, configured.Name); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, a.route())...)
}
