package block

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAddressesThatAreNotPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": false, "1.1.1.1": false, "193.0.6.139": false, "2001:4860:4860::8888": false, "2606:4700::1": false, "100.63.255.255": false, "172.32.0.1": false,
		"10.1.2.3": true, "172.16.0.1": true, "172.31.255.255": true, "192.168.1.1": true, "127.0.0.1": true, "0.0.0.0": true,
		"169.254.169.254": true, "100.64.0.1": true, "198.18.0.1": true, "224.0.0.1": true, "255.255.255.255": true, "240.1.1.1": true, "192.0.2.1": true,
		"::1": true, "::": true, "fe80::1": true, "fc00::1": true, "fd12::1": true, "ff02::1": true, "2001:db8::1": true, "100::1": true,
		"::ffff:10.0.0.1": true, "::ffff:8.8.8.8": false, "64:ff9b::a9fe:a9fe": true, "64:ff9b::808:808": false, "2002:7f00:1::": true, "2002:808:808::1": false,
		"fec0::1": true, "::7f00:1": true, "fe80::1%eth0": true,
	} {
		if got := Private(netip.MustParseAddr(text)); got != want {
			t.Errorf("Private(%s) = %v", text, got)
		}
	}
	if !Private(netip.Addr{}) {
		t.Error("no address is a public one")
	}
}

const list = `# zmap's format
192.0.2.0/24   # a network
192.0.2.128/25
198.51.100.7
2001:db8::/32

*.Example.COM.
example.org # a name and all below
`

func TestAListCoversWhatLiesWithin(t *testing.T) {
	var l List
	if err := l.Read(strings.NewReader(list), "block.txt"); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"192.0.2.0": true, "192.0.2.200": true, "192.0.2.255": true, "192.0.3.0": false, "192.0.1.255": false,
		"198.51.100.7": true, "198.51.100.8": false, "::ffff:198.51.100.7": true, "2001:db8:1::": true, "2001:db9::": false, "::1": false,
	} {
		if got := l.Address(netip.MustParseAddr(text)); got != want {
			t.Errorf("Address(%s) = %v", text, got)
		}
	}
	for name, want := range map[string]bool{"example.com": true, "a.b.example.com": true, "notexample.com": false, "com": false, "www.example.org": true, "": false} {
		if got := l.Name(name); got != want {
			t.Errorf("Name(%q) = %v", name, got)
		}
	}
	if n := l.Len(); n != 5 {
		t.Errorf("%d entries, want 5: one network lies within another", n)
	}
}

func TestIPv4WrittenInIPv6IsIPv4(t *testing.T) {
	for _, c := range []struct {
		line, addr string
		want       bool
	}{
		{"::ffff:192.0.2.0/120", "192.0.2.9", true},
		{"::ffff:192.0.2.0/120", "::ffff:192.0.2.9", true},
		{"::ffff:192.0.2.0/120", "192.0.3.0", false},
		{"::ffff:c000:200/120", "192.0.2.255", true},
		{"::ffff:192.0.2.77/120", "192.0.2.1", true}, // the bits of the host do not count
		{"::ffff:192.0.2.7/128", "192.0.2.7", true},
		{"::ffff:192.0.2.7/128", "192.0.2.8", false},
		{"::ffff:192.0.2.7", "192.0.2.7", true},
		{"::ffff:0:0/96", "198.51.100.1", true}, // all of IPv4
		{"::ffff:0:0/96", "2001:db8::1", false},
		{"192.0.2.0/24", "::ffff:192.0.2.1", true},
		{"::/0", "192.0.2.1", false}, // all of IPv6
	} {
		var l List
		if err := l.Read(strings.NewReader(c.line), "block.txt"); err != nil {
			t.Fatal(err)
		}
		if got := l.Address(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s has %s: %v, want %v", c.line, c.addr, got, c.want)
		}
	}
}

func TestAListsMistakesHaveAPlace(t *testing.T) {
	for text, want := range map[string]string{
		"example.com\n192.0.2.0/33": "block.txt:2: ",
		"http://example.com/":       "block.txt:1: ",
		"192.0.2":                   "block.txt:1: ",
		"::ffff:192.0.2.0/24":       "block.txt:1: ",
		"bücher.example":            "block.txt:1: ",
		strings.Repeat("a", 300):    "block.txt:1: ",
		"ok.example\n" + strings.Repeat("a", maxLine+1): "block.txt:2: read: ",
	} {
		var l List
		if err := l.Read(strings.NewReader(text), "block.txt"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.30q: %v, want %s…", text, err, want)
		}
	}
}

func TestNoListBlocksNobody(t *testing.T) {
	var l *List
	if l.Address(netip.MustParseAddr("192.0.2.1")) || l.Name("example.com") || l.Len() != 0 {
		t.Error("somebody is blocked")
	}
}

// Whatever a list has, an address of a network that it names is on it, in either way
// of writing it.
func FuzzRead(f *testing.F) {
	f.Add(list)
	f.Add("::ffff:192.0.2.0/120\n::/0\n0.0.0.0/0")
	f.Add("\ufeff192.0.2.0/33\n::ffff:192.0.2.1%eth0")
	f.Fuzz(func(t *testing.T, text string) {
		var l List
		if l.Read(strings.NewReader(text), "block.txt") != nil {
			return
		}
		for line := range strings.Lines(text) {
			line, _, _ = strings.Cut(line, "#")
			p, err := netip.ParsePrefix(strings.TrimSpace(line))
			if err != nil {
				continue
			}
			addr := p.Addr()
			if !l.Address(addr) || !l.Address(netip.AddrFrom16(addr.As16())) && addr.Is4() {
				t.Errorf("%q does not have %s", text, addr)
			}
		}
	})
}
