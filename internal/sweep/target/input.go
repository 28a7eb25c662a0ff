package target

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"pennyfarthing/internal/mistake"
)

// maxWindow is the largest window of zstd, in bytes: that of zstd --long=27, which
// is what the zstd program decompresses without being told to.
const maxWindow = 128 << 20

// An input is one of the lists that the user named, opened. A zip has several members.
type input struct {
	name    string
	file    io.Closer
	raw     *digester
	members []member
}

// A member is one stream of text.
type member struct {
	name string
	open func() (io.ReadCloser, error)
}

// A digester hashes what is read through it.
type digester struct {
	r     io.Reader
	hash  hash.Hash
	bytes int64
}

func (d *digester) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.hash.Write(p[:n])
	d.bytes += int64(n)
	return n, err
}

// sum reads what is left, and returns the hash of everything in hexadecimal.
func (d *digester) sum() (string, error) {
	if _, err := io.Copy(io.Discard, d); err != nil {
		return "", err
	}
	return hex.EncodeToString(d.hash.Sum(nil)), nil
}

func (in *input) close() {
	if in.file != nil {
		in.file.Close()
	}
}

// check says what is wrong with a list before any of it is read.
func check(name string) error {
	if name == "-" {
		return nil
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint := "a list is a file, or - for what comes from a pipe"
		if isTarget(name) {
			hint = fmt.Sprintf("for this one target: echo %s | penny sweep -", name)
		}
		return &mistake.Error{File: name, What: "there is no such list", Hint: hint}
	case err != nil:
		return unreadable(name, err)
	case info.IsDir():
		return &mistake.Error{File: name, What: "this is a directory, not a list", Hint: fmt.Sprintf("name its files: penny sweep %s", path.Join(name, "*"))}
	}
	return nil
}

func unreadable(name string, err error) error {
	return &mistake.Error{File: name, What: fmt.Sprintf("cannot be read: %v", errors.Unwrap(err)), Hint: "a list must be a file that you may read, or - for what comes from a pipe"}
}

// openInput opens a list, and finds out how it is compressed.
func openInput(name string, stdin io.Reader) (*input, error) {
	in := &input{name: name}
	var r io.Reader
	var file *os.File
	if name == "-" {
		in.name, r = "stdin", stdin
	} else {
		if err := check(name); err != nil {
			return nil, err
		}
		var err error
		if file, err = os.Open(name); err != nil { //nolint:gosec // the user names it
			return nil, unreadable(name, err)
		}
		r, in.file = file, file
	}
	in.raw = &digester{r: r, hash: sha256.New()}
	if err := in.sniff(file); err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

// sniff tells by the first bytes how an input is compressed.
func (in *input) sniff(file *os.File) error {
	buffered := bufio.NewReaderSize(in.raw, 64<<10)
	head, err := buffered.Peek(6) // a list of fewer is not compressed
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", in.name, err)
	}
	one := func(open func() (io.ReadCloser, error)) { in.members = []member{{in.name, open}} }
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		one(func() (io.ReadCloser, error) {
			r, err := gzip.NewReader(buffered)
			if err != nil {
				return nil, in.damaged("gzip", err)
			}
			return &compressed{ReadCloser: r, in: in, kind: "gzip"}, nil
		})
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		one(func() (io.ReadCloser, error) {
			r, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
			if err != nil {
				return nil, in.damaged("zstd", err)
			}
			return &compressed{ReadCloser: r.IOReadCloser(), in: in, kind: "zstd"}, nil
		})
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return in.openZip(file)
	default:
		one(func() (io.ReadCloser, error) { return io.NopCloser(buffered), nil })
	}
	return nil
}

// openZip finds the regular files of an archive.
func (in *input) openZip(file *os.File) error {
	info, err := file.Stat() // of nil it fails, too
	if err != nil || !info.Mode().IsRegular() {
		return &mistake.Error{File: in.name, What: "a zip cannot be read from a pipe: its table is at its end", Hint: "save it to a file, or: unzip -p LIST.zip | penny sweep -"}
	}
	archive, err := zip.NewReader(file, info.Size())
	if err != nil {
		return in.damaged("zip", err)
	}
	for _, f := range archive.File {
		base := path.Base(f.Name)
		switch {
		case f.Name == "[Content_Types].xml":
			return &mistake.Error{File: in.name, What: "this is a document of an office program", Hint: "save it as CSV there"}
		case f.Name == "META-INF/MANIFEST.MF":
			return &mistake.Error{File: in.name, What: "this is a Java archive, not a list", Hint: "a list is text, with a target a line, or CSV"}
		case !f.Mode().IsRegular() || strings.HasPrefix(base, ".") || strings.HasPrefix(f.Name, "__MACOSX/"):
			continue
		case f.Method != zip.Store && f.Method != zip.Deflate:
			return &mistake.Error{File: in.name, What: fmt.Sprintf("%s in it is compressed by method %d, which is not read", f.Name, f.Method), Hint: "unpack it first, and name what was in it"}
		case f.Flags&1 != 0:
			return &mistake.Error{File: in.name, What: fmt.Sprintf("%s in it is encrypted", f.Name), Hint: "unpack it first, and name what was in it"}
		}
		in.members = append(in.members, member{in.name + ":" + f.Name, func() (io.ReadCloser, error) {
			r, err := f.Open()
			if err != nil {
				return nil, in.damaged("zip", err)
			}
			return &compressed{ReadCloser: r, in: in, kind: "zip"}, nil
		}})
	}
	if len(in.members) == 0 {
		return &mistake.Error{File: in.name, What: "this archive has no file in it", Hint: "a list is text, with a target a line, or CSV"}
	}
	// Members are read by their place in the file, so the hash is made in a way of its own.
	in.raw = &digester{r: io.NewSectionReader(file, 0, info.Size()), hash: sha256.New()}
	return nil
}

