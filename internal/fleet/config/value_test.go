package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseDurationTakesUnitsUpToYears(t *testing.T) {
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "1h30m": 90 * time.Minute, "180d": 180 * day, "1y": 365 * day, "2w": 14 * day,
		"250ms": 250 * time.Millisecond, "0s": 0, "5m250ms": 5*time.Minute + 250*time.Millisecond, "292y": 292 * 365 * day,
	} {
		if got, f := parseDuration(s); f != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v; want %v", s, got, f, want)
		}
	}
	for _, s := range []string{"", "5", "s", "-1d", "1.5h", "1 d", "1D", "1x", "1d2", "300y", "1y292y", "9999999999s", "٣s"} {
		if got, f := parseDuration(s); f == nil {
			t.Errorf("parseDuration(%q) = %v, want a flaw", s, got)
		}
	}
}

func TestFormatDurationIsReadBackAsTheSame(t *testing.T) {
	for _, d := range []time.Duration{time.Second, 90 * time.Second, time.Hour, 24 * time.Hour, 365 * 24 * time.Hour, time.Millisecond} {
		if got, f := parseDuration(formatDuration(d)); f != nil || got != d {
			t.Errorf("%v is formatted as %q", d, formatDuration(d))
		}
	}
}

func TestParsePriceKeepsAmountCurrencyAndPeriod(t *testing.T) {
	for s, want := range map[string]struct {
		price   Price
		text    string
		monthly string
	}{
		"5 USD/month":         {Price{5e6, "USD", Month}, "5 USD/month", "5 USD/month"},
		"12 USD/year":         {Price{12e6, "USD", Year}, "12 USD/year", "1 USD/month"},
		"10 USD / year":       {Price{10e6, "USD", Year}, "10 USD/year", "0.833333 USD/month"},
		"11.90 EUR/year":      {Price{11_900_000, "EUR", Year}, "11.9 EUR/year", "0.991667 EUR/month"},
		"0.0059 EUR/hour":     {Price{5900, "EUR", Hour}, "0.0059 EUR/hour", "4.307 EUR/month"},
		"0 USD/month":         {Price{0, "USD", Month}, "0 USD/month", "0 USD/month"},
		"1000000 VND/hour":    {Price{1e12, "VND", Hour}, "1000000 VND/hour", "730000000 VND/month"},
		"  0.000001 XAF/hour": {Price{1, "XAF", Hour}, "0.000001 XAF/hour", "0.00073 XAF/month"},
	} {
		got, f := parsePrice(s)
		if f != nil || got != want.price || got.String() != want.text || got.Monthly().String() != want.monthly {
			t.Errorf("parsePrice(%q) = %+v, %v: %v, monthly %v; want %+v", s, got, f, got, got.Monthly(), want)
		}
		if again, f := parsePrice(got.String()); f != nil || again != got {
			t.Errorf("%v is read back as %v, %v", got, again, f)
		}
	}
	for _, s := range []string{"", "5", "5 USD", "5/month", "5USD/month", "5. USD/month", ".5 USD/month", "1e3 USD/month", "+5 USD/month", "1000000.1 USD/month", "1.0000001 USD/month", "99999999 USD/month", "5 USD/month/x"} {
		if got, f := parsePrice(s); f == nil {
			t.Errorf("parsePrice(%q) = %v, want a flaw", s, got)
		}
	}
	if zero := (Price{}); !zero.IsZero() || zero.Monthly() != zero || zero.String() != "unknown" {
		t.Errorf("the zero price is %v", zero)
	}
}

func TestParseHostTakesWholeNamesOnly(t *testing.T) {
	long := strings.Repeat("a", 63)
	for s, want := range map[string]string{
		"example.org": "example.org", "WWW.Example.Org": "www.example.org", "localhost": "localhost", "1.example": "1.example",
		"xn--bcher-kva.example": "xn--bcher-kva.example", long + ".org": long + ".org",
	} {
		if got, f := parseHost(s); f != nil || got != want {
			t.Errorf("parseHost(%q) = %q, %v; want %q", s, got, f, want)
		}
	}
	for _, s := range []string{
		"", ".", "org", "example..org", ".example.org", "-a.example", "a-.example", long + "a.org", strings.Repeat("a.", 130) + "org",
		"1.2.3.4", "1.2.3.400", "::1", "[::1]", "a b.example", "a.example:443", "a.example/", "a\x00.example", "\u212a.example", "a.1",
	} {
		if got, f := parseHost(s); f == nil {
			t.Errorf("parseHost(%q) = %q, want a flaw", s, got)
		}
	}
}

