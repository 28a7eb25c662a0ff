package agent

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"pennyfarthing/internal/fleet/api"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// stallTime is how long the other side of a connection may send or take nothing
// while it is its turn.
const stallTime = time.Minute

// A call is one request to the API, of somebody who may make it.
type call struct {
	r      *http.Request
	w      http.ResponseWriter
	key    keys.PublicKey
	values map[string]string // by placeholder
	heard  time.Time         // when a member was heard before this; zero for never

	version int // of the API, that it is asked in
}

func (c *call) site() string { return c.values["site"] }

// ServeHTTP answers a request to the API.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(api.HeaderVersion, a.o.Version)
	w.Header().Set("Cache-Control", "no-store")
	if err := a.serve(w, r); err != nil {
		a.answerError(w, r, err)
	}
}

func (a *Agent) serve(w http.ResponseWriter, r *http.Request) error {
	key, ok := keys.PeerKey(r.TLS)
	if !ok {
		return &api.Error{Status: http.StatusUnauthorized, Code: api.CodeNoKey, Message: "this connection has no client certificate of an Ed25519 key", Hint: "docs/agent-api.md shows how to make one"}
	}
	route, values, err := a.find(r)
	if err != nil {
		return err
	}
	c := &call{r: r, w: w, key: key, values: values}
	c.version, _ = api.PathVersion(r.URL.Path) // where there is a route there is a version
	if site, ok := values["site"]; ok && !isSiteName(site) {
		return noSite(site)
	}
	if err := a.authorise(c, route.needs); err != nil {
		return err
	}
	r.Body = &patientBody{ReadCloser: r.Body, control: http.NewResponseController(w)}
	return route.handle(a, c)
}

// authorise asks the roster of this moment whether a caller may do something: a
// connection outlives a roster.
func (a *Agent) authorise(c *call, needs need) error {
	roster := a.roster.Load().Roster
	if roster.Knows(c.key) {
		c.heard = a.seen.now()
		a.hush.heard()
	} else if needs != anyKey {
		c.w.Header().Set("Connection", "close") // a stranger need not stay
		return a.stranger(roster, c.key)
	}
	right, asks := needs.right(c.site())
	if !asks || roster.May(c.key, right) {
		return nil
	}
	m, _ := roster.Member(c.key) // who is known and has not every right
	return &api.Error{
		Status: http.StatusForbidden, Code: api.CodeForbidden,
		Message: fmt.Sprintf("%s may not do this: it takes the right %s", m.Name, right),
		Hint:    fmt.Sprintf("the owner gives it: penny key add NAME --may %s", right),
	}
}

func (a *Agent) stranger(roster *keys.Roster, key keys.PublicKey) error {
	if roster.Number == 0 {
		return &api.Error{
			Status: http.StatusForbidden, Code: api.CodeNotEnrolled,
			Message: fmt.Sprintf("this agent has no roster yet, and knows the owner %s only", roster.Owner()),
			Hint:    "bring it the roster: PUT " + api.Path(a.o.Versions.Max, "roster"),
		}
	}
	return &api.Error{
		Status: http.StatusForbidden, Code: api.CodeForbidden,
		Message: fmt.Sprintf("roster %d of the fleet %s does not have the key %s", roster.Number, roster.Fleet, key),
		Hint:    "penny key list shows who is in it; a newer roster may have to be brought here first",
	}
}

// answerError answers with what went wrong. What is our own fault is told to the
// log and not to the caller.
func (a *Agent) answerError(w http.ResponseWriter, r *http.Request, err error) {
	if method, ok := errors.AsType[*methodError](err); ok {
		w.Header().Set("Allow", method.allow)
	}
	told, ok := errors.AsType[*api.Error](err)
	if !ok {
		told = a.explain(err)
	}
	if told.Status >= http.StatusInternalServerError && told.Code == api.CodeInternal {
		a.log.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("err", err))
	}
	writeJSON(w, told.Status, told)
}

