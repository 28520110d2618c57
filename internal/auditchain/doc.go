// Package auditchain makes the audit tamper-evident: it links each entry to the
// one before it by a hash, signs checkpoints of the chain, writes the export and
// verifies one. What follows is the specification; a second verifier can be
// written from it alone.
//
// It owns: the encoding under the hash, the signature, the export's format and
// what a verifier refuses. It does not own: where the chain, its id and its
// checkpoints are kept and in which transaction an entry is linked
// (internal/store), when a checkpoint is signed and where the key lies
// (internal/control/audit), what is audited (internal/control), nor the command
// line (cmd/gatehouse).
//
// Called by: internal/store (Link), internal/control/audit (Sign, Writer) and
// cmd/gatehouse (Verify).
//
// # The export
//
// Media type application/jsonl, UTF-8 without a byte order mark. Every line ends
// with one LF, the last as well; no line is longer than MaxLine bytes. A line is
// one JSON object in exactly one form: the members stand in the order given
// below, there is no white space between tokens, a member marked ? is left out
// when it is empty and is never present and empty, and a string is written as
// RFC 8785 section 3.2.2.2 says (\b \t \n \f \r \" \\, \u00xx in lower case for
// the other control characters, everything else as it is). A line in another
// form is refused, also where it means the same.
//
//	{"type":"header","v":1,"chain":C,"from":N,"prevHash":H,"keys":[{"id":K,"publicKey":P},…]}
//	{"type":"entry","v":1,"chain":C,"seq":N,"prevHash":H,"id":S,"at":T,"actor":S,"actorUid"?:S,"via"?:S,"tokenId"?:S,
//	  "remoteAddr"?:S,"requestId"?:S,"action":S,"target":S,"before"?:J,"after"?:J,"outcome":S,"hash":H}
//	{"type":"checkpoint","v":1,"chain":C,"seq":N,"entryHash":H,"at":T,"key":K,"signature":G}
//	{"type":"end","v":1,"chain":C,"seq":N,"entryHash":H,"entries":N,"checkpoints":N}
//
//	C  the id of the chain: 1 to 64 of A-Z a-z 0-9 . _ -
//	N  an integer from 0 to 2^53-1
//	H  SHA-256, 64 lower-case hexadecimal digits
//	T  RFC 3339 in UTC with milliseconds: 2006-01-02T15:04:05.000Z
//	S  any string without U+0000
//	J  any JSON value without white space between tokens. It is hashed as the bytes that
//	   stand in the line: numbers are not rewritten, members are not sorted
//	K  the thumbprint of a key: "sha256:" and the lower-case hexadecimal SHA-256 of its
//	   SubjectPublicKeyInfo in DER (RFC 8410); what
//	   openssl pkey -pubin -in key.pem -outform DER | sha256sum prints
//	P  the same DER in base64 (RFC 4648 section 4, with padding)
//	G  an Ed25519 signature (RFC 8032) in base64 as P
//
// The first line is the header, the last is the end; entries and checkpoints
// stand between them, each checkpoint directly after the entry that it signs.
//
// # The chain
//
// seq is 1, 2, 3, … without a gap. prevHash is the hash of the entry before; that
// of entry 1 is 64 zeros. With ‖ for concatenation,
//
//	hash = SHA-256( "gatehouse audit entry v1" ‖ 0x00 ‖ L )
//
// where L is the bytes of the line before `,"hash":"`, the last 75 bytes of it cut
// off: `,"hash":"`, 64 digits and `"}`. So the hash covers the chain's id, the seq,
// prevHash and every field. The form above is injective: two entries that differ
// have two lines that differ.
//
// # Checkpoints
//
// A checkpoint says: the key's owner saw entry seq of this chain with this hash,
// and with it everything before. The signature is over
//
//	"gatehouse audit checkpoint v1" ‖ 0x00 ‖ L
//
// where L is the bytes of the line before `,"signature":"`. The seq of checkpoints
// strictly increases. A partial export (from > 1) may have one of entry from-1
// directly after its header: it signs the header's prevHash.
//
// # A verifier refuses
//
//   - a line that is not in the form above, an unknown type or v, a second header,
//     anything after the end, an export without its end
//   - a line whose chain is not the header's
//   - a first entry whose seq is not from, a first prevHash that is not the header's
//     (64 zeros for from = 1)
//   - an entry whose seq is not one more than that of the entry before, whose
//     prevHash is not the hash of the entry before, or whose hash is not as computed
//   - a checkpoint whose seq or entryHash is not that of the entry above it (or of
//     the header), which has the same seq as the checkpoint before, whose key is not
//     trusted, or whose signature is wrong; a key in the header whose id is not its thumbprint
//   - an end whose seq, entryHash or counts are not those of the lines above it
//   - where a key was pinned: an export with entries and without a checkpoint
//   - where a head was expected: an export that does not hold that entry with that hash
//
// # What it proves, and what it does not
//
// An entry at or before the last good checkpoint, or an expected head, is as it was
// when that was made. Entries after it are linked, but whoever can write the file
// can also compute hashes: they are reported as not covered. The end line finds a
// copy that broke off, not an attacker. Somebody who removes the tail together with
// its checkpoints is found by an expected head noted elsewhere, or by an older
// export, and by nothing else; so an export should end with a fresh checkpoint, and
// heads should be noted outside. A missing checkpoint in the middle hides nothing:
// the next one covers the same entries. Keys are trusted when they are pinned;
// those of the header are trusted on first sight, which proves only that the whole
// file was made by one party.
//
// # Changes
//
// A new field needs a new v of the entry line (and "v2" in the prefix): entries of
// both may stand in one chain, since v is under the hash. A verifier refuses a v that
// it does not know. What v 1 means never changes; testdata/format.txtar holds it.
package auditchain
