package report_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/report"
)

// traced are rows that asked 192.0.2.0/24 in every way there is.
func traced() []*evidence.Row {
	at := func(seconds int) time.Time { return day().Add(time.Duration(seconds) * time.Second) }
	return []*evidence.Row{
		{Rank: 1, Target: "example.com", Tries: []evidence.Try{
			{Scheme: "https", Host: "example.com", Address: "192.0.2.1", Verdict: "tcp.timeout", At: at(0)},
			{Scheme: "https", Host: "example.com", Address: "2001:db8::1", Verdict: "tcp.unreachable", At: at(5)},
			{Scheme: "http", Host: "example.com", Address: "192.0.2.1", Verdict: "http.redirect", Status: 301, Location: "/de/?q=1#top", At: at(6)},
			{Scheme: "http", Host: "example.com", Address: "192.0.2.1", Verdict: "ok", Status: 200, At: at(7)},
		}},
		{Rank: 2, Target: "https://elsewhere.example/old", Tries: []evidence.Try{
			{Scheme: "https", Host: "elsewhere.example", Address: "198.51.100.9", Verdict: "http.redirect", Status: 302, Location: "http://www.example.com:8080/x", At: at(8)},
			{Scheme: "http", Host: "www.example.com:8080", Address: "192.0.2.77", Verdict: "http.timeout", At: at(9)},
			{Scheme: "http", Host: "www.example.com:8080", Address: "192.0.2.77", Verdict: "ok", Status: 200, At: at(700)},
		}},
		{Rank: 3, Target: "sub.example.com", Tries: []evidence.Try{{Scheme: "https", Host: "sub.example.com", Verdict: "dns.nxdomain", At: at(10)}}},
		{Rank: 4, Target: "optout.example.com", Tries: []evidence.Try{{Scheme: "https", Host: "optout.example.com", Address: "192.0.2.3", Verdict: "skip.optout", At: at(11)}}},
		{Rank: 5, Target: "notexample.com", Tries: []evidence.Try{{Scheme: "https", Host: "notexample.com", Address: "203.0.113.1", Verdict: "ok", Status: 200, At: at(12)}}},
		{Rank: 6, Target: "evil.example", Tries: []evidence.Try{
			{Scheme: "http", Host: "evil.example", Address: "203.0.113.2", Verdict: "http.redirect", Status: 301, Location: "http://[::", At: at(13)},
			{Scheme: "http", Host: "evil.example", Address: "203.0.113.2", Verdict: "ok\x1b[2J", Status: 200, At: at(14)},
		}},
	}
}

