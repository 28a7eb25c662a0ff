package h2

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Frames as they are sent: header, then payload.
const (
	settingsFrame   = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	headersFrame    = "\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82" // without END_HEADERS
	lastPart        = "\x00\x00\x00\x09\x04\x00\x00\x00\x01"     // CONTINUATION with END_HEADERS
	anotherPart     = "\x00\x00\x00\x09\x00\x00\x00\x00\x01"
	largeDataFrame  = "\x00\x40\x00\x00\x00\x00\x00\x00\x01"
	largePingHeader = "\x00\x00\x08\x06\x00\x00\x00\x00\x00"
)

func TestAWatchedConnectionEndsWhenSomethingDoesNot(t *testing.T) {
	const head = 5 * time.Second
	type step struct {
		bytes string
		after time.Duration
	}
	for name, test := range map[string]struct {
		only  bool
		steps []step
		ends  bool
	}{
		"nothing, where HTTP/2 was agreed upon":           {true, []step{{"", head}}, true},
		"nothing, where anything may come":                {false, []step{{"", time.Hour}}, false},
		"half a preface":                                  {false, []step{{preface[:10], head}}, true},
		"a preface that drips":                            {false, []step{{preface[:5], head / 2}, {preface[5:8], head / 2}}, true},
		"a preface and SETTINGS":                          {true, []step{{preface + settingsFrame, time.Hour}}, false},
		"HTTP/1.1":                                        {false, []step{{"GET / HTTP/1.1\r\n", time.Hour}}, false},
		"half a frame's header":                           {false, []step{{preface + settingsFrame + settingsFrame[:4], head}}, true},
		"half a payload":                                  {false, []step{{preface + settingsFrame + largePingHeader + "1234", head}}, true},
		"a payload in two parts":                          {false, []step{{preface + settingsFrame + largePingHeader + "1234", head / 2}, {"5678", time.Hour}}, false},
		"a header block that stays open":                  {false, []step{{preface + settingsFrame + headersFrame, head}}, true},
		"a header block that drips":                       {false, []step{{preface + settingsFrame + headersFrame, head / 2}, {anotherPart, head / 2}}, true},
		"a header block that ends":                        {false, []step{{preface + settingsFrame + headersFrame, head / 2}, {lastPart, time.Hour}}, false},
		"one head after another, each in time":            {false, []step{{preface + settingsFrame + headersFrame, head / 2}, {lastPart + headersFrame, head / 2}, {lastPart, time.Hour}}, false},
		"DATA has the time that its rate gives it":        {false, []step{{preface + settingsFrame + largeDataFrame, head + 15*time.Second}, {strings.Repeat("x", 1<<14), time.Hour}}, false},
		"DATA that does not end":                          {false, []step{{preface + settingsFrame + largeDataFrame, head + 16*time.Second}}, true},
		"a frame that ends where the next begins at once": {false, []step{{preface + settingsFrame + largePingHeader + "12345678" + largePingHeader, head}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				told := 0
				c := Watch(near, WatchOptions{Head: head, Rate: 1 << 10, Only: test.only, OnAbuse: func(k Kind) {
					if k == SlowFrames {
						told++
					}
				}})
				var got strings.Builder
				done := make(chan error)
				go func() { _, err := io.Copy(&got, c); done <- err }()
				var sent strings.Builder
				for _, s := range test.steps {
					if s.bytes != "" {
						if _, err := io.WriteString(far, s.bytes); err != nil {
							t.Fatal(err)
						}
						sent.WriteString(s.bytes)
					}
					time.Sleep(s.after)
					synctest.Wait()
				}
				ended := false
				select {
				case <-done:
					ended = true
				default:
				}
				if ended != test.ends || (told == 1) != test.ends {
					t.Errorf("ended: %v, told of %d; want %v", ended, told, test.ends)
				}
				if err := errors.Join(far.Close(), c.Close()); err != nil {
					t.Error(err)
				}
				if !ended {
					<-done
				}
				if got.String() != sent.String() {
					t.Errorf("of %d bytes %d came through", len(sent.String()), got.Len())
				}
			})
		})
	}
}

func TestHTTP1IsNotServedWhereHTTP2WasAgreedUpon(t *testing.T) {
	for _, sent := range []string{"GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"} {
		near, far := net.Pipe()
		c := Watch(near, WatchOptions{Head: time.Minute, Rate: 1 << 10, Only: true})
		go func() { _, _ = io.WriteString(far, sent) }() // what is not read is not sent
		got, err := io.ReadAll(c)
		if err != nil || strings.Contains(string(got), "GET") {
			t.Errorf("%q: read %q, %v; want the end", sent, got, err)
		}
		if err := errors.Join(far.Close(), c.Close()); err != nil {
			t.Error(err)
		}
	}
}
