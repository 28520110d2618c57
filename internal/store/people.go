package store

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// normalManager writes the manager api as "", which means it: there must not be
// two names of one manager.
func normalManager(manager string) string {
	if manager == "api" {
		return ""
	}
	return manager
}

// normalAttributes is the shortest form of a JSON object, nil for none.
func normalAttributes(raw json.RawMessage) (json.RawMessage, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" || string(raw) == "{}" {
		return nil, nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil || raw[0] != '{' {
		return nil, identity.Errorf(identity.CodeInvalidRequest, "attributes: not a JSON object")
	}
	return b.Bytes(), nil
}

// nextVersion follows a version of a person. It is not a mere counter: after a
// restore from a backup it must not come to versions that were there before, so
// it is at least the time.
func (t *tx) nextVersion(old uint64) uint64 { return max(old+1, uint64(t.now.UnixMilli())) }

func (t *tx) growVersion(uid string) error {
	now := t.now.UnixMilli()
	_, err := t.exec(`UPDATE users SET version = CASE WHEN version < ? THEN ? ELSE version + 1 END WHERE uid = ?`, now, now, uid)
	return err
}

// UserOf finds one person of a manager (api, or scim:NAME) by an attribute that
// is unique: "userName" and "email" without regard to case, or "externalId".
// Errors: not_found (nobody, or somebody of another manager), invalid_request
// (another attribute), database_unavailable.
func (db *Database) UserOf(ctx context.Context, manager, attribute, value string) (u identity.User, err error) {
	where, key := "", strings.TrimSpace(value)
	switch attribute {
	case "userName":
		where, key = `user_name_key = ?`, strings.ToLower(key)
	case "email":
		where, key = `email = ?`, v1.NormalizeEmail(value)
	case "externalId":
		where, key = `external_id <> '' AND external_id = ?`, value
	default:
		return u, identity.Errorf(identity.CodeInvalidRequest, "people are not found by %q", attribute)
	}
	err = db.view(ctx, db.config, func(t *tx) error {
		uid := ""
		found, err := t.one(`SELECT uid FROM users WHERE `+where+` AND manager = ?`, []any{key, normalManager(manager)}, &uid)
		if found {
			u, found, err = t.user(uid)
		}
		if err == nil && !found {
			err = identity.Errorf(identity.CodeNotFound, "there is no such user")
		}
		return err
	})
	return u, err
}

// UsersOf lists the people of a manager by uid, those after a uid; "" begins. A
// limit of 0 is 500; 10 000 is the most. A page costs the same wherever it is.
// Errors: database_unavailable.
func (db *Database) UsersOf(ctx context.Context, manager, after string, limit int) ([]identity.User, error) {
	var users []identity.User
	manager = normalManager(manager)
	err := db.view(ctx, db.config, func(t *tx) error {
		err := t.each(`SELECT `+userColumns+`, attributes FROM users WHERE manager = ? AND uid > ? ORDER BY uid LIMIT ?`,
			[]any{manager, after, pageSize(limit)}, func(r row) error {
				var u identity.User
				err := scanWholeUser(r, &u)
				users = append(users, u)
				return err
			})
		if err != nil || len(users) == 0 {
			return err
		}
		first, last := users[0].UID, users[len(users)-1].UID
		return t.completeUsers(users, ` AND user_uid IN (SELECT uid FROM users WHERE manager = ? AND uid >= ? AND uid <= ?)`, manager, first, last)
	})
	return users, err
}

// UserBefore returns the uid after which a page begins that leaves out the first
// so many people of a manager: "" for none, and the last one's where there are
// not so many. It is for clients that page by number (RFC 7644, 3.4.2.4); it
// walks an index, and costs more the more it leaves out.
// Errors: database_unavailable.
func (db *Database) UserBefore(ctx context.Context, manager string, leaveOut int) (uid string, err error) {
	if leaveOut <= 0 {
		return "", nil
	}
	manager = normalManager(manager)
	err = db.view(ctx, db.config, func(t *tx) error {
		found, err := t.one(`SELECT uid FROM users WHERE manager = ? ORDER BY uid LIMIT 1 OFFSET ?`, []any{manager, int64(leaveOut) - 1}, &uid)
		if err == nil && !found {
			_, err = t.one(`SELECT uid FROM users WHERE manager = ? ORDER BY uid DESC LIMIT 1`, []any{manager}, &uid)
		}
		return err
	})
	return uid, err
}

// CountUsersOf returns how many people a manager has. It counts an index.
// Errors: database_unavailable.
func (db *Database) CountUsersOf(ctx context.Context, manager string) (n int, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		_, err := t.one(`SELECT count(*) FROM users WHERE manager = ?`, []any{normalManager(manager)}, &n)
		return err
	})
	return n, err
}
