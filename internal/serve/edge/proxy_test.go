package edge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// proxyV2 builds a header of version 2.
func proxyV2(command, family byte, content string) string {
	head := []byte(proxyV2Magic + string([]byte{0x20 | command, family}))
	return string(binary.BigEndian.AppendUint16(head, uint16(len(content)))) + content
}

const (
	proxyIPv4 = "\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x01\xbb" // 192.0.2.1:1234 to 192.0.2.2:443
	proxyTLVs = "\x03\x00\x04\x01\x02\x03\x04\x20\x00\x01\xff"     // CRC32c and a piece of SSL
)

var proxyIPv6 = "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x02" + "\x04\xd2\x01\xbb"

// proxyHeaders are headers with whom they are for: "" for nobody, "malformed", or
// "cut off".
var proxyHeaders = map[string]struct{ header, want string }{
	"version 1, IPv4":                        {"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n", "192.0.2.1:1234"},
	"version 1, IPv6":                        {"PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n", "[2001:db8::1]:1234"},
	"version 1, unknown":                     {"PROXY UNKNOWN\r\n", ""},
	"version 1, unknown with whatever":       {"PROXY UNKNOWN ffff::1 what ever\r\n", ""},
	"version 1, the longest":                 {"PROXY UNKNOWN " + strings.Repeat("f", 91) + "\r\n", ""},
	"version 1, too long":                    {"PROXY UNKNOWN " + strings.Repeat("f", 92) + "\r\n", "malformed"},
	"version 1, an IPv6 in TCP4":             {"PROXY TCP4 2001:db8::1 192.0.2.2 1234 443\r\n", "malformed"},
	"version 1, an IPv4 in TCP6":             {"PROXY TCP6 192.0.2.1 2001:db8::2 1234 443\r\n", "malformed"},
	"version 1, a mapped address":            {"PROXY TCP6 ::ffff:192.0.2.1 ::1 1234 443\r\n", "192.0.2.1:1234"},
	"version 1, a zone":                      {"PROXY TCP6 fe80::1%eth0 ::1 1234 443\r\n", "malformed"},
	"version 1, a bad destination":           {"PROXY TCP4 192.0.2.1 192.0.2 1234 443\r\n", "malformed"},
	"version 1, a port too large":            {"PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n", "malformed"},
	"version 1, a port with a zero":          {"PROXY TCP4 192.0.2.1 192.0.2.2 01234 443\r\n", "malformed"},
	"version 1, a negative port":             {"PROXY TCP4 192.0.2.1 192.0.2.2 -1 443\r\n", "malformed"},
	"version 1, a word too many":             {"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443 x\r\n", "malformed"},
	"version 1, a space too many":            {"PROXY TCP4  192.0.2.1 192.0.2.2 1234 443\r\n", "malformed"},
	"version 1, UDP":                         {"PROXY UDP4 192.0.2.1 192.0.2.2 1234 443\r\n", "malformed"},
	"version 1, no CR":                       {"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\n" + strings.Repeat("x", 100), "malformed"},
	"version 1, cut off":                     {"PROXY TCP4 192.0.2.1 192", "cut off"},
	"version 1, small letters":               {"proxy TCP4 192.0.2.1 192.0.2.2 1234 443\r\n", "malformed"},
	"version 2, IPv4":                        {proxyV2(1, 0x11, proxyIPv4), "192.0.2.1:1234"},
	"version 2, IPv4 with extensions":        {proxyV2(1, 0x11, proxyIPv4+proxyTLVs), "192.0.2.1:1234"},
	"version 2, IPv6":                        {proxyV2(1, 0x21, proxyIPv6), "[2001:db8::1]:1234"},
	"version 2, local":                       {proxyV2(0, 0x00, ""), ""},
	"version 2, local with addresses":        {proxyV2(0, 0x11, proxyIPv4), ""},
	"version 2, unspecified":                 {proxyV2(1, 0x00, "whatever"), ""},
	"version 2, UNIX":                        {proxyV2(1, 0x31, strings.Repeat("x", 216)), ""},
	"version 2, as long as is taken":         {proxyV2(1, 0x11, proxyIPv4+strings.Repeat("x", proxyV2Most-12)), "192.0.2.1:1234"},
	"version 2, longer":                      {proxyV2(1, 0x11, proxyIPv4+strings.Repeat("x", proxyV2Most-11)), "malformed"},
	"version 2, too short for its addresses": {proxyV2(1, 0x11, proxyIPv4[:11]), "malformed"},
	"version 2, an unknown command":          {proxyV2(2, 0x11, proxyIPv4), "malformed"},
	"version 2, an unknown family":           {proxyV2(1, 0x41, proxyIPv4), "malformed"},
	"version 2, an unknown transport":        {proxyV2(1, 0x13, proxyIPv4), "malformed"},
	"version 3":                              {proxyV2Magic + "\x31\x11\x00\x0c" + proxyIPv4, "malformed"},
	"version 2, cut off within the magic":    {proxyV2Magic[:8], "cut off"},
	"version 2, cut off behind the magic":    {proxyV2Magic + "\x21", "cut off"},
	"version 2, cut off within addresses":    {proxyV2(1, 0x11, proxyIPv4)[:20], "cut off"},
	"nothing":                                {"", "cut off"},
	"a request":                              {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "malformed"},
	"a ClientHello":                          {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00", "malformed"},
}

func TestReadProxyHeaderTakesTheHeaderAndNothingBehindIt(t *testing.T) {
	for name, c := range proxyHeaders {
		for how, reader := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
			t.Run(name+", "+how, func(t *testing.T) {
				const behind = "\x16\x03\x01"
				text := c.header
				if c.want != "cut off" {
					text += behind
				}
				in := strings.NewReader(text)
				addr, err := readProxyHeader(reader(in))
				if diff := cmp.Diff(c.want, outcomeOf(addr, err)); diff != "" {
					t.Fatalf("(-want +got)\n%s%v", diff, err)
				}
				if rest, _ := io.ReadAll(in); err == nil && string(rest) != behind {
					t.Errorf("behind it is left %q, want %q", rest, behind)
				}
			})
		}
	}
}

