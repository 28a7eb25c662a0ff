//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setup is how a server accepts.
type setup struct {
	CPUs      int
	TLS       bool
	ReusePort bool // one socket a processor
}

func (s setup) sockets() int {
	if s.ReusePort {
		return s.CPUs
	}
	return 1
}

// greeting is the first that a server says.
type greeting struct {
	Address     string
	Certificate []byte // DER; empty without TLS
}

// reading is what it says each time that it is asked.
type reading struct {
	CPU      time.Duration // of the process so far, user and system
	Accepted []int64       // by socket
}

// patience is how long a connection may take.
const patience = 10 * time.Second

// serve accepts connections until its input ends, and tells how it stands each time that something is read from that.
func serve(ctx context.Context, s setup, in *json.Decoder, out *json.Encoder) error {
	config, der, err := serverConfig(s.TLS)
	if err != nil {
		return err
	}
	listeners, err := listen(ctx, s)
	if err != nil {
		return err
	}
	accepted := make([]atomic.Int64, len(listeners))
	var accepting, serving sync.WaitGroup
	for i, ln := range listeners {
		accepting.Go(func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return // it was closed
				}
				accepted[i].Add(1)
				serving.Go(func() { serveOne(conn, config) })
			}
		})
	}
	defer func() {
		for _, ln := range listeners {
			_ = ln.Close() // nothing of it is needed any more
		}
		accepting.Wait()
		serving.Wait()
	}()
	if err := out.Encode(greeting{listeners[0].Addr().String(), der}); err != nil {
		return err
	}
	for {
		var question struct{}
		if err := in.Decode(&question); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			return err
		}
		r := reading{CPU: time.Duration(usage.Utime.Nano() + usage.Stime.Nano())}
		for i := range accepted {
			r.Accepted = append(r.Accepted, accepted[i].Load())
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

// listen binds the sockets to one port.
func listen(ctx context.Context, s setup) ([]net.Listener, error) {
	config := net.ListenConfig{KeepAlive: -1} // as serve/edge does
	if s.ReusePort {
		config.Control = func(_, _ string, raw syscall.RawConn) error {
			var err error
			return errors.Join(raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}), err)
		}
	}
	address := "127.0.0.1:0"
	var listeners []net.Listener
	for range s.sockets() {
		ln, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			for _, ln := range listeners {
				_ = ln.Close() // the error is the other's
			}
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
		listeners, address = append(listeners, ln), ln.Addr().String()
	}
	return listeners, nil
}

var answer = []byte("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")

// serveOne reads a request, answers and closes. What goes wrong the load finds out.
func serveOne(conn net.Conn, config *tls.Config) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return
	}
	if config != nil {
		secure := tls.Server(conn, config)
		defer secure.Close()
		conn = secure
	}
	var request [1 << 10]byte
	for n := 0; !bytes.HasSuffix(request[:n], []byte("\r\n\r\n")); {
		more, err := conn.Read(request[n:])
		if err != nil || more == 0 {
			return
		}
		n += more
	}
	_, _ = conn.Write(answer) // likewise
}

func serverConfig(secure bool) (*tls.Config, []byte, error) {
	if !secure {
		return nil, nil, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 1), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}, der, nil
}
