// Package config reads the fleet file, penny.toml: which machines serve, what
// they serve, and how. [Parse] is pure, [Load] reads a file, [CheckFiles] looks
// at what a fleet names on disk, [Template] writes a first file, and [Keys]
// describes every key.
//
// A file is read strictly. Every mistake in it is reported at once, as a
// [mistake.List] whose entries have line, column and a hint; there is no fleet
// beside mistakes. So a [Fleet] from this package holds valid values only, with
// defaults filled in, POPs and sites in the order of the file, host names in
// lower case, and no address or host name in two places.
//
// Three things are allowed to be missing: POPs (a new file has none yet), sites
// (a fleet without one shows the welcome page) and every table but the name of
// the fleet.
//
// The package does not resolve names or places, does not touch the network, and
// knows no secrets but the addresses of alerts, which print redacted.
package config
