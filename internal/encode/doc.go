// Package encode knows the content codings of HTTP (RFC 9110 §8.4): gzip, br
// (RFC 7932) and zstd (RFC 8878, RFC 9659).
//
// It makes and undoes them ([Encode], [Decode]), chooses between them for one
// request ([Negotiate], which allocates nothing), says which media types are
// worth the work ([Compressible]), and keeps the results on disk ([Cache]), so
// that neither a restart nor the next release makes them again.
//
// Encoding is a function of its input: the same bytes, coding and level give the
// same result, whichever encoder of a pool did the work and whatever it did
// before, so every POP that encodes a file has the same bytes of it.
//
// The package is a leaf and starts no goroutine. It works on whole bodies, which is
// what a release is made of; only what others have coded can be read as a stream
// ([NewReader]).
package encode
