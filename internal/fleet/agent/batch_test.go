package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"pennyfarthing/internal/fleet/api"
)

// A part is a call of a batch, as HTTP/1.1 has it.
type part struct {
	method, path string
	header       string
	body         []byte
}

func (p part) text() string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: au\r\nContent-Length: %d\r\n%s\r\n%s", p.method, p.path, len(p.body), p.header, p.body)
}

const boundary = "part"

// batchOf writes parts as the body of a batch, and its end if it is whole.
func batchOf(t *testing.T, whole bool, parts ...part) []byte {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	if err := w.SetBoundary(boundary); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		out, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {api.TypeHTTP}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(out, p.text()) // a buffer takes everything
	}
	if whole {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return body.Bytes()
}

var batchType = []string{"Content-Type", api.TypeBatch + "; boundary=" + boundary}

// answers reads the answers to a batch.
func answers(t *testing.T, header http.Header, body io.Reader) func() (status int, text string, err error) {
	t.Helper()
	kind, parameters, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || kind != api.TypeBatch {
		t.Fatalf("the answer is %q, %v", header.Get("Content-Type"), err)
	}
	in := multipart.NewReader(body, parameters["boundary"])
	return func() (int, string, error) {
		p, err := in.NextRawPart()
		if err != nil {
			return 0, "", err
		}
		if kind := p.Header.Get("Content-Type"); kind != api.TypeHTTP {
			t.Errorf("a part is %q", kind)
		}
		resp, err := http.ReadResponse(bufio.NewReader(p), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text), nil
	}
}

// batch makes a batch, and returns the answers.
func (c *client) batch(parts ...part) (statuses []int, texts []string) {
	c.t.Helper()
	resp, data := c.send("POST", "/v1/batch", batchOf(c.t, true, parts...), batchType...)
	if resp.StatusCode != http.StatusOK {
		c.t.Fatalf("a batch is answered %s: %s", resp.Status, data)
	}
	next := answers(c.t, resp.Header, bytes.NewReader(data))
	for {
		status, text, err := next()
		if errors.Is(err, io.EOF) {
			return statuses, texts
		}
		if err != nil {
			c.t.Fatal(err)
		}
		statuses, texts = append(statuses, status), append(texts, text)
	}
}

// bring are the calls that bring a release.
func (c *client) bring(tr tree, holder string) []part {
	m := tr.manifest()
	id := m.ID().String()
	var objects []string
	for _, f := range m.Files {
		objects = append(objects, f.Hash.String())
	}
	return []part{
		{method: "PUT", path: sitePath("lease"), body: fmt.Appendf(nil, `{"holder":%q,"ttl":60}`, holder)},
		{method: "PUT", path: sitePath("releases", id), header: api.HeaderStatement + ": " + c.releaseStatement(m) + "\r\n", body: m.Encode()},
		{method: "POST", path: sitePath("pack"), body: tr.pack(c.t, objects)},
		{method: "POST", path: sitePath("releases", id, "stage")},
	}
}

func TestABatchIsMadeInOrder(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	tr := tree{"index.html": "home", "a.css": "p{}"}
	id := tr.manifest().ID().String()
	statuses, texts := c.batch(append(c.bring(tr, "me"), part{method: "PUT", path: sitePath("head"), body: c.head(1, id)}, part{method: "DELETE", path: sitePath("lease"), body: []byte(`{"holder":"me"}`)})...)
	if fmt.Sprint(statuses) != "[200 200 200 200 200 204]" {
		t.Fatalf("answered %v %q", statuses, texts)
	}
	var offered api.ManifestResult
	var packed api.PackResult
	var staged api.StageResult
	if err := errors.Join(json.Unmarshal([]byte(texts[1]), &offered), json.Unmarshal([]byte(texts[2]), &packed), json.Unmarshal([]byte(texts[3]), &staged)); err != nil {
		t.Fatal(err)
	}
	if len(offered.Missing) != 2 || packed.Stored != 2 || staged.Files != 2 {
		t.Errorf("answered %q", texts)
	}
	p.serves("/", "home")
	if s := c.status(); !s.Batch || s.Sites[0].Lease != nil {
		t.Errorf("the status is %+v", s)
	}
}

func TestABatchEndsWithTheFirstCallThatIsRefused(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	c.deploy(1, tree{"index.html": "home"})
	c.want(nil, "PUT", sitePath("lease"), []byte(`{"holder":"somebody else","ttl":60}`))
	next := tree{"index.html": "next"}
	statuses, texts := c.batch(c.bring(next, "me")...)
	var told api.Error
	if len(statuses) != 1 || statuses[0] != http.StatusConflict || json.Unmarshal([]byte(texts[0]), &told) != nil || told.Code != api.CodeLeased || told.Lease.Holder != "somebody else" {
		t.Errorf("answered %v %q", statuses, texts)
	}
	c.refused(http.StatusNotFound, api.CodeNoRelease, "GET", sitePath("releases", next.manifest().ID().String()), nil)
}

// Who has asked for a lease should know that it has it while the rest is under way.
func TestTheAnswersToABatchComeOneByOne(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	body, more := io.Pipe()
	defer body.Close()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), "POST", c.base+"/v1/batch", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(batchType[0], batchType[1])
	calls := c.bring(tree{"index.html": "home"}, "me")
	go func() {
		_, _ = more.Write(batchOf(t, false, calls[0])) // whoever reads the answer fails if not
		_, _ = io.WriteString(more, "\r\n--"+boundary+"\r\n")
	}()
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	next := answers(t, resp.Header, resp.Body)
	if status, text, err := next(); status != http.StatusOK || !strings.Contains(text, `"holder":"me"`) {
		t.Fatalf("answered %d %q, %v", status, text, err)
	}
	rest := batchOf(t, true, calls[1:]...)
	if _, err := more.Write(rest[len("--"+boundary+"\r\n"):]); err != nil {
		t.Fatal(err)
	}
	if err := more.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range calls[1:] {
		if status, text, err := next(); status != http.StatusOK {
			t.Fatalf("call %d is answered %d %q, %v", i+1, status, text, err)
		}
	}
	if _, _, err := next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last answer: %v", err)
	}
}

