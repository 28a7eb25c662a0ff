//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const handshakeFlag = "internal-handshake-load"

// handshakeOrder is what the child is to do: Count connections, or as many as Limit allows.
type handshakeOrder struct {
	Address, Path, CA string
	Workers           int
	Count             int64
	Limit             time.Duration
	Body              int64 // expected length, 0 = any
}

// handshakeReport is what it prints. Any error ends it without a report.
type handshakeReport struct {
	Done    int64
	Elapsed time.Duration
	P99     time.Duration
}

// noTickets takes session tickets and forgets them. The client thereby offers resumption as browsers do, so that every
// server pays for its tickets, and yet never resumes.
type noTickets struct{}

func (noTickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (noTickets) Put(string, *tls.ClientSessionState)        {}

// handshakeChild is the load of new connections; the parent pins it.
func handshakeChild(ctx context.Context, spec string, out io.Writer) error {
	var order handshakeOrder
	if err := json.Unmarshal([]byte(spec), &order); err != nil {
		return err
	}
	config, err := clientConfig(order.CA, "http/1.1")
	if err != nil {
		return err
	}
	report, err := handshakeLoad(ctx, order, config)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(report)
}

// clientConfig is what the loads of our own offer: the same as wrk and h2load, and nothing else.
func clientConfig(ca, protocol string) (*tls.Config, error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{
		RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS13, NextProtos: []string{protocol},
		CurvePreferences: []tls.CurveID{tls.X25519}, ClientSessionCache: noTickets{},
	}, nil
}

func handshakeLoad(ctx context.Context, order handshakeOrder, config *tls.Config) (handshakeReport, error) {
	var (
		wg       sync.WaitGroup
		next     atomic.Int64
		began    = time.Now()
		perOne   = make([][]int64, order.Workers)
		failures = make([]error, order.Workers)
	)
	request := []byte("GET " + order.Path + " HTTP/1.1\r\nHost: " + order.Address + "\r\nConnection: close\r\n\r\n")
	for w := range order.Workers {
		wg.Go(func() {
			for failures[w] == nil && ctx.Err() == nil {
				i := next.Add(1)
				if order.Count > 0 && i > order.Count || order.Limit > 0 && time.Since(began) > order.Limit {
					return
				}
				start := time.Now()
				failures[w] = oneConnection(ctx, order, config, request, i)
				perOne[w] = append(perOne[w], time.Since(start).Microseconds())
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	if err := errors.Join(append(failures, ctx.Err())...); err != nil {
		return handshakeReport{}, err
	}
	var all []int64
	for _, some := range perOne {
		all = append(all, some...)
	}
	if len(all) == 0 {
		return handshakeReport{}, errors.New("no connection was made")
	}
	return handshakeReport{int64(len(all)), elapsed, time.Duration(percentile99(all)) * time.Microsecond}, nil
}

// oneConnection connects, asks once and reads to the end. The i-th comes from an address of its own in 127.1.0.0/16, so
// that closed connections of earlier runs never leave it without a port.
func oneConnection(ctx context.Context, order handshakeOrder, config *tls.Config, request []byte, i int64) error {
	from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(1+i%250))}
	raw, err := (&net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}).DialContext(ctx, "tcp", order.Address)
	if err != nil {
		return err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	state := conn.ConnectionState()
	if state.DidResume || state.CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		return fmt.Errorf("resumed=%v, cipher %s", state.DidResume, tls.CipherSuiteName(state.CipherSuite))
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	return readOne(conn, order.Body)
}

func readOne(conn io.Reader, body int64) error {
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || body > 0 && n != body {
		return fmt.Errorf("status %d with %d bytes", resp.StatusCode, n)
	}
	return nil
}
