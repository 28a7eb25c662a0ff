package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"pennyfarthing/internal/mistake"
	"pennyfarthing/internal/sweep/queue"
)

// targets.bin begins with a magic, and has records of a shard's number, the length of
// its data, a CRC-32C of these two and the data, each 4 bytes, big-endian, and then
// the data.
const (
	magic      = "pennyT1\n"
	headerSize = int64(len(magic))
	recordSize = 12
	// maxData is how long the data of a shard may be, in bytes: far more than target's
	// codec makes.
	maxData = 64 << 20
)

// targetsFile is targets.bin. Reads may be at the same time as anything; the rest is
// for one goroutine at a time.
type targetsFile struct {
	file *os.File
	end  int64 // of what the journal knows
}

// openTargets opens or makes the file, and cuts off what is behind the end.
func openTargets(path string, end int64) (*targetsFile, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644) //nolint:gosec // anyone may read a list's targets who may read the run
	if err != nil {
		return nil, fmt.Errorf("open targets: %w", err)
	}
	t := &targetsFile{file, end}
	if err := t.prepare(path); err != nil {
		file.Close()
		return nil, err
	}
	return t, nil
}

func (t *targetsFile) prepare(path string) error {
	head := make([]byte, headerSize)
	n, err := t.file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read targets: %w", err)
	}
	info, err := t.file.Stat()
	if err != nil {
		return fmt.Errorf("read targets: %w", err)
	}
	hint := "begin another run with -o DIR"
	switch {
	case t.end == headerSize && n < len(head): // new, or died being made
		if _, err := t.file.WriteAt([]byte(magic), 0); err != nil {
			return fmt.Errorf("begin %s: %w", path, err)
		}
	case string(head) != magic:
		return &mistake.Error{File: path, What: "these are not the targets of a sweep", Hint: hint}
	case info.Size() < t.end:
		return &mistake.Error{File: path, What: fmt.Sprintf("%d of %d bytes are missing", t.end-info.Size(), t.end), Hint: hint}
	}
	if err := t.file.Truncate(t.end); err != nil {
		return fmt.Errorf("cut the tail of %s: %w", path, err)
	}
	if err := t.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// append writes the data of shards behind the end and syncs it. The end stays where
// it is until keep: what the journal does not learn of is written over.
func (t *targetsFile) append(shards []queue.Shard) ([]placed, error) {
	places := make([]placed, len(shards))
	size := 0
	for i := range shards {
		size += recordSize + len(shards[i].Data)
	}
	buf := make([]byte, 0, size)
	for i := range shards {
		s := &shards[i]
		places[i] = placed{Offset: t.end + int64(len(buf)), Length: len(s.Data), Count: s.Count, End: s.End}
		from := len(buf)
		buf = binary.BigEndian.AppendUint32(buf, s.ID)
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(s.Data))) //nolint:gosec // at most maxData
		buf = binary.BigEndian.AppendUint32(buf, checksum(buf[from:], s.Data))
		buf = append(buf, s.Data...)
	}
	_, err := t.file.WriteAt(buf, t.end)
	if err == nil {
		err = t.file.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, t.file.Truncate(t.end))
	}
	return places, nil
}

// keep moves the end behind what append has written.
func (t *targetsFile) keep(places []placed) {
	last := places[len(places)-1]
	t.end = last.Offset + recordSize + int64(last.Length)
}

func checksum(head, data []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(head, table), table, data)
}

// read reads the data of a shard.
func (t *targetsFile) read(id uint32, offset int64, length int) ([]byte, error) {
	record := make([]byte, recordSize+length)
	if _, err := t.file.ReadAt(record, offset); err != nil {
		return nil, fmt.Errorf("read the targets of shard %d: %w", id, err)
	}
	head, data := record[:recordSize-4], record[recordSize:]
	if binary.BigEndian.Uint32(head) != id || binary.BigEndian.Uint32(head[4:]) != uint32(length) || //nolint:gosec // at most maxData
		binary.BigEndian.Uint32(record[recordSize-4:]) != checksum(head, data) {
		return nil, &mistake.Error{File: t.file.Name(), What: fmt.Sprintf("the targets of shard %d are damaged", id), Hint: "begin another run with -o DIR"}
	}
	return data, nil
}

func (t *targetsFile) close() error { return t.file.Close() }
