package auditchain

import (
	"crypto/ed25519"
	"fmt"
	"time"
)

// Options say what a verifier knows besides the export. The zero Options know
// nothing: the header's keys are trusted on first sight.
type Options struct {
	// Keys and KeyIDs pin the keys: no other may sign. A thumbprint in KeyIDs is
	// looked up among the header's keys.
	Keys   []ed25519.PublicKey
	KeyIDs []string
	// Expect is a head noted elsewhere that the export must hold; nil expects none.
	Expect *Head
	// Whole refuses an export that does not begin with entry 1.
	Whole bool
	// SignedHead refuses an export with entries after its last checkpoint.
	SignedHead bool
}

func (o *Options) pinned() bool { return len(o.Keys)+len(o.KeyIDs) > 0 }

// Report is what was verified. Beside a Problem it is what was good before it.
type Report struct {
	Chain string
	// From is the seq of the first entry; above 1 the export is partial, and
	// nothing is known of what came before.
	From uint64
	Head Head
	// Entries and Checkpoints are counts.
	Entries, Checkpoints uint64
	// First and Last are the times of the first and the last entry; zero
	// without entries.
	First, Last time.Time
	// Signed is the seq of the last checkpoint, SignedAt its time.
	Signed   uint64
	SignedAt time.Time
	// Covered is the seq up to which a checkpoint or the expected head stands for
	// the entries; those after it could have been written by anybody.
	Covered uint64
	// KeyIDs are the keys that signed, in the order of their first checkpoint.
	KeyIDs []string
	// Pinned says that the keys were given by the caller, and not by the header.
	Pinned bool
	// Expected says that the expected head was found.
	Expected bool
}

// Partial reports whether the export begins after entry 1.
func (r *Report) Partial() bool { return r.From > 1 }

// Uncovered is the number of entries after Covered.
func (r *Report) Uncovered() uint64 {
	before := r.Head.Seq - r.Entries
	return r.Head.Seq - max(r.Covered, before)
}

// Kind names what is wrong, for programs; the names are never changed.
type Kind string

// What a verifier finds.
const (
	// KindMalformed is a line that is not one of an export's, or not in its one form.
	KindMalformed Kind = "malformed"
	// KindVersion is a line of a format that this verifier does not know.
	KindVersion Kind = "version"
	// KindHeader is an export without a header, or a header that contradicts itself.
	KindHeader Kind = "header"
	// KindChain is a line of another chain.
	KindChain Kind = "other-chain"
	// KindRemoved is a gap: entries are not there.
	KindRemoved Kind = "removed"
	// KindReordered is an entry that stands later than it should.
	KindReordered Kind = "reordered"
	// KindRepeated is a line that stands there twice.
	KindRepeated Kind = "repeated"
	// KindInserted is an entry that has no place where it stands.
	KindInserted Kind = "inserted"
	// KindUnlinked is an entry that does not follow the one before it.
	KindUnlinked Kind = "unlinked"
	// KindAltered is an entry whose hash is not that of its fields.
	KindAltered Kind = "altered"
	// KindCheckpoint is a checkpoint that is not that of the entry above it.
	KindCheckpoint Kind = "checkpoint"
	// KindUnknownKey is a checkpoint by a key that is not trusted.
	KindUnknownKey Kind = "unknown-key"
	// KindSignature is a checkpoint whose signature is wrong.
	KindSignature Kind = "signature"
	// KindTruncated is an export that breaks off.
	KindTruncated Kind = "truncated"
	// KindTrailing is something after the end.
	KindTrailing Kind = "trailing"
	// KindExpected is an export without the expected head.
	KindExpected Kind = "expected-head"
	// KindUnsigned is an export that is less signed than the caller asks.
	KindUnsigned Kind = "unsigned"
	// KindPartial is a partial export where a whole one was asked for.
	KindPartial Kind = "partial"
)

// Problem is the first thing that is wrong with an export.
type Problem struct {
	// Line counts from 1. It is that of the line where it shows, or one after
	// the last where something is missing.
	Line uint64
	// Seq is the entry that it is about; 0 where it is about none.
	Seq  uint64
	Kind Kind
	// What is wrong, and what that means. Text of the export is quoted.
	What, Means string
}

func (p *Problem) Error() string {
	where := fmt.Sprintf("line %d", p.Line)
	if p.Seq > 0 {
		where += fmt.Sprintf(", seq %d", p.Seq)
	}
	return where + ": " + p.What + "; " + p.Means
}
