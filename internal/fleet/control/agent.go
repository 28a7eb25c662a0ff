package control

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/mistake"
)

const (
	// dialLimit is how long a connection to an agent may take, handshake included. A
	// POP that is away delays the others by no more than that.
	dialLimit = 4 * time.Second
	// stall is how long an agent may say nothing and take nothing.
	stall = 30 * time.Second
	// maxAnswer bounds an answer that is JSON, in bytes: a list of a million hashes.
	maxAnswer = 96 << 20
	// maxError bounds an answer that says what is wrong.
	maxError = 1 << 20
)

// An agentClient speaks to the agent of one POP.
type agentClient struct {
	pop    POP
	http   *http.Client
	wire   *meter // what goes over the network
	closes func()
	// speaks is the version of the API that both know, 0 as long as that is not known.
	speaks atomic.Int32
}

// dialAgent returns a client of an agent. It connects when it is first used.
func dialAgent(pop POP, id *keys.Identity, roster func() *keys.Roster, now func() time.Time) *agentClient {
	wire := new(meter)
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	t := &http.Transport{
		TLSClientConfig: keys.ClientTLS(id, pop.Name, roster, now), TLSHandshakeTimeout: dialLimit, Protocols: protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", pop.API)
			if err != nil {
				return nil, err
			}
			return &meteredConn{conn, wire}, nil
		},
		// A POP whose connection is dead, and not closed, is noticed.
		HTTP2: &http.HTTP2Config{SendPingTimeout: stall / 2, PingTimeout: stall / 2, WriteByteTimeout: stall},
		// What is coded is coded by us.
		DisableCompression: true,
	}
	return &agentClient{pop: pop, http: &http.Client{Transport: t}, wire: wire, closes: t.CloseIdleConnections}
}

func (a *agentClient) close() { a.closes() }

// A call is one request to an agent.
type call struct {
	method string
	path   string
	header http.Header
	body   io.Reader // nil: none
	result any       // what the answer's JSON is read into; nil: it is not read
}

// do makes a call. The error is a [*GoneError] if there was no answer, and a
// [*RefusedError] if there was one that says no.
func (a *agentClient) do(ctx context.Context, c call) error {
	resp, err := a.send(ctx, c)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if c.result == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // so that the stream ends well
	} else {
		err = json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(c.result)
	}
	if err != nil {
		return a.gone(ctx, fmt.Errorf("read the answer to %s %s: %w", c.method, c.path, err))
	}
	return nil
}

// send makes a call and leaves the answer's body to the caller.
func (a *agentClient) send(ctx context.Context, c call) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, "https://"+a.pop.Name+c.path, c.body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", a.pop.Name, err)
	}
	if c.header != nil {
		req.Header = c.header.Clone()
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, a.gone(ctx, briefly(err))
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, a.refused(resp)
	}
	return resp, nil
}

// briefly leaves out which URL was asked: a POP's name says it.
func briefly(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// gone is the error of an agent that did not answer, unless it was we who gave up.
func (a *agentClient) gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &GoneError{POP: a.pop.Name, Err: err}
}

// refused reads what an agent has against a request.
func (a *agentClient) refused(resp *http.Response) error {
	e := &api.Error{Status: resp.StatusCode}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil || json.Unmarshal(data, e) != nil || e.Message == "" {
		e.Message = fmt.Sprintf("it answers %s, which no agent says", resp.Status)
	}
	switch e.Code { //nolint:exhaustive // the others are said plainly
	case api.CodeLeased:
		if e.Lease != nil {
			return &LeasedError{Lease: *e.Lease}
		}
	case api.CodeTooMany, api.CodeShuttingDown:
		return &GoneError{POP: a.pop.Name, Err: &RefusedError{POP: a.pop.Name, Answer: e}}
	}
	return &RefusedError{POP: a.pop.Name, Answer: e}
}

// apiPath is where something of the API is that is the same in all its versions.
func apiPath(elements ...string) string { return api.Path(api.Supported().Min, elements...) }

// numbers reports whether an agent names objects by their numbers: since version 2.
func (a *agentClient) numbers() bool { return a.speaks.Load() >= 2 }

// jsonBody is a value as the body of a request.
func jsonBody(v any) (io.Reader, error) {
	data, err := json.Marshal(v)
	return bytes.NewReader(data), err
}

