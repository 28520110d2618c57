package authn

import (
	"context"
	"errors"
	"net/netip"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// resolveEntry says who a verified token is under a snapshot. What the token
// says is read once a configuration; who that is, once a change of the person.
func (a *Authenticator) resolveEntry(ctx context.Context, s *snapshot.Snapshot, e *verified, addr netip.Addr, m mode, tr *identity.Trace) (Caller, error) {
	p, trusted := e.trusted(s, a.opt.Keys)
	if !trusted || (m != again && e.expired(a.opt.Now())) {
		return Caller{}, invalid("the token, its key or its provider is no longer accepted")
	}
	mean := e.meaning.Load()
	if mean == nil || mean.config != s.ConfigID() || tr != nil {
		c, err := e.claims()
		if err != nil {
			return Caller{}, err
		}
		mean = &meaning{config: s.ConfigID(), facts: readFacts(s, p, c)}
		traceFacts(tr, p, mean.facts, c)
	}
	r := &resolution{a: a, ctx: ctx, s: s, p: p, f: mean.facts, addr: addr, mode: m, tr: tr, now: a.opt.Now()}
	next, err := r.principal(mean)
	if err != nil {
		return Caller{}, err
	}
	if next != mean || e.meaning.Load() != mean {
		e.meaning.Store(next)
	}
	return Caller{Principal: next.principal, Grant: e.grant, Snapshot: r.s, entry: e}, nil
}

// resolution is one attempt to find out who a token is.
type resolution struct {
	a    *Authenticator
	ctx  context.Context
	s    *snapshot.Snapshot
	p    *snapshot.Provider
	f    *facts
	addr netip.Addr
	mode mode
	tr   *identity.Trace
	now  time.Time
}

// principal collects every subject that applies. In this order: an application
// that is mapped, a person, external identities. Who was deleted is none of them.
func (r *resolution) principal(mean *meaning) (*meaning, error) {
	if r.s.Tombstoned(r.f.key, "") {
		r.tr.Note("principal", false, "this person was deleted here; an administrator can lift the tombstone, which makes a new user")
		return nil, invalid("the person was deleted")
	}
	if r.f.ambiguous {
		r.tr.Note("principal", false, "two virtual accounts map this token; make their identityProviderMappings differ")
		return nil, identity.Errorf(identity.CodeIdentityAmbiguous, "this token belongs to more than one virtual account")
	}
	if r.f.mapping != nil {
		p, err := accountPrincipal(r.f.mapping.Account, r.tr)
		if err != nil {
			return nil, err
		}
		if mean.principal == p {
			return mean, nil
		}
		return &meaning{config: mean.config, facts: r.f, principal: p}, nil
	}
	user, err := r.user()
	if err != nil {
		return nil, err
	}
	if mean.principal != nil && mean.user == user && (mean.userUntil.IsZero() || r.now.Before(mean.userUntil)) {
		return mean, nil
	}
	next := &meaning{config: r.s.ConfigID(), facts: r.f, user: user}
	if user != nil {
		next.principal, next.userUntil = r.person(user)
		return next, nil
	}
	next.principal, err = r.external()
	return next, err
}

// person makes the principal of a user: what is stored, and what the token adds.
func (r *resolution) person(u *snapshot.User) (*identity.Principal, time.Time) {
	skip := ""
	if r.f.groupsPresent {
		skip = r.f.key.Issuer
	}
	teams := r.s.UserTeams(u, skip, r.now)
	groups := r.f.groupTeams
	if u.FromDirectory() {
		r.tr.Add("team", true, "the person belongs to %s, which alone says what groups they are in", u.Manager)
		groups = nil
	}
	for _, t := range groups {
		teams = append(teams, snapshot.TeamMembership{Team: t, Source: "token, by a group of " + r.p.Name})
	}
	if r.tr != nil {
		traceTeams(r.tr, teams)
	}
	p := r.s.NewUserPrincipal(u, teams, r.externalSubjects())
	p.Key = r.f.key
	var until time.Time
	for _, m := range u.Memberships {
		if m.ExpiresAt != nil && r.now.Before(*m.ExpiresAt) && (until.IsZero() || m.ExpiresAt.Before(until)) {
			until = *m.ExpiresAt
		}
	}
	r.tr.Add("principal", true, "user:%s (uid %s)", u.Email, u.UID)
	return p, until
}

func (r *resolution) externalSubjects() []identity.Subject {
	subjects := make([]identity.Subject, 0, len(r.f.externals))
	for _, x := range r.f.externals {
		subjects = append(subjects, x.Subject)
	}
	return subjects
}

// external makes the principal of somebody who is not a user here.
func (r *resolution) external() (*identity.Principal, error) {
	subjects := r.externalSubjects()
	p := &identity.Principal{Kind: identity.KindExternal, Key: r.f.key, Email: r.f.email}
	if r.tr != nil {
		traceGroups(r.tr, r.p, r.f)
	}
	for _, t := range r.f.groupTeams {
		subjects = append(subjects, identity.TeamSubject(t))
		p.Teams = append(p.Teams, t)
	}
	if len(subjects) == 0 {
		r.traceNobody()
		return nil, identity.Errorf(identity.CodeIdentityNotMapped,
			"your token is valid, but it is nobody here: an administrator must add you as a user, or an external identity or virtual account that your token matches")
	}
	p.Teams = sortedUnique(p.Teams)
	if len(p.Teams) == 1 {
		p.DefaultTeam = p.Teams[0]
	}
	if len(r.f.externals) > 0 {
		p.Name = r.f.externals[0].Name
	} else {
		p.Name = r.f.key.Subject
	}
	r.s.Finish(p, subjects)
	r.tr.Add("principal", true, "external: %v", p.Subjects)
	return p, nil
}

// user finds the person that a token names: by identity first; by e-mail only
// where the provider may speak for the address. nil without an error: nobody.
func (r *resolution) user() (*snapshot.User, error) {
	if r.p.Spec.Resolve.Users == v1.UsersNever || r.f.ownToken {
		return nil, nil
	}
	if u, ok := r.s.UserByIdentity(r.f.key); ok {
		return r.active(u)
	}
	if !r.f.emailTrusted {
		return nil, nil
	}
	if r.s.Tombstoned(r.f.key, r.f.email) {
		r.tr.Note("principal", false, "the person with this e-mail address was deleted here; an administrator can lift the tombstone")
		return nil, invalid("the person was deleted")
	}
	return r.byEmail()
}

// fromDirectory reports whether the issuer's people come by a directory alone.
func (r *resolution) fromDirectory() bool {
	name, ok := r.s.IssuerDirectory(r.p.Spec.Issuer)
	if ok {
		r.tr.Add("principal", false, "there is no user %s, and this issuer's people come by scim-directory:%s alone; assign the person to Gatehouse there", r.f.email, name)
	}
	return ok
}

func (r *resolution) active(u *snapshot.User) (*snapshot.User, error) {
	if !u.Active {
		r.tr.Add("principal", false, "user:%s is deactivated", u.Email)
		return nil, invalid("the user is deactivated")
	}
	return u, nil
}

// byEmail links an existing person, or creates one, where the provider says so.
func (r *resolution) byEmail() (*snapshot.User, error) {
	u, exists := r.s.UserByEmail(r.f.email)
	link := r.p.Spec.LinkBy == v1.LinkByEmail
	create := r.p.Spec.Resolve.Users == v1.UsersCreate
	switch {
	case exists && !u.Active:
		return r.active(u)
	case exists && !link && !create:
		return nil, nil
	case exists && !link:
		r.tr.Add("principal", false, "a user with this e-mail address exists and is not linked to %s; set linkBy: email on the identity provider, or let an administrator link them", r.p.Name)
		return nil, identity.Errorf(identity.CodeIdentityConflict, "a user with your e-mail address exists and is not linked to your identity")
	case exists && linkedElsewhere(u, r.f.key):
		r.tr.Add("principal", false, "user:%s is linked to another subject of this issuer; an administrator must unlink it first", u.Email)
		return nil, identity.Errorf(identity.CodeIdentityConflict, "your e-mail address belongs to another identity of the same issuer")
	case !exists && create && r.fromDirectory():
		return nil, nil
	case !exists && !create:
		r.tr.Add("principal", false, "there is no user %s; create the user, or set resolve.users: create on %s", r.f.email, r.p.Name)
		return nil, nil
	}
	if r.mode == again {
		return nil, invalid("the person is not known here any more")
	}
	if r.mode == dry {
		r.tr.Add("principal", true, "user:%s would be created or linked by the first real request", r.f.email)
		if !exists {
			u = &snapshot.User{User: identity.User{Email: r.f.email, Active: true}}
		}
		return u, nil
	}
	return r.ensure(link, create)
}

func linkedElsewhere(u *snapshot.User, key identity.IdentityKey) bool {
	for _, id := range u.Identities {
		if id.Issuer == key.Issuer && id.Subject != key.Subject {
			return true
		}
	}
	return false
}

// ensure asks the directory and waits until the snapshot knows the person.
func (r *resolution) ensure(link, create bool) (*snapshot.User, error) {
	uid, head, err := r.a.arrival.ensure(r.ctx, identity.Arrival{
		Key: r.f.key, Email: r.f.email, DisplayName: r.f.name, Create: create, LinkByEmail: link,
		Via: "jwt", Through: "identity-provider:" + r.p.Name, RemoteAddr: addrText(r.addr),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, directoryTimeout)
	defer cancel()
	if err := r.a.opt.Snapshots.WaitFor(ctx, head); err != nil {
		return nil, directoryAway(err)
	}
	s := r.a.opt.Snapshots.Load()
	if s == nil || s.ConfigID() != r.s.ConfigID() {
		// The configuration changed in between: what the token means must be read again.
		return nil, directoryAway(errors.New("the configuration changed meanwhile"))
	}
	u, ok := s.UserByUID(uid)
	if !ok {
		return nil, directoryAway(errors.New("the user was removed meanwhile"))
	}
	r.s = s
	return r.active(u)
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func directoryAway(err error) error {
	return &identity.Error{
		Code: identity.CodeDirectoryUnavailable, Err: err, RetryAfter: arrivalsRetryAfter,
		Message: "your user cannot be created or linked right now; try again",
	}
}
