package disk

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// What a record is. A record is this byte, the length of what follows as a
// varint, and that.
const (
	recordResource        = 'R' // JSON, as people write it
	recordQuarantined     = 'Q' // JSON of identity.Quarantined
	recordRemovedResource = 'r' // JSON of identity.ResourceKey
	recordUser            = 'U' // JSON of identity.User
	recordRemovedUser     = 'u' // uid
	recordToken           = 'T' // see appendToken
	recordRemovedToken    = 't' // digest
	recordTombstone       = 'D' // JSON of identity.Tombstone
	recordLifted          = 'd' // uid
)

const (
	tokenBootstrap = 1 << iota
	tokenRevoked
	tokenNarrowed
)

func empty(r *identity.Rows) bool {
	return r == nil || len(r.Resources)+len(r.Quarantined)+len(r.RemovedResources)+len(r.Users)+len(r.RemovedUsers)+
		len(r.Tokens)+len(r.RemovedTokens)+len(r.Tombstones)+len(r.LiftedTombstones) == 0
}

// encoder turns rows into records.
type encoder struct {
	buf     []byte
	scratch []byte
	// full is called between records when buf holds a chunk, which is limit
	// bytes; it empties buf. Nil: buf holds everything.
	full  func() error
	limit int
	err   error // the first one; nothing more is taken in after it
}

func (e *encoder) put(kind byte, payload []byte) error {
	if e.err != nil {
		return e.err
	}
	e.buf = append(e.buf, kind)
	e.buf = binary.AppendUvarint(e.buf, uint64(len(payload)))
	e.buf = append(e.buf, payload...)
	if e.full != nil && len(e.buf) >= e.limit {
		e.err = e.full()
	}
	return e.err
}

func (e *encoder) putJSON(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return e.put(kind, b)
}

