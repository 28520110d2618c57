package store

import (
	"context"
	"database/sql"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// portion is the most rows of one table that Load yields at once.
const portion = 10_000

// Load yields everything as of one moment, in portions of at most 10 000 rows,
// and returns which moment. Sessions are among the tokens (identity.Session.Token).
// Tokens and sessions that are revoked, ended or expired and memberships that
// have expired are left out; when tokens were last used too, because that takes
// no revision, and the attributes of people, by which nothing is decided. yield may keep what it is given, must not use the store,
// and ends the load by an error, which is returned.
// Errors: database_unavailable.
func (db *Database) Load(ctx context.Context, yield func(*identity.Rows) error) (head identity.Head, err error) {
	// Looking for a cancelled context costs something for every row; between
	// portions is often enough.
	checked := func(rows *identity.Rows) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return yield(rows)
	}
	err = db.view(context.WithoutCancel(ctx), db.config, func(t *tx) error {
		if head, err = t.head(); err != nil {
			return err
		}
		for _, load := range []func(func(*identity.Rows) error) error{t.loadResources, t.loadUsers, t.loadTombstones, t.loadTokens, t.loadSessions} {
			if err := load(checked); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return identity.Head{}, err
	}
	return head, nil
}

func (t *tx) loadResources(yield func(*identity.Rows) error) error {
	kind, name := "", ""
	for n := portion; n == portion; {
		rows := &identity.Rows{}
		n = 0
		err := t.each(`SELECT `+resourceColumns+` FROM resources WHERE (kind, name) > (?, ?) ORDER BY kind, name LIMIT ?`, []any{kind, name, portion}, func(r row) error {
			var s storedResource
			if err := s.scan(r); err != nil {
				return err
			}
			s.add(rows)
			kind, name = s.kind, s.name
			n++
			return nil
		})
		if err != nil {
			return err
		}
		if n > 0 {
			if err := yield(rows); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tx) loadUsers(yield func(*identity.Rows) error) error {
	after, managers := "", interner{}
	for {
		var users []identity.User
		err := t.each(`SELECT `+userColumns+` FROM users WHERE uid > ? ORDER BY uid LIMIT ?`, []any{after, portion}, func(r row) error {
			var u identity.User
			err := scanUser(r, &u)
			u.Manager = managers.text([]byte(u.Manager))
			users = append(users, u)
			return err
		})
		if err != nil || len(users) == 0 {
			return err
		}
		if err := t.completeUsers(users, everybody); err != nil {
			return err
		}
		if err := yield(&identity.Rows{Users: users}); err != nil {
			return err
		}
		after = users[len(users)-1].UID
	}
}

func (t *tx) loadTombstones(yield func(*identity.Rows) error) error {
	after := ""
	for {
		var list []identity.Tombstone
		err := t.each(`SELECT uid, email, deleted_at FROM tombstones WHERE uid > ? ORDER BY uid LIMIT ?`, []any{after, portion}, func(r row) error {
			var tomb identity.Tombstone
			var deleted int64
			err := r.Scan(&tomb.UID, &tomb.Email, &deleted)
			tomb.DeletedAt = fromMillis(deleted)
			list = append(list, tomb)
			return err
		})
		if err != nil || len(list) == 0 {
			return err
		}
		if err := t.tombstoneIdentities(list); err != nil {
			return err
		}
		if err := yield(&identity.Rows{Tombstones: list}); err != nil {
			return err
		}
		after = list[len(list)-1].UID
	}
}

// loadTokens is written for a million rows: raw bytes instead of copies, and
// what repeats from one token to the next is kept once.
func (t *tx) loadTokens(yield func(*identity.Rows) error) error {
	const query = `SELECT id, kind, name, digest, owner, bootstrap, created_at, expires_at, narrowing, created_by
		FROM tokens WHERE id > ? AND revoked_at IS NULL AND expires_at > ? ORDER BY id LIMIT ?`
	after, now := "", t.now.UnixMilli()
	intern := interner{}
	for {
		list := make([]identity.Token, 0, portion)
		err := t.each(query, []any{after, now, portion}, func(r row) error {
			var kind, bootstrap, created, expires int64
			var name, digest, owner, narrowing, createdBy sql.RawBytes
			list = append(list, identity.Token{})
			tok := &list[len(list)-1]
			err := r.Scan(&tok.ID, &kind, &name, &digest, &owner, &bootstrap, &created, &expires, &narrowing, &createdBy)
			if err != nil {
				return err
			}
			copy(tok.Digest[:], digest)
			tok.Kind, tok.Bootstrap = identity.TokenKind(kind), bootstrap != 0
			tok.CreatedAt, tok.ExpiresAt = fromMillis(created), fromMillis(expires)
			tok.Name, tok.Owner, tok.CreatedBy = intern.text(name), intern.text(owner), intern.text(createdBy)
			tok.Narrowing = decodeNarrowing(narrowing)
			return nil
		})
		if err != nil || len(list) == 0 {
			return err
		}
		after = list[len(list)-1].ID
		if err := yield(&identity.Rows{Tokens: list}); err != nil {
			return err
		}
		if len(list) < portion {
			return nil
		}
	}
}

func (t *tx) loadSessions(yield func(*identity.Rows) error) error {
	const query = `SELECT ` + sessionTokenColumns + ` FROM sessions WHERE id > ? AND ended_at IS NULL AND expires_at > ? ORDER BY id LIMIT ?`
	after, now := "", t.now.UnixMilli()
	for {
		var list []identity.Token
		err := t.each(query, []any{after, now, portion}, func(r row) error {
			tok, err := scanSessionToken(r)
			list = append(list, tok)
			return err
		})
		if err != nil || len(list) == 0 {
			return err
		}
		after = list[len(list)-1].ID
		if err := yield(&identity.Rows{Tokens: list}); err != nil {
			return err
		}
	}
}

// interner keeps equal strings once, up to a bound.
type interner map[string]string

func (in interner) text(b []byte) string {
	if s, ok := in[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(in) < 1<<17 {
		in[s] = s
	}
	return s
}
