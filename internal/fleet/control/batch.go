package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"

	"pennyfarthing/internal/fleet/api"
)

// A partCall is one of several calls in one.
type partCall struct {
	method string
	path   string
	header http.Header
	body   []byte
}

// A batch is several calls in one whose answers come one by one.
type batch struct {
	agent *agentClient
	resp  *http.Response
	parts *multipart.Reader
}

// batch makes calls in one, which the agent makes in their order until it refuses one. The
// caller closes it.
func (a *agentClient) batch(ctx context.Context, calls []partCall) (*batch, error) {
	var body bytes.Buffer
	out := multipart.NewWriter(&body)
	for _, c := range calls {
		part, err := out.CreatePart(textproto.MIMEHeader{"Content-Type": {api.TypeHTTP}})
		if err == nil {
			err = c.write(part, a.pop.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", a.pop.Name, err)
		}
	}
	if err := out.Close(); err != nil {
		return nil, fmt.Errorf("ask %s: %w", a.pop.Name, err)
	}
	header := http.Header{"Content-Type": {api.TypeBatch + "; boundary=" + out.Boundary()}}
	resp, err := a.send(ctx, call{method: http.MethodPost, path: apiPath("batch"), header: header, body: &body}) //nolint:bodyclose // who has the batch closes it
	if err != nil {
		return nil, err
	}
	b := &batch{agent: a, resp: resp}
	kind, parameters, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != api.TypeBatch {
		b.close()
		return nil, a.gone(ctx, fmt.Errorf("it answers a batch with %.60q", resp.Header.Get("Content-Type")))
	}
	b.parts = multipart.NewReader(resp.Body, parameters["boundary"])
	return b, nil
}

// write writes a call as HTTP/1.1 has it.
func (c *partCall) write(w io.Writer, host string) error {
	header := c.header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	header.Set("Host", host)
	header.Set("Content-Length", strconv.Itoa(len(c.body)))
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\n", c.method, c.path)
	if err := header.Write(&head); err != nil {
		return err
	}
	head.WriteString("\r\n")
	_, err := io.Copy(w, io.MultiReader(&head, bytes.NewReader(c.body)))
	return err
}

// next reads the answer to the next call into a value, of which nil is none. The errors
// are those of [agentClient.do].
func (b *batch) next(ctx context.Context, result any) error {
	part, err := b.parts.NextRawPart()
	if err != nil {
		return b.agent.gone(ctx, fmt.Errorf("read the answers to a batch: %w", err))
	}
	resp, err := http.ReadResponse(bufio.NewReader(part), nil)
	if err != nil {
		return b.agent.gone(ctx, fmt.Errorf("read an answer of a batch: %w", err))
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return b.agent.refused(resp)
	}
	if result == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(result); err != nil {
		return b.agent.gone(ctx, fmt.Errorf("read an answer of a batch: %w", err))
	}
	return nil
}

// close gives up what has not been read.
func (b *batch) close() { _ = b.resp.Body.Close() } // an answer is only read
