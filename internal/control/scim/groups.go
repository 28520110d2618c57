package scim

import (
	"net/http"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/filter"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	sourceSCIM = "scim"
	// What a Team has no field for is kept in annotations.
	noteExternalID = "scim.gatehouse.dev/external-id"
	noteModified   = "scim.gatehouse.dev/last-modified"
	// noteMembers counts the changes of the members, so that the team's version
	// tells of them too.
	noteMembers = "scim.gatehouse.dev/membership"
)

func teamKey(name string) identity.ResourceKey {
	return identity.ResourceKey{Kind: v1.KindTeam, Name: name}
}

func displayOf(t *v1.Team) string {
	if t.Spec.DisplayName != "" {
		return t.Spec.DisplayName
	}
	return t.Name
}

func teamVersion(t *v1.Team) string { return `W/"` + t.ResourceVersion + `"` }

// myTeam reads a group of this directory; any other team is as absent as one
// that does not exist.
func (c *call) myTeam(uid string) (*v1.Team, error) {
	r, err := c.opt.Teams.ResourceByUID(c.ctx, v1.KindTeam, uid)
	if identity.IsCode(err, identity.CodeNotFound) {
		return nil, absent("group")
	}
	if err != nil {
		return nil, err
	}
	if t, ok := r.(*v1.Team); ok && t.Manager == c.manager {
		return t, nil
	}
	return nil, absent("group")
}

// eachTeam yields the teams of this directory by name.
func (c *call) eachTeam(yield func(*v1.Team) error) error {
	for after := ""; ; {
		list, err := c.opt.Teams.Resources(c.ctx, v1.KindTeam, after, scanPage)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, r := range list {
			if t, ok := r.(*v1.Team); ok && t.Manager == c.manager {
				if err := yield(t); err != nil {
					return err
				}
			}
			after = r.Meta().Name
		}
		if len(list) < scanPage {
			return nil
		}
	}
}

// membersOf lists the uids of a team's members by this directory.
func (c *call) membersOf(team, source string) ([]string, error) {
	var all []string
	for after := ""; ; {
		list, err := c.opt.Past.TeamMembers(c.ctx, team, source, after, scanPage)
		if err != nil || len(list) == 0 {
			return all, err
		}
		all = append(all, list...)
		after = list[len(list)-1]
	}
}

func (c *call) memberDoc(uid string) map[string]any {
	return map[string]any{"value": uid, "$ref": c.location(c.user, uid), "type": c.user.Name}
}

// groupDoc is a team as a resource. members are those to show.
func (c *call) groupDoc(t *v1.Team, members []string) map[string]any {
	created := ""
	if t.CreationTimestamp != nil {
		created = t.CreationTimestamp.UTC().Format(time.RFC3339Nano)
	}
	modified := t.Annotations[noteModified]
	if modified == "" {
		modified = created
	}
	doc := map[string]any{
		"id": t.UID, "schemas": []any{urnGroup}, "displayName": displayOf(t),
		"meta": map[string]any{
			"resourceType": c.group.Name, "created": created, "lastModified": modified,
			"location": c.location(c.group, t.UID), "version": teamVersion(t),
		},
	}
	if id := t.Annotations[noteExternalID]; id != "" {
		doc["externalId"] = id
	}
	if len(members) > 0 {
		list := make([]any, len(members))
		for i, uid := range members {
			list[i] = c.memberDoc(uid)
		}
		doc["members"] = list
	}
	return doc
}

// wholeGroup reads the members too, where they are wanted.
func (c *call) wholeGroup(t *v1.Team) (map[string]any, error) {
	var members []string
	var err error
	if c.view.wants(c.group, "members") {
		members, err = c.membersOf(t.Name, sourceSCIM)
	}
	return c.groupDoc(t, members), err
}

func (c *call) listGroups() (*answer, error) {
	q, err := c.listRequest()
	if err != nil {
		return nil, err
	}
	p := &page{request: q}
	err = c.findGroups(p)
	return p.answer(), err
}

func (c *call) searchGroups() (*answer, error) {
	q, err := c.searchRequest()
	if err != nil {
		return nil, err
	}
	p := &page{request: q}
	err = c.findGroups(p)
	return p.answer(), err
}

