package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"os"

	"github.com/klauspost/compress/zstd"

	"pennyfarthing/internal/encode"
)

// A Packer prepares objects for packs: it chooses the form in which each travels.
// It may be used by several goroutines, each of which needs up to
// [MaxDictionary] three times and some 80 MiB for the largest objects, and next to
// nothing for small ones.
type Packer struct {
	// Cache keeps codings between deploys; nil keeps none.
	Cache *encode.Cache
	// Spool is the directory for the forms of objects that are too large for
	// memory; os.TempDir if empty.
	Spool string
}

// A Source is an object to prepare, or the base of one.
type Source struct {
	Hash Hash
	Size int64
	Open func() (Content, error)
}

// A Content is an open object. A base's is read in any order.
type Content interface {
	io.Reader
	io.ReaderAt
	io.Closer
}

// A Prepared is an object in the form in which it travels. It can be sent to any
// number of packs, one after the other or at once, until it is closed.
type Prepared struct {
	Header
	data   []byte                  // the form, if it is in memory
	open   func() (Content, error) // otherwise
	remove string                  // a file to remove when it is closed
}

// Close gives up what a prepared object holds.
func (p *Prepared) Close() error {
	if p.remove == "" {
		return nil
	}
	return os.Remove(p.remove)
}

// Prepared returns an object of the store as it travels to another: in brotli if
// it is there in that, because the other will want it, and otherwise as it is.
// The error of one that is not there is fs.ErrNotExist.
func (st *Store) Prepared(h Hash) (*Prepared, error) {
	info, err := os.Lstat(st.objectPath(h))
	if err != nil {
		return nil, fmt.Errorf("prepare object %s: %w", h.Short(), err)
	}
	o := Source{Hash: h, Size: info.Size(), Open: func() (Content, error) { return st.Open(h) }}
	if data, level, ok := st.Coded(h, encode.Brotli); ok {
		return brotliForm(o, data, level), nil
	}
	return &Prepared{Header: Header{Hash: h, Size: o.Size, Coding: Identity, Length: o.Size}, open: o.Open}, nil
}

// Send writes a prepared object to a pack.
func (p *PackWriter) Send(o *Prepared) error {
	if o.open == nil {
		return p.Add(o.Header, bytes.NewReader(o.data))
	}
	f, err := o.open()
	if err != nil {
		return fmt.Errorf("send object %s: %w", o.Hash.Short(), err)
	}
	defer f.Close()
	return p.Add(o.Header, f)
}

// The choice of a form.
const (
	// worthDictionary is from which length of a form on it is worth a core's 25 ms
	// and more to try the base as a dictionary as well.
	worthDictionary = 16 << 10
	// worthCoding is below which size no coding is tried.
	worthCoding = 64
)

// Prepare makes the form in which an object travels first: against the base, if
// there is one and it helps, or in a coding that is quickly made. The media type
// says whether coding is worth trying. The error is ErrChanged if the object's
// file no longer has what it should.
func (p *Packer) Prepare(ctx context.Context, o Source, mediaType string, base *Source) (*Prepared, error) {
	prepared, err := p.prepare(ctx, o, encode.Compressible(mediaType), base)
	if err != nil {
		return nil, fmt.Errorf("prepare object %s: %w", o.Hash.Short(), err)
	}
	return prepared, nil
}

func (p *Packer) prepare(ctx context.Context, o Source, compressible bool, base *Source) (*Prepared, error) {
	if o.Size > MaxDictionary {
		return p.prepareLarge(ctx, o, compressible, base)
	}
	content, err := readSource(o)
	if err != nil {
		return nil, err
	}
	best := &Prepared{Header: Header{Hash: o.Hash, Size: o.Size, Coding: Identity, Length: o.Size}, data: content}
	if o.Size < worthCoding {
		return best, nil
	}
	if base != nil && base.Size > 0 {
		if err := against(ctx, best, content, base, compressible); err != nil {
			return nil, err
		}
	}
	// A form against the base that is this short leaves nothing to gain.
	if compressible && best.Length > o.Size/8 {
		return best, p.code(best, content)
	}
	return best, nil
}

