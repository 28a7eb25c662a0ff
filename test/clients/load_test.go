package clients_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// wrk asks as fast as it can, and compares every answer.
func TestWrkGetsEveryByteRight(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, s *served) {
		const path, atLeast = "/middle.bin", 100
		file := filepath.Join(t.TempDir(), "expected")
		if err := os.WriteFile(file, s.files[path], 0o644); err != nil {
			t.Fatal(err)
		}
		out := string(run(t, "wrk", nil, "-t", "1", "-c", "16", "-d", "2s", "-s", filepath.Join("testdata", "compare.lua"), s.url+path, "--", file))
		_, line, _ := strings.Cut(out, "compared: ")
		var right int
		if _, err := fmt.Sscanf(line, "%d right, 0 wrong (), errors: 0\n", &right); err != nil || right < atLeast {
			t.Errorf("%v: %d answers are right, want more than %d and none wrong:\n%s", err, right, atLeast, out)
		}
		t.Logf("%d answers", right)
	})
}

// h2load sends many requests before it waits for an answer: over HTTP/2 on
// streams, over HTTP/1.1 one behind the other. It counts bytes and looks at none.
func TestH2loadGetsAllItAsksFor(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, s *served) {
		const n = 3000
		for name, flags := range map[string][]string{
			"streams":    {"-m", "64"},
			"pipelining": {"--h1", "-m", "16"},
		} {
			for _, path := range []string{"/one.bin", "/frame.bin", "/middle.bin"} {
				t.Run(name+" "+path[1:], func(t *testing.T) {
					args := append([]string{"-n", strconv.Itoa(n), "-c", "4", "-t", "1"}, flags...)
					out := string(run(t, "h2load", nil, append(args, s.url+path)...))
					for _, want := range []string{
						fmt.Sprintf("%d total, %d started, %d done, %d succeeded, 0 failed, 0 errored, 0 timeout", n, n, n, n),
						fmt.Sprintf("status codes: %d 2xx, 0 3xx, 0 4xx, 0 5xx", n),
						fmt.Sprintf("(%d) data", n*len(s.files[path])),
					} {
						if !strings.Contains(out, want) {
							t.Errorf("h2load does not say %q:\n%s", want, out)
						}
					}
				})
			}
		}
	})
}

// row is one of nghttp's statistics: times, the status, the size, the path.
var row = regexp.MustCompile(`(?m)^ *\d+ +\+\S+ +\*? *\+\S+ +\S+ +(\d+) +(\S+) +/\S*$`)

// nghttp asks for a file a hundred times on one connection, all at once.
func TestNghttpAsksForMuchAtOnce(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, s *served) {
		const n = 100
		out := string(run(t, "nghttp", nil, "-n", "-s", "-m", strconv.Itoa(n), s.url+"/middle.bin"))
		rows := row.FindAllStringSubmatch(out, -1)
		if len(rows) != n {
			t.Errorf("%d answers, want %d:\n%s", len(rows), n, out)
		}
		for _, r := range rows {
			if r[1] != "200" || r[2] != "68K" {
				t.Errorf("an answer: %q", r[0])
			}
		}
	})
}
