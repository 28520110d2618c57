package store

import (
	"context"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Claim uses something up that may be used once: a state, the id of a SAML
// assertion, the jti of a logout token. Of all who claim the same id of a scope,
// in whatever process, one succeeds. The claim holds at least until the time,
// when whatever it was must have expired by itself; Prune forgets it then.
// It takes no revision.
// Errors: conflict (somebody has claimed it), invalid_request (no scope or id),
// database_unavailable.
func (db *Database) Claim(ctx context.Context, scope, id string, until time.Time) error {
	if scope == "" || id == "" {
		return identity.Errorf(identity.CodeInvalidRequest, "there is nothing to claim")
	}
	return db.update(ctx, db.config, func(t *tx) error {
		n, err := t.exec(`INSERT INTO replay (scope, id, expires_at) VALUES (?, ?, ?) ON CONFLICT (scope, id) DO NOTHING`, scope, id, until.UnixMilli())
		if err == nil && n == 0 {
			err = identity.Errorf(identity.CodeConflict, "it was used already")
		}
		return err
	})
}

// PutKey keeps a sealed key under a name where there is none, and returns the
// one that is kept: of several processes that make the same key one is first,
// and all use that one. The store sees ciphertext only.
// Errors: invalid_request (no name or key), database_unavailable.
func (db *Database) PutKey(ctx context.Context, name string, sealed []byte) (kept []byte, err error) {
	if name == "" || len(sealed) == 0 {
		return nil, identity.Errorf(identity.CodeInvalidRequest, "there is no key to keep")
	}
	err = db.update(ctx, db.config, func(t *tx) error {
		_, err := t.exec(`INSERT INTO keys (name, sealed, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING`, name, sealed, t.now.UnixMilli())
		if err == nil {
			kept, err = t.key(name)
		}
		return err
	})
	return kept, err
}

// Key returns a sealed key by name.
// Errors: not_found, database_unavailable.
func (db *Database) Key(ctx context.Context, name string) (sealed []byte, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		sealed, err = t.key(name)
		return err
	})
	return sealed, err
}

func (t *tx) key(name string) (sealed []byte, err error) {
	found, err := t.one(`SELECT sealed FROM keys WHERE name = ?`, []any{name}, &sealed)
	if err == nil && !found {
		err = identity.Errorf(identity.CodeNotFound, "there is no such key")
	}
	return sealed, err
}
