package auditchain

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// The prefixes keep what is hashed and what is signed apart from each other and
// from everything else that uses SHA-256 or the key.
const (
	entryDomain      = "gatehouse audit entry v1\x00"
	checkpointDomain = "gatehouse audit checkpoint v1\x00"

	timeLayout = "2006-01-02T15:04:05.000Z"

	headerType     = `{"type":"header",`
	entryType      = `{"type":"entry",`
	checkpointType = `{"type":"checkpoint",`
	endType        = `{"type":"end",`

	// hashTail is the length of what follows an entry's fields.
	hashTail = len(`,"hash":"`) + 2*len(Hash{}) + len(`"}`)
)

// appendString writes a JSON string as RFC 8785 section 3.2.2.2 says. It is not
// left to encoding/json, whose choice of escapes has changed between releases
// and would break every chain.
func appendString(b []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r) // U+FFFD for an invalid byte
			i += n
			continue
		}
		i++
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\t':
			b = append(b, '\\', 't')
		case '\n':
			b = append(b, '\\', 'n')
		case '\f':
			b = append(b, '\\', 'f')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			if c < 0x20 {
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
			} else {
				b = append(b, c)
			}
		}
	}
	return append(b, '"')
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendString(b, value)
}

func appendOptional(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendField(b, name, value)
}

func appendNumber(b []byte, name string, n uint64) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return strconv.AppendUint(b, n, 10)
}

func appendHash(b []byte, name string, h Hash) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':', '"')
	b = hex.AppendEncode(b, h[:])
	return append(b, '"')
}

// appendRaw writes before or after as it is kept. What is not JSON in the one
// form was not written by Link: it is shown as text, so that the export of a
// database that was tampered with still can be made, and its hash does not match.
func appendRaw(b []byte, name string, raw json.RawMessage) []byte {
	if len(raw) == 0 {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	if isNormal(raw) {
		return append(b, raw...)
	}
	b = append(b, `{"unreadable":`...)
	b = appendString(b, string(raw))
	return append(b, '}')
}

func isNormal(raw json.RawMessage) bool {
	var b bytes.Buffer
	b.Grow(len(raw))
	return utf8.Valid(raw) && json.Compact(&b, raw) == nil && bytes.Equal(b.Bytes(), raw)
}

// appendStart writes the members that every line begins with.
func appendStart(b []byte, kind, chain string) []byte {
	b = append(b, kind...)
	b = append(b, `"v":1`...)
	return appendField(b, "chain", chain)
}

// appendEntryBody writes the line of an entry up to its hash: what is hashed.
func appendEntryBody(b []byte, chain string, e *Entry) []byte {
	b = appendStart(b, entryType, chain)
	b = appendNumber(b, "seq", e.Seq)
	b = appendHash(b, "prevHash", e.PrevHash)
	b = appendField(b, "id", e.ID)
	b = appendField(b, "at", toMillis(e.At).Format(timeLayout))
	b = appendField(b, "actor", e.Actor)
	b = appendOptional(b, "actorUid", e.ActorUID)
	b = appendOptional(b, "via", e.Via)
	b = appendOptional(b, "tokenId", e.TokenID)
	b = appendOptional(b, "remoteAddr", e.RemoteAddr)
	b = appendOptional(b, "requestId", e.RequestID)
	b = appendField(b, "action", e.Action)
	b = appendField(b, "target", e.Target)
	b = appendRaw(b, "before", e.Before)
	b = appendRaw(b, "after", e.After)
	return appendField(b, "outcome", e.Outcome)
}

func appendEntry(b []byte, chain string, e *Entry) []byte {
	return append(appendHash(appendEntryBody(b, chain, e), "hash", e.Hash), '}')
}

// appendCheckpointBody writes the line of a checkpoint up to its signature: what
// is signed.
func appendCheckpointBody(b []byte, c *Checkpoint) []byte {
	b = appendStart(b, checkpointType, c.Chain)
	b = appendNumber(b, "seq", c.Seq)
	b = appendHash(b, "entryHash", c.Hash)
	b = appendField(b, "at", toMillis(c.At).Format(timeLayout))
	return appendField(b, "key", c.KeyID)
}

func appendCheckpoint(b []byte, c *Checkpoint) []byte {
	b = appendCheckpointBody(b, c)
	return append(appendField(b, "signature", base64.StdEncoding.EncodeToString(c.Signature)), '}')
}

// Header is how an export begins.
type Header struct {
	// Chain is the chain's id.
	Chain string
	// After is the entry before the first that is exported: the zero Head for a
	// whole chain, entry N-1 for a partial export from N.
	After Head
	// Keys are the public keys that the checkpoints are signed with.
	Keys []ed25519.PublicKey
}

func appendHeader(b []byte, h *Header) []byte {
	b = appendStart(b, headerType, h.Chain)
	b = appendNumber(b, "from", h.After.Seq+1)
	b = appendHash(b, "prevHash", h.After.Hash)
	b = append(b, `,"keys":[`...)
	for i, k := range h.Keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"id":`...)
		b = appendString(b, KeyID(k))
		b = appendField(b, "publicKey", base64.StdEncoding.EncodeToString(spki(k)))
		b = append(b, '}')
	}
	return append(b, `]}`...)
}

// end is how an export ends.
type end struct {
	chain                string
	head                 Head
	entries, checkpoints uint64
}

func appendEnd(b []byte, e *end) []byte {
	b = appendStart(b, endType, e.chain)
	b = appendNumber(b, "seq", e.head.Seq)
	b = appendHash(b, "entryHash", e.head.Hash)
	b = appendNumber(b, "entries", e.entries)
	b = appendNumber(b, "checkpoints", e.checkpoints)
	return append(b, '}')
}
