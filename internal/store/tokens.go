package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const tokenColumns = `id, kind, name, digest, owner, bootstrap, created_at, expires_at, revoked_at, narrowing, created_by, last_used_at, last_used_from`

func scanToken(r row, t *identity.Token) error {
	var kind, bootstrap, created, expires int64
	var revoked, used sql.NullInt64
	var digest, narrowing []byte
	err := r.Scan(&t.ID, &kind, &t.Name, &digest, &t.Owner, &bootstrap, &created, &expires, &revoked, &narrowing, &t.CreatedBy, &used, &t.LastUsedFrom)
	if err != nil {
		return err
	}
	copy(t.Digest[:], digest)
	t.Kind, t.Bootstrap = identity.TokenKind(kind), bootstrap != 0
	t.CreatedAt, t.ExpiresAt = fromMillis(created), fromMillis(expires)
	t.RevokedAt, t.LastUsedAt = fromNullMillis(revoked), fromNullMillis(used)
	t.Narrowing = decodeNarrowing(narrowing)
	return nil
}

// decodeNarrowing reads what limits a token. A limit that this version cannot
// read permits nothing: a token must not be stronger than it was made, and one
// bad row must not keep all others from being loaded.
func decodeNarrowing(b []byte) *identity.Narrowing {
	if b == nil {
		return nil
	}
	n := &identity.Narrowing{}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(n); err != nil {
		return &identity.Narrowing{Models: []string{}, MCPServers: []string{}, Agents: []string{}, CIDR: []netip.Prefix{}}
	}
	return n
}

func (t *tx) tokenWhere(where string, arg any) (tok identity.Token, found bool, err error) {
	err = t.each(`SELECT `+tokenColumns+` FROM tokens WHERE `+where, []any{arg}, func(r row) error {
		found = true
		return scanToken(r, &tok)
	})
	return tok, found && err == nil, err
}

// Token returns a token by id, revoked or not.
// Errors: not_found, database_unavailable.
func (db *Database) Token(ctx context.Context, id string) (tok identity.Token, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		var found bool
		if tok, found, err = t.tokenWhere(`id = ?`, id); err == nil && !found {
			err = identity.Errorf(identity.CodeNotFound, "there is no such token")
		}
		return err
	})
	return tok, err
}

// Tokens lists the tokens of a user or a virtual account by its uid, revoked
// and expired ones too, in the order of their ids. The owner "" is the
// bootstrap tokens'.
// Errors: database_unavailable.
func (db *Database) Tokens(ctx context.Context, owner string) ([]identity.Token, error) {
	var list []identity.Token
	err := db.view(ctx, db.config, func(t *tx) error {
		return t.each(`SELECT `+tokenColumns+` FROM tokens WHERE owner = ? ORDER BY id`, []any{owner}, func(r row) error {
			var tok identity.Token
			err := scanToken(r, &tok)
			list = append(list, tok)
			return err
		})
	})
	return list, err
}

