package site

import (
	"strings"

	"pennyfarthing/internal/rules"
)

// What Cache-Control says unless _headers says otherwise.
const (
	cacheRevalidate = "public, max-age=0, must-revalidate"
	cacheImmutable  = "public, max-age=31536000, immutable"
	cacheNever      = "no-store"
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

// assetFields returns the fields of an asset that all its forms share, after
// the edits of _headers. Content-Type stands first: a 304 leaves it out.
func (c *compiler) assetFields(a *asset, edits []rules.Edit) []Field {
	cacheControl := cacheRevalidate
	switch {
	case a.document:
		cacheControl = cacheNever
	case a.immutable:
		cacheControl = cacheImmutable
	}
	fields := append([]Field{field("Content-Type", a.contentType)}, baseFields(cacheControl)...)
	if a.codable {
		fields = append(fields, field("Vary", "Accept-Encoding"))
	}
	return c.intern(applyEdits(fields, edits))
}

// applyEdits does what _headers asks for to the default fields, in order. What
// answers vary on by themselves stays in Vary, and Content-Type stays first.
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
func (c *compiler) intern(fields []Field) []Field {
	var key strings.Builder
	for _, f := range fields {
		key.WriteString(f.Name + "\x00" + f.Values[0] + "\x00")
	}
	c.internMu.Lock()
	defer c.internMu.Unlock()
	if known, ok := c.interned[key.String()]; ok {
		return known
	}
	c.interned[key.String()] = fields
	return fields
}
