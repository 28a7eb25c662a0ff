package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// muxResolver is what a careful author of a pool would write: one socket for all
// questions, told apart by their numbers, each asked up to three times. net.Resolver
// opens a socket a question and would make the peers look worse than they are.
type muxResolver struct {
	conn net.Conn

	mu   sync.Mutex
	next uint16
	open map[uint16]question
}

type question struct {
	name  dnsmessage.Name
	reply chan []byte
}

var errNoSuchName = errors.New("no address")

func newMuxResolver(ctx context.Context, server string) (*muxResolver, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", server)
	if err != nil {
		return nil, fmt.Errorf("reach the resolver: %w", err)
	}
	_ = conn.(*net.UDPConn).SetReadBuffer(16 << 20) // a wish
	r := &muxResolver{conn: conn, open: map[uint16]question{}}
	go r.read()
	return r, nil
}

func (r *muxResolver) read() {
	var buf [4 << 10]byte
	for {
		n, err := r.conn.Read(buf[:])
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if n < 12 {
			continue
		}
		r.mu.Lock()
		q, ok := r.open[binary.BigEndian.Uint16(buf[:])]
		r.mu.Unlock()
		if !ok {
			continue
		}
		select {
		case q.reply <- append([]byte(nil), buf[:n]...):
		default: // an answer to an earlier packet
		}
	}
}

// lookup returns the first address of IPv4.
func (r *muxResolver) lookup(ctx context.Context, host string) (netip.Addr, error) {
	name, err := dnsmessage.NewName(host + ".")
	if err != nil {
		return netip.Addr{}, fmt.Errorf("resolve %s: %w", host, err)
	}
	q := question{name: name, reply: make(chan []byte, 1)}
	r.mu.Lock()
	for {
		r.next++
		if _, taken := r.open[r.next]; !taken {
			break
		}
	}
	id := r.next
	r.open[id] = q
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.open, id)
		r.mu.Unlock()
	}()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	packet, err := m.Pack()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("resolve %s: %w", host, err)
	}
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	for range 3 {
		if _, err := r.conn.Write(packet); err != nil {
			return netip.Addr{}, fmt.Errorf("resolve %s: %w", host, err)
		}
		timer.Reset(time.Second)
		select {
		case reply := <-q.reply:
			return firstAddress(reply)
		case <-ctx.Done():
			return netip.Addr{}, ctx.Err()
		case <-timer.C:
		}
	}
	return netip.Addr{}, errNoSuchName
}

func firstAddress(reply []byte) (netip.Addr, error) {
	var p dnsmessage.Parser
	h, err := p.Start(reply)
	if err != nil || h.RCode != dnsmessage.RCodeSuccess {
		return netip.Addr{}, errNoSuchName
	}
	if err := p.SkipAllQuestions(); err != nil {
		return netip.Addr{}, errNoSuchName
	}
	for {
		rr, err := p.AnswerHeader()
		if err != nil {
			return netip.Addr{}, errNoSuchName
		}
		if rr.Type != dnsmessage.TypeA {
			if err := p.SkipAnswer(); err != nil {
				return netip.Addr{}, errNoSuchName
			}
			continue
		}
		a, err := p.AResource()
		if err != nil {
			return netip.Addr{}, errNoSuchName
		}
		return netip.AddrFrom4(a.A), nil
	}
}