// explain finds the answer for an error that was not made for one.
func (a *Agent) explain(err error) *api.Error {
	if full, ok := errors.AsType[*api.Error](a.disk.diskError(err)); ok {
		return full
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &api.Error{Status: http.StatusRequestEntityTooLarge, Code: api.CodeTooLarge, Message: fmt.Sprintf("the request has more than %d bytes", large.Limit)}
	}
	if list := mistake.Of(err); len(list) > 0 {
		return &api.Error{Status: http.StatusUnprocessableEntity, Code: api.CodeInvalid, Message: err.Error(), Hint: list[0].Hint}
	}
	return &api.Error{Status: http.StatusInternalServerError, Code: api.CodeInternal, Message: "the agent failed; its log says why", Hint: "penny logs shows it"}
}

// body reads the whole body, of at most limit bytes.
func (c *call) body(limit int64) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, limit))
	if err != nil {
		return nil, unreadable(err)
	}
	return data, nil
}

// json reads the body, of at most limit bytes, as JSON. Fields that are not known
// are a newer client's.
func (c *call) json(into any, limit int64) error {
	data, err := c.body(limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: fmt.Sprintf("the body is not the JSON that belongs here: %v", err), Hint: "docs/agent-api.md says what does"}
	}
	return nil
}

// statement reads the statement in the body.
func (c *call) statement(limit int64) (*keys.Statement, []byte, error) {
	data, err := c.body(limit)
	if err != nil {
		return nil, nil, err
	}
	st, err := keys.ParseStatement(data)
	if err != nil {
		return nil, nil, invalid(err)
	}
	return st, data, nil
}

// headerStatement reads the statement in the header.
func (c *call) headerStatement() (*keys.Statement, []byte, error) {
	text := c.r.Header.Get(api.HeaderStatement)
	if text == "" {
		return nil, nil, &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: "the header " + api.HeaderStatement + " is missing", Hint: "it has the base64 of the statement that signs the release"}
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, nil, &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: fmt.Sprintf("the header %s is not base64: %v", api.HeaderStatement, err)}
	}
	st, err := keys.ParseStatement(data)
	if err != nil {
		return nil, nil, invalid(err)
	}
	return st, data, nil
}

// answer answers with JSON.
func (c *call) answer(v any) error {
	writeJSON(c.w, http.StatusOK, v)
	return nil
}

// answerStatement answers with a statement as it was signed.
func (c *call) answerStatement(raw []byte) error {
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = c.w.Write(raw) // a caller who is gone is told nothing
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a caller who is gone is told nothing
}

// unreadable is the answer to a body that could not be read: what is too large is
// told as such, anything else is the connection.
func unreadable(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	return &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: fmt.Sprintf("the body was cut off: %v", err), Hint: "send it again"}
}

// invalid is the answer to something that is damaged or not signed as it should.
func invalid(err error) error {
	told := &api.Error{Status: http.StatusUnprocessableEntity, Code: api.CodeInvalid, Message: err.Error()}
	if list := mistake.Of(err); len(list) > 0 {
		told.Hint = list[0].Hint
	}
	return told
}

func noSite(site string) error {
	return &api.Error{Status: http.StatusNotFound, Code: api.CodeNoSite, Message: fmt.Sprintf("there is no site %.260q", site), Hint: "penny status lists the sites"}
}

// A patientBody waits for a body as long as something comes.
type patientBody struct {
	io.ReadCloser
	control *http.ResponseController
}

// Read gives the other side some time for it.
func (b *patientBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(stallTime)) // HTTP/1.1 and 2 have it
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		_ = b.control.SetReadDeadline(time.Time{}) // what follows may take its time
	}
	return n, err
}

// A patientWriter waits for a reader as long as it takes something.
type patientWriter struct {
	w       io.Writer
	control *http.ResponseController
}

func (c *call) patientWriter() *patientWriter {
	return &patientWriter{w: c.w, control: http.NewResponseController(c.w)}
}

// Write gives the other side some time for it.
func (w *patientWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(stallTime)) // HTTP/1.1 and 2 have it
	return w.w.Write(p)
}
