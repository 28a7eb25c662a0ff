package site

import (
	"bytes"
	"strings"

	"pennyfarthing/internal/serve/body"
	"pennyfarthing/internal/serve/hpack"
	"pennyfarthing/internal/serve/qpack"
)

// A Wire is a run of header fields as HTTP/1.1, 2 and 3 have them on the wire.
// It may not be changed.
type Wire struct {
	H1 []byte // field lines, each with CRLF
	H2 *hpack.Block
	H3 []byte // QPACK (RFC 9204) without use of the dynamic table, and without a section's prefix
}

// A Prepared is an answer of which every byte stands ready, but for the date and
// what belongs to the connection.
type Prepared struct {
	Status int // 200, 304 or 404
	// Fields are to be sent in this order; nil is none.
	Fields [3]*Wire
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
	p.Fields = [3]*Wire{&a.shared.wire.all, a.ready, a.secured}
	if a.untyped {
		p.Fields[0] = &a.shared.wire.untyped
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

// mostPrepared is how many bytes of fields stand ready for many answers: they and
// an answer's own fit one frame of HTTP/2 with room to spare.
const mostPrepared = 8 << 10

// prepare makes the wire form of a list that many answers will have.
func (l *fieldList) prepare() {
	if len(l.fields) == 0 || l.fields[0].Name != "Content-Type" {
		return
	}
	all := newLines(l.fields, true)
	if all.h2.Size() > mostPrepared {
		return
	}
	l.wire = &listWire{all: all.slice(0, len(l.fields)), untyped: all.slice(1, len(l.fields))}
}

// formWire is the wire form of a form's own fields: all of them for 200, the
// validators for 304, and the rest for errors.
type formWire struct{ own, brief, bare Wire }

func newFormWire(own []Field, brief int, validators int) *formWire {
	all := newLines(own, false)
	return &formWire{own: all.slice(0, len(own)), brief: all.slice(0, brief), bare: all.slice(validators, len(own))}
}

// WireOf returns the wire form of one field that many answers have.
func WireOf(name, value string) *Wire {
	w := newLines([]Field{field(name, value)}, true).slice(0, 1)
	return &w
}

// lines are fields in all forms, to be cut up.
type lines struct {
	h1, h3 []byte
	ends   []lineEnd
	h2     *hpack.Block
}

// A lineEnd is where a field ends.
type lineEnd struct{ h1, h3 int }

// newLines prepares fields; common says that many answers have them.
func newLines(fields []Field, common bool) *lines {
	l := new(lines)
	list := make([]hpack.Field, len(fields))
	for i, f := range fields {
		name := strings.ToLower(f.Name)
		l.h1 = append(l.h1, f.Name+": "+f.Values[0]+"\r\n"...)
		l.h3 = qpack.AppendField(l.h3, name, f.Values[0])
		l.ends = append(l.ends, lineEnd{len(l.h1), len(l.h3)})
		list[i] = hpack.Field{Name: name, Value: f.Values[0]}
	}
	l.h1, l.h3 = bytes.Clone(l.h1), bytes.Clone(l.h3) // of the size that they have
	l.h2 = hpack.NewBlock(common, list...)
	return l
}

// slice returns the fields from the first to before the last.
func (l *lines) slice(first, last int) Wire {
	var start, end lineEnd
	if first > 0 {
		start = l.ends[first-1]
	}
	if last > 0 {
		end = l.ends[last-1]
	}
	return Wire{H1: l.h1[start.h1:end.h1], H2: l.h2.Slice(first, last), H3: l.h3[start.h3:end.h3]}
}
