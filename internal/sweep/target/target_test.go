package target_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"pennyfarthing/internal/sweep/target"
)

func TestTargetsHaveOneNormalForm(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"example.com", "example.com"},
		{" Example.COM.\t", "example.com"},
		{"example.com/", "example.com"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"BÜCHER。example", "xn--bcher-kva.example"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"XN--BCHER-KVA.example", "xn--bcher-kva.example"},
		{"_dmarc.example.com", "_dmarc.example.com"},
		{"_x.bücher.example", "_x.xn--bcher-kva.example"},
		{"r3---sn-abc.example.com", "r3---sn-abc.example.com"},
		{"-a-.example", "-a-.example"},
		{"localhost", "localhost"},
		{"LOCALHOST:8080", "localhost:8080"},
		{"example.com:080", "example.com:80"},
		{"example.com.:443", "example.com:443"},
		{"192.0.2.1", "192.0.2.1"},
		{"１９２.0.2.1", "192.0.2.1"},
		{"192.0.2.1.", "192.0.2.1"},
		{"192.0.2.1:81", "192.0.2.1:81"},
		{"2001:DB8:0::1", "2001:db8::1"},
		{"[2001:db8::1]", "2001:db8::1"},
		{"[2001:db8::1]:443", "[2001:db8::1]:443"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{"[::ffff:192.0.2.1]:80", "192.0.2.1:80"},
		{"http://example.com", "http://example.com/"},
		{"HTTP://Example.com:80#top", "http://example.com/"},
		{"https://example.com:443/", "https://example.com/"},
		{"https://example.com:/", "https://example.com/"},
		{"http://example.com:443/", "http://example.com:443/"},
		{"https://example.com?q=1#x", "https://example.com/?q=1"},
		{"https://example.com/?", "https://example.com/?"},
		{"https://[2001:DB8::1]:8443/a", "https://[2001:db8::1]:8443/a"},
		{"https://example.com/a b/ü", "https://example.com/a%20b/%C3%BC"},
		{"https://example.com/%c3%bc%2F", "https://example.com/%c3%bc%2F"},
		{"https://example.com/100%", "https://example.com/100%25"},
		{"https://example.com/%2%41", "https://example.com/%252%41"},
		{"https://example.com/a/../b/./c/..", "https://example.com/b/"},
		{"https://example.com/a/b/../ü x?q", "https://example.com/a/%C3%BC%20x?q"},
		{"https://example.com/../../", "https://example.com/"},
		{"https://example.com/.well-known/x", "https://example.com/.well-known/x"},
		{"https://example.com?/../", "https://example.com/?/../"},
		{`https://example.com\a`, "https://example.com/%5Ca"},
		{strings.Repeat("a.", 126) + "b", strings.Repeat("a.", 126) + "b"},
		{"a.0x", ""},
		{strings.Repeat("a.", 127) + "b", ""},
		{strings.Repeat("a", 63) + ".example", strings.Repeat("a", 63) + ".example"},
		{strings.Repeat("a", 64) + ".example", ""},
		{"a.0b", "a.0b"},
	} {
		got, err := target.Parse(test.text)
		if test.want == "" {
			if err == nil {
				t.Errorf("Parse(%q) = %q, want an error", test.text, got)
			}
			continue
		}
		if err != nil || got.String() != test.want {
			t.Errorf("Parse(%q) = %q, %v, want %q", test.text, got, err, test.want)
		}
	}
}

