package simnet

// plainShare is how many of a hundred sites of the hostile internet have no fault.
const plainShare = 15

// hostile draws a name's fate where every kind of failure is common: the plain
// ones have their share, and the kinds of the table are equally frequent.
func (w *World) hostile(d *dice, www bool) Fate {
	f := Fate{Lookup: at(w.profile.hosted(d))}
	f.Front = [2]Page{{Status: 200, Look: uint32(d.roll(1 << 32))}, {Status: 200, Look: uint32(d.roll(1 << 32))}} //nolint:gosec // less than 2³²
	if d.roll(100) < plainShare {
		f.Kind = "plain"
		return f
	}
	k := &hostileKinds[d.roll(uint64(len(hostileKinds)))]
	f.Kind = k.name
	k.make(&f, d, www)
	return f
}

// lookups makes a kind of which only the resolver's answer is odd, with www. before
// the name too.
func lookups(kind LookupKind) func(*Fate, *dice, bool) {
	return func(f *Fate, _ *dice, _ bool) { f.Lookup = Lookup{Kind: kind} }
}

// quirks makes a kind whose resolver answers, oddly.
func quirks(q Quirk) func(*Fate, *dice, bool) {
	return func(f *Fate, _ *dice, _ bool) { f.Lookup.Quirk = q }
}

// grouped makes a kind that the address decides.
func grouped(group byte) func(*Fate, *dice, bool) {
	return func(f *Fate, d *dice, _ bool) { f.Lookup.v4[0] = among(d, group) }
}

// handshakes makes a kind whose handshake is odd. HTTP answers half of them.
func handshakes(h Handshake) func(*Fate, *dice, bool) {
	return func(f *Fate, d *dice, _ bool) {
		f.TLS = h
		if d.chance(5000) {
			f.Front[HTTP].Manner = Close
		}
	}
}

// manners makes a kind that answers oddly by both schemes.
func manners(m Manner) func(*Fate, *dice, bool) {
	return func(f *Fate, _ *dice, _ bool) { f.Front[HTTP].Manner, f.Front[HTTPS].Manner = m, m }
}

// redirects makes a kind that redirects by both schemes, unless it is there already.
func redirects(to Destination) func(*Fate, *dice, bool) {
	return func(f *Fate, d *dice, www bool) {
		status := [...]uint16{301, 302, 303, 307, 308}[d.roll(5)]
		for scheme := range f.Front {
			if arrived(to, Scheme(scheme), www) { //nolint:gosec // two
				continue
			}
			f.Front[scheme] = Page{Status: status, To: to}
			if to == Hops {
				f.Front[scheme].Hops = uint8(1 + d.roll(7)) //nolint:gosec // small
			}
		}
	}
}

// arrived reports whether a redirect has led to where it is followed from.
func arrived(to Destination, scheme Scheme, www bool) bool {
	switch to {
	case BareHTTP:
		return scheme == HTTP && !www
	case BareHTTPS:
		return scheme == HTTPS && !www
	case WWWHTTP:
		return scheme == HTTP && www
	case WWWHTTPS:
		return scheme == HTTPS && www
	default:
		return false
	}
}

// statuses makes a kind that answers with a status.
func statuses(status uint16) func(*Fate, *dice, bool) {
	return func(f *Fate, _ *dice, _ bool) { f.Front[HTTP].Status, f.Front[HTTPS].Status = status, status }
}

// texts makes a kind that says something.
func texts(text Text) func(*Fate, *dice, bool) {
	return func(f *Fate, _ *dice, _ bool) { f.Front[HTTP].Text, f.Front[HTTPS].Text = text, text }
}

// A hostileKind is one way to be no ordinary site.
type hostileKind struct {
	name string
	make func(f *Fate, d *dice, www bool)
}

