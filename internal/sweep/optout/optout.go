// Package optout keeps the list of those who do not want to be asked: a text file
// of names and networks, one a line, which [pennyfarthing/internal/sweep/block]
// reads. Comments and lines that people wrote stay as they are.
//
// [Edit] changes a list as a whole or not at all, one process at a time. A run that
// begins afterwards honours it; one that is under way has read the list already.
package optout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/block"
	"pennyfarthing/internal/sweep/target"
)

// FileName is what a list is called where nobody named it.
const FileName = "optout.txt"

// maxSize is how large a list may be, in bytes: more than a million names.
const maxSize = 32 << 20

// A List is the text of a list. The zero value is an empty one.
type List struct {
	lines []string // as they were written, without their ends
}

// Read reads the list in a file. A file that is not there is an
// [io/fs.ErrNotExist]; a line that is no entry is a [mistake.Error].
func Read(path string) (*List, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the opt-out list: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the opt-out list: %w", err)
	}
	if len(text) > maxSize {
		return nil, &mistake.Error{File: path, What: "the list is larger than 32 MiB", Hint: "a network stands for its addresses, and a name for all below it"}
	}
	if err := new(block.List).Read(bytes.NewReader(text), path); err != nil {
		return nil, &mistake.Error{What: err.Error(), Hint: "write a network such as 192.0.2.0/24, or a name, on each line, and # before what is for people"}
	}
	l := new(List)
	for line := range strings.Lines(string(text)) {
		l.lines = append(l.lines, strings.TrimRight(line, "\r\n"))
	}
	return l, nil
}

// Entries are the names and networks of the list, in their normal form and in the
// order of the file.
func (l *List) Entries() []string {
	var entries []string
	for _, line := range l.lines {
		if e := entryOf(line); e != "" {
			entries = append(entries, e)
		}
	}
	return entries
}

// Has reports whether an entry in normal form is on the list as it is.
func (l *List) Has(entry string) bool { return slices.Contains(l.Entries(), entry) }

// Add adds an entry in normal form at the end of the list, with a note behind it
// for people, which may be empty.
func (l *List) Add(entry, note string) {
	if note != "" {
		entry += " # " + note
	}
	l.lines = append(l.lines, entry)
}

// Remove removes the lines of an entry in normal form.
func (l *List) Remove(entry string) {
	l.lines = slices.DeleteFunc(l.lines, func(line string) bool { return entryOf(line) == entry })
}

// entryOf is the entry of a line in its normal form, or empty.
func entryOf(line string) string {
	text, _, _ := strings.Cut(line, "#")
	text = strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
	if text == "" {
		return ""
	}
	if e, err := Normal(text); err == nil {
		return e
	}
	return strings.ToLower(text) // block takes more than we would add: a top-level domain
}

// Normal is the normal form of an entry: a network, an address, or a name in lower
// case, as A-labels. Of a URL or of host:port it is the host. What is none of them is
// a [mistake.Error].
func Normal(text string) (string, error) {
	text = strings.TrimSpace(text)
	if p, err := netip.ParsePrefix(text); err == nil {
		if p.Addr().Is4In6() && p.Bits() >= 96 { // as runs see addresses
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		switch {
		case p.Bits() == 0:
			return "", &mistake.Error{What: fmt.Sprintf("%s is the whole internet", p), Hint: "name the networks of who opts out"}
		case p.IsSingleIP():
			return p.Addr().String(), nil
		}
		return p.Masked().String(), nil
	}
	if _, domain, mail := strings.Cut(text, "@"); mail && !strings.Contains(text, "/") {
		return "", &mistake.Error{What: fmt.Sprintf("%.80q is a mail address", text), Hint: fmt.Sprintf("write %.80q if all of its domain is meant", domain)}
	}
	t, err := target.Parse(strings.TrimPrefix(text, "*."))
	if err != nil {
		return "", &mistake.Error{What: fmt.Sprintf("%.80q is no name, address or network: %v", text, err), Hint: "write example.com, 192.0.2.7 or 192.0.2.0/24"}
	}
	return t.Host, nil
}

// Edit reads the list in a file, has it changed, and writes it, so that the file is
// there as before or as a whole, whatever happens. A file that is not there is an
// empty list, and is made unless nothing changes. It waits for another process that edits, until ctx ends.
func Edit(ctx context.Context, path string, change func(*List) error) error {
	temp, err := claim(ctx, path+".new")
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			_ = errors.Join(temp.Close(), os.Remove(temp.Name())) // the reason is returned already
		}
	}()
	l, err := Read(path)
	mode := fs.FileMode(0o600) // who opted out is nobody else's business
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l = &List{lines: []string{"# Names and networks whose owners have opted out: penny sweep does not ask them.", "# A name stands for all names below it."}}
	case err != nil:
		return err
	default:
		if info, err := os.Stat(path); err == nil {
			mode = info.Mode().Perm()
		}
	}
	before := slices.Clone(l.lines)
	if err := change(l); err != nil || slices.Equal(before, l.lines) {
		return err
	}
	_, err = io.WriteString(temp, strings.Join(l.lines, "\n")+"\n")
	if err = errors.Join(err, temp.Chmod(mode), temp.Sync()); err != nil {
		return fmt.Errorf("write the opt-out list %s: %w", path, err)
	}
	done = true
	if err := errors.Join(temp.Close(), replace(temp.Name(), path)); err != nil {
		return fmt.Errorf("write the opt-out list %s: %w", path, errors.Join(err, os.Remove(temp.Name())))
	}
	return nil
}

// claimPause is how often is looked whether another process is done.
const claimPause = 50 * time.Millisecond

// claim makes the file that will be the list. As long as it is there nobody else
// edits.
func claim(ctx context.Context, temp string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(temp), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the opt-out list: %w", err)
	}
	for {
		f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("write the opt-out list: %w", err)
		}
		select {
		case <-time.After(claimPause):
		case <-ctx.Done():
			return nil, &mistake.Error{File: temp, What: "another penny edits the list, or was killed while it did", Hint: "if none runs, delete this file: the list itself is whole"}
		}
	}
}

// replace renames within a directory, and has the directory on disk when it
// returns.
func replace(from, to string) error {
	if err := os.Rename(from, to); err != nil || runtime.GOOS == "windows" {
		return err // directories cannot be synced there
	}
	d, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
