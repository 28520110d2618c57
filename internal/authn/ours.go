package authn

import (
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// ours recognises a token of ours: the checksum first, then the digest. Only
// the digest goes any further.
func (a *Authenticator) ours(s *snapshot.Snapshot, token string, tr *identity.Trace) (Caller, error) {
	kind, ok := identity.ParseToken(token)
	if !ok {
		tr.Note("credential", false, "this looks like a token of ours, but its checksum is wrong: it was cut or mistyped")
		return Caller{}, invalid("wrong checksum")
	}
	digest := identity.DigestOf(token)
	if t, found := s.Token(digest); found && t.Kind != kind {
		tr.Note("credential", false, "the token's prefix is not that of its kind")
		return Caller{}, invalid("the prefix is not that of the stored kind")
	}
	return a.byDigest(s, digest, live, tr)
}

// Directory says which ScimDirectory a SCIM token belongs to, and the token's
// id. Such a token opens nothing else, and nothing else opens /scim/v2. Errors:
// no_credential, invalid_token.
func (a *Authenticator) Directory(s *snapshot.Snapshot, c Credential) (name, tokenID string, err error) {
	token, err := bearer(c)
	if err != nil {
		return "", "", err
	}
	if kind, ok := identity.ParseToken(token); !ok || kind != identity.TokenSCIM {
		return "", "", invalid("not a SCIM token")
	}
	t, ok := s.Token(identity.DigestOf(token))
	if !ok || t.Kind != identity.TokenSCIM || t.Owner == nil || t.Owner.Directory == nil || !a.opt.Now().Before(t.ExpiresAt) {
		return "", "", invalid("unknown, revoked or expired SCIM token")
	}
	return t.Owner.Directory.Name, t.ID, nil
}

func (a *Authenticator) byDigest(s *snapshot.Snapshot, digest identity.Digest, m mode, tr *identity.Trace) (Caller, error) {
	t, ok := s.Token(digest)
	now := a.opt.Now()
	switch {
	case !ok:
		tr.Note("credential", false, "no such token: it was never made here, or it was revoked, or it has expired; make a new one")
		return Caller{}, invalid("unknown or revoked token")
	case m != again && !now.Before(t.ExpiresAt):
		tr.Add("credential", false, "the token %s expired at %s; make a new one", t.ID, t.ExpiresAt.Format(time.RFC3339))
		return Caller{}, invalid("expired token")
	}
	if tr != nil { // what is passed would be made on every request
		tr.Add("credential", true, "a %s, id %s, good until %s", t.Kind, t.ID, t.ExpiresAt.Format(time.RFC3339))
	}
	p, err := a.ownerPrincipal(s, &t, now, tr)
	if err != nil {
		return Caller{}, err
	}
	grant := &identity.Grant{Via: t.Kind.String(), TokenID: t.ID, ExpiresAt: t.ExpiresAt, Narrowing: t.Narrowing}
	return Caller{Principal: p, Grant: grant, Snapshot: s, digest: digest}, nil
}

func (a *Authenticator) ownerPrincipal(s *snapshot.Snapshot, t *snapshot.Token, now time.Time, tr *identity.Trace) (*identity.Principal, error) {
	switch {
	case t.Bootstrap:
		return bootstrapPrincipal(s, tr)
	case t.Kind == identity.TokenPersonal && t.Owner != nil && t.Owner.User != nil:
		u := t.Owner.User
		if !u.Active {
			tr.Add("principal", false, "the owner, %s, is deactivated", u.Email)
			return nil, invalid("the owner is deactivated")
		}
		if tr != nil {
			traceTeams(tr, s.UserTeams(u, "", now))
			tr.Add("principal", true, "user:%s", u.Email)
		}
		return s.UserPrincipal(u, now), nil
	case t.Kind == identity.TokenVirtualAccount && t.Owner != nil && t.Owner.VirtualAccount != nil:
		return accountPrincipal(t.Owner.VirtualAccount, tr)
	default:
		tr.Note("principal", false, "the token's owner is not there any more, or the token is of a kind that is not accepted here")
		return nil, invalid("no owner, or a kind that is not accepted here")
	}
}

// bootstrapPrincipal is the one-time admin of an empty installation.
func bootstrapPrincipal(s *snapshot.Snapshot, tr *identity.Trace) (*identity.Principal, error) {
	if s.HasAdmin() {
		tr.Note("credential", false, "the bootstrap token stopped working when the first tenant-admin was there; use that account")
		return nil, invalid("the bootstrap token is used up: there is a tenant-admin")
	}
	p := &identity.Principal{Kind: identity.KindBootstrap, Name: "bootstrap"}
	s.Finish(p, []identity.Subject{identity.TenantAdmin})
	tr.Note("principal", true, "the bootstrap token, as tenant-admin")
	return p, nil
}

func accountPrincipal(v *snapshot.VirtualAccount, tr *identity.Trace) (*identity.Principal, error) {
	if !v.Resource.IsEnabled() {
		tr.Add("principal", false, "virtual-account:%s is disabled; set spec.enabled: true", v.Name)
		return nil, invalid("the virtual account is disabled")
	}
	tr.Add("principal", true, "virtual-account:%s", v.Name)
	return v.Principal, nil
}

func traceTeams(tr *identity.Trace, teams []snapshot.TeamMembership) {
	if tr == nil {
		return
	}
	for _, t := range teams {
		tr.Add("team", true, "team:%s (from %s)", t.Team, t.Source)
	}
	if len(teams) == 0 {
		tr.Note("team", false, "no team: none lists this person, and no group of the token is listed under a team's spec.identityProviderGroups")
	}
}
