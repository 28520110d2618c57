package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// manual is the source of a membership that somebody gave by hand.
const manual = "manual"

// Member is a person in a team, and why.
type Member struct {
	UID         string `json:"uid,omitempty"`
	Email       string `json:"email"`
	DisplayName string `json:"displayName,omitempty"`
	// Sources are where the membership comes from; it ends when all of them have.
	Sources []MemberSource `json:"sources"`
}

// MemberSource is one reason for being in a team.
type MemberSource struct {
	// Source is manifest, manual, scim or sso:ISSUER.
	Source  string `json:"source"`
	Manager bool   `json:"manager,omitempty"`
	// Counts is false where a directory has the word about the person, and
	// what a sign-in said counts for nothing.
	Counts bool `json:"counts"`
}

// MemberList is one page of a team's people: first those whom its manifest
// names, then the others by uid.
type MemberList struct {
	Items      []Member `json:"items"`
	NextCursor string   `json:"nextCursor,omitempty"`
}

func (a *API) memberOperations() []operation {
	members := base + "/teams/{name}/members"
	return []operation{
		{
			ID: "list-team-members", Method: http.MethodGet, Path: members, Summary: "List a team's people, and why they are in it", Permission: identity.PermTeamMembers,
			On: onResource, AuditAction: notAudited, Query: paging(), Answer: MemberList{}, Status: http.StatusOK, run: (*call).listMembers,
		},
		{
			ID: "add-team-member", Method: http.MethodPut, Path: members + "/{user}", Summary: "Add a person to a team", Permission: identity.PermTeamMembers,
			On: onResource, AuditAction: "team.add-member", Answer: Member{}, Status: http.StatusOK, run: retried((*call).addMember),
		},
		{
			ID: "remove-team-member", Method: http.MethodDelete, Path: members + "/{user}", Summary: "Take back that a person was added to a team", Permission: identity.PermTeamMembers,
			On: onResource, AuditAction: "team.remove-member", Status: http.StatusNoContent, run: retried((*call).removeMember),
		},
	}
}

// team finds the team of the path and asks who may manage its people.
func (c *call) team() (*v1.Team, error) {
	key := c.key(v1.KindTeam)
	r, err := c.opt.Resources.Resource(c.r.Context(), key)
	hidden := identity.Errorf(identity.CodeNotFound, "there is no %s that you may see", c.about)
	if identity.IsCode(err, identity.CodeNotFound) {
		return nil, apply.Hide(c.may(identity.PermTeamMembers, c.snap.Target(identity.KindRef(key.Kind, key.Name))), hidden, false)
	}
	if err != nil {
		return nil, err
	}
	t, ok := r.(*v1.Team)
	if !ok {
		return nil, errors.New(c.about + " is not stored as a team")
	}
	if err := c.may(identity.PermTeamMembers, apply.Target(c.snap, t)); err != nil {
		if !c.mayRead(t) {
			return nil, apply.Hide(err, hidden, true)
		}
		return nil, err
	}
	return t, nil
}

func (c *call) listMembers() (*answer, error) {
	t, err := c.team()
	if err != nil {
		return nil, err
	}
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	after, err := c.after("members/" + t.UID)
	if err != nil {
		return nil, err
	}
	page := MemberList{Items: []Member{}}
	if after == "" {
		page.Items = c.named(t)
	}
	list, err := c.opt.People.Members(c.r.Context(), t.Name, after, limit+1)
	if err != nil {
		return nil, err
	}
	for i := range list[:min(limit, len(list))] {
		u := &list[i]
		if slices.Contains(t.Spec.Managers, u.Email) || slices.Contains(t.Spec.Members, u.Email) {
			continue // listed with those of the manifest
		}
		page.Items = append(page.Items, member(t, u))
	}
	if len(list) > limit {
		page.NextCursor, err = c.cursor("members/"+t.UID, list[limit-1].UID)
	}
	return &answer{body: page}, err
}

// named are those whom the team's manifest names, whether or not there is
// such a person yet.
func (c *call) named(t *v1.Team) []Member {
	list := []Member{}
	for _, email := range slices.Concat(t.Spec.Managers, t.Spec.Members) {
		if slices.ContainsFunc(list, func(m Member) bool { return m.Email == email }) {
			continue
		}
		u := &identity.User{Email: email}
		if known, ok := c.snap.UserByEmail(email); ok {
			u = &known.User
		}
		list = append(list, member(t, u))
	}
	return list
}

