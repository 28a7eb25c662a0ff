package h2

import (
	"context"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// startHandler runs the handler for a request in a goroutine of its own. mu is held.
func (c *conn) startHandler(id uint32, r *Request) error {
	// Streams that were reset no longer count as streams, but their handlers may
	// not have noticed yet.
	if c.handlers >= 2*c.server.options.Streams {
		return &streamError{id, RefusedStream, "too many handlers"}
	}
	path := strings.Clone(r.Path) // the request's strings are not its own
	target, err := url.ParseRequestURI(path)
	if err != nil {
		c.answerError(id, http.StatusBadRequest, r.ended)
		return nil
	}
	ctx, cancel := context.WithCancel(c.info.Context)
	st := &stream{conn: c, id: id, window: c.peerWindow, peerEnded: r.ended, handled: true, cancel: cancel, sentBefore: c.sent}
	st.priority, st.tunnel = c.reader.section.priority, r.tunnelling()
	st.wake.L = &c.mu
	c.streams[id] = st
	c.handlers++
	header := c.reader.section.regular()
	if st.tunnel {
		header[":protocol"] = []string{strings.Clone(r.protocol)} // as golang.org/x/net/http2 has it
	}
	expects := httpguts.HeaderValuesContainsToken(header["Expect"], "100-continue")
	if expects {
		delete(header, "Expect")
	}
	req := (&http.Request{
		Method: strings.Clone(r.Method), URL: target, RequestURI: path, Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: header, Host: strings.Clone(r.Authority), RemoteAddr: c.remote, TLS: c.info.TLS, Body: http.NoBody, Trailer: announcedTrailers(header),
	}).WithContext(ctx)
	delete(header, "Host")
	delete(header, "Trailer")
	if !r.ended {
		req.ContentLength = r.length
		st.in = &requestBody{st: st, want: r.length, request: req, expects: expects, gotBefore: c.got}
		req.Body = st.in
	}
	go c.runHandler(&responseWriter{st: st, header: make(http.Header), method: req.Method, length: -1}, req)
	return nil
}

// announcedTrailers returns what the Trailer fields name, without values, or nil.
func announcedTrailers(h http.Header) http.Header {
	var announced http.Header
	for _, line := range h["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))
			if name == "" || !httpguts.ValidTrailerHeader(name) {
				continue
			}
			if announced == nil {
				announced = make(http.Header)
			}
			announced[name] = nil
		}
	}
	return announced
}

func (c *conn) runHandler(w *responseWriter, r *http.Request) {
	returned := false
	defer func() {
		failure := recover()
		if r.MultipartForm != nil {
			_ = r.MultipartForm.RemoveAll() // temporary files, which the system removes if we cannot
		}
		c.mu.Lock()
		if returned {
			w.finish()
		} else {
			w.fail()
		}
		c.mu.Unlock()
		if failure != nil && failure != http.ErrAbortHandler { //nolint:errorlint // as net/http has it
			if c.server.options.OnPanic == nil {
				panic(failure)
			}
			c.server.options.OnPanic(failure)
		}
	}()
	c.server.options.Handler.ServeHTTP(w, r)
	returned = true
}
