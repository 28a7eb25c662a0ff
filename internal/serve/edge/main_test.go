package edge

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// engineUnderTest is the engine that [start] runs.
var engineUnderTest = Plain

// TestMain runs the suite with either engine: what holds for one holds for the
// other. Tests that no engine has to do with run once.
func TestMain(m *testing.M) {
	if load := os.Getenv("PENNY_TEST_H3_LOAD"); load != "" { // see BenchmarkH3Hit
		if err := loadHTTP3(load); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if code == 0 && !runsOnce() {
		engineUnderTest = Fast
		fmt.Println("again, with the fast engine")
		if err := flag.Set("test.skip", "AccessLog|Metrics|Docs|PROXY|Proxy|BetweenEngines|FuzzEngines|Rests|OnLoops|OnALoop"); err != nil {
			panic(err)
		}
		code = m.Run()
	}
	os.Exit(code)
}

// runsOnce reports whether this is not a run of the tests: fuzzing, benchmarks and
// lists are done once, and whoever asks for some tests to be skipped gets just that.
func runsOnce() bool {
	for _, name := range []string{"test.fuzz", "test.bench", "test.list", "test.skip", "test.fuzzworker"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" && f.Value.String() != "false" {
			return true
		}
	}
	return false
}