// Best makes an object's best form in brotli, to be sent behind: the receiver
// keeps it for its visitors. It returns nil if there is none, because brotli
// makes the object no smaller or is not for objects of its kind.
func (p *Packer) Best(o Source, mediaType string) (*Prepared, error) {
	if !encode.Compressible(mediaType) || o.Size > MaxCoded || o.Size < worthCoding {
		return nil, nil
	}
	data, err := p.brotli(o, encode.Best)
	if err != nil {
		return nil, fmt.Errorf("prepare object %s: %w", o.Hash.Short(), err)
	}
	if len(data) == 0 {
		return nil, nil
	}
	return brotliForm(o, data, encode.Best), nil
}

func brotliForm(o Source, data []byte, level encode.Level) *Prepared {
	return &Prepared{Header: Header{Hash: o.Hash, Size: o.Size, Coding: Brotli, Level: level.String(), Length: int64(len(data))}, data: data}
}

// brotli returns an object in brotli, from the cache if it has it, or nothing if
// that is not smaller.
func (p *Packer) brotli(o Source, level encode.Level) ([]byte, error) {
	if data, ok := p.Cache.Get(o.Hash, encode.Brotli, level); ok {
		return data, nil
	}
	content, err := readSource(o)
	if err != nil {
		return nil, err
	}
	return p.encode(o.Hash, content, level)
}

func (p *Packer) encode(h Hash, content []byte, level encode.Level) ([]byte, error) {
	data, err := encode.Encode(nil, content, encode.Brotli, level)
	if err != nil {
		return nil, err
	}
	if len(data) >= len(content) {
		data = nil
	}
	_ = p.Cache.Put(h, encode.Brotli, level, data) // a cache that can't be written is none
	return data, nil
}

// code replaces the best form so far by the object's coded one, if that is
// shorter.
func (p *Packer) code(best *Prepared, content []byte) error {
	o := Source{Hash: best.Hash, Size: best.Size}
	if o.Size > MaxCoded {
		data, err := encode.Encode(nil, content, encode.Zstd, encode.Quick)
		if err == nil && int64(len(data)) < best.Length {
			*best = Prepared{Header: Header{Hash: o.Hash, Size: o.Size, Coding: Zstd, Length: int64(len(data))}, data: data}
		}
		return err
	}
	level := encode.Best
	data, ok := p.Cache.Get(o.Hash, encode.Brotli, level)
	if !ok {
		level = encode.Quick
		if data, ok = p.Cache.Get(o.Hash, encode.Brotli, level); !ok {
			var err error
			if data, err = p.encode(o.Hash, content, level); err != nil {
				return err
			}
		}
	}
	if len(data) > 0 && int64(len(data)) < best.Length {
		*best = *brotliForm(o, data, level)
	}
	return nil
}

// against replaces the best form so far by one that refers to the base, if that
// is shorter.
func against(ctx context.Context, best *Prepared, content []byte, base *Source, compressible bool) error {
	f, err := openBase(base)
	if f == nil {
		return err
	}
	defer f.Close()
	var instructions bytes.Buffer
	if err := writeBlocks(&instructions, &contextReader{ctx: ctx, r: bytes.NewReader(content)}, best.Size, f, base.Size); err != nil {
		return err
	}
	if !compressible && instructions.Len() > len(content)/20*19 {
		return nil // another picture, which has nothing of the one before
	}
	data, err := encode.Encode(nil, instructions.Bytes(), encode.Zstd, encode.Best)
	if err != nil {
		return err
	}
	best.take(Blocks, base.Hash, data)
	if best.Length < worthDictionary || base.Size > MaxDictionary {
		return nil
	}
	dictionary := make([]byte, base.Size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, base.Size), dictionary); err != nil {
		return fmt.Errorf("read base: %w", unexpected(err))
	}
	if data, err = encodeAgainst(content, dictionary); err != nil {
		return err
	}
	best.take(Zstd, base.Hash, data)
	return nil
}