func outcomeOf(addr netip.AddrPort, err error) string {
	switch {
	case errors.Is(err, errProxyHeader):
		return "malformed"
	case err != nil:
		return "cut off"
	case !addr.IsValid():
		return ""
	}
	return addr.String()
}

func FuzzReadProxyHeader(f *testing.F) {
	for _, c := range proxyHeaders {
		f.Add([]byte(c.header))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bytes.NewReader(data)
		addr, err := readProxyHeader(in)
		again, errAgain := readProxyHeader(iotest.OneByteReader(bytes.NewReader(data)))
		if addr != again || (err == nil) != (errAgain == nil) {
			t.Errorf("at once: %v, %v; byte by byte: %v, %v", addr, err, again, errAgain)
		}
		if taken := len(data) - in.Len(); taken > len(proxyV2Magic)+4+proxyV2Most {
			t.Errorf("%d bytes were taken", taken)
		}
	})
}

// throughProxy is a setup behind proxies on loopback that speak the PROXY protocol.
func throughProxy(o setup) setup {
	edit := o.edit
	o.edit = func(options *Options) {
		options.TrustedProxies, options.ProxyProtocol = prefixes("127.0.0.0/8", "10.0.0.0/8"), true
		if edit != nil {
			edit(options)
		}
	}
	return o
}

func TestTheProxyProtocolSaysWhoTheClientIs(t *testing.T) {
	r := start(t, throughProxy(setup{log: true}))
	for _, header := range []string{proxyHeaders["version 1, IPv4"].header, proxyHeaders["version 2, IPv6"].header, proxyHeaders["version 2, local"].header} {
		conn := r.dial().send(header[:5]).send(header[5:] + "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n")
		if got := conn.receive("GET"); got.StatusCode != 200 {
			t.Errorf("%q: %d", header, got.StatusCode)
		}
	}
	var clients []string
	for _, rec := range r.records() {
		clients = append(clients, rec.Client)
	}
	// The first two are nobody's proxies: their X-Forwarded-For is worth nothing.
	// The third is the proxy itself, on the protocol's word.
	if diff := cmp.Diff([]string{"192.0.2.0/24", "2001:db8::/48", "198.51.100.0/24"}, clients); diff != "" {
		t.Errorf("clients (-want +got):\n%s", diff)
	}
}

func TestAProxyHeaderAndAClientHelloInOnePacket(t *testing.T) {
	r := start(t, throughProxy(setup{secure: true}))
	for name, header := range map[string]string{"version 1": proxyHeaders["version 1, IPv4"].header, "version 2": proxyV2(1, 0x11, proxyIPv4+proxyTLVs)} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", r.secure)
			if err != nil {
				t.Fatal(err)
			}
			secure := newTLSClient(t, &prefixed{Conn: conn, first: header})
			if got := secure.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").receive("GET"); got.StatusCode != 200 {
				t.Errorf("got %d", got.StatusCode)
			}
		})
	}
}

