package cli

import (
	"strings"
	"testing"
	"time"
)

func TestSizesAreRead(t *testing.T) {
	for text, want := range map[string]size{
		"1":       1,
		"1500000": 1500000,
		"512M":    512 << 20,
		"512m":    512 << 20,
		"512MB":   512 << 20,
		"2GiB":    2 << 30,
		"2 G":     2 << 30,
		"1.5k":    1536,
		"1T":      1 << 40,
		"100B":    100,
	} {
		var s size
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("%q is %d, %v, want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "M", "-1", "0", "5x", "1 2", "1MM", "NaN", "Inf", "1e30", "9000000T", "iB", "1iB2"} {
		var s size
		if err := s.Set(text); err == nil {
			t.Errorf("%q is taken for %d bytes", text, s)
		} else if !strings.Contains(err.Error(), "512M") {
			t.Errorf("%q: %v does not say what to write", text, err)
		}
	}
}

func TestNumbersOfBytesForPeople(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1 kB", 1234: "1.23 kB", 30800: "30.8 kB", 999_499: "999 kB", 999_500: "1 MB",
		66_812_304: "66.8 MB", 4 << 30: "4.29 GB", 5e15: "5e+03 TB",
	} {
		if got := bytes(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

func TestTimesAndNetworksAreRead(t *testing.T) {
	var a age
	if err := a.Set("180d"); err != nil || time.Duration(a) != 180*24*time.Hour {
		t.Errorf("%v, %v", time.Duration(a), err)
	}
	var p prefixes
	if err := p.Set("10.1.2.3/8, 192.0.2.1,::ffff:192.0.2.2,2001:db8::/32"); err != nil {
		t.Fatal(err)
	}
	if got, want := p.String(), "10.0.0.0/8,192.0.2.1/32,192.0.2.2/32,2001:db8::/32"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, text := range []string{"", "10.0.0.0/33", "example.org", "10.0.0.0/8,"} {
		if err := new(prefixes).Set(text); err == nil {
			t.Errorf("%q is taken for networks", text)
		}
	}
}
