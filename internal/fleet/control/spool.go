package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"pennyfarthing/internal/fleet/release"
)

// A content opens the files of a release on this machine.
type content interface {
	Open(f release.File) (*os.File, error)
}

const (
	// maxSpooled is the largest object whose form goes into the spool, in bytes; for
	// larger ones the packer makes files of its own.
	maxSpooled = release.MaxDictionary
	// aheadBytes bounds what is being coded at one time, in bytes of identity forms.
	aheadBytes = 64 << 20
)

// A shape is one object in the form for one kind of POP: against an older version of the
// file, for those that have it, or on its own.
type shape struct {
	object release.Hash
	plain  bool
}

// A spool makes the form in which each object travels, once for all POPs, and keeps it
// in a file of its own: memory is bounded by what is being coded, a POP that is slow
// holds up nobody, and one that has to be sent something again costs nothing.
//
// It is safe for concurrent use.
type spool struct {
	from    content
	bases   map[release.Hash]release.Source // older versions, by the object that has taken their place
	packer  release.Packer
	file    *os.File
	workers chan struct{} // who may compute
	memory  *budget

	mu      sync.Mutex // guards what follows
	end     int64
	objects map[shape]*spooled
	// groups are by the hash of the names of what is in them, and chunks say which
	// of the objects that are expected to be sent belong together.
	groups map[release.Hash]*spooled
	chunks map[release.Hash]int
}

// A spooled is one object: coded, being coded, or to be sent as it is.
type spooled struct {
	ready chan struct{} // closed when what follows is there

	header   release.Header
	members  []release.Object  // of a group
	at       int64             // where in the spool's file; -1: as it is, from where it lies
	prepared *release.Prepared // of what is too large for the spool's file
	err      error
}

// newSpool makes a spool, whose file lies in a directory and is gone when it is closed.
func newSpool(dir string, from content, bases map[release.Hash]release.Source) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a place for what is sent: %w", err)
	}
	removeLeft(dir)
	f, err := os.CreateTemp(dir, "spool-*")
	if err != nil {
		return nil, fmt.Errorf("make a place for what is sent: %w", err)
	}
	return &spool{
		from: from, bases: bases, packer: release.Packer{Spool: dir}, file: f, workers: make(chan struct{}, runtime.GOMAXPROCS(0)), memory: newBudget(aheadBytes), objects: make(map[shape]*spooled), groups: make(map[release.Hash]*spooled),
	}, nil
}

// removeLeft removes spools of runs that were killed. Who calls it has the site's lock.
func removeLeft(dir string) {
	for _, pattern := range []string{"spool-*", "penny-*"} { // ours, and the packer's
		left, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return // the patterns are right
		}
		for _, file := range left {
			_ = os.Remove(file) // it is in nobody's way but the disk's
		}
	}
}

// close gives the disk back.
func (s *spool) close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := []error{s.file.Close(), os.Remove(s.file.Name())}
	for _, o := range s.objects {
		if o.prepared != nil {
			errs = append(errs, o.prepared.Close())
		}
	}
	return errors.Join(errs...)
}

// get returns an object, made now if nobody has begun to.
func (s *spool) get(ctx context.Context, f release.File, plain bool) (*spooled, error) {
	_, based := s.bases[f.Hash]
	for {
		o, err := s.getOnce(ctx, f, plain || !based)
		if err == nil || !cut(err) || ctx.Err() != nil {
			return o, err
		}
		// Who was making it was ended; we are not.
	}
}

func (s *spool) getOnce(ctx context.Context, f release.File, plain bool) (*spooled, error) {
	return once(ctx, &s.mu, s.objects, shape{f.Hash, plain}, func(o *spooled) error { return s.make(ctx, o, f, plain) })
}

