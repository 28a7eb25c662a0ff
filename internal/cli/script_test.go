package cli_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"pennyfarthing/internal/cli"
)

var update = flag.Bool("update", false, "rewrite what the scripts compare with")

// quietBuffers keeps what depends on the machine, the size of UDP's buffers, out of
// what programs print.
const quietBuffers = "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING"

// TestMain is, besides the tests, the programs that scripts run.
func TestMain(m *testing.M) {
	_ = os.Setenv(quietBuffers, "true") // only a name with NUL or "=" is refused
	testscript.Main(m, map[string]func(){"penny": penny, "penny-once": pennyOnce})
}

// penny is the program as it is.
func penny() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Run(ctx, cli.SystemEnv(), os.Args[1:]))
}

// pennyOnce is the program with somebody who types Ctrl-C as soon as it prints
// that it has started.
func pennyOnce() {
	ctx, stop := context.WithCancel(context.Background())
	env := cli.SystemEnv()
	env.Stdout = stopper{stop}
	os.Exit(cli.Run(ctx, env, os.Args[1:]))
}

type stopper struct{ stop context.CancelFunc }

// Write prints and stops the program.
func (s stopper) Write(p []byte) (int, error) {
	defer s.stop()
	return os.Stdout.Write(p)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // or each program rests for a second at its end
			env.Setenv("PENNY_STATE", env.WorkDir+"/.state")
			env.Setenv(quietBuffers, "true")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command that must end with an exit code: exits 2 penny serve.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENT…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
