package store

import (
	"context"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Members lists the people who have a membership of a team that has not
// expired, by uid, those after a uid; "" begins. Whom a Team's manifest names
// is not among them. A limit of 0 is 500; 10 000 is the most. Errors:
// database_unavailable.
func (db *Database) Members(ctx context.Context, team, after string, limit int) ([]identity.User, error) {
	var users []identity.User
	err := db.view(ctx, db.config, func(t *tx) error {
		now := t.now.UnixMilli()
		err := t.each(`SELECT `+userColumns+`, attributes FROM users WHERE uid IN (
				SELECT user_uid FROM memberships WHERE team = ? AND user_uid > ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY user_uid
			) ORDER BY uid LIMIT ?`,
			[]any{team, after, now, pageSize(limit)}, func(r row) error {
				var u identity.User
				err := scanWholeUser(r, &u)
				users = append(users, u)
				return err
			})
		if err != nil {
			return err
		}
		return t.completeUsers(users, ` AND user_uid IN (SELECT user_uid FROM memberships WHERE team = ?)`, team)
	})
	return users, err
}
