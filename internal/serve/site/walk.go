package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode/utf8"
)

const (
	// maxDepth bounds how deep directories may lie, links included.
	maxDepth = 64
	// maxFiles bounds a site; what every file costs in memory is about 2 KiB.
	maxFiles = 2_000_000
)

// A found file, directory or rules file of a walk.
type found struct {
	name string // slash-separated, relative to the root
	stat fileStat
}

// A walk is what one pass over a directory saw.
type walk struct {
	root    *os.Root
	files   []found
	dirs    []string
	skipped []string // one sentence each, for the user
	above   []fileID // the directories that we are in, against loops
}

// walkRoot lists the regular files that a site serves, in no special order.
// Dotfiles are left out but for .well-known at the top; links are followed as
// long as they stay inside the root.
func walkRoot(ctx context.Context, root *os.Root) (*walk, error) {
	w := &walk{root: root}
	if err := w.dir(ctx, ".", 0); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *walk) dir(ctx context.Context, name string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := w.root.Open(name)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("stat directory %s: %w", name, err)
	}
	id := statOf(info).id
	if w.loops(id) || depth > maxDepth {
		w.skip(name, "links lead back into themselves, or it lies too deep")
		return nil
	}
	entries, err := f.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("read directory %s: %w", name, err)
	}
	w.dirs = append(w.dirs, name)
	w.above = append(w.above, id)
	defer func() { w.above = w.above[:len(w.above)-1] }()
	for _, entry := range entries {
		if err := w.entry(ctx, path.Join(name, entry.Name()), entry, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) loops(id fileID) bool {
	for _, above := range w.above {
		if id != (fileID{}) && id == above {
			return true
		}
	}
	return false
}

func (w *walk) entry(ctx context.Context, name string, entry fs.DirEntry, depth int) error {
	if hidden(name) {
		return nil
	}
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
		w.skip(name, "its name cannot stand in a URL that we serve")
		return nil
	}
	info, err := w.info(name, entry)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // gone since the directory was read, or a link to nothing
	case err != nil && entry.Type()&fs.ModeSymlink != 0:
		w.skip(name, "a link that leaves the directory, or leads nowhere")
		return nil
	case err != nil:
		return fmt.Errorf("stat %s: %w", name, err)
	case info.IsDir():
		return w.dir(ctx, name, depth+1)
	case !info.Mode().IsRegular():
		w.skip(name, "neither a file nor a directory")
		return nil
	}
	w.files = append(w.files, found{name: name, stat: statOf(info)})
	if len(w.files) > maxFiles {
		return fmt.Errorf("more than %d files", maxFiles)
	}
	return nil
}

// info follows a link, inside the root only.
func (w *walk) info(name string, entry fs.DirEntry) (fs.FileInfo, error) {
	if entry.Type()&fs.ModeSymlink != 0 {
		return w.root.Stat(name)
	}
	return entry.Info()
}

// hidden reports whether a name is a dotfile's, or lies in a dot directory,
// other than /.well-known (RFC 8615).
func hidden(name string) bool {
	return strings.HasPrefix(path.Base(name), ".") && name != ".well-known"
}

func (w *walk) skip(name, why string) {
	const most = 20
	if len(w.skipped) < most {
		w.skipped = append(w.skipped, name+": not served: "+why)
	}
}