// TouchTokens notes when and from where tokens were last used, by id. A use
// before the one that is noted changes nothing, nor does an unknown id. It takes no revision.
// Errors: database_unavailable.
func (db *Database) TouchTokens(ctx context.Context, used map[string]identity.TokenUse) error {
	if len(used) == 0 {
		return nil
	}
	return db.update(ctx, db.config, func(t *tx) error {
		// In one order, so that two who write the same ones do not lock each
		// other out.
		for _, id := range slices.Sorted(maps.Keys(used)) {
			ms := used[id].At.UnixMilli()
			if _, err := t.exec(`UPDATE tokens SET last_used_at = ?, last_used_from = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)`,
				ms, used[id].From, id, ms); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *commit) putTokens() error {
	for i := range c.batch.PutTokens {
		given := &c.batch.PutTokens[i]
		tok := *given
		if tok.ID == "" {
			id, err := newID()
			if err != nil {
				return err
			}
			tok.ID = id
		}
		if tok.CreatedAt.IsZero() {
			tok.CreatedAt = c.now
		}
		tok.CreatedAt, tok.ExpiresAt = stamp(tok.CreatedAt), stamp(tok.ExpiresAt)
		if err := c.insertToken(&tok); err != nil {
			return err
		}
		c.changes.add(changeToken, tokenChangeKey(tok.Digest), opPut)
		c.written = append(c.written, func() { *given = tok })
	}
	return nil
}

func (c *commit) insertToken(tok *identity.Token) error {
	other := ""
	found, err := c.one(`SELECT id FROM tokens WHERE id = ? OR digest = ?`, []any{tok.ID, tok.Digest[:]}, &other)
	if found || err != nil {
		return conflictOr(err, "token", "a token with this id or digest exists already")
	}
	var narrowing any
	if tok.Narrowing != nil {
		b, err := json.Marshal(tok.Narrowing)
		if err != nil {
			return fmt.Errorf("marshal the narrowing of a token: %w", err)
		}
		narrowing = string(b)
	}
	_, err = c.exec(`INSERT INTO tokens (`+tokenColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		tok.ID, int64(tok.Kind), tok.Name, tok.Digest[:], tok.Owner, flag(tok.Bootstrap), tok.CreatedAt.UnixMilli(), tok.ExpiresAt.UnixMilli(),
		nullMillis(tok.RevokedAt), narrowing, tok.CreatedBy, nullMillis(tok.LastUsedAt), tok.LastUsedFrom)
	return err
}

// shortenTokens ends personal access tokens that were made to live for longer
// than the tenant allows now, or makes them end sooner. 0 is no limit.
func (c *commit) shortenTokens(longest time.Duration) error {
	if longest <= 0 {
		return nil
	}
	const tooLong = ` FROM tokens WHERE kind = ? AND revoked_at IS NULL AND expires_at > ? AND expires_at > created_at + ?`
	args := []any{int64(identity.TokenPersonal), c.now.UnixMilli(), longest.Milliseconds()}
	err := c.each(`SELECT digest`+tooLong, args, func(r row) error {
		var d []byte
		err := r.Scan(&d)
		c.changes.add(changeToken, tokenChangeKey(identity.Digest(d)), opPut)
		return err
	})
	if err != nil {
		return err
	}
	_, err = c.exec(`UPDATE tokens SET expires_at = created_at + ? WHERE id IN (SELECT id`+tooLong+`)`, append([]any{longest.Milliseconds()}, args...)...)
	return err
}

func (c *commit) revokeTokens() error {
	for _, id := range c.batch.RevokeTokens {
		tok, found, err := c.tokenWhere(`id = ?`, id)
		if err != nil {
			return err
		}
		if !found {
			// Saying "revoked" of a token that is not there would be a lie.
			return identity.Errorf(identity.CodeNotFound, "there is no token %s to revoke", id)
		}
		if tok.RevokedAt != nil {
			continue
		}
		if err := c.revoke(id, tok.Digest); err != nil {
			return err
		}
	}
	return nil
}

func (c *commit) revoke(id string, d identity.Digest) error {
	_, err := c.exec(`UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL`, c.now.UnixMilli(), id)
	c.changes.add(changeToken, tokenChangeKey(d), opDelete)
	return err
}

func (c *commit) revokeTokensOf(owner string) error {
	type live struct {
		id     string
		digest identity.Digest
	}
	var list []live
	err := c.each(`SELECT id, digest FROM tokens WHERE owner = ? AND revoked_at IS NULL`, []any{owner}, func(r row) error {
		var l live
		var d []byte
		err := r.Scan(&l.id, &d)
		copy(l.digest[:], d)
		list = append(list, l)
		return err
	})
	if err != nil {
		return err
	}
	for _, l := range list {
		if err := c.revoke(l.id, l.digest); err != nil {
			return err
		}
	}
	return nil
}
