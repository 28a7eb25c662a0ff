//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// loadOrder is what the load is to do: as many connections as the time allows, but no more than Most.
type loadOrder struct {
	greeting
	Workers int
	Limit   time.Duration
	Most    int64
}

// loadReport is what it prints. Any error ends it without a report.
type loadReport struct {
	Done    int64
	Elapsed time.Duration
	P99     time.Duration
}

// load makes connections, Workers at a time.
func load(ctx context.Context, order loadOrder) (loadReport, error) {
	config, err := clientConfig(order.Certificate)
	if err != nil {
		return loadReport{}, err
	}
	var (
		wg       sync.WaitGroup
		next     atomic.Int64
		began    = time.Now()
		perOne   = make([][]time.Duration, order.Workers)
		failures = make([]error, order.Workers)
	)
	for w := range order.Workers {
		wg.Go(func() {
			for failures[w] == nil && ctx.Err() == nil {
				i, start := next.Add(1), time.Now()
				if i > order.Most || start.Sub(began) > order.Limit {
					return
				}
				failures[w] = oneConnection(ctx, order.Address, config, i)
				perOne[w] = append(perOne[w], time.Since(start))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	if err := errors.Join(append(failures, ctx.Err())...); err != nil {
		return loadReport{}, err
	}
	all := slices.Concat(perOne...)
	if len(all) == 0 {
		return loadReport{}, errors.New("no connection was made")
	}
	slices.Sort(all)
	return loadReport{int64(len(all)), elapsed, all[(len(all)*99+99)/100-1]}, nil
}

func clientConfig(der []byte) (*tls.Config, error) {
	if len(der) == 0 {
		return nil, nil
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	return &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}, nil
}

// oneConnection connects, asks once and reads to the end. The i-th comes from an address of its own in 127.1.0.0/16, so
// that closed connections never leave it without a port.
func oneConnection(ctx context.Context, address string, config *tls.Config, i int64) error {
	from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(1+i%250))}
	conn, err := (&net.Dialer{LocalAddr: from, Timeout: patience, KeepAlive: -1}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close() // not that of TLS: its farewell would meet a closed socket
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var stream io.ReadWriter = conn
	if config != nil {
		stream = tls.Client(conn, config)
	}
	if _, err := io.WriteString(stream, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return err
	}
	got, err := io.ReadAll(stream)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, answer) {
		return fmt.Errorf("the answer is %q", got)
	}
	return nil
}
