//go:build unix

package body

import (
	"os"

	"golang.org/x/sys/unix"
)

// memory is a mapping: of an unnamed file, written through the file so that a
// full disk is an error and not a SIGBUS, or anonymous when file is nil.
type memory struct {
	data []byte
	file *os.File
}

// mapMemory maps size bytes, from a file in dir if that is possible.
func mapMemory(dir string, size int) (memory, error) {
	if dir != "" {
		if m, err := mapFile(dir, size); err == nil {
			return m, nil
		}
	}
	data, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	return memory{data: data}, err
}

func mapFile(dir string, size int) (memory, error) {
	f, err := os.CreateTemp(dir, "bodies-*")
	if err != nil {
		return memory{}, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close() // the file stays behind, but is empty
		return memory{}, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		_ = f.Close()
		return memory{}, err
	}
	return memory{data: data, file: f}, nil
}

// write copies data to offset at. Pages past the end of the file are never
// read: a body is handed out only after its bytes are in the file.
func (m memory) write(data []byte, at int) error {
	if m.file == nil {
		copy(m.data[at:], data)
		return nil
	}
	_, err := m.file.WriteAt(data, int64(at))
	return err
}

func (m memory) release() {
	_ = unix.Munmap(m.data) // nothing can be done about a mapping that will not go
	if m.file != nil {
		_ = m.file.Close()
	}
}
