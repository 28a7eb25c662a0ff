package simnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Profile is a distribution of fates.
type Profile uint8

// The profiles.
const (
	// TonyWang2024 is the internet as the study of 2024 saw it on port 80 of bare names.
	TonyWang2024 Profile = iota
	// Quick has the same shares, failures where the other is silent, and little TLS.
	Quick
	// Hostile has every kind of failure, each often.
	Hostile

	numProfiles
)

//nolint:gochecknoglobals // a table
var profileNames = [numProfiles]string{"tonywang2024", "quick", "hostile"}

// String is the profile's name.
func (p Profile) String() string { return profileNames[p] }

// ParseProfile reads a profile's name.
func ParseProfile(name string) (Profile, error) {
	if i := slices.Index(profileNames[:], name); i >= 0 {
		return Profile(i), nil //nolint:gosec // there are three
	}
	return 0, fmt.Errorf("%q is no profile; there are %s", name, strings.Join(profileNames[:], ", "))
}

// A World knows the fate of every host. It is immutable; the zero value is the
// world of seed 0 in the profile [TonyWang2024].
type World struct {
	seed    uint64
	profile Profile
}

// NewWorld makes the world of a seed.
func NewWorld(seed uint64, profile Profile) *World { return &World{seed: seed, profile: profile} }

// Seed is what the world was made of.
func (w *World) Seed() uint64 { return w.seed }

// Profile is what the world was made of.
func (w *World) Profile() Profile { return w.profile }

// A LookupKind is what a resolver says of a name.
type LookupKind uint8

// The kinds.
const (
	Found        LookupKind = iota
	NXDomain                // RFC 2308 §2.1
	NoData                  // RFC 2308 §2.2, for every type
	ServFail                // code 2, and no more
	ServFailEDE             // code 2 with the extended error 6, DNSSEC bogus (RFC 8914): a failure, and not a lame name
	Refused                 // code 5
	LameNoReach             // code 2 with the extended error 22, no reachable authority
	LameNetwork             // code 2 with the extended error 23, network error
	Silent                  // no answer
	CNAMELoop               // aliases that lead back
	FormErr                 // code 1
	NotImp                  // code 4
	BrokenRecord            // an answer that ends in the middle of a record
)

// A Quirk is something odd about a resolver's answers for a name that is found.
// None of them changes what a client that does everything right comes to.
type Quirk uint8

// The quirks.
const (
	Straight      Quirk = iota
	Truncated           // TC over UDP (RFC 2181 §9); the answer comes over TCP
	Late                // some hundred milliseconds late
	WrongID             // before the answer, one with another id
	WrongQuestion       // before the answer, one to another question
	Junk                // before the answer, bytes that are no message
	FailsFirst          // SERVFAIL to every other query, beginning with the first
	SilentFirst         // silence to every other query, beginning with the first
)

// A Lookup is what becomes of a name.
type Lookup struct {
	Kind  LookupKind
	Quirk Quirk
	Chain uint8 // CNAMEs before the addresses
	IPv6  bool  // has ::1

	v4    [2]address
	count uint8 // of v4
}

// Addresses are those of IPv4, in the order of the answer.
func (l *Lookup) Addresses() []netip.Addr {
	addrs := make([]netip.Addr, l.count)
	for i := range addrs {
		addrs[i] = netip.AddrFrom4(l.v4[i])
	}
	return addrs
}

// A Handshake is what becomes of TLS where a connection is served.
type Handshake uint8

// The handshakes.
const (
	Good       Handshake = iota
	Expired              // the certificate is
	WrongName            // a good certificate for another name
	SelfSigned           // nobody vouches
	OldVersion           // refuses with protocol_version (RFC 8446 §6)
	OldServer            // answers with TLS 1.0 whatever the client says
	NoCipher             // refuses with handshake_failure
	Alert                // refuses with unrecognized_name
	PlainHTTP            // HTTP, to a client that speaks TLS
	NotTLS               // bytes of nothing
	CloseEarly           // closes when the client has spoken
	ResetEarly           // resets when the client has spoken
	Mute                 // says nothing
	FlakyTLS             // closes every other handshake, beginning with the first
)

// A Manner is how an answer of HTTP is given.
type Manner uint8

// The manners.
const (
	Proper       Manner = iota
	HTTP10              // HTTP/1.0, its end marked by the connection's
	NoReason            // an empty reason phrase (RFC 9112 §4)
	Interim             // 103 and 100 before the answer (RFC 9110 §15.2)
	LengthShort         // more bytes than Content-Length says
	Endless             // a body without an end
	LengthLong          // fewer bytes than Content-Length says
	BadChunk            // chunks whose length is none
	CutChunk            // closes within a chunk
	SlowBody            // one byte a second of the body
	SlowHead            // one byte a second of the head
	EndlessHead         // header fields without an end
	HugeHead            // one field of half a mebibyte
	NotHTTP             // the greeting of an SSH server
	HTTP09              // a page without a head
	BadStatus           // a status that is no number
	BadField            // a header line without a colon
	ControlBytes        // NUL in a header field
	Reset               // resets when it was asked
	Close               // closes when it was asked
	Hang                // never answers
	Flaky               // resets every other request, beginning with the first
)