// once returns what is called key, made now if nobody has begun to. What could not be
// made is forgotten: whoever asks next may have more luck.
func once[K comparable](ctx context.Context, mu *sync.Mutex, all map[K]*spooled, key K, do func(*spooled) error) (*spooled, error) {
	mu.Lock()
	o, begun := all[key]
	if !begun {
		o = &spooled{ready: make(chan struct{})}
		all[key] = o
	}
	mu.Unlock()
	if !begun {
		if o.err = do(o); o.err != nil {
			mu.Lock()
			delete(all, key)
			mu.Unlock()
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

// ahead makes objects before they are asked for, in order, until the context ends:
// together what goes so to POPs that know how to take it, if such is set.
func (s *spool) ahead(ctx context.Context, files []release.File, together bool) {
	var todo []func()
	if together {
		var groups [][]release.File
		s.expect(files)
		groups, files = s.together(files, false)
		for _, g := range groups {
			todo = append(todo, func() { _, _ = s.group(ctx, g) }) // who sends it learns what is wrong
		}
	}
	for _, f := range files {
		todo = append(todo, func() { _, _ = s.get(ctx, f, false) }) // as above
	}
	next := make(chan func())
	var wait sync.WaitGroup
	for range cap(s.workers) {
		wait.Go(func() {
			for do := range next {
				do()
			}
		})
	}
	defer wait.Wait()
	defer close(next)
	for _, do := range todo {
		select {
		case next <- do:
		case <-ctx.Done():
			return
		}
	}
}

// turn waits until so many bytes may be coded, and returns what ends that.
func (s *spool) turn(ctx context.Context, size int64) (end func(), err error) {
	if err := s.memory.take(ctx, size); err != nil {
		return nil, err
	}
	select {
	case s.workers <- struct{}{}:
		return func() { <-s.workers; s.memory.give(size) }, nil
	case <-ctx.Done():
		s.memory.give(size)
		return nil, context.Cause(ctx)
	}
}

// make makes the form of an object.
func (s *spool) make(ctx context.Context, o *spooled, f release.File, plain bool) error {
	end, err := s.turn(ctx, f.Size)
	if err != nil {
		return err
	}
	defer end()
	var base *release.Source
	if b, ok := s.bases[f.Hash]; ok && !plain {
		base = &b
	}
	prepared, err := s.packer.Prepare(ctx, s.source(f), f.Type, base)
	if errors.Is(err, release.ErrChanged) {
		return &ChangedError{Path: f.Path}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	o.header = prepared.Header
	switch {
	case f.Size > maxSpooled:
		o.prepared = prepared
	case prepared.Coding == release.Identity:
		o.at = -1
	default:
		o.at, err = s.spool(prepared)
	}
	return err
}

// spool writes a prepared object into the spool's file, and returns where.
func (s *spool) spool(p *release.Prepared) (int64, error) {
	var pack bytes.Buffer
	w := release.NewPackWriter(&pack)
	if err := errors.Join(w.Send(p), w.Flush()); err != nil {
		return 0, err
	}
	return s.write(pack.Bytes()[int64(pack.Len())-p.Length:]) // the last in the pack is the object's form
}

func (s *spool) source(f release.File) release.Source {
	return release.Source{Hash: f.Hash, Size: f.Size, Open: func() (release.Content, error) { return s.open(f) }}
}

func (s *spool) open(f release.File) (*os.File, error) {
	in, err := s.from.Open(f)
	if errors.Is(err, release.ErrChanged) {
		return nil, &ChangedError{Path: f.Path}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	return in, nil
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

// send adds an object to a pack, plain if the receiver may lack what it refers to.
func (s *spool) send(ctx context.Context, p *release.PackWriter, f release.File, plain bool) error {
	o, err := s.get(ctx, f, plain)
	if err != nil {
		return err
	}
	if o.prepared != nil {
		return p.Send(o.prepared)
	}
	if o.at >= 0 {
		return p.Add(o.header, io.NewSectionReader(s.file, o.at, o.header.Length))
	}
	in, err := s.open(f)
	if err != nil {
		return err
	}
	defer in.Close()
	return p.Add(o.header, in)
}
