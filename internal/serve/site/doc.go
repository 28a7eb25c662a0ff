// Package site compiles a directory of files, or a release, into a [Site]: an
// immutable value in which every answer stands ready, with its header fields,
// validators and content codings.
//
//   - [Compile] reads a directory, through [os.Root] so that nothing outside of
//     it can be reached, and returns a Site. What did not change since the
//     previous Site is taken from it.
//   - [CompileSource] does the same for a release, whose files a [Source] has by the
//     hashes of their contents.
//   - [Site.Respond] answers one [Request] with an [Answer]. It does no I/O, takes
//     no lock, and allocates nothing for a file that is in memory.
//   - [Live] holds the current Site of a directory behind one atomic pointer,
//     watches the directory, and swaps the pointer: first to the files as they
//     are, then to the same files with quick codings, then with the best ones. A
//     Live of releases is swapped by [Live.Activate] instead.
//
// Small files are copied into a [body.Store], outside the heap. Files over
// [MaxInMemory], and those that the memory budget has no room for, are read from
// disk in blocks; if such a file changes while it is being sent, the answer is
// broken off rather than mixed.
//
// The package knows nothing of connections or protocols: package edge turns
// requests of HTTP/1.1, 2 and 3 into a Request and writes the Answer.
package site
