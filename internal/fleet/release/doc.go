// Package release owns what is deployed: the manifest that lists the files of a
// release and names it by its hash, the snapshot that makes a manifest of a
// directory, the store that holds objects and manifests on a disk, and the pack
// that carries objects from one store to another. docs/release-format.md is its
// reference.
//
// An object is a run of bytes, named by the SHA-256 of its identity form. What is
// in a store under a name was those bytes when it was written, and lasts: it was
// on the disk before it had the name. Manifests and packs may come from anybody
// who can reach an agent, so reading them is bounded in memory and in what it
// writes, whatever they hold.
//
// The package knows nothing of keys: a statement about a release is bytes that it
// keeps beside the manifest. Nor does it know what the files mean; package
// serve/site does. It starts no goroutine that outlives a call.
package release
