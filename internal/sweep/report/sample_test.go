package report_test

import (
	"bytes"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pennyfarthing/internal/fleet/cost"
	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/report"
	"pennyfarthing/internal/sweep/target"
	"pennyfarthing/internal/verdict"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// hostile are texts that strangers' servers might send.
var hostile = []string{
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "\x1b[2J\x1b]0;owned\x07", "a\u202egnp.exe", "\xff\xfe", "</style><b>",
	"{{.Secret}}", "nul\x00", "line\r\nbreak", "\u200fright to left", "javascript:alert(1)", "'; DROP TABLE rows; --",
}

// day is when the sample's rows were observed.
func day() time.Time { return time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC) }

// sample are rows like those of a run, the same each time.
func sample(n int) []*evidence.Row {
	r := rand.New(rand.NewPCG(1, 2))
	servers := []string{"nginx/1.24.0", "Apache/2.4.57 (Debian)", "cloudflare", "LiteSpeed", "Microsoft-IIS/10.0", ""}
	codes := []verdict.Code{
		verdict.OK, verdict.OK, verdict.OK, verdict.OK, verdict.OK, verdict.OK, verdict.HTTPStatus, verdict.TLSName, verdict.TLSExpired, verdict.HTTPTimeout,
		verdict.TCPTimeout, verdict.TCPRefused, verdict.DNSNXDomain, verdict.DNSNXDomain, verdict.DNSServFail, verdict.SkipPrivate, verdict.SelfNetwork, verdict.HTTPRedirectLoop,
	}
	rows := make([]*evidence.Row, n)
	for i := range rows {
		code := codes[r.IntN(len(codes))]
		row := &evidence.Row{
			Rank: int64(i + 1), Target: fmt.Sprintf("site-%d.example", i+1), Verdict: code.String(), Attempts: int32(1 + r.IntN(3)), DNSUS: int64(200 + r.ExpFloat64()*30_000),
			ObservedAt: day().Add(time.Duration(i) * time.Millisecond), Vantage: "here", Suspect: r.IntN(200) == 0, Scheme: "https",
		}
		rows[i] = row
		first := evidence.Try{Scheme: "https", Host: row.Target, At: row.ObservedAt, Verdict: row.Verdict, Vantage: "here"}
		if c := code.Class(); c == verdict.Answered || c == verdict.TLS {
			row.Status, row.FirstStatus = 200, 200
			if code == verdict.HTTPStatus {
				row.Status = []int32{404, 403, 503, 521, 429, 999, 42}[r.IntN(7)]
			}
			row.Address = fmt.Sprintf("198.51.%d.%d", min(99, int(r.ExpFloat64()*12)), r.IntN(255))
			if r.IntN(10) == 0 {
				row.Address = fmt.Sprintf("2001:db8:%x::%x", r.IntN(4), r.IntN(1000))
			}
			row.ConnectUS, row.TLSUS = int64(5_000+r.ExpFloat64()*60_000), int64(9_000+r.ExpFloat64()*80_000)
			row.FirstByteUS = int64(10_000 + r.ExpFloat64()*250_000)
			row.TotalUS = row.DNSUS + row.ConnectUS + row.TLSUS + row.FirstByteUS
			row.TLSVersion = []string{"1.3", "1.3", "1.3", "1.2"}[r.IntN(4)]
			row.CertNotAfter = row.ObservedAt.Add(time.Duration(r.IntN(90*24)-24) * time.Hour)
			row.Server = servers[r.IntN(len(servers))]
			row.ContentType = []string{"text/html; charset=utf-8", "text/html", "application/json", ""}[r.IntN(4)]
			if r.IntN(20) == 0 {
				row.Server, row.ContentType = hostile[r.IntN(len(hostile))], hostile[r.IntN(len(hostile))]
			}
			first.Address, first.Status = row.Address, row.Status
			if r.IntN(3) == 0 {
				final := []string{"https://www." + row.Target + "/", "https://" + row.Target + "/", "https://parking.test/?d=1"}[r.IntN(3)]
				row.Redirects, row.FinalURL, row.FirstStatus = 1, final, 301
				row.Tries = []evidence.Try{{
					Scheme: "http", Host: row.Target, Address: row.Address, Status: 301, Location: final, Verdict: "http.redirect", At: row.ObservedAt, Vantage: "here",
				}}
			}
		}
		row.Tries = append(row.Tries, first)
	}
	return rows
}

func seq(rows []*evidence.Row) iter.Seq2[*evidence.Row, error] {
	return func(yield func(*evidence.Row, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}
}

func judges() []report.Judge {
	return []report.Judge{
		{Name: "strict", Class: func(row *evidence.Row) string {
			if row.Status != 0 {
				return "alive"
			}
			return "dead"
		}},
		{Name: "<b>mine</b>", Class: func(row *evidence.Row) string {
			switch {
			case row.Status == 403:
				return "blocked"
			case row.Status == 200:
				return "alive"
			}
			return "dead"
		}},
	}
}

func runFacts() report.Facts {
	return report.Facts{
		ID: "20261121-093000-domcop", Version: "v0.5.0", Lists: []string{"domcop.csv"}, Vantage: "here", Address: "203.0.113.7",
		Agent: "penny/0.5 (+https://example.org/sweep)", Contact: "abuse@example.org", Optout: "https://example.org/optout",
		Started: day(), Finished: day().Add(95 * time.Second), Wall: 95 * time.Second, Sessions: 2, User: 200 * time.Millisecond, System: 150 * time.Millisecond, PeakRSS: 61e6,
		Machines: 1, Tries: 6021, Queries: 3300, Sent: 1_900_000, Received: 45_700_000, Paced: true, AddressRate: 2, NetworkRate: 50, ResolverRate: 500, Concurrency: 8000,
		Lines: 3021, Listed: 3000, Duplicates: 18, Bad: 3, Controls: 40, ControlsFailed: 1, IllSeconds: 4,
		BadLines: []target.BadLine{{File: "domcop.csv", Line: 17, Text: "not a name \x1b[31m<b>", Reason: "its name has a character that names do not have"}},
	}
}

func make3000(t *testing.T) *report.Report {
	t.Helper()
	prices, err := cost.Default()
	if err != nil {
		t.Fatal(err)
	}
	r, err := report.Make(seq(sample(3000)), runFacts(), prices, judges()...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// golden compares with a file, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v (-update writes it)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); -update rewrites it:\n%s", name, diff)
	}
}

func text(t *testing.T, write func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