// newestOf is how many releases of a site a deploy has to know of, at a POP. What it does
// not know of, and the POP has, costs a manifest on the way and no more.
const newestOf = 3

// status asks how a POP is: what belongs to one site, with its newest releases, or all if
// the site is empty. An agent that does not know the question says all.
func (a *agentClient) status(ctx context.Context, site string) (*api.Status, error) {
	path := apiPath("status")
	if site != "" {
		path += "?" + url.Values{api.QuerySite: {site}, api.QueryReleases: {strconv.Itoa(newestOf)}}.Encode()
	}
	s := new(api.Status)
	return s, a.do(ctx, call{method: http.MethodGet, path: path, result: s})
}

// statement fetches a signed statement; what it says is not verified.
func (a *agentClient) statement(ctx context.Context, at string) (*keys.Statement, error) {
	resp, err := a.send(ctx, call{method: http.MethodGet, path: at})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, keys.MaxStatement+1))
	if err != nil {
		return nil, a.gone(ctx, err)
	}
	st, err := keys.ParseStatement(data)
	if err != nil {
		return nil, fmt.Errorf("%s sends no statement: %w", a.pop.Name, err)
	}
	return st, nil
}

// put sends a signed statement.
func (a *agentClient) put(ctx context.Context, at string, st *keys.Statement) error {
	body, err := jsonBody(st)
	if err != nil {
		return err
	}
	return a.do(ctx, call{method: http.MethodPut, path: at, body: body})
}

func (a *agentClient) lease(ctx context.Context, site, holder string, ttl time.Duration) error {
	body, err := jsonBody(api.LeaseRequest{Holder: holder, TTL: int64(ttl / time.Second)})
	if err != nil {
		return err
	}
	return leaseOf(site, a.do(ctx, call{method: http.MethodPut, path: apiPath("sites", site, "lease"), body: body}))
}

// leaseOf says in an error about a lease of which site it is.
func leaseOf(site string, err error) error {
	if held, ok := errors.AsType[*LeasedError](err); ok {
		held.Site = site
	}
	return err
}

func (a *agentClient) unlease(ctx context.Context, site, holder string) error {
	body, err := jsonBody(api.LeaseRelease{Holder: holder})
	if err != nil {
		return err
	}
	return a.do(ctx, call{method: http.MethodDelete, path: apiPath("sites", site, "lease"), body: body})
}

// offer sends a manifest, coded, with the statement about it, and returns what is
// missing of its objects.
func (a *agentClient) offer(ctx context.Context, site, id string, how offered, coded []byte, p *parcel) ([]release.Hash, error) {
	header, err := how.header(p.statement)
	if err != nil {
		return nil, err
	}
	put := call{method: http.MethodPut, path: apiPath("sites", site, "releases", id), header: header, body: bytes.NewReader(coded)}
	if a.numbers() {
		var result api.ManifestRuns
		put.path, put.result = api.Path(2, "sites", site, "releases", id), &result
		if err := a.do(ctx, put); err != nil {
			return nil, err
		}
		return a.picked(p.numbering().Objects, result.Missing)
	}
	var result api.ManifestResult
	put.result = &result
	if err := a.do(ctx, put); err != nil {
		return nil, err
	}
	return a.hashes(result.Missing)
}

// picked returns the objects that an agent has named by their numbers.
func (a *agentClient) picked(objects []release.Object, runs [][2]int) ([]release.Hash, error) {
	named := make([]release.Run, len(runs))
	for i, r := range runs {
		named[i] = r
	}
	picked, err := release.Pick(objects, named)
	if err != nil {
		return nil, fmt.Errorf("%s lacks what is not in the release: %w", a.pop.Name, err)
	}
	hashes := make([]release.Hash, len(picked))
	for i, o := range picked {
		hashes[i] = o.Hash
	}
	return hashes, nil
}

// hashes reads the names of objects.
func (a *agentClient) hashes(names []string) ([]release.Hash, error) {
	hashes := make([]release.Hash, len(names))
	for i, name := range names {
		h, err := release.ParseHash(name)
		if err != nil {
			return nil, fmt.Errorf("%s lacks what is no object: %w", a.pop.Name, err)
		}
		hashes[i] = h
	}
	return hashes, nil
}

// An offered says how a manifest is sent.
type offered struct {
	base  string // the release whose manifest it refers to; "" for none
	patch bool   // as what is different about it
}

