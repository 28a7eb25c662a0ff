package result

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"pennyfarthing/internal/sweep/evidence"
)

const (
	// keptBytes is how much of a part is in memory before it goes to its file. A
	// hundred parts may be open, and all of penny has to stay below 64 MB.
	keptBytes = 32 << 10
	// maxRecord is the longest record: what 24 bits of an offset can say. A row of
	// a hundred tries, each with the longest redirect that a head can hold, is shorter.
	maxRecord = 1<<24 - 1
	// maxTargets is how many targets a shard may have.
	maxTargets = 1 << 20
	// wholeBytes is the size of the largest file of a part that is read back in one go:
	// that of nearly all shards, and less dear than a call for each of its rows.
	wholeBytes = 1 << 20
	// batch is how many rows are encoded in one go.
	batch = 64
)

// A Part is the rows of one shard, until they are committed or discarded. One
// goroutine at a time may use it; different parts of a run may be used at once.
type Part struct {
	parts *Parts
	shard int
	where []uint64 // of each row: 0, or its record's offset, and in the lower 24 bits its length
	have  int      // rows
	size  int64    // of all records
	kept  []byte   // the last of them
	spill *os.File // the ones before, or nil
	name  string   // of spill where it could not be removed while open
	done  bool
}

// Create begins the part of a shard of so many targets. Nothing is written before
// there is much to write.
func (p *Parts) Create(shard, targets int) (*Part, error) {
	if shard < 0 || targets < 0 || targets > maxTargets {
		return nil, fmt.Errorf("begin part %d for %d targets: a shard has at most %d", shard, targets, maxTargets)
	}
	return &Part{parts: p, shard: shard, where: make([]uint64, targets)}, nil
}

// Add takes the row of the target with this index in the shard, from 0. The row may
// be used again afterwards. A second row for the same target is an error: the first
// stays. After an error of the disk only Discard is of use.
func (p *Part) Add(index int, row *evidence.Row) error {
	if p.done {
		return fmt.Errorf("add the row of %s to part %d: it is closed", row.Target, p.shard)
	}
	if index < 0 || index >= len(p.where) {
		return fmt.Errorf("add the row of %s to part %d: it has no target %d", row.Target, p.shard, index)
	}
	if p.where[index] != 0 {
		return fmt.Errorf("add the row of %s to part %d: target %d has a row", row.Target, p.shard, index)
	}
	if err := checkTimes(row); err != nil {
		return err
	}
	before := len(p.kept)
	p.kept = appendRecord(p.kept, row)
	length := len(p.kept) - before
	if length > maxRecord {
		p.kept = p.kept[:before]
		return fmt.Errorf("add the row of %s to part %d: its %d bytes are more than %d", row.Target, p.shard, length, maxRecord)
	}
	p.where[index] = uint64(p.size)<<24 | uint64(length) //nolint:gosec // neither is negative
	p.size += int64(length)
	p.have++
	if len(p.kept) >= keptBytes {
		return p.flush()
	}
	return nil
}

// Missing is how many targets have no row yet.
func (p *Part) Missing() int { return len(p.where) - p.have }

// flush moves the records in memory to the part's file.
func (p *Part) flush() error {
	if p.spill == nil {
		f, err := p.parts.createTemporary(p.shard)
		if err != nil {
			return fmt.Errorf("begin a file for the rows of part %d: %w", p.shard, err)
		}
		p.spill = f
		// Without a name it is gone when we are, however we go. Windows does not remove
		// what is open; there Discard and Clean do it.
		if os.Remove(f.Name()) != nil {
			p.name = f.Name()
		}
	}
	if _, err := p.spill.WriteAt(p.kept, p.size-int64(len(p.kept))); err != nil {
		return fmt.Errorf("keep the rows of part %d: %w", p.shard, err)
	}
	p.kept = p.kept[:0]
	if cap(p.kept) > 2*keptBytes {
		p.kept = nil // a very long row does not keep its memory
	}
	return nil
}

