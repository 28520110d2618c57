package snapshot

import (
	"slices"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/claims"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Provider is an identity provider, ready to judge tokens.
type Provider struct {
	Name string
	UID  string
	// Version changes with every change of the resource; what was verified
	// under another version is verified again.
	Version string
	Spec    *v1.IdentityProviderSpec
	// Meta is the resource's metadata: its manager decides which files it may name.
	Manager string

	ClockSkew time.Duration
	MaxAge    time.Duration
	StaleFor  time.Duration

	Subject       []claims.Path
	SubjectWithin *claims.Path
	Email         []claims.Path
	EmailVerified []claims.Path
	Groups        []claims.Path
	ClientID      []claims.Path
	DisplayName   []claims.Path
	ClientToken   []claims.Matcher
	ClientUnless  []claims.Path

	// Externals are the external identities of this provider, by name.
	Externals []*ExternalIdentity
	// Mappings are the virtual accounts that this provider's tokens can be.
	Mappings []*Mapping
}

// IdentityIssuer is the issuer under which people of this provider are known.
func (p *Provider) IdentityIssuer() string {
	if p.Spec.Issuer != "" {
		return p.Spec.Issuer
	}
	return "urn:gatehouse:idp:" + p.UID
}

// ExternalIdentity is an external identity, ready to match.
type ExternalIdentity struct {
	Name     string
	Subject  identity.Subject
	Matchers []claims.Matcher
}

// VirtualAccount is an application's identity in a snapshot.
type VirtualAccount struct {
	Name     string
	UID      string
	Resource *v1.VirtualAccount
	// Principal is the account with its own tokens; nil limits for one that is
	// owned centrally.
	Principal *identity.Principal
	index     uint32
}

// Mapping recognises a virtual account by a token.
type Mapping struct {
	Account  *VirtualAccount
	ClientID string
	Matchers []claims.Matcher
}

// Provider finds an identity provider by name.
func (s *Snapshot) Provider(name string) (*Provider, bool) {
	p, ok := s.cfg.providers[name]
	return p, ok
}

// Providers lists the identity providers by name. Do not change the list.
func (s *Snapshot) Providers() []*Provider { return s.cfg.providerList }

// Candidates lists the providers that may judge a token with an iss: those
// that have it as their issuer; where none has, those without an issuer.
func (s *Snapshot) Candidates(iss string) []*Provider {
	if list, ok := s.cfg.byIssuer[iss]; ok && iss != "" {
		return list
	}
	return s.cfg.issuerless
}

// VirtualAccount finds a virtual account by name.
func (s *Snapshot) VirtualAccount(name string) (*VirtualAccount, bool) {
	v, ok := s.cfg.virtualAccounts[name]
	return v, ok
}

// VirtualAccounts walks over all virtual accounts.
func (s *Snapshot) VirtualAccounts(yield func(*VirtualAccount) bool) {
	for _, v := range s.cfg.virtualAccounts {
		if !yield(v) {
			return
		}
	}
}

func (c *compiler) paths(list v1.Strings) []claims.Path {
	var out []claims.Path
	for _, s := range list {
		p, err := claims.Parse(s)
		if err != nil {
			c.problemf("has the claim path %q: %v", s, err)
			continue
		}
		out = append(out, p)
	}
	return out
}

// matchers compiles claim matches. One that cannot be read matches nothing, so
// that a bad line never makes an identity easier to have.
func (c *compiler) matchers(list []v1.ClaimMatch) []claims.Matcher {
	var out []claims.Matcher
	for _, m := range list {
		p, err := claims.Parse(m.Path)
		if err != nil {
			c.problemf("has the claim path %q: %v; it matches nothing", m.Path, err)
			out = append(out, claims.Matcher{})
			continue
		}
		out = append(out, claims.Matcher{Path: p, AnyOf: m.AnyOf})
	}
	return out
}

func (c *compiler) provider(r *v1.IdentityProvider) {
	s := &r.Spec
	if s.Issuer == "" && s.Resolve.Users != v1.UsersNever && !(s.TrustUsers && r.Manager == v1.ManagerEnv) {
		c.problemf("has no issuer and therefore yields no users; set issuer")
		copied := *s
		copied.Resolve.Users = v1.UsersNever
		s = &copied
	}
	p := &Provider{
		Name: r.Name, UID: r.UID, Version: r.ResourceVersion, Manager: r.Manager, Spec: s,
		ClockSkew: s.ClockSkew.Std(), MaxAge: s.MaxAge.Std(), StaleFor: s.StaleFor.Std(),
		Subject: c.paths(s.Claims.Subject), Email: c.paths(s.Claims.Email), EmailVerified: c.paths(s.Claims.EmailVerified),
		Groups: c.paths(s.Claims.Groups), ClientID: c.paths(s.Claims.ClientID), DisplayName: c.paths(s.Claims.Name),
		ClientToken: c.matchers(s.ClientTokenWhen), ClientUnless: c.paths(s.ClientTokenUnless),
	}
	if s.Claims.SubjectWithin != "" {
		if within := c.paths(v1.Strings{s.Claims.SubjectWithin}); len(within) > 0 {
			p.SubjectWithin = &within[0]
		}
	}
	if p.guesses() {
		c.problemf("has a claim path that decides who somebody is and cannot be read; it accepts nothing")
		if s.Issuer != "" && c.cfg.byIssuer[s.Issuer] == nil {
			c.cfg.byIssuer[s.Issuer] = []*Provider{} // still claims its tokens, so that no provider without an issuer sees them
		}
		return
	}
	c.warn(s)
	c.cfg.providers[r.Name] = p
	c.cfg.providerList = append(c.cfg.providerList, p)
	if s.Issuer == "" {
		c.cfg.issuerless = append(c.cfg.issuerless, p)
	} else {
		c.cfg.byIssuer[s.Issuer] = append(c.cfg.byIssuer[s.Issuer], p)
	}
}

// guesses reports whether a path is missing without which a token would be
// taken for more than it is: another subject, a verified e-mail address, the
// client's own.
func (p *Provider) guesses() bool {
	c := &p.Spec.Claims
	return len(p.Subject) < len(c.Subject) || len(p.EmailVerified) < len(c.EmailVerified) ||
		(p.SubjectWithin == nil) != (c.SubjectWithin == "") || len(p.ClientUnless) < len(p.Spec.ClientTokenUnless)
}

// warn reports settings that trust more than is wise.
func (c *compiler) warn(s *v1.IdentityProviderSpec) {
	if s.InsecureSkipAudience {
		c.problemf("accepts tokens that were made for any audience (insecureSkipAudience); set audiences")
	}
	if s.Issuer == "" {
		c.problemf("has no issuer and trusts signatures alone; set issuer")
	}
	if slices.Contains(s.EmailDomains, "*") {
		c.problemf("may speak for e-mail addresses of any domain (emailDomains: [\"*\"]); name the domains")
	}
}

func (c *compiler) externalIdentity(r *v1.ExternalIdentity) {
	p, ok := c.cfg.providers[r.Spec.IdentityProvider]
	if !ok {
		c.problemf("names the identity provider %q, which does not exist; it matches nothing", r.Spec.IdentityProvider)
		return
	}
	if len(r.Spec.Claims) == 0 && p.Spec.InsecureSkipAudience {
		c.problemf("has no claims, and its provider accepts tokens for any audience: everybody who has any token of the issuer is this identity; add claims, or audiences to the provider")
	}
	x := &ExternalIdentity{Name: r.Name, Subject: identity.ExternalIdentitySubject(r.Name), Matchers: c.matchers(r.Spec.Claims)}
	p.Externals = append(p.Externals, x)
}

func (c *compiler) virtualAccount(r *v1.VirtualAccount) {
	above := c.cfg.tenant
	var limit []identity.Subject
	if team := r.Spec.Team; team != "" {
		above = c.target(identity.KindRef(v1.KindTeam, team), c.cfg.tenant)
		limit = []identity.Subject{identity.TeamSubject(team), identity.Everyone}
		if _, ok := c.cfg.teams[team]; !ok {
			c.problemf("is owned by the team %q, which does not exist; it may do nothing", team)
			limit = []identity.Subject{}
		}
	}
	who := identity.VirtualAccountSubject(r.Name)
	// Another account's access may have named this one before its team was known.
	c.target(identity.KindRef(v1.KindVirtualAccount, r.Name), above).Above = above
	for _, a := range r.Spec.Access {
		if t := c.granted(a.Resource); t != nil {
			c.grant(t, who, a.Role, 0)
		}
	}
	v := &VirtualAccount{Name: r.Name, UID: r.UID, Resource: r}
	v.Principal = c.virtualAccountPrincipal(v, who, limit)
	c.cfg.virtualAccounts[r.Name] = v
	c.digests(v)
	c.mappings(v)
}

// digests takes in the tokens that a manifest knows by digest. One that two
// accounts name is nobody's: otherwise one could take the other's callers.
func (c *compiler) digests(v *VirtualAccount) {
	for _, d := range v.Resource.Spec.Tokens {
		digest, ok := identity.ParseDigest(d.Digest)
		if !ok || d.ExpiresAt == nil {
			continue
		}
		t := Token{
			Kind: identity.TokenVirtualAccount, ID: "digest-" + d.Digest[len("sha256:"):len("sha256:")+12],
			Owner: &Owner{VirtualAccount: v}, ExpiresAt: d.ExpiresAt.UTC(),
		}
		if other, taken := c.cfg.digests[digest]; taken && (other.Owner == nil || other.Owner.VirtualAccount != v) {
			c.problemf("names the token %s, which another virtual account names too; it is refused", t.ID)
			t.Owner = nil
		}
		c.cfg.digests[digest] = t
	}
}

func (c *compiler) mappings(v *VirtualAccount) {
	for _, m := range v.Resource.Spec.IdentityProviderMappings {
		p, ok := c.cfg.providers[m.IdentityProvider]
		if !ok {
			c.problemf("names the identity provider %q, which does not exist; it matches nothing", m.IdentityProvider)
			continue
		}
		p.Mappings = append(p.Mappings, &Mapping{Account: v, ClientID: m.ClientID, Matchers: c.matchers(m.Claims)})
	}
}

// virtualAccountPrincipal interns the subjects even where nothing is granted to
// them: an owner without any grant is a limit of nothing, not no limit.
func (c *compiler) virtualAccountPrincipal(v *VirtualAccount, who identity.Subject, limit []identity.Subject) *identity.Principal {
	p := &identity.Principal{
		Kind: identity.KindVirtualAccount, UID: v.UID, Name: v.Name,
		Subjects: []identity.Subject{who}, SubjectIDs: []uint32{c.subject(who)},
	}
	if limit != nil {
		p.LimitIDs = []uint32{}
		for _, l := range limit {
			p.LimitIDs = append(p.LimitIDs, c.subject(l))
		}
		slices.Sort(p.LimitIDs)
		p.Teams = []string{v.Resource.Spec.Team}
		p.DefaultTeam = v.Resource.Spec.Team
	}
	return p
}
