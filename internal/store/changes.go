package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// What a line of changes is about. The line says that something changed; what
// it is now stands in its own table, so a reader never applies an old state.
const (
	changeResource = "resource"
	changeUser     = "user"
	// changeToken is a token or a session, by its digest: a version before this
	// one finds no token with the digest of a session and removes it, which is right.
	changeToken     = "token"
	changeTombstone = "tombstone"

	opPut    = "put"
	opDelete = "delete"
)

const (
	// changesKept is how long changes can be asked for.
	changesKept = 7 * 24 * time.Hour
	// changesAtOnce is how many changed things are read one by one; beyond it
	// a full load is cheaper.
	changesAtOnce = 50_000
)

type change struct{ kind, key string }

// changeSet holds each changed thing once, in the order of first change.
type changeSet struct {
	order []change
	ops   map[change]string
}

func (s *changeSet) add(kind, key, op string) {
	if s.ops == nil {
		s.ops = map[change]string{}
	}
	c := change{kind, key}
	if _, ok := s.ops[c]; !ok {
		s.order = append(s.order, c)
	}
	s.ops[c] = op
}

func (s *changeSet) empty() bool { return len(s.order) == 0 }

func resourceChangeKey(k identity.ResourceKey) string { return string(k.Kind) + "/" + k.Name }

func tokenChangeKey(d identity.Digest) string { return hex.EncodeToString(d[:]) }

// takeRevision takes the next revision, last of all locks, and writes what
// changed under it. The lock on the one row of meta is held until the commit,
// so the order of revisions is the order of commits.
func (t *tx) takeRevision(changes *changeSet) (identity.Head, error) {
	if changes.empty() {
		return t.head()
	}
	var h identity.Head
	var revision int64
	found, err := t.one(`UPDATE meta SET revision = revision + 1 WHERE id = 1 RETURNING epoch, revision`, nil, &h.Epoch, &revision)
	if err != nil {
		return h, err
	}
	if !found {
		return h, errors.New("the database has no epoch: it was never started")
	}
	h.Revision = uint64(revision)
	const columns, chunk = 5, 64
	at := t.now.UnixMilli()
	for list := changes.order; len(list) > 0; {
		n := 1
		if len(list) >= chunk {
			n = chunk
		}
		args := make([]any, 0, columns*n)
		for _, c := range list[:n] {
			args = append(args, revision, c.kind, c.key, changes.ops[c], at)
		}
		if _, err := t.exec(`INSERT INTO changes (revision, kind, key, op, at) VALUES `+rowsOfValues(columns, n), args...); err != nil {
			return h, err
		}
		list = list[n:]
	}
	if t.dialect.Notify != "" {
		if _, err := t.exec(t.dialect.Notify, FormatHead(h)); err != nil {
			return h, err
		}
	}
	return h, nil
}

// FormatHead writes a head as Dialect.Notify tells it.
func FormatHead(h identity.Head) string { return h.Epoch + " " + strconv.FormatUint(h.Revision, 10) }

// ParseHead reads what FormatHead writes.
func ParseHead(s string) (h identity.Head, ok bool) {
	epoch, revision, ok := strings.Cut(s, " ")
	n, err := strconv.ParseUint(revision, 10, 64)
	return identity.Head{Epoch: epoch, Revision: n}, ok && err == nil
}

