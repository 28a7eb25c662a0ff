package hpack

import (
	"errors"
	"unsafe"
)

// Errors of [Decoder.Decode]: the connection ends with COMPRESSION_ERROR (RFC 9113 §4.3).
var (
	errTruncated = errors.New("a header block ends within a field")
	errIndex     = errors.New("a header block has an index that is in no table")
	errInteger   = errors.New("a header block has an integer that is too large")
	errUpdate    = errors.New("a header block changes the size of the table in the wrong place, or to too much")
)

// A Field is a header field that was decoded.
type Field struct {
	Name, Value string
	Class       uint8 // what [Decoder]'s classify made of it
}

func (f *Field) size() int { return len(f.Name) + len(f.Value) + entryOverhead }

// A Decoder decodes the header blocks of one connection (RFC 7541). It keeps what
// was found out about a field with the field: what comes again is looked at once.
type Decoder struct {
	classify func(name, value string) uint8
	static   *[staticLength + 1]Field

	ring  []Field // of a length that is a power of two; entry n is at n modulo it
	added uint64  // entries, in all
	count int     // of them that are left
	used  int     // bytes
	limit int     // bytes

	// Of the block at hand:
	loose   Field  // the last one that is in no table
	scratch []byte // strings that are in no table; what is in it stays where it is when it grows
}

// A Classifier tells classes of fields, and has done so for those of the static
// table. It may be used by any number of decoders at once.
type Classifier struct {
	classify func(name, value string) uint8
	static   [staticLength + 1]Field
}

// NewClassifier returns one with this function.
func NewClassifier(classify func(name, value string) uint8) *Classifier {
	c := &Classifier{classify: classify}
	for f, i := range staticFields {
		c.static[i] = Field{f.Name, f.Value, classify(f.Name, f.Value)}
	}
	return c
}

// NewDecoder returns a decoder with a table of the protocol's initial size, which
// the peer may not enlarge.
func (c *Classifier) NewDecoder() *Decoder {
	return &Decoder{classify: c.classify, static: &c.static, limit: tableSize}
}

// keepScratch is the most that is kept of it between blocks, in bytes.
const keepScratch = 1 << 10

// Decode decodes a whole block and calls emit for each field until that returns
// false; the rest is decoded for the state of the table alone. A field and its
// strings are valid until block changes or Decode is called again.
func (d *Decoder) Decode(block []byte, emit func(*Field) bool) error {
	if d.scratch = d.scratch[:0]; cap(d.scratch) > keepScratch {
		d.scratch = nil
	}
	defer func() { d.loose = Field{} }()
	wanted, first := true, true
	for len(block) > 0 {
		var field *Field
		var err error
		switch b := block[0]; {
		case b&0x80 != 0:
			field, block, err = d.indexed(block)
		case b&0xc0 == 0x40:
			field, block, err = d.literal(block, 6, true, wanted)
		case b&0xe0 == 0x20:
			if !first {
				return errUpdate
			}
			if block, err = d.update(block); err != nil {
				return err
			}
			continue
		default:
			field, block, err = d.literal(block, 4, false, wanted)
		}
		if err != nil {
			return err
		}
		first = false
		if wanted {
			wanted = emit(field)
		}
	}
	return nil
}

// indexed reads a field of a table (RFC 7541 §6.1).
func (d *Decoder) indexed(p []byte) (*Field, []byte, error) {
	if i := p[0] & 0x7f; i < 0x7f { // all but a few
		field, err := d.at(uint64(i))
		return field, p[1:], err
	}
	i, p, err := integer(p, 7)
	if err != nil {
		return nil, nil, err
	}
	field, err := d.at(i)
	return field, p, err
}

// at returns an entry of a table.
func (d *Decoder) at(i uint64) (*Field, error) {
	switch {
	case i == 0 || i > uint64(staticLength+d.count):
		return nil, errIndex
	case i <= staticLength:
		return &d.static[i], nil
	}
	return d.entry(d.added - (i - staticLength)), nil
}

