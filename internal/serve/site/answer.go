package site

import (
	"io"
	"iter"
	"runtime"
	"slices"

	"pennyfarthing/internal/serve/body"
)

// A Request is what a site needs to know of an HTTP request (RFC 9110). Fields
// that are absent are empty; those that came in several lines are joined by
// commas.
type Request struct {
	Method string // GET or HEAD; other methods are the caller's to answer
	Scheme string // "http" or "https"
	Host   string // lower case, without a port
	Path   string // as on the wire: escaped, without the query
	Query  string // as on the wire, without the question mark

	AcceptEncoding    string
	HasAcceptEncoding bool // an empty field differs from none (RFC 9110 §12.5.3)
	IfMatch           string
	IfNoneMatch       string
	IfModifiedSince   string
	IfUnmodifiedSince string
	Range             string
	IfRange           string
}

// A Field is one header field. Values holds exactly one value; it is a slice so
// that it can stand in an http.Header as it is. Neither may be changed.
type Field struct {
	Name   string // canonical, as in http.Header
	Values []string
}

func field(name, value string) Field { return Field{Name: name, Values: []string{value}} }

// An Answer is a response to one request: its status, its header fields without
// Date and those that belong to the connection, and its body. The zero Answer
// is none.
type Answer struct {
	Status int
	// Length is the number of bytes of the body that a GET would get, or -1
	// where the answer has none and Content-Length must not be sent.
	Length int64
	// Stored says where the body comes from, for Cache-Status and the log:
	// "memory", "disk", or "" when there is none.
	Stored string

	shared  *fieldList // the same for many answers
	untyped bool       // leave the Content-Type of shared out
	own     []Field    // this representation's
	more    []Field    // made for this request

	ready   *Wire // own, in wire form; nil where the answer does not stand ready
	secured *Wire // more, likewise, where it is Strict-Transport-Security alone

	head  bool // a HEAD request: no body is written
	mem   *body.Body
	text  string // a short body made by us
	disk  *diskFile
	parts []part // of mem or disk; none means all of it
}

// Fields yields the header fields.
func (a *Answer) Fields() iter.Seq[*Field] {
	return func(yield func(*Field) bool) {
		for i := range a.shared.fields {
			f := &a.shared.fields[i]
			if !(a.untyped && f.Name == "Content-Type") && !yield(f) {
				return
			}
		}
		for _, list := range [...][]Field{a.own, a.more} {
			for i := range list {
				if !slices.Contains(a.shared.hides, list[i].Name) && !yield(&list[i]) {
					return
				}
			}
		}
	}
}

// Field returns the value of the field with this canonical name, or "".
func (a *Answer) Field(name string) string {
	for f := range a.Fields() {
		if f.Name == name {
			return f.Values[0]
		}
	}
	return ""
}

// A part is a run of a body with the multipart head that stands before it.
type part struct {
	head       string
	start, end int64
}

// Memory returns the whole body when it is one run of memory, with the value
// that must be kept reachable (runtime.KeepAlive) while the bytes are used. It
// is nil for bodies from disk and for several ranges; WriteTo writes any.
func (a *Answer) Memory() ([]byte, *body.Body) {
	if a.mem == nil || a.head || len(a.parts) > 1 {
		return nil, nil
	}
	if len(a.parts) == 1 {
		return a.mem.Bytes()[a.parts[0].start:a.parts[0].end], a.mem
	}
	return a.mem.Bytes(), a.mem
}

// Check reports whether a body from disk is still the one that the header fields
// speak of; answers from memory always are. It is worth asking before the fields
// are sent.
func (a *Answer) Check() error {
	if a.disk == nil {
		return nil
	}
	return a.disk.check()
}

// WriteTo writes the body, or nothing for HEAD and for answers without one. An
// error that is not w's is [ErrChanged] or one of the disk: the answer is then
// incomplete, and the caller must break it off so that the client can tell.
func (a *Answer) WriteTo(w io.Writer) (int64, error) {
	switch {
	case a.head || a.Length <= 0:
		return 0, nil
	case a.text != "":
		n, err := io.WriteString(w, a.text)
		return int64(n), err
	case len(a.parts) == 0:
		return a.writeRun(w, 0, a.Length)
	case len(a.parts) == 1:
		return a.writeRun(w, a.parts[0].start, a.parts[0].end)
	}
	return a.writeParts(w)
}

func (a *Answer) writeRun(w io.Writer, start, end int64) (int64, error) {
	if a.disk != nil {
		return a.disk.writeRun(w, start, end)
	}
	n, err := w.Write(a.mem.Bytes()[start:end])
	runtime.KeepAlive(a.mem)
	return int64(n), err
}

// writeParts writes a multipart/byteranges body (RFC 9110 §14.6).
func (a *Answer) writeParts(w io.Writer) (int64, error) {
	var total int64
	for _, p := range a.parts {
		n, err := io.WriteString(w, p.head)
		total += int64(n)
		if err != nil {
			return total, err
		}
		m, err := a.writeRun(w, p.start, p.end)
		total += m
		if err != nil {
			return total, err
		}
	}
	return total, nil
}