//nolint:gochecknoglobals // a table
var hostileKinds = []hostileKind{
	{"no such name", lookups(NXDomain)},
	{"no address", lookups(NoData)},
	{"no address, but www has one", func(f *Fate, _ *dice, www bool) {
		if !www {
			f.Lookup = Lookup{Kind: NoData}
		}
	}},
	{"resolver fails", lookups(ServFail)},
	{"resolver fails, bogus", lookups(ServFailEDE)},
	{"lame, refused", lookups(Refused)},
	{"lame, no reachable authority", lookups(LameNoReach)},
	{"lame, network error", lookups(LameNetwork)},
	{"resolver silent", lookups(Silent)},
	{"aliases in a loop", lookups(CNAMELoop)},
	{"format error", lookups(FormErr)},
	{"not implemented", lookups(NotImp)},
	{"broken record", lookups(BrokenRecord)},
	{"truncated", quirks(Truncated)},
	{"slow resolver", quirks(Late)},
	{"wrong id first", quirks(WrongID)},
	{"wrong question first", quirks(WrongQuestion)},
	{"junk first", quirks(Junk)},
	{"resolver fails once", quirks(FailsFirst)},
	{"resolver silent once", quirks(SilentFirst)},
	{"aliases", func(f *Fate, d *dice, _ bool) { f.Lookup.Chain = uint8(1 + d.roll(8)) }}, //nolint:gosec // small
	{"IPv6 alone", func(f *Fate, _ *dice, _ bool) { f.Lookup = Lookup{Kind: Found, IPv6: true} }},
	{"private address", func(f *Fate, _ *dice, _ bool) { f.Lookup.v4[0] = address{10, 0, 0, 1} }},
	{"private address first", func(f *Fate, _ *dice, _ bool) {
		f.Lookup.v4, f.Lookup.count = [2]address{{192, 168, 1, 1}, f.Lookup.v4[0]}, 2
	}},
	{"first address refuses", func(f *Fate, d *dice, _ bool) {
		f.Lookup.v4, f.Lookup.count = [2]address{among(d, closed), f.Lookup.v4[0]}, 2
	}},
	{"first address never accepts", func(f *Fate, d *dice, _ bool) {
		f.Lookup.v4, f.Lookup.count = [2]address{among(d, blackhole), f.Lookup.v4[0]}, 2
	}},
	{"IPv4 refuses, IPv6 answers", func(f *Fate, d *dice, _ bool) {
		f.Lookup.v4[0], f.Lookup.IPv6 = among(d, closed), true
	}},
	{"IPv4 never accepts, IPv6 answers", func(f *Fate, d *dice, _ bool) {
		f.Lookup.v4[0], f.Lookup.IPv6 = among(d, blackhole), true
	}},

	{"refused", grouped(closed)},
	{"HTTP refused", grouped(onlyHTTPS)},
	{"HTTPS refused", grouped(onlyHTTP)},
	{"never accepts", grouped(blackhole)},
	{"HTTP never accepts", grouped(noHTTP)},
	{"HTTPS never accepts", grouped(noHTTPS)},
	{"never answers", grouped(hung)},
	{"HTTP never answers", grouped(hungHTTP)},
	{"HTTPS never answers", grouped(hungHTTPS)},
	{"reset at the first word", grouped(slam)},
	{"reset as soon as accepted", grouped(resets)},
	{"unreachable", func(f *Fate, _ *dice, _ bool) { f.Lookup.v4[0] = unreachable }},

	{"certificate expired", handshakes(Expired)},
	{"certificate of another name", handshakes(WrongName)},
	{"certificate self-signed", handshakes(SelfSigned)},
	{"TLS too old", handshakes(OldVersion)},
	{"TLS 1.0 whatever was asked", handshakes(OldServer)},
	{"no common cipher", handshakes(NoCipher)},
	{"handshake refused", handshakes(Alert)},
	{"plain HTTP on the port of HTTPS", handshakes(PlainHTTP)},
	{"no TLS", handshakes(NotTLS)},
	{"handshake closed", handshakes(CloseEarly)},
	{"handshake reset", handshakes(ResetEarly)},
	{"handshake unanswered", handshakes(Mute)},
	{"handshake closed once", handshakes(FlakyTLS)},

	{"HTTP/1.0", manners(HTTP10)},
	{"no reason phrase", manners(NoReason)},
	{"interim answers", manners(Interim)},
	{"length too short", manners(LengthShort)},
	{"endless body", manners(Endless)},
	{"length too long", manners(LengthLong)},
	{"bad chunk", manners(BadChunk)},
	{"cut chunk", manners(CutChunk)},
	{"slow body", manners(SlowBody)},
	{"slow head", manners(SlowHead)},
	{"endless head", manners(EndlessHead)},
	{"huge head", manners(HugeHead)},
	{"not HTTP", manners(NotHTTP)},
	{"page without head", manners(HTTP09)},
	{"status without number", manners(BadStatus)},
	{"field without colon", manners(BadField)},
	{"control bytes", manners(ControlBytes)},
	{"reset after request", manners(Reset)},
	{"closed after request", manners(Close)},
	{"request unanswered", manners(Hang)},
	{"reset once", manners(Flaky)},

	{"status 204", statuses(204)},
	{"status 304", statuses(304)},
	{"status 403", statuses(403)},
	{"status 404", statuses(404)},
	{"status 429", statuses(429)},
	{"status 500", statuses(500)},
	{"status 521", statuses(521)},
	{"parked", texts(Parked)},
	{"soft 404", texts(Soft404)},
	{"empty page", texts(Empty)},

	{"to HTTP", redirects(BareHTTP)},
	{"to HTTPS", redirects(BareHTTPS)},
	{"to www by HTTP", redirects(WWWHTTP)},
	{"to www by HTTPS", redirects(WWWHTTPS)},
	{"to another site", redirects(Landing)},
	{"to any site", redirects(OtherSite)},
	{"to a path", redirects(Relative)},
	{"to itself", redirects(Itself)},
	{"through several", redirects(Hops)},
	{"to nothing", redirects(Missing)},
	{"to a script", redirects(Script)},
	{"to a mailbox", redirects(Mail)},
	{"to a password", redirects(UserInfo)},
	{"to a dead name", redirects(DeadName)},
	{"to the metadata service", redirects(Metadata)},
	{"to a private address", redirects(PrivateSite)},
	{"HTTP and HTTPS to each other", func(f *Fate, _ *dice, www bool) {
		f.Front = [2]Page{{Status: 301, To: BareHTTPS}, {Status: 302, To: BareHTTP}}
		if www {
			f.Front = [2]Page{{Status: 301, To: WWWHTTPS}, {Status: 302, To: WWWHTTP}}
		}
	}},
}
