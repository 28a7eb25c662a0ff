//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
	"golang.org/x/sync/errgroup"
)

const (
	defaultManual = "/usr/share/doc/postgresql-doc-15/html"
	manualPrefix  = "/manual/"
	drawSeed      = 1871 // the year of the Ariel
	gzipAtLeast   = 256  // smaller files are served as they are
)

// field is a header field that every server is told to send.
type field struct{ name, value string }

// fields are the ones that servers can be told. ETag, Last-Modified, Content-Type, Content-Length and Date come by themselves.
var fields = []field{
	{"Cache-Control", "public, max-age=0, must-revalidate"},
	{"X-Content-Type-Options", "nosniff"},
	{"Referrer-Policy", "strict-origin-when-cross-origin"},
}

// mediaTypes are given to every server that takes such a table, so that Content-Type is the same.
var mediaTypes = []struct{ extension, value string }{
	{"css", "text/css; charset=utf-8"},
	{"gif", "image/gif"},
	{"html", "text/html; charset=utf-8"},
	{"ico", "image/vnd.microsoft.icon"},
	{"jpg", "image/jpeg"},
	{"js", "text/javascript; charset=utf-8"},
	{"json", "application/json"},
	{"pdf", "application/pdf"},
	{"png", "image/png"},
	{"svg", "image/svg+xml"},
	{"txt", "text/plain; charset=utf-8"},
	{"woff2", "font/woff2"},
	{"xml", "application/xml"},
}

// compressible are the extensions that get a .gz beside them.
var compressible = map[string]bool{".css": true, ".html": true, ".js": true, ".json": true, ".svg": true, ".txt": true, ".xml": true}

// asset is what a path must answer.
type asset struct {
	size int64
	sum  [sha256.Size]byte
}

func assetOf(body []byte) asset { return asset{int64(len(body)), sha256.Sum256(body)} }

// site is what all servers serve.
type site struct {
	bare, withGzip string // the same files; the second has .gz and .br beside them, made beforehand, for the servers that want it so
	small          string // the fixed bodies alone
	assets         map[string]asset
	draw           []string // the manual's paths by the Zipf draw
	hot            string   // the page that is drawn most often
	files          int      // in the manual
	bytes          int64    // in the manual
}

// buildSite writes the fixed bodies and a copy of the manual below dir, twice. Brotli takes long and only the mixed cases ask for it.
func buildSite(dir, manual string, brotli bool) (*site, error) {
	s := &site{
		bare: filepath.Join(dir, "www"), withGzip: filepath.Join(dir, "www-gzip"), small: filepath.Join(dir, "www-small"),
		assets: map[string]asset{},
	}
	rng := rand.New(rand.NewPCG(drawSeed, 0))
	for _, f := range fixedBodies {
		body := randomBytes(rng, f.size)
		if err := errors.Join(s.add(fixedPath(f.name), body, false), writeSiteFile(filepath.Join(s.small, fixedPath(f.name)), body)); err != nil {
			return nil, err
		}
	}
	if err := s.add(largePath, randomBytes(rng, largeSize), false); err != nil {
		return nil, err
	}
	if err := s.addManual(manual); err != nil {
		return nil, fmt.Errorf("copy the manual %s: %w", manual, err)
	}
	if brotli {
		if err := s.addBrotli(); err != nil {
			return nil, fmt.Errorf("compress the manual with brotli: %w", err)
		}
	}
	return s, nil
}

func randomBytes(rng *rand.Rand, size int) []byte {
	raw := make([]byte, size)
	for i := range raw {
		raw[i] = byte(rng.Uint32())
	}
	return raw
}

func (s *site) addManual(manual string) error {
	var paths []string
	root, err := filepath.EvalSymlinks(manual)
	if err != nil {
		return err
	}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(d.Name(), ".gz") {
			return nil // hidden files are not served; a .gz would be taken for the coding of another
		}
		body, err := os.ReadFile(name) // follows links: Debian links some files to other packages
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a dangling link: the other package is not there
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		s.files++
		s.bytes += int64(len(body))
		p := manualPrefix + filepath.ToSlash(rel)
		paths = append(paths, requestPath(p))
		return s.add(p, body, compressible[path.Ext(p)])
	})
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return errors.New("there are no files")
	}
	s.draw = zipfDraw(paths, drawLength, drawSeed)
	s.hot = mostDrawn(s.draw)
	return nil
}

// requestPath is how a visitor asks for the file p. An index page is asked for by its directory.
func requestPath(p string) string {
	if path.Base(p) == "index.html" {
		p = strings.TrimSuffix(p, "index.html")
	}
	return (&url.URL{Path: p}).EscapedPath()
}

func (s *site) add(p string, body []byte, zip bool) error {
	s.assets[requestPath(p)] = assetOf(body)
	for _, root := range []string{s.bare, s.withGzip} {
		if err := writeSiteFile(filepath.Join(root, filepath.FromSlash(p)), body); err != nil {
			return err
		}
	}
	if !zip || len(body) < gzipAtLeast {
		return nil
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if packed.Len() >= len(body) {
		return nil
	}
	return writeSiteFile(filepath.Join(s.withGzip, filepath.FromSlash(p)+".gz"), packed.Bytes())
}

// addBrotli writes .br beside everything that has a .gz, on all cores.
func (s *site) addBrotli() error {
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	err := filepath.WalkDir(s.withGzip, func(name string, _ fs.DirEntry, err error) error {
		bare, zipped := strings.CutSuffix(name, ".gz")
		if err != nil || !zipped {
			return err
		}
		group.Go(func() error {
			body, err := os.ReadFile(bare)
			if err != nil {
				return err
			}
			var packed bytes.Buffer
			w := brotli.NewWriterLevel(&packed, brotli.BestCompression)
			if _, err := w.Write(body); err != nil {
				return err
			}
			if err := w.Close(); err != nil {
				return err
			}
			return writeSiteFile(bare+".br", packed.Bytes())
		})
		return nil
	})
	return errors.Join(err, group.Wait())
}

// writeSiteFile makes the file readable for the user that a server becomes, with one time for all.
func writeSiteFile(name string, body []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name, body, 0o644); err != nil {
		return err
	}
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return os.Chtimes(name, when, when)
}