// openBase opens a base, or returns nil if there is none to refer to any more.
func openBase(base *Source) (Content, error) {
	f, err := base.Open()
	_, corrupt := errors.AsType[*CorruptError](err)
	if corrupt || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open base: %w", err)
	}
	if file, ok := f.(*os.File); ok {
		info, err := file.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open base: %w", err), f.Close())
		}
		if info.Size() != base.Size {
			return nil, f.Close() // damaged; the receiver's is not
		}
	}
	return f, nil
}

// take replaces a form by another against a base, if that is shorter.
func (p *Prepared) take(c Coding, base Hash, data []byte) {
	if length := int64(len(data)); length < p.Length {
		*p = Prepared{Header: Header{Hash: p.Hash, Size: p.Size, Coding: c, Base: &base, Length: length}, data: data}
	}
}

// encodeAgainst returns content in zstd with a dictionary. Below its best level
// the encoder finds next to nothing in one.
func encodeAgainst(content, dictionary []byte) ([]byte, error) {
	// The window reaches from the end of the content to the dictionary's beginning.
	window := 1 << max(bits.Len(uint(len(content)+len(dictionary))), 10)
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true), zstd.WithWindowSize(window),
		zstd.WithEncoderDictRaw(dictionaryID, dictionary))
	if err != nil {
		return nil, fmt.Errorf("encode zstd: %w", err)
	}
	return e.EncodeAll(content, nil), nil
}

// readSource reads an object that fits into memory.
func readSource(o Source) ([]byte, error) {
	content, err := appendSource(make([]byte, 0, o.Size), o)
	if err != nil {
		return nil, err
	}
	if HashOf(content) != o.Hash {
		return nil, ErrChanged
	}
	return content, nil
}

// prepareLarge prepares an object that does not fit into memory.
func (p *Packer) prepareLarge(ctx context.Context, o Source, compressible bool, base *Source) (*Prepared, error) {
	whole := &Prepared{Header: Header{Hash: o.Hash, Size: o.Size, Coding: Identity, Length: o.Size}, open: o.Open}
	if base == nil && !compressible {
		return whole, nil
	}
	spool, err := os.CreateTemp(p.Spool, "penny-*")
	if err != nil {
		return nil, err
	}
	form, err := p.spool(ctx, spool, o, base)
	if err = errors.Join(err, spool.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(spool.Name()))
	}
	if form.Length >= o.Size {
		return whole, os.Remove(spool.Name())
	}
	form.open, form.remove = func() (Content, error) { return os.Open(spool.Name()) }, spool.Name()
	return form, nil
}

// spool writes an object as blocks: of the base, or all of it new.
func (p *Packer) spool(ctx context.Context, w *os.File, o Source, base *Source) (*Prepared, error) {
	f, err := o.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	form := &Prepared{Header: Header{Hash: o.Hash, Size: o.Size, Coding: Blocks}}
	var from io.ReaderAt = bytes.NewReader(nil)
	size := int64(0)
	if base != nil {
		b, err := openBase(base)
		if err != nil {
			return nil, err
		}
		if b != nil {
			defer b.Close()
			from, size, form.Base = b, base.Size, &base.Hash
		}
	}
	e, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(blocksWindow), zstd.WithZeroFrames(true))
	if err != nil {
		return nil, fmt.Errorf("encode zstd: %w", err)
	}
	sum := sha256.New()
	if err := errors.Join(writeBlocks(e, io.TeeReader(&contextReader{ctx: ctx, r: f}, sum), o.Size, from, size), e.Close()); err != nil {
		return nil, err
	}
	if Hash(sum.Sum(nil)) != o.Hash {
		return nil, ErrChanged
	}
	info, err := w.Stat()
	if err != nil {
		return nil, err
	}
	form.Length = info.Size()
	return form, nil
}
