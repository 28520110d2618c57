package auditchain

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/record"
)

const (
	// MaxLine is the length of the longest line of an export, in bytes,
	// without its line feed. It is more than twice the largest request body.
	MaxLine = 64 << 20
	// maxSeq keeps every number exact in a reader that uses float64.
	maxSeq = 1<<53 - 1
	// maxChainID is the length of the longest id of a chain, in bytes.
	maxChainID = 64
)

// Hash is the SHA-256 of an entry; the zero Hash comes before entry 1.
type Hash [sha256.Size]byte

// String returns 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads what String writes, and nothing else.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != hex.EncodedLen(len(h)) || strings.ToLower(s) != s {
		return Hash{}, errors.New("auditchain: a hash is 64 lower-case hexadecimal digits")
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, errors.New("auditchain: a hash is 64 lower-case hexadecimal digits")
	}
	return h, nil
}

// Head is the newest entry of a chain; the zero Head is that of an empty one.
type Head struct {
	Seq  uint64
	Hash Hash
}

// Entry is an entry in its place in the chain, as it is kept.
type Entry struct {
	record.AuditEntry
	Seq      uint64
	PrevHash Hash
	Hash     Hash
}

// Chain links the entries of one chain. It holds nothing but the chain's id and
// may be used by several goroutines.
type Chain struct{ id string }

// NewChain returns the chain with an id, which is made once with the database
// and stays for as long as its entries do, over restores too.
func NewChain(id string) (Chain, error) {
	if !validChainID(id) {
		return Chain{}, fmt.Errorf("auditchain: %q is not the id of a chain: 1 to %d of A-Z a-z 0-9 . _ -", id, maxChainID)
	}
	return Chain{id}, nil
}

// ID returns the chain's id.
func (c Chain) ID() string { return c.id }

func validChainID(id string) bool {
	if id == "" || len(id) > maxChainID {
		return false
	}
	for _, r := range id {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
		default:
			return false
		}
	}
	return true
}

// Link puts an entry behind prev and returns the new head; the entry's PrevHash
// is prev.Hash. It is called with the row of the head locked, in the transaction
// that writes the entry.
//
// It first brings e into the form that is hashed, and that is what must be kept:
// At in UTC and whole milliseconds, Before and After without white space and nil
// where they are empty, invalid UTF-8 and U+0000 (which PostgreSQL cannot keep)
// replaced by U+FFFD.
//
// It fails, and then the transaction must fail, where e has no id, no time or a
// time that RFC 3339 cannot write, where Before or After is not JSON, and where
// the entry is larger than MaxLine.
func (c Chain) Link(prev Head, e *record.AuditEntry) (Head, error) {
	switch {
	case c.id == "":
		return Head{}, errors.New("auditchain: the chain has no id")
	case prev.Seq >= maxSeq:
		return Head{}, errors.New("auditchain: the chain is full")
	case prev.Seq == 0 && prev.Hash != Hash{}:
		return Head{}, errors.New("auditchain: an empty chain has a hash")
	case e.ID == "" || e.At.IsZero():
		return Head{}, errors.New("auditchain: an entry needs its id and its time before it is linked")
	}
	normal := *e
	if err := normalise(&normal); err != nil {
		return Head{}, err
	}
	next := Entry{AuditEntry: normal, Seq: prev.Seq + 1, PrevHash: prev.Hash}
	line := appendEntryBody(nil, c.id, &next)
	if len(line)+hashTail > MaxLine {
		return Head{}, fmt.Errorf("auditchain: the audit entry of %s is larger than %d bytes", e.Action, MaxLine)
	}
	// The values are valid each; together they may nest too deeply to be read.
	if !json.Valid(append(line, '}')) {
		return Head{}, fmt.Errorf("auditchain: the audit entry of %s nests too deeply", e.Action)
	}
	*e = normal
	return Head{Seq: next.Seq, Hash: hashEntry(line)}, nil
}

// hashEntry hashes the line of an entry, given up to its hash.
func hashEntry(body []byte) Hash {
	d := sha256.New()
	d.Write([]byte(entryDomain))
	d.Write(body)
	var h Hash
	d.Sum(h[:0])
	return h
}

// normalise brings an entry into the form that is hashed.
func normalise(e *record.AuditEntry) error {
	e.At = toMillis(e.At)
	if y := e.At.Year(); y < 0 || y > 9999 {
		return fmt.Errorf("auditchain: the year %d cannot be written", y)
	}
	for _, s := range []*string{&e.ID, &e.Actor, &e.ActorUID, &e.Via, &e.TokenID, &e.RemoteAddr, &e.RequestID, &e.Action, &e.Target, &e.Outcome} {
		*s = strings.ReplaceAll(strings.ToValidUTF8(*s, "\uFFFD"), "\x00", "\uFFFD")
	}
	for _, j := range []*json.RawMessage{&e.Before, &e.After} {
		if len(*j) == 0 {
			*j = nil
			continue
		}
		var b bytes.Buffer
		if err := json.Compact(&b, bytes.ToValidUTF8(*j, []byte("\uFFFD"))); err != nil {
			return fmt.Errorf("auditchain: the before or after of %s is not JSON: %w", e.Action, err)
		}
		*j = b.Bytes()
	}
	return nil
}

func toMillis(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
