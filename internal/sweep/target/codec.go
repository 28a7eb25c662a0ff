package target

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// codecVersion is the first byte of an encoded shard.
const codecVersion = 1

// maxEncoded is how many bytes a shard has before it is compressed: its text, and at
// most 10 bytes a rank and 2 a length.
const maxEncoded = maxShardText + MaxLength + 12*MaxShardSize + 16

// A Codec writes the items of a shard as bytes, and reads them. It may be used by
// several goroutines.
//
// The bytes are a version, 1, and a frame of zstd. In it are the number of items, the
// ranks, each as the difference to the one before, the lengths, and the targets one
// behind the other; numbers are varints.
type Codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// NewCodec returns a codec.
func NewCodec() (*Codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxEncoded))
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	return &Codec{enc, dec}, nil
}

// Encode writes items.
func (c *Codec) Encode(items []Item) []byte {
	size := 0
	for i := range items {
		size += len(items[i].Target)
	}
	plain := make([]byte, 0, size+6*len(items)+binary.MaxVarintLen64)
	plain = binary.AppendUvarint(plain, uint64(len(items)))
	last := int64(0)
	for i := range items {
		plain = binary.AppendVarint(plain, items[i].Rank-last)
		last = items[i].Rank
	}
	for i := range items {
		plain = binary.AppendUvarint(plain, uint64(len(items[i].Target)))
	}
	for i := range items {
		plain = append(plain, items[i].Target...)
	}
	return c.enc.EncodeAll(plain, []byte{codecVersion})
}

var errShard = errors.New("the shard's targets cannot be read")

// Decode reads items. All of it must be as Encode writes it.
func (c *Codec) Decode(data []byte) ([]Item, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: there are none", errShard)
	}
	if data[0] != codecVersion {
		return nil, fmt.Errorf("%w: they are of version %d, and this program knows %d", errShard, data[0], codecVersion)
	}
	plain, err := c.dec.DecodeAll(data[1:], nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errShard, err)
	}
	r := reader{rest: plain}
	n := r.uvarint(MaxShardSize)
	if n > uint64(len(plain)) {
		return nil, errShard // each takes more than a byte
	}
	items := make([]Item, n)
	last := int64(0)
	for i := range items {
		last += r.varint()
		items[i].Rank = last
	}
	lengths := make([]int, n)
	total := 0
	for i := range lengths {
		lengths[i] = int(r.uvarint(MaxLength)) //nolint:gosec // no more than MaxLength
		total += lengths[i]
	}
	if r.bad || total != len(r.rest) {
		return nil, errShard
	}
	text := string(r.rest)
	for i, n := range lengths {
		items[i].Target, text = text[:n], text[n:]
	}
	return items, nil
}

// A reader reads varints. Once it has met something else, it returns nothing but 0.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > most || r.bad {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 || r.bad {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}
