package site

import (
	"net/http"
	"strings"

	"pennyfarthing/internal/rules"
)

// A Layout is where the files of a release are served, without the files: for whoever
// asks a site from outside and wants to know what to expect. It is immutable.
type Layout struct {
	site  *Site
	paths map[string]string // by name, not escaped
}

// Lay lays a release out: files are all it has, of which names and types count, and
// redirects is the content of its _redirects, nil if there is none. Rules with mistakes
// are an error that carries a mistake.List.
func Lay(dialect rules.Dialect, files []SourceFile, redirects []byte) (*Layout, error) {
	c := newCompiler(Options{Dialect: dialect}, nil)
	if redirects != nil {
		parsed, err := rules.ParseRedirects(redirectsFile, redirects, dialect)
		if err != nil {
			return nil, err
		}
		c.site.redirects, c.site.forced = parsed, parsed.Forced()
	}
	assets := make([]*asset, 0, len(files))
	for _, f := range files {
		if f.Name != redirectsFile && f.Name != headersFile && !hiddenWithin(f.Name) {
			assets = append(assets, &asset{name: f.Name, contentType: f.Type})
		}
	}
	c.index(assets)
	l := &Layout{site: c.site, paths: make(map[string]string, len(assets))}
	for _, a := range assets {
		l.paths[a.name] = a.path
	}
	return l, nil
}

// Path returns the path of a URL, escaped, at which a file is served unless a rule says
// otherwise (see [Layout.Ask]), and false for one that is not served.
func (l *Layout) Path(name string) (string, bool) {
	path, ok := l.paths[name]
	return escapePath(path), ok
}

// An Expectation is what a plain GET is answered with.
type Expectation struct {
	Status   int
	Name     string // of the file that is sent; "" for none, or a text of ours
	Location string // of a redirect
}

// Ask returns what a plain GET over https, for a host and an escaped path without a
// query, is answered with. It decides as [Site.Respond] does.
func (l *Layout) Ask(host, escaped string) Expectation {
	decoded, ok := decodePath(escaped)
	if !ok {
		return Expectation{Status: http.StatusBadRequest}
	}
	s := l.site
	e, found := s.paths[decoded]
	if s.redirects != nil && (!found || s.forced) {
		q := &Request{Method: http.MethodGet, Scheme: "https", Host: host, Path: escaped}
		if action, ok := s.redirects.Match(s.ruleRequest(q, decoded), func() bool { return found }); ok {
			return l.ruled(action, decoded, found)
		}
	}
	switch {
	case !found:
		return l.notFound(decoded)
	case e.asset < 0:
		return Expectation{Status: http.StatusMovedPermanently, Location: escapePath(e.to)}
	}
	return Expectation{Status: http.StatusOK, Name: s.assets[e.asset].name}
}

// ruled is what a rule of _redirects leads to.
func (l *Layout) ruled(action rules.Action, decoded string, found bool) Expectation {
	switch action.Status {
	case http.StatusOK, http.StatusNotFound, http.StatusGone:
	default:
		return Expectation{Status: action.Status, Location: action.Location}
	}
	a := l.site.assetAt(action.Path)
	switch {
	case a == nil && action.Status == http.StatusGone:
		return Expectation{Status: http.StatusGone}
	case a == nil, action.Status == http.StatusOK && !found && a.page() && Fingerprinted(decoded):
		return l.notFound(decoded)
	}
	return Expectation{Status: action.Status, Name: a.name}
}

// notFound is the error document for a path.
func (l *Layout) notFound(decoded string) Expectation {
	for dir := decoded; dir != ""; {
		dir = dir[:strings.LastIndexByte(dir, '/')]
		if i, ok := l.site.notFounds[dir+"/"]; ok {
			return Expectation{Status: http.StatusNotFound, Name: l.site.assets[i].name}
		}
	}
	return Expectation{Status: http.StatusNotFound}
}
