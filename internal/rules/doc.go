// Package rules reads _redirects and _headers files, the two plain text files
// with which static sites say what is to be redirected, rewritten and sent
// along, and answers for a request what they ask for.
//
// Two platforms made the format popular and read it differently. A [Dialect]
// says whose meaning counts: [Netlify]'s, which is the zero value, or
// [Cloudflare]'s. [Redirects.Differences] and [Headers.Differences] list the
// lines on which the two disagree.
//
// [ParseRedirects] and [ParseHeaders] refuse a file as a whole if a single line
// of it is malformed, is known but not supported here, or would do harm; the
// error carries every mistake with its line, its column and a hint. What they
// return is immutable and safe for concurrent use.
//
// Invariants, whatever the files and the requests say: a Location never holds a
// control character and never leaves the site unless the rule names another
// host; a rewritten path begins with one slash and has no dot segments; a field
// name is a token and a field value has no control character; a redirect to the
// very URL that was asked for is never made.
//
// The package reads no files, opens no connections and starts no goroutines. It
// does not know which paths the site has: it asks, once a request.
package rules
