package scim

import (
	"net/http"
	"reflect"

	"github.com/google/uuid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// attempts is how often a write is tried when others write the same. Of those
// who write at once one succeeds each time, so this many may.
const attempts = 20

// busy is the answer when they keep doing so.
func busy() *problem {
	return &problem{status: http.StatusServiceUnavailable, detail: "the resource is being changed by others; try again", retry: true}
}

// insist runs a write until nobody comes between reading and writing. A caller
// who named a version is told when it is read again.
func (c *call) insist(write func() (*answer, error)) (*answer, error) {
	for range attempts {
		ans, err := write()
		if !identity.IsCode(err, identity.CodePreconditionFailed) {
			return ans, err
		}
		if err := c.ctx.Err(); err != nil {
			return nil, err
		}
	}
	return nil, busy()
}

func (c *call) createUser() (*answer, error) {
	return c.insist(func() (*answer, error) {
		doc, err := c.user.canonicalResource(c.body)
		if err != nil {
			return nil, err
		}
		u, err := c.person(doc, &identity.User{})
		if err != nil {
			return nil, err
		}
		old, err := c.predecessor(&u)
		if err != nil {
			return nil, err
		}
		if old != nil { // taken over: they keep who they are and what they have
			if u, err = c.person(doc, old); err != nil {
				return nil, err
			}
			return c.writeUser(http.StatusCreated, old, u)
		}
		u.UID = uuid.Must(uuid.NewV7()).String()
		u.CreatedAt = c.opt.Now().UTC()
		return c.writeUser(http.StatusCreated, nil, u)
	})
}

// predecessor finds whom a new person would be: nobody, or somebody whom no
// directory manages and whom this one may take over. Everybody else is in the
// way; the answer does not say who they are.
func (c *call) predecessor(u *identity.User) (*identity.User, error) {
	var old *identity.User
	for _, q := range []struct{ attribute, value, shown string }{{"userName", u.UserName, "userName"}, {"email", u.Email, "emails"}, {"externalId", u.ExternalID, "externalId"}} {
		if q.value == "" {
			continue
		}
		for _, manager := range []string{c.manager, v1.ManagerAPI} {
			found, err := c.opt.People.UserOf(c.ctx, manager, q.attribute, q.value)
			if identity.IsCode(err, identity.CodeNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			inTheWay := taken("%s: another user has this value", q.shown)
			switch {
			case found.Manager != "" && found.Manager != v1.ManagerAPI:
				return nil, inTheWay
			case q.attribute == "externalId": // an unmanaged person's means nothing here
			case !c.opt.Trust.MayAdopt(c.ctx, c.directory, found):
				return nil, c.denyUser("who has it administers the installation", q.value, &found, u, inTheWay)
			case old != nil && old.UID != found.UID:
				return nil, inTheWay
			default:
				old = &found
			}
		}
	}
	return old, nil
}

func (c *call) putUser(id string) (*answer, error) {
	return c.changeUser(id, func(old map[string]any) (map[string]any, error) {
		doc, err := c.user.canonicalResource(c.body)
		if err != nil {
			return nil, err
		}
		if _, has := doc["active"]; !has {
			doc["active"] = old["active"] // nobody comes back by omission
		}
		return doc, nil
	})
}

func (c *call) patchUser(id string) (*answer, error) {
	ops, err := c.readPatch(c.user)
	if err != nil {
		return nil, err
	}
	return c.changeUser(id, func(old map[string]any) (map[string]any, error) {
		doc := cloneDoc(old)
		for i := range ops {
			if err := ops[i].apply(c.user, doc, id); err != nil {
				return nil, err
			}
		}
		return doc, nil
	})
}

func (c *call) changeUser(id string, change func(map[string]any) (map[string]any, error)) (*answer, error) {
	return c.insist(func() (*answer, error) {
		old, err := c.mine(c.ctx, id)
		if err != nil {
			return nil, err
		}
		if err := c.ifMatch(versionOf(&old)); err != nil {
			return nil, err
		}
		was, err := writable(&old)
		if err != nil {
			return nil, err
		}
		doc, err := change(was)
		if err != nil {
			return nil, err
		}
		c.user.tidy(doc)
		u, err := c.person(doc, &old)
		if err != nil {
			return nil, err
		}
		if reflect.DeepEqual(was, doc) { // nothing to write; the version stays
			u = old
		}
		return c.writeUser(http.StatusOK, &old, u)
	})
}

// writeUser writes a person; old is nil for a new one.
func (c *call) writeUser(status int, old *identity.User, u identity.User) (*answer, error) {
	if old != nil && reflect.DeepEqual(*old, u) {
		return c.answerUser(status, old, u)
	}
	b := &record.Batch{UserConditions: []record.UserCondition{{UID: u.UID}}, PutUsers: []identity.User{u}}
	action := "user.create"
	var before any
	if old != nil {
		b.UserConditions[0].Version = old.Version
		action, before = "user.update", old
		if old.Active && !u.Active {
			action = "user.deactivate"
		}
	}
	if err := c.claim(b, old, &u); err != nil {
		return nil, err
	}
	if c.dryRun {
		return c.answerUser(status, old, u)
	}
	b.Audit = []record.AuditEntry{c.entry(action, "user:"+u.Email, before, u)}
	if err := c.commit(b, !u.Active); err != nil {
		return nil, err
	}
	return c.answerUser(status, old, b.PutUsers[0])
}

// claim looks at names that a person is newly given: a directory may not give
// itself what others have been granted, nor give an administrator's name away to
// somebody else, and an address that is free again because its owner was removed
// is lifted.
func (c *call) claim(b *record.Batch, old, u *identity.User) error {
	newEmail := old == nil || old.Email != u.Email
	newName := old == nil || fold(old.UserName) != fold(u.UserName)
	if err := c.trusted(old, u, newEmail, newName); err != nil {
		return err
	}
	if old != nil && (newEmail || newName) {
		if err := c.free(old, u, newEmail, newName); err != nil {
			return err
		}
	}
	if !newEmail {
		return nil
	}
	var keys []identity.IdentityKey
	if old == nil && u.ExternalID != "" {
		var err error
		if keys, err = c.likelyIdentities(u.ExternalID); err != nil {
			return err
		}
	}
	var err error
	if b.LiftTombstones, err = c.opt.Past.TombstonesOf(c.ctx, u.Email, keys); err != nil {
		return err
	}
	if len(b.LiftTombstones) > 0 && !c.opt.Trust.MayUnbury(c.ctx, b.LiftTombstones) {
		return c.denyUser("somebody who was removed would administer the installation again", u.Email, old, u,
			taken("externalId: it was somebody's who was removed; an administrator must add the person"))
	}
	return nil
}

// trusted refuses names with which the installation would be administered, and
// other names for somebody who administers it.
func (c *call) trusted(old, u *identity.User, email, name bool) error {
	if !email && !name {
		return nil
	}
	may := func(who identity.User) bool { return c.opt.Trust.MayAdopt(c.ctx, c.directory, who) }
	given, asked := identity.User{Manager: c.manager}, u.UserName
	if email {
		given.Email, asked = u.Email, u.Email
	}
	if name {
		given.UserName = u.UserName
	}
	// Somebody taken over has passed already with what was theirs.
	if !may(given) {
		if email && name && may(identity.User{Manager: c.manager, Email: u.Email}) {
			asked = u.UserName // so that is the one
		}
		return c.denyUser("the name administers the installation", asked, old, u, taken("emails, userName: this name administers the installation; an administrator must add the person"))
	}
	if old != nil && old.Manager == c.manager && !may(*old) {
		return c.denyUser("the person administers the installation", asked, old, u, taken("emails, userName: the person administers the installation; take that from them first, or have them made anew"))
	}
	return nil
}

// free says early, for a dry run too, what the store would refuse.
func (c *call) free(old, u *identity.User, email, name bool) error {
	for _, q := range []struct {
		changed          bool
		attribute, value string
	}{{email, "email", u.Email}, {name, "userName", u.UserName}} {
		if !q.changed {
			continue
		}
		for _, manager := range []string{c.manager, v1.ManagerAPI} {
			found, err := c.opt.People.UserOf(c.ctx, manager, q.attribute, q.value)
			switch {
			case identity.IsCode(err, identity.CodeNotFound):
			case err != nil:
				return err
			case found.UID != old.UID:
				return taken("%s: another user has this value", q.attribute)
			}
		}
	}
	return nil
}

// likelyIdentities are those that a person of this directory had if the
// directory's own id is their subject, as it is with the large ones.
func (c *call) likelyIdentities(externalID string) ([]identity.IdentityKey, error) {
	r, err := c.opt.Teams.Resource(c.ctx, identity.ResourceKey{Kind: v1.KindScimDirectory, Name: c.directory})
	if identity.IsCode(err, identity.CodeNotFound) {
		return nil, nil
	}
	d, ok := r.(*v1.ScimDirectory)
	if err != nil || !ok {
		return nil, err
	}
	var keys []identity.IdentityKey
	for _, issuer := range d.Spec.Issuers {
		keys = append(keys, identity.IdentityKey{Issuer: issuer, Subject: externalID})
	}
	return keys, nil
}

func (c *call) answerUser(status int, old *identity.User, u identity.User) (*answer, error) {
	if c.dryRun {
		return c.previewUser(old, &u)
	}
	doc, err := c.userDoc(&u)
	if err != nil {
		return nil, err
	}
	return c.show(status, c.user, doc, versionOf(&u)), nil
}

func (c *call) deleteUser(id string) (*answer, error) {
	return c.insist(func() (*answer, error) {
		u, err := c.mine(c.ctx, id)
		if err != nil {
			return nil, err
		}
		if err := c.ifMatch(versionOf(&u)); err != nil {
			return nil, err
		}
		if c.dryRun {
			return c.previewUser(&u, nil)
		}
		return &answer{status: http.StatusNoContent}, c.commit(&record.Batch{
			UserConditions: []record.UserCondition{{UID: u.UID, Version: u.Version}},
			DeleteUsers:    []string{u.UID},
			Audit:          []record.AuditEntry{c.entry("user.delete", "user:"+u.Email, u, nil)},
		}, true)
	})
}
