package store

import (
	"cmp"
	"context"
	"database/sql"
	"reflect"
	"slices"
	"strings"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const userColumns = `uid, email, user_name, display_name, active, created_at, version, manager, external_id`

func scanUser(r row, u *identity.User, more ...any) error {
	var active, created, version int64
	err := r.Scan(append([]any{&u.UID, &u.Email, &u.UserName, &u.DisplayName, &active, &created, &version, &u.Manager, &u.ExternalID}, more...)...)
	u.Active, u.CreatedAt, u.Version = active != 0, fromMillis(created), uint64(version)
	return err
}

// scanWholeUser reads the attributes too, which come after userColumns.
func scanWholeUser(r row, u *identity.User) error {
	var attributes sql.NullString
	err := scanUser(r, u, &attributes)
	u.Attributes = fromNullJSON(attributes)
	return err
}

// user reads a person whole, without memberships that have expired.
func (t *tx) user(uid string) (identity.User, bool, error) {
	return t.userBy(uid, `, attributes`, scanWholeUser)
}

// userWithoutAttributes reads a person as the snapshot has them.
func (t *tx) userWithoutAttributes(uid string) (identity.User, bool, error) {
	return t.userBy(uid, ``, func(r row, u *identity.User) error { return scanUser(r, u) })
}

func (t *tx) userBy(uid, columns string, scan func(row, *identity.User) error) (identity.User, bool, error) {
	var u identity.User
	found := false
	err := t.each(`SELECT `+userColumns+columns+` FROM users WHERE uid = ?`, []any{uid}, func(r row) error {
		found = true
		return scan(r, &u)
	})
	if err != nil || !found {
		return u, false, err
	}
	one := []identity.User{u}
	if err := t.completeUsers(one, everybody); err != nil {
		return u, false, err
	}
	return one[0], true, nil
}

// everybody says that between the first and the last of a sorted list of users
// there is nobody who is not in it.
const everybody = ""

// completeUsers adds identities and memberships to users that are sorted by uid.
// Where there are others between them, among tells whom to read: a condition on
// user_uid with its arguments.
func (t *tx) completeUsers(users []identity.User, among string, args ...any) error {
	if len(users) == 0 {
		return nil
	}
	args = append([]any{users[0].UID, users[len(users)-1].UID}, args...)
	at := follower(users)
	err := t.each(`SELECT user_uid, issuer, subject, linked_at FROM user_identities WHERE user_uid >= ? AND user_uid <= ?`+among+` ORDER BY user_uid, issuer, subject`,
		args, func(r row) error {
			var uid string
			var id identity.UserIdentity
			var linked int64
			if err := r.Scan(&uid, &id.Issuer, &id.Subject, &linked); err != nil {
				return err
			}
			id.LinkedAt = fromMillis(linked)
			if u := at(uid); u != nil {
				u.Identities = append(u.Identities, id)
			}
			return nil
		})
	if err != nil {
		return err
	}
	at = follower(users)
	return t.each(`SELECT user_uid, team, source, manager, expires_at FROM memberships
		WHERE user_uid >= ? AND user_uid <= ?`+among+` AND (expires_at IS NULL OR expires_at > ?) ORDER BY user_uid, team, source`,
		append(args, t.now.UnixMilli()), func(r row) error {
			var uid string
			var m identity.Membership
			var manager int64
			var expires sql.NullInt64
			if err := r.Scan(&uid, &m.Team, &m.Source, &manager, &expires); err != nil {
				return err
			}
			m.Manager, m.ExpiresAt = manager != 0, fromNullMillis(expires)
			if u := at(uid); u != nil {
				u.Memberships = append(u.Memberships, m)
			}
			return nil
		})
}

// follower finds users of a sorted list for uids that come in the same order.
func follower(users []identity.User) func(uid string) *identity.User {
	i := 0
	return func(uid string) *identity.User {
		for i < len(users) && users[i].UID < uid {
			i++
		}
		if i < len(users) && users[i].UID == uid {
			return &users[i]
		}
		return nil
	}
}

func (db *Database) userWhere(ctx context.Context, where, arg, missing string) (u identity.User, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		uid := ""
		found, err := t.one(`SELECT uid FROM users WHERE `+where+` = ?`, []any{arg}, &uid)
		if found {
			u, found, err = t.user(uid)
		}
		if err == nil && !found {
			err = identity.Errorf(identity.CodeNotFound, "%s", missing)
		}
		return err
	})
	return u, err
}

// User returns a person by uid.
// Errors: not_found, database_unavailable.
func (db *Database) User(ctx context.Context, uid string) (identity.User, error) {
	return db.userWhere(ctx, "uid", uid, "there is no such user")
}

