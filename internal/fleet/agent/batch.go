package agent

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"pennyfarthing/internal/fleet/api"
)

// postBatch makes several calls, one after the other, until one is refused. Each is
// asked for what its caller may do, as if it had come alone. The answers go out one by
// one: who has asked for a lease knows soon that it has it.
func (a *Agent) postBatch(c *call) error {
	kind, parameters, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != api.TypeBatch || parameters["boundary"] == "" {
		return &api.Error{Status: http.StatusUnsupportedMediaType, Code: api.CodeBadRequest, Message: "a batch is " + api.TypeBatch + " with a boundary, and each of its parts " + api.TypeHTTP}
	}
	control := http.NewResponseController(c.w)
	_ = control.EnableFullDuplex() // HTTP/1.1 reads all of a request before it answers otherwise, and HTTP/2 does not
	in, out := multipart.NewReader(c.r.Body, parameters["boundary"]), multipart.NewWriter(c.w)
	for n := 0; ; n++ {
		part, err := in.NextRawPart()
		switch {
		case n == 0 && err != nil:
			return unreadable(err)
		case errors.Is(err, io.EOF):
			_ = out.Close() // a caller who is gone is told nothing
			return nil
		case err != nil:
			return nil // it is answered as far as it came
		case n == 0:
			c.w.Header().Set("Content-Type", api.TypeBatch+"; boundary="+out.Boundary())
		}
		answer := a.answerPart(c, n, part)
		if writeAnswer(out, answer) != nil || control.Flush() != nil {
			return nil // the caller is gone
		}
		if answer.status >= http.StatusBadRequest {
			_ = out.Close() // as above
			return nil
		}
	}
}

// answerPart makes the call in the n-th part of a batch.
func (a *Agent) answerPart(c *call, n int, part *multipart.Part) *heldAnswer {
	w := &heldAnswer{to: c.w, header: make(http.Header), status: http.StatusOK}
	r, err := a.readPart(c, part)
	if n >= api.MaxBatch {
		err = &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: fmt.Sprintf("a batch has at most %d calls", api.MaxBatch)}
	}
	if err != nil {
		a.answerError(w, c.r, err)
		return w
	}
	// What comes after a request may take its time: so may what it asks for.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
	a.ServeHTTP(w, r)
	return w
}

// readPart reads the head of the call in a part.
func (a *Agent) readPart(c *call, part *multipart.Part) (*http.Request, error) {
	if kind := part.Header.Get("Content-Type"); kind != api.TypeHTTP {
		return nil, &api.Error{Status: http.StatusUnsupportedMediaType, Code: api.CodeBadRequest, Message: fmt.Sprintf("a part of the batch is %.60q and not %s", kind, api.TypeHTTP)}
	}
	limited := &io.LimitedReader{R: part, N: headBytes}
	r, err := http.ReadRequest(bufio.NewReader(limited))
	limited.N = math.MaxInt64 // the body's limit is its call's
	if err != nil {
		return nil, &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: fmt.Sprintf("a part of the batch is no request: %v", err)}
	}
	r = r.WithContext(c.r.Context())
	r.TLS, r.RemoteAddr = c.r.TLS, c.r.RemoteAddr
	route, _, err := a.find(r)
	if err != nil {
		return nil, err
	}
	if !route.inBatch() {
		return nil, &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: fmt.Sprintf("%s %s is not possible in a batch", r.Method, r.URL.Path), Hint: "ask for it alone"}
	}
	return r, nil
}

// inBatch reports whether a call may be part of a batch: what changes a site may, as its
// answers are short.
func (r *route) inBatch() bool {
	return r.method != http.MethodGet && strings.HasPrefix(r.path, "/sites/") && !strings.HasSuffix(r.path, "/objects")
}

// A heldAnswer keeps an answer until it is whole.
type heldAnswer struct {
	to     http.ResponseWriter
	header http.Header
	status int
	body   bytes.Buffer
}

// Header returns the fields.
func (w *heldAnswer) Header() http.Header { return w.header }

// WriteHeader notes the status.
func (w *heldAnswer) WriteHeader(status int) { w.status = status }

// Write keeps some of the body.
func (w *heldAnswer) Write(p []byte) (int, error) { return w.body.Write(p) }

// SetReadDeadline is that of the batch: the body that is read is a part of its body.
func (w *heldAnswer) SetReadDeadline(at time.Time) error {
	return http.NewResponseController(w.to).SetReadDeadline(at)
}

// writeAnswer writes an answer as a part.
func writeAnswer(out *multipart.Writer, answer *heldAnswer) error {
	part, err := out.CreatePart(textproto.MIMEHeader{"Content-Type": {api.TypeHTTP}})
	if err != nil {
		return err
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\nContent-Length: %d\r\n", answer.status, http.StatusText(answer.status), answer.body.Len())
	answer.header.Del("Cache-Control") // nothing keeps an answer to a POST
	answer.header.Del(api.HeaderVersion)
	if err := answer.header.Write(&head); err != nil {
		return err
	}
	head.WriteString("\r\n")
	_, err = io.Copy(part, io.MultiReader(&head, &answer.body))
	return err
}
