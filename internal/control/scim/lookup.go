package scim

import (
	"context"

	"github.com/gatehouse-ai/gatehouse/internal/control/filter"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	maxPage     = 1000 // resources in one answer
	defaultPage = 100
	scanPage    = 1000 // people read at once
)

// lookup is an equality that finds at most one resource by an index.
type lookup struct{ path, value string }

// lookups finds the equalities of which every match must satisfy one. Without
// any, everything must be looked at.
func lookups(s scope, e filter.Expr, indexed func(path string) bool) ([]lookup, bool) {
	switch e := e.(type) {
	case filter.And:
		if l, ok := lookups(s, e.Left, indexed); ok {
			return l, true
		}
		return lookups(s, e.Right, indexed)
	case filter.Or:
		a, okA := lookups(s, e.Left, indexed)
		b, okB := lookups(s, e.Right, indexed)
		return append(a, b...), okA && okB
	case filter.Compare:
		return equality(s, &e, "", indexed)
	case filter.ValuePath:
		tg, ok := s.target(e.Path)
		if !ok {
			return nil, false
		}
		if e.Sub != nil {
			if l, ok := equality(valueScope{tg.leaf}, e.Sub, tg.path+".", indexed); ok {
				return l, true
			}
		}
		return lookups(prefixed{valueScope{tg.leaf}, tg.path + "."}, e.Inner, indexed)
	default:
		return nil, false
	}
}

// prefixed names the attributes of a value by their whole path.
type prefixed struct {
	scope
	prefix string
}

func (p prefixed) target(name string) (target, bool) {
	tg, ok := p.scope.target(name)
	tg.path = p.prefix + tg.path
	return tg, ok
}

func equality(s scope, c *filter.Compare, prefix string, indexed func(string) bool) ([]lookup, bool) {
	text, ok := c.Value.(string)
	if !ok || c.Op != filter.Equal {
		return nil, false
	}
	tg, ok := s.target(c.Path)
	if !ok {
		return nil, false
	}
	path := prefix + tg.byValue().path
	return []lookup{{path, text}}, indexed(path)
}

func userIndexed(path string) bool {
	return path == "id" || path == "userName" || path == "externalId" || path == "emails.value"
}

// mine reads a person of this directory; anybody else's is as absent as one
// who does not exist.
func (c *call) mine(ctx context.Context, uid string) (identity.User, error) {
	u, err := c.opt.People.User(ctx, uid)
	if identity.IsCode(err, identity.CodeNotFound) || err == nil && u.Manager != c.manager {
		return u, absent("user")
	}
	return u, err
}

// lookUp finds the person that an equality names, if there is one.
func (c *call) lookUp(l lookup) (u identity.User, found bool, err error) {
	attribute := map[string]string{"userName": "userName", "externalId": "externalId", "emails.value": "email"}[l.path]
	if l.path == "id" {
		u, err = c.opt.People.User(c.ctx, l.value)
	} else {
		u, err = c.opt.People.UserOf(c.ctx, c.manager, attribute, l.value)
	}
	if identity.IsCode(err, identity.CodeNotFound) || err == nil && u.Manager != c.manager {
		return u, false, nil
	}
	return u, err == nil, err
}

// eachUser yields the people of this directory by uid, all of them, or those
// whom the lookups name.
func (c *call) eachUser(named []lookup, indexed bool, yield func(*identity.User) error) error {
	if indexed {
		seen := map[string]bool{}
		for _, l := range named {
			u, found, err := c.lookUp(l)
			if err != nil {
				return err
			}
			if !found || seen[u.UID] {
				continue
			}
			seen[u.UID] = true
			if err := yield(&u); err != nil {
				return err
			}
		}
		return nil
	}
	for after := ""; ; {
		page, err := c.opt.People.UsersOf(c.ctx, c.manager, after, scanPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			if err := yield(&page[i]); err != nil {
				return err
			}
		}
		after = page[len(page)-1].UID
	}
}
