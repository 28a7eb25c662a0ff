package edge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol of HAProxy, versions 1 and 2 (proxy-protocol.txt): a proxy
// says in front of everything else for whom it connects.
const (
	proxyV1Prefix = "PROXY "
	proxyV2Magic  = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV1Most   = 107 // bytes of a line, with CRLF
	proxyV2Most   = 4096
)

var errProxyHeader = errors.New("malformed PROXY header")

// readProxyHeader reads exactly one header from r and returns whom it is for,
// or the zero value if the proxy speaks for itself or does not know.
func readProxyHeader(r io.Reader) (netip.AddrPort, error) {
	first := make([]byte, len(proxyV2Magic)) // no header is shorter
	if _, err := io.ReadFull(r, first); err != nil {
		return netip.AddrPort{}, fmt.Errorf("read PROXY header: %w", err)
	}
	switch {
	case string(first) == proxyV2Magic:
		return readProxyV2(r)
	case bytes.HasPrefix(first, []byte(proxyV1Prefix)):
		return readProxyV1(r, first)
	}
	return netip.AddrPort{}, fmt.Errorf("%w: it begins with %q", errProxyHeader, first)
}

// readProxyV1 reads the rest of a line byte by byte, so that nothing behind it
// is taken.
func readProxyV1(r io.Reader, line []byte) (netip.AddrPort, error) {
	var one [1]byte
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) >= proxyV1Most {
			return netip.AddrPort{}, fmt.Errorf("%w: the line is too long", errProxyHeader)
		}
		if _, err := io.ReadFull(r, one[:]); err != nil {
			return netip.AddrPort{}, fmt.Errorf("read PROXY header: %w", err)
		}
		line = append(line, one[0])
	}
	return parseProxyV1(string(line[:len(line)-2]))
}

// parseProxyV1 reads "PROXY TCP4 source destination port port".
func parseProxyV1(line string) (netip.AddrPort, error) {
	words := strings.Split(line, " ")
	if len(words) >= 2 && words[1] == "UNKNOWN" { // the rest is to be passed over
		return netip.AddrPort{}, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return netip.AddrPort{}, fmt.Errorf("%w: %q", errProxyHeader, line)
	}
	source, sourceOK := parseProxyEnd(words[1], words[2], words[4])
	if _, ok := parseProxyEnd(words[1], words[3], words[5]); !ok || !sourceOK {
		return netip.AddrPort{}, fmt.Errorf("%w: %q", errProxyHeader, line)
	}
	return source, nil
}

// parseProxyEnd reads one end of a connection: an address of the family and a
// port without leading zeros.
func parseProxyEnd(family, address, port string) (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.Zone() != "" || addr.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != port {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), true
}

func readProxyV2(r io.Reader) (netip.AddrPort, error) {
	var head [4]byte // version and command, family and protocol, length
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return netip.AddrPort{}, fmt.Errorf("read PROXY header: %w", err)
	}
	length := int(binary.BigEndian.Uint16(head[2:]))
	if head[0]>>4 != 2 || head[0]&0xf > 1 || length > proxyV2Most {
		return netip.AddrPort{}, fmt.Errorf("%w: version or length", errProxyHeader)
	}
	if head[1]>>4 > 3 || head[1]&0xf > 2 { // families and transports that there are not
		return netip.AddrPort{}, fmt.Errorf("%w: address family %#x", errProxyHeader, head[1])
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return netip.AddrPort{}, fmt.Errorf("read PROXY header: %w", err)
	}
	if head[0]&0xf == 0 { // LOCAL: the proxy's own health check
		return netip.AddrPort{}, nil
	}
	return proxyV2Source(head[1]>>4, body)
}

// proxyV2Source returns the source address of a body: source, destination,
// source port, destination port, and extensions that we pass over.
func proxyV2Source(family byte, body []byte) (netip.AddrPort, error) {
	var size int
	switch family {
	case 1:
		size = net.IPv4len
	case 2:
		size = net.IPv6len
	default: // UNSPEC or UNIX: there is no address to be had
		return netip.AddrPort{}, nil
	}
	if len(body) < 2*size+4 {
		return netip.AddrPort{}, fmt.Errorf("%w: %d bytes of addresses", errProxyHeader, len(body))
	}
	addr, _ := netip.AddrFromSlice(body[:size])
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(body[2*size:])), nil
}

// A proxiedConn is a connection that a proxy made for somebody else.
type proxiedConn struct {
	net.Conn
	client net.Addr
}

func (c *proxiedConn) RemoteAddr() net.Addr { return c.client }

// CloseWrite lets the connection linger.
func (c *proxiedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
