package sso

import (
	"errors"
	"net/http"
	"slices"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/claims"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// person is what an assertion says about somebody, in the terms of its
// connection.
type person struct {
	key     identity.IdentityKey
	email   string
	trusted bool // the provider may speak for the address, and it is verified
	name    string
	groups  []string
}

func readPerson(c *v1.SsoConnection, a *Assertion) (*person, error) {
	m := &c.Spec.Claims
	var lists [5][]claims.Path
	for i, list := range []v1.Strings{m.Subject, m.Email, m.EmailVerified, m.Groups, m.Name} {
		var err error
		if lists[i], err = paths(list); err != nil {
			return nil, err
		}
	}
	sub, err := subject(m, lists[0], a.Claims)
	if err != nil {
		return nil, err
	}
	emailClaims := a.EmailClaims
	if emailClaims == nil {
		emailClaims = a.Claims
	}
	p := &person{key: identity.IdentityKey{Issuer: a.Issuer, Subject: sub}, name: text(lists[4], a.Claims)}
	p.email = authn.NormalizeEmail(text(lists[1], emailClaims))
	p.trusted = trusted(c, lists[2], emailClaims, p.email)
	p.groups, _, _ = claims.FirstStrings(lists[3], a.Claims, identity.MaxGroups)
	if len(p.name) > 256 {
		p.name = ""
	}
	return p, nil
}

// subject names the person as tokens of the same provider do (internal/authn),
// so that a sign-in and a token are one person.
func subject(m *v1.SsoClaims, list []claims.Path, c map[string]any) (string, error) {
	sub := text(list, c)
	if sub == "" {
		return "", Misconfigured("no_subject", "The provider's answer lacks the claim that says who somebody is. Check spec.claims.subject.", nil)
	}
	if m.SubjectWithin == "" {
		return sub, nil
	}
	within, err := paths([]string{m.SubjectWithin})
	if err != nil {
		return "", err
	}
	in := text(within, c)
	if in == "" {
		return "", Misconfigured("no_subject", "The provider's answer lacks the claim within which subjects are unique. Check spec.claims.subjectWithin.", nil)
	}
	return identity.SubjectWithin(in, sub), nil
}

// text is the first claim that is there, where it is a string.
func text(list []claims.Path, c map[string]any) string {
	v, _ := claims.First(list, c)
	s, _ := alone(v).(string)
	return s
}

// alone takes the only value out of a list, as which SAML's attributes come.
func alone(v any) any {
	switch list := v.(type) {
	case []any:
		if len(list) == 1 {
			return list[0]
		}
	case []string:
		if len(list) == 1 {
			return list[0]
		}
	}
	return v
}

// trusted reports whether the provider may speak for an address.
func trusted(c *v1.SsoConnection, verified []claims.Path, in map[string]any, email string) bool {
	v, which := claims.First(verified, in)
	assumed := c.Spec.EmailVerified == v1.EmailVerifiedAssumed && (c.Spec.Provider != v1.PresetEntra || c.Spec.Protocol == v1.SsoSAML)
	return authn.Vouches(c.Spec.EmailDomains, email, alone(v), which < 0 && assumed)
}

// plan is what a sign-in does about a person.
type plan struct {
	// uid is the user who has this identity; empty where arrival says what the
	// store is to look for.
	uid     string
	arrival identity.Arrival
}

// plan says which user a person is: by identity first; by e-mail only where the
// connection may speak for the address; a new one where it may create. It
// changes nothing.
func (h *Handler) plan(s *snapshot.Snapshot, c *v1.SsoConnection, p *person) (plan, error) {
	if c.Spec.Users == v1.UsersNever {
		return plan{}, Refused("users_never", "Nobody is let in this way.", errors.New("spec.users is never"))
	}
	if s.Tombstoned(p.key, "") {
		return plan{}, deleted(nil)
	}
	if u, ok := s.UserByIdentity(p.key); ok {
		return plan{uid: u.UID}, nil
	}
	create := c.Spec.Users == v1.UsersCreate
	if _, scim := s.IssuerDirectory(p.key.Issuer); scim {
		create = false // its people come by SCIM alone
	}
	if !p.trusted {
		return plan{}, nobody(errors.New("no user has this identity, and the provider may not speak for the e-mail address: emailDomains, email_verified"))
	}
	if s.Tombstoned(p.key, p.email) {
		return plan{}, deleted(nil)
	}
	if u, exists := s.UserByEmail(p.email); exists && !u.Active {
		return plan{}, inactive()
	}
	return plan{arrival: identity.Arrival{
		Key: p.key, Email: p.email, DisplayName: p.name, Create: create, LinkByEmail: c.Spec.LinkBy == v1.LinkByEmail,
		Via: "sso:" + c.Name, Through: string(identity.KindRef(v1.KindSsoConnection, c.Name)),
	}}, nil
}

// find makes a plan and carries it out.
func (h *Handler) find(r *http.Request, s *snapshot.Snapshot, c *v1.SsoConnection, p *person) (uid string, err error) {
	what, err := h.plan(s, c, p)
	if err != nil || what.uid != "" {
		return what.uid, err
	}
	what.arrival.RemoteAddr, what.arrival.RequestID = h.addr(r), requestID(r)
	uid, _, err = h.opt.Store.EnsureUser(r.Context(), what.arrival)
	return uid, unfound(err)
}

// unfound is a failure of the store's to find somebody, as the page says it.
func unfound(err error) error {
	switch identity.CodeOf(err) {
	case identity.CodeInvalidToken:
		return deleted(err)
	case identity.CodeNotFound:
		return nobody(err)
	case identity.CodeIdentityConflict:
		return Refused("identity_conflict", "Your e-mail address belongs to a user whose account is not connected to this sign-in. Ask your administrator to connect it.", err)
	}
	return err
}

func deleted(err error) *Failure {
	return Refused("deleted", "Your account here was deleted. An administrator can let you in again.", err)
}

func nobody(err error) *Failure {
	return Refused("not_mapped", "Your sign-in worked, but you are not a user here. Ask your administrator to add you.", err)
}

func inactive() *Failure {
	return Refused("inactive", "Your account here is switched off. An administrator can switch it on again.", nil)
}

// teamsOf lists the teams of the groups that a sign-in asserts: those that the
// teams list for this connection, and for an identity provider of the same
// issuer.
func teamsOf(s *snapshot.Snapshot, c *v1.SsoConnection, p *person) []string {
	var teams []string
	for _, g := range p.groups {
		teams = append(teams, s.ConnectionTeams(c.Name, g)...)
		for _, idp := range s.Candidates(p.key.Issuer) {
			if idp.Spec.Issuer == p.key.Issuer {
				teams = append(teams, s.GroupTeams(idp.Name, g)...)
			}
		}
	}
	slices.Sort(teams)
	return slices.Compact(teams)
}
