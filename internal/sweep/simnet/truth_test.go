package simnet

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite what the tests compare with")

// ofKind is the first name of a kind.
func ofKind(t *testing.T, w *World, kind string) string {
	t.Helper()
	for i := range 100_000 {
		name := w.Name(i)
		if w.fate([]byte(name)).Kind == kind {
			return name
		}
	}
	t.Fatalf("no name is of the kind %q", kind)
	return ""
}

// TestTheTruthAboutEveryHostileKind has for each kind what docs/sweep-policy.md makes
// of it, as a person reads it: by default; where that differs among names, each.
func TestTheTruthAboutEveryHostileKind(t *testing.T) {
	want := map[string][]string{
		"plain": {"ok 200"},

		"no such name":                {"dns.nxdomain 0"},
		"no address":                  {"dns.nodata 0"},
		"no address, but www has one": {"ok 200"},
		"resolver fails":              {"dns.servfail 0"},
		"resolver fails, bogus":       {"dns.servfail 0"},
		"lame, refused":               {"dns.lame 0"},
		"lame, no reachable authority": {
			"dns.lame 0",
		},
		"lame, network error":              {"dns.lame 0"},
		"resolver silent":                  {"dns.timeout 0"},
		"aliases in a loop":                {"dns.loop 0"},
		"format error":                     {"dns.malformed 0"},
		"not implemented":                  {"dns.malformed 0"},
		"broken record":                    {"dns.malformed 0"},
		"truncated":                        {"ok 200"},
		"slow resolver":                    {"ok 200"},
		"wrong id first":                   {"ok 200"},
		"wrong question first":             {"ok 200"},
		"junk first":                       {"ok 200"},
		"resolver fails once":              {"ok 200"},
		"resolver silent once":             {"ok 200"},
		"aliases":                          {"ok 200"},
		"IPv6 alone":                       {"ok 200"},
		"private address":                  {"skip.private 0"},
		"private address first":            {"ok 200"},
		"first address refuses":            {"ok 200"},
		"first address never accepts":      {"ok 200"},
		"IPv4 refuses, IPv6 answers":       {"ok 200"},
		"IPv4 never accepts, IPv6 answers": {"ok 200"},

		"refused":                   {"tcp.refused 0"},
		"HTTP refused":              {"ok 200"},
		"HTTPS refused":             {"ok 200"},
		"never accepts":             {"tcp.timeout 0"},
		"HTTP never accepts":        {"ok 200"},
		"HTTPS never accepts":       {"ok 200"},
		"never answers":             {"tls.timeout 0"},
		"HTTP never answers":        {"ok 200"},
		"HTTPS never answers":       {"ok 200"},
		"reset at the first word":   {"tls.closed 0"},
		"reset as soon as accepted": {"tcp.reset 0"},
		"unreachable":               {"tcp.unreachable 0"},

		"certificate expired":             {"tls.expired 200"},
		"certificate of another name":     {"tls.name 200"},
		"certificate self-signed":         {"tls.untrusted 200"},
		"TLS too old":                     {"ok 200", "tls.version 0"}, // by http, or not
		"TLS 1.0 whatever was asked":      {"ok 200", "tls.version 0"},
		"no common cipher":                {"ok 200", "tls.version 0"},
		"handshake refused":               {"ok 200", "tls.alert 0"},
		"plain HTTP on the port of HTTPS": {"ok 200", "tls.malformed 0"},
		"no TLS":                          {"ok 200", "tls.malformed 0"},
		"handshake closed":                {"ok 200", "tls.closed 0"},
		"handshake reset":                 {"ok 200", "tls.closed 0"},
		"handshake unanswered":            {"ok 200", "tls.timeout 0"},
		"handshake closed once":           {"ok 200"},

		"HTTP/1.0":              {"ok 200"},
		"no reason phrase":      {"ok 200"},
		"interim answers":       {"ok 200"},
		"length too short":      {"ok 200"},
		"endless body":          {"ok 200"},
		"length too long":       {"http.truncated 200"},
		"bad chunk":             {"http.truncated 200"},
		"cut chunk":             {"http.truncated 200"},
		"slow body":             {"http.slow 200"},
		"slow head":             {"http.timeout 0"},
		"endless head":          {"http.too_large 0"},
		"huge head":             {"http.too_large 0"},
		"not HTTP":              {"http.malformed 0"},
		"page without head":     {"http.malformed 0"},
		"status without number": {"http.malformed 0"},
		"field without colon":   {"http.malformed 0"},
		"control bytes":         {"http.malformed 0"},
		"reset after request":   {"http.reset 0"},
		"closed after request":  {"http.closed 0"},
		"request unanswered":    {"http.timeout 0"},
		"reset once":            {"ok 200"},

		"status 204": {"ok 204"},
		"status 304": {"http.status 304"},
		"status 403": {"http.status 403"},
		"status 404": {"http.status 404"},
		"status 429": {"http.status 429"},
		"status 500": {"http.status 500"},
		"status 521": {"http.status 521"},
		"parked":     {"ok 200"},
		"soft 404":   {"ok 200"},
		"empty page": {"ok 200"},

		"to HTTP":                      {"ok 200"},
		"to HTTPS":                     {"ok 200"},
		"to www by HTTP":               {"ok 200"},
		"to www by HTTPS":              {"ok 200"},
		"to another site":              {"ok 200"},
		"to a path":                    {"ok 200"},
		"to itself":                    every("http.redirect_loop"),
		"through several":              append([]string{"ok 200"}, every("http.redirect_limit")...), // up to five, or more
		"to nothing":                   every("http.redirect_bad"),
		"to a script":                  every("http.redirect_bad"),
		"to a mailbox":                 every("http.redirect_bad"),
		"to a password":                every("http.redirect_bad"),
		"to a dead name":               every("http.redirect_dead"),
		"to the metadata service":      every("http.redirect_dead"),
		"to a private address":         every("http.redirect_dead"),
		"HTTP and HTTPS to each other": {"http.redirect_loop 301"}, // https, http, and back
	}
	w := NewWorld(5, Hostile)
	got := map[string][]string{}
	for i := range 30_000 {
		name := w.Name(i)
		kind := w.fate([]byte(name)).Kind
		code, status := w.Truth(DefaultPolicy(), name)
		if word := fmt.Sprintf("%v %d", code, status); !slices.Contains(got[kind], word) {
			got[kind] = append(got[kind], word)
		}
	}
	delete(got, "to any site") // whose fate is any
	for _, words := range got {
		slices.Sort(words)
	}
	for _, words := range want {
		slices.Sort(words)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// every is a verdict with each of the statuses that redirect.
func every(code string) []string {
	var all []string
	for _, status := range []string{"301", "302", "303", "307", "308"} {
		all = append(all, code+" "+status)
	}
	return all
}

func TestThePolicyDecidesWhatIsAsked(t *testing.T) {
	hostile, study := NewWorld(5, Hostile), NewWorld(5, TonyWang2024)
	d := DefaultPolicy()
	with := func(change func(*Policy)) Policy {
		p := d
		change(&p)
		return p
	}
	for _, c := range []struct {
		about  string
		world  *World
		kind   string
		policy Policy
		format string // of the target, %s is the name
		want   string
	}{
		{"https alone does not fall back", hostile, "HTTPS refused", with(func(p *Policy) { p.HTTPS = Only }), "%s", "tcp.refused 0"},
		{"http alone does not need https", hostile, "HTTPS refused", with(func(p *Policy) { p.HTTPS = Never }), "%s", "ok 200"},
		{"http alone finds it refused", hostile, "HTTP refused", with(func(p *Policy) { p.HTTPS = Never }), "%s", "tcp.refused 0"},
		{"of both, https is the row's", hostile, "certificate expired", with(func(p *Policy) { p.HTTPS = Both }), "%s", "tls.expired 200"},
		{"without www a name is dead", hostile, "no address, but www has one", with(func(p *Policy) { p.WWW = false }), "%s", "dns.nodata 0"},
		{"a name with www is asked without it", hostile, "no address, but www has one", d, "www.%s", "ok 200"},
		{"a URL is asked as it is", hostile, "no address, but www has one", d, "http://%s/", "dns.nodata 0"},
		{"a URL's scheme stays", hostile, "HTTPS refused", d, "https://%s/", "tcp.refused 0"},
		{"port 80 is http", hostile, "HTTPS refused", d, "%s:80", "ok 200"},
		{"port 443 is https", hostile, "HTTPS refused", d, "%s:443", "tcp.refused 0"},
		{"nobody listens on another port", hostile, "plain", d, "%s:8080", "tcp.refused 0"},
		{"a path that there is not", hostile, "plain", d, "https://%s/secret?x=1", "http.status 404"},
		{"a soft 404 is everywhere", hostile, "soft 404", d, "https://%s/secret", "ok 200"},
		{"a fragment is not asked for", hostile, "to itself", d, "https://%s/#top", "http.redirect_loop 308"},
		{"what fails once is asked again", hostile, "handshake closed once", d, "https://%s/", "ok 200"},
		{"what fails once fails without a retry", hostile, "reset once", with(func(p *Policy) { p.Retries = 0 }), "https://%s/", "http.reset 0"},
		{"the second resolver is asked without a retry", hostile, "resolver silent once", with(func(p *Policy) { p.Retries = 0 }), "%s", "ok 200"},
		{"nothing is followed", hostile, "to a path", with(func(p *Policy) { p.Follow = 0 }), "%s", "http.redirect 302"},
		{"one redirect is followed", hostile, "to a path", with(func(p *Policy) { p.Follow = 1 }), "%s", "ok 200"},
		{"a loop needs nothing to be followed but one", hostile, "to itself", with(func(p *Policy) { p.Follow = 1 }), "%s", "http.redirect_loop 308"},
		{"not followed comes before everything", hostile, "to a script", with(func(p *Policy) { p.Follow = 0 }), "%s", "http.redirect 308"},
		{"www rescues a name of the study", study, "refused, but www answers", d, "%s", "tls.name 200"},
		{"HTTPS rescues a name of the study", study, "port 80 never accepts, but HTTPS answers", d, "%s", "ok 200"},
	} {
		t.Run(c.about, func(t *testing.T) {
			target := fmt.Sprintf(c.format, ofKind(t, c.world, c.kind))
			code, status := c.world.Truth(c.policy, target)
			if got := fmt.Sprintf("%v %d", code, status); got != c.want {
				t.Errorf("the truth about %s (%s) is %s, want %s", target, c.kind, got, c.want)
			}
		})
	}
}

func TestWhoIsResetAtOnceMayHaveBegunToSpeak(t *testing.T) {
	w := NewWorld(5, Hostile)
	reset, spoken := ofKind(t, w, "reset as soon as accepted"), ofKind(t, w, "reset at the first word")
	http := DefaultPolicy()
	http.HTTPS = Never
	for _, c := range []struct {
		target string
		policy Policy
		true   []string
	}{
		{reset, DefaultPolicy(), []string{"tcp.reset", "tls.closed"}},
		{reset + ":443", http, []string{"tcp.reset", "tls.closed"}},
		{reset, http, []string{"tcp.reset", "http.reset"}},
		{"http://" + reset + "/", DefaultPolicy(), []string{"tcp.reset", "http.reset"}},
		{spoken, DefaultPolicy(), []string{"tls.closed"}},
		{spoken, http, []string{"http.reset"}},
		{"not a target", http, []string{"skip.invalid"}},
	} {
		for _, code := range []string{"tcp.reset", "tls.closed", "http.reset", "tcp.refused", "ok", "skip.invalid", ""} {
			if got, want := w.Agrees(c.policy, c.target, code, 0), slices.Contains(c.true, code); got != want {
				t.Errorf("%s by https %v: %q is true: %v, want %v", c.target, c.policy.HTTPS, code, got, want)
			}
		}
		if w.Agrees(c.policy, c.target, c.true[0], 200) {
			t.Errorf("%s has a status", c.target)
		}
	}
}

func TestWhatIsNoTargetIsInvalid(t *testing.T) {
	w := NewWorld(1, Quick)
	for _, target := range []string{"", "a b", "ftp://example.com/", "http://user@example.com/", "example.com/path", "http://", "%", "example.com:http"} {
		if code, _ := w.Truth(DefaultPolicy(), target); code.String() != "skip.invalid" {
			t.Errorf("the truth about %q is %v, want skip.invalid", target, code)
		}
	}
}

// TestFatesStayWhatTheyAre notices when a change gives names other fates: runs of
// before and after could not be compared any more.
func TestFatesStayWhatTheyAre(t *testing.T) {
	var b strings.Builder
	for _, profile := range []Profile{TonyWang2024, Quick, Hostile} {
		w := NewWorld(1, profile)
		seen := map[string]bool{}
		for i := range 20_000 {
			name := w.Name(i)
			f := w.fate([]byte(name))
			if seen[f.Kind] {
				continue
			}
			seen[f.Kind] = true
			www := w.fate([]byte("www." + name))
			hash := sha256.Sum256(fmt.Appendf(nil, "%+v %+v", f, www))
			fmt.Fprintf(&b, "%v\t%s\t%s\t%x", profile, name, f.Kind, hash[:8])
			for _, p := range []Policy{DefaultPolicy(), {HTTPS: Never}, {HTTPS: Both, WWW: true, Follow: 1}} {
				code, status := w.Truth(p, name)
				fmt.Fprintf(&b, "\t%v %d", code, status)
			}
			b.WriteByte('\n')
		}
	}
	golden := filepath.Join("testdata", "fates.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("fates have changed (-update accepts that):\n%.4000s", d)
	}
}
