package site

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"pennyfarthing/internal/encode"
	"pennyfarthing/internal/serve/body"
)

// MaxInMemory is the size in bytes over which a file is served from disk.
const MaxInMemory = 1 << 20

// An asset is one file as a site answers with it, in all its codings. It is
// immutable: a coding that comes later makes a new asset.
type asset struct {
	name        string // slash-separated, relative to the root
	path        string // where it is served
	stat        fileStat
	racy        bool // read so soon after its last change that its stat proves nothing
	hash        body.Key
	hashed      bool
	contentType string
	codable     bool   // of a type that is worth coding
	immutable   bool   // its name is a fingerprint, and always was of this content
	tried       bool   // codings were made, though there may be none that is smaller
	done        bool   // has all the codings that it will get, at their best
	document    bool   // an error document: no validators, never stored by caches
	retained    bool   // of another release, or of the directory as it was before
	modified    int64  // seconds since 1970
	seen        uint64 // the last generation whose directory had the file
	shared      *fieldList
	sizes       [encode.NumCodings]int64
	forms       [encode.NumCodings]*form
}

// A form is an asset in one coding: a representation in the words of RFC 9110 §3.2.
// Assets that differ in what its fields say do not share it.
type form struct {
	coding encode.Coding
	level  encode.Level
	given  bool // came with the release: nothing better is made here
	mem    *body.Body
	disk   *diskFile

	// made are its fields, once somebody has asked for it: most of a large site is
	// asked for by nobody, and they are twenty values for the garbage collector.
	made atomic.Pointer[formFields]
}

// formFields are the header fields of a form.
type formFields struct {
	etag  string
	own   []Field // for 200
	brief []Field // for 304: the validators
	bare  []Field // for errors: no validators
	wire  *formWire
}

func (a *asset) size() int64 { return a.stat.size }

// page reports whether the asset is a document of HTML.
func (a *asset) page() bool { return strings.HasPrefix(a.contentType, "text/html") }

// identity returns the form that ranges are of.
func (a *asset) identity() *form { return a.forms[encode.Identity] }

// form returns the form that an Accept-Encoding field asks for. Where a client
// refuses the plain form and accepts none that there is, it gets the plain one
// all the same (RFC 9110 §12.1 allows to disregard the field).
func (a *asset) form(q *Request) *form {
	coding, _ := encode.Negotiate(q.AcceptEncoding, q.HasAcceptEncoding, &a.sizes)
	return a.forms[coding]
}

func (a *asset) validators(fields *formFields) validators {
	return validators{etag: fields.etag, modified: a.modified}
}

// tag returns the entity tag of the asset in a coding. It is strong where the
// content is hashed: quick and best codings are different bytes, so they have
// different tags. Until then it is of the size and of both times, because the
// modification time alone can be set back.
func (a *asset) tag(coding encode.Coding, level encode.Level) string {
	if !a.hashed {
		return fmt.Sprintf(`W/"%x-%x-%x"`, a.stat.size, a.stat.modTime, a.stat.change)
	}
	tag := hex.EncodeToString(a.hash[:16])
	switch {
	case coding == encode.Identity:
		return Tag(a.hash)
	case level == encode.Quick:
		return `"` + tag + "-quick-" + coding.String() + `"`
	}
	return `"` + tag + "-" + coding.String() + `"`
}

// Tag returns the entity tag of content with a hash, in no coding.
func Tag(hash body.Key) string { return `"` + hex.EncodeToString(hash[:16]) + `"` }

// addForm gives the asset a form while it is being built, and returns it.
func (a *asset) addForm(coding encode.Coding, level encode.Level, mem *body.Body, disk *diskFile) *form {
	f := &form{coding: coding, level: level, mem: mem, disk: disk}
	a.forms[coding] = f
	a.sizes[coding] = a.size()
	if mem != nil {
		a.sizes[coding] = int64(mem.Len())
	}
	return f
}

// fields returns the header fields of one of the asset's forms. There is one value for
// each form, because connections know a Wire by its address.
func (a *asset) fields(f *form) *formFields {
	if made := f.made.Load(); made != nil {
		return made
	}
	f.made.CompareAndSwap(nil, a.makeFields(f))
	return f.made.Load()
}

func (a *asset) makeFields(f *form) *formFields {
	made := new(formFields)
	if !a.document {
		made.etag = a.tag(f.coding, f.level)
		made.own = append(made.own, field("Etag", made.etag), field("Last-Modified", formatDate(a.modified)), acceptRanges)
		made.brief = made.own[:2:2]
	}
	validators := len(made.own)
	if f.coding != encode.Identity {
		made.own = append(made.own, contentEncoding[f.coding])
	}
	made.own = append(made.own, field("Content-Length", strconv.FormatInt(a.sizes[f.coding], 10)))
	made.bare = made.own[validators:]
	if f.mem != nil {
		made.wire = newFormWire(made.own, len(made.brief), validators)
	}
	return made
}

// coded reports whether there is a form other than the plain one.
func (a *asset) coded() bool {
	for coding, f := range a.forms {
		if f != nil && encode.Coding(coding) != encode.Identity {
			return true
		}
	}
	return false
}

// withForms returns a copy of the asset for which add may add forms.
func (a *asset) withForms(add func(*asset)) *asset {
	twin := *a
	add(&twin)
	return &twin
}

// Fields that are the same for every answer that has them.
var (
	acceptRanges    = field("Accept-Ranges", "bytes")
	contentEncoding = [encode.NumCodings]Field{
		encode.Gzip:   field("Content-Encoding", "gzip"),
		encode.Brotli: field("Content-Encoding", "br"),
		encode.Zstd:   field("Content-Encoding", "zstd"),
	}
)
