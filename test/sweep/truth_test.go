package sweep_test

import (
	"flag"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pennyfarthing/internal/sweep/simnet"
)

//nolint:gochecknoglobals // a table
var engines = []string{"fast", "plain"}

func TestEveryRowOfTheStudysInternetIsTheTruth(t *testing.T) {
	t.Parallel()
	const names = 100_000
	i := startInternet(t, names, simnet.ChildConfig{Profile: simnet.TonyWang2024})
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "run")
			began := time.Now()
			finish(t, i.sweep("-o", dir, "--engine", engine, "--quiet"))
			t.Logf("%d targets in %v", names, time.Since(began).Round(time.Millisecond))
			i.mustBeTrue(t, dir, simnet.DefaultPolicy())
		})
	}
}

// hostileNames is how many names are asked in an internet that means ill. Most of them
// take as long as they may.
//
//nolint:gochecknoglobals // a flag
var hostileNames = flag.Int("hostile", 10_000, "how many names of the hostile internet are asked, with each share of packets lost")

// lossesTolerated is the share of rows that may be wrong when so many percent of the
// DNS' packets are lost, each way. What is lost is asked again, three times by a
// lookup and again by a retry, each of two resolvers' worth; only names whose own
// failure is silence cannot be told from it.
//
//nolint:gochecknoglobals // a table
var lossesTolerated = map[int]float64{1: 0, 5: 0.002, 20: 0.02}

func TestLostPacketsMakeFewRowsWrong(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{1, 5, 20} {
		names := *hostileNames
		i := startInternet(t, names, simnet.ChildConfig{Profile: simnet.Hostile, Loss: float64(percent) / 100})
		for _, engine := range engines {
			t.Run(strconv.Itoa(percent)+" percent "+engine, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "run")
				finish(t, i.sweep("-o", dir, "--engine", engine, "--https", "never", "--quiet"))
				c := i.compare(t, dir, plainHTTP())
				if c.rows != names || c.missing+c.double > 0 {
					t.Errorf("%d rows for %d targets: %d missing, %d double", c.rows, names, c.missing, c.double)
				}
				t.Logf("%d of %d rows are wrong, %d suspect", c.wrong, names, c.suspect)
				if wrong := float64(c.wrong) / float64(names); wrong > lossesTolerated[percent] {
					t.Errorf("%.2f %% of the rows are wrong, want at most %.2f %%:\n%s", 100*wrong, 100*lossesTolerated[percent], strings.Join(c.examples, "\n"))
				}
			})
		}
	}
}
