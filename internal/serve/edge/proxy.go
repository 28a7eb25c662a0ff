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
	words := strings.Split(string(line[:len(line)-2]), " ")
	if len(words) >= 2 && words[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return netip.AddrPort{}, fmt.Errorf("%w: %q", errProxyHeader, line)
	}
	addr, addrErr := netip.ParseAddr(words[2])
	port, portErr := strconv.ParseUint(words[4], 10, 16)
	if addrErr != nil || portErr != nil || addr.Is4() != (words[1] == "TCP4") {
		return netip.AddrPort{}, fmt.Errorf("%w: %q", errProxyHeader, line)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
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
	size := map[byte]int{1: 4, 2: 16}[family]
	if size == 0 { // UNSPEC or UNIX
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
