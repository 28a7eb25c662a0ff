// Package keys holds the secrets of one person's machine, and what is signed
// with them: who is who in a fleet, and who may do what.
//
// An actor is an Ed25519 key: the fleet's owner, its members, its POPs
// ([PublicKey], [Key]). The owner signs a [Roster] of the others and of their
// rights ([Right]); what is not in it may do nothing. Whatever else must be
// believed is a [Statement], signed by one of these keys. [ClientTLS] and
// [ServerTLS] carry keys through handshakes, where certificates are their
// vehicle and no more: docs/adr/0010-keys-are-identities.md says why. An
// [Identity] is what a member works with, an [Owner] what changes the roster, in
// the directory that [FleetDir] names. [KeepRoster] is how an agent never goes
// back.
//
// The package also keeps a private certificate authority for browsers
// ([OpenCA]): it lets a fleet that runs on one machine, or a directory that is
// served from it, speak HTTPS under its real names. An authority's certificate
// says for which names and addresses it may speak (RFC 5280 §4.2.1.10), so
// whoever trusts it trusts it for these and nothing else, even should its key be
// stolen. The CA of a fleet's agents ([OpenAuthority]) is another one of these.
//
// It reads certificates that come from elsewhere ([LoadPair]), and knows where on
// a machine a user's state belongs ([StateDir]): keys are the part of that state
// that must be neither lost nor shown, so theirs is the say.
//
// Keys are written with mode 0600 in directories of mode 0700, and never beside
// a penny.toml. What is damaged is reported, never replaced. Any number of
// processes may open the same directory at once. No goroutine is started here,
// and nothing is sent: who delivers rosters is the business of fleet/control and
// fleet/agent.
package keys
