package store

import (
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// silence takes every token and session from a person, for good.
func (c *commit) silence(uid string) error {
	c.silenced[uid] = true
	if err := c.revokeTokensOf(uid); err != nil {
		return err
	}
	return c.endSessionsOf(uid, endedByDeactivation)
}

// checkOwners refuses tokens and sessions for people who are not active or were
// removed. Whoever asked for one may have read of the person before that, and
// such a credential would come to life with a reactivation. Owners who are no
// people (virtual accounts, directories) are not looked for here.
func (c *commit) checkOwners() error {
	seen := map[string]bool{}
	check := func(uid string) error {
		if uid == "" || seen[uid] || c.silenced[uid] {
			return nil
		}
		seen[uid] = true
		return c.checkOwner(uid)
	}
	for i := range c.batch.PutTokens {
		if err := check(c.batch.PutTokens[i].Owner); err != nil {
			return err
		}
	}
	for i := range c.batch.PutSessions {
		if err := check(c.batch.PutSessions[i].UserUID); err != nil {
			return err
		}
	}
	return nil
}

func (c *commit) checkOwner(uid string) error {
	var active int64
	known, err := c.one(`SELECT active FROM users WHERE uid = ?`, []any{uid}, &active)
	if err != nil || known && active != 0 {
		return err
	}
	removed := false
	if !known {
		if _, removed, err = c.tombstone(uid); err != nil {
			return err
		}
	}
	if known || removed {
		return identity.Errorf(identity.CodePreconditionFailed, "the person was deactivated or removed")
	}
	return nil
}

func (c *commit) checkUserConditions() error {
	for _, cond := range c.batch.UserConditions {
		var version int64
		found, err := c.one(`SELECT version FROM users WHERE uid = ?`, []any{cond.UID}, &version)
		switch {
		case err != nil:
			return err
		case found && cond.Version == 0:
			return personFailed("exists already")
		case !found && cond.Version != 0:
			return personFailed("does not exist any more")
		case uint64(version) != cond.Version:
			return personFailed("was changed by somebody else; read it again")
		}
	}
	return nil
}

func personFailed(why string) error {
	return identity.Errorf(identity.CodePreconditionFailed, "the person %s", why)
}
