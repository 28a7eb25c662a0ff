package cli

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

type initOptions struct {
	*globals
	file       string
	template   config.TemplateOptions
	keys       bool
	passphrase bool
}

func newInit(g *globals, env Env) *cobra.Command {
	o := initOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a commented penny.toml, and make the fleet's keys",
		Long: `Writes a fleet file to begin with: one site, and everything else that can be
said, explained and commented out. A file that is there is left alone.

Makes the owner's key and the private CA of the fleet as well, in the state
directory, never beside the file. Keys that are there are left alone. With --keys
it makes those of a fleet file that is there.`,
		Example: "  penny init --fleet linkedlist --site linkedlist.org --files ./public\n  penny init --passphrase\n  penny init --keys -f penny.toml",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runInit(o, cmd.Flags().Changed, env) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.file, "file", "f", config.FileName, "`file` to write")
	flags.StringVar(&o.template.Fleet, "fleet", "", "`name` of the fleet (default myfleet)")
	flags.StringVar(&o.template.Site, "site", "", "host `name` of the first site (default example.org)")
	flags.StringVar(&o.template.Files, "files", "", "`directory` of the first site (default ./public)")
	flags.BoolVar(&o.keys, "keys", false, "write no file: make the keys of the fleet in --file")
	flags.BoolVar(&o.passphrase, "passphrase", false, "encrypt the owner's key with a passphrase: $"+envPassphrase+", or typed")
	return cmd
}

// An initResult is what init prints with --json.
type initResult struct {
	File      string         `json:"file"`
	Fleet     string         `json:"fleet"`
	Owner     keys.PublicKey `json:"owner"`
	OwnerKey  string         `json:"owner_key"` // the file of the owner's key
	Made      bool           `json:"made"`      // the keys, just now
	Encrypted bool           `json:"encrypted"` // the owner's key is
	Offline   bool           `json:"offline"`   // the owner's key is kept elsewhere
}

func runInit(o initOptions, typed func(string) bool, env Env) error {
	if o.keys {
		for _, flag := range []string{"fleet", "site", "files"} {
			if typed(flag) {
				return &usageError{what: "--keys and --" + flag + " exclude each other", hint: "with --keys the fleet is the one of the file, which is not written"}
			}
		}
		f, err := config.Load(o.file)
		if errors.Is(err, fs.ErrNotExist) {
			return &mistake.Error{File: o.file, What: "there is no such file", Hint: "penny init writes one and makes the keys; -f names another file"}
		}
		if err != nil {
			return err
		}
		return o.makeKeys(f.Name, "", env)
	}
	o.template.Files = cmp.Or(o.template.Files, "./public")
	text := config.Template(o.template)
	fleet, err := config.Parse(o.file, text)
	if err != nil { // only the flags can be wrong
		return &usageError{what: "the file would have mistakes: " + problems(err)[0].What, hint: "mend --fleet, --site or --files"}
	}
	if _, err := o.stateDir(env); err != nil {
		return err
	}
	if err := writeFleetFile(o.file, text); err != nil {
		return err
	}
	flag := ""
	if o.file != config.FileName {
		flag = " -f " + o.file
	}
	next := fmt.Sprintf("next: put the site into %s, then penny check%s, then penny up%s\n", o.template.Files, flag, flag)
	if err := o.makeKeys(fleet.Name, next, env); err != nil {
		if m, ok := errors.AsType[*mistake.Error](err); ok {
			return &mistake.Error{File: m.File, Line: m.Line, Column: m.Column, What: m.What, Hint: m.Hint + "\n" + o.file + " was written; penny init --keys -f " + o.file + " makes its keys"}
		}
		return fmt.Errorf("%s was written, but it has no keys: %w", o.file, err)
	}
	return nil
}

// writeFleetFile writes a fleet file where there is none.
func writeFleetFile(file string, text []byte) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &mistake.Error{
			File: file, What: "the file is there already and was left alone",
			Hint: "penny check -f " + file + " looks it over; penny init --keys -f " + file + " makes its keys; -f names another file",
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &mistake.Error{File: file, What: "there is no directory " + filepath.Dir(file), Hint: "make it first, or name another file with -f"}
	}
	if err != nil {
		return fmt.Errorf("write fleet file: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write fleet file: %w", errors.Join(err, os.Remove(file)))
	}
	return nil
}

// makeKeys makes the keys of a fleet where there are none, and prints what init
// has done.
func (o initOptions) makeKeys(fleet, next string, env Env) error {
	stateDir, err := o.stateDir(env)
	if err != nil {
		return err
	}
	what := "the owner's key of " + fleet
	options := keys.InitOptions{StateDir: stateDir, Fleet: fleet, Passphrase: env.passphrase(what), Now: time.Now, Random: rand.Reader}
	if o.passphrase {
		options.NewPassphrase = env.newPassphrase(what)
	}
	state, err := keys.InitFleet(options)
	if err != nil {
		return err
	}
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(initResult{
			File: o.file, Fleet: fleet, Owner: state.Owner, OwnerKey: state.KeyFile, Made: state.Made, Encrypted: state.Encrypted, Offline: state.Offline,
		})
	}
	text := ""
	if next != "" {
		text = "wrote " + o.file + "\n"
	}
	sealed := ""
	if state.Encrypted {
		sealed = ", encrypted"
	}
	switch {
	case state.Made:
		text += fmt.Sprintf("made the keys of the fleet %s; the owner's is %s%s\n"+
			"keep a copy of it elsewhere: without it nobody can be added or revoked\n", fleet, state.KeyFile, sealed)
	case state.Offline:
		text += fmt.Sprintf("the fleet %s has its keys already; the owner's is kept elsewhere\n", fleet)
	default:
		text += fmt.Sprintf("the fleet %s has its keys already; the owner's is %s%s\n", fleet, state.KeyFile, sealed)
	}
	_, err = fmt.Fprint(env.Stdout, text, next)
	return err
}
