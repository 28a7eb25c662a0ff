package hpack

import xhpack "golang.org/x/net/http2/hpack"

const (
	// tableSize is how many bytes of a client's dynamic table are used; it is the
	// protocol's initial SETTINGS_HEADER_TABLE_SIZE (RFC 9113 §6.5.2).
	tableSize = 4 << 10
	// mostEntries is how many entries that can hold.
	mostEntries = tableSize / entryOverhead
	// mostKnown is how many blocks a table remembers.
	mostKnown = 16
)

// A Table writes blocks to one connection of HTTP/2 and knows what is in the
// dynamic table of the decoder at the other end. Create one with [NewTable].
type Table struct {
	limit   int                 // bytes
	used    int                 // bytes
	lowest  int                 // limit since the last section began
	changed bool                // the next section begins with the limit
	sizes   [mostEntries]uint16 // of the entries, in a ring
	added   uint64              // entries, in all
	evicted uint64              // of them

	known [mostKnown]known
	next  int                           // of known, the one that makes room
	loose map[xhpack.HeaderField]uint64 // the entries of fields that came alone; some may be evicted
}

// A known block was written before.
type known struct {
	block *Block
	first uint64 // the entry of its first field
	kept  bool   // its fields were entered
}

// NewTable returns a table of the protocol's initial size, and empty.
func NewTable() *Table { return &Table{limit: tableSize, lowest: tableSize} }

// SetLimit is for the peer's SETTINGS_HEADER_TABLE_SIZE, in bytes. More than the
// initial size is not made use of.
func (t *Table) SetLimit(limit uint32) {
	size := int(min(limit, tableSize))
	if size == t.limit {
		return
	}
	t.limit, t.lowest, t.changed = size, min(t.lowest, size), true
	t.evict(0)
}

// Begin appends what must stand at the beginning of a header section: updates of
// the table's size (RFC 7541 §4.2, §6.3).
func (t *Table) Begin(dst []byte) []byte {
	if !t.changed {
		return dst
	}
	if t.lowest < t.limit { // it must be told; to some decoders, two updates may only come to an empty table
		t.evict(t.limit)
		dst = appendInteger(dst, 0x20, 5, 0)
	}
	t.lowest, t.changed = t.limit, false
	return appendInteger(dst, 0x20, 5, t.limit)
}

// Append appends a block to the header section.
func (t *Table) Append(dst []byte, b *Block) []byte {
	k := t.find(b)
	switch {
	case k == nil && !b.common:
		t.remember(known{block: b})
		return b.appendPlain(dst)
	case 2*b.kept > t.limit: // it would push out all others
		return b.appendPlain(dst)
	case k == nil:
		k = t.remember(known{block: b})
	case k.kept && k.first >= t.evicted:
		return t.appendIndexes(dst, k)
	}
	k.kept, k.first = true, t.added
	for _, f := range b.fields {
		t.add(int(f.size))
	}
	return append(dst, b.text...)
}

// appendIndexes appends a block whose fields are all in the table.
func (t *Table) appendIndexes(dst []byte, k *known) []byte {
	index := staticLength + int(t.added-k.first) // of the first field: the newest entry has the lowest
	for range k.block.fields {
		if index < 0x7f {
			dst = append(dst, 0x80|byte(index))
		} else {
			dst = appendInteger(dst, 0x80, 7, index)
		}
		index--
	}
	return dst
}

// AppendField appends one field, whose name is in lower case, to the header section.
func (t *Table) AppendField(dst []byte, name, value string) []byte {
	f := xhpack.HeaderField{Name: name, Value: value}
	if exact, ok := staticFields[f]; ok {
		return append(dst, 0x80|byte(exact))
	}
	if entry, ok := t.loose[f]; ok && entry >= t.evicted {
		return appendInteger(dst, 0x80, 7, staticLength+int(t.added-entry))
	}
	size := int(f.Size())
	switch {
	case secret[name]:
		return appendLiteral(dst, 0x10, 4, name, value)
	case passing[name] || 2*size > t.limit:
		return appendLiteral(dst, 0, 4, name, value)
	case t.loose == nil || len(t.loose) == 2*mostEntries:
		t.loose = make(map[xhpack.HeaderField]uint64) // what is forgotten may be entered again
	}
	t.loose[f] = t.added
	t.add(size)
	return appendLiteral(dst, 0x40, 6, name, value)
}

var (
	// secret are names of fields whose values nobody shall guess by the size of
	// what is sent (RFC 7541 §7.1.3).
	secret = map[string]bool{"set-cookie": true}
	// passing are names of fields whose values do not come again.
	passing = map[string]bool{
		"age": true, "content-length": true, "content-range": true, "date": true, "etag": true, "last-modified": true, "location": true,
	}
)

func (t *Table) find(b *Block) *known {
	for i := range t.known {
		if t.known[i].block == b {
			return &t.known[i]
		}
	}
	return nil
}

func (t *Table) remember(k known) *known {
	slot := &t.known[t.next]
	*slot = k
	t.next = (t.next + 1) % mostKnown
	return slot
}

// add enters a field of this size, which is not more than the limit.
func (t *Table) add(size int) {
	t.evict(size)
	t.sizes[t.added%mostEntries] = uint16(size)
	t.added++
	t.used += size
}

// evict makes room for so many bytes.
func (t *Table) evict(room int) {
	for t.used+room > t.limit {
		t.used -= int(t.sizes[t.evicted%mostEntries])
		t.evicted++
	}
}
