package sweep_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	fleet "pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/sweep"
)

// everything is a [sweep] in which every setting differs from its default.
func everything() *fleet.Sweep {
	return &fleet.Sweep{
		Contact: "mailto:me@example.org", Agent: "examplebot/1.0", OptOut: "bot.example.org", Block: []string{"block.txt"}, Robots: new(true), AllowPrivate: true,
		HTTPS: "both", WWW: new(false), Follow: new(0), Retries: new(0), Method: "HEAD", Body: 65536, Ports: map[uint16]uint16{80: 18080},
		Column: "domain", Definitions: []string{"strict"}, Format: "jsonl", Concurrency: 15_000, DNSConcurrency: 500,
		Rate: new(5000.0), PerAddress: new(0.0), PerNetwork: new(7.0), PerDomain: new(0.5), PerResolver: new(0.0), NoPacing: true,
		Timeout:   fleet.Timeouts{DNS: time.Second, Connect: 2 * time.Second, TLS: 3 * time.Second, FirstByte: 4 * time.Second, Total: 6 * time.Second},
		Resolvers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}, Controls: []string{"https://www.example.org/"},
		Engine: "plain", Vantage: "sydney",
	}
}

func configured(c *fleet.Sweep, typed ...string) sweep.Settings {
	s := sweep.Defaults()
	s.Configure(c, func(flag string) bool {
		for _, t := range typed {
			if t == flag || t == "everything" {
				return true
			}
		}
		return false
	})
	return s
}

func TestTheFleetFileGoesBeforeTheDefaults(t *testing.T) {
	want := sweep.Settings{
		Format: "jsonl", Column: "domain", HTTPS: "both", Method: "HEAD", Body: 65536, Robots: true, Contact: "mailto:me@example.org", Agent: "examplebot/1.0",
		AllowPrivate: true, OptoutPage: "https://bot.example.org/", Block: []string{"block.txt"}, Ports: map[uint16]uint16{80: 18080},
		Rate: 5000, NetworkRate: 7, DomainRate: 0.5, Concurrency: 15_000, DNSConcurrency: 500,
		DNSTimeout: time.Second, ConnectTimeout: 2 * time.Second, TLSTimeout: 3 * time.Second, FirstByteTimeout: 4 * time.Second, TotalTimeout: 6 * time.Second,
		Resolvers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}, Controls: []string{"https://www.example.org/"}, Definitions: []string{"strict"},
		Vantage: "sydney", Engine: "plain", ShardSize: sweep.Defaults().ShardSize,
	}
	if diff := cmp.Diff(want, configured(everything()), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("the settings differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(sweep.Defaults(), configured(&fleet.Sweep{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("a file that says nothing changes settings (-want +got):\n%s", diff)
	}
}

func TestFlagsGoBeforeTheFleetFile(t *testing.T) {
	want := sweep.Defaults()
	want.Block, want.OptoutPage = []string{"block.txt"}, "https://bot.example.org/" // whom not to ask is never taken back
	if diff := cmp.Diff(want, configured(everything(), "everything"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the settings differ (-want +got):\n%s", diff)
	}
	s := configured(everything(), "timeout.connect", "www")
	if s.ConnectTimeout != sweep.Defaults().ConnectTimeout || s.TLSTimeout != 3*time.Second || !s.WWW || s.Follow != 0 {
		t.Errorf("one flag changes another's setting: %+v", s)
	}
}

func TestAFleetsOwnSitesAreControlsWhenItsPOPsCanBeReached(t *testing.T) {
	sites := []fleet.Site{{Name: "example.org", Hosts: []string{"www.example.org"}}, {Name: "img.example.org"}}
	at := func(addresses ...string) fleet.POP {
		var p fleet.POP
		for _, a := range addresses {
			p.Addresses = append(p.Addresses, netip.MustParseAddr(a))
		}
		return p
	}
	for _, test := range []struct {
		name string
		pops []fleet.POP
		want []string
	}{
		{"no POPs", nil, nil},
		{"a POP with addresses that only documentation has", []fleet.POP{at("203.0.113.10", "2001:db8::1")}, nil},
		{"a POP on this machine", []fleet.POP{at("127.0.0.1")}, nil},
		{"one of two POPs has a public address", []fleet.POP{at("10.0.0.1"), at("10.0.0.2", "8.8.8.8")}, []string{"https://example.org/", "https://img.example.org/"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := sweep.FleetControls(&fleet.Fleet{POPs: test.pops, Sites: sites})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("controls (-want +got):\n%s", diff)
			}
		})
	}
	if got := sweep.FleetControls(&fleet.Fleet{POPs: []fleet.POP{at("8.8.8.8")}, Sites: make([]fleet.Site, 100)}); len(got) != 8 {
		t.Errorf("%d controls of a fleet with a hundred sites", len(got))
	}
}
