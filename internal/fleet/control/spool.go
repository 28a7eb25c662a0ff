package control

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/fleet/release"
)

// A content opens the files of a release on this machine.
type content interface {
	Open(f release.File) (*os.File, error)
}

const (
	// maxSpooled is the largest object that is held in memory and coded, in bytes.
	// Larger ones are sent as they are, from where they lie.
	maxSpooled = release.MaxCoded
	// aheadBytes bounds what is being coded at one time, in bytes of identity forms.
	aheadBytes = 64 << 20
	// worthCoding is the smallest file that coding makes smaller by more than a
	// header.
	worthCoding = 128
)

// A spool makes the form in which each object travels, once for all POPs, and keeps it
// in a file of its own: memory is bounded by what is being coded, a POP that is slow
// holds up nobody, and one that has to be sent something again costs nothing.
//
// It is safe for concurrent use.
type spool struct {
	from    content
	file    *os.File
	workers chan struct{} // who may compute
	memory  *budget

	mu      sync.Mutex // guards what follows
	end     int64
	objects map[release.Hash]*spooled
}

// A spooled is one object: coded, being coded, or to be sent as it is.
type spooled struct {
	file  release.File
	ready chan struct{} // closed when what follows is there

	header release.Header
	at     int64 // where in the spool's file; -1: as it is, from where it lies
	err    error
}

// newSpool makes a spool, whose file lies in a directory and is gone when it is closed.
func newSpool(dir string, from content) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a place for what is sent: %w", err)
	}
	removeLeft(dir)
	f, err := os.CreateTemp(dir, "spool-*")
	if err != nil {
		return nil, fmt.Errorf("make a place for what is sent: %w", err)
	}
	return &spool{
		from: from, file: f, workers: make(chan struct{}, runtime.GOMAXPROCS(0)), memory: newBudget(aheadBytes), objects: make(map[release.Hash]*spooled),
	}, nil
}

// removeLeft removes spools of runs that were killed. Who calls it has the site's lock.
func removeLeft(dir string) {
	left, err := filepath.Glob(filepath.Join(dir, "spool-*"))
	if err != nil {
		return // the pattern is right
	}
	for _, file := range left {
		_ = os.Remove(file) // it is in nobody's way but the disk's
	}
}

// close gives the disk back.
func (s *spool) close() error {
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}

// get returns an object, made now if nobody has begun to.
func (s *spool) get(ctx context.Context, f release.File) (*spooled, error) {
	for {
		o, err := s.getOnce(ctx, f)
		if err == nil || !cut(err) || ctx.Err() != nil {
			return o, err
		}
		// Who was making it was ended; we are not.
	}
}

func (s *spool) getOnce(ctx context.Context, f release.File) (*spooled, error) {
	s.mu.Lock()
	o, begun := s.objects[f.Hash]
	if !begun {
		o = &spooled{file: f, ready: make(chan struct{})}
		s.objects[f.Hash] = o
	}
	s.mu.Unlock()
	if !begun {
		o.err = s.make(ctx, o)
		if o.err != nil { // whoever asks next may have more luck
			s.mu.Lock()
			delete(s.objects, f.Hash)
			s.mu.Unlock()
		}
		close(o.ready)
	}
	select {
	case <-o.ready:
		return o, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ahead makes objects before they are asked for, in order, until the context ends.
func (s *spool) ahead(ctx context.Context, files []release.File) {
	next := make(chan release.File)
	var wait sync.WaitGroup
	for range cap(s.workers) {
		wait.Go(func() {
			for f := range next {
				_, _ = s.get(ctx, f) // who sends it learns what is wrong
			}
		})
	}
	defer wait.Wait()
	defer close(next)
	for _, f := range files {
		select {
		case next <- f:
		case <-ctx.Done():
			return
		}
	}
}

// make decides on the form of an object and makes it.
func (s *spool) make(ctx context.Context, o *spooled) error {
	f := o.file
	o.header = release.Header{Hash: f.Hash, Size: f.Size, Coding: release.Identity, Length: f.Size}
	if o.at = -1; f.Size > maxSpooled || f.Size < worthCoding || !encode.Compressible(f.Type) {
		return nil
	}
	if err := s.memory.take(ctx, f.Size); err != nil {
		return err
	}
	defer s.memory.give(f.Size)
	select {
	case s.workers <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.workers }()
	plain, err := s.read(f)
	if err != nil {
		return err
	}
	coded, err := encode.Encode(nil, plain, encode.Brotli, encode.Quick)
	if err != nil {
		return err
	}
	if len(coded) >= len(plain) {
		return nil
	}
	o.header.Coding, o.header.Level, o.header.Length = release.Brotli, encode.Quick.String(), int64(len(coded))
	o.at, err = s.write(coded)
	return err
}

// read returns a file's content, if it is still what the manifest says.
func (s *spool) read(f release.File) ([]byte, error) {
	in, err := s.from.Open(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	defer in.Close()
	plain := make([]byte, f.Size)
	if _, err := io.ReadFull(in, plain); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	if sha256.Sum256(plain) != [sha256.Size]byte(f.Hash) {
		return nil, &ChangedError{Path: f.Path}
	}
	return plain, nil
}

// write appends to the spool's file, and returns where.
func (s *spool) write(data []byte) (int64, error) {
	s.mu.Lock()
	at := s.end
	s.end += int64(len(data))
	s.mu.Unlock()
	if _, err := s.file.WriteAt(data, at); err != nil {
		return 0, fmt.Errorf("write what is sent: %w", err)
	}
	return at, nil
}

// send adds an object to a pack.
func (s *spool) send(ctx context.Context, p *release.PackWriter, f release.File) error {
	o, err := s.get(ctx, f)
	if err != nil {
		return err
	}
	if o.at >= 0 {
		return p.Add(o.header, io.NewSectionReader(s.file, o.at, o.header.Length))
	}
	in, err := s.from.Open(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Path, err)
	}
	defer in.Close()
	return p.Add(o.header, in)
}

// A budget is so many bytes, shared. What is larger than all of it takes all of it.
type budget struct {
	all int64

	mu   sync.Mutex // guards what follows
	left int64
	more chan struct{} // closed, and replaced, when there is more
}

func newBudget(all int64) *budget { return &budget{all: all, left: all, more: make(chan struct{})} }

func (b *budget) take(ctx context.Context, n int64) error {
	n = min(n, b.all)
	for {
		b.mu.Lock()
		if b.left >= n {
			b.left -= n
			b.mu.Unlock()
			return nil
		}
		more := b.more
		b.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += min(n, b.all)
	close(b.more)
	b.more = make(chan struct{})
}
