//go:build linux

package main

import (
	"net"
	"sync"
	"time"
)

const (
	// maxDatagram is the largest datagram that is carried.
	maxDatagram = 1 << 16
	// datagramsAhead is how many are on their way in one direction of one client; more are lost, as on a line.
	datagramsAhead = 4096
	// forgotten is after how long of silence a client's socket is given up.
	forgotten = 30 * time.Second
)

// A relay carries datagrams to one address and the answers back.
type relay struct {
	network *network
	front   net.PacketConn
	to      string

	mu      sync.Mutex // guards clients
	clients map[string]*relayClient
}

// A relayClient is an address that has sent something.
type relayClient struct {
	back net.Conn // to the server
	ways [2]chan chunk
}

// datagrams relays what comes to a socket.
func (n *network) datagrams(front net.PacketConn, to string) error {
	r := &relay{network: n, front: front, to: to, clients: make(map[string]*relayClient)}
	n.close = append(n.close, front)
	n.busy.Go(r.receive)
	return nil
}

func (r *relay) receive() {
	buffer := make([]byte, maxDatagram)
	for {
		size, from, err := r.front.ReadFrom(buffer)
		if err != nil {
			return // closed
		}
		c, err := r.client(from)
		if err != nil {
			continue // lost
		}
		r.pass(c, upward, buffer[:size])
	}
}

// pass sends a datagram on its way.
func (r *relay) pass(c *relayClient, d direction, data []byte) {
	r.network.add(d, len(data), true)
	select {
	case c.ways[d] <- chunk{append([]byte(nil), data...), r.network.line.due(d, time.Now(), len(data))}:
	default: // lost
	}
}

// client returns the client at an address, and begins to carry for one that is new.
func (r *relay) client(at net.Addr) (*relayClient, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := at.String()
	if c := r.clients[key]; c != nil {
		return c, nil
	}
	back, err := new(net.Dialer).DialContext(r.network.ctx, "udp", r.to)
	if err != nil {
		return nil, err
	}
	c := &relayClient{back: back, ways: [2]chan chunk{make(chan chunk, datagramsAhead), make(chan chunk, datagramsAhead)}}
	r.clients[key] = c
	done := make(chan struct{})
	r.network.busy.Go(func() { r.deliver(c.ways[upward], done, func(p []byte) { _, _ = back.Write(p) }) })
	r.network.busy.Go(func() { r.deliver(c.ways[downward], done, func(p []byte) { _, _ = r.front.WriteTo(p, at) }) })
	r.network.busy.Go(func() {
		defer close(done)
		r.answers(c)
		back.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.clients, key)
	})
	return c, nil
}

// answers carries what the server sends, until it has been silent for long.
func (r *relay) answers(c *relayClient) {
	stop := make(chan struct{})
	defer close(stop)
	r.network.busy.Go(func() {
		select {
		case <-r.network.ctx.Done():
			c.back.Close()
		case <-stop:
		}
	})
	buffer := make([]byte, maxDatagram)
	for {
		if err := c.back.SetReadDeadline(time.Now().Add(forgotten)); err != nil {
			return
		}
		size, err := c.back.Read(buffer)
		if err != nil {
			return
		}
		r.pass(c, downward, buffer[:size])
	}
}

// deliver writes datagrams, each at its time.
func (r *relay) deliver(from <-chan chunk, done <-chan struct{}, write func([]byte)) {
	for {
		select {
		case c := <-from:
			if r.network.wait(c.due) {
				write(c.data)
			}
		case <-done:
			return
		}
	}
}
