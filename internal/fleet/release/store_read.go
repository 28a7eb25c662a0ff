package release

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
)

// Open opens the identity form of an object; the error of one that is not there
// is fs.ErrNotExist. It does not hash it: who reads the whole file can see by the
// hash whether the disk still has it as it was, and calls [Store.Discard] if not.
func (st *Store) Open(h Hash) (*os.File, error) {
	f, err := os.Open(st.objectPath(h))
	if err != nil {
		return nil, fmt.Errorf("open object %s: %w", h.Short(), err)
	}
	return f, nil
}

// OpenVerified is Open after having hashed the object. One that the disk has damaged
// is removed and a *[CorruptError].
func (st *Store) OpenVerified(h Hash) (*os.File, error) {
	f, err := st.Open(h)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return nil, errors.Join(fmt.Errorf("read object %s: %w", h.Short(), err), f.Close())
	}
	if Hash(sum.Sum(nil)) != h {
		return nil, errors.Join(f.Close(), st.Discard(h))
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("read object %s: %w", h.Short(), err), f.Close())
	}
	return f, nil
}

// Read returns the identity form of an object of at most limit bytes. One that
// the disk has damaged is removed and a *[CorruptError].
func (st *Store) Read(h Hash, limit int64) ([]byte, error) {
	f, err := st.Open(h)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readFile(f, limit)
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", h.Short(), err)
	}
	if HashOf(data) != h {
		return nil, st.Discard(h)
	}
	return data, nil
}

// readFile reads an open file of at most limit bytes.
func readFile(f *os.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("it has %d bytes, more than %d", info.Size(), limit)
	}
	data := make([]byte, info.Size())
	_, err = io.ReadFull(f, data)
	return data, err
}

func readPath(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readFile(f, limit)
}

// Verify reads an object through and compares its hash. One that the disk has
// damaged is removed and a *[CorruptError].
func (st *Store) Verify(ctx context.Context, h Hash) error {
	f, err := st.Open(h)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, &contextReader{ctx: ctx, r: f}); err != nil {
		return fmt.Errorf("read object %s: %w", h.Short(), err)
	}
	if Hash(sum.Sum(nil)) != h {
		return st.Discard(h)
	}
	return nil
}

// Discard removes an object that turned out not to be what its name says, with
// all that was made of it, and returns the *[CorruptError] to report.
func (st *Store) Discard(h Hash) error {
	corrupt := error(&CorruptError{Name: h, Path: st.objectPath(h)})
	if err := st.Remove(h); err != nil {
		return errors.Join(corrupt, err)
	}
	return corrupt
}

// Remove removes an object, which need not be there, with all that was made of it.
func (st *Store) Remove(h Hash) error {
	st.moving.Lock()
	defer st.moving.Unlock()
	var errs []error
	for _, p := range append(st.codedPaths(h), st.objectPath(h)) {
		_, err := st.remove(p)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
