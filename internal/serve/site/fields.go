package site

import (
	"slices"
	"strings"

	"pennyfarthing/internal/rules"
)

// What Cache-Control says unless _headers says otherwise.
const (
	cacheRevalidate = "public, max-age=0, must-revalidate"
	cacheImmutable  = "public, max-age=31536000, immutable"
	cacheNever      = "no-store"
	cachePreview    = "private, no-cache" // also of what _headers speaks of
)

// baseFields are the fields that every answer has, under the Cache-Control that
// is given.
func baseFields(cacheControl string) []Field {
	return []Field{
		field("Cache-Control", cacheControl),
		field("X-Content-Type-Options", "nosniff"),
		field("Referrer-Policy", "strict-origin-when-cross-origin"),
	}
}

// A fieldList is what many answers have in common.
type fieldList struct {
	fields []Field
	hides  []string  // fields of a form that _headers takes away or sets itself
	wire   *listWire // nil where the list was made for one answer
}

// newFieldList returns the fields after the edits of _headers.
func newFieldList(fields []Field, edits []rules.Edit) *fieldList {
	list := &fieldList{fields: applyEdits(fields, edits)}
	for _, e := range edits {
		switch e.Name {
		case "Etag", "Last-Modified", "Accept-Ranges", "Strict-Transport-Security":
			list.hides = append(list.hides, e.Name)
		}
	}
	return list
}

// neverStored returns the list with a Cache-Control that keeps errors out of
// caches: a rule for /assets/* is not about the file that is missing there while
// a release goes out.
func (l *fieldList) neverStored() *fieldList {
	return &fieldList{fields: setField(slices.Clone(l.fields), "Cache-Control", cacheNever), hides: l.hides}
}

// assetFields returns the fields that all forms of an asset share.
func assetFields(a *asset, cacheControl string, edits []rules.Edit) *fieldList {
	fields := append([]Field{field("Content-Type", a.contentType)}, baseFields(cacheControl)...)
	if a.codable {
		fields = append(fields, field("Vary", "Accept-Encoding"))
	}
	return newFieldList(fields, edits)
}

// cacheControl returns what Cache-Control says of an asset at its own path.
func (a *asset) cacheControl() string {
	switch {
	case a.document:
		return cacheNever
	case a.immutable:
		return cacheImmutable
	}
	return cacheRevalidate
}

// applyEdits does what _headers asks for to the default fields, in order. What
// answers vary on by themselves stays in Vary, and Content-Type stays.
func applyEdits(fields []Field, edits []rules.Edit) []Field {
	for _, e := range edits {
		switch {
		case e.Name == "Vary" && e.Op != rules.Remove:
			fields = setField(fields, "Vary", joinVary(valueOf(fields, "Vary"), e.Value))
		case e.Name == "Content-Type" && e.Op == rules.Remove, e.Name == "Vary":
		case e.Op == rules.Set:
			fields = setField(fields, e.Name, e.Value)
		case e.Op == rules.Append && e.Name != "Set-Cookie" && valueOf(fields, e.Name) != "":
			fields = setField(fields, e.Name, valueOf(fields, e.Name)+", "+e.Value)
		case e.Op == rules.Append: // cookies are never joined (RFC 9110 §5.3)
			fields = append(fields, field(e.Name, e.Value))
		case e.Op == rules.Remove:
			fields = removeField(fields, e.Name)
		}
	}
	return fields
}

func valueOf(fields []Field, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Values[0]
		}
	}
	return ""
}

func setField(fields []Field, name, value string) []Field {
	for i := range fields {
		if fields[i].Name == name {
			fields[i] = field(name, value)
			return append(fields[:i+1], removeField(fields[i+1:], name)...)
		}
	}
	return append(fields, field(name, value))
}

func removeField(fields []Field, name string) []Field {
	kept := fields[:0]
	for _, f := range fields {
		if f.Name != name {
			kept = append(kept, f)
		}
	}
	return kept
}

// joinVary adds value to ours unless it is there or means everything.
func joinVary(ours, value string) string {
	switch {
	case ours == "" || value == "*":
		return value
	case strings.Contains(strings.ToLower(value), strings.ToLower(ours)):
		return value
	}
	return ours + ", " + value
}

// intern returns the one copy of a list of fields: thousands of files share a
// dozen different ones.
func (c *compiler) intern(list *fieldList) *fieldList {
	key := list.key()
	if known, ok := c.interned[key]; ok {
		return known
	}
	list.prepare()
	c.interned[key] = list
	return list
}

// adopt is intern for a list of the previous site, which many of its files have.
func (c *compiler) adopt(list *fieldList) *fieldList {
	if known, ok := c.adopted[list]; ok {
		return known
	}
	known, ok := c.interned[list.key()]
	if !ok {
		known = list
		c.interned[list.key()] = list
	}
	c.adopted[list] = known
	return known
}

// key tells lists apart.
func (l *fieldList) key() string {
	var key strings.Builder
	for _, f := range l.fields {
		key.WriteString(f.Name + "\x00" + f.Values[0] + "\x00")
	}
	key.WriteString(strings.Join(l.hides, "\x00"))
	return key.String()
}