// createTemporary makes a new file that no reader takes for a part.
func (p *Parts) createTemporary(shard int) (*os.File, error) {
	name := "." + partName(shard, p.format) + "." + rand.Text() + temporary
	return p.files.open(func() (*os.File, error) {
		return os.OpenFile(filepath.Join(p.dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	})
}

// readBack reads what is in the part's file into buf, if it is not too much.
func (p *Part) readBack(buf []byte) ([]byte, error) {
	spilled := p.size - int64(len(p.kept))
	if spilled > wholeBytes {
		return buf[:0], nil
	}
	buf = slices.Grow(buf[:0], int(spilled))[:spilled]
	if spilled == 0 {
		return buf, nil
	}
	if _, err := p.spill.ReadAt(buf, 0); err != nil {
		return buf, fmt.Errorf("read back the rows: %w", err)
	}
	return buf, nil
}

// read fills a row from the record of an index. What is in the part's file may have
// been read already.
func (p *Part) read(index int, row *evidence.Row, file []byte, scratch *[]byte) error {
	offset, length := int64(p.where[index]>>24), int(p.where[index]&maxRecord) //nolint:gosec // as they went in
	spilled := p.size - int64(len(p.kept))
	var record string // of which the row's strings are parts
	switch {
	case offset >= spilled:
		record = string(p.kept[offset-spilled:][:length])
	case len(file) > 0:
		record = string(file[offset:][:length])
	default:
		buf := slices.Grow((*scratch)[:0], length)[:length]
		*scratch = buf
		if _, err := p.spill.ReadAt(buf, offset); err != nil {
			return fmt.Errorf("read back row %d: %w", index+1, err)
		}
		record = string(buf)
	}
	if err := readRecord(record, row); err != nil {
		return fmt.Errorf("read back row %d: %w", index+1, err)
	}
	return nil
}

// An encoder writes rows in a format.
type encoder interface {
	begin(w io.Writer) error
	write(rows []evidence.Row) error
	end() error
}

// Commit writes the part, whole and lasting, in the place of any that this shard had
// before, and closes it. It is an error if a target has no row. After any error the
// shard's former part, if there is one, is as it was, and Commit may be called again.
// Commits of one run wait for each other.
func (p *Part) Commit() (Info, error) {
	if p.done {
		return Info{}, fmt.Errorf("commit part %d: it is closed", p.shard)
	}
	if p.have < len(p.where) {
		return Info{}, fmt.Errorf("commit part %d: %d of %d targets have no row", p.shard, p.Missing(), len(p.where))
	}
	p.parts.writing.Lock()
	defer p.parts.writing.Unlock()
	info, err := p.parts.commit(p)
	if err != nil {
		return Info{}, fmt.Errorf("commit part %d: %w", p.shard, err)
	}
	p.Discard()
	return info, nil
}

func (p *Parts) commit(part *Part) (info Info, err error) {
	f, err := p.createTemporary(part.shard)
	if err != nil {
		return Info{}, err
	}
	defer p.files.fill()
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name()) //nolint:errcheck // there is nothing more to do about it; Clean may
		}
	}()
	out := &digest{w: f, hash: sha256.New()}
	if err := p.encode(part, out); err != nil {
		return Info{}, err
	}
	if p.format == Parquet {
		if err := seal(f, out.size); err != nil {
			return Info{}, err
		}
		out.hash.Reset() // eight bytes are others now
		if _, err := io.Copy(out.hash, io.NewSectionReader(f, 0, out.size)); err != nil {
			return Info{}, err
		}
	}
	if err := f.Sync(); err != nil {
		return Info{}, err
	}
	if err := f.Close(); err != nil {
		return Info{}, err
	}
	name := partName(part.shard, p.format)
	if err := os.Rename(f.Name(), filepath.Join(p.dir, name)); err != nil {
		return Info{}, err
	}
	if err := p.syncDir(); err != nil {
		return Info{}, err
	}
	return Info{File: name, Rows: len(part.where), Bytes: out.size, SHA256: hex.EncodeToString(out.hash.Sum(nil))}, nil
}

// encode writes the rows in the order of their targets.
func (p *Parts) encode(part *Part, w io.Writer) error {
	if p.encoder == nil {
		e, err := newEncoder(p.format, p.meta)
		if err != nil {
			return err
		}
		p.encoder = e
		p.rows = make([]evidence.Row, batch)
	}
	if err := p.encoder.begin(w); err != nil {
		return err
	}
	var scratch []byte
	file, err := part.readBack(p.file)
	if err != nil {
		return err
	}
	p.file = file[:0]
	for from := 0; from < len(part.where); from += batch {
		rows := p.rows[:min(batch, len(part.where)-from)]
		for i := range rows {
			if err := part.read(from+i, &rows[i], file, &scratch); err != nil {
				return err
			}
		}
		if err := p.encoder.write(rows); err != nil {
			return err
		}
	}
	return p.encoder.end()
}

func newEncoder(format Format, meta Meta) (encoder, error) {
	switch format {
	case Parquet:
		return newParquetEncoder(meta), nil
	case JSONL:
		return &jsonEncoder{}, nil
	case CSV:
		return &csvEncoder{}, nil
	}
	return nil, errors.New("no such format")
}

// Discard forgets the rows and closes the part. It does nothing to one that is closed.
func (p *Part) Discard() {
	if p.spill != nil {
		p.spill.Close()
		p.parts.files.fill()
		if p.name != "" {
			os.Remove(p.name) //nolint:errcheck // Clean looks again
		}
	}
	*p = Part{parts: p.parts, shard: p.shard, done: true}
}

// A digest counts and hashes what is written.
type digest struct {
	w    io.Writer
	hash hash.Hash
	size int64
}

func (d *digest) Write(b []byte) (int, error) {
	n, err := d.w.Write(b)
	d.hash.Write(b[:n])
	d.size += int64(n)
	return n, err
}
