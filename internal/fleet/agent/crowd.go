package agent

import (
	"net"
	"net/netip"
	"sync"
)

// A crowdListener takes so many connections at once, and of one network only a
// part of these, so that no single stranger takes the places of members. What is
// too much is closed.
type crowdListener struct {
	net.Listener
	most, mostOfOne int

	mu  sync.Mutex // guards all and of
	all int
	of  map[netip.Prefix]int
}

func newCrowdListener(ln net.Listener, most, mostOfOne int) *crowdListener {
	return &crowdListener{Listener: ln, most: most, mostOfOne: mostOfOne, of: make(map[netip.Prefix]int)}
}

// Accept returns the next connection that there is room for.
func (l *crowdListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		network := networkOf(conn.RemoteAddr())
		if l.enter(network) {
			return &crowdConn{Conn: conn, leave: sync.OnceFunc(func() { l.leave(network) })}, nil
		}
		_ = conn.Close() // there is nobody to tell
	}
}

func (l *crowdListener) enter(network netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.most || l.of[network] >= l.mostOfOne {
		return false
	}
	l.all++
	l.of[network]++
	return true
}

func (l *crowdListener) leave(network netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.of[network]--; l.of[network] == 0 {
		delete(l.of, network)
	}
}

// networkOf returns what one client has: an IPv4 address or an IPv6 /64. What has
// no address is one network.
func networkOf(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// A crowdConn makes room when it is closed.
type crowdConn struct {
	net.Conn
	leave func()
}

// Close closes the connection.
func (c *crowdConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