// UserByEmail returns a person by e-mail address.
// Errors: not_found, database_unavailable.
func (db *Database) UserByEmail(ctx context.Context, email string) (identity.User, error) {
	return db.userWhere(ctx, "email", v1.NormalizeEmail(email), "there is no user with this e-mail address")
}

// UserByName returns a person by user name, without regard to case.
// Errors: not_found, database_unavailable.
func (db *Database) UserByName(ctx context.Context, userName string) (identity.User, error) {
	return db.userWhere(ctx, "user_name_key", strings.ToLower(strings.TrimSpace(userName)), "there is no user with this user name")
}

// Users lists people by e-mail address, those after an address; "" begins. A
// limit of 0 is 500; 10 000 is the most.
// Errors: database_unavailable.
func (db *Database) Users(ctx context.Context, after string, limit int) ([]identity.User, error) {
	var users []identity.User
	err := db.view(ctx, db.config, func(t *tx) error {
		var uids []string
		err := t.each(`SELECT uid FROM users WHERE email > ? ORDER BY email LIMIT ?`, []any{v1.NormalizeEmail(after), pageSize(limit)}, func(r row) error {
			var uid string
			err := r.Scan(&uid)
			uids = append(uids, uid)
			return err
		})
		for _, uid := range uids {
			if err != nil {
				break
			}
			var u identity.User
			u, _, err = t.user(uid)
			users = append(users, u)
		}
		return err
	})
	return users, err
}

// normalUser is a user as the store keeps it, so that two can be compared.
func normalUser(u identity.User, now time.Time) identity.User {
	u.Email, u.UserName, u.CreatedAt = v1.NormalizeEmail(u.Email), strings.TrimSpace(u.UserName), stamp(u.CreatedAt)
	u.Manager = normalManager(u.Manager)
	ids := slices.Clone(u.Identities)
	for i := range ids {
		if ids[i].LinkedAt.IsZero() {
			ids[i].LinkedAt = now
		}
		ids[i].LinkedAt = stamp(ids[i].LinkedAt)
	}
	slices.SortStableFunc(ids, func(a, b identity.UserIdentity) int {
		return cmp.Or(strings.Compare(a.Issuer, b.Issuer), strings.Compare(a.Subject, b.Subject))
	})
	u.Identities = slices.CompactFunc(ids, func(a, b identity.UserIdentity) bool {
		return a.Issuer == b.Issuer && a.Subject == b.Subject
	})
	var ms []identity.Membership
	for _, m := range u.Memberships {
		if m.ExpiresAt != nil {
			at := stamp(*m.ExpiresAt)
			if m.ExpiresAt = &at; !at.After(now) {
				continue
			}
		}
		ms = append(ms, m)
	}
	slices.SortStableFunc(ms, func(a, b identity.Membership) int {
		return cmp.Or(strings.Compare(a.Team, b.Team), strings.Compare(a.Source, b.Source))
	})
	u.Memberships = slices.CompactFunc(ms, func(a, b identity.Membership) bool { return a.Team == b.Team && a.Source == b.Source })
	return u
}

