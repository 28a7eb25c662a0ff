package config

import (
	"fmt"
	"slices"
	"strings"
)

// setSites reads the tables [sites."HOST"].
func setSites(d *decoder, f *Fleet, k Key, e entry) {
	t, ok := d.asTable(k, e)
	if !ok {
		return
	}
	for _, se := range t.entries {
		if se.value.kind != kindTable {
			d.stray(se, "a site", `[sites."HOST"]`, describe("", siteFields()))
			continue
		}
		d.site(f, se)
	}
}

// site reads the table of one site, or of several whose names lack quotes.
func (d *decoder) site(f *Fleet, e entry) {
	if strings.Contains(e.name, ".") || !unquoted(e.value.table) {
		d.oneSite(f, e)
		return
	}
	for _, part := range whole(e) {
		d.wrong(part.at, "the name of a site has dots and no quotes", "write "+tableName("sites", part.name))
		d.oneSite(f, part)
	}
}

// unquoted reports whether t, which [sites.example.org] mentions, is not a site
// but the table example, in which TOML sees a table org.
func unquoted(t *table) bool {
	if t.made != byMention && t.made != byDots || len(t.entries) == 1 && t.entries[0].name == "app" {
		return false
	}
	return !slices.ContainsFunc(t.entries, func(e entry) bool { return e.value.kind != kindTable })
}

// whole returns the sites in e, which is unquoted, under their whole names. It
// does not go deeper than a host name can be long.
func whole(e entry) []entry {
	var all []entry
	for _, sub := range e.value.table.entries {
		sub.name = e.name + "." + sub.name
		if len(sub.name) <= maxHost && unquoted(sub.value.table) {
			all = append(all, whole(sub)...)
		} else {
			all = append(all, sub)
		}
	}
	return all
}

// oneSite reads the table of a site.
func (d *decoder) oneSite(f *Fleet, e entry) {
	where := tableName("sites", e.name)
	s := Site{Name: e.name, Dialect: DialectNetlify, Line: e.value.table.at.Line}
	if host, f := parseHost(e.name); f != nil {
		d.wrong(e.at, f.what, f.hint)
	} else {
		s.Name = host
		d.claimHost(host, where, e.at, "")
	}
	fill(d, &s, e.value.table, where, siteFields())
	d.checkContent(where, e.value.table)
	f.Sites = append(f.Sites, s)
}

// claimHost makes sure that a host name belongs to one site. It reports whether
// it did not before; prefix stands before what is wrong.
func (d *decoder) claimHost(host, owner string, at Position, prefix string) bool {
	if first, ok := d.hosts[host]; ok {
		d.wrong(at, fmt.Sprintf("%sthe host name %s is there twice; first in %s on line %d", prefix, host, first.owner, first.line), "a host name belongs to one site")
		return false
	}
	d.hosts[host] = claim{owner, at.Line}
	return true
}

// addHost adds a further host name of a site.
func addHost(d *decoder, s *Site, host string, at Position) {
	if d.claimHost(host, tableName("sites", s.Name), at, "`also`: ") {
		s.Hosts = append(s.Hosts, host)
	}
}

// checkContent reports a site without content, with several kinds of it, or with
// keys that its kind has no use for.
func (d *decoder) checkContent(where string, t *table) {
	var kinds []entry
	empty := !d.doc.broken
	for _, key := range []string{"files", "app", "origin"} {
		if e, ok := t.lookup(key); ok {
			kinds = append(kinds, e)
		}
		empty = empty && !t.mentions(key)
	}
	switch {
	case empty:
		d.wrong(t.at, where+" has nothing to serve", "add one of `files`, `app` and `origin`")
	case len(kinds) > 1:
		d.wrong(kinds[1].at, fmt.Sprintf("%s has `%s` and `%s`", where, kinds[0].name, kinds[1].name), "keep one of `files`, `app` and `origin`")
	case len(kinds) == 1:
		d.checkUse(t, kinds[0].name, "cache", "files", "files are served from memory already; delete it")
		d.checkUse(t, kinds[0].name, "dialect", "origin", "only files have _headers and _redirects; delete it")
	}
}

// checkUse reports a key that sites of an idle kind have no use for.
func (d *decoder) checkUse(t *table, kind, key, idle, hint string) {
	if e, ok := t.lookup(key); ok && kind == idle {
		d.wrong(e.at, fmt.Sprintf("`%s` has no use beside `%s`", key, kind), hint)
	}
}

// setSiteFiles reads `files` of a site.
func setSiteFiles(d *decoder, s *Site, k Key, e entry) {
	s.FilesAt = e.value.at
	text(func(s *Site) *string { return &s.Files }, parseDirectory)(d, s, k, e)
}

// setAppFiles reads `files` of an app.
func setAppFiles(d *decoder, a *App, k Key, e entry) {
	a.FilesAt = e.value.at
	text(func(a *App) *string { return &a.Files }, parseDirectory)(d, a, k, e)
}

// setApp reads `app`.
func setApp(d *decoder, s *Site, k Key, e entry) {
	if t, ok := d.asTable(k, e); ok {
		s.App = new(App)
		fill(d, s.App, t, tableName("sites", s.Name, "app"), appFields())
	}
}

// setOrigin reads `origin`, which must not lead back to the fleet.
func setOrigin(d *decoder, s *Site, k Key, e entry) {
	u, ok := parsed(d, k, e.name, e.value, parseOrigin)
	if !ok {
		return
	}
	s.Origin = u
	d.later(func() {
		first, ours := d.hosts[strings.ToLower(u.Hostname())]
		if port := u.Port(); ours && (port == "" || port == "80" || port == "443") {
			d.wrong(e.value.at, fmt.Sprintf("`origin`: %s is served by this fleet itself, from %s on line %d", quote(u.Hostname()), first.owner, first.line), "name the server where the content comes from")
		}
	})
}

// setEdge reads [edge].
func setEdge(d *decoder, f *Fleet, k Key, e entry) {
	section(func(f *Fleet) *Edge { return &f.Edge }, "[edge]", edgeFields)(d, f, k, e)
	if e.value.kind != kindTable || !f.Edge.ProxyProtocol || d.doc.broken {
		return
	}
	if !e.value.table.mentions("trusted_proxies") {
		pe, _ := e.value.table.lookup("proxy_protocol")
		d.wrong(pe.at, "`proxy_protocol` without `trusted_proxies` lets every visitor claim any address", "name the proxies in `trusted_proxies`")
	}
}
