package simnet

// The study of 2024 saw port 80 of ten million bare names. What it saw is a case
// of the world: how one name fares, and by how many of ten million.
type studyCase uint8

const (
	answers studyCase = iota // with a status

	// No address for the bare name, and what there is instead.
	nxDomain
	servFail
	lame
	silent
	noData
	noDataButWWW

	// No answer on port 80.
	refusedAll
	resetAll
	hungAll
	blackholeAll
	unreachableAll
	refusedButHTTPS
	resetButHTTPS
	hungButHTTPS
	blackholeButHTTPS
	refusedButWWW
	resetButWWW
	unreachableButWWW
)

// studyTotal is how many names the study asked.
const studyTotal = 10_000_000

// studyRows has the study's counts. It gives 1,883,063 names without an address,
// 522,221 without a connection, and statuses; which failure it was, and what else
// there is of the name, is ours. The rows before the statuses whose names end in
// All, and those of the DNS but for noDataButWWW, are the 1,400,000 names that are
// dead by the strict definition.
//
//nolint:gochecknoglobals // a table
var studyRows = []struct {
	weight uint64
	what   studyCase
	status uint16
	kind   string
}{
	{4_989_491, answers, 301, "status 301"},
	{1_087_516, answers, 200, "status 200"},
	{800_000, nxDomain, 0, "no such name"},
	{693_063, noDataButWWW, 0, "no address, but www has one"},
	{659_791, answers, 302, "status 302"},
	{235_358, answers, 403, "status 403"},
	{154_703, answers, 521, "status 521"},
	{140_000, servFail, 0, "resolver fails"},
	{135_055, answers, 404, "status 404"},
	{130_000, refusedButHTTPS, 0, "port 80 refused, but HTTPS answers"},
	{120_000, lame, 0, "lame"},
	{112_316, answers, 308, "status 308"},
	{91_756, answers, 307, "status 307"},
	{90_000, refusedAll, 0, "refused"},
	{80_000, silent, 0, "resolver silent"},
	{60_000, resetButHTTPS, 0, "port 80 resets, but HTTPS answers"},
	{50_000, noData, 0, "no address"},
	{50_000, blackholeAll, 0, "never accepts"},
	{40_000, blackholeButHTTPS, 0, "port 80 never accepts, but HTTPS answers"},
	{35_000, hungAll, 0, "never answers"},
	{30_000, hungButHTTPS, 0, "port 80 never answers, but HTTPS does"},
	{25_405, answers, 400, "status 400"},
	{22_221, refusedButWWW, 0, "refused, but www answers"},
	{22_016, answers, 500, "status 500"},
	{20_000, resetButWWW, 0, "resets, but www answers"},
	{20_000, unreachableAll, 0, "unreachable"},
	{19_524, answers, 503, "status 503"},
	{15_000, resetAll, 0, "resets"},
	{11_387, answers, 502, "status 502"},
	{10_508, answers, 303, "status 303"},
	{10_000, unreachableButWWW, 0, "unreachable, but www answers"},
	{9_805, answers, 429, "status 429"},
	{7_179, answers, 409, "status 409"},
	{4_401, answers, 501, "status 501"},
	{4_087, answers, 416, "status 416"},
	{3_383, answers, 410, "status 410"},
	{2_613, answers, 530, "status 530"},
	{2_251, answers, 401, "status 401"},
	// The remaining 6,171 are spread over rare codes.
	{1_300, answers, 520, "status 520"},
	{1_000, answers, 405, "status 405"},
	{800, answers, 523, "status 523"},
	{600, answers, 406, "status 406"},
	{500, answers, 423, "status 423"},
	{400, answers, 504, "status 504"},
	{350, answers, 202, "status 202"},
	{300, answers, 526, "status 526"},
	{240, answers, 402, "status 402"},
	{213, answers, 204, "status 204"},
	{168, answers, 412, "status 412"},
	{150, answers, 418, "status 418"},
	{100, answers, 451, "status 451"},
	{50, answers, 300, "status 300"},
}

// isRedirect reports the statuses that a sweep follows.
func isRedirect(status uint16) bool {
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308
}

// study draws a name's fate in the profiles that have the study's shares.
func (w *World) study(d *dice, www bool) Fate {
	r := d.roll(studyTotal)
	row := 0
	for r >= studyRows[row].weight {
		r -= studyRows[row].weight
		row++
	}
	what, status, kind := studyRows[row].what, studyRows[row].status, studyRows[row].kind
	var f Fate
	if what == answers {
		f = w.answering(d, www, status)
	} else {
		f = w.failing(d, www, what)
	}
	f.Kind = kind
	return f
}

