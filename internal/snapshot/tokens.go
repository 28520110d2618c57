package snapshot

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"slices"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Token is what the snapshot knows of a token of ours.
type Token struct {
	Kind      identity.TokenKind
	Bootstrap bool
	// ID is the token's UUID in text.
	ID string
	// Owner is nil for the bootstrap token, and for an owner that is not
	// (or no longer) there.
	Owner     *Owner
	ExpiresAt time.Time
	Narrowing *identity.Narrowing
}

// Owner is who owns a token: one of them is set.
type Owner struct {
	User           *User
	VirtualAccount *VirtualAccount
	// Directory owns SCIM tokens.
	Directory *v1.ScimDirectory
}

// tokenRecord is one token without pointers, so that a million of them cost
// the garbage collector nothing. It has 64 bytes, a line of the processor's
// cache.
type tokenRecord struct {
	digest identity.Digest // zero: an empty slot
	id     [16]byte
	owner  uint32 // index into owners, plus one; 0 for none
	narrow uint32 // index into the shard's narrowings, plus one; 0 for none
	// meta is the expiry in Unix milliseconds (48 bits), the kind (8) and the
	// flags (8).
	meta uint64
}

const maxExpiry = 1<<48 - 1 // in the year 10889

func (r *tokenRecord) expires() time.Time       { return time.UnixMilli(int64(r.meta >> 16)).UTC() }
func (r *tokenRecord) kind() identity.TokenKind { return identity.TokenKind(r.meta >> 8) }
func (r *tokenRecord) has(flag uint64) bool     { return r.meta&flag != 0 }

const (
	flagBootstrap = 1 << iota
	flagGone      // removed; kept so that probing goes on
)

const tokenShards = 256

// tokenShard is an open-addressed table; it is never changed once published.
type tokenShard struct {
	slots   []tokenRecord // at most four fifths full
	used    int           // slots that are not empty, removed ones included
	gone    int
	narrows []*identity.Narrowing
}

type tokenTable [tokenShards]*tokenShard

func (t *tokenTable) find(d identity.Digest) (*tokenRecord, *tokenShard) {
	shard := t[d[0]]
	if shard == nil {
		return nil, nil
	}
	r := &shard.slots[shard.slot(d)]
	if r.digest != d || d == (identity.Digest{}) || r.has(flagGone) {
		return nil, nil
	}
	return r, shard
}

// slot returns where a digest stands, or the empty slot where it would. It
// takes bits that do not choose the shard. A digest is SHA-256 of something
// that an attacker cannot choose freely without knowing a valid token, so it
// needs no seed.
func (s *tokenShard) slot(d identity.Digest) int {
	hi, _ := bits.Mul64(binary.LittleEndian.Uint64(d[1:9]), uint64(len(s.slots)))
	i := int(hi)
	for s.slots[i].digest != d && s.slots[i].digest != (identity.Digest{}) {
		if i++; i == len(s.slots) {
			i = 0
		}
	}
	return i
}

func (s *tokenShard) clone() *tokenShard {
	if s == nil {
		return &tokenShard{slots: make([]tokenRecord, 8)}
	}
	c := *s
	c.slots, c.narrows = slices.Clone(s.slots), slices.Clone(s.narrows)
	return &c
}

// put adds or replaces a record; narrowing may be nil.
func (s *tokenShard) put(r tokenRecord, narrowing *identity.Narrowing) {
	if (s.used+1)*5 > len(s.slots)*4 {
		s.grow()
	}
	slot := &s.slots[s.slot(r.digest)]
	switch {
	case slot.digest != r.digest:
		s.used++
	case slot.has(flagGone):
		s.gone--
	}
	switch {
	case narrowing == nil:
	case slot.narrow > 0:
		r.narrow = slot.narrow
		s.narrows[r.narrow-1] = narrowing
	default:
		s.narrows = append(s.narrows, narrowing)
		r.narrow = uint32(len(s.narrows))
	}
	*slot = r
}

func (s *tokenShard) remove(d identity.Digest) {
	if slot := &s.slots[s.slot(d)]; slot.digest == d && !slot.has(flagGone) {
		slot.meta |= flagGone
		s.gone++
	}
}

// grow makes room by a quarter, and leaves out what was removed. A quarter and
// not twice, because twice leaves a million records half empty.
func (s *tokenShard) grow() {
	size := len(s.slots)
	if (s.used-s.gone+1)*25 > size*16 {
		size += size/4 + 1
	}
	old, narrows := s.slots, s.narrows
	s.slots, s.narrows, s.used, s.gone = make([]tokenRecord, size), nil, 0, 0
	for i := range old {
		r := old[i]
		if r.digest == (identity.Digest{}) || r.has(flagGone) {
			continue
		}
		if r.narrow > 0 {
			s.narrows = append(s.narrows, narrows[r.narrow-1])
			r.narrow = uint32(len(s.narrows))
		}
		s.slots[s.slot(r.digest)] = r
		s.used++
	}
}

func newTokenRecord(t *identity.Token, owner uint32) tokenRecord {
	expires := uint64(min(max(t.ExpiresAt.UnixMilli(), 0), maxExpiry))
	r := tokenRecord{digest: t.Digest, owner: owner, meta: expires<<16 | uint64(t.Kind)<<8}
	r.id, _ = parseUUID(t.ID)
	if t.Bootstrap {
		r.meta |= flagBootstrap
	}
	return r
}

func parseUUID(s string) (id [16]byte, ok bool) {
	if len(s) != 36 {
		return id, false
	}
	var h [32]byte
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] != '-' && n < len(h) {
			h[n] = s[i]
			n++
		}
	}
	_, err := hex.Decode(id[:], h[:])
	return id, err == nil && n == len(h)
}

func formatUUID(id [16]byte) string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// Token finds a token of ours by its digest. What was made here comes first: a
// manifest that names the digest of somebody's token does not get hold of it.
func (s *Snapshot) Token(d identity.Digest) (Token, bool) {
	r, shard := s.tokens.find(d)
	if r == nil {
		t, ok := s.cfg.digests[d]
		return t, ok
	}
	t := Token{Kind: r.kind(), Bootstrap: r.has(flagBootstrap), ID: formatUUID(r.id), ExpiresAt: r.expires(), Owner: s.owner(r.owner)}
	if r.narrow > 0 {
		t.Narrowing = shard.narrows[r.narrow-1]
	}
	return t, true
}
