package authn

import (
	"errors"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/authn/jose"
	"github.com/gatehouse-ai/gatehouse/internal/authn/keyring"
	"github.com/gatehouse-ai/gatehouse/internal/claims"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

func traceNoIssuer(tr *identity.Trace, s *snapshot.Snapshot, iss string) {
	if tr == nil {
		return
	}
	if iss == "" {
		tr.Note("provider", false, "the token has no iss, and no identity provider without an issuer is configured")
		return
	}
	var known []string
	for _, p := range s.Providers() {
		if strings.TrimRight(p.Spec.Issuer, "/") == strings.TrimRight(iss, "/") {
			tr.Add("provider", false, "%s: the issuer differs by a slash: the token says %q, spec.issuer says %q; make spec.issuer equal to the token's", p.Name, iss, p.Spec.Issuer)
			return
		}
		known = append(known, p.Spec.Issuer)
	}
	tr.Add("provider", false, "no identity provider has the issuer %q (configured: %q); set spec.issuer of an IdentityProvider to it", iss, known)
}

// traceRefusal names the setting that would have to change.
func traceRefusal(tr *identity.Trace, p *snapshot.Provider, t *jose.Token, err error) {
	if tr == nil {
		return
	}
	hint := ""
	refusal, _ := errors.AsType[*jose.Error](err)
	if refusal != nil {
		switch refusal.Code {
		case jose.TokenExpired:
			hint = "get a new token; if it is new, the clocks differ: see spec.clockSkew"
		case jose.TokenNotYetValid:
			hint = "the clocks differ; correct them, or raise spec.clockSkew"
		case jose.AlgorithmNotAllowed:
			hint = "add it to spec.algorithms if that is meant"
		case jose.WrongTokenKind:
			hint = "send the access token; for ID tokens set spec.tokenType: id"
		case jose.NoSubject:
			hint = "set spec.claims.subject to the claim that identifies the caller"
		case jose.WrongAudience:
			hint = audienceHint(t)
		}
	}
	tr.Add("provider", false, "%s: %v; %s", p.Name, err, hint)
}

func audienceHint(t *jose.Token) string {
	aud := jose.Audience(t)
	if len(aud) == 1 && aud[0] == "account" {
		return "this is Keycloak without an audience mapper: add an \"Audience\" mapper for Gatehouse's audience to the client (or a client scope), and get a new token; or add account to spec.audiences, which accepts tokens made for others"
	}
	return "let the provider put that audience in its tokens, or add the token's to spec.audiences"
}

func (a *Authenticator) traceKeys(tr *identity.Trace, p *snapshot.Provider, t *jose.Token, err error) {
	if tr == nil {
		return
	}
	if errors.Is(err, keyring.ErrUnknownKid) {
		tr.Add("provider", false, "%s: the provider publishes no key %q; the token is from another realm, or its key was rotated away: get a new token, or correct spec.issuer, spec.jwksURLs or spec.jwks", p.Name, t.Kid)
		return
	}
	detail := ""
	for _, st := range a.opt.Keys.Status() {
		if st.UID == p.UID {
			detail = "; " + st.URL + ": " + st.LastError
			if st.TrustedCA != "" {
				detail += "; TLS trusts " + st.TrustedCA + " (spec.caCert)"
			}
		}
	}
	tr.Add("provider", false, "%s: its keys cannot be had: %v%s", p.Name, err, detail)
}

// traceFacts says what was found in the claims, and for each external identity
// which claim failed.
func traceFacts(tr *identity.Trace, p *snapshot.Provider, f *facts, c map[string]any) {
	if tr == nil {
		return
	}
	tr.Add("claims", true, "subject %q, e-mail %q (this provider may speak for it: %t), client %q (the client's own token: %t), groups %q",
		f.key.Subject, f.email, f.emailTrusted, f.clientID, f.ownToken, f.groups)
	if f.groupsCut {
		tr.Add("claims", false, "the token has more than %d groups; the rest is not read", identity.MaxGroups)
	}
	for _, x := range p.Externals {
		ok, failed := claims.MatchAll(x.Matchers, c)
		switch {
		case !p.Spec.Resolve.AcceptsExternalIdentities():
			tr.Add("external-identity", false, "%s: not looked at, because %s says resolve.externalIdentities: false", x.Name, p.Name)
		case ok:
			tr.Add("external-identity", true, "%s matches", x.Name)
		default:
			traceClaim(tr, x, failed, c)
		}
	}
}

func traceClaim(tr *identity.Trace, x *snapshot.ExternalIdentity, failed int, c map[string]any) {
	m := x.Matchers[failed]
	values, _, found := m.Path.Strings(c, 20)
	if !found {
		tr.Add("external-identity", false, "%s does not match: the token has no claim %s; change spec.claims[%d].path, or let the provider send it", x.Name, m.Path, failed)
		return
	}
	tr.Add("external-identity", false, "%s does not match: the claim %s is %q, and spec.claims[%d].anyOf asks for one of %q", x.Name, m.Path, values, failed, m.AnyOf)
}

// traceGroups says which teams the groups of somebody who is no user here give.
func traceGroups(tr *identity.Trace, p *snapshot.Provider, f *facts) {
	for _, t := range f.groupTeams {
		tr.Add("team", true, "team:%s (from a group of %s)", t, p.Name)
	}
	if len(f.groupTeams) == 0 {
		tr.Add("team", false, "no team: none of the groups %q is listed for %s under a team's spec.identityProviderGroups", f.groups, p.Name)
	}
}

// traceNobody says why a valid token is nobody.
func (r *resolution) traceNobody() {
	if r.tr == nil {
		return
	}
	res := r.p.Spec.Resolve
	r.tr.Add("principal", false, "the token is valid and matches nobody: resolve.users of %s is %s, no external identity of it matches, no virtual account maps it, and none of its groups is listed by a team",
		r.p.Name, res.Users)
	if r.f.email != "" && !r.f.emailTrusted && res.Users != "never" {
		r.tr.Add("principal", false, "the e-mail address %q was not used: its domain must be in spec.emailDomains and email_verified must be true (or spec.emailVerified: assumed)", r.f.email)
	}
}
