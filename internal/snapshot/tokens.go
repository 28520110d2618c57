package snapshot

import (
	"encoding/binary"
	"encoding/hex"
	"time"

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

// Owner is who owns a token: one of the two is set.
type Owner struct {
	User           *User
	VirtualAccount *VirtualAccount
}

// tokenRecord is one token without pointers, so that a million of them cost
// the garbage collector nothing.
type tokenRecord struct {
	digest  identity.Digest // zero: an empty slot
	id      [16]byte
	owner   uint32 // index into owners, plus one; 0 for none
	narrow  uint32 // index into the shard's narrowings, plus one; 0 for none
	expires int64  // Unix milliseconds
	kind    identity.TokenKind
	flags   uint8
}

const (
	flagBootstrap = 1 << iota
	flagGone      // removed; kept so that probing goes on
)

const tokenShards = 256

// tokenShard is an open-addressed table; it is never changed once published.
type tokenShard struct {
	slots   []tokenRecord // a power of two, at most three quarters full
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
	mask := uint64(len(shard.slots) - 1)
	for i := slotOf(d) & mask; ; i = (i + 1) & mask {
		r := &shard.slots[i]
		if r.digest == (identity.Digest{}) {
			return nil, nil
		}
		if r.digest == d {
			if r.flags&flagGone != 0 {
				return nil, nil
			}
			return r, shard
		}
	}
}

// slotOf takes bits that do not choose the shard. A digest is SHA-256 of
// something that an attacker cannot choose freely without knowing a valid
// token, so it needs no seed.
func slotOf(d identity.Digest) uint64 { return binary.LittleEndian.Uint64(d[1:9]) }

func (s *tokenShard) clone() *tokenShard {
	if s == nil {
		return &tokenShard{slots: make([]tokenRecord, 8)}
	}
	c := *s
	c.slots = append([]tokenRecord(nil), s.slots...)
	c.narrows = s.narrows[:len(s.narrows):len(s.narrows)]
	return &c
}

func (s *tokenShard) put(r tokenRecord) {
	if (s.used+1)*4 > len(s.slots)*3 {
		s.grow()
	}
	mask := uint64(len(s.slots) - 1)
	for i := slotOf(r.digest) & mask; ; i = (i + 1) & mask {
		slot := &s.slots[i]
		switch slot.digest {
		case identity.Digest{}:
			*slot = r
			s.used++
			return
		case r.digest:
			if slot.flags&flagGone != 0 {
				s.gone--
			}
			*slot = r
			return
		}
	}
}

func (s *tokenShard) remove(d identity.Digest) {
	mask := uint64(len(s.slots) - 1)
	for i := slotOf(d) & mask; ; i = (i + 1) & mask {
		slot := &s.slots[i]
		if slot.digest == (identity.Digest{}) {
			return
		}
		if slot.digest == d {
			if slot.flags&flagGone == 0 {
				slot.flags |= flagGone
				s.gone++
			}
			return
		}
	}
}

// grow makes room, and leaves out what was removed.
func (s *tokenShard) grow() {
	size := len(s.slots)
	if (s.used-s.gone+1)*2 > size {
		size *= 2
	}
	old := s.slots
	s.slots, s.used, s.gone = make([]tokenRecord, size), 0, 0
	for _, r := range old {
		if r.digest != (identity.Digest{}) && r.flags&flagGone == 0 {
			s.put(r)
		}
	}
}

func (s *tokenShard) record(t *identity.Token, owner uint32) tokenRecord {
	r := tokenRecord{digest: t.Digest, owner: owner, expires: t.ExpiresAt.UnixMilli(), kind: t.Kind}
	r.id, _ = parseUUID(t.ID)
	if t.Bootstrap {
		r.flags |= flagBootstrap
	}
	if t.Narrowing != nil {
		s.narrows = append(s.narrows, t.Narrowing)
		r.narrow = uint32(len(s.narrows))
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

// Token finds a token of ours by its digest.
func (s *Snapshot) Token(d identity.Digest) (Token, bool) {
	if t, ok := s.cfg.digests[d]; ok {
		return t, true
	}
	r, shard := s.tokens.find(d)
	if r == nil {
		return Token{}, false
	}
	t := Token{
		Kind: r.kind, Bootstrap: r.flags&flagBootstrap != 0, ID: formatUUID(r.id), ExpiresAt: time.UnixMilli(r.expires).UTC(),
		Owner: s.owner(r.owner),
	}
	if r.narrow > 0 {
		t.Narrowing = shard.narrows[r.narrow-1]
	}
	return t, true
}
