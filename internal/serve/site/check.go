package site

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/rules"
)

// Check looks over a directory without serving it. Mistakes that would keep it
// from being served are an error that carries a [mistake.List]; the list returned
// has what is worth knowing: lines whose meaning differs between dialects, rules
// that never apply, targets that are not there, files that are not served.
func Check(ctx context.Context, dir string, dialect rules.Dialect) (mistake.List, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, dirError(dir, err)
	}
	defer root.Close()
	c := newCompiler(Options{Dir: dir, Dialect: dialect}, root)
	if c.walk, err = walkRoot(ctx, root, nil); err != nil {
		return nil, c.unreadable("", err)
	}
	if err := c.rules(); err != nil {
		return nil, err
	}
	files := c.files()
	assets := make([]*asset, 0, len(files))
	for _, f := range files {
		assets = append(assets, &asset{name: f.name})
	}
	c.index(assets)
	return c.notes(), nil
}

// notes lists what is worth knowing of a compiled directory.
func (c *compiler) notes() mistake.List {
	redirects, headers := c.site.redirects, c.site.headers
	notes := redirects.Unreachable()
	for _, d := range slices.Concat(redirects.Differences(), redirects.Shadowed(maps.Keys(c.site.paths)), headers.Differences()) {
		notes.Add(&mistake.Error{File: d.File, Line: d.Line, What: d.What})
	}
	for _, what := range redirects.Everywhere() {
		notes.Add(&mistake.Error{File: filepath.Join(c.Dir, redirectsFile), What: what})
	}
	for _, what := range headers.Everywhere() {
		notes.Add(&mistake.Error{File: filepath.Join(c.Dir, headersFile), What: what})
	}
	for _, t := range redirects.Targets() {
		if c.site.assetAt(t.Path) == nil {
			notes.Add(&mistake.Error{File: filepath.Join(c.Dir, redirectsFile), Line: t.Line, What: fmt.Sprintf("there is no file for the target %s", t.Path)})
		}
	}
	for _, why := range c.walk.skipped {
		notes.Add(&mistake.Error{File: c.Dir, What: why})
	}
	return notes.Sorted()
}
