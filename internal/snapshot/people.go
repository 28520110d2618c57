package snapshot

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// User is a person in a snapshot. It is shared by all snapshots in which the
// person is the same.
type User struct {
	identity.User
	index    uint32
	resolved atomic.Pointer[resolvedUser]
}

// resolvedUser is what a user amounts to under one configuration; it is kept
// with the user until configuration or time makes it stale.
type resolvedUser struct {
	cfg       uint64    // the configuration's id: a pointer would keep old ones alive
	until     time.Time // zero: no membership ends
	principal *identity.Principal
}

const ownerChunk = 1024

// owners maps an index, which never changes its meaning, to who has it.
type owners struct {
	chunks []*[ownerChunk]Owner
	next   uint32
}

func (s *Snapshot) owner(ref uint32) *Owner {
	if ref == 0 {
		return nil
	}
	i := ref - 1
	if int(i/ownerChunk) >= len(s.owners.chunks) {
		return nil
	}
	o := &s.owners.chunks[i/ownerChunk][i%ownerChunk]
	if *o == (Owner{}) {
		return nil
	}
	return o
}

// UserByIdentity finds a person as an issuer names them.
func (s *Snapshot) UserByIdentity(key identity.IdentityKey) (*User, bool) {
	uid, ok := s.byIdentity.get(key)
	if !ok {
		return nil, false
	}
	return s.UserByUID(uid)
}

// UserByUID finds a person by uid.
func (s *Snapshot) UserByUID(uid string) (*User, bool) { return s.users.get(uid) }

// UserByEmail finds a person by e-mail address (lower case).
func (s *Snapshot) UserByEmail(email string) (*User, bool) {
	uid, ok := s.byEmail.get(email)
	if !ok {
		return nil, false
	}
	return s.UserByUID(uid)
}

// Tombstoned reports whether an identity or an e-mail address belongs to
// somebody who was removed.
func (s *Snapshot) Tombstoned(key identity.IdentityKey, email string) bool {
	if _, ok := s.tombIdentities.get(key); ok {
		return true
	}
	if email == "" {
		return false
	}
	_, ok := s.tombEmails.get(email)
	return ok
}

// Tombstone finds what is left of somebody who was removed, by their uid.
func (s *Snapshot) Tombstone(uid string) (*identity.Tombstone, bool) { return s.tombs.get(uid) }

// ssoSource begins the source of a membership that was learned at sign-in.
const ssoSource = "sso:"

// UserTeams lists the teams of a person with where each membership comes from.
// skipIssuer leaves out what that issuer said at sign-in, because the token at
// hand says something newer.
func (s *Snapshot) UserTeams(u *User, skipIssuer string, now time.Time) []TeamMembership {
	var list []TeamMembership
	list = append(list, s.cfg.teamsByEmail[u.Email]...)
	for _, m := range u.Memberships {
		if m.ExpiresAt != nil && !now.Before(*m.ExpiresAt) {
			continue
		}
		if strings.HasPrefix(m.Source, ssoSource) && (u.FromDirectory() || m.Source == ssoSource+skipIssuer) {
			continue
		}
		if _, ok := s.cfg.teams[m.Team]; ok {
			list = append(list, TeamMembership{Team: m.Team, Source: m.Source, Manager: m.Manager})
		}
	}
	return list
}

// TeamMembership says that somebody is in a team, and why.
type TeamMembership struct {
	Team string
	// Source is manifest, manual, scim, sso:ISSUER or token.
	Source  string
	Manager bool
}

// UserPrincipal returns what a person is by themselves: with the memberships
// that are stored, without what a token at hand adds.
func (s *Snapshot) UserPrincipal(u *User, now time.Time) *identity.Principal {
	if r := u.resolved.Load(); r != nil && r.cfg == s.cfg.id && (r.until.IsZero() || now.Before(r.until)) {
		return r.principal
	}
	r := &resolvedUser{cfg: s.cfg.id}
	for _, m := range u.Memberships {
		if m.ExpiresAt != nil && now.Before(*m.ExpiresAt) && (r.until.IsZero() || m.ExpiresAt.Before(r.until)) {
			r.until = *m.ExpiresAt
		}
	}
	r.principal = s.NewUserPrincipal(u, s.UserTeams(u, "", now), nil)
	u.resolved.Store(r)
	return r.principal
}

// NewUserPrincipal makes a principal of a person, their teams and what else
// their token entitles them to.
func (s *Snapshot) NewUserPrincipal(u *User, teams []TeamMembership, extra []identity.Subject) *identity.Principal {
	subjects := append([]identity.Subject{identity.UserSubject(u.Email), identity.Everyone}, extra...)
	p := &identity.Principal{Kind: identity.KindUser, UID: u.UID, Name: u.Email, Email: u.Email}
	for _, t := range teams {
		subjects = append(subjects, identity.TeamSubject(t.Team))
		p.Teams = append(p.Teams, t.Team)
	}
	if u.UserName != "" {
		subjects = append(subjects, identity.UserNameSubject(u.UserName))
	}
	slices.Sort(p.Teams)
	p.Teams = slices.Compact(p.Teams)
	if len(p.Teams) == 1 {
		p.DefaultTeam = p.Teams[0]
	}
	s.Finish(p, subjects)
	return p
}

// Finish sorts the subjects of a principal, interns them and says whether it
// is a tenant admin.
func (s *Snapshot) Finish(p *identity.Principal, subjects []identity.Subject) {
	slices.Sort(subjects)
	p.Subjects = slices.Compact(subjects)
	p.SubjectIDs = s.Intern(p.Subjects)
	p.Admin = s.cfg.tenant.grants(p.SubjectIDs, identity.PermTenantAdmin, farFuture)
}

// Administers reports whether a person is a tenant admin at the moment, by a
// grant that ends too. Somebody without a uid is whoever would get their address
// and user name. (Principal.Admin is about grants that do not end.)
func (s *Snapshot) Administers(u *identity.User, now time.Time) bool {
	person := &User{User: *u}
	if known, ok := s.UserByUID(u.UID); ok && u.UID != "" {
		person = known
	}
	p := s.NewUserPrincipal(person, s.UserTeams(person, "", now), nil)
	return s.cfg.tenant.grants(p.SubjectIDs, identity.PermTenantAdmin, now)
}

// SubjectAdministers reports whether whoever is a subject is thereby a tenant
// admin at the moment.
func (s *Snapshot) SubjectAdministers(who identity.Subject, now time.Time) bool {
	return s.cfg.tenant.grants(s.Intern([]identity.Subject{who}), identity.PermTenantAdmin, now)
}

// Intern returns the sorted numbers of those subjects to whom anything is
// granted at all.
func (s *Snapshot) Intern(subjects []identity.Subject) []uint32 {
	ids := make([]uint32, 0, len(subjects))
	for _, sub := range subjects {
		if id, ok := s.cfg.subjects[sub]; ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Users walks over all people; for tests and reports.
func (s *Snapshot) Users(yield func(*User) bool) {
	s.users.each(func(_ string, u *User) bool { return yield(u) })
}
