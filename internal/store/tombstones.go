package store

import (
	"context"
	"slices"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// deleteUsers removes people for good: their tokens are revoked,
// their sessions end, and a tombstone keeps a token that is still valid somewhere from making them again.
func (c *commit) deleteUsers() error {
	for _, uid := range c.batch.DeleteUsers {
		u, found, err := c.user(uid)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if err := c.silence(uid); err != nil {
			return err
		}
		if err := c.leaveTombstone(&u); err != nil {
			return err
		}
		// Identities and memberships go with the user (ON DELETE CASCADE).
		if _, err := c.exec(`DELETE FROM users WHERE uid = ?`, uid); err != nil {
			return err
		}
		c.changes.add(changeUser, uid, opDelete)
	}
	return nil
}

func (c *commit) leaveTombstone(u *identity.User) error {
	if _, err := c.exec(`INSERT INTO tombstones (uid, email, deleted_at) VALUES (?, ?, ?)`, u.UID, u.Email, c.now.UnixMilli()); err != nil {
		return err
	}
	for _, id := range u.Identities {
		if _, err := c.exec(`INSERT INTO tombstone_identities (uid, issuer, subject) VALUES (?, ?, ?)`, u.UID, id.Issuer, id.Subject); err != nil {
			return err
		}
	}
	c.changes.add(changeTombstone, u.UID, opPut)
	return nil
}

// liftTombstones lifts what stands in the way of a user whom an admin or SCIM
// writes. The directory, which a mere token reaches, never comes here.
func (t *tx) liftTombstones(u *identity.User, changes *changeSet) error {
	uids, err := t.tombstonesOf(u.Email, nil)
	if err != nil {
		return err
	}
	for _, id := range u.Identities {
		more, err := t.tombstonesOf("", &identity.IdentityKey{Issuer: id.Issuer, Subject: id.Subject})
		if err != nil {
			return err
		}
		uids = append(uids, more...)
	}
	return t.lift(uids, changes)
}

func (t *tx) lift(uids []string, changes *changeSet) error {
	for _, uid := range uids {
		n, err := t.exec(`DELETE FROM tombstones WHERE uid = ?`, uid)
		if err != nil {
			return err
		}
		if n > 0 {
			changes.add(changeTombstone, uid, opDelete)
		}
	}
	return nil
}

// liftListed lifts what the batch lists; one that is not there is no error.
func (c *commit) liftListed() error { return c.lift(c.batch.LiftTombstones, &c.changes) }

// TombstonesOf lists, in order and once each, the uids of removed people who had
// an e-mail address or one of the identities. An empty address finds nobody.
// Errors: database_unavailable.
func (db *Database) TombstonesOf(ctx context.Context, email string, keys []identity.IdentityKey) (uids []string, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		if uids, err = t.tombstonesOf(v1.NormalizeEmail(email), nil); err != nil {
			return err
		}
		for i := range keys {
			more, err := t.tombstonesOf("", &keys[i])
			if err != nil {
				return err
			}
			uids = append(uids, more...)
		}
		return nil
	})
	slices.Sort(uids)
	return slices.Compact(uids), err
}

// tombstonesOf finds tombstones by address and by identity; each may be absent.
func (t *tx) tombstonesOf(email string, key *identity.IdentityKey) (uids []string, err error) {
	scan := func(r row) error {
		var uid string
		err := r.Scan(&uid)
		uids = append(uids, uid)
		return err
	}
	if email != "" {
		if err := t.each(`SELECT uid FROM tombstones WHERE email = ?`, []any{email}, scan); err != nil {
			return nil, err
		}
	}
	if key != nil {
		err = t.each(`SELECT uid FROM tombstone_identities WHERE issuer = ? AND subject = ?`, []any{key.Issuer, key.Subject}, scan)
	}
	return uids, err
}

func (t *tx) tombstone(uid string) (tomb identity.Tombstone, found bool, err error) {
	var deleted int64
	found, err = t.one(`SELECT uid, email, deleted_at FROM tombstones WHERE uid = ?`, []any{uid}, &tomb.UID, &tomb.Email, &deleted)
	if err != nil || !found {
		return tomb, false, err
	}
	tomb.DeletedAt = fromMillis(deleted)
	one := []identity.Tombstone{tomb}
	err = t.tombstoneIdentities(one)
	return one[0], err == nil, err
}

// tombstoneIdentities adds identities to tombstones that are sorted by uid and
// have no others between them.
func (t *tx) tombstoneIdentities(list []identity.Tombstone) error {
	i := 0
	return t.each(`SELECT uid, issuer, subject FROM tombstone_identities WHERE uid >= ? AND uid <= ? ORDER BY uid, issuer, subject`,
		[]any{list[0].UID, list[len(list)-1].UID}, func(r row) error {
			var uid string
			var k identity.IdentityKey
			if err := r.Scan(&uid, &k.Issuer, &k.Subject); err != nil {
				return err
			}
			for i < len(list) && list[i].UID < uid {
				i++
			}
			if i < len(list) && list[i].UID == uid {
				list[i].Identities = append(list[i].Identities, k)
			}
			return nil
		})
}
