package api

import (
	"slices"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// visible returns a resource as the caller may see it, nil for not at all.
//
// Everybody sees that a team is there and how it is called, so that something
// can be shared with it; who is in it, and whatever else it says, is for those
// who belong to it, and those to whom more gives team:read than that everybody
// has it.
func (c *call) visible(r v1.Resource) v1.Resource {
	if !c.mayRead(r) {
		return nil
	}
	t, ok := r.(*v1.Team)
	if !ok || slices.Contains(c.caller.Principal.Teams, t.Name) || c.mayReadAsSomebody(t) {
		return r
	}
	return &v1.Team{TypeMeta: t.TypeMeta, ObjectMeta: v1.ObjectMeta{Name: t.Name}, Spec: v1.TeamSpec{DisplayName: t.Spec.DisplayName}}
}

// mayReadAsSomebody asks without what is granted to everybody, for a team and
// the permissions with which it is written.
func (c *call) mayReadAsSomebody(t *v1.Team) bool {
	p := *c.caller.Principal
	p.SubjectIDs = c.snap.Intern(slices.DeleteFunc(slices.Clone(p.Subjects), func(s identity.Subject) bool { return s == identity.Everyone }))
	target := apply.Target(c.snap, t)
	for _, perm := range []identity.Permission{identity.KindPermission(v1.KindTeam, "read"), identity.KindPermission(v1.KindTeam, "update"), identity.PermTeamMembers} {
		q := authz.Request{Principal: &p, Grant: c.caller.Grant, Action: perm, Resource: target, Context: authz.Context{Now: c.now}}
		if authz.Decide(&q).Allowed {
			return true
		}
	}
	return false
}
