package site

import (
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/body"
)

// A Site is a directory or a release compiled for serving. It is immutable and safe for
// concurrent use.
type Site struct {
	generation uint64
	digest     body.Key
	paths      map[string]entry
	assets     []*asset
	notFounds  map[string]int32 // directory, with a slash behind it -> its 404.html
	redirects  *rules.Redirects
	forced     bool // some redirect comes before content
	headers    *rules.Headers
	dynamic    bool // some header rule looks at the host: fields are made for each request
	hsts       []Field
	hstsWire   *Wire
	unlisted   []Field // of every answer of a preview
	released   bool    // of a release, not of a directory
	pending    bool    // there is no release yet
	summary    Summary
	twins      bool  // several files have the same content
	dropped    int64 // bytes of bodies that the site before had, and this one may not have
	made       *made // nil for a directory
}

// Generation counts the contents that a directory has had: every change of a
// file is a new one, a coding that is added is not.
func (s *Site) Generation() uint64 { return s.generation }

// An entry says what stands at a path: an asset, or the path where it really is.
type entry struct {
	asset int32 // index of assets, or -1
	to    string
}

// Respond answers a GET or HEAD request. The answer is good for as long as it
// is held, whatever becomes of the site.
func (s *Site) Respond(q *Request) Answer {
	answer := s.respond(q)
	if len(s.hsts) > 0 && q.Scheme == "https" {
		if len(answer.more) == 0 {
			answer.more, answer.secured = s.hsts, s.hstsWire
		} else {
			answer.more = append(slices.Clip(answer.more), s.hsts...)
		}
	}
	if len(s.unlisted) > 0 {
		answer.more = append(slices.Clip(answer.more), s.unlisted...)
		answer.ready = nil // what is added stands in no prepared form
		if answer.Field("Location") != "" {
			answer.shared = &fieldList{fields: baseFields(cachePreview)}
		}
	}
	answer.head = q.Method == http.MethodHead
	return answer
}

func (s *Site) respond(q *Request) Answer {
	if s.pending {
		return pendingAnswer()
	}
	decoded, ok := decodePath(q.Path)
	if !ok {
		return textAnswer(http.StatusBadRequest, "400 this path is not one that is served\n")
	}
	e, found := s.paths[decoded]
	if s.redirects != nil && (!found || s.forced) {
		if answer, ok := s.ruled(q, decoded, found); ok {
			return answer
		}
	}
	switch {
	case !found:
		return s.notFound(q, decoded)
	case e.asset < 0:
		return redirectAnswer(http.StatusMovedPermanently, withQuery(escapePath(e.to), q.Query))
	}
	return s.serve(q, decoded, s.assets[e.asset], http.StatusOK)
}

// ruled answers by _redirects, if a rule applies.
func (s *Site) ruled(q *Request, decoded string, found bool) (Answer, bool) {
	action, ok := s.redirects.Match(s.ruleRequest(q, decoded), func() bool { return found })
	if !ok {
		return Answer{}, false
	}
	switch action.Status {
	case http.StatusOK:
		a := s.assetAt(action.Path)
		if a != nil && !found && a.page() && Fingerprinted(decoded) {
			// A rule for all paths means routes. A page in the place of a script breaks
			// the page that asked for it, and _headers may have caches keep it for a year.
			return s.notFound(q, decoded), true
		}
		if a != nil {
			return s.serve(q, decoded, a, http.StatusOK), true
		}
		return s.notFound(q, decoded), true
	case http.StatusNotFound, http.StatusGone:
		if a := s.assetAt(action.Path); a != nil {
			return s.serve(q, decoded, a, action.Status), true
		}
		if action.Status == http.StatusNotFound {
			return s.notFound(q, decoded), true
		}
		return s.errorText(q, decoded, http.StatusGone, "410 gone\n"), true
	}
	return redirectAnswer(action.Status, action.Location), true
}

func (s *Site) ruleRequest(q *Request, decoded string) rules.Request {
	return rules.Request{Scheme: q.Scheme, Host: q.Host, Path: decoded, Query: q.Query}
}

// assetAt returns the asset that a path of the site leads to, or nil.
func (s *Site) assetAt(decoded string) *asset {
	for range 2 { // /page.html leads to /page
		e, ok := s.paths[decoded]
		if !ok {
			return nil
		}
		if e.asset >= 0 {
			return s.assets[e.asset]
		}
		decoded = e.to
	}
	return nil
}

// notFound answers with the nearest 404.html above the path.
func (s *Site) notFound(q *Request, decoded string) Answer {
	for dir := decoded; dir != ""; {
		dir = dir[:strings.LastIndexByte(dir, '/')]
		if i, ok := s.notFounds[dir+"/"]; ok {
			return s.serve(q, decoded, s.assets[i], http.StatusNotFound)
		}
	}
	return s.errorText(q, decoded, http.StatusNotFound, "404 not found\n")
}

// errorText is a textAnswer with the fields that _headers has for the path.
func (s *Site) errorText(q *Request, decoded string, status int, text string) Answer {
	answer := textAnswer(status, text)
	if s.headers != nil {
		fields := slices.Concat(answer.own[:1], answer.shared.fields) // Content-Type may be edited
		answer.own = answer.own[1:]
		answer.shared = newFieldList(fields, s.headers.Match(s.ruleRequest(q, decoded))).neverStored()
	}
	return answer
}

