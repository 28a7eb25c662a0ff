// Package target reads the lists of a sweep: what people have under "domains", in
// whatever form, becomes a stream of [Shard]s of normalised targets, each once.
//
// [Parse] says what a target is, and [Target.String] how it is written: one text
// for all ways of writing the same. A [Lister] reads plain lines, CSV and TSV, also
// compressed, and yields its first shard as soon as that many lines are read; it
// holds no more of the list than 64 KiB and one shard. What it keeps of each target
// is a part of a hash.
//
// Lines that are no targets are counted, and never end a run. What ends it is an
// input of which no line can be right: a directory, a picture, a file that is cut
// short. Such errors are a [mistake.Error], with a hint.
//
// Nothing here starts a goroutine, and no name is looked up.
//
// docs/sweep-lists.md says the same to users.
package target
