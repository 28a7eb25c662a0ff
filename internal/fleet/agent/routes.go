package agent

import (
	"net/http"
	"net/url"
	"strings"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
)

// A need is what a route asks of the key that its caller has.
type need uint8

const (
	// anyKey asks for nothing: what is sent is signed by the owner.
	anyKey need = iota
	// member asks for a key that the roster has, the owner's or a member's.
	member
	// deploy asks for the right to deploy the site in the path.
	deploy
	// renew asks for the right to renew certificates.
	renew
	// operate asks for the right to operate the fleet.
	operate
)

// right returns the right that a need asks for, and false if it asks for none.
func (n need) right(site string) (keys.Right, bool) {
	switch n {
	case deploy:
		return keys.Right{What: keys.Deploy, Site: site}, true
	case renew:
		return keys.Right{What: keys.Renew}, true
	case operate:
		return keys.Right{What: keys.Operate}, true
	case anyKey, member:
	}
	return keys.Right{}, false
}

// A route is one thing that the API does.
type route struct {
	method string
	path   string // below the version; "{…}" stands for any one element
	needs  need
	handle func(*Agent, *call) error
}

// routes is who may do what. Its order does not matter: no two match the same.
func routes() []route {
	return []route{
		{"GET", "/status", member, (*Agent).getStatus},
		{"GET", "/roster", member, (*Agent).getRoster},
		{"PUT", "/roster", anyKey, (*Agent).putRoster},
		{"GET", "/config", member, (*Agent).getConfig},
		{"PUT", "/config", operate, (*Agent).putConfig},
		{"GET", "/logs", operate, (*Agent).getLogs},
		{"POST", "/collect", operate, (*Agent).postCollect},
		{"POST", "/batch", member, (*Agent).postBatch},
		{"GET", "/leaf", renew, (*Agent).getLeaf},
		{"PUT", "/leaf", renew, (*Agent).putLeaf},
		{"PUT", "/certificates/{name}", renew, (*Agent).putCertificate},
		{"GET", "/sites/{site}/head", member, (*Agent).getHead},
		{"PUT", "/sites/{site}/head", deploy, (*Agent).putHead},
		{"PUT", "/sites/{site}/lease", deploy, (*Agent).putLease},
		{"DELETE", "/sites/{site}/lease", deploy, (*Agent).deleteLease},
		{"GET", "/sites/{site}/releases", member, (*Agent).getReleases},
		{"GET", "/sites/{site}/releases/{release}", deploy, (*Agent).getManifest},
		{"PUT", "/sites/{site}/releases/{release}", deploy, (*Agent).putManifest},
		{"POST", "/sites/{site}/releases/{release}/stage", deploy, (*Agent).postStage},
		{"GET", "/sites/{site}/releases/{release}/codings", deploy, (*Agent).getCodings},
		{"GET", "/sites/{site}/previews", deploy, (*Agent).getPreviews},
		{"PUT", "/sites/{site}/previews/{host}", deploy, (*Agent).putPreview},
		{"DELETE", "/sites/{site}/previews/{host}", deploy, (*Agent).deletePreview},
		{"POST", "/sites/{site}/pack", deploy, (*Agent).postPack},
		{"POST", "/sites/{site}/objects", deploy, (*Agent).postObjects},
	}
}

// match returns the elements of a path that a route's placeholders stand for.
func (r *route) match(elements []string) (map[string]string, bool) {
	want := strings.Split(strings.TrimPrefix(r.path, "/"), "/")
	if len(want) != len(elements) {
		return nil, false
	}
	values := make(map[string]string)
	for i, w := range want {
		switch {
		case strings.HasPrefix(w, "{"):
			values[strings.Trim(w, "{}")] = elements[i]
		case w != elements[i]:
			return nil, false
		}
	}
	return values, true
}

// elementsOf returns the elements of a path below its version, unescaped.
func elementsOf(escaped string) ([]string, bool) {
	parts := strings.Split(escaped, "/") // "", "v1", …
	if len(parts) < 3 {
		return nil, false
	}
	elements := make([]string, 0, len(parts)-2)
	for _, part := range parts[2:] {
		element, err := url.PathUnescape(part)
		if err != nil || element == "" {
			return nil, false
		}
		elements = append(elements, element)
	}
	return elements, true
}

// find returns the route of a request, with what its placeholders stand for.
func (a *Agent) find(r *http.Request) (*route, map[string]string, error) {
	version, ok := api.PathVersion(r.URL.Path)
	if !ok {
		return nil, nil, &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound, Message: "there is nothing at " + r.URL.Path, Hint: "paths begin with " + api.Path(a.o.Versions.Max)}
	}
	if !a.o.Versions.Has(version) {
		return nil, nil, &api.Error{
			Status: http.StatusNotFound, Code: api.CodeVersion, API: &a.o.Versions,
			Message: "this agent does not speak " + api.Path(version),
			Hint:    "it speaks " + api.Path(a.o.Versions.Min) + " to " + api.Path(a.o.Versions.Max) + "; upgrade the older side",
		}
	}
	var allowed []string
	if elements, ok := elementsOf(r.URL.EscapedPath()); ok {
		for i := range a.routes {
			values, ok := a.routes[i].match(elements)
			if ok && a.routes[i].method == r.Method {
				return &a.routes[i], values, nil
			}
			if ok {
				allowed = append(allowed, a.routes[i].method)
			}
		}
	}
	if len(allowed) > 0 {
		allow := strings.Join(allowed, ", ")
		return nil, nil, &methodError{allow: allow, told: &api.Error{
			Status: http.StatusMethodNotAllowed, Code: api.CodeMethod,
			Message: r.Method + " is not possible at " + r.URL.Path, Hint: "possible are: " + allow,
		}}
	}
	return nil, nil, &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound, Message: "there is nothing at " + r.URL.Path, Hint: "docs/agent-api.md lists what there is"}
}

// A methodError knows what Allow has to say (RFC 9110 §15.5.6).
type methodError struct {
	told  *api.Error
	allow string
}

// Error returns what the answer says.
func (e *methodError) Error() string { return e.told.Message }

// Unwrap returns the answer.
func (e *methodError) Unwrap() error { return e.told }