// serve answers with an asset. Conditions and ranges count only for what a GET
// would answer with 200 (RFC 9110 §13.2.1, §14.2).
func (s *Site) serve(q *Request, decoded string, a *asset, status int) Answer {
	shared := s.fieldsFor(q, decoded, a, status)
	f := a.form(q)
	if status != http.StatusOK {
		fields := a.fields(f)
		answer := whole(status, a, f, fields, shared)
		answer.own, answer.ready = fields.bare, nil
		if fields.wire != nil && status == http.StatusNotFound {
			answer.ready = &fields.wire.bare
		}
		return answer
	}
	spans, verdict := a.ranges(q)
	if verdict != rangeIgnored {
		f = a.identity()
	}
	fields := f.made.Load() // as a.fields does, which is not inlined
	if fields == nil {
		fields = a.fields(f)
	}
	v := a.validators(fields)
	v.exact = s.released
	switch precondition(q, v) {
	case http.StatusNotModified:
		answer := Answer{Status: http.StatusNotModified, Length: -1, shared: shared, untyped: true, own: fields.brief}
		if fields.wire != nil {
			answer.ready = &fields.wire.brief
		}
		return answer
	case http.StatusPreconditionFailed:
		return textAnswer(http.StatusPreconditionFailed, "412 the file is not the one that the request names\n")
	}
	switch verdict {
	case rangeHonoured:
		return partial(a, f, fields, shared, spans)
	case rangeIgnored:
	case rangeUnsatisfied:
		answer := textAnswer(http.StatusRequestedRangeNotSatisfiable, "416 the file has no such bytes\n")
		answer.more = append(answer.more, field("Content-Range", "bytes */"+strconv.FormatInt(a.size(), 10)), field("Etag", fields.etag))
		return answer
	}
	return whole(status, a, f, fields, shared)
}

// ranges decides whether ranges of the plain form are to be sent.
func (a *asset) ranges(q *Request) ([]span, rangeVerdict) {
	if q.Range == "" || q.Method == http.MethodHead || a.size() == 0 {
		return nil, rangeIgnored
	}
	if q.IfRange != "" && !ifRangeHolds(q.IfRange, a.validators(a.fields(a.identity()))) {
		return nil, rangeIgnored
	}
	return parseRange(q.Range, a.size(), nil)
}

// fieldsFor returns an asset's shared fields for a request. At a path that is not
// its own its name promises nothing: /latest.js may lead elsewhere tomorrow.
func (s *Site) fieldsFor(q *Request, decoded string, a *asset, status int) *fieldList {
	elsewhere := decoded != a.path
	prepared := !s.dynamic && !elsewhere || s.headers == nil && !a.immutable
	if prepared && (status == http.StatusOK || a.document && s.headers == nil) {
		return a.shared
	}
	cacheControl := a.cacheControl()
	if elsewhere && a.immutable {
		cacheControl = cacheRevalidate
	}
	var edits []rules.Edit
	if s.headers != nil {
		edits = s.headers.Match(s.ruleRequest(q, decoded))
	}
	fields := assetFields(a, cacheControl, edits)
	if status != http.StatusOK {
		return fields.neverStored()
	}
	return fields
}

func whole(status int, a *asset, f *form, fields *formFields, shared *fieldList) Answer {
	answer := Answer{Status: status, Length: a.sizes[f.coding], Stored: "memory", shared: shared, own: fields.own, mem: f.mem, disk: f.disk}
	if f.disk != nil {
		answer.Stored = "disk"
	}
	if fields.wire != nil {
		answer.ready = &fields.wire.own
	}
	return answer
}

// partial answers 206 with one range or several.
func partial(a *asset, f *form, fields *formFields, shared *fieldList, spans []span) Answer {
	answer := whole(http.StatusPartialContent, a, f, fields, shared)
	answer.own = answer.own[: len(answer.own)-1 : len(answer.own)-1] // all but Content-Length
	if len(spans) == 1 {
		answer.parts = []part{{start: spans[0].start, end: spans[0].end}}
		answer.Length = spans[0].end - spans[0].start
		answer.more = []Field{field("Content-Range", contentRange(spans[0], a.size()))}
	} else {
		var boundary string
		answer.parts, boundary, answer.Length = byteRanges(spans, a.size(), valueOf(shared.fields, "Content-Type"))
		answer.untyped = true
		answer.more = []Field{field("Content-Type", "multipart/byteranges; boundary="+boundary)}
	}
	answer.more = append(answer.more, field("Content-Length", strconv.FormatInt(answer.Length, 10)))
	return answer
}

// textAnswer is an answer of our own: it is never stored by a cache.
func textAnswer(status int, text string) Answer {
	return Answer{
		Status: status, Length: int64(len(text)), text: text, shared: &fieldList{fields: baseFields(cacheNever)},
		own: []Field{field("Content-Type", "text/plain; charset=utf-8"), field("Content-Length", strconv.Itoa(len(text)))},
	}
}

// pendingAnswer says that there is nothing to serve yet.
func pendingAnswer() Answer {
	answer := textAnswer(http.StatusServiceUnavailable, "503 nothing has been released here yet\n")
	answer.more = []Field{field("Retry-After", "5")}
	return answer
}

func redirectAnswer(status int, location string) Answer {
	return Answer{
		Status: status, shared: &fieldList{fields: baseFields(cacheRevalidate)},
		own: []Field{field("Location", location), field("Content-Length", "0")},
	}
}

func withQuery(location, query string) string {
	if query == "" {
		return location
	}
	return location + "?" + escapeBytes(query, queryByte)
}

// canonicalPath returns the path at which a file is served: without
// "index.html", and without ".html".
func canonicalPath(name string) string {
	at := "/" + name
	if path.Base(name) == "index.html" {
		return strings.TrimSuffix(at, "index.html")
	}
	return strings.TrimSuffix(at, ".html")
}