func TestABatchThatIsCutOffIsAnsweredAsFarAsItCame(t *testing.T) {
	f := newFleet(t)
	c := f.ready("au").owner()
	calls := c.bring(tree{"index.html": "home"}, "me")
	cut := batchOf(t, false, calls[:2]...)
	resp, data := c.send("POST", "/v1/batch", cut[:len(cut)-10], batchType...)
	next := answers(t, resp.Header, bytes.NewReader(data))
	if status, text, err := next(); status != http.StatusOK || !strings.Contains(text, `"holder":"me"`) {
		t.Fatalf("answered %d %q, %v", status, text, err)
	}
	if status, text, _ := next(); status != http.StatusBadRequest || !strings.Contains(text, "cut off") {
		t.Errorf("the call that was cut off is answered %d %q", status, text)
	}
}

func TestWhatBelongsInNoBatchIsRefused(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	c.deploy(1, tree{"index.html": "home"})
	lease := part{method: "PUT", path: sitePath("lease"), body: []byte(`{"holder":"me","ttl":60}`)}
	for what, refused := range map[string]part{
		"a status":        {method: "GET", path: "/v1/status"},
		"logs":            {method: "GET", path: "/v1/logs?follow=1"},
		"a manifest":      {method: "GET", path: sitePath("releases", strings.Repeat("0", 64))},
		"objects":         {method: "POST", path: sitePath("objects"), body: []byte(`{"objects":[]}`)},
		"a batch":         {method: "POST", path: "/v1/batch"},
		"a roster":        {method: "PUT", path: "/v1/roster", body: []byte(`{}`)},
		"no request":      {method: "PUT", path: ""},
		"an endless head": {method: "PUT", path: sitePath("lease"), header: "X: " + strings.Repeat("x", 70<<10) + "\r\n"},
	} {
		statuses, texts := c.batch(lease, refused, lease)
		if fmt.Sprint(statuses) != "[200 400]" {
			t.Errorf("%s: answered %v %.200q", what, statuses, texts)
		}
	}
	many := make([]part, api.MaxBatch+1)
	for i := range many {
		many[i] = lease
	}
	statuses, texts := c.batch(many...)
	if last := len(statuses) - 1; last != api.MaxBatch || statuses[last] != http.StatusBadRequest || statuses[last-1] != http.StatusOK {
		t.Errorf("answered %v %q", statuses, texts)
	}
	c.refused(http.StatusUnsupportedMediaType, api.CodeBadRequest, "POST", "/v1/batch", nil, "Content-Type", "application/json")
	c.refused(http.StatusBadRequest, api.CodeBadRequest, "POST", "/v1/batch", []byte("--other--\r\n"), batchType...)
	other := bytes.ReplaceAll(batchOf(t, true, lease), []byte(api.TypeHTTP), []byte("text/plain"))
	resp, data := c.send("POST", "/v1/batch", other, batchType...)
	if status, text, err := answers(t, resp.Header, bytes.NewReader(data))(); status != http.StatusUnsupportedMediaType {
		t.Errorf("a part of another type is answered %d %q, %v", status, text, err)
	}
}

func TestACallInABatchAsksForItsRight(t *testing.T) {
	f := newFleet(t)
	ada := f.member("ada", "deploy:other.org")
	p := f.ready("au")
	for _, path := range []string{"lease", "pack", "head"} {
		method := map[string]string{"lease": "PUT", "pack": "POST", "head": "PUT"}[path]
		statuses, texts := p.as(ada).batch(part{method: method, path: sitePath(path), body: []byte("{}")})
		if len(statuses) != 1 || statuses[0] != http.StatusForbidden {
			t.Errorf("%s is answered %v %q", path, statuses, texts)
		}
	}
}

func TestAStatusIsOfOneSiteWhereThatIsAsked(t *testing.T) {
	f := newFleet(t)
	p := f.ready("au")
	c := p.owner()
	var newest string
	for i := range 5 {
		newest = c.deploy(uint64(i+1), tree{"index.html": fmt.Sprint(i)})
	}
	all := c.status()
	ask := func(query string) *api.Status {
		s := new(api.Status)
		c.want(s, "GET", "/v1/status?"+query, nil)
		return s
	}
	if len(all.Sites) != 1 || len(all.Sites[0].Staged) != 5 {
		t.Fatalf("the status is %+v", all.Sites)
	}
	s := ask("site=" + siteName + "&releases=2")
	if len(s.Sites) != 1 || len(s.Sites[0].Staged) != 2 || s.Sites[0].Staged[0] != newest || s.Sites[0].Head == nil || s.Key != all.Key {
		t.Errorf("of the site it is %+v", s)
	}
	if s := ask("site=other.org"); len(s.Sites) != 0 {
		t.Errorf("of another site it is %+v", s.Sites)
	}
	if s := ask("releases=9"); len(s.Sites) != 1 || len(s.Sites[0].Staged) != 5 {
		t.Errorf("with more releases than there are it is %+v", s.Sites)
	}
	for _, wrong := range []string{"-1", "many", ""} {
		c.refused(http.StatusBadRequest, api.CodeBadRequest, "GET", "/v1/status?releases="+wrong, nil)
	}
}
