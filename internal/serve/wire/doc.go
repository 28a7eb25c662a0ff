// Package wire prepares header fields that many answers will have: a [Block] is a
// run of fields in HPACK (RFC 7541), and a [Table] writes blocks to a connection
// of HTTP/2, keeping what comes again in the client's dynamic table.
//
// Nothing is compared or hashed when a block is written: the table knows blocks by
// their address. It does not decode.
package wire
