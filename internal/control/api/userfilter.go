package api

import (
	"slices"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/control/filter"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	// userScan is how many people one page of a filtered list looks through.
	// Where that is not enough the page is short and its cursor goes on.
	userScan = 5000
	// userPortion is how many of them are read at once.
	userPortion = 500
)

// userMatch tells whether a person is meant.
type userMatch func(*identity.User) bool

// userField is one attribute of people that can be filtered by.
func userField(name string) (func(*identity.User) string, bool) {
	switch strings.ToLower(name) {
	case "username":
		return func(u *identity.User) string { return u.UserName }, true
	case "email":
		return func(u *identity.User) string { return u.Email }, true
	case "displayname":
		return func(u *identity.User) string { return u.DisplayName }, true
	case "manager":
		return func(u *identity.User) string { return u.Manager }, true
	}
	return nil, false
}

// usersWhere reads a filter over people. Texts are compared without regard to
// case (RFC 7643, 2.2).
func usersWhere(e filter.Expr) (userMatch, error) {
	switch e := e.(type) {
	case filter.And:
		return joined(e.Left, e.Right, func(a, b bool) bool { return a && b })
	case filter.Or:
		return joined(e.Left, e.Right, func(a, b bool) bool { return a || b })
	case filter.Not:
		inner, err := usersWhere(e.Inner)
		return func(u *identity.User) bool { return !inner(u) }, err
	case filter.Compare:
		return compareUser(&e)
	}
	return nil, &filter.Error{Message: "value paths are not known here"}
}

func joined(left, right filter.Expr, both func(a, b bool) bool) (userMatch, error) {
	a, err := usersWhere(left)
	if err != nil {
		return nil, err
	}
	b, err := usersWhere(right)
	return func(u *identity.User) bool { return both(a(u), b(u)) }, err
}

func compareUser(e *filter.Compare) (userMatch, error) {
	wrong := func(message string) error { return &filter.Error{Offset: e.At, Message: message} }
	if strings.EqualFold(e.Path, "active") {
		want, ok := e.Value.(bool)
		switch {
		case e.Op == filter.Present:
			return func(*identity.User) bool { return true }, nil
		case !ok || e.Op != filter.Equal && e.Op != filter.NotEqual:
			return nil, wrong("active is compared with eq or ne, true or false")
		}
		return func(u *identity.User) bool { return (u.Active == want) == (e.Op == filter.Equal) }, nil
	}
	get, ok := userField(e.Path)
	if !ok {
		return nil, wrong("people are filtered by userName, email, displayName, active and manager")
	}
	if e.Op == filter.Present {
		return func(u *identity.User) bool { return get(u) != "" }, nil
	}
	want, isText := e.Value.(string)
	if !isText && e.Value != nil {
		return nil, wrong("this is compared with a text in double quotes")
	}
	want = strings.ToLower(want)
	has := map[filter.Op]func(have string) bool{
		filter.Equal:    func(have string) bool { return have == want },
		filter.NotEqual: func(have string) bool { return have != want },
		filter.Contains: func(have string) bool { return strings.Contains(have, want) },
		filter.Starts:   func(have string) bool { return strings.HasPrefix(have, want) },
		filter.Ends:     func(have string) bool { return strings.HasSuffix(have, want) },
	}[e.Op]
	if has == nil {
		return nil, wrong("expected eq, ne, co, sw, ew or pr")
	}
	return func(u *identity.User) bool { return has(strings.ToLower(get(u))) }, nil
}

// filteredUsers is a page of the people that a filter means, after a place in
// the list; next is where it goes on.
func (c *call) filteredUsers(text, after string, limit int) (found []identity.User, next string, err error) {
	e, err := filter.ParseExpr(text)
	if err != nil {
		return nil, "", badFilter(err)
	}
	match, err := usersWhere(e)
	if err != nil {
		return nil, "", badFilter(err)
	}
	if attribute, value := unique(e); attribute != "" {
		return c.oneUser(attribute, value, after, match)
	}
	for scanned := 0; scanned < userScan; scanned += userPortion {
		list, err := c.opt.People.Users(c.r.Context(), after, userPortion)
		if err != nil {
			return nil, "", err
		}
		for i := range list {
			after = list[i].Email
			if !match(&list[i]) {
				continue
			}
			if found = append(found, list[i]); len(found) == limit {
				return found, after, nil
			}
		}
		if len(list) < userPortion {
			return found, "", nil
		}
	}
	return found, after, nil
}

// unique is an attribute of which the filter demands a value that one person
// can have at most: email or username. Empty where it demands none.
func unique(e filter.Expr) (attribute, value string) {
	switch e := e.(type) {
	case filter.And:
		if attribute, value = unique(e.Left); attribute == "" {
			attribute, value = unique(e.Right)
		}
	case filter.Compare:
		name := strings.ToLower(e.Path)
		if text, ok := e.Value.(string); ok && text != "" && e.Op == filter.Equal && (name == "email" || name == "username") {
			return name, text
		}
	}
	return attribute, value
}

// oneUser needs no scan.
func (c *call) oneUser(attribute, value, after string, match userMatch) ([]identity.User, string, error) {
	find := c.opt.People.UserByEmail
	if attribute == "username" {
		find = c.opt.People.UserByName
	}
	u, err := find(c.r.Context(), value)
	switch {
	case identity.IsCode(err, identity.CodeNotFound):
		return nil, "", nil
	case err != nil:
		return nil, "", err
	case !match(&u) || u.Email <= after:
		return nil, "", nil
	}
	return slices.Clip([]identity.User{u}), "", nil
}
