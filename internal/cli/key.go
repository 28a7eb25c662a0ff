package cli

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// keyOptions are what the commands about keys share.
type keyOptions struct {
	*globals
	file  string
	fleet string

	may  rights
	out  string
	keep bool
}

func newKey(g *globals, env Env) *cobra.Command {
	o := &keyOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Say who may do what with the fleet",
		Long: `Keeps the fleet's roster: who may work with it, and what each may do. Everybody has
a key of their own; the owner's, which penny init made, signs the roster. What is
not in the roster may do nothing, and that is enforced by the POPs.

Members are given rights: deploy:SITE for one site, deploy for all of them, renew
for certificates, operate for the configuration. A new key is one line of text, for
the environment variable PENNY_KEY of who is to work with it.`,
		Example: "  penny key add ci --may deploy:example.org --out ci.key\n  penny key pin au pk1…\n  penny key list\n  penny key revoke ci",
		Args:    noSuchCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := cmd.PersistentFlags()
	flags.StringVarP(&o.file, "file", "f", config.FileName, "fleet `file`, which names the fleet")
	flags.StringVar(&o.fleet, "fleet", "", "`name` of the fleet, instead of a fleet file")
	add := &cobra.Command{
		Use:   "add NAME --may RIGHT",
		Short: "Make a key, and say what it may do",
		Long: `Makes a key for a new member, puts it into the roster and prints it, once: the
machine that makes it does not keep it. Whoever has that line is the member. So
rather write it into a file that only you can read, with --out, and take it to
where it belongs.

With --keep the key stays in the state directory of this machine, which then works
as this member for what the member may do. So the owner's key can be encrypted, or
kept elsewhere.`,
		Example: "  penny key add ci --may deploy:example.org --out ci.key\n  penny key add laptop --may deploy --may operate --keep\n  PENNY_KEY=$(cat ci.key) penny deploy",
		Args:    oneName("laptop --may deploy"),
		RunE:    func(_ *cobra.Command, args []string) error { return o.add(args[0], env) },
	}
	add.Flags().Var(&o.may, "may", "what the member may do: deploy:SITE, deploy, renew or operate; can be repeated")
	add.Flags().StringVar(&o.out, "out", "", "`file` to write the key into, instead of printing it; it must not be there yet")
	add.Flags().BoolVar(&o.keep, "keep", false, "keep the key in the state directory, instead of printing it")
	cmd.AddCommand(add, &cobra.Command{
		Use:     "list",
		Short:   "Print who may do what",
		Long:    "Prints the latest roster of this machine: the owner, the members and the POPs.",
		Example: "  penny key list --json",
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return o.list(env) },
	}, &cobra.Command{
		Use:   "revoke NAME",
		Short: "Take a member's rights away",
		Long: `Takes a member out of the roster, for good: the key cannot come back. Every POP
refuses it from the moment that it has the new roster, which anybody who works with
the fleet brings along.`,
		Example: "  penny key revoke ci",
		Args:    oneName("laptop"),
		RunE:    func(_ *cobra.Command, args []string) error { return o.revoke(args[0], env) },
	})
	cmd.AddCommand(o.popCommands(env)...)
	return cmd
}

// oneName checks the arguments of add and revoke.
func oneName(example string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		what := cmd.CommandPath() + " needs the name of a member"
		if len(args) > 1 {
			what = fmt.Sprintf("%s takes one name, but got %q too", cmd.CommandPath(), args[1])
		}
		return &usageError{what: what, hint: cmd.CommandPath() + " " + example}
	}
}

// rights is a flag for what a member may do, once for each right.
type rights []keys.Right

// Set reads a right.
func (r *rights) Set(text string) error {
	right, err := keys.ParseRight(text)
	if err != nil {
		return err
	}
	*r = append(*r, right)
	return nil
}

// String writes rights.
func (r *rights) String() string {
	words := make([]string, len(*r))
	for i, right := range *r {
		words[i] = right.String()
	}
	return strings.Join(words, ", ")
}

// Type names the flag's value in help.
func (r *rights) Type() string { return "right" }

// place returns the state directory, and the fleet that is meant.
func (o *keyOptions) place(env Env) (stateDir, fleet string, err error) {
	stateDir, err = o.stateDir(env)
	if err != nil || o.fleet != "" {
		return stateDir, o.fleet, err
	}
	f, err := config.Load(o.file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", &mistake.Error{File: o.file, What: "there is no such file", Hint: "-f names another fleet file, and --fleet the fleet itself"}
	}
	if err != nil {
		return "", "", err
	}
	return stateDir, f.Name, nil
}

// open opens the fleet with the owner's key.
func (o *keyOptions) open(env Env) (owner *keys.Owner, stateDir, fleet string, err error) {
	stateDir, fleet, err = o.place(env)
	if err != nil {
		return nil, "", "", err
	}
	owner, err = keys.OpenFleet(stateDir, fleet, env.passphrase("the owner's key of "+fleet), time.Now)
	return owner, stateDir, fleet, err
}

// A keyAdded is what key add prints with --json.
type keyAdded struct {
	Fleet  string         `json:"fleet"`
	Name   string         `json:"name"`
	Key    keys.PublicKey `json:"key"`
	May    []keys.Right   `json:"may"`
	Roster uint64         `json:"roster"`
	File   string         `json:"file,omitempty"`   // with --out and --keep
	Secret string         `json:"secret,omitempty"` // otherwise
}

