package release

import (
	"bufio"
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
}

// NewPackWriter returns a writer whose pack goes to w. What is written is
// buffered until [PackWriter.Flush] or [PackWriter.Close].
func NewPackWriter(w io.Writer) *PackWriter {
	p := &PackWriter{w: bufio.NewWriterSize(w, 64<<10)}
	_, p.err = p.w.WriteString(packHead + "\n")
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
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if _, err := p.w.Write(append(line, '\n')); err != nil {
		return err
	}
	n, err := io.Copy(p.w, io.LimitReader(r, h.Length))
	if err != nil {
		return err
	}
	if n < h.Length {
		return fmt.Errorf("it has %d bytes, not %d: %w", n, h.Length, io.ErrUnexpectedEOF)
	}
	p.objects++
	return nil
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
	line, err := json.Marshal(packEnd{Objects: p.objects})
	if err == nil {
		_, err = p.w.Write(append(line, '\n'))
	}
	if err != nil {
		p.err = err
		return err
	}
	return p.Flush()
}
