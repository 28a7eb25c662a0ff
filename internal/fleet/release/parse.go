package release

import (
	"bytes"
	"fmt"
	"strings"
)

// ParseManifest reads a manifest in its canonical form, and nothing else: what it
// returns encodes to the same bytes. The error is a *[mistake.Error] with the
// line at which the manifest is wrong.
func ParseManifest(text []byte) (*Manifest, error) {
	if len(text) > MaxManifest {
		return nil, wrongAt(1, fmt.Sprintf("it has %d bytes, more than %d", len(text), MaxManifest))
	}
	head, rest, ok := bytes.Cut(text, []byte("\n"))
	if !ok {
		return nil, wrongAt(1, "there is no end of line")
	}
	m, files, size, what := parseHead(head)
	if what != "" {
		return nil, wrongAt(1, what)
	}
	// No file takes less room than this, so a lie in the head costs no memory.
	const least = len(`{"path":"a","sha256":"","size":0,"modified":0,"type":"a"}`) + 64
	m.Files = make([]File, 0, min(files, int64(len(rest)/least)))
	types := make(map[string]string)
	for line := 2; len(rest) > 0; line++ {
		var text []byte
		if text, rest, ok = bytes.Cut(rest, []byte("\n")); !ok {
			return nil, wrongAt(line, "there is no end of line")
		}
		f, ok := parseFile(text, types)
		if !ok {
			return nil, wrongAt(line, "it is not the canonical form of a file")
		}
		m.Files = append(m.Files, f)
		if len(m.Files) > int(files) {
			return nil, wrongAt(line, fmt.Sprintf("there are more files than the %d of line 1", files))
		}
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	if int64(len(m.Files)) != files || m.Bytes() != size {
		return nil, wrongAt(1, fmt.Sprintf("it says %d files of %d bytes, and there are %d of %d", files, size, len(m.Files), m.Bytes()))
	}
	return m, nil
}

func parseHead(line []byte) (m *Manifest, files, size int64, what string) {
	c := cursor{rest: line}
	c.literal(`{"penny":"release","version":`)
	version := c.number()
	if c.failed {
		return nil, 0, 0, "it is not the head of a manifest"
	}
	if version != 1 {
		return nil, 0, 0, fmt.Sprintf("version %d of the format is not known; a newer penny may know it", version)
	}
	m = &Manifest{}
	c.literal(`,"site":"`)
	m.Site = c.text()
	c.literal(`","dialect":"`)
	m.Dialect = c.text()
	c.literal(`","files":`)
	files = c.number()
	c.literal(`,"bytes":`)
	size = c.number()
	c.literal(`}`)
	switch {
	case !c.done():
		return nil, 0, 0, "it is not the canonical form of a manifest's head"
	case files > MaxFiles:
		return nil, 0, 0, fmt.Sprintf("there are %d files, more than %d", files, MaxFiles)
	}
	return m, files, size, m.wrongHead()
}

func parseFile(line []byte, types map[string]string) (File, bool) {
	var f File
	c := cursor{rest: line}
	c.literal(`{"path":"`)
	f.Path = c.text()
	c.literal(`","sha256":"`)
	f.Hash = c.hash()
	c.literal(`","size":`)
	f.Size = c.number()
	c.literal(`,"modified":`)
	f.Modified = c.number()
	c.literal(`,"type":"`)
	f.Type = c.shared(types)
	c.literal(`"}`)
	return f, c.done()
}

// A cursor reads one line. After the first thing that is not as it should be it
// has failed, and reads nothing any more.
type cursor struct {
	rest   []byte
	failed bool
}

func (c *cursor) done() bool { return !c.failed && len(c.rest) == 0 }

func (c *cursor) literal(s string) {
	if c.failed || len(c.rest) < len(s) || string(c.rest[:len(s)]) != s {
		c.failed = true
		return
	}
	c.rest = c.rest[len(s):]
}

// raw reads up to the quotation mark that ends a string, escapes and all.
func (c *cursor) raw() []byte {
	if c.failed {
		return nil
	}
	for i := 0; i < len(c.rest); i++ {
		switch c.rest[i] {
		case '"':
			raw := c.rest[:i]
			c.rest = c.rest[i:]
			return raw
		case '\\':
			if i+1 >= len(c.rest) || c.rest[i+1] != '"' { // nothing else is ever escaped
				c.failed = true
				return nil
			}
			i++
		}
	}
	c.failed = true
	return nil
}

func (c *cursor) text() string {
	raw := c.raw()
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw)
	}
	return strings.ReplaceAll(string(raw), `\"`, `"`)
}

// shared reads a string of which there are few different ones.
func (c *cursor) shared(known map[string]string) string {
	raw := c.raw()
	if s, ok := known[string(raw)]; ok {
		return s
	}
	s := strings.ReplaceAll(string(raw), `\"`, `"`)
	known[string(raw)] = s
	return s
}

func (c *cursor) hash() Hash {
	const digits = 2 * len(Hash{})
	if c.failed || len(c.rest) < digits {
		c.failed = true
		return Hash{}
	}
	h, ok := parseHash(c.rest[:digits])
	if !ok {
		c.failed = true
		return Hash{}
	}
	c.rest = c.rest[digits:]
	return h
}

// number reads a number that is not negative, has no leading zero, and fits.
func (c *cursor) number() int64 {
	const most = 18 // digits; one more may overflow
	n, digits := int64(0), 0
	for digits < len(c.rest) && '0' <= c.rest[digits] && c.rest[digits] <= '9' {
		if digits == most {
			c.failed = true
			return 0
		}
		n = n*10 + int64(c.rest[digits]-'0')
		digits++
	}
	if c.failed || digits == 0 || digits > 1 && c.rest[0] == '0' {
		c.failed = true
		return 0
	}
	c.rest = c.rest[digits:]
	return n
}
