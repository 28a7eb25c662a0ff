//go:build !unix

package body

// memory is plain heap where the system has no mmap that we know.
type memory struct {
	data []byte
}

func mapMemory(_ string, size int) (memory, error) { return memory{data: make([]byte, size)}, nil }

func (m memory) write(data []byte, at int) error {
	copy(m.data[at:], data)
	return nil
}

func (m memory) release() {}
