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
	// maxLinked bounds the directories that are reached through links: a few
	// links between them make exponentially many paths.
	maxLinked = 10_000
)

// A found is a file that a walk has seen.
type found struct {
	name     string // slash-separated, relative to the root
	stat     fileStat
	released *SourceFile // nil in a directory
	at       int         // of the release's files
}

// A walk is what one pass over a directory saw.
type walk struct {
	root    *os.Root
	enter   func(name string, id fileID) // is told of a directory before it is read; may be nil
	files   []found
	skipped []string // one sentence each, for the user
	above   []fileID // the directories that we are in, against loops
	linked  int      // directories reached through links
}

// A place is where a walk is.
type place struct {
	name   string
	depth  int
	linked bool // reached through a link
}

// walkRoot lists the regular files that a site serves, in no special order.
// Dotfiles are left out but for .well-known at the top; links are followed as
// long as they stay inside the root.
func walkRoot(ctx context.Context, root *os.Root, enter func(name string, id fileID)) (*walk, error) {
	w := &walk{root: root, enter: enter}
	if err := w.dir(ctx, place{name: "."}); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *walk) dir(ctx context.Context, at place) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := w.root.OpenFile(at.name, openFlags, 0)
	if at.depth > 0 && errors.Is(err, fs.ErrNotExist) {
		return nil // gone since the directory above was read
	}
	if err != nil {
		return fmt.Errorf("open directory %s: %w", at.name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("stat directory %s: %w", at.name, err)
	}
	id := statOf(info).id
	if w.refuse(at, id) {
		return nil
	}
	if w.enter != nil {
		w.enter(at.name, id)
	}
	entries, err := f.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("read directory %s: %w", at.name, err)
	}
	w.above = append(w.above, id)
	defer func() { w.above = w.above[:len(w.above)-1] }()
	for _, entry := range entries {
		if err := w.entry(ctx, at, entry); err != nil {
			return err
		}
	}
	return nil
}

// refuse reports whether a directory is not to be read.
func (w *walk) refuse(at place, id fileID) bool {
	if w.loops(id) || at.depth > maxDepth {
		w.skip(at.name, "links lead back into themselves, or it lies too deep")
		return true
	}
	if at.linked {
		w.linked++
	}
	if w.linked > maxLinked {
		w.skip(at.name, fmt.Sprintf("links lead to more than %d directories", maxLinked))
		return true
	}
	return false
}

func (w *walk) loops(id fileID) bool {
	for _, above := range w.above {
		if id != (fileID{}) && id == above {
			return true
		}
	}
	return false
}

func (w *walk) entry(ctx context.Context, at place, entry fs.DirEntry) error {
	name := path.Join(at.name, entry.Name())
	link := entry.Type()&fs.ModeSymlink != 0
	if hidden(name) {
		return nil
	}
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
		w.skip(name, "its name cannot stand in a URL that we serve")
		return nil
	}
	info, err := w.info(name, entry)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !link:
		return nil // gone since the directory was read
	case err != nil && link:
		w.skip(name, "a link that leaves the directory, or leads nowhere")
		return nil
	case err != nil:
		return fmt.Errorf("stat %s: %w", name, err)
	case info.IsDir():
		return w.dir(ctx, place{name: name, depth: at.depth + 1, linked: at.linked || link})
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
