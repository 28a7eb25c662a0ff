package sweep

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"pennyfarthing/internal/sweep/ask"
	"pennyfarthing/internal/sweep/pace"
)

// Settings are what a run was asked to do: what makes its rows what they are. They
// are kept in run.json, and a run is resumed with them.
type Settings struct {
	Lists  []string `json:"lists,omitempty"` // paths, or - for standard input
	Column string   `json:"column,omitempty"`
	// Simulated: the resolvers are those of a simulated internet, which is on loopback.
	Simulated bool    `json:"simulated,omitempty"`
	Simnet    *Simnet `json:"simnet,omitempty"`
	Format    string  `json:"format"` // parquet, jsonl or csv
	HTTPS     string  `json:"https"`
	WWW       bool    `json:"www"`
	Follow    int     `json:"follow"`
	Retries   int     `json:"retries"`
	Method    string  `json:"method"`
	Body      int     `json:"body"` // bytes; 0: what a title needs
	Robots    bool    `json:"robots"`
	Contact   string  `json:"contact,omitempty"`
	Agent     string  `json:"user_agent"`

	AllowPrivate bool              `json:"allow_private"`
	Block        []string          `json:"block,omitempty"`       // files
	Optout       []string          `json:"optout,omitempty"`      // files
	OptoutPage   string            `json:"optout_page,omitempty"` // the URL that tells the owners of targets how to opt out
	Ports        map[uint16]uint16 `json:"ports,omitempty"`

	Pacing         bool    `json:"pacing"`
	Rate           float64 `json:"rate_per_second,omitempty"`
	AddressRate    float64 `json:"rate_per_address"`
	NetworkRate    float64 `json:"rate_per_network"`
	DomainRate     float64 `json:"rate_per_domain,omitempty"`
	ResolverRate   float64 `json:"rate_per_resolver"`
	Concurrency    int     `json:"concurrency"`
	DNSConcurrency int     `json:"dns_concurrency"`

	DNSTimeout       time.Duration `json:"dns_timeout_ns"`
	ConnectTimeout   time.Duration `json:"connect_timeout_ns"`
	TLSTimeout       time.Duration `json:"tls_timeout_ns"`
	FirstByteTimeout time.Duration `json:"first_byte_timeout_ns"`
	TotalTimeout     time.Duration `json:"total_timeout_ns"`

	Resolvers   []netip.AddrPort `json:"resolvers"`
	Controls    []string         `json:"controls,omitempty"`
	Definitions []string         `json:"definitions,omitempty"`
	Vantage     string           `json:"vantage"`
	Engine      string           `json:"engine"` // fast or plain
	ShardSize   int              `json:"shard_size"`
}

// Simnet says which simulated internet a run is about.
type Simnet struct {
	Targets int     `json:"targets"`
	Profile string  `json:"profile"`
	Seed    uint64  `json:"seed"`
	Latency float64 `json:"latency"` // times the real internet's; 0: none
	Loss    float64 `json:"loss_percent,omitempty"`
}

// Defaults are the settings of a polite run.
func Defaults() Settings {
	return Settings{
		Format: "parquet", HTTPS: "first", WWW: true, Follow: 5, Retries: 1, Method: "GET",
		Pacing: true, AddressRate: 2, NetworkRate: 50, ResolverRate: 500, Concurrency: 8000, DNSConcurrency: 2000,
		DNSTimeout: 3 * time.Second, ConnectTimeout: 5 * time.Second, TLSTimeout: 8 * time.Second, FirstByteTimeout: 10 * time.Second, TotalTimeout: 20 * time.Second,
		Engine: "fast", ShardSize: 2048,
	}
}

// simulated reports whether the internet is one that a penny simulates.
func (s *Settings) simulated() bool { return s.Simnet != nil || s.Simulated }

// titleBytes is how much of a body is read for its title.
const titleBytes = 16 << 10

// policy is what is asked.
func (s *Settings) policy() (ask.Policy, error) {
	p := ask.Policy{
		WWW: s.WWW, Follow: s.Follow, Retries: s.Retries, Pause: time.Second, Method: s.Method, Body: s.Body, Robots: s.Robots,
		AllowPrivate: s.AllowPrivate, OnlyLoopback: s.simulated(), Agent: "penny", Ports: s.Ports, Vantage: s.Vantage,
		Timeouts: ask.Timeouts{Connect: s.ConnectTimeout, TLS: s.TLSTimeout, FirstByte: s.FirstByteTimeout, Total: s.TotalTimeout},
	}
	if s.Body == 0 && s.Method != "HEAD" {
		p.Body, p.Title = titleBytes, true
	}
	if s.Simnet != nil && s.Simnet.Latency == 0 {
		p.Pause = 100 * time.Millisecond
	}
	if err := p.HTTPS.Set(s.HTTPS); err != nil {
		return p, fmt.Errorf("https: %w", err)
	}
	return p, nil
}

// limits are the rates that are kept, or none.
func (s *Settings) limits() (pace.Limits, bool) {
	if !s.Pacing {
		return pace.Limits{All: s.Rate}, s.Rate > 0
	}
	return pace.Limits{All: s.Rate, Address: s.AddressRate, Network: s.NetworkRate, Domain: s.DomainRate}, true
}

// same names the first setting in which two runs would have different rows, or is
// empty. How fast a run goes may change between its parts.
func (s *Settings) same(o *Settings) string {
	switch {
	case !slices.Equal(s.Lists, o.Lists):
		return "the list"
	case s.Column != o.Column:
		return "--column"
	case (s.Simnet == nil) != (o.Simnet == nil), s.Simnet != nil && *s.Simnet != *o.Simnet:
		return "--simnet"
	case s.Format != o.Format:
		return "--format"
	case s.HTTPS != o.HTTPS:
		return "--https"
	case s.WWW != o.WWW:
		return "--www"
	case s.Follow != o.Follow:
		return "--follow"
	case s.Retries != o.Retries:
		return "--retries"
	case s.Method != o.Method:
		return "--method"
	case s.Body != o.Body:
		return "--body"
	case s.Robots != o.Robots:
		return "--robots"
	case s.AllowPrivate != o.AllowPrivate:
		return "--allow-private"
	case s.ShardSize != o.ShardSize:
		return "the size of shards"
	}
	return ""
}

// UserAgent is what every request says of who asks.
func (s *Settings) UserAgent(version string) string {
	agent := s.Agent
	if agent == "" {
		agent = "Mozilla/5.0 (compatible; penny/" + version
		if s.Contact != "" {
			agent += "; +" + s.Contact
		}
		return agent + ")"
	}
	if s.Contact != "" {
		agent += " (+" + s.Contact + ")"
	}
	return agent
}
