package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// version is set by the linker in releases.
var version = "dev"

// Env is the world that commands run in.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
}

// SystemEnv is the real world.
func SystemEnv() Env {
	return Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
}

// globals are the flags that all commands have.
type globals struct {
	json  bool
	quiet bool
	state string
}

// Run runs the command that args, without the program's name, spell out. It
// returns the exit code.
func Run(ctx context.Context, env Env, args []string) int {
	var g globals
	root := newRoot(&g, env) //nolint:contextcheck // commands get ctx from ExecuteContext
	root.SetArgs(args)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		reportError(env.Stderr, err, g.json || wantsJSON(args))
	}
	return exitCode(err)
}

// wantsJSON looks for --json where flags were not parsed because of an error.
func wantsJSON(args []string) bool {
	for _, arg := range args {
		if arg == "--json" || arg == "--json=true" {
			return true
		}
	}
	return false
}

func newRoot(g *globals, env Env) *cobra.Command {
	root := &cobra.Command{
		Use:           "penny",
		Short:         "A CDN that you own, on machines that cost coins",
		Long:          "penny answers web requests from machines that cost coins, and asks them by the million.\n\nStart with \"penny up\": a whole fleet on this machine, no configuration needed; or with\n\"penny sweep --simnet 10000\": a sweep of a simulated internet.",
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("penny {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp(g, env))
	flags := root.PersistentFlags()
	flags.BoolVar(&g.json, "json", false, "print results as JSON, for machines")
	flags.BoolVar(&g.quiet, "quiet", false, "print results and errors only")
	flags.StringVar(&g.state, "state", "", "state `directory` (default $PENNY_STATE, or penny's directory under the user's)")
	root.AddCommand(
		newAgent(g, env), newApply(g, env), newCheck(g, env), newControl(g, env), newDeploy(g, env), newDiff(g, env), newInit(g, env), newKey(g, env), newLogs(g, env), newPull(g, env), newReleases(g, env), newRollback(g, env),
		newServe(g, env), newSimnet(g, env), newStatus(g, env), newSweep(g, env), newTop(g, env), newUp(g, env), newVerify(g, env), newVersion(g, env),
	)
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// flagError says what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	what, hint := lowerFirst(err.Error()), cmd.CommandPath()+" --help lists the flags"
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		what = fmt.Sprintf("--%s: %v", invalid.GetFlag().Name, invalid.Unwrap())
		if list := mistake.Of(invalid.Unwrap()); len(list) == 1 && list[0].Hint != "" {
			hint = list[0].Hint
		}
	}
	return &usageError{what: what, hint: hint}
}

// noSuchCommand refuses a verb that does not exist, and suggests one that does.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := cmd.CommandPath() + " --help lists the commands"
	cmd.SuggestionsMinimumDistance = 2
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		path := cmd.CommandPath() + " "
		hint = "did you mean " + path + strings.Join(like, ", or "+path) + "?"
	}
	return &usageError{what: fmt.Sprintf("there is no command %q", args[0]), hint: hint}
}

// stateDir returns the state directory.
func (g *globals) stateDir(env Env) (string, error) {
	if g.state != "" {
		return g.state, nil
	}
	return keys.StateDir(env.Getenv, runtime.GOOS)
}

// log returns where commands that go on tell what happens meanwhile.
func (g *globals) log(env Env) *slog.Logger {
	level := slog.LevelInfo
	if g.quiet {
		level = slog.LevelWarn
	}
	if env.Getenv("PENNY_DEBUG") != "" {
		level = slog.LevelDebug
	}
	if g.json {
		return slog.New(slog.NewJSONHandler(env.Stderr, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(newTextHandler(env.Stderr, level))
}

// buildVersion is the release's version, or what the toolchain knows.
func buildVersion() string {
	if version != "dev" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
