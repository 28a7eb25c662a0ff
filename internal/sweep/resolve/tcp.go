package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"pennyfarthing/internal/verdict"
)

// mostTCP is how many questions are asked over TCP at a time: few are truncated.
const mostTCP = 64

// tcp asks over TCP (RFC 7766), in a goroutine for each question.
type tcp struct {
	x        *Resolver
	exchange func(server netip.AddrPort, query []byte, question int) ([]byte, error) // until stop
	stop     context.CancelFunc
	wg       sync.WaitGroup
	running  int
	waiting  queue
}

func (t *tcp) init(x *Resolver) {
	ctx, cancel := context.WithCancel(context.Background())
	t.x, t.stop = x, cancel
	t.exchange = func(server netip.AddrPort, query []byte, question int) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, x.timeouts.Max)
		defer cancel()
		return exchange(ctx, server, query, question)
	}
}

func (t *tcp) close() {
	t.stop()
	t.wg.Wait()
}

// ask asks a lookup's question again.
func (t *tcp) ask(l *lookup) {
	l.state = overTCP
	if t.running == mostTCP {
		t.waiting.push(l)
		return
	}
	t.start(l)
}

func (t *tcp) start(l *lookup) {
	t.running++
	s := l.server
	s.TCP++
	s.Queries++
	l.all++
	query := append([]byte(nil), l.packet[:l.size]...)
	binary.BigEndian.PutUint16(query, uint16(t.x.random.Uint64())) //nolint:gosec // 16 random bits
	addr, question := s.addr, l.question
	l.lastSent = t.x.reactor.Now()
	t.wg.Go(func() {
		packet, err := t.exchange(addr, query, question)
		t.x.reactor.Post(func() { t.done(l, packet, err) })
	})
}

func (t *tcp) done(l *lookup, packet []byte, err error) {
	if t.x.stopped {
		return
	}
	t.running--
	if next := t.waiting.pop(); next != nil {
		t.start(next)
	}
	t.x.answeredTCP(l, packet, err)
}

// failureOf is what a failed exchange over TCP comes to.
func failureOf(err error) verdict.Code {
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return verdict.DNSTimeout
	}
	return verdict.DNSMalformed
}

// exchange sends a query and returns the answer to it. Errors of the network are
// returned as they are.
func exchange(ctx context.Context, server netip.AddrPort, query []byte, question int) ([]byte, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil { //nolint:gosec // it is small
		return nil, err
	}
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.BigEndian.Uint16(head[:]))
	if _, err := io.ReadFull(conn, packet); err != nil {
		return nil, err
	}
	if !answersTo(packet, query, question) {
		return nil, errors.New("the answer over TCP is not to the question")
	}
	return packet, nil
}

// answersTo reports whether a packet is a response to a query, with the same id and
// question but for the case of letters: a connection is not easily forged.
func answersTo(packet, query []byte, question int) bool {
	return isResponse(packet, question) && packet[0] == query[0] && packet[1] == query[1] &&
		sameFold(packet[headerSize:headerSize+question], query[headerSize:headerSize+question])
}

// isResponse reports whether a packet is a response with one question, which may be
// so long.
func isResponse(p []byte, question int) bool {
	return len(p) >= headerSize+question && p[2]&flagResponse != 0 && p[2]&opcode == 0 && p[4] == 0 && p[5] == 1
}