func TestATargetsPartsAreWhatIsAsked(t *testing.T) {
	for text, want := range map[string]target.Target{
		"example.com":              {Kind: target.Name, Host: "example.com"},
		"192.0.2.1":                {Kind: target.Name, Host: "192.0.2.1", IsIP: true},
		"[2001:db8::1]:81":         {Kind: target.HostPort, Host: "2001:db8::1", IsIP: true, Port: 81},
		"example.com:80":           {Kind: target.HostPort, Host: "example.com", Port: 80},
		"https://example.com":      {Kind: target.URL, Scheme: "https", Host: "example.com", Path: "/"},
		"http://[::1]:8080/a?b=c#": {Kind: target.URL, Scheme: "http", Host: "::1", IsIP: true, Port: 8080, Path: "/a?b=c"},
	} {
		if got, err := target.Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func TestWhatIsNoTargetIsRefusedWithAReason(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "nothing",
		"  ":                               "nothing",
		"com":                              "without a dot",
		"web:80":                           "without a dot",
		"com.":                             "without a dot",
		"*.example.com":                    "wildcard",
		"mail@example.com":                 "user information",
		"https://u:p@example.com/":         "user information",
		"https://example.com@evil.test/":   "user information",
		"ftp://example.com/":               "scheme",
		"javascript://example.com/":        "scheme",
		"example.com/path":                 "no scheme",
		"example.com?x":                    "no scheme",
		"//example.com":                    "no scheme",
		"example.com:":                     "port",
		"example.com:0":                    "port",
		"example.com:65536":                "port",
		"example.com:http":                 "port",
		"https://example.com:-1/":          "port",
		"1.2.3":                            "looks like an address",
		"1.2.3.4.5":                        "looks like an address",
		"256.1.1.1":                        "looks like an address",
		"0x7f.1":                           "looks like an address",
		"example.0x7f":                     "looks like an address",
		"2001:db8::g":                      "looks like an address",
		"2001:db8":                         "port",
		"fe80::1%eth0":                     "zone",
		"[192.0.2.1]":                      "brackets",
		"[2001:db8::1":                     "brackets",
		"[2001:db8::1]x":                   "brackets",
		"a..example":                       "empty label",
		".example.com":                     "empty label",
		"example.com..":                    "empty label",
		"exa mple.com":                     "character",
		"example.com\x00":                  "character",
		"exam%70le.com":                    "character",
		"http://exam%70le.com/":            "character",
		"http:///path":                     "nothing",
		"https://example.com/a\x00":        "control",
		"\u2167\u200d.example":             "IDNA",
		strings.Repeat("ü", 300) + ".test": "", // too long, in one way or another
		"https://example.com/" + strings.Repeat("a", 8000): "8000",
	} {
		got, err := target.Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %q, %v, want an error about %q", text, got, err, want)
		}
	}
}

func TestAPlainNameCostsNothing(t *testing.T) {
	n := testing.AllocsPerRun(100, func() {
		parsed, err := target.Parse("www.example.com")
		if err != nil || parsed.String() != "www.example.com" {
			t.Error(parsed, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"example.com", "Bücher.example.", "example.com:8080", "http://example.com/a/../%zz?q#f", "[2001:db8::1]:80", "::ffff:1.2.3.4",
		"https://[::1]/", "1.2.3.4", "１.2.3.4", "a.0x1", "xn--a.com", `http://a.b\c`, "localhost", "http://a.b:80", "ß.de", "a_b.c", "..", "http://",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := target.Parse(text)
		if err != nil {
			if err.Error() == "" {
				t.Errorf("Parse(%q) refuses without a reason", text)
			}
			return
		}
		normal := parsed.String()
		again, err := target.Parse(normal)
		if err != nil || again != parsed {
			t.Fatalf("Parse(%q) = %+v, and of its %q %+v, %v", text, parsed, normal, again, err)
		}
		if len(normal) > target.MaxLength {
			t.Errorf("Parse(%q) is %d bytes long", text, len(normal))
		}
		// The two that read the result afterwards understand it in the same way.
		if parsed.IsIP {
			if addr, err := netip.ParseAddr(parsed.Host); err != nil || addr.String() != parsed.Host {
				t.Errorf("Parse(%q) has the address %q: %v", text, parsed.Host, err)
			}
		} else if _, err := netip.ParseAddr(parsed.Host); err == nil {
			t.Errorf("Parse(%q) has the name %q, which is an address", text, parsed.Host)
		}
		if parsed.Kind == target.URL {
			u, err := url.Parse(normal)
			if err != nil || u.Scheme != parsed.Scheme || u.Hostname() != parsed.Host || u.RequestURI() != parsed.Path {
				t.Errorf("Parse(%q) = %+v, net/url reads %q as %+v, %v", text, parsed, normal, u, err)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, text := range []string{"www.example.com", "https://www.example.com/index.html", "bücher.example"} {
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := target.Parse(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
