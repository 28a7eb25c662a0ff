//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestTheHandshakeLoadCountsItsConnections(t *testing.T) {
	cert, err := makeCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert.certFile, cert.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan bool, 100) // more than all requests
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served <- r.TLS.DidResume
		_, _ = io.WriteString(w, "body")
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	srv.StartTLS()
	defer srv.Close()

	order := handshakeOrder{Address: srv.Listener.Addr().String(), Path: "/", CA: cert.certFile, Workers: 3, Count: 10, Body: 4}
	run := func() (report handshakeReport, err error) {
		spec, err := json.Marshal(order)
		if err != nil {
			return report, err
		}
		var out bytes.Buffer
		if err := handshakeChild(t.Context(), string(spec), &out); err != nil {
			return report, err
		}
		return report, json.Unmarshal(out.Bytes(), &report)
	}
	report, err := run()
	if err != nil || report.Done != 10 || len(served) != 10 || report.P99 <= 0 {
		t.Fatalf("%+v, %d served, %v", report, len(served), err)
	}
	for range 10 {
		if <-served {
			t.Error("a connection was resumed")
		}
	}
	order.Body = 5
	if _, err := run(); err == nil {
		t.Error("a body of another length passes")
	}
}
