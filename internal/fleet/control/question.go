package control

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"

	"pennyfarthing/internal/fleet/release"
	"pennyfarthing/internal/probe"
)

const (
	// wholeBytes is how many bytes a POP is asked for in whole bodies, of what has
	// changed, if the files are here to compare pieces of them.
	wholeBytes = 64 << 10
	// wholeOverAll is the largest file that is asked for whole over every protocol.
	wholeOverAll = 16 << 10
	// pieceBytes is how long a piece is. Of what has so few bytes that a piece takes as
	// long, head included, all is asked for.
	pieceBytes = 64
	fewBytes   = 512
	// excess is how many bytes too many an answer may have to be told by its hash.
	excess = 1 << 20
)

// A depth is how much of a body is asked for.
type depth uint8

const (
	whole depth = iota // all of it, whose hash is compared
	piece              // some bytes, which are compared with the file's, and the entity tag
	bare               // none: the head
)

// A question is a target as one POP is asked for it.
type question struct {
	depth
	stretch *stretch // of a piece
}

// A stretch is some bytes of a file.
type stretch struct {
	once   sync.Once
	from   int64
	length int64
	sum    [sha256.Size]byte
	err    error // the file is not what it was
}

// depths decides how much of each target's body a POP is asked for. One of each kind
// unless it is large, what is small, and as much as there is room for of what chance chooses, each time and
// for each POP something else, come whole.
func (v *verifier) depths(pop string) []depth {
	all := make([]depth, len(v.targets))
	if v.all || v.content == nil {
		return all
	}
	left := int64(wholeBytes)
	for i := range v.targets {
		if t := &v.targets[i]; t.listed && t.file.Size <= wholeBytes {
			left -= t.file.Size
		}
	}
	random := rand.New(rand.NewChaCha8(sha256.Sum256(append(v.release[:], pop...)))) //nolint:gosec // nobody gains from guessing it
	for _, i := range random.Perm(len(v.targets)) {
		switch t := &v.targets[i]; {
		case t.listed && t.file.Size <= wholeBytes || t.file.Size <= fewBytes:
		case t.file.Size <= left:
			left -= t.file.Size
		case t.want.Status == http.StatusOK:
			all[i] = piece
		default:
			all[i] = bare
		}
	}
	return all
}

// overOther is how much of a target's body is asked for over a protocol: HTTP/2 is what is
// asked for everything, and from the others it is enough to know that they are as good.
func (v *verifier) overOther(protocol probe.Protocol, t *target, d depth) depth {
	if protocol != probe.HTTP2 && !v.all && v.content != nil && t.want.Status == http.StatusOK && t.file.Size > wholeOverAll {
		return piece
	}
	return d
}

// question is a target as it is asked for. A file that is not what it was is asked for
// as a whole.
func (v *verifier) question(i int, d depth) question {
	q := question{depth: d}
	if d != piece {
		return q
	}
	s := &v.stretches[i]
	s.once.Do(func() { s.err = v.measure(s, v.targets[i].file) })
	if s.err != nil {
		return question{depth: whole}
	}
	q.stretch = s
	return q
}

// measure chooses a stretch of a file, by chance, and hashes it.
func (v *verifier) measure(s *stretch, f release.File) error {
	in, err := v.content.Open(f)
	if err != nil {
		return err
	}
	defer in.Close()
	at := sha256.Sum256(append(v.release[:], f.Path...))
	s.length = min(pieceBytes, f.Size)
	s.from = int64(binary.BigEndian.Uint64(at[:]) % uint64(f.Size-s.length+1)) //nolint:gosec // it is not negative, and below the size
	sum := sha256.New()
	n, err := io.Copy(sum, io.NewSectionReader(in, s.from, s.length))
	if err == nil && n < s.length {
		err = errors.New("it is shorter than it was")
	}
	s.sum = [sha256.Size]byte(sum.Sum(nil))
	return err
}

// request is a question in HTTP. HTTP/1.1 is asked for plain content, and the others as
// browsers do it, so that both are proved.
func (q question) request(t *target, protocol probe.Protocol) probe.Request {
	r := probe.Request{Coded: protocol != probe.HTTP1}
	if t.want.Name != "" {
		r.Limit = t.file.Size + excess
	}
	switch q.depth {
	case piece:
		r.Coded = false
		r.Header = http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", q.stretch.from, q.stretch.from+q.stretch.length-1)}}
	case bare:
		r.Method = http.MethodHead
	case whole:
	}
	return r
}
