package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/mistake"
)

type initOptions struct {
	*globals
	file     string
	template config.TemplateOptions
}

func newInit(g *globals, env Env) *cobra.Command {
	o := initOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a commented penny.toml",
		Long: `Writes a fleet file to begin with: one site, and everything else that can be
said, explained and commented out. A file that is there is left alone.`,
		Example: "  penny init --fleet linkedlist --site linkedlist.org --files ./public",
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return runInit(o, env) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.file, "file", "f", config.FileName, "`file` to write")
	flags.StringVar(&o.template.Fleet, "fleet", "", "`name` of the fleet (default myfleet)")
	flags.StringVar(&o.template.Site, "site", "", "host `name` of the first site (default example.org)")
	flags.StringVar(&o.template.Files, "files", "", "`directory` of the first site (default ./public)")
	return cmd
}

func runInit(o initOptions, env Env) error {
	o.template.Files = cmp.Or(o.template.Files, "./public")
	text := config.Template(o.template)
	if _, err := config.Parse(o.file, text); err != nil { // only the flags can be wrong
		return &usageError{what: "the file would have mistakes: " + problems(err)[0].What, hint: "mend --fleet, --site or --files"}
	}
	f, err := os.OpenFile(o.file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &mistake.Error{File: o.file, What: "the file is there already and was left alone", Hint: "penny check -f " + o.file + " looks it over; -f names another file"}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &mistake.Error{File: o.file, What: "there is no directory " + filepath.Dir(o.file), Hint: "make it first, or name another file with -f"}
	}
	if err != nil {
		return fmt.Errorf("write fleet file: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write fleet file: %w", errors.Join(err, os.Remove(o.file)))
	}
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(map[string]string{"file": o.file})
	}
	flag := ""
	if o.file != config.FileName {
		flag = " -f " + o.file
	}
	_, err = fmt.Fprintf(env.Stdout, "wrote %s\nnext: put the site into %s, then penny check%s, then penny up%s\n", o.file, o.template.Files, flag, flag)
	return err
}
