package edge

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// Whatever waits for a connection, a loop or a goroutine, does so for no longer
// than it may be idle, and no half of a TLS record makes that longer.
func TestAnIdleConnectionEndsWhateverWaitsForIt(t *testing.T) {
	ask := func(conn *rawConn) net.Conn {
		conn.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").receive("GET")
		return conn
	}
	connections := map[string]func(r *running) net.Conn{
		"HTTP/1.1":          func(r *running) net.Conn { return ask(r.dial()) },
		"HTTP/1.1 over TLS": func(r *running) net.Conn { return ask(r.dialTLS("localhost")) },
		"HTTP/1.1 over TLS, with a record that does not end": func(r *running) net.Conn {
			conn := r.dialTLS("localhost")
			ask(conn)
			go drip(conn.Conn.(*tls.Conn).NetConn(), append([]byte{23, 3, 3, 0x40, 0}, bytes.Repeat([]byte("x"), 1<<14)...))
			return conn
		},
		"HTTP/2": func(r *running) net.Conn {
			conn := r.dialH2("localhost")
			if got := conn.status(conn.open(true, h2Get("localhost", "/")...)); got != "200" {
				t.Errorf("got %s", got)
			}
			return conn.conn
		},
	}
	for by, noLoops := range map[string]bool{"a loop": false, "a goroutine": true} {
		for over, dial := range connections {
			t.Run(over+", "+by, func(t *testing.T) {
				plain := over == "HTTP/1.1"
				r := start(t, setup{plain: plain, secure: !plain, edit: func(o *Options) {
					o.Engine, o.noLoops = Fast, noLoops
					o.Limits.IdleTimeout = 200 * time.Millisecond
				}})
				if _, err := io.Copy(io.Discard, dial(r)); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("it did not end")
				}
			})
		}
	}
}

// TLS says goodbye when it closes a connection, for which it waits up to five
// seconds. Who does not read is not told: one after the other they would take longer
// than a test has patience.
func TestNoFarewellWaitsForAReaderThatIsStuck(t *testing.T) {
	for _, file := range []string{"memory.bin", "disk.bin"} {
		t.Run(file, func(t *testing.T) {
			r := start(t, setup{
				secure: true, files: map[string]string{"memory.bin": strings.Repeat("x", 2<<20), "disk.bin": strings.Repeat("x", 16<<20)},
				edit: func(o *Options) { o.Engine, o.Limits.Drain = Fast, 100*time.Millisecond },
			})
			for range 7 {
				conn := r.dialTLS("localhost")
				for range 10 {
					conn.send("GET /" + file + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
				}
				if _, err := conn.in.Peek(1); err != nil {
					t.Fatal(err)
				}
			}
			ends(t, r.draining())
		})
	}
}

// drip sends byte after byte until nobody takes them.
func drip(conn net.Conn, data []byte) {
	for i := range data {
		if _, err := conn.Write(data[i : i+1]); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
