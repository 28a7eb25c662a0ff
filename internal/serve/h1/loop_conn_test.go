package h1

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

func TestHitsOverTLS(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		e := &edge{engine: on}
		e.start(t, tlsListener{l, selfSigned(t)}, Options{}, nil)
		for _, tt := range []struct {
			name  string
			parts []string
			want  []int
		}{
			{"a bad head comes last", strings.Split(good+head+"Bad : field\r\n\r\n"+good, ""), []int{200, 400}},
			{"the last one says close", []string{get("/huge") + good, get("/large", "Connection: close") + good, strings.Repeat("x", 60<<10)}, []int{200, 200, 200}},
			{"a non-hit stands in the middle", []string{get("/page") + get("/other") + get("/page", "Connection: close")}, []int{200, 200, 200}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				nc, err := tls.Dial("tcp", e.addr, &tls.Config{InsecureSkipVerify: true})
				if err != nil {
					t.Fatal(err)
				}
				c := newClient(t, nc)
				defer c.close()
				c.send(tt.parts...)
				for i, want := range tt.want {
					if status, _ := c.answer(); status != want {
						t.Errorf("answer %d: status %d, want %d", i, status, want)
					}
				}
				c.wantEOF()
			})
		}
	})
}

// TestTheLastHitSurvivesALongRequest sends so much after the last request that closing at once would reset the connection.
func TestTheLastHitSurvivesALongRequest(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		e := on.newEdge(t, Options{}, nil)
		for range 20 {
			c := dial(t, e)
			c.send(get("/large", "Connection: close"), strings.Repeat("x", 60<<10))
			if _, body := c.answer(); body != string(pages["/large"]) {
				t.Errorf("a body of %d bytes", len(body))
			}
			c.wantEOF()
			c.close()
		}
	})
}

func TestAClientMayHangUpHalfAfterItsLastRequest(t *testing.T) {
	onBoth(t, func(t *testing.T, on engine) {
		e := on.newEdge(t, Options{}, nil)
		for _, tt := range []struct {
			name string
			in   string
			want int
		}{
			{"hits", get("/page") + get("/large"), 2},
			{"a non-hit behind hits", good + get("/huge") + get("/other"), 3},
			{"half a head behind a hit", good + good[:9], 1},
			{"half a body behind a hit", good + post + "Content-Length: 2\r\n\r\nh", 2},
		} {
			t.Run(tt.name, func(t *testing.T) {
				c := dial(t, e)
				defer c.close()
				c.send(tt.in)
				c.wg.Wait()
				if err := c.c.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				for range tt.want {
					c.answer()
				}
				c.wantEOF()
			})
		}
	})
}

func TestAFailureOfTheConnectionEndsTheLoop(t *testing.T) {
	near, far := net.Pipe()
	_ = near.Close()
	if rest, e := listen(far); rest != nil || len(e.saw) > 0 {
		t.Errorf("handed over: %v; %q", rest != nil, e.saw)
	}
	near, far = net.Pipe()
	defer near.Close()
	_ = far.Close()
	if rest, _ := listen(far); rest != nil {
		t.Error("handed over")
	}
	if _, err := far.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write: %v", err)
	}
}
