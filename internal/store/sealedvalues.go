package store

import (
	"context"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// breakGlass is the name of the local administrator's value.
const breakGlass = "break-glass"

// BreakGlass returns the local administrator as it is kept: ciphertext, nil for
// none.
// Errors: database_unavailable.
func (db *Database) BreakGlass(ctx context.Context) ([]byte, error) {
	return db.sealedValue(ctx, breakGlass)
}

// SetBreakGlass replaces old by value, old nil where there is none. Two
// ciphertexts are never the same, so old tells who read it last.
// Errors: precondition_failed (it is not old any more), invalid_request (no
// value), database_unavailable.
func (db *Database) SetBreakGlass(ctx context.Context, old, value []byte) error {
	return db.swapSealedValue(ctx, breakGlass, old, value)
}

func (db *Database) sealedValue(ctx context.Context, name string) (sealed []byte, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		_, err := t.one(`SELECT sealed FROM sealed_values WHERE name = ?`, []any{name}, &sealed)
		return err
	})
	return sealed, err
}

func (db *Database) swapSealedValue(ctx context.Context, name string, old, value []byte) error {
	if len(value) == 0 {
		return identity.Errorf(identity.CodeInvalidRequest, "there is no value to keep")
	}
	return db.update(ctx, db.config, func(t *tx) (err error) {
		now, n := t.now.UnixMilli(), int64(0)
		if len(old) == 0 {
			n, err = t.exec(`INSERT INTO sealed_values (name, sealed, updated_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING`, name, value, now)
		} else {
			n, err = t.exec(`UPDATE sealed_values SET sealed = ?, updated_at = ? WHERE name = ? AND sealed = ?`, value, now, name, old)
		}
		if err == nil && n == 0 {
			err = identity.Errorf(identity.CodePreconditionFailed, "the value was changed by somebody else; read it again")
		}
		return err
	})
}