// failing is the fate of a name that has no answer on port 80 of the bare name.
func (w *World) failing(d *dice, www bool, what studyCase) Fate {
	if w.profile == Quick {
		what = quickly(what)
	}
	var f Fate
	switch what {
	case nxDomain:
		f.Lookup.Kind = NXDomain
	case servFail:
		f.Lookup.Kind = ServFail
	case lame:
		f.Lookup.Kind = [...]LookupKind{Refused, LameNoReach, LameNetwork}[d.roll(3)]
	case silent:
		f.Lookup.Kind = Silent
	case noData:
		f.Lookup.Kind = NoData
	case noDataButWWW:
		if !www {
			f.Lookup.Kind = NoData
			break
		}
		return w.rescued(d)
	case refusedAll, resetAll, hungAll, blackholeAll, unreachableAll:
		return w.deadAll(d, what)
	case refusedButHTTPS, resetButHTTPS, hungButHTTPS, blackholeButHTTPS:
		return w.onlyByHTTPS(d, what)
	case refusedButWWW, resetButWWW, unreachableButWWW:
		if www {
			return w.rescued(d)
		}
		return w.deadAll(d, what)
	case answers: // not here
	}
	return f
}

// quickly has a failure in place of a silence.
func quickly(what studyCase) studyCase {
	switch what {
	case silent:
		return servFail
	case hungAll:
		return resetAll
	case blackholeAll:
		return refusedAll
	case hungButHTTPS:
		return resetButHTTPS
	case blackholeButHTTPS:
		return refusedButHTTPS
	default:
		return what
	}
}

// deadAll is a host that answers neither scheme.
func (w *World) deadAll(d *dice, what studyCase) Fate {
	switch what {
	case refusedAll, refusedButWWW:
		return Fate{Lookup: at(among(d, closed))}
	case hungAll:
		return Fate{Lookup: at(among(d, hung))}
	case blackholeAll:
		return Fate{Lookup: at(among(d, blackhole))}
	case unreachableAll, unreachableButWWW:
		return Fate{Lookup: at(unreachable)}
	default:
		return Fate{Lookup: at(w.profile.hosted(d)), TLS: ResetEarly, Front: [2]Page{{Manner: Reset}, {Manner: Reset}}}
	}
}

// onlyByHTTPS is a host whose port 80 fails.
func (w *World) onlyByHTTPS(d *dice, what studyCase) Fate {
	var f Fate
	switch what {
	case refusedButHTTPS:
		f.Lookup = at(among(d, onlyHTTPS))
	case hungButHTTPS:
		f.Lookup = at(among(d, hungHTTP))
	case blackholeButHTTPS:
		f.Lookup = at(among(d, noHTTP))
	default:
		f.Lookup = at(w.profile.hosted(d))
	}
	f.TLS = answeredTLS(d)
	f.Front = [2]Page{{Manner: Reset}, final(d)}
	return f
}

// rescued is a www host that answers where the bare name does not.
func (w *World) rescued(d *dice) Fate {
	f := Fate{Lookup: w.located(d), TLS: answeredTLS(d)}
	f.Front[HTTPS] = final(d)
	f.Front[HTTP] = f.Front[HTTPS]
	if w.profile == Quick && d.chance(9000) {
		f.Lookup.v4[0] = f.Lookup.v4[0].plain()
		return f
	}
	if d.chance(7500) {
		f.Front[HTTP] = Page{Status: 301, To: WWWHTTPS}
	}
	return f
}

// located draws an address, and aliases before it now and then.
func (w *World) located(d *dice) Lookup {
	l := at(w.profile.hosted(d))
	if d.chance(2500) {
		l.Chain = uint8(1 + d.roll(3)) //nolint:gosec // small
	}
	return l
}

// final draws what a site answers in the end.
func final(d *dice) Page {
	p := Page{Status: 200, Look: uint32(d.roll(1 << 32))} //nolint:gosec // less than 2³²
	switch r := d.roll(10_000); {
	case r < 8_900:
	case r < 9_200:
		p.Text = Parked
	case r < 9_250:
		p.Text = Soft404
	case r < 9_260:
		p.Manner = LengthLong
	case r < 9_500:
		p.Status = 403
	case r < 9_700:
		p.Status = 404
	case r < 9_780:
		p.Status = 500
	case r < 9_860:
		p.Status = 503
	case r < 9_900:
		p.Status = 429
	case r < 9_930:
		p.Status = 401
	case r < 9_960:
		p.Status = 204
	default:
		p.Status = 410
	}
	return p
}

// answeredTLS draws a handshake after which there is an answer.
func answeredTLS(d *dice) Handshake {
	switch r := d.roll(1000); {
	case r < 950:
		return Good
	case r < 975:
		return WrongName
	case r < 988:
		return Expired
	}
	return SelfSigned
}

// answering is the fate of a name whose port 80 answers with a status.
func (w *World) answering(d *dice, www bool, status uint16) Fate {
	f := Fate{Lookup: w.located(d)}
	look := uint32(d.roll(1 << 32)) //nolint:gosec // less than 2³²
	seen := Page{Status: status, Look: look}
	last := final(d)
	if !isRedirect(status) {
		f.Front[HTTP], f.Front[HTTPS] = seen, seen
		w.unforced(d, &f, last)
	} else {
		seen.To, seen.Hops = w.leads(d)
		f.Front[HTTP] = seen
		w.redirecting(d, &f, last)
	}
	if www {
		w.likeBare(d, &f)
	}
	return f
}

