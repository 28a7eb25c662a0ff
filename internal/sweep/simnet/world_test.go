package simnet

import (
	"math"
	"strings"
	"testing"

	"pennyfarthing/internal/verdict"
)

func TestAMillionNamesFareAsTheStudySays(t *testing.T) {
	if testing.Short() {
		t.Skip("a million names take some seconds")
	}
	for _, profile := range []Profile{TonyWang2024, Quick} {
		t.Run(profile.String(), func(t *testing.T) {
			t.Parallel()
			const names = 1_000_000
			w := NewWorld(1, profile)
			study, strict := 0, 0
			everything := Policy{HTTPS: Both, WWW: true, Follow: 0}
			port80 := Policy{HTTPS: Never}
			for i := range names {
				name := w.Name(i)
				code, status := w.Truth(port80, name)
				if code.Class() != verdict.Answered || status == 404 || status >= 500 {
					study++
				}
				if _, status := w.Truth(everything, name); status == 0 { // nothing answered
					strict++
				}
			}
			for _, share := range []struct {
				what string
				got  int
				want float64
			}{{"dead by the study's definition", study, 27.6}, {"dead by the strict definition", strict, 14.0}} {
				if got := float64(share.got) * 100 / names; math.Abs(got-share.want) > 0.1 {
					t.Errorf("%.3f %% are %s, want %.1f", got, share.what, share.want)
				} else {
					t.Logf("%.3f %% are %s", got, share.what)
				}
			}
		})
	}
}

func TestNoTwoNamesAreTheSame(t *testing.T) {
	const names = 300_000
	w := NewWorld(1, Quick)
	seen := make(map[string]bool, names)
	suffixes := map[string]bool{}
	far := 1 << nameBits
	for i := range names {
		for _, name := range []string{w.Name(i), w.Name(far + i)} {
			if seen[name] {
				t.Fatalf("%s comes twice", name)
			}
			seen[name] = true
			label, suffix, _ := strings.Cut(name, ".")
			suffixes[suffix] = true
			if len(label) < 8 || len(label) > 30 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
				t.Fatalf("%s is no name that somebody would register", name)
			}
		}
	}
	if len(suffixes) != len(topLevel) {
		t.Errorf("names are below %d suffixes, want %d", len(suffixes), len(topLevel))
	}
	sum := uint64(0)
	for _, t := range topLevel {
		sum += t.share
	}
	if sum != 1000 {
		t.Errorf("the shares of the suffixes are %d thousandths", sum)
	}
}

func TestTheStudysRowsAreAllOfItsNames(t *testing.T) {
	sum, byKind, statuses := uint64(0), map[bool]uint64{}, map[uint16]uint64{}
	for _, r := range studyRows {
		sum += r.weight
		if r.what == answers {
			statuses[r.status] += r.weight
			continue
		}
		byKind[r.what < refusedAll] += r.weight
	}
	if sum != studyTotal || byKind[true] != 1_883_063 || byKind[false] != 522_221 {
		t.Errorf("%d names, %d of them without an address and %d without a connection", sum, byKind[true], byKind[false])
	}
	for status, want := range map[uint16]uint64{
		200: 1_087_516, 301: 4_989_491, 302: 659_791, 303: 10_508, 307: 91_756, 308: 112_316, 400: 25_405, 401: 2_251, 403: 235_358,
		404: 135_055, 409: 7_179, 410: 3_383, 416: 4_087, 429: 9_805, 500: 22_016, 501: 4_401, 502: 11_387, 503: 19_524, 521: 154_703, 530: 2_613,
	} {
		if statuses[status] != want {
			t.Errorf("%d names answer with %d, want %d", statuses[status], status, want)
		}
	}
}

func TestAFateDependsOnNothingButTheNameAndTheSeed(t *testing.T) {
	w := NewWorld(1, Hostile)
	lower, err := w.Fate("www.Example.COM.")
	if err != nil {
		t.Fatal(err)
	}
	again, err := NewWorld(1, Hostile).Fate("www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if lower != again {
		t.Errorf("a name in two cases has two fates: %+v, %+v", lower, again)
	}
	differ := 0
	for i := range 100 {
		if name := w.Name(i); w.fate([]byte(name)) != NewWorld(2, Hostile).fate([]byte(name)) {
			differ++
		}
	}
	if differ < 90 {
		t.Errorf("of 100 names %d have another fate with another seed", differ)
	}
	for _, host := range []string{"", strings.Repeat("a", 254)} {
		if _, err := w.Fate(host); err == nil {
			t.Errorf("%q has a fate", host)
		}
	}
}

// TestHostersHaveManyNamesOnFewAddresses holds the plan of docs/simnet.md.
func TestHostersHaveManyNamesOnFewAddresses(t *testing.T) {
	const names = 100_000
	w := NewWorld(1, TonyWang2024)
	addresses, networks, found := map[address]int{}, map[[3]byte]int{}, 0
	for i := range names {
		f := w.fate([]byte(w.Name(i)))
		for _, a := range f.Lookup.v4[:f.Lookup.count] {
			if a[1] != bigHoster && a[1] != middleHoster && (a[1] < smallHoster || a[1] > smallHoster+2) {
				continue
			}
			found++
			addresses[a]++
			networks[[3]byte(a[:3])]++
		}
	}
	big := networks[[3]byte{127, bigHoster, 0}] + networks[[3]byte{127, bigHoster, 1}] + networks[[3]byte{127, bigHoster, 2}]
	if share := float64(big) / float64(found); share < 0.29 || share > 0.31 {
		t.Errorf("the big hoster has %.3f of the sites, want 0.30", share)
	}
	if len(addresses) != 580 || len(networks) != 3+30+420 {
		t.Errorf("sites are on %d addresses in %d networks, want 580 in 453", len(addresses), len(networks))
	}
}

func TestProfilesAndModesAreReadAsTheyAreWritten(t *testing.T) {
	for p := range numProfiles {
		if got, err := ParseProfile(p.String()); got != p || err != nil {
			t.Errorf("%v is read as %v, %v", p, got, err)
		}
	}
	for m := range numModes {
		if got, err := ParseHTTPSMode(m.String()); got != m || err != nil {
			t.Errorf("%v is read as %v, %v", m, got, err)
		}
	}
	if _, err := ParseProfile("nice"); err == nil {
		t.Error("there is a nice profile")
	}
}

// TestQuickIsNeverSilent looks for what a client would have to wait for.
func TestQuickIsNeverSilent(t *testing.T) {
	w := NewWorld(1, Quick)
	for i := range 200_000 {
		for _, name := range []string{w.Name(i), "www." + w.Name(i)} {
			f := w.fate([]byte(name))
			if f.Lookup.Kind == Silent || f.TLS == Mute || f.Lookup.Quirk != Straight {
				t.Fatalf("%s is silent: %+v", name, f)
			}
			for _, scheme := range []Scheme{HTTP, HTTPS} {
				m := f.Front[scheme].Manner
				if f.Lookup.count > 0 && (f.Lookup.v4[0].reach(scheme) == Blackholes || f.Lookup.v4[0].reach(scheme) == Hangs) || m == Hang || m == SlowBody || m == SlowHead {
					t.Fatalf("%s is silent: %+v", name, f)
				}
			}
		}
	}
}
