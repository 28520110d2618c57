// Package disk keeps the last good snapshot on disk, sealed, so that a gateway
// whose database is away can start and go on serving, and never revives what
// was revoked.
//
// A directory holds three files, each for its owner alone (0600):
//
//	snapshot.sealed   the base: everything, as of one revision
//	removals.sealed   the journal: every change since, in order
//	confirmed         when the loader was last known to agree (a hint, not fsynced)
//
// The base is a header (format, a random file id) and frames. A frame is a
// length, its checksum and sealed bytes; what is sealed is bound to the format,
// the file id, the frame's number and whether it is the last. The last frame
// says epoch, revision and time, so each frame is bound to them through the
// file id. Frames cannot be dropped, moved or taken from another file. The base
// is written in the background from a fresh full read, to a temporary file that
// is fsynced and renamed: at most once a MinInterval, only for a new revision,
// and in a constant amount of memory beside what the source hands over.
//
// The journal is a header frame (epoch, and the revision after which it lists
// everything) and one frame a change. Each is on stable storage before Removed
// returns, hence before the change is published. Changes are kept whole, not
// their removals alone: a changed resource may have lost a grant and a changed
// token may have been narrowed, and a change kept whole makes the copy equal to
// the snapshot that was published. Where a change cannot be kept (disk full,
// journal too long), the base is removed first: no copy is better than one that
// revives. Once a newer base is durable the journal is cut to what is newer.
//
// A reader believes all of it or nothing: only a last journal frame that is
// shorter than it says is left out, because that is what a crash leaves behind
// of a change that was never published.
//
// Sealing does not show that a whole directory was replaced by an older copy of
// itself, nor that the end of a journal was cut off together with the
// confirmation: whoever can write to the directory can do that. Snapshots of a
// disk that are restored are bounded by snapshot.maxStaleness.
//
// It owns: the format of these files and when they are written. It does not own
// what a snapshot is or when one is published (internal/snapshot), the key
// (internal/seal), nor the values of secrets, which are refused here.
//
// Called by: internal/app, which reads a copy at the start, seeds the publisher
// with it, and hands the Copy to the publisher as its journal. One process owns
// a directory.
package disk
