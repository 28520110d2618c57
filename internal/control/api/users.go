package api

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// UserList is one page of people, by e-mail address.
type UserList struct {
	Items      []identity.User `json:"items"`
	NextCursor string          `json:"nextCursor,omitempty"`
}

// UserWrite is what can be written of a person. What is left out stays as it
// is; for a new person it is empty, and active.
type UserWrite struct {
	UserName    *string `json:"userName,omitempty"`
	DisplayName *string `json:"displayName,omitempty"`
	Active      *bool   `json:"active,omitempty"`
}

func (a *API) userOperations() []operation {
	users, one := base+"/users", base+"/users/{user}"
	return []operation{
		{
			ID: "list-users", Method: http.MethodGet, Path: users, Summary: "List people", Permission: identity.PermUserRead, On: onTenant,
			AuditAction: notAudited, Answer: UserList{}, Status: http.StatusOK, run: (*call).listUsers,
			Query: append(paging(), query{"filter", "A filter in SCIM's grammar over userName, email, displayName, active and manager. A page of a filtered list may be short, even empty, and go on.", filterSchemaOf("scim-user-filter")}),
		},
		{
			ID: "get-user", Method: http.MethodGet, Path: one, Summary: "Read a person by uid or e-mail address", Permission: identity.PermUserRead,
			On: onResource, AuditAction: notAudited, Answer: identity.User{}, Status: http.StatusOK, run: (*call).getUser,
		},
		{
			ID: "put-user", Method: http.MethodPut, Path: one, Summary: "Create or change a person by e-mail address, or change one by uid", Permission: identity.PermUserUpdate,
			On: onResource, AuditAction: "user.update", Also: []special{
				creating(identity.PermUserCreate, "user.create"), {"deactivates", identity.PermUserUpdate, "user.deactivate"},
			},
			Body: UserWrite{}, IfMatch: true, IfNoneMatch: true, Answer: identity.User{}, Status: http.StatusOK, run: retried((*call).putUser),
		},
		{
			ID: "delete-user", Method: http.MethodDelete, Path: one, Summary: "Remove a person for good: tokens are revoked, a tombstone is left",
			Permission: identity.PermUserDelete, On: onResource, AuditAction: "user.delete", IfMatch: true, Status: http.StatusNoContent, run: retried((*call).deleteUser),
		},
		{
			ID: "unlink-user", Method: http.MethodDelete, Path: one + "/identities", Summary: "Forget how identity providers name a person",
			Permission: identity.PermUserUpdate, On: onResource, AuditAction: "user.unlink", IfMatch: true, Status: http.StatusNoContent,
			Query: []query{{"issuer", "Only the identities of this issuer.", word(2048)}}, run: retried((*call).unlinkUser),
		},
	}
}

func (c *call) listUsers() (*answer, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	expr := strings.TrimSpace(c.r.URL.Query().Get("filter"))
	list := "users\x00" + expr
	after, err := c.after(list)
	if err != nil {
		return nil, err
	}
	if expr != "" {
		found, next, err := c.filteredUsers(expr, after, limit)
		if err != nil {
			return nil, err
		}
		page := UserList{Items: append([]identity.User{}, found...)}
		page.NextCursor, err = c.cursor(list, next)
		return &answer{body: page}, err
	}
	return c.allUsers(list, after, limit)
}

// allUsers is a page without a filter.
func (c *call) allUsers(context, after string, limit int) (*answer, error) {
	// One more than is shown tells whether there are more.
	list, err := c.opt.People.Users(c.r.Context(), after, limit+1)
	if err != nil {
		return nil, err
	}
	page := UserList{Items: []identity.User{}}
	page.Items = append(page.Items, list[:min(limit, len(list))]...)
	if len(list) > limit {
		if page.NextCursor, err = c.cursor(context, list[limit-1].Email); err != nil {
			return nil, err
		}
	}
	return &answer{body: page}, nil
}

// mayUser asks on the person.
func (c *call) mayUser(perm identity.Permission, email string) error {
	return c.may(perm, c.snap.Target(identity.ResourceRef("user:"+email)))
}

// user finds the person of the path for one of several permissions. One whom
// the caller may not read is as absent as one who does not exist.
func (c *call) user(perm identity.Permission) (identity.User, error) {
	name := c.r.PathValue("user")
	u, err := c.find(name)
	if identity.CodeOf(err) == identity.CodeNotFound {
		return u, apply.Hide(c.mayUser(perm, name), err, false)
	}
	if err != nil {
		return u, err
	}
	if err := c.mayUser(perm, u.Email); err != nil {
		if c.mayUser(identity.PermUserRead, u.Email) != nil {
			return u, apply.Hide(err, hiddenUser(), true)
		}
		return u, err
	}
	return u, nil
}

func hiddenUser() error {
	return identity.Errorf(identity.CodeNotFound, "there is no such user that you may see")
}

// userRef names a person who is asked for by e-mail address or uid, without
// asking whether there is one.
func (c *call) userRef(name string) string {
	if u, ok := c.snap.UserByUID(name); ok {
		name = u.Email
	}
	return "user:" + v1.NormalizeEmail(name)
}