// searchAll searches people, then groups. A filter that one of them does not
// know matches none of them (RFC 7644, 3.4.2.1).
func (c *call) searchAll() (*answer, error) {
	q, err := c.searchRequest()
	if err != nil {
		return nil, err
	}
	p := &page{request: q}
	if q.expr == nil {
		err = c.pageOfUsers(p)
	} else {
		_, noUsers := compile(c.user, q.expr)
		_, noGroups := compile(c.group, q.expr)
		if noUsers != nil && noGroups != nil {
			return nil, noUsers
		}
		if noUsers == nil {
			err = c.filterUsers(p)
		}
		if err != nil || noGroups != nil {
			return p.answer(), err
		}
	}
	if err == nil {
		err = c.findGroups(p)
	}
	return p.answer(), err
}

func (c *call) findGroups(p *page) error {
	match := func(map[string]any) bool { return true }
	var look func(*v1.Team) ([]string, error)
	if p.expr != nil {
		var err error
		if match, err = compile(c.group, p.expr); err != nil {
			return err
		}
		if look, err = c.lookAtMembers(p.expr); err != nil {
			return err
		}
	}
	try := func(t *v1.Team) error {
		var members []string
		var err error
		if look != nil {
			if members, err = look(t); err != nil {
				return err
			}
		}
		if !match(c.groupDoc(t, members)) || !p.take() {
			return nil
		}
		doc, err := c.wholeGroup(t)
		p.items = append(p.items, c.view.apply(c.group, doc))
		return err
	}
	named, indexed := []lookup(nil), false
	if p.expr != nil {
		named, indexed = lookups(c.group, p.expr, func(path string) bool { return path == "id" })
	}
	if !indexed {
		return c.eachTeam(try)
	}
	seen := map[string]bool{}
	for _, l := range named {
		t, err := c.myTeam(l.value)
		if p, ok := err.(*problem); ok && p.status == http.StatusNotFound || seen[l.value] {
			continue
		}
		if err != nil {
			return err
		}
		seen[l.value] = true
		if err := try(t); err != nil {
			return err
		}
	}
	return nil
}

// lookAtMembers says which members a filter needs to see. Directories ask
// `id eq "g" and members eq "u"`: for that, u's memberships are enough.
func (c *call) lookAtMembers(e filter.Expr) (func(*v1.Team) ([]string, error), error) {
	uids, only := askedMembers(c.group, e)
	if !only {
		return func(t *v1.Team) ([]string, error) { return c.membersOf(t.Name, sourceSCIM) }, nil
	}
	teams := map[string][]string{}
	for _, uid := range uids {
		u, found, err := c.lookUp(lookup{"id", uid})
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		for _, m := range u.Memberships {
			if m.Source == sourceSCIM {
				teams[m.Team] = append(teams[m.Team], uid)
			}
		}
	}
	return func(t *v1.Team) ([]string, error) { return teams[t.Name], nil }, nil
}

// askedMembers lists the members that a filter compares with; only is false
// where it asks for anything else of them.
func askedMembers(t *resourceType, e filter.Expr) (uids []string, only bool) {
	switch e := e.(type) {
	case filter.And:
		return askedBoth(t, e.Left, e.Right)
	case filter.Or:
		return askedBoth(t, e.Left, e.Right)
	case filter.Not:
		return askedMembers(t, e.Inner)
	case filter.Compare:
		if !mentions(t, e, "members") {
			return nil, true
		}
		tg, ok := t.target(e.Path)
		uid, isText := e.Value.(string)
		only = ok && isText && (e.Op == filter.Equal || e.Op == filter.NotEqual) && tg.byValue().path == "members.value"
		return []string{uid}, only
	default: // members[…]
		return nil, !mentions(t, e, "members")
	}
}

func askedBoth(t *resourceType, a, b filter.Expr) ([]string, bool) {
	x, okX := askedMembers(t, a)
	y, okY := askedMembers(t, b)
	return append(x, y...), okX && okY
}

func (c *call) getGroup(id string) (*answer, error) {
	t, err := c.myTeam(id)
	if err != nil {
		return nil, err
	}
	if ans, ok := c.fresh(teamVersion(t)); ok {
		return ans, nil
	}
	doc, err := c.wholeGroup(t)
	if err != nil {
		return nil, err
	}
	return c.show(http.StatusOK, c.group, doc, teamVersion(t)), nil
}