// A prefixed connection writes something in front of the first thing written.
type prefixed struct {
	net.Conn
	first string
}

func (c *prefixed) Write(p []byte) (int, error) {
	whole := c.first + string(p)
	n, err := io.WriteString(c.Conn, whole)
	n -= len(c.first)
	c.first = ""
	return max(0, n), err
}

func TestAProxyThatDoesNotSpeakTheProtocolIsRefused(t *testing.T) {
	r := start(t, throughProxy(setup{edit: func(o *Options) { o.Limits.Handshake = brief }}))
	texts := []string{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "", "PROXY TCP4 192.0.2.1"} // the last two are slow
	for _, text := range texts {
		conn := r.dial().send(text)
		if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%q: %q, %v; want the end", text, rest, err)
		}
	}
	if got := r.counter(`penny_refusals_total{pop="au",reason="PROXY header"}`); got != float64(len(texts)) {
		t.Errorf("%v are counted, want %d", got, len(texts))
	}
}

func TestAHeaderFromAnUntrustedPeerIsRefused(t *testing.T) {
	untrusted := func(o *Options) { o.TrustedProxies, o.ProxyProtocol = prefixes("10.0.0.0/8"), true }
	trusted := func(o *Options) { o.TrustedProxies = prefixes("127.0.0.0/8") } // and no PROXY protocol
	for name, edit := range map[string]func(*Options){"by default": nil, "of another network": untrusted, "without the protocol": trusted} {
		t.Run(name, func(t *testing.T) {
			r := start(t, setup{edit: edit})
			conn := r.dial().send("PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
			conn.tb = t
			if got := conn.receive("GET"); got.StatusCode != 400 {
				t.Errorf("got %d, want 400", got.StatusCode)
			}
			conn.receiveEnd()
		})
	}
}

func TestTheLimitOfConnectionsIsTheClientsNotTheProxys(t *testing.T) {
	r := start(t, throughProxy(setup{edit: func(o *Options) { o.Limits.ConnectionsPerClient = 2 }}))
	for _, c := range []struct {
		client string
		in     bool
	}{
		{"TCP6 2001:db8:0:1::1", true},
		{"TCP6 2001:db8:0:1:ffff::2", true},
		{"TCP6 2001:db8:0:1:abcd::3", false}, // the third of a /64
		{"TCP6 2001:db8:0:2::1", true},       // another
		{"TCP4 192.0.2.1", true},
		{"TCP4 192.0.2.1", true},
		{"TCP4 192.0.2.1", false},
		{"TCP4 192.0.2.2", true}, // another
		{"TCP4 10.1.1.1", true},  // a proxy of ours behind a proxy of ours
		{"TCP4 10.1.1.1", true},
		{"TCP4 10.1.1.1", true},
	} {
		family, addr, _ := strings.Cut(c.client, " ")
		conn := r.dial().send("PROXY " + family + " " + addr + " " + addr + " 1 2\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
		_, err := conn.in.ReadByte()
		if (err == nil) != c.in {
			t.Errorf("%s: %v, want to be let in: %v", c.client, err, c.in)
		}
	}
}

func TestForwardedFor(t *testing.T) {
	proxies := prefixes("10.0.0.0/8", "fd00::/8")
	for name, c := range map[string]struct{ peer, field, want string }{
		"a stranger's is not believed":       {"192.0.2.1", "198.51.100.1", "192.0.2.1"},
		"a proxy's is":                       {"10.0.0.1", "198.51.100.1", "198.51.100.1"},
		"the last that is no proxy counts":   {"10.0.0.1", "203.0.113.1, 198.51.100.1, 10.0.0.2", "198.51.100.1"},
		"a proxy that says nothing":          {"10.0.0.1", "", "10.0.0.1"},
		"a proxy that says nonsense":         {"10.0.0.1", "198.51.100.1, unknown", "10.0.0.1"},
		"only proxies":                       {"10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"},
		"IPv6":                               {"fd00::1", "2001:db8::1", "2001:db8::1"},
		"an address with a port":             {"10.0.0.1", "198.51.100.1:1234", "198.51.100.1"},
		"an IPv6 address with a port":        {"10.0.0.1", "[2001:db8::1]:1234", "2001:db8::1"},
		"a mapped address":                   {"10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"},
		"commas only":                        {"10.0.0.1", ",,", "10.0.0.1"},
		"what stands before nonsense is not": {"10.0.0.1", "198.51.100.1, x, 10.0.0.2", "10.0.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := forwardedFor(proxies, netip.MustParseAddr(c.peer), c.field).String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
