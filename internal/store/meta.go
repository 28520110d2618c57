package store

import (
	"context"
	"errors"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Head returns the epoch and the newest revision.
// Errors: database_unavailable.
func (db *Database) Head(ctx context.Context) (head identity.Head, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		head, err = t.head()
		return err
	})
	return head, err
}

func (t *tx) head() (identity.Head, error) {
	var h identity.Head
	var revision int64
	found, err := t.one(`SELECT epoch, revision FROM meta WHERE id = 1`, nil, &h.Epoch, &revision)
	if err == nil && !found {
		err = errors.New("the database has no epoch: it was never started")
	}
	h.Revision = uint64(revision)
	return h, err
}

// CheckValue returns what SetCheckValue kept, nil for nothing.
// Errors: database_unavailable.
func (db *Database) CheckValue(ctx context.Context) (value []byte, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		_, err := t.one(`SELECT check_value FROM meta WHERE id = 1`, nil, &value)
		return err
	})
	return value, err
}

// SetCheckValue keeps a value by which a wrong master key is recognised. It
// takes no revision.
// Errors: database_unavailable.
func (db *Database) SetCheckValue(ctx context.Context, value []byte) error {
	return db.update(ctx, db.config, func(t *tx) error {
		_, err := t.exec(`UPDATE meta SET check_value = ? WHERE id = 1`, value)
		return err
	})
}

// KeepCheckValue keeps a value where there is none, and returns the one that is
// kept: of several processes that begin with an empty database one is first, and
// the others learn whose key it was.
// Errors: database_unavailable.
func (db *Database) KeepCheckValue(ctx context.Context, value []byte) (kept []byte, err error) {
	err = db.change(ctx, func(t *tx) error {
		if _, err := t.exec(`UPDATE meta SET check_value = ? WHERE id = 1 AND check_value IS NULL`, value); err != nil {
			return err
		}
		_, err := t.one(`SELECT check_value FROM meta WHERE id = 1`, nil, &kept)
		return err
	})
	return kept, err
}
