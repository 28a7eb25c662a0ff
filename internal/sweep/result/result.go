// Package result writes a sweep's rows into parts and reads them back.
//
// A run has a part a shard, `parts/part-000123.parquet` (or .jsonl, or .csv), with
// one row a target in the order of the list. A part is there whole or not at all:
// it is written under a name that no reader looks at, synced and renamed, so that a
// run killed at any moment has only whole parts, and committing a shard twice
// leaves one.
//
// Rows come when targets end, in any order, and many shards are open at once. Until
// its commit a [Part] keeps them as records of some two hundred bytes, the first few
// dozen in memory and the rest in a file without a name; only one part at a time is
// turned into its format. So memory does not depend on how many targets are under way.
//
// The package does not know what a row means, and which shard is whose.
package result

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"pennyfarthing/internal/sweep/evidence"
)

// A Format is what parts are written in.
type Format uint8

// The formats.
const (
	Parquet Format = iota // Apache Parquet with zstd
	JSONL                 // a JSON object a line
	CSV                   // RFC 4180, with a header
)

//nolint:gochecknoglobals // a table
var formatNames = [...]string{Parquet: "parquet", JSONL: "jsonl", CSV: "csv"}

// String is the format's name, which is also the extension of its files.
func (f Format) String() string { return formatNames[f] }

// ParseFormat reads a format's name.
func ParseFormat(name string) (Format, error) {
	if i := slices.Index(formatNames[:], name); i >= 0 {
		return Format(i), nil //nolint:gosec // one of three
	}
	return 0, fmt.Errorf("%q is no format of rows; there are %s", name, strings.Join(formatNames[:], ", "))
}

// Info is what a commit has written. The journal keeps it, so that a part can be
// checked later without being understood.
type Info struct {
	File   string `json:"file"` // its name in parts/, without a directory
	Rows   int    `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // hexadecimal, of the file
}

// Meta says which run wrote a part. Parquet files carry it, under the keys
// penny.version and penny.run, beside penny.schema.
type Meta struct {
	Version string // of penny
	Run     string // the run's id
}

// Parts writes the parts of one run in one format.
type Parts struct {
	dir    string
	format Format
	meta   Meta
	files  reserve

	writing sync.Mutex // one commit at a time: it guards what follows
	encoder encoder
	rows    []evidence.Row // a batch
	file    []byte         // room for what is read back of a part
}

// Open prepares the directory parts/ of a run, which must exist itself, to be
// written in. What a run that was killed has left unfinished stays until [Clean].
func Open(run string, format Format, meta Meta) (*Parts, error) {
	dir := filepath.Join(run, partsDir)
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the directory of a run's parts: %w", err)
	}
	p := &Parts{dir: dir, format: format, meta: meta}
	p.files.fill()
	return p, nil
}

// Close gives back what was kept so that files can be opened while the process is short
// of descriptors. No part may be written to afterwards.
func (p *Parts) Close() { p.files.close() }

const (
	partsDir  = "parts"
	partMark  = "part-"
	temporary = ".tmp" // the end of names that are not parts yet
)

// Clean removes what commits of a run that was killed have left unfinished. Nobody
// may be writing to the run meanwhile. A run that has no parts yet is clean.
func Clean(run string) error {
	dir := filepath.Join(run, partsDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for unfinished parts: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+partMark) && strings.HasSuffix(e.Name(), temporary) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove an unfinished part: %w", err)
			}
		}
	}
	return nil
}

func partName(shard int, format Format) string {
	return fmt.Sprintf("%s%06d.%s", partMark, shard, format)
}

// A partFile is a part that was found in a directory.
type partFile struct {
	shard  int
	format Format
	name   string
}

// parsePartName takes the name of a part apart. Other files may lie beside parts.
func parsePartName(name string) (partFile, bool) {
	rest, ok := strings.CutPrefix(name, partMark)
	if !ok {
		return partFile{}, false
	}
	number, extension, ok := strings.Cut(rest, ".")
	if !ok {
		return partFile{}, false
	}
	format, err := ParseFormat(extension)
	if err != nil {
		return partFile{}, false
	}
	shard, err := strconv.ParseUint(number, 10, 31)
	if err != nil || partName(int(shard), format) != name {
		return partFile{}, false
	}
	return partFile{int(shard), format, name}, true
}

// listParts finds the parts of a run in the order of their shards.
func listParts(run string) ([]partFile, error) {
	entries, err := os.ReadDir(filepath.Join(run, partsDir))
	if err != nil {
		return nil, fmt.Errorf("look for a run's parts: %w", err)
	}
	var parts []partFile
	for _, e := range entries {
		if part, ok := parsePartName(e.Name()); ok {
			parts = append(parts, part)
		}
	}
	slices.SortFunc(parts, func(a, b partFile) int {
		return cmp.Or(cmp.Compare(a.shard, b.shard), cmp.Compare(a.format, b.format))
	})
	return parts, nil
}

// syncDir makes a rename last. Windows has no such thing for a directory.
func (p *Parts) syncDir() error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := p.files.open(func() (*os.File, error) { return os.Open(p.dir) })
	if err != nil {
		return err
	}
	defer p.files.fill()
	defer d.Close()
	return d.Sync()
}
