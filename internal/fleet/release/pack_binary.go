package release

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"pennyfarthing/internal/encode"
)

// Version 2 of the pack has a few bytes for a header where version 1 has a line of
// JSON: a kind, a name, and what belongs to the kind.
const packVersion = 2

// A kind is what follows in a pack of version 2.
type kind uint8

const (
	kindEnd kind = iota
	kindIdentity
	kindBrotliQuick
	kindBrotliBest
	kindZstd
	kindZstdBase
	kindBlocks
	kindBlocksBase
	kindSolid
)

// byHash is what stands for a number where an object is named by its hash.
const byHash = 0

// A packStart is the first line.
type packStart struct {
	Penny   string `json:"penny"`
	Version int    `json:"version"`
	// Release is the manifest by whose objects' numbers the pack names them; without
	// it all are named by their hashes.
	Release *Hash `json:"release,omitempty"`
}

// kindOf returns the kind of an object's header, for which [Header.wrong] has found
// nothing.
func kindOf(h *Header) kind {
	switch h.Coding {
	case Brotli:
		if h.Level == encode.Best.String() {
			return kindBrotliBest
		}
		return kindBrotliQuick
	case Zstd:
		if h.Base != nil {
			return kindZstdBase
		}
		return kindZstd
	case Blocks:
		if h.Base != nil {
			return kindBlocksBase
		}
		return kindBlocks
	case Identity:
	}
	return kindIdentity
}

// header returns a header of a kind, and whether there is such a kind of a single
// object.
func (k kind) header() (h Header, based, ok bool) {
	switch k {
	case kindIdentity:
		h.Coding = Identity
	case kindBrotliQuick:
		h.Coding, h.Level = Brotli, encode.Quick.String()
	case kindBrotliBest:
		h.Coding, h.Level = Brotli, encode.Best.String()
	case kindZstd, kindZstdBase:
		h.Coding = Zstd
	case kindBlocks, kindBlocksBase:
		h.Coding = Blocks
	case kindEnd, kindSolid:
		return h, false, false
	default:
		return h, false, false
	}
	return h, k == kindZstdBase || k == kindBlocksBase, true
}

// appendName appends an object's name: how far its number is from the one that
// would be next, or its hash and its size.
func (p *PackWriter) appendName(b []byte, o Object) []byte {
	if p.numbering != nil {
		if i, ok := p.numbering.numbers[o.Hash]; ok {
			b = binary.AppendUvarint(b, zigzag(i-p.next)+1)
			p.next = i + 1
			return b
		}
	}
	b = append(b, byHash)
	b = append(b, o.Hash[:]...)
	return binary.AppendUvarint(b, uint64(o.Size)) //nolint:gosec // it is not negative
}

func zigzag(n int) uint64 { return uint64(n<<1) ^ uint64(n>>63) } //nolint:gosec // as in Protocol Buffers

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) } //nolint:gosec // as in Protocol Buffers

func (p *PackWriter) appendHeader(b []byte, h *Header) []byte {
	b = append(b, byte(kindOf(h)))
	b = p.appendName(b, Object{h.Hash, h.Size})
	if h.Coding == Identity {
		return b
	}
	if h.Base != nil {
		b = append(b, h.Base[:]...)
	}
	return binary.AppendUvarint(b, uint64(h.Length)) //nolint:gosec // it is not negative
}

// start reads the first line of a pack that is not of version 1.
func (p *packReader) start(line []byte) error {
	var s packStart
	if err := parseLine(line, &s); err != nil || s.Penny != "pack" || s.Version != packVersion {
		return fmt.Errorf("read pack: it begins with %.40q, not as packs of version 1 or %d do: %w", line, packVersion, ErrPack)
	}
	if s.Release == nil {
		return nil
	}
	if p.numbered == nil {
		return fmt.Errorf("read pack: it names objects by their numbers in release %s, which is not known here: %w", s.Release.Short(), ErrPack)
	}
	var err error
	if p.objects, err = p.numbered(*s.Release); err != nil {
		return fmt.Errorf("read pack: find the objects of its release %s: %w", s.Release.Short(), err)
	}
	return nil
}

