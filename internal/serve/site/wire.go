package site

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/net/http2/hpack"

	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/qpack"
)

// A Wire is a run of header fields as HTTP/1.1, 2 and 3 have them on the wire.
// It may not be changed.
type Wire struct {
	H1 []byte // field lines, each with CRLF
	H2 []byte // HPACK (RFC 7541) without use of the dynamic table
	H3 []byte // QPACK (RFC 9204) likewise, without a section's prefix
}

// A Prepared is an answer of which every byte stands ready, but for the date and
// what belongs to the connection.
type Prepared struct {
	Status int // 200, 304 or 404
	// Fields are to be sent in this order; some may be empty.
	Fields [3]Wire
	// Body is nil for HEAD requests and answers without one. It is valid while
	// Keep is reachable.
	Body []byte
	Keep *body.Body
}

// Prepared fills p in and returns true if the answer stands ready: a file from
// memory, whole, or a 304 for it.
func (a *Answer) Prepared(p *Prepared) bool {
	if a.ready == nil || a.shared.wire == nil || len(a.parts) > 0 || a.disk != nil || len(a.shared.hides) > 0 {
		return false
	}
	p.Status = a.Status
	p.Fields[0] = a.shared.wire.all
	if a.untyped {
		p.Fields[0] = a.shared.wire.untyped
	}
	p.Fields[1] = *a.ready
	p.Fields[2] = Wire{}
	if a.secured != nil {
		p.Fields[2] = *a.secured
	}
	p.Body, p.Keep = nil, nil
	if !a.head && a.mem != nil {
		p.Body, p.Keep = a.mem.Bytes(), a.mem
	}
	return true
}

// A listWire is the wire form of a list that begins with Content-Type, with it
// and without.
type listWire struct{ all, untyped Wire }

// prepare makes the wire form of a list that many answers will have.
func (l *fieldList) prepare() {
	if len(l.fields) == 0 || l.fields[0].Name != "Content-Type" {
		return
	}
	all, ends := wireOf(l.fields)
	l.wire = &listWire{all: all, untyped: all.from(ends[0])}
}

// formWire is the wire form of a form's own fields: all of them for 200, the
// validators for 304, and the rest for errors.
type formWire struct{ own, brief, bare Wire }

func newFormWire(own []Field, brief int, validators int) *formWire {
	all, ends := wireOf(own)
	w := &formWire{own: all, bare: all}
	if brief > 0 {
		w.brief = all.to(ends[brief-1])
	}
	if validators > 0 {
		w.bare = all.from(ends[validators-1])
	}
	return w
}

// WireOf returns the wire form of one field.
func WireOf(name, value string) Wire {
	w, _ := wireOf([]Field{field(name, value)})
	return w
}

// A wireEnd is where a field ends in all forms.
type wireEnd struct{ h1, h2, h3 int }

// to is w as far as a field's end, from is w behind it.
func (w *Wire) to(end wireEnd) Wire {
	return Wire{H1: w.H1[:end.h1], H2: w.H2[:end.h2], H3: w.H3[:end.h3]}
}

func (w *Wire) from(end wireEnd) Wire {
	return Wire{H1: w.H1[end.h1:], H2: w.H2[end.h2:], H3: w.H3[end.h3:]}
}

// wireOf returns the wire form of fields, and where each ends.
func wireOf(fields []Field) (Wire, []wireEnd) {
	var h1, h2 bytes.Buffer
	var h3 []byte
	encoder := hpack.NewEncoder(&h2)
	encoder.SetMaxDynamicTableSize(0)
	_ = encoder.WriteField(hpack.HeaderField{Name: "a"}) // a Buffer takes everything; this field brings the update of the table's size, which goes
	h2.Reset()
	ends := make([]wireEnd, len(fields))
	for i, f := range fields {
		name := strings.ToLower(f.Name)
		h1.WriteString(f.Name + ": " + f.Values[0] + "\r\n")
		_ = encoder.WriteField(hpack.HeaderField{Name: name, Value: f.Values[0]})
		h3 = qpack.AppendField(h3, name, f.Values[0])
		ends[i] = wireEnd{h1.Len(), h2.Len(), len(h3)}
	}
	return Wire{H1: bytes.Clone(h1.Bytes()), H2: bytes.Clone(h2.Bytes()), H3: slices.Clip(h3)}, ends
}
