package sweep

import (
	"net/netip"
	"testing"
)

func TestWhatTheCapsTellIsKnownBeforeAnyNameIsResolved(t *testing.T) {
	one := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	two := []netip.AddrPort{one[0], netip.MustParseAddrPort("127.0.0.2:53")}
	for _, c := range []struct {
		about          string
		change         func(*Settings)
		targets, names int64
		want           string
	}{
		{"a polite run waits for its resolver", func(*Settings) {}, 1_000_000, 900_000, "the list takes about 30m0s at least, because its 900000 names are resolved at 500/s"},
		{"two resolvers are twice as quick", func(s *Settings) { s.Resolvers = two }, 1_000_000, 900_000, "the list takes about 15m0s at least, because its 900000 names are resolved at 1000/s"},
		{"addresses are not resolved", func(*Settings) {}, 1_000_000, 0, ""},
		{"the cap on all may be lower", func(s *Settings) { s.Rate = 50 }, 3000, 3000, "the list takes about 1m0s at least, because its 3000 targets are asked at 50/s in all"},
		{"so also without pacing", func(s *Settings) { s.Rate, s.Pacing, s.ResolverRate = 50, false, 0 }, 3000, 3000, "the list takes about 1m0s at least, because its 3000 targets are asked at 50/s in all"},
		{"no cap tells nothing", func(s *Settings) { s.Pacing, s.ResolverRate = false, 0 }, 1_000_000, 1_000_000, ""},
		{"less than a second is not worth a word", func(*Settings) {}, 100, 100, ""},
		{"nothing is left", func(s *Settings) { s.Rate = 1 }, 0, 0, ""},
	} {
		t.Run(c.about, func(t *testing.T) {
			s := Defaults()
			s.Resolvers = one
			c.change(&s)
			if got := s.known(c.targets, c.names); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
