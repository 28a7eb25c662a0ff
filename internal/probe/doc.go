// Package probe asks one server for URLs over HTTP/1.1, HTTP/2 or HTTP/3 and says
// what came of each: a code of package verdict, how long every phase took, the head,
// and the hash of the content.
//
// A [Client] is one server, at one address, over one protocol, whatever the names in
// its URLs resolve to: a fleet's POPs serve the same names, and each is to be asked by
// itself. Connections are kept and shared; a Client may be used by many goroutines.
//
// It asks as a stranger would: no cookies, no redirects followed, no content coding
// unless the request wants one, and no retries. It keeps no bodies and reads no more of
// one than it is told.
//
// Whether a certificate is good is said beside the verdict, not by it
// ([Answer.Certificate]): what a server answers and whom a browser would believe are
// two questions.
package probe
