package store

import (
	"context"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// TokenPage lists tokens as Tokens does, by pages: those after an id; "" begins.
// A limit of 0 is 500; 10 000 is the most. Errors: database_unavailable.
func (db *Database) TokenPage(ctx context.Context, owner, after string, limit int) (list []identity.Token, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		return t.each(`SELECT `+tokenColumns+` FROM tokens WHERE owner = ? AND id > ? ORDER BY id LIMIT ?`, []any{owner, after, pageSize(limit)}, func(r row) error {
			var tok identity.Token
			err := scanToken(r, &tok)
			list = append(list, tok)
			return err
		})
	})
	return list, err
}
