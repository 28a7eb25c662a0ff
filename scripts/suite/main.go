// Command suite runs every test of the module and says afterwards what ran and
// what did not. A test that was skipped is a failure, unless
//
//   - it runs without the race detector: what the first run, under the race
//     detector, skipped is run again as the program is shipped; or
//   - scripts/skips-allowed names it, with the reason.
//
// Either way the skip is printed with the reason that the test gave, and a skip
// without a reason is always a failure. So no test passes by not running.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"time"
)

func main() {
	report := flag.String("report", "", "write the summary into this `file` instead")
	allowed := flag.String("allowed", "scripts/skips-allowed", "the `file` of skips that are no failure")
	timeout := flag.Duration("timeout", 20*time.Minute, "for the tests of one package")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s := suite{out: os.Stdout, report: *report, allowed: *allowed, timeout: *timeout}
	ok, err := s.run(ctx, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// A suite is one run of this command.
type suite struct {
	out     io.Writer
	report  string
	allowed string
	timeout time.Duration
}

// run tests the packages, or all when none is named, prints the summary and
// says whether everything is well.
func (s *suite) run(ctx context.Context, packages []string) (bool, error) {
	allow, err := readAllowed(s.allowed)
	if err != nil {
		return false, err
	}
	whole := len(packages) == 0
	if whole {
		packages = []string{"./..."}
	}

	res := newResults(s.out)
	if err := s.goTest(ctx, res, true, packages); err != nil {
		return false, err
	}
	for _, again := range res.skippedTests() {
		fmt.Fprintf(s.out, "without the race detector: %s of %s\n", strings.Join(again.tests, ", "), again.pkg)
		pattern := "^(" + strings.Join(again.tests, "|") + ")$"
		if err := s.goTest(ctx, res, false, []string{"-run", pattern, again.pkg}); err != nil {
			return false, err
		}
	}

	text, ok := res.summary(allow, whole)
	if s.report != "" {
		return ok, os.WriteFile(s.report, []byte(text), 0o644)
	}
	fmt.Fprint(s.out, text)
	return ok, nil
}

// goTest runs go test and feeds what it says to res. That tests failed is not an
// error; that go test failed without any test having done so is.
func (s *suite) goTest(ctx context.Context, res *results, race bool, args []string) error {
	args = append([]string{"test", "-json", "-shuffle=on", "-timeout=" + s.timeout.String()}, args...)
	cgo := "CGO_ENABLED=0"
	if race {
		args = slices.Insert(args, 1, "-race")
		cgo = "CGO_ENABLED=1"
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Env = append(os.Environ(), cgo)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	failedBefore := res.failed
	readErr := res.read(events)
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case readErr != nil:
		return readErr
	case err != nil && res.failed == failedBefore:
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