func TestParseHostPortTakesNamesAndAddresses(t *testing.T) {
	for _, s := range []string{"127.0.0.1:8443", "[::1]:443", "localhost:1", "nginx:65535", "a.example:80"} {
		if got, f := parseHostPort(s); f != nil || got != s {
			t.Errorf("parseHostPort(%q) = %q, %v", s, got, f)
		}
	}
	for _, s := range []string{"", ":80", "::1:80", "[::]:80", "a:0", "a:+1", "a:01", "a:http", "a:65536", "a b:1", "http://a:80"} {
		if got, f := parseHostPort(s); f == nil {
			t.Errorf("parseHostPort(%q) = %q, want a flaw", s, got)
		}
	}
}

func TestParseOriginTakesPlainWebURLsOnly(t *testing.T) {
	for _, s := range []string{"https://example.net", "http://10.0.0.9:9000/bucket", "https://[2001:db8::1]:8443/", "http://backend"} {
		if got, f := parseOrigin(s); f != nil || got.String() != s {
			t.Errorf("parseOrigin(%q) = %v, %v", s, got, f)
		}
	}
	for _, s := range []string{"", "/x", "//example.net", "https:", "https://", "https://:80", "https://a:b", "https://a:0", "https://a:", "https://a?x", "https://a?", "https://a#", "https://u@a", "https:a", "ws://a", "https://a b", "https://0.0.0.0"} {
		if got, f := parseOrigin(s); f == nil {
			t.Errorf("parseOrigin(%q) = %v, want a flaw", s, got)
		}
	}
}

func TestParseEmailTakesPlainAddressesOnly(t *testing.T) {
	for _, s := range []string{"me@example.org", "a.b+c@mail.example.org"} {
		if got, f := parseEmail(s); f != nil || got != s {
			t.Errorf("parseEmail(%q) = %q, %v", s, got, f)
		}
	}
	for _, s := range []string{"", "me", "me@", "@example.org", "me@localhost", "me@example", "Me <me@example.org>", "<me@example.org>", "a@example.org, b@example.org", "me@1.2.3.4", "me@example.org\n"} {
		if got, f := parseEmail(s); f == nil {
			t.Errorf("parseEmail(%q) = %q, want a flaw", s, got)
		}
	}
}

func TestParseProxyMasksNothingItself(t *testing.T) {
	for s, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "192.0.2.1": "192.0.2.1/32", "2001:db8::/32": "2001:db8::/32", "2001:db8::1": "2001:db8::1/128", "::ffff:192.0.2.1": "192.0.2.1/32",
	} {
		if got, f := parseProxy(s); f != nil || got.String() != want {
			t.Errorf("parseProxy(%q) = %v, %v; want %s", s, got, f, want)
		}
	}
	for _, s := range []string{"", "0.0.0.0/0", "::/0", "10.0.0.1/8", "fe80::1%eth0", "::ffff:10.0.0.0/104", "10.0.0.0/33", "x"} {
		if got, f := parseProxy(s); f == nil {
			t.Errorf("parseProxy(%q) = %v, want a flaw", s, got)
		}
	}
}

func TestParseRegionTellsContinentsFromCountries(t *testing.T) {
	for s, want := range map[string][2]string{
		"NA": {"continent", "NA"}, "NAM": {"country", "NA"}, "AF": {"continent", "AF"}, "AFG": {"country", "AF"},
		"EU": {"continent", "EU"}, "OC": {"continent", "OC"}, "FR": {"country", "FR"}, "XK": {"country", "XK"}, "SAU": {"country", "SA"}, "ASM": {"country", "AS"},
	} {
		list, code, f := parseRegion(s)
		kind := "country"
		if list == continents {
			kind = "continent"
		}
		if diff := cmp.Diff(want, [2]string{kind, code}); f != nil || diff != "" {
			t.Errorf("parseRegion(%q): %v %s", s, f, diff)
		}
	}
	for _, s := range []string{"", " ", "F", "fr", "XX", "A A", "D ", "FRA", "UK"} {
		if list, _, f := parseRegion(s); f == nil {
			t.Errorf("parseRegion(%q) is in %q, want a flaw", s, list)
		}
	}
}

func TestListsOfCodesAreWhole(t *testing.T) {
	// ISO 3166-1 has 249 countries, and there is Kosovo.
	if n := len(strings.Fields(countries)); n != 250 {
		t.Errorf("there are %d countries, want 250", n)
	}
	for _, list := range []string{countries, currencies} {
		codes := strings.Fields(list)
		for i, c := range codes[1:] {
			if codes[i] >= c {
				t.Errorf("%s stands before %s", codes[i], c)
			}
		}
	}
}

func TestMessagesRepeatLongTextShortened(t *testing.T) {
	long := strings.Repeat("ü", 1000)
	if got := quote(long); len(got) > 100 || !strings.HasSuffix(got, "…\"") {
		t.Errorf("quote returned %q", got)
	}
}
