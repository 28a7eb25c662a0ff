package h3

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// answer runs the handler for a request, or what answers in its place.
func (st *stream) answer() {
	r := st.newRequest()
	w := &responseWriter{st: st, header: make(http.Header), method: r.Method, length: -1}
	if why := st.section.refusal; why != NotRefused {
		st.run(w, r, func() { st.section.options.Refuse(w, r, why) })
		return
	}
	q := &st.section.request
	target, err := targetOf(q)
	if err != nil {
		st.section.refusal = BadTarget
		st.answer()
		return
	}
	header := st.section.regular() // its strings are the stream's own, which nobody uses again
	r.Method, r.URL, r.RequestURI, r.Host, r.Header = q.Method, target, q.Path, q.Authority, header
	if q.Path == "" {
		r.RequestURI = q.Authority
	}
	w.method = r.Method
	st.expects = httpguts.HeaderValuesContainsToken(header["Expect"], "100-continue")
	if st.expects {
		delete(header, "Expect")
	}
	r.Trailer = announcedTrailers(header)
	delete(header, "Host")
	delete(header, "Trailer")
	if !q.ended {
		r.ContentLength = q.length
		w.in = &requestBody{st: st, want: q.length, request: r}
		r.Body = w.in
	}
	st.run(w, r, func() { st.section.options.Handler.ServeHTTP(w, r) })
}

// newRequest returns a request of which only the connection is known.
func (st *stream) newRequest() *http.Request {
	c := st.conn
	return (&http.Request{
		URL: new(url.URL), Proto: "HTTP/3.0", ProtoMajor: 3, Header: make(http.Header),
		RemoteAddr: c.remote, TLS: c.tls(), Body: http.NoBody,
	}).WithContext(requestContext{st.quic.Context(), c.info.Context})
}

// targetOf returns the URL of a request, which for CONNECT is an authority.
func targetOf(q *Request) (*url.URL, error) {
	if q.Path == "" {
		return &url.URL{Host: q.Authority}, nil
	}
	return url.ParseRequestURI(q.Path)
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

// run calls a handler, and ends its stream when it has returned or panicked.
func (st *stream) run(w *responseWriter, r *http.Request, handle func()) {
	returned := false
	defer func() {
		failure := recover()
		if r.MultipartForm != nil {
			_ = r.MultipartForm.RemoveAll() // temporary files, which the system removes if we cannot
		}
		if returned {
			w.finish()
		} else {
			w.fail(InternalError)
		}
		if failure != nil && failure != http.ErrAbortHandler { //nolint:errorlint // as net/http has it
			if st.section.options.OnPanic == nil {
				panic(failure)
			}
			st.section.options.OnPanic(failure)
		}
	}()
	handle()
	returned = true
}