func (d *Decoder) entry(n uint64) *Field { return &d.ring[n&uint64(len(d.ring)-1)] }

// update reads a change of the table's size (RFC 7541 §6.3).
func (d *Decoder) update(p []byte) ([]byte, error) {
	size, p, err := integer(p, 5)
	if err != nil {
		return nil, err
	}
	if size > tableSize {
		return nil, errUpdate
	}
	d.limit = int(size)
	d.evict(0)
	return p, nil
}

// literal reads a field whose value is not in a table (RFC 7541 §6.2). What is
// neither kept nor wanted is only passed over.
func (d *Decoder) literal(p []byte, bits int, keep, wanted bool) (*Field, []byte, error) {
	index, p, err := integer(p, bits)
	if err != nil {
		return nil, nil, err
	}
	f := &d.loose
	*f = Field{}
	if index > 0 {
		known, err := d.at(index)
		if err != nil {
			return nil, nil, err
		}
		f.Name = known.Name
	} else if f.Name, p, err = d.text(p, keep); err != nil {
		return nil, nil, err
	}
	if f.Value, p, err = d.text(p, keep); err != nil {
		return nil, nil, err
	}
	if keep {
		f.Class = d.classify(f.Name, f.Value)
		return d.add(), p, nil
	}
	if wanted {
		f.Class = d.classify(f.Name, f.Value)
	}
	return f, p, nil
}

// text reads a string (RFC 7541 §5.2): one of its own to be kept, or a view.
func (d *Decoder) text(p []byte, keep bool) (string, []byte, error) {
	if len(p) == 0 {
		return "", nil, errTruncated
	}
	huffman := p[0]&0x80 != 0
	n, p, err := integer(p, 7)
	if err != nil {
		return "", nil, err
	}
	if n > uint64(len(p)) {
		return "", nil, errTruncated
	}
	b, rest := p[:n], p[n:]
	if huffman {
		text, err := AppendHuffmanDecoded(d.scratch, b)
		if err != nil {
			return "", nil, err
		}
		d.scratch, b = text, text[len(d.scratch):]
	}
	if keep {
		return string(b), rest, nil
	}
	return unsafe.String(unsafe.SliceData(b), len(b)), rest, nil
}

// add enters the field at hand, and returns it.
func (d *Decoder) add() *Field {
	size := d.loose.size()
	if size > d.limit {
		d.evict(d.limit) // RFC 7541 §4.4: an entry that is too large empties the table
		return &d.loose
	}
	d.evict(size)
	if d.count == len(d.ring) {
		d.grow()
	}
	entry := d.entry(d.added)
	*entry = d.loose
	d.added++
	d.count++
	d.used += size
	return entry
}

// grow makes the ring larger.
func (d *Decoder) grow() {
	old := *d
	d.ring = make([]Field, max(8, 2*len(old.ring)))
	for n := d.added - uint64(d.count); n < d.added; n++ {
		*d.entry(n) = *old.entry(n)
	}
}

// evict makes room for so many bytes.
func (d *Decoder) evict(room int) {
	for d.count > 0 && d.used+room > d.limit {
		entry := d.entry(d.added - uint64(d.count))
		d.used -= entry.size()
		*entry = Field{}
		d.count--
	}
}

// integer reads an integer with a prefix of so many bits (RFC 7541 §5.1).
func integer(p []byte, bits int) (uint64, []byte, error) {
	most := uint64(1)<<bits - 1
	n := uint64(p[0]) & most
	p = p[1:]
	if n < most {
		return n, p, nil
	}
	for shift := 0; len(p) > 0; shift += 7 {
		b := p[0]
		p = p[1:]
		if shift > 56 {
			return 0, nil, errInteger
		}
		n += uint64(b&0x7f) << shift
		if b&0x80 == 0 {
			return n, p, nil
		}
	}
	return 0, nil, errTruncated
}