func (c *commit) putUsers() error {
	for i := range c.batch.PutUsers {
		if err := c.putUser(&c.batch.PutUsers[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *commit) putUser(given *identity.User) error {
	want := *given
	if want.Email == "" {
		return identity.Errorf(identity.CodeInvalidRequest, "a user needs an e-mail address")
	}
	if want.UID == "" {
		uid, err := newID()
		if err != nil {
			return err
		}
		want.UID = uid
	}
	old, found, err := c.user(want.UID)
	if err != nil {
		return err
	}
	keepTimes(&want, &old, found, c.now)
	want = normalUser(want, c.now)
	if want.Attributes, err = normalAttributes(want.Attributes); err != nil {
		return err
	}
	want.Version = old.Version
	c.written = append(c.written, func() { *given = want })
	if !want.Active {
		if err := c.silence(want.UID); err != nil {
			return err
		}
	}
	if found && sameUser(&old, &want) {
		return nil
	}
	want.Version = c.nextVersion(old.Version)
	if err := c.checkUnique(&want, found); err != nil {
		return err
	}
	if err := c.liftTombstones(&want, &c.changes); err != nil {
		return err
	}
	if err := c.writeUser(&want, found); err != nil {
		return err
	}
	c.changes.add(changeUser, want.UID, opPut)
	return nil
}

// keepTimes keeps when a user was made and linked, where the batch does not say.
func keepTimes(want, old *identity.User, found bool, now time.Time) {
	switch {
	case found:
		want.CreatedAt = old.CreatedAt
	case want.CreatedAt.IsZero():
		want.CreatedAt = now
	}
	want.Identities = slices.Clone(want.Identities)
	for i, id := range want.Identities {
		for _, o := range old.Identities {
			if o.Issuer == id.Issuer && o.Subject == id.Subject {
				want.Identities[i].LinkedAt = o.LinkedAt
			}
		}
	}
}

func sameUser(a, b *identity.User) bool {
	x, y := *a, *b
	if len(x.Identities) == 0 && len(y.Identities) == 0 {
		x.Identities, y.Identities = nil, nil
	}
	return reflect.DeepEqual(x, y)
}

// checkUnique names the field that another has, never the other.
func (c *commit) checkUnique(u *identity.User, known bool) error {
	uid := ""
	if !known {
		if found, err := c.one(`SELECT uid FROM tombstones WHERE uid = ?`, []any{u.UID}, &uid); found || err != nil {
			return conflictOr(err, "uid", "a uid is never used again")
		}
	}
	if found, err := c.one(`SELECT uid FROM users WHERE email = ? AND uid <> ?`, []any{u.Email, u.UID}, &uid); found || err != nil {
		return conflictOr(err, "email", "another user has this e-mail address")
	}
	if u.UserName != "" {
		if found, err := c.one(`SELECT uid FROM users WHERE user_name_key = ? AND uid <> ?`, []any{userNameKey(u), u.UID}, &uid); found || err != nil {
			return conflictOr(err, "userName", "another user has this user name")
		}
	}
	if u.ExternalID != "" {
		found, err := c.one(`SELECT uid FROM users WHERE manager = ? AND external_id = ? AND external_id <> '' AND uid <> ?`, []any{u.Manager, u.ExternalID, u.UID}, &uid)
		if found || err != nil {
			return conflictOr(err, "externalId", "another user of this directory has this external id")
		}
	}
	for _, id := range u.Identities {
		found, err := c.one(`SELECT user_uid FROM user_identities WHERE issuer = ? AND subject = ? AND user_uid <> ?`, []any{id.Issuer, id.Subject, u.UID}, &uid)
		if found || err != nil {
			return conflictOr(err, "identities", "another user has this identity")
		}
	}
	return nil
}

func conflictOr(err error, field, why string) error {
	if err != nil {
		return err
	}
	return identity.Errorf(identity.CodeConflict, "%s: %s", field, why)
}

// userNameKey compares user names without regard to case, as SCIM does.
func userNameKey(u *identity.User) string { return strings.ToLower(u.UserName) }

func (c *commit) writeUser(u *identity.User, known bool) error {
	key := sql.NullString{String: userNameKey(u), Valid: u.UserName != ""}
	var err error
	if known {
		_, err = c.exec(`UPDATE users SET email = ?, user_name = ?, user_name_key = ?, display_name = ?, active = ?, version = ?, manager = ?, external_id = ?, attributes = ? WHERE uid = ?`,
			u.Email, u.UserName, key, u.DisplayName, flag(u.Active), int64(u.Version), u.Manager, u.ExternalID, nullJSON(u.Attributes), u.UID)
		for _, table := range []string{"user_identities", "memberships"} {
			if err == nil {
				_, err = c.exec(`DELETE FROM `+table+` WHERE user_uid = ?`, u.UID)
			}
		}
	} else {
		err = c.insertUser(u)
	}
	if err != nil {
		return err
	}
	for _, id := range u.Identities {
		if err := c.insertIdentity(u.UID, id); err != nil {
			return err
		}
	}
	for _, m := range u.Memberships {
		_, err := c.exec(`INSERT INTO memberships (user_uid, team, source, manager, expires_at) VALUES (?, ?, ?, ?, ?)`,
			u.UID, m.Team, m.Source, flag(m.Manager), nullMillis(m.ExpiresAt))
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) insertUser(u *identity.User) error {
	key := sql.NullString{String: userNameKey(u), Valid: u.UserName != ""}
	_, err := t.exec(`INSERT INTO users (`+userColumns+`, attributes, user_name_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		u.UID, u.Email, u.UserName, u.DisplayName, flag(u.Active), u.CreatedAt.UnixMilli(), int64(u.Version), u.Manager, u.ExternalID, nullJSON(u.Attributes), key)
	return err
}

func (t *tx) insertIdentity(uid string, id identity.UserIdentity) error {
	_, err := t.exec(`INSERT INTO user_identities (issuer, subject, user_uid, linked_at) VALUES (?, ?, ?, ?)`,
		id.Issuer, id.Subject, uid, id.LinkedAt.UnixMilli())
	return err
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
