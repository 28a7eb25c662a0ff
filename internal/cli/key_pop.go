package cli

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// popCommands are those about POPs in the roster, and about who issues their
// certificates.
func (o *keyOptions) popCommands(env Env) []*cobra.Command {
	return []*cobra.Command{
		{
			Use:   "pin POP KEY",
			Short: "Say which key a POP has",
			Long: `Puts a POP into the roster, with the public key that penny agent printed on the
machine: read it there, over a way that you trust. Whoever works with the fleet takes
the machine that has this key for the POP, and no other. penny control then brings it
its certificate, and what the other POPs serve.`,
			Example: "  penny key pin au pk1…",
			Args:    popAndKey,
			RunE:    func(_ *cobra.Command, args []string) error { return o.pin(args[0], args[1], env) },
		},
		{
			Use:   "unpin POP",
			Short: "Take a POP out of the fleet",
			Long: `Takes a POP out of the roster, for good: nobody who has the new roster speaks to the
machine any more, and its key cannot come back. A new machine of that name has a new
key.`,
			Example: "  penny key unpin au",
			Args:    onePOP,
			RunE:    func(_ *cobra.Command, args []string) error { return o.unpin(args[0], env) },
		},
		{
			Use:   "ca",
			Short: "Say until when the fleet's CA is valid, and make the next one in time",
			Long: `Says until when the CA is valid that issues the certificates of the POPs. In its last
30 days it makes the next one and puts it into the roster, beside the old one; so does
every other command that changes the roster. penny status and penny control say when it
is time. Lines of penny key add that are used where there is no state directory know
the old CA only: make new ones.`,
			Example: "  penny key ca",
			Args:    noArguments,
			RunE:    func(*cobra.Command, []string) error { return o.authority(env) },
		},
	}
}

func popAndKey(cmd *cobra.Command, args []string) error {
	if len(args) == 2 {
		return nil
	}
	return &usageError{what: fmt.Sprintf("%s takes the name of a POP and its key, not %d arguments", cmd.CommandPath(), len(args)), hint: cmd.CommandPath() + " au pk1…, as penny agent printed it"}
}

func onePOP(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	return &usageError{what: fmt.Sprintf("%s takes the name of one POP, not %d arguments", cmd.CommandPath(), len(args)), hint: cmd.CommandPath() + " au"}
}

// A keyPinned is what key pin and key unpin print with --json.
type keyPinned struct {
	Fleet  string         `json:"fleet"`
	POP    string         `json:"pop"`
	Key    keys.PublicKey `json:"key"`
	Roster uint64         `json:"roster"`
}

func (o *keyOptions) pin(pop, text string, env Env) error {
	key, err := keys.ParsePublicKey(text)
	if err != nil {
		return &usageError{what: err.Error(), hint: "copy all of the line that penny agent printed on the POP"}
	}
	owner, _, fleet, err := o.open(env)
	if err != nil {
		return err
	}
	if err := owner.AddPOP(pop, key); err != nil {
		return err
	}
	r, _ := owner.Roster()
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(keyPinned{fleet, pop, key, r.Number})
	}
	_, err = fmt.Fprintf(env.Stdout, "the POP %s is who has the key %v: roster %d\n", pop, key, r.Number)
	return err
}

func (o *keyOptions) unpin(pop string, env Env) error {
	owner, _, fleet, err := o.open(env)
	if err != nil {
		return err
	}
	before, _ := owner.Roster()
	key, ok := before.POP(pop)
	if !ok {
		return &mistake.Error{What: fmt.Sprintf("the fleet %s has no POP %.80q", fleet, pop), Hint: "penny key list prints who there is"}
	}
	if err := owner.RemovePOP(pop); err != nil {
		return err
	}
	r, _ := owner.Roster()
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(keyPinned{fleet, pop, key, r.Number})
	}
	_, err = fmt.Fprintf(env.Stdout, "took the POP %s out, %v: roster %d\n", pop, key, r.Number)
	return err
}

// A keyAuthority is what key ca prints with --json.
type keyAuthority struct {
	Fleet   string    `json:"fleet"`
	Expires time.Time `json:"expires"`
	Made    bool      `json:"made"` // just now
	Roster  uint64    `json:"roster"`
}

func (o *keyOptions) authority(env Env) error {
	owner, _, fleet, err := o.open(env)
	if err != nil {
		return err
	}
	r, _ := owner.Roster()
	a := keyAuthority{fleet, r.CAExpires(), owner.CA().Fresh(), r.Number}
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(a)
	}
	made := ""
	if a.Made {
		made = fmt.Sprintf("made the next CA of the fleet %s: roster %d\n", fleet, r.Number)
	}
	_, err = fmt.Fprintf(env.Stdout, "%sthe CA of the fleet %s is valid until %s\n", made, fleet, day(a.Expires))
	return err
}
