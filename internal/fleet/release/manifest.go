package release

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pennyfarthing/internal/mistake"
)

// What a manifest may hold. They are part of the format: every program that reads
// manifests takes up to that much and no more.
const (
	MaxFiles        = 1_000_000
	MaxPathBytes    = 4 << 10
	MaxManifest     = 256 << 20 // bytes in canonical form
	MaxFileBytes    = 1 << 40
	maxSiteBytes    = 253 // as long as a host name may be
	maxDialectBytes = 32
	maxTypeBytes    = 255
	maxModified     = 253_402_300_799 // the last second of the year 9999
)

// A File is one file of a release.
type File struct {
	Path     string // slash-separated, relative to the root of the site, without an escape
	Hash     Hash   // of the identity form
	Size     int64  // of the identity form, in bytes
	Modified int64  // for Last-Modified, in seconds since 1970
	Type     string // the Content-Type
}

// A Manifest is a list of all files of a release, in the order of their paths'
// bytes. It is the release: what it lists is served, and nothing else.
type Manifest struct {
	Site    string // the site's name in the fleet file
	Dialect string // of _headers and _redirects, as package rules names it
	Files   []File
}

// Bytes returns how many bytes all files have together in their identity form.
func (m *Manifest) Bytes() int64 {
	var sum int64
	for i := range m.Files {
		sum += m.Files[i].Size
	}
	return sum
}

// File returns the file with a path, and whether there is one.
func (m *Manifest) File(path string) (File, bool) {
	i, ok := m.index(path)
	if !ok {
		return File{}, false
	}
	return m.Files[i], true
}

func (m *Manifest) index(path string) (int, bool) {
	return slices.BinarySearchFunc(m.Files, path, func(f File, path string) int { return strings.Compare(f.Path, path) })
}

// ID returns the name of the release: the hash of its canonical form.
func (m *Manifest) ID() Hash {
	sum := sha256.New()
	buf := m.appendHead(make([]byte, 0, 64<<10))
	for i := range m.Files {
		if buf = m.Files[i].append(buf); len(buf) > 60<<10 {
			sum.Write(buf)
			buf = buf[:0]
		}
	}
	sum.Write(buf)
	return Hash(sum.Sum(nil))
}

// encodedBytes returns the length of the canonical form, and a little more, as
// long as no path has quotation marks.
func (m *Manifest) encodedBytes() int {
	size := 128 + len(m.Site) + len(m.Dialect)
	for i := range m.Files {
		size += len(m.Files[i].Path) + len(m.Files[i].Type) + 160
	}
	return size
}

// Encode returns the canonical form of a manifest for which [Manifest.Check]
// finds nothing.
func (m *Manifest) Encode() []byte {
	buf := m.appendHead(make([]byte, 0, m.encodedBytes()))
	for i := range m.Files {
		buf = m.Files[i].append(buf)
	}
	return buf
}

func (m *Manifest) appendHead(b []byte) []byte {
	b = append(b, `{"penny":"release","version":1,"site":"`...)
	b = append(b, m.Site...)
	b = append(b, `","dialect":"`...)
	b = append(b, m.Dialect...)
	b = append(b, `","files":`...)
	b = strconv.AppendInt(b, int64(len(m.Files)), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, m.Bytes(), 10)
	return append(b, "}\n"...)
}

func (f *File) append(b []byte) []byte {
	b = append(b, `{"path":"`...)
	b = appendQuoted(b, f.Path)
	b = append(b, `","sha256":"`...)
	b = hex.AppendEncode(b, f.Hash[:])
	b = append(b, `","size":`...)
	b = strconv.AppendInt(b, f.Size, 10)
	b = append(b, `,"modified":`...)
	b = strconv.AppendInt(b, f.Modified, 10)
	b = append(b, `,"type":"`...)
	b = append(b, f.Type...)
	return append(b, "\"}\n"...)
}

// appendQuoted appends a path, in which a quotation mark is the only thing that
// JSON wants escaped: backslashes and controls are no part of a path.
func appendQuoted(b []byte, path string) []byte {
	for {
		before, after, found := strings.Cut(path, `"`)
		b = append(b, before...)
		if !found {
			return b
		}
		b = append(b, `\"`...)
		path = after
	}
}

// Check returns what is wrong with a manifest as a *[mistake.Error] whose line is
// that of the canonical form: the head is line 1, Files[i] is line i+2.
func (m *Manifest) Check() error {
	if what := m.wrongHead(); what != "" {
		return wrongAt(1, what)
	}
	tree := newTreeCheck(m.Files)
	for i := range m.Files {
		what := m.Files[i].wrong()
		if what == "" {
			what = tree.add(i)
		}
		if what != "" {
			return wrongAt(i+2, what)
		}
	}
	if what, i := tree.wrongDirectory(); what != "" {
		return wrongAt(i+2, what)
	}
	return nil
}

func wrongAt(line int, what string) *mistake.Error {
	return &mistake.Error{File: "manifest", Line: line, What: what}
}

func (m *Manifest) wrongHead() string {
	switch {
	case !isToken(m.Site, maxSiteBytes):
		return fmt.Sprintf("%.80q cannot be the name of a site", m.Site)
	case !isToken(m.Dialect, maxDialectBytes):
		return fmt.Sprintf("%.80q cannot be a dialect", m.Dialect)
	case len(m.Files) > MaxFiles:
		return fmt.Sprintf("there are %d files, more than %d", len(m.Files), MaxFiles)
	case m.encodedBytes() > MaxManifest/2 && len(m.Encode()) > MaxManifest: // quotation marks take two
		return fmt.Sprintf("it takes more than %d bytes", MaxManifest)
	}
	return ""
}

// isToken reports whether s is a name of lower-case letters, digits and ".-_".
func isToken(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '.' || r == '-' || r == '_')
	})
}

// wrong says what is wrong with a file for itself, or nothing.
func (f *File) wrong() string {
	if what := wrongPath(f.Path); what != "" {
		return what
	}
	switch {
	case f.Size < 0 || f.Size > MaxFileBytes:
		return fmt.Sprintf("the size of %q is not between 0 and %d bytes", f.Path, int64(MaxFileBytes))
	case f.Modified < 0 || f.Modified > maxModified:
		return fmt.Sprintf("the time of %q is not between the years 1970 and 9999", f.Path)
	case !isType(f.Type):
		return fmt.Sprintf("%.80q cannot be the type of %q", f.Type, f.Path)
	}
	return ""
}

// isType reports whether s may stand in a Content-Type field as we write it:
// visible ASCII and blanks, and nothing that JSON wants escaped.
func isType(s string) bool {
	if s == "" || len(s) > maxTypeBytes {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
