// Package hpack is the compression of HTTP/2's header fields (RFC 7541), for a
// server whose answers stand ready: a [Block] is a run of fields that many answers
// will have, and a [Table] writes blocks to a connection, keeping what comes again
// in the client's dynamic table. Nothing is compared or hashed for that: the table
// knows blocks by their address. A [Decoder] reads what the client sends.
//
// Huffman's code and the static table are learned from golang.org/x/net when the
// program starts; decoding that code is our own.
package hpack
