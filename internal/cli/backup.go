package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/keys"
	"pennyfarthing/internal/mistake"
)

// A backupReport is what backup and restore print with --json.
type backupReport struct {
	keys.BackupInfo
	File string `json:"file"`
	Dir  string `json:"dir"` // the fleet's, in the state directory
}

func newControlBackup(g *globals, env Env) *cobra.Command {
	var f fleetFlags
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the fleet's keys, CA and roster into one encrypted file",
		Long: `Writes what this machine has of the fleet, and cannot be made again, into one file:
keys, the CA, the roster, and where the POPs are. It is encrypted with a passphrase,
$` + envPassphrase + ` or typed, as an age file: "age -d FILE | tar -t" opens it too. Sites are not
in it: they are on the POPs, and penny pull brings them back.`,
		Example: "  penny control backup linkedlist.backup",
		Args:    oneFile,
		RunE:    func(_ *cobra.Command, args []string) error { return runBackup(g, f, args[0], env) },
	}
	f.add(cmd.Flags())
	return cmd
}

func newControlRestore(g *globals, env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Bring a new control machine up from a backup",
		Long: `Brings the fleet's directory back from a backup, into a state directory that has no
such fleet. If anything is wrong nothing is written. The machine that the backup is of
is not needed any more.`,
		Example: "  penny control restore linkedlist.backup\n  penny control restore linkedlist.backup --state ./state",
		Args:    oneFile,
		RunE:    func(_ *cobra.Command, args []string) error { return runRestore(g, args[0], env) },
	}
}

// oneFile checks the arguments of commands about one file.
func oneFile(cmd *cobra.Command, args []string) error {
	if len(args) == 1 && args[0] != "" {
		return nil
	}
	return &usageError{what: fmt.Sprintf("%s takes one file, not %d", cmd.CommandPath(), len(args)), hint: cmd.CommandPath() + " my.backup"}
}

func runBackup(g *globals, f fleetFlags, file string, env Env) error {
	fleet, err := f.load()
	if err != nil {
		return err
	}
	state, err := g.stateDir(env)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(&mistake.Error{File: file, What: "is there already, and is not overwritten", Hint: "take another name"}, err)
	}
	words, err := env.newPassphrase("the backup")()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(file+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	info, err := keys.Backup(out, keys.BackupOptions{StateDir: state, Fleet: fleet.Name, Passphrase: words, Now: time.Now})
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(out.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(out.Name()))
	}
	return printBackup(g, env.Stdout, backupReport{info, file, keys.FleetDir(state, fleet.Name)}, "%s of the fleet %s are in %s\n", file)
}

func runRestore(g *globals, file string, env Env) error {
	state, err := g.stateDir(env)
	if err != nil {
		return err
	}
	in, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &mistake.Error{File: file, What: "there is no such file", Hint: "penny control backup FILE writes one"}
	}
	if err != nil {
		return err
	}
	defer in.Close()
	words, err := env.passphrase("the backup")()
	if err != nil {
		return err
	}
	info, err := keys.Restore(in, state, words)
	if err != nil {
		return err
	}
	dir := keys.FleetDir(state, info.Fleet)
	return printBackup(g, env.Stdout, backupReport{info, file, dir}, "%s of the fleet %s are back in %s\n", dir)
}

func printBackup(g *globals, w io.Writer, r backupReport, format, where string) error {
	if g.json {
		return json.NewEncoder(w).Encode(r)
	}
	_, err := fmt.Fprintf(w, format, count(r.Files, "file"), r.Fleet, where)
	if !r.Owner && !g.quiet {
		_, err = fmt.Fprintln(w, "note: the owner's key is kept elsewhere, and is not among them")
	}
	return err
}
