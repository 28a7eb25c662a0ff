package agent

import (
	"io"
	"net"
	"testing"
)

func TestOneClientDoesNotTakeEverybodysPlace(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	l := newCrowdListener(inner, 3, 2)
	taken := make(chan net.Conn, 10)
	go func() {
		defer close(taken)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			taken <- conn
		}
	}()
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := d.DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	refused := func(from string) {
		t.Helper()
		if n, err := dial(from).Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("a connection from %s that is too much is kept", from)
		}
	}
	dial("127.0.0.1")
	first := <-taken
	dial("127.0.0.1")
	<-taken
	refused("127.0.0.1")
	dial("127.0.0.2")
	<-taken
	refused("127.0.0.3") // three are all
	first.Close()
	first.Close() // makes room once
	again := dial("127.0.0.1")
	if _, err := io.WriteString(again, "x"); err != nil {
		t.Fatal(err)
	}
	conn := <-taken
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Errorf("the connection that there is room for again: %v", err)
	}
	refused("127.0.0.1")
}

func TestAClientIsAnAddressOrAnIPv6Network(t *testing.T) {
	for address, want := range map[string]string{
		"203.0.113.9:1": "203.0.113.9/32", "[::ffff:203.0.113.9]:1": "203.0.113.9/32", "[2001:db8:1:2:3::9]:1": "2001:db8:1:2::/64", "[fe80::1%lo]:1": "fe80::/64",
	} {
		addr, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := networkOf(addr).String(); got != want {
			t.Errorf("%s is of %s, want %s", address, got, want)
		}
	}
}
