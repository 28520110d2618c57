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

// TeamMembers lists, by uid and after a uid ("" begins), who has a membership of
// a team from a source; source "" is any. Memberships that have expired and are
// still stored are among them. A limit of 0 is 500; 10 000 is the most. Errors:
// database_unavailable.
func (db *Database) TeamMembers(ctx context.Context, team, source, after string, limit int) ([]string, error) {
	query, args := `SELECT DISTINCT user_uid FROM memberships WHERE team = ? AND user_uid > ?`, []any{team, after}
	if source != "" {
		query, args = query+` AND source = ?`, append(args, source)
	}
	var uids []string
	err := db.view(ctx, db.config, func(t *tx) error {
		return t.each(query+` ORDER BY user_uid LIMIT ?`, append(args, pageSize(limit)), func(r row) error {
			var uid string
			err := r.Scan(&uid)
			uids = append(uids, uid)
			return err
		})
	})
	return uids, err
}

// The source of memberships that a directory gives, and of those by hand.
const (
	sourceSCIM   = "scim"
	sourceManual = "manual"
)

// endMemberships ends whatever put people into a team that goes: what is left
// would be handed to the next team of its name.
func (c *commit) endMemberships(team string) error {
	if err := c.touchMembers(team, ""); err != nil {
		return err
	}
	_, err := c.exec(`DELETE FROM memberships WHERE team = ?`, team)
	return err
}

// keepMembers makes the people whom a directory has put into a team that it no
// longer owns people who were added by hand: nothing else could remove them.
func (c *commit) keepMembers(team string) error {
	if err := c.touchMembers(team, sourceSCIM); err != nil {
		return err
	}
	_, err := c.exec(`DELETE FROM memberships WHERE team = ? AND source = ? AND user_uid IN (SELECT user_uid FROM memberships WHERE team = ? AND source = ?)`,
		team, sourceSCIM, team, sourceManual)
	if err != nil {
		return err
	}
	_, err = c.exec(`UPDATE memberships SET source = ? WHERE team = ? AND source = ?`, sourceManual, team, sourceSCIM)
	return err
}

// touchMembers notes that the people of a team have changed; source is empty for
// all. However many they are, it is a statement or two: others wait to write.
func (c *commit) touchMembers(team, source string) error {
	const members = `SELECT DISTINCT user_uid FROM memberships WHERE team = ? AND (? = '' OR source = ?)`
	args := []any{team, source, source}
	found := false
	err := c.each(members+` ORDER BY user_uid`, args, func(r row) error {
		var uid string
		err := r.Scan(&uid)
		c.changes.add(changeUser, uid, opPut)
		found = true
		return err
	})
	if err != nil || !found {
		return err
	}
	now := c.now.UnixMilli()
	_, err = c.exec(`UPDATE users SET version = CASE WHEN version < ? THEN ? ELSE version + 1 END WHERE uid IN (`+members+`)`, append([]any{now, now}, args...)...)
	return err
}
