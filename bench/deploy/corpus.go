//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/jpeg"
	_ "image/png" // the pictures that we begin with
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// maxCorpus is how much text is read to draw from, in bytes.
const maxCorpus = 64 << 20

// A corpus is real text and real pictures that are on every machine with Go: its own sources, documents and test data.
type corpus struct {
	text     []byte
	words    []string
	pictures []image.Image
}

// isText reports whether a file is something that people write and browsers show or run, or is like it.
func isText(name string) bool {
	switch filepath.Ext(name) {
	case ".go", ".md", ".html", ".txt", ".js", ".css", ".s":
		return true
	}
	return false
}

func readCorpus(ctx context.Context) (*corpus, error) {
	said, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find the sources of Go: %w", err)
	}
	goroot := strings.TrimSpace(string(said))
	c := new(corpus)
	for _, dir := range []string{"doc", "src", "test"} {
		err := filepath.WalkDir(filepath.Join(goroot, dir), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !isText(name) || len(c.text) >= maxCorpus {
				return err
			}
			text, err := os.ReadFile(name)
			if err == nil && bytes.IndexByte(text, 0) < 0 {
				c.text = append(c.text, bytes.ToValidUTF8(text, nil)...)
			}
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("read texts of Go's: %w", err)
		}
	}
	if len(c.text) < 1<<20 {
		return nil, fmt.Errorf("%s has no sources to make a site of", goroot)
	}
	for word := range bytes.FieldsSeq(c.text[len(c.text)/2 : len(c.text)/2+1<<20]) {
		if len(word) >= 4 && len(word) <= 12 {
			c.words = append(c.words, string(word))
		}
	}
	for _, name := range []string{"video-001.png", "video-005.gray.png"} {
		f, err := os.Open(filepath.Join(goroot, "src", "image", "testdata", name))
		if err != nil {
			return nil, fmt.Errorf("read pictures of Go's: %w", err)
		}
		picture, _, err := image.Decode(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.Name(), err)
		}
		c.pictures = append(c.pictures, picture)
	}
	return c, nil
}

// editEvery is how far two words that are replaced lie apart, in bytes, so that what is drawn twice is not twice the same.
const editEvery = 400

// prose returns about so many bytes of text: a passage of the corpus with a word replaced here and there.
func (c *corpus) prose(r *rand.Rand, size int) []byte {
	at := r.IntN(len(c.text) - size)
	if line := bytes.IndexByte(c.text[at:at+size], '\n'); line >= 0 && line < size/4 {
		at += line + 1
	}
	passage := c.text[at:min(at+size, len(c.text))]
	out := make([]byte, 0, size+size/editEvery*12)
	for len(passage) > editEvery {
		n := editEvery/2 + r.IntN(editEvery/2)
		if gap := bytes.IndexByte(passage[n:], ' '); gap >= 0 && gap < editEvery {
			n += gap + 1
			out = append(out, passage[:n]...)
			passage = passage[n:]
			if end := bytes.IndexAny(passage, " \n"); end >= 0 && end < 16 {
				passage = passage[end:]
			}
			out = append(out, c.words[r.IntN(len(c.words))]...)
			continue
		}
		out = append(out, passage[:n]...)
		passage = passage[n:]
	}
	return append(out, passage...)
}

// sentence is some words.
func (c *corpus) sentence(r *rand.Rand) string {
	words := make([]string, 12)
	for i := range words {
		words[i] = c.words[r.IntN(len(c.words))]
	}
	return strings.Join(words, " ") + ".\n"
}

// page returns a page of HTML of about so many bytes.
func (c *corpus) page(r *rand.Rand, title string, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!doctype html>\n<title>%s</title>\n<pre>\n", title)
	if rest := size - b.Len() - 8; rest > 0 {
		b.WriteString(html.EscapeString(string(c.prose(r, rest))))
	}
	b.WriteString("</pre>\n")
	return b.Bytes()
}

// picture returns a JPEG of about so many bytes: a scene made of pieces of the pictures, turned, mirrored, and grainy as a
// photograph is.
func (c *corpus) picture(r *rand.Rand, size int) ([]byte, error) {
	const bytesPerPixel = 0.55 // at this quality and grain
	side := max(int(math.Sqrt(float64(size)/bytesPerPixel)), 16)
	scene := image.NewRGBA(image.Rect(0, 0, side, side*3/4))
	const piece = 48
	for y := 0; y < scene.Rect.Dy(); y += piece {
		for x := 0; x < side; x += piece {
			c.paint(r, scene, image.Rect(x, y, min(x+piece, side), min(y+piece, scene.Rect.Dy())))
		}
	}
	var b bytes.Buffer
	err := jpeg.Encode(&b, scene, &jpeg.Options{Quality: 80})
	return b.Bytes(), err
}

// paint fills a rectangle of a scene.
func (c *corpus) paint(r *rand.Rand, scene *image.RGBA, at image.Rectangle) {
	from := c.pictures[r.IntN(len(c.pictures))]
	size := from.Bounds().Size()
	x0, y0 := r.IntN(size.X-at.Dx()+1), r.IntN(size.Y-at.Dy()+1)
	mirrored, light, grain := r.IntN(2) == 0, r.IntN(41)-20, 8+r.IntN(16)
	for y := range at.Dy() {
		for x := range at.Dx() {
			sx := x
			if mirrored {
				sx = at.Dx() - 1 - x
			}
			red, green, blue, _ := from.At(from.Bounds().Min.X+x0+sx, from.Bounds().Min.Y+y0+y).RGBA()
			add := light + r.IntN(grain) - grain/2
			scene.SetRGBA(at.Min.X+x, at.Min.Y+y, color.RGBA{shade(red, add), shade(green, add), shade(blue, add), 255})
		}
	}
}

func shade(v uint32, add int) uint8 { return uint8(min(max(int(v>>8)+add, 0), 255)) }
