package resolve

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestACacheGivesBackTheAddressesThatWerePutIn(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	mapped := netip.MustParseAddr("::ffff:192.0.2.1")
	for _, test := range []struct {
		about     string
		put, want []netip.Addr
	}{
		{"one of IPv4", []netip.Addr{four}, []netip.Addr{four}},
		{"as many as are kept", []netip.Addr{four, four.Next(), four, four.Next()}, []netip.Addr{four, four.Next(), four, four.Next()}},
		{"more than are kept", []netip.Addr{four, four, four, four.Next(), six}, []netip.Addr{four, four, four, four.Next()}},
		{"of IPv6", []netip.Addr{six, six.Next()}, []netip.Addr{six, six.Next()}},
		{"of both", []netip.Addr{four, six}, []netip.Addr{four, six}},
		{"of IPv4 in IPv6, which stay so", []netip.Addr{mapped}, []netip.Addr{mapped}},
	} {
		t.Run(test.about, func(t *testing.T) {
			c := newCache(64)
			hash := c.hash("a.example", false)
			c.put(hash, 1, 1).keep(new(server), test.put)
			e := c.get(hash, inSecond)
			if e == nil {
				t.Fatal("there is no entry")
			}
			if diff := cmp.Diff(test.want, e.found(nil), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
			if c.get(hash, 1+inSecond) != nil {
				t.Error("the entry did not expire")
			}
			if c.get(c.hash("a.example", true), inSecond) != nil {
				t.Error("the other family has the entry too")
			}
		})
	}
}
