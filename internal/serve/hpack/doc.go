// Package hpack is the compression of HTTP/2's header fields (RFC 7541), for a
// server whose answers stand ready: a [Block] is a run of fields that many answers
// will have, and a [Table] writes blocks to a connection, keeping what comes again
// in the client's dynamic table. Nothing is compared or hashed for that: the table
// knows blocks by their address. A [Decoder] reads what the client sends.
//
// The code of Huffman and the static table are those of golang.org/x/net.
package hpack