func TestATraceFindsEveryTryThatCouldBeSeen(t *testing.T) {
	for _, tc := range []struct {
		query                             string
		at                                time.Time
		tries, targets, lookups, withheld int64
		other                             int64
		urls                              []string
	}{
		{query: "192.0.2.1", tries: 3, targets: 1, urls: []string{"https://example.com/", "http://example.com/", "http://example.com/de/?q=1"}},
		{query: "::ffff:192.0.2.1", tries: 3, targets: 1},
		{query: "192.0.2.0/24", tries: 5, targets: 2, withheld: 1},
		{query: "192.0.2.77:8080", tries: 2, targets: 1},
		{query: "192.0.2.77:80"},
		{query: "2001:db8::/32", tries: 1, targets: 1},
		{query: "EXAMPLE.com.", tries: 6, targets: 2, lookups: 1, withheld: 1},
		{query: "example.com:80", tries: 2, targets: 1},
		{query: "www.example.com", tries: 2, targets: 1, urls: []string{"http://www.example.com:8080/x", "http://www.example.com:8080/x"}},
		{query: "sub.example.com", lookups: 1},
		{query: "http://example.com/de/?q=1", tries: 1, targets: 1},
		{query: "https://elsewhere.example/old", tries: 1, targets: 1, urls: []string{"https://elsewhere.example/old"}},
		{query: "https://elsewhere.example/", tries: 0},
		{query: "evil.example", tries: 2, targets: 1},
		{query: "198.51.100.1"},
		{query: "www.example.com", at: day(), tries: 1, targets: 1, other: 1},
		{query: "www.example.com", at: day().Add(-time.Hour), other: 2},
	} {
		t.Run(tc.query, func(t *testing.T) {
			q, err := report.ParseQuery(tc.query)
			if err != nil {
				t.Fatal(err)
			}
			a, err := report.Trace(seq(traced()), q, report.TraceOptions{At: tc.at, Window: report.DefaultWindow, Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			if a.Yes != (tc.tries > 0) || a.Tries != tc.tries || a.Targets != tc.targets || a.Lookups != tc.lookups || a.Withheld != tc.withheld || a.OtherTimes != tc.other {
				t.Errorf("got %+v", a)
			}
			for i, want := range tc.urls {
				if got := a.Matches[i].URL; got != want {
					t.Errorf("match %d is %s, want %s", i, got, want)
				}
			}
		})
	}
}

func TestAnAnswerCanBePastedIntoAReply(t *testing.T) {
	for name, tc := range map[string]struct {
		query string
		limit int
		at    time.Time
	}{
		"trace-yes.txt":  {"example.com", 4, time.Time{}},
		"trace-no.txt":   {"198.51.100.1", 4, time.Time{}},
		"trace-time.txt": {"www.example.com", 4, day().Add(3 * time.Second)},
	} {
		q, err := report.ParseQuery(tc.query)
		if err != nil {
			t.Fatal(err)
		}
		a, err := report.Trace(seq(traced()), q, report.TraceOptions{At: tc.at, Window: time.Minute, Limit: tc.limit, Facts: runFacts()})
		if err != nil {
			t.Fatal(err)
		}
		got := text(t, func(b *bytes.Buffer) error { return a.WriteText(b) })
		golden(t, name, got)
		fits(t, got)
		if name == "trace-yes.txt" {
			golden(t, "trace-yes.json", text(t, func(b *bytes.Buffer) error { return a.WriteJSON(b) }))
		}
	}
}

func TestWhatCannotBeTracedSaysWhatCan(t *testing.T) {
	for _, query := range []string{"", "10.0.0.0/8", "2001:db8::/16", "nonsense", "ftp://example.com/", "a b", "example.com/path", "\x1b[2J"} {
		_, err := report.ParseQuery(query)
		list := mistake.Of(err)
		if len(list) != 1 || list[0].Hint == "" || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %v", query, err)
		}
	}
}

// FuzzTrace holds that no query and no Location breaks anything.
func FuzzTrace(f *testing.F) {
	f.Add("example.com", "https://example.com/x", "/y?z", "example.com:8443")
	f.Add("192.0.2.0/24", "http://[::1]/", "//other.example", "[2001:db8::1]:443")
	f.Add("http://bücher.example/%zz", "", "http://a:99999/", "a:b:c")
	f.Fuzz(func(t *testing.T, query, name, location, host string) {
		q, err := report.ParseQuery(query)
		if err != nil {
			if len(mistake.Of(err)) == 0 {
				t.Fatalf("no mistake: %v", err)
			}
			return
		}
		rows := []*evidence.Row{{Target: name, Tries: []evidence.Try{
			{Scheme: "http", Host: host, Address: "192.0.2.1", Status: 301, Location: location, Verdict: "http.redirect", At: day()},
			{Scheme: "https", Host: host, Address: "192.0.2.1", Status: 200, Verdict: "ok", At: day()},
		}}}
		a, err := report.Trace(seq(rows), q, report.TraceOptions{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range text(t, func(b *bytes.Buffer) error { return a.WriteText(b) }) {
			if b < ' ' && b != '\n' {
				t.Fatalf("a control character %q", b)
			}
		}
	})
}
