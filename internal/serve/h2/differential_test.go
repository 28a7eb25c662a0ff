package h2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

// A reply is what a client sees of an answer.
type reply struct {
	Failed  bool // at whatever moment
	Status  int
	Early   []string // 1xx, with their fields
	Header  http.Header
	Body    string
	Length  int64
	Trailer http.Header
}

// A call is a request that both servers get.
type call struct {
	name    string
	method  string // GET
	path    string // "/"
	header  http.Header
	body    func() io.Reader
	trailer http.Header
	handler http.HandlerFunc
	broken  bool // it is the failure that must be alike, not how far the answer came
}

// ask sends a call and returns what comes of it.
func ask(ctx context.Context, client *http.Client, url string, c *call) reply {
	var r reply
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			r.Early = append(r.Early, fmt.Sprint(code, h))
			return nil
		},
	})
	var body io.Reader
	if c.body != nil {
		body = c.body()
	}
	req, err := http.NewRequestWithContext(ctx, c.method, url+c.path, body)
	if err != nil {
		panic(err)
	}
	req.Header, req.Trailer = c.header.Clone(), c.trailer.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	resp, err := client.Do(req)
	if err != nil {
		return reply{Failed: true, Early: r.Early}
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	r.Status, r.Header, r.Body, r.Length, r.Trailer, r.Failed = resp.StatusCode, resp.Header, string(content), resp.ContentLength, resp.Trailer, err != nil
	if r.Status == http.StatusNoContent || r.Status == http.StatusNotModified {
		r.Length = 0 // net/http ends some of them with an empty DATA frame
	}
	if resp.ProtoMajor != 2 {
		r.Body = "not HTTP/2"
	}
	return r
}

// unsized hides the length of a body from the client.
type unsized struct{ io.Reader }

func text(n int) func() io.Reader {
	return func() io.Reader { return bytes.NewReader(letters(n)) }
}

func textUnsized(n int) func() io.Reader {
	return func() io.Reader { return unsized{bytes.NewReader(letters(n))} }
}

// echo answers with what it has seen of a request.
func echo(w http.ResponseWriter, r *http.Request) {
	n := r.ContentLength
	body, err := io.ReadAll(r.Body)
	fmt.Fprintln(w, r.Method, r.RequestURI, r.URL.String(), r.Proto, r.ProtoMajor, r.ProtoMinor, r.Close, r.TransferEncoding, n, err)
	fmt.Fprintln(w, r.TLS != nil, r.TLS.ServerName, r.RemoteAddr != "", strings.HasPrefix(r.Host, "127.0.0.1:"))
	for _, key := range []any{http.ServerContextKey, http.LocalAddrContextKey} {
		fmt.Fprintln(w, r.Context().Value(key) != nil)
	}
	for _, h := range []http.Header{r.Header, r.Trailer} {
		for _, name := range slices.Sorted(maps.Keys(h)) {
			fmt.Fprintf(w, "%s: %q\n", name, h[name])
		}
	}
	_, _ = w.Write(body)
}

func writes(chunks ...int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, n := range chunks {
			if n < 0 {
				w.(http.Flusher).Flush()
			} else if _, err := w.Write(letters(n)); err != nil {
				return
			}
		}
	}
}