// entries reads what follows the first line of a pack of version 2.
func (p *packReader) entries(ctx context.Context) error {
	for n := 0; ; {
		k, err := p.in.ReadByte()
		if err != nil {
			return p.cut(ctx, err)
		}
		if n >= maxPackObjects && kind(k) != kindEnd {
			return fmt.Errorf("read pack: there are more than %d objects: %w", maxPackObjects, ErrPack)
		}
		switch kind(k) {
		case kindEnd:
			return p.ended(ctx, n)
		case kindSolid:
			more, err := p.solid(ctx, n+1)
			if err != nil {
				return err
			}
			n += more
		default:
			n++
			h, err := p.header(ctx, n, kind(k))
			if err == nil {
				err = p.body(ctx, h)
			}
			if err != nil {
				return err
			}
		}
	}
}

func (p *packReader) ended(ctx context.Context, n int) error {
	said, err := p.uvarint(ctx)
	if err != nil {
		return err
	}
	if said != uint64(n) { //nolint:gosec // it counts
		return fmt.Errorf("read pack: it ends after %d objects and says %d: %w", n, said, ErrPack)
	}
	switch _, err := p.in.ReadByte(); {
	case err == nil:
		return fmt.Errorf("read pack: it goes on behind its end: %w", ErrPack)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return p.cut(ctx, err)
	}
}

// header reads the header of object n, whose kind has been read.
func (p *packReader) header(ctx context.Context, n int, k kind) (Header, error) {
	h, based, ok := k.header()
	if !ok {
		return h, fmt.Errorf("read pack: object %d is of kind %d, which is not known: %w", n, k, ErrPack)
	}
	o, err := p.name(ctx)
	if err != nil {
		return h, err
	}
	h.Hash, h.Size, h.Length = o.Hash, o.Size, o.Size
	if h.Coding == Identity {
		return h, nil
	}
	if based {
		h.Base = new(Hash)
		if _, err := io.ReadFull(p.in, h.Base[:]); err != nil {
			return h, p.cut(ctx, err)
		}
	}
	h.Length, err = p.length(ctx, MaxFileBytes+slack)
	return h, err
}

// name reads the name of an object.
func (p *packReader) name(ctx context.Context) (o Object, err error) {
	named, err := p.uvarint(ctx)
	if err != nil {
		return o, err
	}
	if named == byHash {
		if _, err := io.ReadFull(p.in, o.Hash[:]); err != nil {
			return o, p.cut(ctx, err)
		}
		o.Size, err = p.length(ctx, MaxFileBytes)
		return o, err
	}
	most := int64(len(p.objects))
	at := unzigzag(named - 1)
	if at < -most || at > most || int64(p.next)+at < 0 || int64(p.next)+at >= most {
		return o, fmt.Errorf("read pack: there is no object %d places from number %d among the %d of the release: %w", at, p.next, most, ErrPack)
	}
	i := p.next + int(at)
	p.next = i + 1
	return p.objects[i], nil
}

// length reads a number of bytes.
func (p *packReader) length(ctx context.Context, most int64) (int64, error) {
	n, err := p.uvarint(ctx)
	if err == nil && n > uint64(most) { //nolint:gosec // it is not negative
		err = fmt.Errorf("read pack: something has %d bytes, more than %d: %w", n, most, ErrPack)
	}
	return int64(n), err //nolint:gosec // see above
}

func (p *packReader) uvarint(ctx context.Context) (uint64, error) {
	n, err := binary.ReadUvarint(p.in)
	if err != nil {
		return 0, p.cut(ctx, err)
	}
	return n, nil
}

// NewNumberedPack returns a writer of a pack of version 2, which names objects by
// their numbers in a release that the receiver knows. What is not in the release,
// or everything if n is nil, is named by its hash.
func NewNumberedPack(w io.Writer, n *Numbering) *PackWriter {
	s := packStart{Penny: "pack", Version: packVersion}
	if n != nil {
		s.Release = &n.Release
	}
	line, err := json.Marshal(s)
	p := newPackWriter(w, line)
	p.binary, p.numbering, p.err = true, n, errors.Join(p.err, err)
	return p
}
