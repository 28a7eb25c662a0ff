package release

import (
	"crypto/sha256"
	"fmt"
	"os"

	"pennyfarthing/internal/encode"
)

// The coded form of an object is a file beside it, such as abcd….br.best: a
// magic, a checksum over what it is for and over the body, and the body. Its name
// says nothing of its bytes, hence the checksum.
const (
	codedMagic  = "penny-c1"
	codedHeader = len(codedMagic) + sha256.Size
	// MaxCoded is the largest object that travels in a coding of HTTP, in bytes of
	// its identity form. Package serve/site codes no larger ones.
	MaxCoded = 8 << 20
)

// Coded returns an object in a coding in which it was delivered, the better one
// if there are two, and at which level it was coded. A damaged form is removed
// and not there.
func (st *Store) Coded(h Hash, coding encode.Coding) (data []byte, level encode.Level, ok bool) {
	for _, level := range []encode.Level{encode.Best, encode.Quick} {
		path := st.codedPath(h, coding, level)
		raw, err := readPath(path, MaxCoded+slack+int64(codedHeader))
		if err != nil {
			continue
		}
		if len(raw) < codedHeader || string(raw[:codedHeader]) != string(codedHead(h, coding, level, raw[codedHeader:])) {
			_, _ = st.remove(path) // if it stays, it is found damaged again
			continue
		}
		return raw[codedHeader:], level, true
	}
	return nil, encode.Quick, false
}

// hasCoded reports whether there is a form of at least a level.
func (st *Store) hasCoded(h Hash, coding encode.Coding, level encode.Level) bool {
	for l := level; l <= encode.Best; l++ {
		if _, err := os.Lstat(st.codedPath(h, coding, l)); err == nil {
			return true
		}
	}
	return false
}

// LacksBest returns the objects of a manifest that are worth coding and are not here in
// brotli at its best, each once, in the order of the manifest.
func (st *Store) LacksBest(m *Manifest) ([]Hash, error) {
	known := make(map[Hash]bool) // that are here, or are counted
	if len(m.Files) >= manyHashes {
		best := formName(encode.Brotli.String(), encode.Best.String())
		if err := st.eachName(func(_ string, h Hash, form string) { known[h] = known[h] || form == best }); err != nil {
			return nil, fmt.Errorf("look for codings: %w", err)
		}
	}
	var lacking []Hash
	for _, f := range m.Files {
		if !known[f.Hash] && f.WorthCoding() && !st.hasCoded(f.Hash, encode.Brotli, encode.Best) {
			lacking = append(lacking, f.Hash)
		}
		known[f.Hash] = true
	}
	return lacking, nil
}

// WorthCoding reports whether a file is one that [Packer.Best] makes a coding of, if that
// is smaller.
func (f *File) WorthCoding() bool {
	return encode.Compressible(f.Type) && f.Size <= MaxCoded && f.Size >= worthCoding
}

func (st *Store) codedPath(h Hash, coding encode.Coding, level encode.Level) string {
	return st.objectPath(h) + formName(coding.String(), level.String())
}

// codedPaths returns where the coded forms of an object may be.
func (st *Store) codedPaths(h Hash) []string {
	var paths []string
	for _, coding := range []encode.Coding{encode.Gzip, encode.Brotli, encode.Zstd} {
		for _, level := range []encode.Level{encode.Quick, encode.Best} {
			paths = append(paths, st.codedPath(h, coding, level))
		}
	}
	return paths
}

func codedHead(h Hash, coding encode.Coding, level encode.Level, body []byte) []byte {
	sum := sha256.New()
	sum.Write([]byte(codedMagic))
	sum.Write(h[:])
	sum.Write([]byte{byte(coding), byte(level)})
	sum.Write(body)
	return sum.Sum([]byte(codedMagic))
}
