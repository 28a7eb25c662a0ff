// Package qpack codes field sections of HTTP/3 (RFC 9204) without a dynamic
// table, which neither side has when both announce a capacity of zero.
//
// [Decode] is strict: what refers to a dynamic table, or does not end where its
// section ends, is an error of the connection. What decoding costs is bounded by
// who takes the fields: it may stop at any of them. [AppendField] makes field
// lines that stand for themselves, so that they can be kept ready.
//
// The package knows nothing of which fields HTTP allows.
package qpack
