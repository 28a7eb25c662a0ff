package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
)

const (
	// maxDepth bounds how deep directories may lie; a file is open for each level.
	maxDepth = 64
	// maxNotes bounds how many files are named that are left out.
	maxNotes = 20
	// statChunk is how many files of one directory are a share of work.
	statChunk = 2048
)

// A found is a regular file that a walk has seen.
type found struct {
	path string // slash-separated, relative to the root
	stat fileStat
}

// A node is a directory in a walk. Its entries are in the order of the paths that
// come of them, in which a directory counts with its slash.
type node struct {
	path    string
	entries []walkEntry
}

type walkEntry struct {
	name string
	stat fileStat
	sub  *node // of a directory
	skip bool
}

// A walker reads directories. Whatever can be done beside the rest is, as long as
// there is a free slot; otherwise it is done at once.
type walker struct {
	slots chan struct{}
	work  sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	notes   []string
	skipped int
	err     error
	files   int
}

// walkTree lists the regular files of a directory, sorted by path, and says in
// one sentence each what is left out.
func walkTree(ctx context.Context, dir string) ([]found, []string, error) {
	root, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	w := &walker{slots: make(chan struct{}, runtime.GOMAXPROCS(0)-1)} // and this goroutine
	top := &node{}
	w.dir(ctx, root, top, 0)
	w.work.Wait()
	if w.err != nil {
		return nil, nil, w.err
	}
	slices.Sort(w.notes)
	if w.skipped > len(w.notes) {
		w.notes = append(w.notes, fmt.Sprintf("and %d more are left out", w.skipped-len(w.notes)))
	}
	return top.flatten(make([]found, 0, w.files)), w.notes, nil
}

func (n *node) flatten(files []found) []found {
	for i := range n.entries {
		e := &n.entries[i]
		switch {
		case e.skip:
		case e.sub != nil:
			files = e.sub.flatten(files)
		default:
			files = append(files, found{path: join(n.path, e.name), stat: e.stat})
		}
	}
	return files
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// aside runs do beside the caller if there is a free slot.
func (w *walker) aside(do func()) {
	select {
	case w.slots <- struct{}{}:
		w.work.Go(func() {
			defer func() { <-w.slots }()
			do()
		})
	default:
		do()
	}
}

// dir reads an open directory into n, and closes it.
func (w *walker) dir(ctx context.Context, f *os.File, n *node, depth int) {
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		w.fail(fmt.Errorf("read directory %s: %w", f.Name(), err))
		return
	}
	n.entries = make([]walkEntry, 0, len(names))
	for _, name := range names {
		if !hidden(n.path, name) {
			n.entries = append(n.entries, walkEntry{name: name})
		}
	}
	var chunks sync.WaitGroup
	for chunk := range slices.Chunk(n.entries, statChunk) {
		if len(n.entries) <= statChunk {
			w.stat(ctx, f, n, chunk)
			continue
		}
		chunks.Add(1)
		w.aside(func() {
			defer chunks.Done()
			w.stat(ctx, f, n, chunk)
		})
	}
	chunks.Wait()
	slices.SortFunc(n.entries, func(a, b walkEntry) int { return compareNames(a.name, a.sub != nil, b.name, b.sub != nil) })
	for i := range n.entries {
		if sub := n.entries[i].sub; sub != nil {
			w.sub(ctx, f, n.entries[i].name, sub, depth+1)
		}
	}
}

// compareNames compares two names of a directory as the paths that begin with
// them, where a directory's goes on with a slash.
func compareNames(a string, aIsDir bool, b string, bIsDir bool) int {
	shared := min(len(a), len(b))
	if c := strings.Compare(a[:shared], b[:shared]); c != 0 {
		return c
	}
	return next(a, aIsDir, shared) - next(b, bIsDir, shared)
}

// next returns the byte of a path at i, or -1 at its end.
func next(name string, isDir bool, i int) int {
	switch {
	case i < len(name):
		return int(name[i])
	case isDir:
		return '/'
	}
	return -1
}

// stat looks at some entries of a directory.
func (w *walker) stat(ctx context.Context, dir *os.File, n *node, entries []walkEntry) {
	if err := context.Cause(ctx); err != nil {
		w.fail(err)
		return
	}
	regular := 0
	for i := range entries {
		e := &entries[i]
		stat, mode, err := lstatAt(dir, e.name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			e.skip = true // gone since the directory was read
		case err != nil:
			w.fail(fmt.Errorf("stat %s: %w", join(n.path, e.name), err))
			e.skip = true
		case mode != 0:
			w.special(n, e, mode)
		case wrongPath(e.name) != "" || len(n.path)+1+len(e.name) > MaxPathBytes:
			e.skip = true
			w.note("not in the release: " + wrongPath(join(n.path, e.name)))
		default:
			e.stat = stat
			regular++
		}
	}
	w.count(regular)
}

// special deals with what is no regular file.
func (w *walker) special(n *node, e *walkEntry, mode fs.FileMode) {
	at := join(n.path, e.name)
	if mode&fs.ModeDir != 0 && wrongPath(at) == "" {
		e.sub = &node{path: at}
		return
	}
	e.skip = true
	switch what := wrongPath(at); {
	case what != "":
		w.note("not in the release: " + what)
	case mode&fs.ModeSymlink != 0:
		w.note(at + ": not in the release: symbolic links are not followed")
	default:
		w.note(at + ": not in the release: neither a file nor a directory")
	}
}

func (w *walker) count(files int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.files += files; w.files > MaxFiles && w.err == nil {
		w.err = fmt.Errorf("there are more than %d files", MaxFiles)
	}
}

// sub reads a directory of an open directory.
func (w *walker) sub(ctx context.Context, parent *os.File, name string, n *node, depth int) {
	if w.failed() {
		return
	}
	if depth > maxDepth {
		w.note(n.path + ": not in the release: it lies too deep")
		return
	}
	f, err := openDirAt(parent, name, n.path)
	if errors.Is(err, fs.ErrNotExist) {
		return // gone since the directory above was read
	}
	if err != nil {
		w.fail(fmt.Errorf("read directory: %w", err))
		return
	}
	w.aside(func() { w.dir(ctx, f, n, depth) })
}

// hidden reports whether a name in a directory is a dotfile's, other than
// /.well-known (RFC 8615).
func hidden(dir, name string) bool {
	return strings.HasPrefix(name, ".") && join(dir, name) != ".well-known"
}

func (w *walker) note(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.skipped++; len(w.notes) < maxNotes {
		w.notes = append(w.notes, why)
	}
}

func (w *walker) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *walker) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err != nil
}