// leads draws where the redirect of a bare name's port 80 leads.
func (w *World) leads(d *dice) (to Destination, hops uint8) {
	r := d.roll(10_000)
	if w.profile == Quick {
		r = quickLead(r)
	}
	switch {
	case r < 6_200:
		return BareHTTPS, 0
	case r < 8_100:
		return WWWHTTPS, 0
	case r < 8_700:
		return WWWHTTP, 0
	case r < 9_200:
		return Landing, 0
	case r < 9_450:
		return OtherSite, 0
	case r < 9_700:
		return Relative, 0
	case r < 9_850:
		return Hops, uint8(2 + d.roll(3)) //nolint:gosec // small
	case r < 9_900:
		return Itself, 0
	case r < 9_930:
		return Missing, 0
	}
	return DeadName, 0
}

// quickLead has most of those lead to HTTP that lead to HTTPS elsewhere.
func quickLead(r uint64) uint64 {
	switch {
	case r < 500, r >= 8_100:
		return r // BareHTTPS; as elsewhere
	case r < 700:
		return 6_200 // WWWHTTPS
	case r < 4_000:
		return 8_100 // WWWHTTP
	}
	return 9_450 // Relative
}

// redirecting decides about HTTPS of a site whose port 80 redirects.
func (w *World) redirecting(d *dice, f *Fate, last Page) {
	switch f.Front[HTTP].To {
	case BareHTTPS:
		f.Front[HTTPS] = last
		if d.chance(60) { // and HTTPS leads back
			f.Front[HTTPS] = Page{Status: 302, To: BareHTTP}
		}
		w.forced(d, f)
	case WWWHTTPS:
		f.Front[HTTPS] = last
		if d.chance(7500) {
			f.Front[HTTPS] = Page{Status: f.Front[HTTP].Status, To: WWWHTTPS}
		}
		w.forced(d, f)
	default:
		f.Front[HTTPS] = f.Front[HTTP]
		w.unforced(d, f, last)
	}
}

// forced draws the handshake of a site that sends visitors to HTTPS.
func (w *World) forced(d *dice, f *Fate) {
	switch r := d.roll(10_000); {
	case r < 9_650:
		f.TLS = Good
	case r < 9_770:
		f.TLS = WrongName
	case r < 9_850:
		f.TLS = Expired
	case r < 9_910:
		f.TLS = SelfSigned
	case r < 9_950:
		f.Lookup.v4[0] = among(d, onlyHTTP)
	case r < 9_970:
		f.TLS = Alert
	case r < 9_980:
		f.TLS = CloseEarly
	case r < 9_985:
		f.TLS = OldVersion
	default:
		f.TLS = PlainHTTP
	}
}

// unforced draws HTTPS of a site that does not send visitors to it.
func (w *World) unforced(d *dice, f *Fate, last Page) {
	if w.profile == Quick && d.chance(9500) {
		f.Lookup.v4[0] = f.Lookup.v4[0].plain()
		return
	}
	switch r := d.roll(10_000); {
	case r < 5_500:
		f.TLS = Good
	case r < 7_200:
		f.TLS = WrongName
	case r < 7_700:
		f.TLS = SelfSigned
	case r < 8_000:
		f.TLS = Expired
	case r < 9_200:
		f.Lookup.v4[0] = among(d, onlyHTTP)
	case r < 9_450:
		f.TLS = Alert
	case r < 9_650:
		f.TLS = PlainHTTP
	case r < 9_700:
		f.TLS = OldVersion
	case r < 9_800:
		f.TLS = CloseEarly
	case r < 9_950:
		f.Lookup.v4[0] = among(d, w.orRefused(noHTTPS))
	default:
		f.Lookup.v4[0] = among(d, w.orRefused(hungHTTPS))
	}
	if d.chance(800) { // another site than port 80's
		f.Front[HTTPS] = last
	}
}

// orRefused is a group whose HTTPS is silent, or refuses where silence is not wanted.
func (w *World) orRefused(group byte) byte {
	if w.profile == Quick {
		return onlyHTTP
	}
	return group
}

// likeBare makes a bare name's fate that of its www host.
func (w *World) likeBare(d *dice, f *Fate) {
	last := final(d)
	to := f.Front[HTTP].To
	missing := d.roll(10_000)
	switch to {
	case WWWHTTPS, WWWHTTP:
		if missing < 150 { // the redirect leads nowhere
			f.Lookup = Lookup{Kind: NXDomain}
			return
		}
		f.Front[HTTPS], f.Front[HTTP] = last, last
		if to == WWWHTTPS {
			f.Front[HTTP] = Page{Status: 301, To: WWWHTTPS}
		}
	default:
		if missing < 1000 {
			f.Lookup = Lookup{Kind: NXDomain}
			return
		}
		if to == BareHTTPS {
			f.Front = [2]Page{{Status: 301, To: BareHTTPS}, {Status: 301, To: BareHTTPS}}
		}
	}
}
