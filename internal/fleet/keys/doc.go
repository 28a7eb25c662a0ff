// Package keys holds the secrets of one person's machine, and what is signed
// with them.
//
// For now that is a private certificate authority for browsers ([OpenCA]): it
// lets a fleet that runs on one machine, or a directory that is served from it,
// speak HTTPS under its real names. The authority's certificate says for which
// names and addresses it may speak (RFC 5280 §4.2.1.10), so whoever trusts it
// trusts it for these and nothing else, even should its key be stolen.
//
// The package also reads certificates that come from elsewhere ([LoadPair]), and
// knows where on a machine a user's state belongs ([StateDir]): keys are the part
// of that state that must be neither lost nor shown, so theirs is the say.
//
// Keys are written with mode 0600 in directories of mode 0700, and never beside
// a penny.toml. What is damaged is reported, never replaced. Any number of
// processes may open the same directory at once. No goroutine is started here.
package keys
