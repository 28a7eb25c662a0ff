//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// captured reads an output that a real run printed.
func captured(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestParseWrk(t *testing.T) {
	tests := []struct {
		name, file string
		want       outcome
		problem    string
	}{
		{
			name: "a run without errors", file: "wrk-ok.txt",
			want: outcome{requests: 168218, elapsed: 1100 * time.Millisecond, p99: 313 * time.Microsecond, bytes: 3.36 * (1 << 30)},
		},
		{name: "other statuses are an error", file: "wrk-404.txt", problem: "Non-2xx or 3xx responses: 178928"},
		{name: "broken connections are an error", file: "wrk-errors.txt", problem: "Socket errors"},
		{name: "another program's output is an error", file: "h2load-ok.txt", problem: "not understood"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseWrk(captured(t, test.file))
			checkOutcome(t, got, err, test.want, test.problem)
		})
	}
}

func TestParseH2load(t *testing.T) {
	tests := []struct {
		name, file string
		counted    bool
		want       outcome
		problem    string
	}{
		{
			name: "a counted run without errors", file: "h2load-ok.txt", counted: true,
			want: outcome{requests: 400, elapsed: 12250 * time.Microsecond, bytes: 8470400},
		},
		{
			name: "a timed run ends with requests on their way", file: "h2load-timed.txt",
			want: outcome{requests: 23009, elapsed: 300590 * time.Microsecond, bytes: 487238584},
		},
		{name: "which a counted run must not", file: "h2load-cut.txt", counted: true, problem: "33 failed"},
		{name: "other statuses are an error", file: "h2load-404.txt", counted: true, problem: "400 4xx"},
		{name: "also in a timed run", file: "h2load-404.txt", problem: "400 4xx"},
		{name: "nobody listens", file: "h2load-refused.txt", counted: true, problem: "400 errored"},
		{name: "nobody listens to a timed run", file: "h2load-refused.txt", problem: "no response"},
		{name: "another program's output is an error", file: "wrk-ok.txt", problem: "not understood"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseH2load(captured(t, test.file), test.counted)
			checkOutcome(t, got, err, test.want, test.problem)
		})
	}
}

func checkOutcome(t *testing.T, got outcome, err error, want outcome, problem string) {
	t.Helper()
	if problem != "" {
		if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("error is %v, want one with %q", err, problem)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestH2loadMustSpeakWhatTheCaseSays(t *testing.T) {
	text := captured(t, "h2load-ok.txt")
	if err := checkH2loadTLS(text, "h2"); err != nil {
		t.Error(err)
	}
	for from, to := range map[string]string{"TLSv1.3": "TLSv1.2", "AES_128": "AES_256", "protocol: h2": "protocol: http/1.1"} {
		if checkH2loadTLS(strings.Replace(text, from, to, 1), "h2") == nil {
			t.Errorf("%s passes", to)
		}
	}
}

func TestH2loadLogGivesThe99thPercentile(t *testing.T) {
	got, err := parseH2loadLog(strings.NewReader(captured(t, "h2load-log.txt")))
	if err != nil {
		t.Fatal(err)
	}
	if want := 1018 * time.Microsecond; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, bad := range []string{"", "1 404 3\n", "1 200\n", "1 200 x\n"} {
		if _, err := parseH2loadLog(strings.NewReader(bad)); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}
