package edge

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// A client sends requests over one version of the protocol, to the address of a
// server whatever host they are for.
type client struct {
	tb        testing.TB
	base      string // scheme and address
	transport http.RoundTripper
}

// do sends a request; an empty host is the address. Fields are pairs.
func (c client) do(method, host, target string, fields ...string) reply {
	c.tb.Helper()
	res, err := c.try(method, host, target, nil, fields...)
	if err != nil {
		c.tb.Fatalf("%s %s: %v", method, target, err)
	}
	return res
}

func (c client) try(method, host, target string, content io.Reader, fields ...string) (reply, error) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/", content)
	if err != nil {
		c.tb.Fatal(err)
	}
	path, query, _ := strings.Cut(target, "?")
	req.URL.Path, req.URL.RawQuery = path, query
	req.Host = host
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	return read(c.tb, res), nil
}

// stream asks for a file and returns its answer with the body unread.
func (c client) stream(target string) (*http.Response, error) {
	c.tb.Helper()
	req, err := http.NewRequestWithContext(c.tb.Context(), http.MethodGet, c.base+target, nil)
	if err != nil {
		c.tb.Fatal(err)
	}
	return c.transport.RoundTrip(req)
}

// newTLSClient makes a handshake on a connection and speaks HTTP/1.1.
func newTLSClient(tb testing.TB, conn net.Conn) *rawConn {
	tb.Helper()
	return newRawConn(tb, tls.Client(conn, clientTLS("localhost", "http/1.1")))
}

// overHTTP1 returns a client for HTTP/1.1, over TLS if the server has it.
func (r *running) overHTTP1(serverName string) client { return r.overTCP(serverName, false) }

// overHTTP2 returns a client for HTTP/2, over TLS or, on a server without it, with
// prior knowledge.
func (r *running) overHTTP2(serverName string) client { return r.overTCP(serverName, true) }

func (r *running) overTCP(serverName string, h2 bool) client {
	var speaks http.Protocols
	speaks.SetHTTP1(!h2)
	speaks.SetHTTP2(h2 && r.secure != "")
	speaks.SetUnencryptedHTTP2(h2 && r.secure == "")
	t := &http.Transport{Protocols: &speaks, TLSClientConfig: clientTLS(serverName), DisableCompression: true}
	r.tb.Cleanup(t.CloseIdleConnections)
	base := "http://" + r.plain
	if r.secure != "" {
		base = "https://" + r.secure
	}
	return client{r.tb, base, t}
}

// overHTTP3 returns a client for HTTP/3.
func (r *running) overHTTP3(serverName string) client {
	t := &http3.Transport{TLSClientConfig: clientTLS(serverName, http3.NextProtoH3), DisableCompression: true}
	r.tb.Cleanup(func() { t.Close() })
	return client{r.tb, "https://" + r.secure, t}
}

// everyProtocol runs a test over HTTP/1.1, 2 and 3 of a server with TLS.
func (r *running) everyProtocol(t *testing.T, serverName string, test func(t *testing.T, c client)) {
	t.Helper()
	for name, c := range map[string]client{"HTTP/1.1": r.overHTTP1(serverName), "HTTP/2": r.overHTTP2(serverName), "HTTP/3": r.overHTTP3(serverName)} {
		t.Run("over "+name, func(t *testing.T) {
			c.tb = t
			test(t, c)
		})
	}
}