// compressed says of an error what was being read.
type compressed struct {
	io.ReadCloser
	in   *input
	kind string
}

func (c *compressed) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = c.in.damaged(c.kind, err)
	}
	return n, err
}

// damaged is the error of a file that cannot be decompressed, or not to its end. An
// error of the disk stays what it is.
func (in *input) damaged(kind string, err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("read %s: %w", in.name, err)
	}
	what := fmt.Sprintf("the %s data is damaged (%v)", kind, err)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, zip.ErrFormat) {
		what = fmt.Sprintf("the %s data ends early: the file was cut short", kind)
	}
	return &mistake.Error{File: in.name, What: what, Hint: "fetch the list again; what was asked meanwhile is kept, and the same command goes on from there"}
}

// binaries are what files that are no lists begin with.
//
//nolint:gochecknoglobals // a table
var binaries = []struct {
	at    int
	magic string
	what  string
	hint  string
}{
	{0, "\xfd7zXZ\x00", "this is compressed with xz, which is not read", "xz -dc LIST | penny sweep -"},
	{0, "BZh", "this is compressed with bzip2, which is not read", "bzip2 -dc LIST | penny sweep -"},
	{0, "\x04\x22\x4d\x18", "this is compressed with lz4, which is not read", "lz4 -dc LIST | penny sweep -"},
	{0, "7z\xbc\xaf\x27\x1c", "this is an archive of 7-Zip, which is not read", "7z x -so LIST | penny sweep -"},
	{0, "Rar!\x1a\x07", "this is an archive of RAR, which is not read", "unpack it first"},
	{0, "\x1f\x8b", "this is compressed twice", "gzip -dc LIST | penny sweep -"},
	{0, "\x28\xb5\x2f\xfd", "this is compressed twice", "zstd -dc LIST | penny sweep -"},
	{0, "PK\x03\x04", "this is an archive within another", "unpack it first"},
	{257, "ustar", "this is a tar archive", "tar -xOf LIST | penny sweep -"},
	{0, "\x7fELF", "this is a program (ELF), not a list", ""},
	{0, "MZ", "this is a program for Windows, not a list", ""},
	{0, "\xcf\xfa\xed\xfe", "this is a program for macOS, not a list", ""},
	{0, "\x89PNG", "this is a picture (PNG), not a list", ""},
	{0, "\xff\xd8\xff", "this is a picture (JPEG), not a list", ""},
	{0, "GIF8", "this is a picture (GIF), not a list", ""},
	{0, "%PDF-", "this is a PDF document, not a list", "save its text first"},
	{0, "SQLite format 3\x00", "this is a database (SQLite), not a list", "sqlite3 LIST 'select domain from …' | penny sweep -"},
	{0, "PAR1", "this is a table (Parquet), not a list", "duckdb -csv -c \"select domain from 'LIST'\" | penny sweep -"},
	{0, "\xd0\xcf\x11\xe0", "this is a document of an old office program", "save it as CSV there"},
	{0, "\xff\xfe", "this is text in UTF-16", "iconv -f UTF-16 -t UTF-8 LIST | penny sweep -"},
	{0, "\xfe\xff", "this is text in UTF-16", "iconv -f UTF-16 -t UTF-8 LIST | penny sweep -"},
}

// headSize is how much of a list is looked at.
const headSize = 512

// checkText says what a text that is none looks like.
func checkText(head []byte, name string) error {
	binary := bytes.ContainsFunc(head, isBinary)
	for _, b := range binaries {
		// Letters alone may also begin a name, in upper case.
		letters := strings.Trim(b.magic, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz") == ""
		if len(head) >= b.at && bytes.HasPrefix(head[b.at:], []byte(b.magic)) && (binary || !letters) {
			hint := b.hint
			if hint == "" {
				hint = "a list is text, with a target a line, or CSV"
			}
			return &mistake.Error{File: name, What: b.what, Hint: strings.ReplaceAll(hint, "LIST", strings.TrimPrefix(name, "./"))}
		}
	}
	if binary {
		return &mistake.Error{File: name, What: "this is a binary file, not a list", Hint: "a list is text, with a target a line, or CSV"}
	}
	return nil
}

// isBinary reports whether no text has such a character.
func isBinary(r rune) bool {
	return r < 0x20 && r != '\t' && r != '\n' && r != '\r' && r != '\f' && r != 0x1b && r != 0x1a
}
