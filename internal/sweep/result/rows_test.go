package result_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pennyfarthing/internal/sweep/evidence"
	"pennyfarthing/internal/sweep/result"
)

// sameRow compares rows whose tries may be none in two ways.
var sameRow = cmpopts.EquateEmpty()

// everything is a row with every column filled, and some of them with what is hard.
func everything() *evidence.Row {
	at := time.Date(2026, 11, 29, 3, 14, 15, 926535000, time.UTC)
	return &evidence.Row{
		Rank: 1_000_000, Target: "xn--bcher-kva.example", Verdict: "tls.expired", Status: 403, FirstStatus: 301,
		Error: "the certificate is out of date: \"ended\", 3 days ago", Scheme: "https", FinalURL: "https://www.xn--bcher-kva.example/?a=1&b=<2>",
		Redirects: 1, Address: "2001:db8::1", Attempts: 3, DNSUS: 1234, ConnectUS: 20_000, TLSUS: 31_000, FirstByteUS: 90_001, TotalUS: 142_235,
		TLSVersion: "1.3", CertNotAfter: time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), Server: "=cmd|' /C calc'!A0",
		ContentType: "text/html; charset=utf-8", ContentLength: -1, Title: "Bücher,\r\n\"viele\"\x00\x1f \u2028 \U0001F6B2",
		BodySHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", BodyBytes: 4096, Suspect: true, ObservedAt: at, Vantage: "198.51.100.7",
		Tries: []evidence.Try{
			{Scheme: "https", Host: "xn--bcher-kva.example", Resolver: "192.0.2.53:53", Rcode: "SERVFAIL", Verdict: "dns.servfail", DNSUS: 900, TotalUS: 900, At: at.Add(-time.Second), Vantage: "198.51.100.7"},
			{Scheme: "https", Host: "xn--bcher-kva.example", Family: 6, Address: "2001:db8::1", Resolver: "192.0.2.54:53", Rcode: "NOERROR", Status: 301, Location: "https://www.xn--bcher-kva.example/?a=1&b=<2>", Verdict: "http.redirect", DNSUS: 1, ConnectUS: 2, TLSUS: 3, FirstByteUS: 4, TotalUS: 10, At: at.Add(-time.Millisecond), Vantage: "198.51.100.7"},
			{Scheme: "https", Host: "www.xn--bcher-kva.example:8443", Family: 4, Address: "192.0.2.1", Resolver: "192.0.2.54:53", Rcode: "NOERROR", Status: 403, Verdict: "tls.expired", DNSUS: 1234, ConnectUS: 20_000, TLSUS: 31_000, FirstByteUS: 90_001, TotalUS: 142_235, At: at, Vantage: "203.0.113.9"},
		},
	}
}

// sample is the row of an ordinary target, different for every i.
func sample(i int) *evidence.Row {
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	at := time.UnixMicro(1_795_923_255_000_000 + int64(i)*57).UTC()
	host := fmt.Sprintf("%s%d.example", []string{"shop", "blog", "mail", "some-longer-name", "x"}[i%5], rng.IntN(1_000_000))
	address := fmt.Sprintf("192.0.2.%d", rng.IntN(256))
	row := &evidence.Row{Rank: int64(i + 1), Target: host, ContentLength: -1, ObservedAt: at, Vantage: "198.51.100.7"}
	try := evidence.Try{
		Scheme: "https", Host: host, Family: 4, Address: address, Resolver: "127.0.0.1:53", Rcode: "NOERROR",
		DNSUS: 200 + rng.Int64N(40_000), At: at, Vantage: row.Vantage,
	}
	switch p := rng.IntN(100); {
	case p < 19: // no such name, say two resolvers
		try.Family, try.Address, try.Rcode, try.Verdict, try.TotalUS = 0, "", "NXDOMAIN", "dns.nxdomain", try.DNSUS
		row.Tries = []evidence.Try{try, try}
		row.Tries[1].Resolver = "127.0.0.2:53"
		row.Error = "no such name"
	case p < 24:
		try.Verdict, try.TotalUS = "tcp.timeout", 5_000_000
		row.Tries = []evidence.Try{try, try, try}
		row.Tries[2].Scheme = "http"
		row.Error = "connect to " + address + ":443: no connection in time"
	default:
		try.ConnectUS, try.TLSUS, try.FirstByteUS = rng.Int64N(200_000), rng.Int64N(200_000), rng.Int64N(300_000)
		try.TotalUS = try.ConnectUS + try.TLSUS + try.FirstByteUS
		try.Status, try.Verdict = 200, "ok"
		row.FinalURL = "https://" + host + "/"
		row.FirstStatus = 200
		if p < 70 {
			first := try
			first.Status, first.Verdict, first.Location = 301, "http.redirect", "https://www."+host+"/"
			row.Tries = append(row.Tries, first)
			row.FinalURL, row.FirstStatus, row.Redirects = first.Location, 301, 1
			try.Host = "www." + host
		}
		row.Tries = append(row.Tries, try)
		row.Status, row.TLSVersion, row.CertNotAfter = 200, "1.3", at.Add(time.Duration(rng.IntN(90*24))*time.Hour).Truncate(time.Second)
		row.Server = []string{"nginx", "cloudflare", "Apache", "LiteSpeed"}[rng.IntN(4)]
		row.ContentType = "text/html; charset=utf-8"
		row.Title = "Welcome to " + host
		row.BodyBytes = 4096
		row.BodySHA256 = fmt.Sprintf("%016x%016x%016x%016x", rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64())
	}
	last := row.Tries[len(row.Tries)-1]
	row.Verdict, row.Scheme, row.Address, row.Attempts = last.Verdict, last.Scheme, last.Address, int32(len(row.Tries))
	row.DNSUS, row.ConnectUS, row.TLSUS, row.FirstByteUS, row.TotalUS = last.DNSUS, last.ConnectUS, last.TLSUS, last.FirstByteUS, last.TotalUS
	return row
}

var formats = []result.Format{result.Parquet, result.JSONL, result.CSV}

// open begins to write a run in a directory of the test's.
func open(t testing.TB, format result.Format) (string, *result.Parts) {
	t.Helper()
	run := t.TempDir()
	parts, err := result.Open(run, format, result.Meta{Version: "1.2.3", Run: "a-run"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(parts.Close)
	return run, parts
}

// commit writes a part in an order that is not the list's.
func commit(t testing.TB, parts *result.Parts, shard int, rows []*evidence.Row) result.Info {
	t.Helper()
	part, err := parts.Create(shard, len(rows))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(rows)) {
		if err := part.Add(i, rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	info, err := part.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// read collects a run's rows.
func read(t testing.TB, run string) []*evidence.Row {
	t.Helper()
	var rows []*evidence.Row
	for row, err := range result.Rows(run) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

func TestRowsComeBackInTheOrderOfTheListInEveryFormat(t *testing.T) {
	for _, format := range formats {
		t.Run(format.String(), func(t *testing.T) {
			run, parts := open(t, format)
			var want []*evidence.Row
			for i := range 700 {
				want = append(want, sample(i))
			}
			late := everything() // a certificate that means to hold for ever, and one from before all
			late.CertNotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
			early := everything()
			early.CertNotAfter = time.Unix(0, 0).UTC()
			want = append(want, everything(), &evidence.Row{Target: "nothing.example", Tries: []evidence.Try{{}}}, late, early)
			commit(t, parts, 2, want[500:])
			commit(t, parts, 1, want[300:500])
			commit(t, parts, 0, want[:300])
			if diff := cmp.Diff(want, read(t, run), sameRow); diff != "" {
				t.Error(diff)
			}
		})
	}
}