// find reads a person by e-mail address or uid. It asks for no permission.
func (c *call) find(name string) (u identity.User, err error) {
	if strings.Contains(name, "@") {
		u, err = c.opt.People.UserByEmail(c.r.Context(), v1.NormalizeEmail(name))
	} else {
		u, err = c.opt.People.User(c.r.Context(), name)
	}
	c.about = c.userRef(name)
	if identity.IsCode(err, identity.CodeNotFound) {
		return u, hiddenUser()
	}
	if err == nil {
		c.about = "user:" + u.Email
	}
	return u, err
}

// tries is how often a change of a person begins anew because somebody else's
// came in between.
const tries = 8

// retried runs a change again, from reading the person on, as long as others
// come in between: of two who write one, neither undoes the other, and neither
// is sent away. With If-Match the caller wants to know instead.
func retried(run func(*call) (*answer, error)) func(*call) (*answer, error) {
	return func(c *call) (ans *answer, err error) {
		for range tries {
			ans, err = run(c)
			if c.r.Header.Get("If-Match") != "" || !identity.IsCode(err, identity.CodePreconditionFailed) {
				return ans, err
			}
		}
		return nil, err
	}
}

// writePeople commits what says which versions of people it has read.
func (c *call) writePeople(b *record.Batch) error {
	err := c.commit(b)
	if identity.IsCode(err, identity.CodePreconditionFailed) && c.r.Header.Get("If-Match") == "" {
		return identity.Wrap(identity.CodeConflict, err, "somebody else changed this a moment ago; look at it and try again")
	}
	return err
}

// matches returns the condition that a person is as they were read, after
// If-Match, which may ask for a version that was read earlier.
func (c *call) matches(u *identity.User) ([]record.UserCondition, error) {
	match, _, err := c.preconditions()
	if err != nil {
		return nil, err
	}
	if match != "" && match != "*" && match != userVersion(u) {
		return nil, identity.Errorf(identity.CodePreconditionFailed, "the person is at another version; read them again")
	}
	return []record.UserCondition{{UID: u.UID, Version: u.Version}}, nil
}

// expects looks at the preconditions of a write that may create.
func (c *call) expects(exists bool) error {
	match, none, err := c.preconditions()
	switch {
	case err != nil:
		return err
	case none && exists:
		return identity.Errorf(identity.CodePreconditionFailed, "there is such a person already")
	case match != "" && !exists:
		return identity.Errorf(identity.CodePreconditionFailed, "there is no such person")
	}
	return nil
}

// userVersion is the person's ETag, without its quotes.
func userVersion(u *identity.User) string { return strconv.FormatUint(u.Version, 10) }

// shownUser is a person with their ETag.
func (c *call) shownUser(u *identity.User) *answer {
	c.w.Header().Set("ETag", `"`+userVersion(u)+`"`)
	return &answer{body: *u}
}

// mayAdminister: whoever administers the installation is changed, removed, or
// made by the address that a binding names, by those who administer it too.
func (c *call) mayAdminister(u *identity.User) error {
	if !c.snap.Administers(u, c.now) {
		return nil
	}
	return c.may(identity.PermTenantAdmin, c.snap.Tenant())
}

// notReserved: the local administrator is made and changed elsewhere.
func notReserved(email string) error {
	if !identity.ReservedEmail(email) {
		return nil
	}
	return identity.Errorf(identity.CodeConflict, "the local administrator is not written here: breakGlass in TenantSettings switches it off, gatehouse break-glass reset takes its password away")
}

func (c *call) getUser() (*answer, error) {
	u, err := c.user(identity.PermUserRead)
	if err != nil {
		return nil, err
	}
	return c.shownUser(&u), nil
}

func (c *call) deleteUser() (*answer, error) {
	u, err := c.user(identity.PermUserDelete)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(notReserved(u.Email), c.mayAdminister(&u)); err != nil {
		return nil, err
	}
	e := c.entry("user.delete", c.about, apply.OutcomeDone)
	e.Before = asJSON(&u)
	was, err := c.matches(&u)
	if err != nil {
		return nil, err
	}
	return nil, c.writePeople(&record.Batch{UserConditions: was, DeleteUsers: []string{u.UID}, Audit: []record.AuditEntry{e}})
}

func (c *call) unlinkUser() (*answer, error) {
	u, err := c.user(identity.PermUserUpdate)
	if err != nil {
		return nil, err
	}
	if err := c.mayAdminister(&u); err != nil {
		return nil, err
	}
	issuer := c.r.URL.Query().Get("issuer")
	next := u
	next.Identities = slices.DeleteFunc(slices.Clone(u.Identities), func(id identity.UserIdentity) bool {
		return issuer == "" || id.Issuer == issuer
	})
	if issuer != "" && len(next.Identities) == len(u.Identities) {
		return nil, identity.Errorf(identity.CodeNotFound, "no identity of this issuer is linked to the person; their identities list those that are")
	}
	e := c.entry("user.unlink", c.about, apply.OutcomeDone)
	e.Before, e.After = asJSON(&u), asJSON(&next)
	was, err := c.matches(&u)
	if err != nil {
		return nil, err
	}
	return nil, c.writePeople(&record.Batch{UserConditions: was, PutUsers: []identity.User{next}, Audit: []record.AuditEntry{e}})
}
