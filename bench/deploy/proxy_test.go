//go:build linux

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// echo answers with what it is sent, over TCP and UDP at one port.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	udp, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	go func() {
		buffer := make([]byte, maxDatagram)
		for {
			n, from, err := udp.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(buffer[:n], from)
		}
	}()
	return l.Addr().String()
}

func testNetwork(t *testing.T, w weather) *network {
	t.Helper()
	n := newNetwork(context.WithoutCancel(t.Context()), w)
	t.Cleanup(n.shut)
	return n
}

// exchange sends bytes over TCP and returns how long it took until they were all back.
func exchange(t *testing.T, address string, data []byte) time.Duration {
	t.Helper()
	began := time.Now()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = conn.Write(data)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes came back, want %d, the same: %v", len(got), len(data), err)
	}
	return time.Since(began)
}

func TestAProxyCountsBothDirectionsWithAndWithoutWeather(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 30_000)
	for _, w := range []weather{near(), {name: "short", delay: time.Millisecond, rate: 1e9}} {
		n := testNetwork(t, w)
		at, err := n.edge(echo(t))
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, at, data)
		if !n.quiet(time.Minute) {
			t.Fatal("the connection does not end")
		}
		want := traffic{int64(len(data)), int64(len(data)), 2 * int64(len(data))}
		if got := n.bytes(); got != want {
			t.Errorf("%s: counted %+v, want %+v", w.name, got, want)
		}
	}
}

func TestAConnectionTakesTwoWaysThereAndBackForItsFirstAnswer(t *testing.T) {
	n := testNetwork(t, weather{delay: 20 * time.Millisecond})
	at, err := n.tcp(echo(t), false)
	if err != nil {
		t.Fatal(err)
	}
	if took := exchange(t, at, []byte("hello")); took < 80*time.Millisecond {
		t.Errorf("took %v: the handshake and the answer are 80ms together", took)
	}
	if n.bytes().Visitors != 0 {
		t.Error("a member's bytes are counted as a visitor's")
	}
}

func TestARateHoldsForAllConnectionsTogether(t *testing.T) {
	n := testNetwork(t, weather{rate: 8e6}) // a megabyte a second
	at, err := n.tcp(echo(t), false)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	done := make(chan struct{}, 2)
	for range 2 {
		go func() {
			defer func() { done <- struct{}{} }()
			exchange(t, at, make([]byte, 100_000))
		}()
	}
	<-done
	<-done
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("twice 100 KB took %v, and one after the other they take 200ms", took)
	}
}

func TestDatagramsAreCarriedCountedAndDelayed(t *testing.T) {
	n := testNetwork(t, weather{delay: 20 * time.Millisecond})
	at, err := n.edge(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 100)
	size, err := conn.Read(answer)
	if err != nil || string(answer[:size]) != "hello" {
		t.Fatalf("answered %q, %v", answer[:size], err)
	}
	if took := time.Since(began); took < 40*time.Millisecond {
		t.Errorf("there and back took %v, want 40ms at least", took)
	}
	if got, want := n.bytes(), (traffic{5, 5, 10}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}
