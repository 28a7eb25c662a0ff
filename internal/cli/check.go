package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"pennyfarthing/internal/fleet/config"
	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
	"pennyfarthing/internal/serve/site"
)

type checkOptions struct {
	*globals
	file    string
	dialect string
}

// A checkResult is what check prints with --json.
type checkResult struct {
	OK       bool      `json:"ok"`
	File     string    `json:"file,omitempty"`
	POPs     int       `json:"pops"`
	Sites    int       `json:"sites"`
	Mistakes []problem `json:"mistakes"`
	Notes    []problem `json:"notes"` // worth knowing, and no mistakes
}

func newCheck(g *globals, env Env) *cobra.Command {
	o := checkOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "check [DIR]",
		Short: "Look over penny.toml and what it names",
		Long: `Reads the fleet file and the _redirects and _headers of its sites, and says what is
wrong, where, and what to do. Notes say which lines mean different things to
Netlify and to Cloudflare, and what will not be served. With DIR it looks over
that directory alone.`,
		Example: "  penny check\n  penny check -f penny.toml\n  penny check ./public --dialect cloudflare",
		Args:    atMostOneDirectory,
		RunE:    func(cmd *cobra.Command, args []string) error { return runCheck(cmd.Context(), o, args, env) },
	}
	cmd.Flags().StringVarP(&o.file, "file", "f", config.FileName, "fleet `file`")
	cmd.Flags().StringVar(&o.dialect, "dialect", rules.Netlify.String(), "`dialect` of DIR: netlify or cloudflare")
	return cmd
}

// atMostOneDirectory checks the arguments of check.
func atMostOneDirectory(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return &usageError{what: fmt.Sprintf("one directory can be looked over at a time, not %d", len(args)), hint: "penny check " + args[0]}
	}
	return nil
}

func runCheck(ctx context.Context, o checkOptions, args []string, env Env) error {
	var result checkResult
	var err error
	if len(args) == 1 {
		err = o.checkDirectory(ctx, args[0], &result)
	} else {
		err = o.checkFleet(ctx, &result)
	}
	if err != nil {
		return err
	}
	result.OK = len(result.Mistakes) == 0
	if err := o.print(env.Stdout, result); err != nil {
		return err
	}
	if !result.OK {
		return errReported
	}
	return nil
}

func (o *checkOptions) checkDirectory(ctx context.Context, dir string, result *checkResult) error {
	dialect, err := rules.ParseDialect(o.dialect)
	if err != nil {
		return &usageError{what: err.Error(), hint: "write --dialect netlify or --dialect cloudflare"}
	}
	result.Sites = 1
	return result.site(ctx, dir, dialect)
}

func (o *checkOptions) checkFleet(ctx context.Context, result *checkResult) error {
	result.File = o.file
	fleet, err := config.Load(o.file)
	if errors.Is(err, fs.ErrNotExist) {
		return &mistake.Error{File: o.file, What: "there is no such file", Hint: "penny init writes one; penny check DIR looks over a directory"}
	}
	if list := mistake.Of(err); len(list) > 0 {
		result.mistakes(list)
		return nil
	}
	if err != nil {
		return err
	}
	result.POPs, result.Sites = len(fleet.POPs), len(fleet.Sites)
	missing := config.CheckFiles(fleet)
	result.mistakes(missing)
	for _, s := range fleet.Sites {
		if s.Kind() != config.KindFiles {
			result.note(problem{File: o.file, Line: s.Line, What: fmt.Sprintf("site %s: this version cannot start a site with %s yet", s.Name, s.Kind())})
			continue
		}
		if named(missing, s.FilesAt) {
			continue
		}
		dialect := rules.Netlify
		if s.Dialect == config.DialectCloudflare {
			dialect = rules.Cloudflare
		}
		if err := result.site(ctx, s.Files, dialect); err != nil {
			return fmt.Errorf("site %s: %w", s.Name, err)
		}
	}
	return nil
}

// named reports whether a list has a mistake at a place.
func named(list mistake.List, at config.Position) bool {
	for _, m := range list {
		if m.Line == at.Line && m.Column == at.Column {
			return true
		}
	}
	return false
}

// site looks over one directory.
func (r *checkResult) site(ctx context.Context, dir string, dialect rules.Dialect) error {
	found, err := site.Check(ctx, dir, dialect)
	if list := mistake.Of(err); len(list) > 0 {
		r.mistakes(list)
		return nil
	}
	if err != nil {
		return err
	}
	for _, m := range found {
		r.note(problem(*m))
	}
	return nil
}

func (r *checkResult) mistakes(list mistake.List) {
	for _, m := range list {
		r.Mistakes = append(r.Mistakes, problem(*m))
	}
}

func (r *checkResult) note(p problem) { r.Notes = append(r.Notes, p) }

func (o *checkOptions) print(w io.Writer, r checkResult) error {
	if o.json {
		if r.Mistakes == nil {
			r.Mistakes = []problem{}
		}
		if r.Notes == nil {
			r.Notes = []problem{}
		}
		return json.NewEncoder(w).Encode(r)
	}
	for _, p := range r.Mistakes {
		printProblem(w, "mistake: ", p)
	}
	if !o.quiet {
		for _, p := range r.Notes {
			printProblem(w, "note: ", p)
		}
	}
	notes := count(len(r.Notes), "note")
	summary := count(len(r.Mistakes), "mistake") + ", " + notes
	if r.OK && r.File != "" {
		summary = fmt.Sprintf("%s is fine: %s, %s, %s", r.File, count(r.POPs, "POP"), count(r.Sites, "site"), notes)
	} else if r.OK {
		summary = "no mistakes, " + notes
	}
	_, err := fmt.Fprintln(w, summary)
	return err
}

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
