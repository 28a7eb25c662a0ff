package h3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

func TestAHandlerHearsThatItsClientIsGone(t *testing.T) {
	for name, leave := range map[string]func(c *client, s *clientStream){
		"the answer is not wanted":  func(_ *client, s *clientStream) { s.CancelRead(quic.StreamErrorCode(RequestCancelled)) },
		"the connection has ended":  func(c *client, _ *clientStream) { _ = c.conn.CloseWithError(0x100, "") },
		"the server has shut down":  func(c *client, _ *clientStream) { _ = c.server.Shutdown(canceled()) },
		"the whole request is gone": func(_ *client, s *clientStream) { s.CancelWrite(1); s.CancelRead(1) },
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			o := Options{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				below, cancel := context.WithCancel(r.Context())
				defer cancel()
				<-below.Done()
				ended <- below.Err()
			})}
			inBubble(t, o, func(c *client) {
				s := c.open(headers("POST", "/"))
				synctest.Wait()
				leave(c, s)
			})
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the context ended with %v", err)
			}
		})
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestAHandlerThatReadsHearsOfAReset(t *testing.T) {
	got := make(chan error, 2)
	o := Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := r.Body.Read(make([]byte, 1))
		got <- err
		_, err = w.Write(letters(1 << 20))
		got <- err
	})}
	inBubble(t, o, func(c *client) {
		s := c.open(headers("POST", "/"))
		synctest.Wait()
		s.CancelWrite(quic.StreamErrorCode(RequestCancelled))
		if words, _ := s.answer(); fmt.Sprint(words) != "["+resetWith(RequestCancelled)+"]" {
			t.Errorf("%v, want H3_REQUEST_CANCELLED", words)
		}
	})
	if err := <-got; !errors.Is(err, errReset) {
		t.Errorf("reading: %v, want %v", err, errReset)
	}
	if err := <-got; err == nil {
		t.Error("writing goes on")
	}
}

func TestShutdownWaitsForAnswersAndRejectsRequests(t *testing.T) {
	release := make(chan struct{})
	var o Options
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		fmt.Fprint(w, "done")
	})
	inBubble(t, o, func(c *client) {
		release = make(chan struct{}) // of the bubble
		s := c.request(headers("GET", "/"))
		control := c.control()
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- c.server.Shutdown(c.t.Context()) }()
		synctest.Wait()
		kind, payload, err := control.frame()
		if err != nil || kind != frameGoAway {
			t.Fatalf("frame %#x, %v, want GOAWAY", kind, err)
		}
		if id, _, err := quicvarint.Parse(payload); err != nil || id != 4 {
			t.Errorf("GOAWAY of %d, %v, want 4", id, err)
		}
		if words, _ := c.request(headers("GET", "/")).answer(); fmt.Sprint(words) != "["+resetWith(RequestRejected)+"]" {
			t.Errorf("a request behind GOAWAY: %v, want H3_REQUEST_REJECTED", words)
		}
		time.Sleep(time.Hour)
		select {
		case err := <-down:
			t.Fatalf("Shutdown returned %v with a request in flight", err)
		default:
		}
		close(release)
		if words, body := s.answer(); body != "done" {
			t.Errorf("%v %q, want the answer", words, body)
		}
		start := time.Now()
		if got := c.end(); got != closedWith(NoError) || time.Since(start) > 2*time.Second {
			t.Errorf("%s after %v, want H3_NO_ERROR after a second", got, time.Since(start))
		}
		if err := <-down; err != nil {
			t.Error(err)
		}
	})
}

// control returns the server's control stream behind its SETTINGS.
func (c *client) control() *clientStream {
	c.t.Helper()
	u, err := c.conn.AcceptUniStream(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	s := &clientStream{t: c.t, in: newReader(u)}
	if kind, err := quicvarint.Read(s.in); err != nil || kind != streamControl {
		c.t.Fatalf("stream of type %d, %v", kind, err)
	}
	kind, payload, err := s.frame()
	if err != nil || kind != frameSettings {
		c.t.Fatalf("frame %#x, %v", kind, err)
	}
	if diff := cmp.Diff([]byte{settingFieldSectionSize, 0x80, 0, 0x80, 0}, payload); diff != "" {
		c.t.Errorf("SETTINGS (-want +got):\n%s", diff)
	}
	return s
}

func TestShutdownThatMayNotWaitBreaksOff(t *testing.T) {
	inBubble(t, talkOptions(), func(c *client) {
		s := c.request(headers("GET", "/wait"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
		defer cancel()
		if err := c.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if words, _ := s.answer(); fmt.Sprint(words) != "["+closedWith(NoError)+"]" {
			t.Errorf("%v, want the end with H3_NO_ERROR", words)
		}
	})
}

func TestAServerThatIsDownServesNobody(t *testing.T) {
	t.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	server := NewServer(talkOptions())
	if err := server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	address := serveLoopback(t, server)
	conn, err := quic.DialAddr(t.Context(), address, clientTLS(), nil)
	if err != nil {
		t.Fatal(err)
	}
	<-conn.Context().Done()
	if got := outcome(context.Cause(conn.Context())); got != closedWith(NoError) {
		t.Errorf("%s, want H3_NO_ERROR", got)
	}
}

func TestAPanicOutsideOfHandlersIsContained(t *testing.T) {
	var failure any
	o := talkOptions()
	o.OnCrash = func(f any, _ []byte) { failure = f }
	o.Hit = func(*ConnInfo, *Request, *Hit) bool { panic("oh") }
	inBubble(t, o, func(c *client) {
		c.request(headers("GET", "/"))
		if got := c.end(); got != closedWith(InternalError) {
			t.Errorf("%s, want H3_INTERNAL_ERROR", got)
		}
	})
	if failure != "oh" {
		t.Errorf("it was told of %v", failure)
	}
}

func TestAPanicOfAHandlerIsTold(t *testing.T) {
	var told []any
	o := talkOptions()
	o.OnPanic = func(f any) { told = append(told, f) }
	inBubble(t, o, func(c *client) {
		c.request(headers("GET", "/panic")).answer()
		c.request(headers("GET", "/abort")).answer()
	})
	if diff := cmp.Diff([]any{"oh"}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestStreamsAreBoundedWithTheirHandlers: a client that resets what it asked for
// gets no more handlers than streams.
func TestStreamsAreBoundedWithTheirHandlers(t *testing.T) {
	running, most := 0, 0
	mu := make(chan struct{}, 1) // a mutex
	o := Options{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu <- struct{}{}
		running++
		most = max(most, running)
		<-mu
		time.Sleep(time.Minute) // it takes no notice
		mu <- struct{}{}
		running--
		<-mu
	})}
	inBubble(t, o, func(c *client) {
		mu = make(chan struct{}, 1) // of the bubble
		for range 150 {
			s := c.request(headers("GET", "/"))
			s.CancelRead(quic.StreamErrorCode(RequestCancelled))
			synctest.Wait()
		}
	})
	if most > 128 || most < 100 {
		t.Errorf("%d handlers at once, want at most 128", most)
	}
}

func TestTheErrorsSayWhatTheyAre(t *testing.T) {
	for _, err := range []error{&connError{FrameError, "why"}, &streamError{MessageError, "why"}} {
		if !strings.Contains(err.Error(), "0x10") || !strings.HasSuffix(err.Error(), "why") {
			t.Errorf("%q", err)
		}
	}
}