// each puts every element of a list; the first error ends it.
func each[T any](list []T, put func(*T) error) error {
	for i := range list {
		if err := put(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// rows takes rows in. Where several are read back into one, removals come
// first whatever the order here, as in one change.
func (e *encoder) rows(r *identity.Rows) error {
	for _, err := range []error{
		each(r.RemovedTokens, func(d *identity.Digest) error { return e.put(recordRemovedToken, d[:]) }),
		each(r.RemovedUsers, func(uid *string) error { return e.put(recordRemovedUser, []byte(*uid)) }),
		each(r.LiftedTombstones, func(uid *string) error { return e.put(recordLifted, []byte(*uid)) }),
		each(r.Tombstones, func(t *identity.Tombstone) error { return e.putJSON(recordTombstone, t) }),
		each(r.RemovedResources, func(k *identity.ResourceKey) error { return e.putJSON(recordRemovedResource, k) }),
		each(r.Users, func(u *identity.User) error { return e.putJSON(recordUser, u) }),
		each(r.Resources, func(res *v1.Resource) error { return e.resource(*res) }),
		each(r.Quarantined, func(q *identity.Quarantined) error { return e.putJSON(recordQuarantined, q) }),
		each(r.Tokens, func(t *identity.Token) error { return e.token(t) }),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) resource(r v1.Resource) error {
	for _, s := range r.Secrets() {
		if s.Value != nil && s.Value.Value != "" {
			return fmt.Errorf("%s %s: the value of %s is in the clear; only stored secrets are kept on disk",
				r.Type().Kind, r.Meta().Name, s.Path)
		}
	}
	return e.putJSON(recordResource, r)
}

// token keeps what a snapshot needs of a token, about 75 bytes: neither its
// name nor who made it.
func (e *encoder) token(t *identity.Token) error {
	b := append(e.scratch[:0], byte(t.Kind))
	flags := byte(0)
	if t.Bootstrap {
		flags |= tokenBootstrap
	}
	if t.RevokedAt != nil {
		flags |= tokenRevoked
	}
	if t.Narrowing != nil {
		flags |= tokenNarrowed
	}
	b = append(b, flags)
	b = append(b, t.Digest[:]...)
	b = appendID(b, t.ID)
	b = appendID(b, t.Owner)
	b = binary.AppendVarint(b, t.ExpiresAt.UnixMilli())
	if t.RevokedAt != nil {
		b = binary.AppendVarint(b, t.RevokedAt.UnixMilli())
	}
	if t.Narrowing != nil {
		j, err := json.Marshal(t.Narrowing)
		if err != nil {
			return err
		}
		b = append(b, j...)
	}
	e.scratch = b
	return e.put(recordToken, b)
}

const uuidLen = 36

// appendID writes a UUID in 16 bytes after a zero, and anything else as its
// length plus one and itself.
func appendID(b []byte, s string) []byte {
	if len(s) == uuidLen {
		var packed [16]byte
		if packUUID(&packed, s) {
			return append(append(b, 0), packed[:]...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s))+1)
	return append(b, s...)
}

// packUUID reports whether s is what unpackUUID makes of p.
func packUUID(p *[16]byte, s string) bool {
	h := make([]byte, 0, 32)
	h = append(append(append(append(append(h, s[0:8]...), s[9:13]...), s[14:18]...), s[19:23]...), s[24:]...)
	if _, err := hex.Decode(p[:], h); err != nil {
		return false
	}
	return unpackUUID(p[:]) == s
}

func unpackUUID(p []byte) string {
	var b [uuidLen]byte
	hex.Encode(b[0:8], p[0:4])
	hex.Encode(b[9:13], p[4:6])
	hex.Encode(b[14:18], p[6:8])
	hex.Encode(b[19:23], p[8:10])
	hex.Encode(b[24:36], p[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

var errShort = errors.New("a record is shorter than it should be")

func cutID(b []byte) (s string, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 {
		return "", nil, errShort
	}
	b = b[used:]
	switch {
	case n == 0 && len(b) >= 16:
		return unpackUUID(b[:16]), b[16:], nil
	case n == 0 || n-1 > uint64(len(b)):
		return "", nil, errShort
	default:
		return string(b[:n-1]), b[n-1:], nil
	}
}

func cutMillis(b []byte) (t time.Time, rest []byte, err error) {
	n, used := binary.Varint(b)
	if used <= 0 {
		return t, nil, errShort
	}
	return time.UnixMilli(n).UTC(), b[used:], nil
}

func parseToken(b []byte) (t identity.Token, err error) {
	if len(b) < 2+len(t.Digest) {
		return t, errShort
	}
	flags := b[1]
	t.Kind, t.Bootstrap = identity.TokenKind(b[0]), flags&tokenBootstrap != 0
	if flags&^(tokenBootstrap|tokenRevoked|tokenNarrowed) != 0 {
		return t, fmt.Errorf("a token has unknown flags %#x", flags)
	}
	copy(t.Digest[:], b[2:])
	b = b[2+len(t.Digest):]
	if t.ID, b, err = cutID(b); err != nil {
		return t, err
	}
	if t.Owner, b, err = cutID(b); err != nil {
		return t, err
	}
	if t.ExpiresAt, b, err = cutMillis(b); err != nil {
		return t, err
	}
	if flags&tokenRevoked != 0 {
		var at time.Time
		if at, b, err = cutMillis(b); err != nil {
			return t, err
		}
		t.RevokedAt = &at
	}
	if flags&tokenNarrowed != 0 {
		t.Narrowing = &identity.Narrowing{}
		return t, strict(b, t.Narrowing)
	}
	if len(b) > 0 {
		return t, errors.New("a token is longer than it should be")
	}
	return t, nil
}

// strict refuses members that this version does not know: one of them may
// narrow something.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("something follows the JSON value")
	}
	return nil
}

func parseResource(b []byte) (v1.Resource, error) {
	var t v1.TypeMeta
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, err
	}
	r := v1.New(t.Kind)
	if r == nil || t.APIVersion != v1.APIVersion {
		return nil, fmt.Errorf("this version does not know %s %q", t.APIVersion, t.Kind)
	}
	return r, strict(b, r)
}

// parseRows reads records into rows. What it returns does not refer to b.
func parseRows(b []byte) (*identity.Rows, error) {
	rows := &identity.Rows{}
	for len(b) > 0 {
		kind := b[0]
		n, used := binary.Uvarint(b[1:])
		if used <= 0 || n > uint64(len(b)-1-used) {
			return nil, errShort
		}
		payload := b[1+used : 1+used+int(n)]
		if err := parseRecord(rows, kind, payload); err != nil {
			return nil, fmt.Errorf("record %q: %w", kind, err)
		}
		b = b[1+used+int(n):]
	}
	return rows, nil
}

func parseRecord(rows *identity.Rows, kind byte, b []byte) (err error) {
	switch kind {
	case recordResource:
		var r v1.Resource
		r, err = parseResource(b)
		rows.Resources = append(rows.Resources, r)
	case recordQuarantined:
		err = parseInto(&rows.Quarantined, b)
	case recordRemovedResource:
		err = parseInto(&rows.RemovedResources, b)
	case recordUser:
		err = parseInto(&rows.Users, b)
	case recordRemovedUser:
		rows.RemovedUsers = append(rows.RemovedUsers, string(b))
	case recordToken:
		var t identity.Token
		t, err = parseToken(b)
		rows.Tokens = append(rows.Tokens, t)
	case recordRemovedToken:
		if len(b) != len(identity.Digest{}) {
			return errShort
		}
		rows.RemovedTokens = append(rows.RemovedTokens, identity.Digest(b))
	case recordTombstone:
		err = parseInto(&rows.Tombstones, b)
	case recordLifted:
		rows.LiftedTombstones = append(rows.LiftedTombstones, string(b))
	default:
		err = errors.New("this version does not know it")
	}
	return err
}

func parseInto[T any](list *[]T, b []byte) error {
	var v T
	err := strict(b, &v)
	*list = append(*list, v)
	return err
}
