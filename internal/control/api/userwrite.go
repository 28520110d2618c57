package api

import (
	"errors"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func (c *call) putUser() (*answer, error) {
	old, exists, err := c.addressed()
	if err != nil {
		return nil, err
	}
	var body UserWrite
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if err := c.expects(exists); err != nil {
		return nil, err
	}
	next := old
	if !exists {
		next.Active = true
	}
	if err := errors.Join(notReserved(next.Email), c.mayAdminister(&next)); err != nil {
		return nil, err
	}
	if err := c.change(&next, &body); err != nil {
		return nil, err
	}
	if old.FromDirectory() && (next.Active || !old.Active) {
		return nil, identity.Errorf(identity.CodeManagedBy, "the person belongs to %s: change them in the directory; only deactivating is possible here", old.Manager)
	}
	return c.writeUser(exists, &old, next)
}

// addressed finds the person whom the path of a PUT names, and asks: by e-mail
// address, whether there is one or not, or by the uid of somebody who exists.
func (c *call) addressed() (u identity.User, exists bool, err error) {
	name := c.r.PathValue("user")
	if !strings.Contains(name, "@") {
		u, err = c.user(identity.PermUserUpdate)
		return u, err == nil, err
	}
	// One mailbox has one spelling, that of sign-in: else two people could have it.
	email := authn.NormalizeEmail(name)
	if email == "" {
		if err := c.mayUser(identity.PermUserCreate, v1.NormalizeEmail(name)); err != nil {
			return u, false, err
		}
		return u, false, identity.Errorf(identity.CodeInvalidRequest, "%q is not an e-mail address that a person can have here: ASCII before the @, and a domain after it", shorten(name))
	}
	c.about = "user:" + email
	u, err = c.opt.People.UserByEmail(c.r.Context(), email)
	exists = err == nil
	if err != nil && !identity.IsCode(err, identity.CodeNotFound) {
		return u, false, err
	}
	// Somebody who may create but not read learns nothing of who exists.
	perm := identity.PermUserCreate
	if exists && (c.mayUser(identity.PermUserUpdate, email) == nil || c.mayUser(identity.PermUserRead, email) == nil) {
		perm = identity.PermUserUpdate
	}
	if err := c.mayUser(perm, email); err != nil {
		return u, exists, err
	}
	if exists && perm == identity.PermUserCreate {
		return u, exists, identity.Errorf(identity.CodeConflict, "this e-mail address is taken")
	}
	if !exists {
		u = identity.User{Email: email}
	}
	return u, exists, nil
}

// printable refuses what no name has, and not every database can keep.
func printable(field, text string) error {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return identity.Errorf(identity.CodeInvalidRequest, "%s must have no control characters, such as a line break", field)
	}
	return nil
}

// change puts what was sent into a person. A user name can be named by
// AuthzRules, so giving one is granting what it has.
func (c *call) change(u *identity.User, w *UserWrite) error {
	if w.DisplayName != nil {
		if err := printable("displayName", *w.DisplayName); err != nil {
			return err
		}
		if utf8.RuneCountInString(*w.DisplayName) > 256 {
			return identity.Errorf(identity.CodeInvalidRequest, "displayName must have at most 256 characters")
		}
		u.DisplayName = *w.DisplayName
	}
	if w.Active != nil {
		u.Active = *w.Active
	}
	if w.UserName == nil || *w.UserName == u.UserName {
		return nil
	}
	if err := printable("userName", *w.UserName); err != nil {
		return err
	}
	name := strings.TrimSpace(*w.UserName)
	if utf8.RuneCountInString(name) > 254 || strings.ContainsAny(name, ":@") {
		return identity.Errorf(identity.CodeInvalidRequest, "userName must have at most 254 characters and neither : nor @")
	}
	u.UserName = name
	if name == "" {
		return nil
	}
	return c.applier.MayMake(c.r.Context(), c.actor(apply.ManagerAPI), identity.UserNameSubject(name), identity.PermRoleBind)
}

func (c *call) writeUser(exists bool, old *identity.User, next identity.User) (*answer, error) {
	action := "user.update"
	switch {
	case !exists:
		action = "user.create"
	case old.Active && !next.Active:
		action = "user.deactivate"
	}
	e := c.entry(action, c.about, apply.OutcomeDone)
	if exists {
		e.Before = asJSON(old)
	}
	e.After = asJSON(&next)
	b := &record.Batch{PutUsers: []identity.User{next}, Audit: []record.AuditEntry{e}}
	if exists {
		var err error
		if b.UserConditions, err = c.matches(old); err != nil {
			return nil, err
		}
	}
	if err := c.writePeople(b); err != nil {
		return nil, err
	}
	ans := c.shownUser(&b.PutUsers[0])
	if !exists {
		ans.status = http.StatusCreated
	}
	return ans, nil
}