func status(code int, after ...http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"x"`)
		w.WriteHeader(code)
		for _, h := range after {
			h(w, r)
		}
	}
}

func declares(n int, chunks ...int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(n))
		writes(chunks...)(w, r)
	}
}

var errNoMore = errors.New("the body breaks off")

func bodyCalls() []call {
	var calls []call
	for _, n := range []int{1, 100, 4095, 4096, 4097, 16384, 16385, 65535, 65536, 300000} {
		calls = append(calls,
			call{name: fmt.Sprintf("a body of %d bytes with its length", n), method: "POST", body: text(n), handler: echo},
			call{name: fmt.Sprintf("a body of %d bytes without a length", n), method: "PUT", body: textUnsized(n), handler: echo},
			call{name: fmt.Sprintf("an answer of %d bytes", n), handler: writes(n)},
			call{name: fmt.Sprintf("an answer of %d bytes after another write", n), handler: writes(10, n)},
			call{name: fmt.Sprintf("an answer of %d bytes between flushes", n), handler: writes(-1, n, -1, 5)},
			call{name: fmt.Sprintf("HEAD of %d bytes", n), method: "HEAD", handler: writes(n)})
	}
	return append(calls,
		call{name: "an empty body without a length", method: "POST", body: textUnsized(0), handler: echo},
		call{name: "a body that breaks off", method: "POST", body: func() io.Reader {
			return io.MultiReader(bytes.NewReader(letters(70000)), errReader{errNoMore})
		}, handler: echo, broken: true},
		call{name: "a handler that never reads the body", method: "POST", body: text(1 << 20), handler: writes(7)},
		call{name: "a handler that reads half of the body", method: "POST", body: text(1 << 20), handler: func(w http.ResponseWriter, r *http.Request) {
			n, err := io.CopyN(io.Discard, r.Body, 1<<19)
			fmt.Fprintln(w, n, err)
		}},
		call{name: "a handler that closes the body", method: "POST", body: text(100), handler: func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, r.Body.Close())
			_, err := r.Body.Read(make([]byte, 1))
			fmt.Fprintln(w, err != nil)
		}},
		call{
			name: "Expect: 100-continue and a body", method: "POST", body: text(100), handler: echo,
			header: http.Header{"Expect": {"100-continue"}},
		},
		call{
			name: "Expect: 100-continue and a refusal", method: "POST", body: text(100), handler: status(413),
			header: http.Header{"Expect": {"100-continue"}},
		},
		call{name: "a read deadline that has passed is not extended", method: "POST", body: func() io.Reader {
			silent, _ := io.Pipe() // the client closes it
			return silent
		}, handler: func(w http.ResponseWriter, r *http.Request) {
			for _, patience := range []time.Duration{-time.Second, time.Hour} {
				fmt.Fprintln(w, http.NewResponseController(w).SetReadDeadline(time.Now().Add(patience)))
				_, err := r.Body.Read(make([]byte, 1))
				fmt.Fprintln(w, err)
			}
		}},
		call{name: "a multipart form with a file", method: "POST", body: func() io.Reader {
			return strings.NewReader("--x\r\nContent-Disposition: form-data; name=f; filename=g\r\n\r\n" + string(letters(100)) + "\r\n--x--\r\n")
		}, header: http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, handler: func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, r.ParseMultipartForm(1), len(r.MultipartForm.File["f"]))
		}})
}

// An errReader fails.
type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func statusCalls() []call {
	var calls []call
	for _, code := range []int{200, 201, 204, 206, 301, 304, 400, 404, 413, 500, 503, 999} {
		calls = append(calls,
			call{name: fmt.Sprintf("%d without a body", code), handler: status(code)},
			call{name: fmt.Sprintf("%d with a body", code), handler: status(code, writes(9))},
			call{name: fmt.Sprintf("%d that is flushed", code), handler: status(code, writes(-1))},
			call{name: fmt.Sprintf("HEAD and %d", code), method: "HEAD", handler: status(code, writes(9))})
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"} {
		calls = append(calls, call{name: "the method " + method, method: method, path: "/a%20b/c?d=e%2f", handler: echo})
	}
	return append(calls,
		call{name: "103 twice, and 102", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(103)
			w.WriteHeader(102)
			w.Header().Add("Link", "</b.css>; rel=preload")
			w.Header().Set("Content-Length", "5")
			w.WriteHeader(103)
			writes(5)(w, nil)
		}},
		call{name: "103 when the status has been set", handler: status(404, status(103), status(200), writes(4))},
		call{name: "an invalid status", handler: status(99), broken: true},
		call{name: "a status that is too large", handler: status(1000), broken: true},
		call{name: "fields that are set too late", handler: status(200, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Late", "1")
			w.Header().Del("ETag")
		}, writes(-1, 10000))},
	)
}

func lengthCalls() []call {
	return []call{
		{name: "the length that is declared", handler: declares(10, 4, 6)},
		{name: "much more than the length that is declared", handler: declares(10, 50000), broken: true},
		{name: "less than the length that is declared", handler: declares(10, 9), broken: true},
		{name: "nothing of the length that is declared", handler: declares(10), broken: true},
		{name: "less than the length that is declared, flushed", handler: declares(100000, 9, -1, 70000), broken: true},
		{name: "HEAD with a length", method: "HEAD", handler: declares(10)},
		{name: "HEAD with a length and a body", method: "HEAD", handler: declares(10, 10)},
		{name: "a length that is no number", handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "ten")
			writes(10)(w, r)
		}},
		{name: "a type that is set, and one that is not wanted", handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			writes(10)(w, r)
		}},
		{name: "an encoding without a type", handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			writes(10)(w, r)
		}},
		{name: "HTML that is recognized by its second write", handler: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<!doc")
			_, _ = io.WriteString(w, "type html>"+strings.Repeat("x", 5000))
		}},
	}
}

func fieldCalls() []call {
	many := http.Header{}
	for i := range 100 {
		many.Add("Cookie", fmt.Sprintf("c%d=%d", i, i))
	}
	return []call{
		{name: "many cookies", header: many, handler: echo},
		{name: "request fields that need CONTINUATION", header: http.Header{"X-Large": {string(letters(20000))}}, handler: echo},
		{name: "answer fields that need CONTINUATION", handler: func(w http.ResponseWriter, _ *http.Request) {
			for i := range 10 {
				w.Header().Set(fmt.Sprintf("X-Large-%d", i), string(letters(20000)))
			}
		}},
		{name: "fields that HTTP/2 does not have", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Transfer-Encoding", "chunked")
			w.Header().Set("Connection", "keep-alive")
			w.Header()["Bad Name"] = []string{"x"}
			w.Header()["X-Bad-Value"] = []string{"a\nb"}
			w.Header()["x-lower"] = []string{"1", "2"}
		}},
		{name: "the Connection field asks for the end", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			_, _ = w.Write([]byte("bye"))
		}},
		{name: "te: trailers", header: http.Header{"Te": {"trailers"}}, handler: echo},
	}
}

func trailerCalls() []call {
	set := func(name, value string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(name, value) }
	}
	both := func(chunks ...int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Trailer", "X-One, X-Two")
			w.Header().Add("Trailer", "X-Never, Content-Length")
			writes(chunks...)(w, r)
			set("X-Two", "2")(w, r)
			set("X-One", "1")(w, r)
			set(http.TrailerPrefix+"X-Three", "3")(w, r)
		}
	}
	return []call{
		{name: "trailers after a small body", handler: both(9)},
		{name: "trailers after a large body", handler: both(90000)},
		{name: "trailers after a flush", handler: both(-1, 9, -1)},
		{name: "trailers without a body", handler: both()},
		{name: "trailers that were not announced", handler: func(w http.ResponseWriter, r *http.Request) {
			writes(9)(w, r)
			set(http.TrailerPrefix+"X-Sum", "abc")(w, r)
		}},
		{
			name: "trailers of a request", method: "POST", body: textUnsized(50000), handler: echo,
			trailer: http.Header{"X-Sum": {"abc"}, "X-Other": {"d", "e"}},
		},
	}
}

func panicCalls() []call {
	abort := func(failure any) http.HandlerFunc {
		return func(http.ResponseWriter, *http.Request) { panic(failure) }
	}
	then := func(hs ...http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for _, h := range hs {
				h(w, r)
			}
		}
	}
	return []call{
		{name: "a panic at once", handler: abort("x"), broken: true},
		{name: "an abort at once", handler: abort(http.ErrAbortHandler), broken: true},
		{name: "a panic after a write", handler: then(writes(9), abort("x")), broken: true},
		{name: "an abort after a flush", handler: then(writes(90000, -1), abort(http.ErrAbortHandler)), broken: true},
		{name: "an abort in the middle of the request", method: "POST", body: text(1 << 20), handler: abort(http.ErrAbortHandler), broken: true},
	}
}

// twoServers starts net/http and a server of ours with the same handler.
func twoServers(t *testing.T, handler http.Handler) (theirs, ours string) {
	other := httptest.NewUnstartedServer(handler)
	other.EnableHTTP2 = true
	other.Config.ErrorLog = log.New(io.Discard, "", 0)
	other.StartTLS()
	t.Cleanup(other.Close)
	ours, _ = serveTLS(t, Options{Handler: handler, OnPanic: func(any) {}})
	return other.URL, ours
}

func newHTTPClient(t *testing.T) *http.Client {
	other := httptest.NewTLSServer(nil)
	other.Close()
	transport := other.Client().Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2, transport.DisableCompression = true, true
	transport.ExpectContinueTimeout = time.Minute
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	for _, c := range slices.Concat(bodyCalls(), statusCalls(), lengthCalls(), fieldCalls(), trailerCalls(), panicCalls()) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			theirs, ours := twoServers(t, c.handler)
			client := newHTTPClient(t)
			want, got := ask(t.Context(), client, theirs, &c), ask(t.Context(), client, ours, &c)
			if c.broken {
				want, got = reply{Failed: want.Failed}, reply{Failed: got.Failed}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-net/http +ours:\n%s", diff)
			}
		})
	}
}

func TestWhatIsMoreThanTheDeclaredLengthIsLeftOut(t *testing.T) {
	refused := make(chan error, 1)
	url, _ := serveTLS(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		declares(10, 10)(w, nil)
		_, err := w.Write(letters(1))
		refused <- err
	})})
	got := ask(t.Context(), newHTTPClient(t), url, &call{})
	if want := string(letters(10)); got.Body != want || got.Failed {
		t.Errorf("got %q, failed %v, want %q", got.Body, got.Failed, want)
	}
	if err := <-refused; !errors.Is(err, http.ErrContentLength) {
		t.Errorf("the write too many: %v, want %v", err, http.ErrContentLength)
	}
}

func TestAClientThatCancelsCancelsTheHandler(t *testing.T) {
	for _, c := range []struct{ name, method string }{{"before the answer", "GET"}, {"in the middle of the body", "POST"}} {
		t.Run(c.name, func(t *testing.T) {
			started, ended := make(chan struct{}), make(chan error, 1)
			url, _ := serveTLS(t, Options{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(started)
				_, err := io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
				ended <- err
			})})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { <-started; cancel() }()
			var body io.Reader
			if c.method == "POST" {
				reading, writing := io.Pipe()
				defer writing.Close()
				body = reading
			}
			req, err := http.NewRequestWithContext(ctx, c.method, url, body)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := newHTTPClient(t).Do(req); err == nil {
				resp.Body.Close()
				t.Error("the request was answered")
			}
			if err := <-ended; (err != nil) != (c.method == "POST") {
				t.Errorf("reading the body: %v", err)
			}
		})
	}
}

func TestAThousandRequestsAtOnceAreEchoed(t *testing.T) {
	requests := 1000
	if testing.Short() || raceEnabled {
		requests = 64
	}
	url, _ := serveTLS(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })})
	client := newHTTPClient(t)
	content := letters(1 << 20)
	var group errgroup.Group
	group.SetLimit(requests)
	for range requests {
		group.Go(func() error {
			req, err := http.NewRequestWithContext(t.Context(), "POST", url, bytes.NewReader(content))
			if err != nil {
				return err
			}
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err == nil && !bytes.Equal(got, content) {
				err = fmt.Errorf("an echo of %d bytes differs", len(got))
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestHitsAndHandlersShareConnections(t *testing.T) {
	url, _ := serveTLS(t, windowed())
	client, content := newHTTPClient(t), string(letters(300_000))
	var group errgroup.Group
	group.SetLimit(100)
	for i := range 400 {
		n := i * 997 % len(content)
		group.Go(func() error {
			got := ask(t.Context(), client, url, &call{path: fmt.Sprintf("/%s/%d", [2]string{"hit", "write"}[i%2], n)})
			if got.Failed || got.Body != content[:n] {
				return fmt.Errorf("request %d: failed %v, %d bytes of %d", i, got.Failed, len(got.Body), n)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
