package edge

import (
	"encoding/xml"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// h2specCases is how many cases the pinned version has in its strict mode.
const h2specCases = 146

// TestH2spec runs h2spec, which tools/go.mod pins, against a server over TLS with
// an ordinary page at /. It GETs the page and POSTs to it; that the latter is 405
// is as good an answer as any.
func TestH2spec(t *testing.T) {
	if testing.Short() {
		t.Skip("h2spec takes a quarter of a minute")
	}
	tool := buildH2spec(t)
	r := start(t, setup{secure: true})
	host, port, err := net.SplitHostPort(r.secure)
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "h2spec.xml")
	cmd := exec.CommandContext(t.Context(), tool, "-t", "-k", "-S", "-h", host, "-p", port, "-P", "/", "-o", "3", "-j", report)
	out, err := cmd.CombinedOutput() // an error is a case that failed, and those are in the report
	total, failing := readH2spec(t, report)
	if total != h2specCases {
		t.Fatalf("%d cases ran, want %d: %v\n%s", total, h2specCases, err, out)
	}
	known := knownFailing(t)
	if engineUnderTest == Fast {
		known = nil // every case passes
	}
	if diff := cmp.Diff(known, failing, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("cases that fail (-written down +failed):\n%s\n%s", diff, out)
	}
}

// buildH2spec returns the program.
func buildH2spec(t *testing.T) string {
	t.Helper()
	tool := filepath.Join(t.TempDir(), "h2spec.exe")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", tool, "github.com/summerwind/h2spec/cmd/h2spec")
	build.Dir = filepath.Join("..", "..", "..", "tools")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("h2spec is not here: cd tools && go mod download: %v\n%s", err, out)
	}
	return tool
}

// readH2spec returns how many cases a JUnit report has and which failed, as
// "section | case".
func readH2spec(t *testing.T, file string) (total int, failing []string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Suites []struct {
			Cases []struct {
				Section string  `xml:"package,attr"`
				Name    string  `xml:"classname,attr"`
				Error   *string `xml:"error"`
				Failure *string `xml:"failure"`
				Skipped *string `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			total++
			if c.Error != nil || c.Failure != nil || c.Skipped != nil {
				failing = append(failing, c.Section+" | "+c.Name)
			}
		}
	}
	slices.Sort(failing)
	return total, failing
}

// knownFailing reads testdata/h2spec-failing.txt.
func knownFailing(t *testing.T) (known []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "h2spec-failing.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) != 3 || parts[2] == "" {
			t.Fatalf("line without a reason: %s", line)
		}
		known = append(known, parts[0]+" | "+parts[1])
	}
	slices.Sort(known)
	return known
}