// Since returns what has changed after a head: changed things whole and as
// they are now, removed ones by key. A revoked or expired token is removed; a
// deactivated user is a changed user. full says that the changes cannot tell
// and everything must be loaded: another epoch, a head that is ahead of the
// database or older than the changes that are kept (7 days), or too many
// changes; rows is nil then.
// Errors: database_unavailable.
func (db *Database) Since(ctx context.Context, since identity.Head) (rows *identity.Rows, head identity.Head, full bool, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		if head, err = t.head(); err != nil {
			return err
		}
		var pruned int64
		if _, err := t.one(`SELECT pruned_through FROM meta WHERE id = 1`, nil, &pruned); err != nil {
			return err
		}
		if since.Epoch != head.Epoch || since.Revision > head.Revision || since.Revision < uint64(pruned) {
			full = true
			return nil
		}
		changes, err := t.changesAfter(since.Revision)
		if err != nil {
			return err
		}
		if len(changes) > changesAtOnce {
			full = true
			return nil
		}
		rows = &identity.Rows{}
		for _, c := range changes {
			if err := t.addChanged(c, rows); err != nil {
				return fmt.Errorf("read the changed %s: %w", c.kind, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, identity.Head{}, false, err
	}
	return rows, head, full, nil
}

func (t *tx) changesAfter(revision uint64) ([]change, error) {
	var list []change
	err := t.each(`SELECT DISTINCT kind, key FROM changes WHERE revision > ? LIMIT ?`, []any{int64(revision), changesAtOnce + 1}, func(r row) error {
		var c change
		err := r.Scan(&c.kind, &c.key)
		list = append(list, c)
		return err
	})
	return list, err
}

func (t *tx) addChanged(c change, rows *identity.Rows) error {
	switch c.kind {
	case changeResource:
		return t.addChangedResource(c.key, rows)
	case changeUser:
		u, found, err := t.userWithoutAttributes(c.key)
		if found {
			rows.Users = append(rows.Users, u)
		} else {
			rows.RemovedUsers = append(rows.RemovedUsers, c.key)
		}
		return err
	case changeToken:
		return t.addChangedToken(c.key, rows)
	case changeTombstone:
		tomb, found, err := t.tombstone(c.key)
		if found {
			rows.Tombstones = append(rows.Tombstones, tomb)
		} else {
			rows.LiftedTombstones = append(rows.LiftedTombstones, c.key)
		}
		return err
	default:
		return fmt.Errorf("unknown kind of change %q", c.kind)
	}
}

func (t *tx) addChangedResource(key string, rows *identity.Rows) error {
	kind, name, _ := strings.Cut(key, "/")
	rk := identity.ResourceKey{Kind: v1.Kind(kind), Name: name}
	s, found, err := t.resource(rk)
	switch {
	case err != nil:
		return err
	case found:
		s.add(rows)
	default:
		rows.RemovedResources = append(rows.RemovedResources, rk)
	}
	return nil
}

func (t *tx) addChangedToken(key string, rows *identity.Rows) error {
	raw, err := hex.DecodeString(key)
	if err != nil || len(raw) != len(identity.Digest{}) {
		return fmt.Errorf("%q is not the key of a token", key)
	}
	d := identity.Digest(raw)
	tok, found, err := t.tokenWhere(`digest = ?`, d[:])
	if err == nil && !found {
		tok, found, err = t.liveSessionToken(d)
	}
	switch {
	case err != nil:
		return err
	case found && tok.RevokedAt == nil && tok.ExpiresAt.After(t.now):
		tok.LastUsedAt = nil
		rows.Tokens = append(rows.Tokens, tok)
	default:
		rows.RemovedTokens = append(rows.RemovedTokens, d)
	}
	return nil
}

// Prune forgets changes that are older than 7 days (whoever asks for them is
// told to load everything), claims that have expired, and sessions that would
// have expired 30 days ago.
// Errors: database_unavailable.
func (db *Database) Prune(ctx context.Context) error {
	return db.change(ctx, func(t *tx) error {
		if _, err := t.exec(`DELETE FROM replay WHERE expires_at < ?`, t.now.UnixMilli()); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM sessions WHERE expires_at < ?`, t.now.Add(-sessionsKept).UnixMilli()); err != nil {
			return err
		}
		return t.pruneChanges()
	})
}

func (t *tx) pruneChanges() error {
	var through int64
	// By revision, not by time alone: a clock that was set back must not
	// leave a hole.
	_, err := t.one(`SELECT coalesce(max(revision), 0) FROM changes WHERE at < ?`, []any{t.now.Add(-changesKept).UnixMilli()}, &through)
	if err != nil || through == 0 {
		return err
	}
	if _, err := t.exec(`DELETE FROM changes WHERE revision <= ?`, through); err != nil {
		return err
	}
	_, err = t.exec(`UPDATE meta SET pruned_through = ? WHERE id = 1`, through)
	return err
}
