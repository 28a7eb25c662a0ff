package release

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"pennyfarthing/internal/encode"
)

// PackOptions bound what is taken from a pack.
type PackOptions struct {
	// Accept says why an object is not wanted, or nothing. It is asked before
	// anything of it is written; without it everything is wanted.
	Accept func(h Hash, size int64) error
	// Numbered returns the objects of a release, for packs that name them by their
	// numbers; without it such packs are refused.
	Numbered func(release Hash) ([]Object, error)
}

// A PackResult says what came of a pack.
type PackResult struct {
	Stored int   // objects and coded forms that are in the store now and were not before
	Had    int   // objects that the store had already
	Bytes  int64 // read from the stream
	Bad    []BadObject
}

// A BadObject is one that was not stored. The rest of its pack was.
type BadObject struct {
	Hash   Hash   `json:"sha256"`
	Reason string `json:"reason"`
}

// ErrPack is wrapped by the errors of [ReadPack] that say that the stream is not
// a pack, or was cut: sending it again may help. Other errors are the store's.
var ErrPack = errors.New("the pack is damaged")

// maxBad bounds how many bad objects a pack may have: it is not worth going on.
const maxBad = 1000

// Objects get their names in groups of this size. What a group costs on the disk
// is spread over many, and what a cut loses is not much.
const (
	groupFiles = 4096
	groupBytes = 256 << 20
)

// ReadPack reads a pack into a store. An object whose content, base or header is
// wrong is skipped and named in the result; where the stream itself is damaged
// the error wraps [ErrPack]. Whatever was whole until then is stored, also when
// an error is returned.
//
// Whatever the pack holds, memory stays below [MaxDictionary] twice and a few
// megabytes, and no object is written any further than its announced size.
func ReadPack(ctx context.Context, r io.Reader, st *Store, o PackOptions) (PackResult, error) {
	counted := &countingReader{r: &contextReader{ctx: ctx, r: r}}
	p := &packReader{in: bufio.NewReaderSize(counted, 64<<10), st: st, batch: st.newBatch(), accept: o.Accept, numbered: o.Numbered}
	defer p.batch.drop()
	err := p.run(ctx)
	if e := p.commit(); e != nil {
		err = errors.Join(err, fmt.Errorf("store objects of a pack: %w", e))
	}
	p.result.Bytes = counted.n
	return p.result, err
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type packReader struct {
	in      *bufio.Reader
	st      *Store
	batch   *batch
	waiting []Header // what is in the batch
	accept  func(Hash, int64) error
	result  PackResult
	coded   []byte // scratch: a coded form
	plain   []byte // scratch: what it says

	numbered func(Hash) ([]Object, error)
	objects  []Object // of the release by whose numbers objects are named
	next     int      // the number that follows the one that was named last
}

func (p *packReader) run(ctx context.Context) error {
	head, err := p.line(ctx)
	if err != nil {
		return err
	}
	if string(head) == packHead {
		return p.lines(ctx)
	}
	if err := p.start(head); err != nil {
		return err
	}
	return p.entries(ctx)
}

// lines reads what follows the first line of a pack of version 1.
func (p *packReader) lines(ctx context.Context) error {
	for n := 0; ; n++ {
		line, err := p.line(ctx)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(line, []byte(`{"end":`)) {
			return readEnd(line, n)
		}
		if n == maxPackObjects {
			return fmt.Errorf("read pack: there are more than %d objects: %w", maxPackObjects, ErrPack)
		}
		if err := p.object(ctx, n+1, line); err != nil {
			return err
		}
	}
}

// readEnd reads the last line of a pack that had n objects.
func readEnd(line []byte, n int) error {
	var end packEnd
	if err := parseLine(line, &end); err != nil {
		return fmt.Errorf("read pack: its last line: %w: %w", ErrPack, err)
	}
	if end.Objects != n {
		return fmt.Errorf("read pack: it ends after %d objects and says %d: %w", n, end.Objects, ErrPack)
	}
	return nil
}

// line reads one line without its end.
func (p *packReader) line(ctx context.Context) ([]byte, error) {
	line, err := p.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull), err == nil && len(line) > maxHeaderLine:
		return nil, fmt.Errorf("read pack: a header is longer than %d bytes: %w", maxHeaderLine, ErrPack)
	case err != nil:
		return nil, p.cut(ctx, err)
	}
	return line[:len(line)-1], nil
}