// A Destination is where a redirect leads.
type Destination uint8

// The destinations. Those with a scheme keep the path.
const (
	Nowhere     Destination = iota // not a redirect
	BareHTTP                       // http, the name without www.
	BareHTTPS                      // https, the name without www.
	WWWHTTP                        // http, www. before it
	WWWHTTPS                       // https, www. before it
	Landing                        // a name of another site that answers
	OtherSite                      // any name of the list
	Relative                       // a path of the same site, that answers
	Itself                         // the same URL
	Hops                           // a chain through several URLs of the same site
	Missing                        // no Location
	Script                         // javascript:
	Mail                           // mailto:
	UserInfo                       // a URL with a password in it
	DeadName                       // a name that does not exist
	Metadata                       // 169.254.169.254
	PrivateSite                    // 10.0.0.1
)

// A Text is what a page says.
type Text uint8

// The texts.
const (
	Ordinary Text = iota
	Parked        // for sale
	Soft404       // "not found" with a status of 200, whatever is asked for
	Empty         // nothing
)

// A Page is what a site's front page answers.
type Page struct {
	Manner Manner
	Status uint16
	To     Destination
	Hops   uint8 // redirects of the chain, where To is Hops
	Text   Text
	Look   uint32 // drawn; decides on length, headers and the like
}

// A Robots is what robots.txt says.
type Robots uint8

// The answers to /robots.txt.
const (
	NoRobots    Robots = iota // 404
	RobotsAllow               // everything
	RobotsForbid
)

// A Fate is what becomes of those who ask a host.
type Fate struct {
	Kind   string // what the profile calls it
	Lookup Lookup
	TLS    Handshake
	Robots Robots
	Front  [2]Page // by [Scheme]
	delay  uint16  // of answers, in thousandths of the mean latency
}

// errNoHost is a host that there cannot be.
var errNoHost = errors.New("not a name of at most 253 bytes")

// Fate is what becomes of a host: a name in any case, or an address.
func (w *World) Fate(host string) (Fate, error) {
	if host == "" || len(host) > 253 {
		return Fate{}, fmt.Errorf("%.80q: %w", host, errNoHost)
	}
	return w.fate([]byte(strings.ToLower(strings.TrimSuffix(host, ".")))), nil
}

// fate is [World.Fate] of a name in lower case.
func (w *World) fate(host []byte) Fate {
	if f, ok := addressFate(host); ok {
		return f
	}
	base, www := bare(host)
	if i, ok := reserved(base, "control", numControls); ok {
		return servedWell("control", addressOf(control, i))
	}
	if i, ok := reserved(base, "landing", numLandings); ok {
		return servedWell("landing", addressOf(bigHoster, i))
	}
	if cannotExist(host) {
		return Fate{Kind: "impossible", Lookup: Lookup{Kind: NXDomain}}
	}
	d := dice(hashOf(base, w.seed))
	delay := uint16(300 + d.roll(1400)) //nolint:gosec // small
	var f Fate
	if w.profile == Hostile {
		f = w.hostile(&d, www)
	} else {
		f = w.study(&d, www)
	}
	f.delay = delay
	f.Robots = robots(&d)
	return f
}

func robots(d *dice) Robots {
	switch r := d.roll(10); {
	case r < 4:
		return NoRobots
	case r < 9:
		return RobotsAllow
	}
	return RobotsForbid
}

// servedWell is the fate of a site that answers with 200, however it is asked.
func servedWell(kind string, a address) Fate {
	f := Fate{Kind: kind, Lookup: at(a), Robots: RobotsAllow, delay: 1000}
	f.Front = [2]Page{{Status: 200}, {Status: 200}}
	return f
}

// at is a name with one address.
func at(a address) Lookup { return Lookup{Kind: Found, v4: [2]address{a}, count: 1} }

// addressFate is the fate of an address as a host: what is served there to those
// who name no site.
func addressFate(host []byte) (Fate, bool) {
	if len(host) == 0 || (host[len(host)-1] < '0' || host[len(host)-1] > '9') && host[len(host)-1] != ']' && !slices.Contains(host, ':') {
		return Fate{}, false // no top-level name ends with a digit
	}
	a, err := netip.ParseAddr(strings.Trim(string(host), "[]"))
	if err != nil {
		return Fate{}, false
	}
	f := Fate{Kind: "address", TLS: WrongName, delay: 1000}
	if a = a.Unmap(); a.Is4() {
		f.Lookup = at(a.As4())
	} else {
		f.Lookup = Lookup{Kind: Found, IPv6: true}
	}
	f.Front = [2]Page{{Status: 404}, {Status: 404}}
	return f, true
}
