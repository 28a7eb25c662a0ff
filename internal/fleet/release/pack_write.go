package release

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// A PackWriter writes a pack: a head, one object after the other, and an end. It
// is for one goroutine.
type PackWriter struct {
	w       *bufio.Writer
	objects int
	err     error // of an earlier call: the stream is no pack any more

	binary    bool       // version 2
	numbering *Numbering // by which objects are named; nil: by their hashes
	next      int        // the number that follows the one that was named last
	scratch   []byte
}

// NewPackWriter returns a writer whose pack, of version 1, goes to w. What is
// written is buffered until [PackWriter.Flush] or [PackWriter.Close].
func NewPackWriter(w io.Writer) *PackWriter { return newPackWriter(w, []byte(packHead)) }

func newPackWriter(w io.Writer, first []byte) *PackWriter {
	p := &PackWriter{w: bufio.NewWriterSize(w, 64<<10)}
	_, p.err = p.w.Write(append(first, '\n'))
	return p
}

// Add writes an object: a header, and as many bytes from r as it says. After an
// error the pack can't be continued.
func (p *PackWriter) Add(h Header, r io.Reader) error {
	if p.err != nil {
		return p.err
	}
	if err := p.add(h, r); err != nil {
		p.err = fmt.Errorf("send object %s: %w", h.Hash.Short(), err)
	}
	return p.err
}

func (p *PackWriter) add(h Header, r io.Reader) error {
	if what := h.wrong(); what != "" {
		return fmt.Errorf("as %s: %s", h.Coding, what)
	}
	if p.binary {
		p.scratch = p.appendHeader(p.scratch[:0], &h)
	} else {
		line, err := json.Marshal(h)
		if err != nil {
			return err
		}
		p.scratch = append(line, '\n')
	}
	if _, err := p.w.Write(p.scratch); err != nil {
		return err
	}
	if err := p.copy(r, h.Length); err != nil {
		return err
	}
	p.objects++
	return nil
}

// copy writes so many bytes of r.
func (p *PackWriter) copy(r io.Reader, length int64) error {
	n, err := io.Copy(p.w, io.LimitReader(r, length))
	if err == nil && n < length {
		err = fmt.Errorf("it has %d bytes, not %d: %w", n, length, io.ErrUnexpectedEOF)
	}
	return err
}

// Flush sends what is buffered.
func (p *PackWriter) Flush() error {
	if p.err == nil {
		p.err = p.w.Flush()
	}
	return p.err
}

// Close ends the pack and sends what is buffered. It does not close the writer
// below. A pack that is not closed is one that was cut.
func (p *PackWriter) Close() error {
	if p.err != nil {
		return p.err
	}
	end, err := p.end()
	if err == nil {
		_, err = p.w.Write(end)
	}
	if err != nil {
		p.err = err
		return err
	}
	return p.Flush()
}

func (p *PackWriter) end() ([]byte, error) {
	if p.binary {
		return binary.AppendUvarint([]byte{byte(kindEnd)}, uint64(p.objects)), nil //nolint:gosec // it counts
	}
	line, err := json.Marshal(packEnd{Objects: p.objects})
	return append(line, '\n'), err
}
