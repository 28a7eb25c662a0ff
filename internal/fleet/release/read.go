package release

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"

	"pennyfarthing/internal/mediatype"
)

const (
	// wholeBytes is up to which size the nature of a file is told by all of it;
	// package serve/site has files of that size in memory and does the same.
	wholeBytes = 1 << 20
	// readAttempts is how often a file is read that changes while it is read.
	readAttempts = 5
)

var (
	errUnsteady  = errors.New("it changes while it is being read")
	errIrregular = errors.New("it is no file any more")
)

// openRegular opens a regular file, which it returns with its stat. What is
// something else by now is errIrregular, and closed by the caller as well.
func openRegular(root *os.Root, path string) (*os.File, fileStat, error) {
	f, err := root.OpenFile(path, openFlags, 0)
	if err != nil {
		return nil, fileStat{}, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errIrregular
	}
	if err != nil {
		return f, fileStat{}, err
	}
	return f, statOf(info), nil
}

// A fileReader hashes files, one after the other.
type fileReader struct{ buf []byte }

// steady reads a file whose stat is the same before and after.
func (r *fileReader) steady(ctx context.Context, root *os.Root, path string) (fileStat, content, error) {
	for range readAttempts {
		stat, c, err := r.once(ctx, root, path)
		if !errors.Is(err, errUnsteady) {
			return stat, c, err
		}
	}
	return fileStat{}, content{}, errUnsteady
}

func (r *fileReader) once(ctx context.Context, root *os.Root, path string) (fileStat, content, error) {
	f, before, err := openRegular(root, path)
	if f != nil {
		defer f.Close()
	}
	if err != nil {
		return fileStat{}, content{}, err
	}
	n, c, err := r.content(ctx, f)
	if err != nil {
		return fileStat{}, content{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return fileStat{}, content{}, err
	}
	if statOf(info) != before || n != before.size {
		return fileStat{}, content{}, errUnsteady
	}
	return before, c, nil
}

// content reads an open file to its end, and returns how many bytes that was.
func (r *fileReader) content(ctx context.Context, f *os.File) (int64, content, error) {
	if r.buf == nil {
		r.buf = make([]byte, wholeBytes+1)
	}
	n, err := io.ReadFull(&contextReader{ctx: ctx, r: f}, r.buf)
	if err == nil { // there is more than is told by all of it
		c := content{nature: mediatype.Look(r.buf[:mediatype.SniffLength])}
		sum := sha256.New()
		sum.Write(r.buf)
		rest, err := io.CopyBuffer(sum, &contextReader{ctx: ctx, r: f}, r.buf)
		sum.Sum(c.hash[:0])
		return int64(n) + rest, c, err
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, content{}, err
	}
	return int64(n), content{hash: HashOf(r.buf[:n]), nature: mediatype.Look(r.buf[:n])}, nil
}
