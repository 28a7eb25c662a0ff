package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/optout"
)

// optoutOptions are what the commands about opt-outs share.
type optoutOptions struct {
	*globals
	file string
	note string
}

func newSweepOptout(g *globals, env Env) *cobra.Command {
	o := &optoutOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "optout",
		Short: "Keep the list of those who do not want to be asked",
		Long: `Keeps the list of names and networks whose owners have opted out. Every run that
begins or goes on afterwards honours it: their rows say skip.optout, and no packet
is sent. A name stands for all names below it.

The list is optout_list of [sweep], or optout.txt beside penny.toml; without a fleet
file it is in the state directory.`,
		Example: "  penny sweep optout add example.com 192.0.2.0/24 --note \"mail of 3 May\"\n  penny sweep optout list\n  penny sweep optout remove example.com",
		Args:    noSuchCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVarP(&o.file, "file", "f", "", "fleet `file` (default penny.toml if it is there)")
	add := &cobra.Command{
		Use:     "add NAME…",
		Short:   "Put names or networks on the list",
		Long:    "Puts names, addresses or networks on the list. Of a URL it takes the host.",
		Example: "  penny sweep optout add example.com 192.0.2.0/24 --note \"mail of 3 May\"",
		Args:    someEntries,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.add(cmd.Context(), args, env) },
	}
	add.Flags().StringVar(&o.note, "note", "", "`text` that stays beside the names in the file")
	cmd.AddCommand(add, &cobra.Command{
		Use:     "remove NAME…",
		Short:   "Take names or networks off the list",
		Long:    "Takes names, addresses or networks off the list. If one is not on it, nothing changes.",
		Example: "  penny sweep optout remove example.com",
		Args:    someEntries,
		RunE:    func(cmd *cobra.Command, args []string) error { return o.remove(cmd.Context(), args, env) },
	}, &cobra.Command{
		Use:     "list",
		Short:   "Print the list",
		Long:    "Prints who has opted out, a name or network a line.",
		Example: "  penny sweep optout list --json",
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return o.list(env.Stdout, env) },
	})
	return cmd
}

// someEntries checks the arguments of add and remove.
func someEntries(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return nil
	}
	return &usageError{what: cmd.CommandPath() + " needs a name or a network", hint: cmd.CommandPath() + " example.com"}
}

// editTime is how long another process is waited for that edits the list.
const editTime = 5 * time.Second

// files are the lists, the one that new names go into first.
func (o *optoutOptions) files(env Env) ([]string, error) {
	fleet, err := fleetFile(o.file)
	if err != nil {
		return nil, err
	}
	files := optoutFiles(fleet, o.globals, env)
	if len(files) == 0 {
		_, err = o.stateDir(env)
	}
	return files, err
}

// readLists reads the lists that are there.
func readLists(files []string) (map[string]*optout.List, error) {
	lists := make(map[string]*optout.List)
	for _, file := range files {
		l, err := optout.Read(file)
		if err == nil {
			lists[file] = l
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return lists, nil
}

// normals are entries in their normal form, or every mistake in them.
func normals(args []string) ([]string, error) {
	var entries []string
	var mistakes mistake.List
	for _, arg := range args {
		entry, err := optout.Normal(arg)
		if err != nil {
			mistakes = append(mistakes, mistake.Of(err)...)
		} else if !slices.Contains(entries, entry) {
			entries = append(entries, entry)
		}
	}
	return entries, mistakes.Err()
}

func (o *optoutOptions) add(ctx context.Context, args []string, env Env) error {
	entries, err := normals(args)
	if err != nil {
		return err
	}
	if strings.ContainsFunc(o.note, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(o.note) > 500 {
		return &usageError{what: "--note is one line of at most 500 bytes", hint: "write where the rest of the story is"}
	}
	files, err := o.files(env)
	if err != nil {
		return err
	}
	others, err := readLists(files[1:])
	if err != nil {
		return err
	}
	added, already := []string{}, []string{}
	ctx, cancel := context.WithTimeout(ctx, editTime)
	defer cancel()
	err = optout.Edit(ctx, files[0], func(l *optout.List) error {
		for _, entry := range entries {
			known := l.Has(entry)
			for _, other := range others {
				known = known || other.Has(entry)
			}
			if known {
				already = append(already, entry)
				continue
			}
			l.Add(entry, o.note)
			added = append(added, entry)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(map[string]any{"file": files[0], "added": added, "already": already})
	}
	if len(already) > 0 {
		_, _ = fmt.Fprintf(env.Stdout, "on the list already: %s\n", strings.Join(already, ", "))
	}
	if len(added) > 0 {
		_, _ = fmt.Fprintf(env.Stdout, "added to %s: %s\n", files[0], strings.Join(added, ", "))
	}
	return nil
}

func (o *optoutOptions) remove(ctx context.Context, args []string, env Env) error {
	entries, err := normals(args)
	if err != nil {
		return err
	}
	files, err := o.files(env)
	if err != nil {
		return err
	}
	lists, err := readLists(files)
	if err != nil {
		return err
	}
	var missing mistake.List
	for _, entry := range entries {
		found := false
		for _, l := range lists {
			found = found || l.Has(entry)
		}
		if !found {
			missing.Add(&mistake.Error{File: files[0], What: entry + " is not on the list", Hint: "penny sweep optout list prints what is"})
		}
	}
	if err := missing.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, editTime)
	defer cancel()
	for _, file := range files {
		if lists[file] == nil {
			continue
		}
		err := optout.Edit(ctx, file, func(l *optout.List) error {
			for _, entry := range entries {
				l.Remove(entry)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(map[string]any{"removed": entries})
	}
	_, _ = fmt.Fprintf(env.Stdout, "removed: %s\n", strings.Join(entries, ", "))
	return nil
}

func (o *optoutOptions) list(w io.Writer, env Env) error {
	files, err := o.files(env)
	if err != nil {
		return err
	}
	lists, err := readLists(files)
	if err != nil {
		return err
	}
	type listed struct {
		File    string   `json:"file"`
		Entries []string `json:"entries"`
	}
	all := []listed{}
	for _, file := range files {
		if l := lists[file]; l != nil {
			all = append(all, listed{file, append([]string{}, l.Entries()...)})
		}
	}
	if o.json {
		return json.NewEncoder(w).Encode(map[string]any{"lists": all})
	}
	for _, l := range all {
		for _, entry := range l.Entries {
			_, _ = fmt.Fprintln(w, entry)
		}
	}
	return nil
}