// cut says that the stream ended, or could not be read.
func (p *packReader) cut(ctx context.Context, err error) error {
	if ctxErr := context.Cause(ctx); ctxErr != nil {
		return fmt.Errorf("read pack: %w", ctxErr)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read pack: %w: %w", ErrPack, err)
}

// object reads the object of a header. The error is one after which the stream
// can't be read on; a bad object is none.
func (p *packReader) object(ctx context.Context, n int, line []byte) error {
	var h Header
	if err := parseLine(line, &h); err != nil {
		return fmt.Errorf("read pack: the header of object %d: %w: %w", n, ErrPack, err)
	}
	if h.Length < 0 || h.Length > MaxFileBytes+slack {
		return fmt.Errorf("read pack: object %d has %d bytes: %w", n, h.Length, ErrPack)
	}
	return p.body(ctx, h)
}

// body reads what follows the header of an object.
func (p *packReader) body(ctx context.Context, h Header) error {
	body := &io.LimitedReader{R: streamReader{p.in}, N: h.Length}
	bad, err := p.take(ctx, h, body)
	if err != nil {
		return err
	}
	if err := p.skip(ctx, body); err != nil {
		return err
	}
	if bad != nil {
		if err := p.bad(h.Hash, bad); err != nil {
			return err
		}
	}
	return p.commitFull()
}

// skip reads what is left of a body.
func (p *packReader) skip(ctx context.Context, body *io.LimitedReader) error {
	if _, err := io.Copy(io.Discard, body); err != nil || body.N > 0 {
		return p.cut(ctx, cmp.Or(err, io.EOF))
	}
	return nil
}

// bad notes an object that was not stored.
func (p *packReader) bad(h Hash, why error) error {
	if len(p.result.Bad) == maxBad {
		return fmt.Errorf("read pack: more than %d objects are bad, the last because %w: %w", maxBad, why, ErrPack)
	}
	p.result.Bad = append(p.result.Bad, BadObject{Hash: h, Reason: why.Error()})
	return nil
}

// commitFull stores a group of objects when it is large enough.
func (p *packReader) commitFull() error {
	if len(p.batch.files) >= groupFiles || p.batch.bytes >= groupBytes {
		return p.commit()
	}
	return nil
}

// take stores an object, if it is wanted. What is bad about the object is the
// first result, what keeps the stream from being read on is the second.
func (p *packReader) take(ctx context.Context, h Header, body *io.LimitedReader) (bad, err error) {
	if what := h.wrong(); what != "" {
		return errors.New(what), nil
	}
	if bad := p.unwanted(h); bad != nil {
		return bad, nil
	}
	if p.has(h) {
		p.result.Had++
		return nil, nil
	}
	err = p.store(ctx, h, body)
	switch {
	case err == nil:
		return nil, nil
	case context.Cause(ctx) != nil:
		return nil, fmt.Errorf("read pack: %w", context.Cause(ctx))
	case errors.Is(err, errContent):
		return err, nil
	case errors.Is(err, errStream):
		return nil, p.cut(ctx, err)
	}
	return nil, fmt.Errorf("store object %s of a pack: %w", h.Hash.Short(), err)
}

// unwanted says why an object is not wanted, or nothing.
func (p *packReader) unwanted(h Header) error {
	if p.accept == nil {
		return nil
	}
	return p.accept(h.Hash, h.Size)
}

// errStream says that the stream ended within an object, or could not be read.
var errStream = errors.New("the stream was cut")

// streamReader marks the errors of the stream, so that they are not taken for
// the disk's.
type streamReader struct{ r io.Reader }

func (s streamReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errStream, err)
	}
	return n, err
}

// has reports whether the store has all that an object brings.
func (p *packReader) has(h Header) bool {
	if h.Coding == Brotli {
		level, _ := parseLevel(h.Level)
		if !p.st.hasCoded(h.Hash, encode.Brotli, level) {
			return false
		}
	}
	return p.st.Has(h.Hash)
}

// store writes an object. Its errors wrap errContent if the object is at fault,
// and errStream if the stream is.
func (p *packReader) store(ctx context.Context, h Header, body *io.LimitedReader) error {
	switch h.Coding {
	case Identity:
		err := p.batch.write(ctx, h.Hash, h.Size, body)
		if err != nil && body.N > 0 && errors.Is(err, errContent) {
			return errStream // it ended early
		}
		if err != nil {
			return err
		}
	case Brotli:
		if err := p.brotli(h, body); err != nil {
			return err
		}
	case Zstd, Blocks:
		if err := p.based(ctx, h, body); err != nil {
			return err
		}
	}
	p.waiting = append(p.waiting, h)
	return nil
}

func (p *packReader) brotli(h Header, body *io.LimitedReader) error {
	var err error
	if p.coded, err = readBody(p.coded[:0], body); err != nil {
		return err
	}
	if p.plain, err = encode.Decode(p.plain[:0], p.coded, encode.Brotli, h.Size); err != nil {
		return fmt.Errorf("%w: %w", errContent, err)
	}
	if err := p.plainObject(h); err != nil {
		return err
	}
	level, _ := parseLevel(h.Level)
	path := p.st.codedPath(h.Hash, encode.Brotli, level)
	return p.batch.writeBytes(path, codedHead(h.Hash, encode.Brotli, level, p.coded), p.coded)
}

// plainObject writes the object that is in plain.
func (p *packReader) plainObject(h Header) error {
	if p.st.Has(h.Hash) {
		if HashOf(p.plain) != h.Hash { // then the coded form is of something else
			return fmt.Errorf("%w: its hash is %s", errContent, HashOf(p.plain).Short())
		}
		return nil
	}
	if err := wrongSize(int64(len(p.plain)), h.Size); err != nil {
		return err
	}
	return p.batch.writeObject(h.Hash, p.plain)
}

// readBody appends all of an object to buf.
func readBody(buf []byte, body *io.LimitedReader) ([]byte, error) {
	out := bytes.NewBuffer(buf)
	if _, err := out.ReadFrom(body); err != nil {
		return buf, err
	}
	if body.N > 0 {
		return buf, errStream
	}
	return out.Bytes(), nil
}

// commit stores what was read.
func (p *packReader) commit() error {
	waiting := p.waiting
	p.waiting = nil
	if err := p.batch.commit(); err != nil {
		return err
	}
	p.result.Stored += len(waiting)
	for _, h := range waiting {
		if h.Level == encode.Best.String() {
			if _, err := p.st.remove(p.st.codedPath(h.Hash, encode.Brotli, encode.Quick)); err != nil {
				return err
			}
		}
	}
	return nil
}
