package site

import (
	"net/http"
	"slices"
	"strings"

	"pennyfarthing/internal/rules"
)

// A Layout is where the files of a release are served, without the files: for whoever
// asks a site from outside and wants to know what to expect. It is immutable.
//
// It has no tables, as a [Site] has: of a large release few paths are asked for, and the
// names are sorted.
type Layout struct {
	files     []SourceFile // sorted by their names
	redirects *rules.Redirects
}

// Lay lays a release out: files are all it has, of which names and types count, and
// redirects is the content of its _redirects, nil if there is none. Rules with mistakes
// are an error that carries a mistake.List.
func Lay(dialect rules.Dialect, files []SourceFile, redirects []byte) (*Layout, error) {
	byName := func(a, b SourceFile) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(files, byName) {
		files = slices.Clone(files)
		slices.SortFunc(files, byName)
	}
	l := &Layout{files: files}
	if redirects != nil {
		parsed, err := rules.ParseRedirects(redirectsFile, redirects, dialect)
		if err != nil {
			return nil, err
		}
		l.redirects = parsed
	}
	return l, nil
}

// file returns the file with a name, or nil if there is none that is served.
func (l *Layout) file(name string) *SourceFile {
	i, ok := slices.BinarySearchFunc(l.files, name, func(f SourceFile, name string) int { return strings.Compare(f.Name, name) })
	if !ok || name == redirectsFile || name == headersFile || hiddenWithin(name) {
		return nil
	}
	return &l.files[i]
}

// pathOf returns where a file is served, not escaped. It decides as [compiler.index] does.
func (l *Layout) pathOf(name string) string {
	at := canonicalPath(name)
	if l.file(at[1:]) != nil {
		return "/" + name
	}
	return at
}

// find returns the file that stands at a path, or the path where it really is; neither
// if nothing does.
func (l *Layout) find(at string) (f *SourceFile, to string) {
	name := at[1:]
	if f := l.file(name); f != nil {
		if own := l.pathOf(name); own != at {
			return nil, own
		}
		return f, ""
	}
	if directory, ok := strings.CutSuffix(at, "/"); ok {
		if f := l.file(name + "index.html"); f != nil {
			return f, ""
		}
		if page := strings.TrimSuffix(name, "/") + ".html"; l.file(page) != nil && l.pathOf(page) == directory {
			return nil, directory
		}
		return nil, ""
	}
	if f := l.file(name + ".html"); f != nil && l.pathOf(f.Name) == at {
		return f, ""
	}
	if l.file(name+"/index.html") != nil {
		return nil, at + "/"
	}
	if index, ok := strings.CutSuffix(at, "index"); ok && strings.HasSuffix(index, "/") && l.file(name+".html") != nil {
		return nil, index
	}
	return nil, ""
}

// Path returns the path of a URL, escaped, at which a file is served unless a rule says
// otherwise (see [Layout.Ask]), and false for one that is not served.
func (l *Layout) Path(name string) (string, bool) {
	if l.file(name) == nil {
		return "", false
	}
	return escapePath(l.pathOf(name)), true
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
	f, to := l.find(decoded)
	found := f != nil || to != ""
	if l.redirects != nil && (!found || l.redirects.Forced()) {
		q := rules.Request{Scheme: "https", Host: host, Path: decoded}
		if action, ok := l.redirects.Match(q, func() bool { return found }); ok {
			return l.ruled(action, decoded, found)
		}
	}
	switch {
	case !found:
		return l.notFound(decoded)
	case f == nil:
		return Expectation{Status: http.StatusMovedPermanently, Location: escapePath(to)}
	}
	return Expectation{Status: http.StatusOK, Name: f.Name}
}

// ruled is what a rule of _redirects leads to.
func (l *Layout) ruled(action rules.Action, decoded string, found bool) Expectation {
	switch action.Status {
	case http.StatusOK, http.StatusNotFound, http.StatusGone:
	default:
		return Expectation{Status: action.Status, Location: action.Location}
	}
	f, to := l.find(action.Path)
	if to != "" { // /page.html leads to /page
		f, _ = l.find(to)
	}
	switch {
	case f == nil && action.Status == http.StatusGone:
		return Expectation{Status: http.StatusGone}
	case f == nil, action.Status == http.StatusOK && !found && strings.HasPrefix(f.Type, "text/html") && Fingerprinted(decoded):
		return l.notFound(decoded)
	}
	return Expectation{Status: action.Status, Name: f.Name}
}

// notFound is the error document for a path.
func (l *Layout) notFound(decoded string) Expectation {
	for dir := decoded; dir != ""; {
		dir = dir[:strings.LastIndexByte(dir, '/')]
		if f := l.file(strings.TrimPrefix(dir+"/"+notFoundFile, "/")); f != nil {
			return Expectation{Status: http.StatusNotFound, Name: f.Name}
		}
	}
	return Expectation{Status: http.StatusNotFound}
}
