//go:build linux

package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A treeKind says what is in a tree.
type treeKind struct {
	name        string
	what        string
	files       int
	least, most int     // bytes of a file
	pictures    float64 // the share of files that are
	large       int     // bytes of one file more; 0: there is none
}

func filesTree() treeKind {
	return treeKind{"files", "10,000 files of 1 to 64 KiB, and one of 20 MB", 10_000, 1 << 10, 64 << 10, 0.2, 20_000_000}
}

func smallTree() treeKind {
	return treeKind{"small", "100,000 files of 100 bytes to 4 KiB", 100_000, 100, 4 << 10, 0.05, 0}
}

const (
	seed       = 20 // of everything that is drawn
	perDir     = 100
	largeFile  = "download/pictures.zip"
	percent    = 100 // every so manieth file is 1 %
	treeAge    = 90 * 24 * time.Hour
	smallImage = 700 // bytes; there is no JPEG that is much smaller
)

// A tree is a directory that is deployed.
type tree struct {
	treeKind
	dir    string
	corpus *corpus
	bytes  int64 // of all files when it was made
}

// random is a stream of its own for each file and edit.
func (t *tree) random(i, edit int) *rand.Rand {
	return rand.New(rand.NewPCG(seed+uint64(edit)<<32, uint64(i))) //nolint:gosec // nobody gains from guessing it
}

// isPicture says what a file is.
func (t *tree) isPicture(i int) bool { return t.random(i, 1<<20).Float64() < t.pictures }

// path is where a file lies.
func (t *tree) path(i int) string {
	kind := ".html"
	switch {
	case t.isPicture(i):
		kind = ".jpg"
	case i%10 == 3:
		kind = ".txt"
	case i%10 == 7:
		kind = ".js"
	}
	return fmt.Sprintf("part-%02d/section-%03d/%s-%06d%s", i/perDir/20, i/perDir, [...]string{"page", "note", "item"}[i%3], i, kind)
}

// size draws a size: as many files between 1 and 2 KiB as between 32 and 64.
func (t *tree) size(r *rand.Rand) int {
	return int(float64(t.least) * math.Pow(float64(t.most)/float64(t.least), r.Float64()))
}

// content makes a file.
func (t *tree) content(i, edit int) ([]byte, error) {
	size := t.size(t.random(i, 1<<21))
	r := t.random(i, edit)
	if t.isPicture(i) {
		return t.corpus.picture(r, max(size, smallImage))
	}
	if strings.HasSuffix(t.path(i), ".html") {
		return t.corpus.page(r, fmt.Sprintf("Page %d", i), size), nil
	}
	return fmt.Appendf(t.corpus.prose(r, size), "%d\n", i), nil
}

// makeTree makes a tree below a directory.
func makeTree(ctx context.Context, kind treeKind, dir string, c *corpus) (*tree, error) {
	t := &tree{treeKind: kind, dir: dir, corpus: c}
	old := time.Now().Add(-treeAge)
	const workers = 2
	var wait sync.WaitGroup
	errs := make([]error, workers)
	sizes := make([]int64, workers)
	for w := range workers {
		wait.Go(func() {
			for i := w; i < t.files && ctx.Err() == nil && errs[w] == nil; i += workers {
				var data []byte
				if data, errs[w] = t.content(i, 0); errs[w] == nil {
					sizes[w] += int64(len(data))
					errs[w] = t.write(t.path(i), data, old.Add(time.Duration(i)*time.Second))
				}
			}
		})
	}
	wait.Wait()
	t.bytes = sizes[0] + sizes[1]
	err := errors.Join(append(errs, ctx.Err())...)
	if err == nil && t.large > 0 {
		err = t.writeLarge(old)
	}
	if err == nil {
		err = t.write("index.html", t.corpus.page(t.random(-1, 0), "A site", 4<<10), old)
	}
	if err != nil {
		return nil, fmt.Errorf("make the tree %s: %w", t.name, err)
	}
	return t, nil
}

// write writes a file, and makes its directory if there is none.
func (t *tree) write(name string, data []byte, at time.Time) error {
	file := filepath.Join(t.dir, filepath.FromSlash(name))
	err := os.WriteFile(file, data, 0o644)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		return err
	}
	return os.Chtimes(file, at, at)
}

// writeLarge writes an archive of pictures, as photographers offer them: stored, since they do not get smaller.
func (t *tree) writeLarge(at time.Time) error {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; b.Len() < t.large; i++ {
		data, err := t.corpus.picture(t.random(i, 1<<22), 256<<10)
		if err != nil {
			return err
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("picture-%03d.jpg", i), Method: zip.Store, Modified: time.Unix(seed, 0).UTC()})
		if err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		if err := z.Flush(); err != nil { // so that the length is known
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	t.bytes += int64(b.Len())
	return t.write(largeFile, b.Bytes(), at)
}

// amend puts a sentence into the middle of a text, or replaces a picture.
func (t *tree) amend(i, edit int) error {
	name := t.path(i)
	r := t.random(i, edit)
	if t.isPicture(i) {
		data, err := t.content(i, edit)
		if err != nil {
			return err
		}
		return t.write(name, data, time.Now())
	}
	data, err := os.ReadFile(filepath.Join(t.dir, name))
	if err != nil {
		return err
	}
	middle := len(data) / 2
	if line := bytes.IndexByte(data[middle:], '\n'); line >= 0 {
		middle += line + 1
	}
	data = append(data[:middle:middle], append([]byte(t.corpus.sentence(r)), data[middle:]...)...)
	return t.write(name, data, time.Now())
}

// editOne changes one text.
func (t *tree) editOne(turn int) ([]string, error) {
	i := (t.files/3 + 37*turn) % t.files
	for t.isPicture(i) {
		i = (i + 1) % t.files
	}
	return []string{t.path(i)}, t.amend(i, 1+turn)
}

// editPercent changes every hundredth file.
func (t *tree) editPercent(turn int) ([]string, error) {
	var names []string
	for i := (5 + 11*turn) % percent; i < t.files; i += percent {
		if err := t.amend(i, 1000+turn); err != nil {
			return nil, err
		}
		names = append(names, t.path(i))
	}
	return names, nil
}

// editByte changes a byte of the large file, another one each time.
func (t *tree) editByte(turn int) ([]string, error) {
	f, err := os.OpenFile(filepath.Join(t.dir, largeFile), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	at := info.Size()/2 + int64(turn)*4099
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return nil, err
	}
	b[0]++
	if _, err := f.WriteAt(b[:], at); err != nil {
		return nil, err
	}
	return []string{largeFile}, f.Close()
}
