package simnet_test

import (
	"net"
	"net/netip"
	"testing"

	"pennyfarthing/internal/sweep/simnet"
)

func TestASimulatedInternetIsKnownByItsControls(t *testing.T) {
	s, err := simnet.Start(simnet.NewWorld(5, simnet.Hostile), simnet.Config{DNS: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lossy, err := simnet.Start(simnet.NewWorld(5, simnet.Quick), simnet.Config{DNS: netip.MustParseAddrPort("127.0.0.1:0"), Loss: 0.2})
	if err != nil {
		t.Fatal(err)
	}
	defer lossy.Close()
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := nobody.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = nobody.Close()
	for _, c := range []struct {
		about     string
		resolvers []netip.AddrPort
		want      bool
	}{
		{"a simulated internet", []netip.AddrPort{s.DNS()}, true},
		{"one that loses packets", []netip.AddrPort{lossy.DNS()}, true},
		{"nobody", []netip.AddrPort{gone}, false},
		{"one of two", []netip.AddrPort{s.DNS(), gone}, false},
		{"no resolver", nil, false},
	} {
		if got := simnet.Is(t.Context(), c.resolvers); got != c.want {
			t.Errorf("%s: %v", c.about, got)
		}
	}
}