// member says why a person is in a team.
func member(t *v1.Team, u *identity.User) Member {
	m := Member{UID: u.UID, Email: u.Email, DisplayName: u.DisplayName, Sources: []MemberSource{}}
	manager := slices.Contains(t.Spec.Managers, u.Email)
	if manager || slices.Contains(t.Spec.Members, u.Email) {
		m.Sources = append(m.Sources, MemberSource{Source: "manifest", Manager: manager, Counts: true})
	}
	fromDirectory := u.FromDirectory()
	for _, s := range u.Memberships {
		if s.Team == t.Name {
			m.Sources = append(m.Sources, MemberSource{Source: s.Source, Manager: s.Manager, Counts: !fromDirectory || !strings.HasPrefix(s.Source, "sso:")})
		}
	}
	return m
}

// ofDirectory refuses to change the people of a team that a directory owns.
func ofDirectory(t *v1.Team) error {
	if manager := t.Manager; v1.FromDirectory(manager) {
		return identity.Errorf(identity.CodeManagedBy, "the team belongs to %s: change the group in the directory", manager)
	}
	return nil
}

func (c *call) addMember() (*answer, error) {
	t, u, err := c.teamAndPerson()
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(u.Memberships, func(m identity.Membership) bool { return m.Team == t.Name && m.Source == manual }) {
		return &answer{body: member(t, &u)}, nil
	}
	if err := c.applier.MayManage(c.actor(apply.ManagerAPI), identity.TeamSubject(t.Name), identity.KindRef(v1.KindTeam, t.Name)); err != nil {
		return nil, err
	}
	next := u
	next.Memberships = append(slices.Clone(u.Memberships), identity.Membership{Team: t.Name, Source: manual})
	return &answer{body: member(t, &next)}, c.writeMembership("team.add-member", t, &u, next)
}

func (c *call) removeMember() (*answer, error) {
	t, u, err := c.teamAndPerson()
	nobody := identity.Errorf(identity.CodeNotFound, "there is no such member that you may see")
	if t != nil && identity.IsCode(err, identity.CodeNotFound) {
		return nil, nobody
	}
	if err != nil {
		return nil, err
	}
	if err := c.applier.MayManage(c.actor(apply.ManagerAPI), identity.TeamSubject(t.Name), identity.KindRef(v1.KindTeam, t.Name)); err != nil {
		return nil, err
	}
	next := u
	next.Memberships = slices.DeleteFunc(slices.Clone(u.Memberships), func(m identity.Membership) bool { return m.Team == t.Name && m.Source == manual })
	if len(next.Memberships) == len(u.Memberships) {
		if len(member(t, &u).Sources) > 0 {
			return nil, identity.Errorf(identity.CodeManagedBy, "nobody added the person by hand; end the membership where it comes from: %s", sources(member(t, &u)))
		}
		return nil, nobody
	}
	return nil, c.writeMembership("team.remove-member", t, &u, next)
}

func sources(m Member) string {
	var list []string
	for _, s := range m.Sources {
		list = append(list, s.Source)
	}
	return strings.Join(list, ", ")
}

// teamAndPerson finds both. A manager of a team knows people by their address
// only; who has none here is told apart from nobody else.
func (c *call) teamAndPerson() (*v1.Team, identity.User, error) {
	t, err := c.team()
	if err != nil {
		return nil, identity.User{}, err
	}
	if err := ofDirectory(t); err != nil {
		return nil, identity.User{}, err
	}
	u, err := c.find(c.r.PathValue("user"))
	return t, u, err
}

// writeMembership writes a person's memberships, as long as neither the person
// nor the team has changed since they were read.
func (c *call) writeMembership(action string, t *v1.Team, old *identity.User, next identity.User) error {
	e := c.entry(action, string(identity.KindRef(v1.KindTeam, t.Name)), apply.OutcomeDone)
	e.Before, e.After = asJSON(member(t, old)), asJSON(member(t, &next))
	return c.writePeople(&record.Batch{
		Conditions:     []record.Condition{{Key: identity.ResourceKey{Kind: v1.KindTeam, Name: t.Name}, ResourceVersion: t.ResourceVersion}},
		UserConditions: []record.UserCondition{{UID: old.UID, Version: old.Version}},
		PutUsers:       []identity.User{next}, Audit: []record.AuditEntry{e},
	})
}
