package control

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/fleet/release"
)

const (
	// maxTogether is up to which size an object goes together with others, in bytes.
	maxTogether = 1 << 20
	// minTogether is from how many bytes on objects do so. What is less goes in br,
	// each by itself, so that visitors get it compressed from the first moment on.
	minTogether = 4 << 20
	// groupBytes is how many bytes go together.
	groupBytes = 16 << 20
)

// expect tells which objects will probably be sent. Which of them go together does not
// depend on who lacks which, so that POPs that lack the same are sent the same.
func (s *spool) expect(files []release.File) {
	chunks := make(map[release.Hash]int)
	n := 0
	for _, compressible := range []bool{true, false} {
		size := int64(0)
		for _, f := range files {
			if _, known := chunks[f.Hash]; known || !s.small(f, false) || encode.Compressible(f.Type) != compressible {
				continue
			}
			if size += f.Size; size > groupBytes {
				n, size = n+1, f.Size
			}
			chunks[f.Hash] = n
		}
		n++
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunks = chunks
}

// small reports whether an object is one that goes together with others.
func (s *spool) small(f release.File, plain bool) bool {
	_, based := s.bases[f.Hash]
	return f.Size <= maxTogether && (plain || !based)
}

// together sorts objects into those that go together, by group, and those that go
// alone.
func (s *spool) together(files []release.File, plain bool) (groups [][]release.File, alone []release.File) {
	total := int64(0)
	for _, f := range files {
		if s.small(f, plain) {
			total += f.Size
		}
	}
	if total < minTogether {
		return nil, files
	}
	s.mu.Lock()
	chunks := s.chunks
	s.mu.Unlock()
	expected := make(map[int][]release.File)
	var others [2][]release.File // that nobody expected: those that get smaller, and those that do not
	for _, f := range files {
		chunk, known := chunks[f.Hash]
		switch {
		case !s.small(f, plain):
			alone = append(alone, f)
		case known:
			expected[chunk] = append(expected[chunk], f)
		case encode.Compressible(f.Type):
			others[0] = append(others[0], f)
		default:
			others[1] = append(others[1], f)
		}
	}
	for _, chunk := range slices.Sorted(maps.Keys(expected)) {
		groups = append(groups, expected[chunk])
	}
	for _, more := range others {
		groups = append(groups, cutGroups(more)...)
	}
	return groups, alone
}

// cutGroups cuts files into groups.
func cutGroups(files []release.File) (groups [][]release.File) {
	size, from := int64(0), 0
	for i, f := range files {
		if size += f.Size; size > groupBytes {
			groups = append(groups, files[from:i])
			size, from = f.Size, i
		}
	}
	if from < len(files) {
		groups = append(groups, files[from:])
	}
	return groups
}

// group returns objects together, made now if nobody has begun to.
func (s *spool) group(ctx context.Context, files []release.File) (*spooled, error) {
	sum := sha256.New()
	for _, f := range files {
		sum.Write(f.Hash[:])
	}
	key := release.Hash(sum.Sum(nil))
	for {
		g, err := once(ctx, &s.mu, s.groups, key, func(g *spooled) error { return s.makeGroup(ctx, g, files) })
		if err == nil || !cut(err) || ctx.Err() != nil {
			return g, err
		}
		// Who was making it was ended; we are not.
	}
}

func (s *spool) makeGroup(ctx context.Context, g *spooled, files []release.File) error {
	size := int64(0)
	sources := make([]release.Source, len(files))
	g.members = make([]release.Object, len(files))
	for i, f := range files {
		size += f.Size
		sources[i] = s.source(f)
		g.members[i] = release.Object{Hash: f.Hash, Size: f.Size}
	}
	end, err := s.turn(ctx, size)
	if err != nil {
		return err
	}
	defer end()
	data, err := s.packer.Solid(ctx, sources, encode.Compressible(files[0].Type))
	if at, ok := errors.AsType[*release.SourceError](err); ok && errors.Is(err, release.ErrChanged) {
		return &ChangedError{Path: files[at.Index].Path}
	}
	if err != nil {
		return fmt.Errorf("pack %s and others: %w", files[0].Path, err)
	}
	g.header.Length = int64(len(data))
	g.at, err = s.write(data)
	return err
}

// sendGroup adds objects to a pack together.
func (s *spool) sendGroup(ctx context.Context, p *release.PackWriter, files []release.File) error {
	g, err := s.group(ctx, files)
	if err != nil {
		return err
	}
	return p.AddSolid(g.members, g.header.Length, io.NewSectionReader(s.file, g.at, g.header.Length))
}