// header is what goes with it, and with the statement about it.
func (m offered) header(st *keys.Statement) (http.Header, error) {
	statement, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	header := http.Header{
		"Content-Type": {api.TypeManifest}, "Content-Encoding": {"zstd"}, api.HeaderStatement: {base64.StdEncoding.EncodeToString(statement)},
	}
	if m.patch {
		header.Set("Content-Encoding", api.CodingPatch)
	}
	if m.base != "" {
		header.Set(api.HeaderBase, m.base)
	}
	return header, nil
}

// pack sends objects.
func (a *agentClient) pack(ctx context.Context, site string, pack io.Reader) (*api.PackResult, error) {
	result := new(api.PackResult)
	return result, a.do(ctx, call{method: http.MethodPost, path: apiPath("sites", site, "pack"), header: http.Header{"Content-Type": {api.TypePack}}, body: pack, result: result})
}

func (a *agentClient) stage(ctx context.Context, site, id string) (*api.StageResult, error) {
	result := new(api.StageResult)
	return result, a.do(ctx, call{method: http.MethodPost, path: apiPath("sites", site, "releases", id, "stage"), result: result})
}

// codings asks which of a release's best codings an agent lacks.
func (a *agentClient) codings(ctx context.Context, site, release string) (*api.Codings, error) {
	result := new(api.Codings)
	return result, a.do(ctx, call{method: http.MethodGet, path: apiPath("sites", site, "releases", release, "codings"), result: result})
}

func (a *agentClient) releases(ctx context.Context, site string) (*api.Releases, error) {
	result := new(api.Releases)
	return result, a.do(ctx, call{method: http.MethodGet, path: apiPath("sites", site, "releases"), result: result})
}

func (a *agentClient) previews(ctx context.Context, site string) (*api.Previews, error) {
	result := new(api.Previews)
	return result, a.do(ctx, call{method: http.MethodGet, path: apiPath("sites", site, "previews"), result: result})
}

// endPreview ends a preview; with a statement that says so for good.
func (a *agentClient) endPreview(ctx context.Context, site, host string, end *keys.Statement) error {
	c := call{method: http.MethodDelete, path: apiPath("sites", site, "previews", host)}
	if end != nil {
		var err error
		if c.body, err = jsonBody(end); err != nil {
			return err
		}
	}
	return a.do(ctx, c)
}

// manifest fetches the bytes of a manifest, up to a limit, with the statement about it
// if there is one.
func (a *agentClient) manifest(ctx context.Context, site, id string) (text, statement []byte, err error) {
	resp, err := a.send(ctx, call{method: http.MethodGet, path: apiPath("sites", site, "releases", id)})
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(io.LimitReader(resp.Body, api.MaxManifest+1))
	if err != nil {
		return nil, nil, a.gone(ctx, err)
	}
	statement, err = base64.StdEncoding.DecodeString(resp.Header.Get(api.HeaderStatement))
	if err != nil {
		return nil, nil, fmt.Errorf("%s sends no statement with a manifest: %w", a.pop.Name, err)
	}
	return text, statement, nil
}

// objects fetches a pack of objects. The caller closes it.
func (a *agentClient) objects(ctx context.Context, site string, hashes []release.Hash) (io.ReadCloser, error) {
	names := make([]string, len(hashes))
	for i, h := range hashes {
		names[i] = h.String()
	}
	body, err := jsonBody(api.ObjectsRequest{Objects: names})
	if err != nil {
		return nil, err
	}
	resp, err := a.send(ctx, call{method: http.MethodPost, path: apiPath("sites", site, "objects"), body: body})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// A RefusedError is an agent's no.
type RefusedError struct {
	POP    string
	Answer *api.Error
}

// Error says who refuses, and why.
func (e *RefusedError) Error() string { return e.POP + " refuses: " + e.Answer.Message }

// refuses reports whether an error is that of an agent which does not let us in.
func refuses(err error) bool {
	refused, ok := errors.AsType[*RefusedError](err)
	return ok && (refused.Answer.Status == http.StatusForbidden || refused.Answer.Status == http.StatusUnauthorized)
}

// Unwrap is the answer, and the same as a mistake, which brings its hint.
func (e *RefusedError) Unwrap() []error {
	return []error{e.Answer, &mistake.Error{What: e.Error(), Hint: e.Answer.Hint}}
}
