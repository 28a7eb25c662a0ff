package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/report"
)

func TestAReportOnATerminal(t *testing.T) {
	got := text(t, func(b *bytes.Buffer) error { return make3000(t).WriteText(b) })
	golden(t, "report.txt", got)
	fits(t, got)
}

// fits holds that text has no line of more than 80 columns and controls no terminal.
func fits(t *testing.T, text []byte) {
	t.Helper()
	for line := range strings.SplitSeq(string(text), "\n") {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) {
			t.Errorf("a line with control characters: %q", line)
		}
	}
}

func TestAReportAsAPage(t *testing.T) {
	got := text(t, func(b *bytes.Buffer) error { return make3000(t).WriteHTML(b) })
	golden(t, "report.html", got)
}

func TestAReportOfNoRowsHasBothForms(t *testing.T) {
	r, err := report.Make(seq(nil), report.Facts{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "empty.txt", text(t, func(b *bytes.Buffer) error { return r.WriteText(b) }))
	page := text(t, func(b *bytes.Buffer) error { return r.WriteHTML(b) })
	if !bytes.Contains(page, []byte("There are no rows yet.")) {
		t.Error("the page does not say that there are no rows")
	}
}

func TestTextOfStrangersStaysTextInBothForms(t *testing.T) {
	for _, s := range hostile {
		rows := []*evidence.Row{{Target: s, Verdict: s, Status: 200, Server: s, ContentType: s, Address: s, TLSVersion: s, ObservedAt: day(), CertNotAfter: day().Add(time.Hour), FinalURL: s, Redirects: 1}}
		f := report.Facts{ID: s, Version: s, Lists: []string{s}, Vantage: s, Address: s, Agent: s}
		r, err := report.Make(seq(rows), f, nil, report.Judge{Name: s, Class: func(*evidence.Row) string { return s }})
		if err != nil {
			t.Fatal(err)
		}
		page := string(text(t, func(b *bytes.Buffer) error { return r.WriteHTML(b) }))
		for _, bad := range []string{"<script", "<img", "<b>", "onerror=alert(1)>", "\x1b", "\u202e", "\x00"} {
			if strings.Contains(page, bad) {
				t.Errorf("the page of %q has %q in it", s, bad)
			}
		}
		if strings.Count(page, "</style>") != 1 {
			t.Errorf("the page of %q ends its style twice", s)
		}
		fits(t, text(t, func(b *bytes.Buffer) error { return r.WriteText(b) }))
	}
}

func TestAReportIsReadBackAsItWas(t *testing.T) {
	r := make3000(t)
	first := text(t, func(b *bytes.Buffer) error { return r.WriteJSON(b) })
	back, err := report.Read(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	second := text(t, func(b *bytes.Buffer) error { return back.WriteJSON(b) })
	if !bytes.Equal(first, second) {
		t.Error("what was read back is written otherwise")
	}
	want := text(t, func(b *bytes.Buffer) error { return r.WriteText(b) })
	got := text(t, func(b *bytes.Buffer) error { return back.WriteText(b) })
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the text differs (-want +got):\n%s", diff)
	}
}

func TestWhatIsNoReportIsRefused(t *testing.T) {
	for src, want := range map[string]string{
		``:              "read the report: unexpected end of JSON input",
		`{"schema":99}`: "it has schema 99, and this penny knows 1 to 1",
		`{"schema":1}`:  "it says nothing of rows",
		`{"schema":1,"rows":{"phases":{"dns":{"buckets":[[99999999,1]]}}}}`: "there is no bucket",
	} {
		if _, err := report.Read(strings.NewReader(src)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", src, err, want)
		}
	}
	if _, err := report.Read(bytes.NewReader(bytes.Repeat([]byte(" "), report.MaxJSON+1))); err == nil || !strings.Contains(err.Error(), "more than 16 MiB") {
		t.Errorf("a very large one: %v", err)
	}
}

func TestAnErrorOfTheRowsIsOneOfTheReport(t *testing.T) {
	broken := errors.New("part-000003 is damaged")
	rows := func(yield func(*evidence.Row, error) bool) { yield(nil, broken) }
	if _, err := report.Make(rows, report.Facts{}, nil); !errors.Is(err, broken) {
		t.Errorf("Make: %v", err)
	}
	if _, err := report.Diff(rows, seq(nil), report.DiffOptions{}); !errors.Is(err, broken) {
		t.Errorf("Diff, before: %v", err)
	}
	if _, err := report.Diff(seq(nil), rows, report.DiffOptions{}); !errors.Is(err, broken) {
		t.Errorf("Diff, after: %v", err)
	}
	if _, err := report.Trace(rows, report.Query{}, report.TraceOptions{}); !errors.Is(err, broken) {
		t.Errorf("Trace: %v", err)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestAnySplitOfTheRowsMergesToTheSame(t *testing.T) {
	rows := sample(3000)
	whole := report.NewSummary(judges()...)
	for _, row := range rows {
		whole.Add(row)
	}
	want := asJSON(t, whole)
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		parts := make([]*report.Summary, 1+r.IntN(9))
		for i := range parts {
			parts[i] = report.NewSummary(judges()...)
		}
		for _, row := range rows {
			parts[r.IntN(len(parts))].Add(row)
		}
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		sum := &report.Summary{}
		for _, p := range parts {
			// Over JSON, as parts from elsewhere come.
			var back report.Summary
			if err := json.Unmarshal([]byte(asJSON(t, p)), &back); err != nil {
				t.Fatal(err)
			}
			if err := sum.Merge(&back); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, asJSON(t, sum)); diff != "" {
			t.Fatalf("%d parts come to something else (-want +got):\n%s", len(parts), diff)
		}
	}
}

func TestSummariesUnderDifferentDefinitionsAreNotMerged(t *testing.T) {
	a, b := report.NewSummary(judges()...), report.NewSummary()
	a.Add(sample(1)[0])
	b.Add(sample(1)[0])
	if err := a.Merge(b); err == nil {
		t.Error("a summary without definitions was merged into one with them")
	}
	if err := b.Merge(a); err == nil {
		t.Error("a summary with definitions was merged into one without")
	}
}

func TestFrequentNamesAreRightWithinTheirBound(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	zipf := rand.NewZipf(r, 1.1, 1, 1<<20)
	exact := map[string]int64{}
	var parts [3]report.Frequent
	total := int64(0)
	for i := range 400_000 {
		name := fmt.Sprint(zipf.Uint64())
		exact[name]++
		total++
		parts[i%3].Add(name)
	}
	for i := 1; i < 3; i++ {
		parts[0].Merge(&parts[i])
	}
	f := &parts[0]
	if f.Total() != total || f.Error() == 0 || f.Error() > total/4096 {
		t.Errorf("of %d the bound is %d, want more than 0 and at most %d", f.Total(), f.Error(), total/4096)
	}
	top := f.Top(1 << 20)
	got := map[string]int64{}
	for _, c := range top {
		got[c.Name] = c.Count
		if n := exact[c.Name]; c.Count > n || c.Count < n-f.Error() {
			t.Errorf("%s was there %d times and is %d, with a bound of %d", c.Name, n, c.Count, f.Error())
		}
	}
	for name, n := range exact {
		if _, ok := got[name]; !ok && n > f.Error() {
			t.Errorf("%s was there %d times, more than the bound of %d, and is missing", name, n, f.Error())
		}
	}
}

func TestQuantilesAreRightToThreePercent(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var h report.Histogram
	all := make([]int64, 20_001)
	for i := range all {
		all[i] = int64(r.ExpFloat64() * float64(int64(1)<<r.IntN(30)))
		h.Add(all[i])
	}
	slices.Sort(all)
	for _, q := range []float64{0, .01, .5, .95, .99, 1} {
		want := all[max(1, int(q*float64(len(all))+.5))-1]
		got := h.Quantile(q).Microseconds()
		if diff := float64(got-want) / float64(max(want, 1)); diff > .032 || diff < -.032 {
			t.Errorf("quantile %v is %d, want %d within 3.2 %%", q, got, want)
		}
	}
	var empty report.Histogram
	if empty.Quantile(.5) != 0 {
		t.Error("the median of nothing is something")
	}
	empty.Add(1<<63 - 1)
	empty.Add(-5)
	if empty.N() != 2 || empty.Quantile(1) <= 0 || empty.Quantile(0) != 0 {
		t.Errorf("the ends: %d, %v, %v", empty.N(), empty.Quantile(0), empty.Quantile(1))
	}
}

func TestRedirectsAreToldFromWhereTheyBegin(t *testing.T) {
	chain := func(final string, hops ...string) *evidence.Row {
		row := &evidence.Row{Target: "example.com", Verdict: "ok", Status: 200, Address: "192.0.2.1", Redirects: int32(len(hops)), FinalURL: final, ObservedAt: day()}
		at := "http://example.com"
		for _, h := range append(hops, "") {
			scheme, host, _ := strings.Cut(strings.TrimSuffix(at, "/"), "://")
			try := evidence.Try{Scheme: scheme, Host: host, Address: "192.0.2.1", Status: 301, Location: h, Verdict: "http.redirect"}
			if h == "" {
				try.Status, try.Verdict = 200, "ok"
			}
			row.Tries = append(row.Tries, try)
			at = h
		}
		return row
	}
	for _, tc := range []struct {
		name string
		row  *evidence.Row
		want report.Redirects
	}{
		{"to https", chain("https://example.com/", "https://example.com/"), report.Redirects{Followed: 1, ToHTTPS: 1, SameSite: 1}},
		{"to https and www", chain("https://www.example.com/", "https://example.com/", "https://www.example.com/"), report.Redirects{Followed: 1, ToHTTPS: 1, ToWWW: 1, SameSite: 1}},
		{"off-site", chain("http://other.org/", "http://other.org/"), report.Redirects{Followed: 1, OffSite: 1}},
		{"to another name of the same owner", chain("http://de.example.com/", "http://de.example.com/"), report.Redirects{Followed: 1, SameSite: 1}},
		{"none", chain("http://example.com/"), report.Redirects{}},
		{"a URL that is none", &evidence.Row{Redirects: 1, FinalURL: "://"}, report.Redirects{Followed: 1}},
		{"without tries", &evidence.Row{Redirects: 1, FinalURL: "https://example.com/"}, report.Redirects{Followed: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := report.NewSummary()
			s.Add(tc.row)
			if diff := cmp.Diff(tc.want, s.Redirects); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzRead holds that what is read can be shown and merged.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"schema":1,"rows":{"targets":1,"verdicts":{"ok":1},"classes":{"answered":1},"statuses":{"200":1},"phases":{"dns":{"buckets":[[5,1]]}}}}`))
	f.Add([]byte(`{"schema":1,"rows":{"servers":{"total":1,"top":[{"name":"x","count":1}]},"definitions":[{"name":"d","classes":null}]},"bills":[{"machine":"m","total_usd":1.5}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := report.Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		fits(t, text(t, func(b *bytes.Buffer) error { return r.WriteText(b) }))
		text(t, func(b *bytes.Buffer) error { return r.WriteHTML(b) })
		sum := report.NewSummary()
		if err := sum.Merge(r.Summary); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	rows := sample(10_000)
	s := report.NewSummary()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		s.Add(rows[i%len(rows)])
		i++
	}
}