func (o *keyOptions) add(name string, env Env) error {
	switch {
	case len(o.may) == 0:
		return &usageError{what: "what " + name + " may do is missing", hint: "--may deploy:SITE, deploy, renew or operate; more than once for more"}
	case o.out != "" && o.keep:
		return &usageError{what: "--out and --keep exclude each other", hint: "with --out the key goes elsewhere, with --keep this machine works with it"}
	}
	owner, stateDir, fleet, err := o.open(env)
	if err != nil {
		return err
	}
	// The file comes first: if it cannot be written there is no member without a key.
	var out *os.File
	if o.out != "" {
		out, err = os.OpenFile(o.out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return &mistake.Error{File: o.out, What: "the file is there already and was left alone", Hint: "--out names a new file"}
		}
		if err != nil {
			return fmt.Errorf("write key: %w", err)
		}
		defer out.Close()
	}
	id, err := owner.AddMember(name, o.may, rand.Reader)
	if err != nil {
		if out != nil {
			err = errors.Join(err, os.Remove(o.out))
		}
		return err
	}
	r, _ := owner.Roster()
	member, _ := r.Member(id.Key().Public())
	added := keyAdded{Fleet: fleet, Name: name, Key: member.Key, May: member.May, Roster: r.Number}
	switch {
	case out != nil:
		added.File = o.out
		_, err = fmt.Fprintln(out, id.Secret())
		err = errors.Join(err, out.Sync(), out.Close())
	case o.keep:
		added.File, err = id.Keep(stateDir)
	default:
		added.Secret = id.Secret()
	}
	if err != nil {
		return &mistake.Error{What: fmt.Sprintf("%s is a member now, but its key could not be kept: %v", name, err), Hint: "penny key revoke " + name + ", and try again"}
	}
	if err := o.printAdded(added, env); err != nil || o.json || o.quiet {
		return err
	}
	return o.noteSites(added.May, env)
}

// noteSites says which of the sites that somebody may deploy the fleet file does not
// have. They may be added later, so it is no mistake.
func (o *keyOptions) noteSites(may []keys.Right, env Env) error {
	if o.fleet != "" {
		return nil // there is no fleet file to look into
	}
	f, err := config.Load(o.file)
	if err != nil {
		return err
	}
	for _, right := range may {
		if right.Site == "" {
			continue
		}
		if _, err := siteOf(f, right.Site); err != nil {
			_, _ = fmt.Fprintf(env.Stderr, "note: %s has no site %s\n", o.file, right.Site)
		}
	}
	return nil
}

// printAdded prints the secret alone on standard output, so that it can be piped
// to where it belongs.
func (o *keyOptions) printAdded(a keyAdded, env Env) error {
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(a)
	}
	may := rights(a.May)
	if a.File != "" {
		_, err := fmt.Fprintf(env.Stdout, "%s may %s in the fleet %s: roster %d\nthe key is in %s\n", a.Name, &may, a.Fleet, a.Roster, a.File)
		return err
	}
	if _, err := fmt.Fprintln(env.Stdout, a.Secret); err != nil || o.quiet {
		return err
	}
	_, err := fmt.Fprintf(env.Stderr, "%s may %s in the fleet %s: roster %d\nwarning: whoever has the line above is %s; it is shown only now. Set it as %s where %s works\n",
		a.Name, &may, a.Fleet, a.Roster, a.Name, keys.EnvKey, a.Name)
	return err
}

// A keyList is what key list prints with --json.
type keyList struct {
	Fleet     string           `json:"fleet"`
	Roster    uint64           `json:"roster"`
	Time      time.Time        `json:"time"`
	Owner     keys.PublicKey   `json:"owner"`
	OwnerKey  string           `json:"owner_key"` // the file of the owner's key
	Encrypted bool             `json:"encrypted"` // the owner's key is
	Offline   bool             `json:"offline"`   // the owner's key is kept elsewhere
	Members   []keys.Member    `json:"members"`
	POPs      []keys.POPKey    `json:"pops"`
	Revoked   []keys.PublicKey `json:"revoked"`
}

func (o *keyOptions) list(env Env) error {
	stateDir, fleet, err := o.place(env)
	if err != nil {
		return err
	}
	state, r, err := keys.FindFleet(stateDir, fleet)
	if err != nil {
		return err
	}
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(keyList{
			Fleet: fleet, Roster: r.Number, Time: r.Time, Owner: state.Owner, OwnerKey: state.KeyFile, Encrypted: state.Encrypted,
			Offline: state.Offline, Members: r.Members, POPs: r.POPs, Revoked: r.Revoked,
		})
	}
	return printRoster(env.Stdout, state, r)
}

func printRoster(out io.Writer, state keys.Fleet, r *keys.Roster) error {
	where := state.KeyFile
	switch {
	case state.Offline:
		where = "kept elsewhere"
	case state.Encrypted:
		where += ", encrypted"
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "fleet %s, roster %d of %s; the owner's key: %s\n\nNAME\tKEY\tMAY\n", r.Fleet, r.Number, r.Time.Format("2006-01-02 15:04 MST"), where)
	_, _ = fmt.Fprintf(w, "owner\t%v\teverything\n", state.Owner)
	for _, m := range r.Members {
		may := rights(m.May)
		_, _ = fmt.Fprintf(w, "%s\t%v\t%s\n", m.Name, m.Key, &may)
	}
	for _, p := range r.POPs {
		_, _ = fmt.Fprintf(w, "POP %s\t%v\tserve\n", p.Name, p.Key)
	}
	return w.Flush() // which has the errors of all before
}

func (o *keyOptions) revoke(name string, env Env) error {
	owner, _, fleet, err := o.open(env)
	if err != nil {
		return err
	}
	gone, err := owner.Revoke(name)
	if err != nil {
		return err
	}
	r, _ := owner.Roster()
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(map[string]any{"fleet": fleet, "name": name, "key": gone.Key, "roster": r.Number})
	}
	_, err = fmt.Fprintf(env.Stdout, "revoked %s, %v: roster %d\n", name, gone.Key, r.Number)
	return err
}
