package v1

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// IdentityProvider is an issuer of tokens that callers already have: Keycloak,
// Okta, Entra ID, Auth0, Google, or any other that signs JWTs.
type IdentityProvider struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       IdentityProviderSpec `json:"spec"`
}

// Preset fills in what is usual for one product.
type Preset string

// The presets.
const (
	PresetCustom   Preset = "custom"
	PresetKeycloak Preset = "keycloak"
	PresetOkta     Preset = "okta"
	PresetEntra    Preset = "entra"
	PresetAuth0    Preset = "auth0"
	PresetGoogle   Preset = "google"
)

// ResolveUsers says what happens to a token that names a person.
type ResolveUsers string

// The ways.
const (
	// UsersNever: the provider's people are external identities only. The default.
	UsersNever ResolveUsers = "never"
	// UsersExisting: a person must exist already.
	UsersExisting ResolveUsers = "existing"
	// UsersCreate: a person is created at the first token.
	UsersCreate ResolveUsers = "create"
)

// The closed words of an identity provider's settings.
const (
	LinkByNone  = ""
	LinkByEmail = "email"

	EmailVerifiedRequired = "required"
	EmailVerifiedAssumed  = "assumed"

	TokenTypeAccess = "access"
	TokenTypeID     = "id"
)

// IdentityProviderSpec says how tokens of the provider are verified and what
// they mean.
type IdentityProviderSpec struct {
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Preset fills in what is usual: keycloak, okta, entra, auth0, google or
	// custom. Default custom.
	Preset Preset `json:"preset,omitempty"`
	// Issuer must equal the token's iss exactly. Its discovery document gives
	// the keys unless jwksURLs or jwks do. Without an issuer, trust rests on
	// the signature alone, which warns at every start.
	Issuer string `json:"issuer,omitempty"`
	// JWKSURLs give the keys instead of the discovery document (RFC 7517).
	JWKSURLs Strings `json:"jwksURLs,omitempty"`
	// JWKS holds the keys inline, {keys: […]}.
	JWKS json.RawMessage `json:"jwks,omitempty"`
	// Audiences: one of them must be in the token's aud (RFC 7519, 4.1.3).
	// Required unless insecureSkipAudience is true.
	Audiences Strings `json:"audiences,omitempty"`
	// InsecureSkipAudience accepts tokens made for any audience. Warns at every start.
	InsecureSkipAudience bool `json:"insecureSkipAudience,omitempty"`
	// AudienceFrom names claims (client_id, azp) that stand in for aud in a
	// token that has none.
	AudienceFrom Strings `json:"audienceFrom,omitempty"`
	// Algorithms are the accepted signature algorithms (RFC 7518, 3.1; RFC
	// 8037). Default: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384,
	// ES512, EdDSA. Never none, never HMAC.
	Algorithms Strings `json:"algorithms,omitzero"`
	// ClockSkew is the tolerated difference of clocks. Default 30s, at most 5m.
	ClockSkew Duration `json:"clockSkew,omitempty"`
	// MaxAge refuses tokens issued longer ago, whatever their exp. Default none.
	MaxAge Duration `json:"maxAge,omitempty"`
	// TokenType is access or id. Default access (id with the google preset).
	TokenType string `json:"tokenType,omitempty"`
	// Claims say where things stand in the token.
	Claims ClaimMapping `json:"claims,omitzero"`
	// ClientTokenWhen: a token whose claims all match is the client's own and
	// not a person's. In any case a token is when its subject is the client id.
	ClientTokenWhen []ClaimMatch `json:"clientTokenWhen,omitzero"`
	// ClientTokenUnless: a token that carries any of these claims is a person's
	// (sid with the keycloak preset).
	ClientTokenUnless Strings `json:"clientTokenUnless,omitzero"`
	// LinkBy: email finds an existing user by a verified e-mail address.
	// Default: by (issuer, sub) alone.
	LinkBy string `json:"linkBy,omitempty"`
	// EmailDomains are the domains for which this provider may speak; ["*"] is
	// any, and warns. Required for linkBy: email and for users: create.
	EmailDomains Strings `json:"emailDomains,omitempty"`
	// EmailVerified: required asks for email_verified: true, assumed takes a
	// missing one as true. Default required.
	EmailVerified string `json:"emailVerified,omitempty"`
	// Resolve says what a token of this provider can become.
	Resolve Resolve `json:"resolve,omitzero"`
	// StaleFor is how long the last good keys are used while the provider
	// cannot be reached. Default 24h, at most 7d.
	StaleFor Duration `json:"staleFor,omitempty"`
	// CACert is trusted for this provider alone.
	CACert *CACert `json:"caCert,omitempty"`
	// InsecureHTTP allows plain-http URLs that are not loopback.
	InsecureHTTP bool `json:"insecureHTTP,omitempty"`
	// AllowPrivateNetwork allows URLs in private address ranges.
	AllowPrivateNetwork bool `json:"allowPrivateNetwork,omitempty"`
	// Config is the short shape {jwks_uri, issuer, audience}; it is normalised
	// into issuer, jwksURLs and audiences, and written without them.
	Config *IdentityProviderConfig `json:"config,omitempty"`
	// TrustUsers lets a provider without an issuer yield users. It is set for
	// the entries of OIDC_CONFIG_FILE_PATH, where that is what was asked for.
	TrustUsers bool `json:"trustUsers,omitempty"`
}

// IdentityProviderConfig is a shape that other gateways use.
type IdentityProviderConfig struct {
	// JWKSURI becomes jwksURLs.
	JWKSURI string `json:"jwks_uri,omitempty"`
	// Issuer becomes issuer.
	Issuer string `json:"issuer,omitempty"`
	// Audience becomes audiences; without one the audience is not checked.
	Audience Strings `json:"audience,omitempty"`
}

// ClaimMapping says where things stand in the token: a claim's name, or a JSON
// Pointer when it starts with "/"; several are tried in order.
type ClaimMapping struct {
	// Subject is who it is. Default sub. A token without one is refused.
	Subject Strings `json:"subject,omitzero"`
	// SubjectWithin is put before the subject with a slash between, where
	// subjects are unique only within it (Entra's tid).
	SubjectWithin string `json:"subjectWithin,omitempty"`
	// Email is the e-mail address. Default email.
	Email Strings `json:"email,omitzero"`
	// EmailVerified says whether the address is verified. Default email_verified.
	EmailVerified Strings `json:"emailVerified,omitzero"`
	// Groups are the group names. Default groups.
	Groups Strings `json:"groups,omitzero"`
	// ClientID is the OAuth client. Default azp, client_id.
	ClientID Strings `json:"clientId,omitzero"`
	// Name is the display name. Default name.
	Name Strings `json:"name,omitzero"`
}

// Resolve says what a token can become.
type Resolve struct {
	// Users is never, existing or create. Default never.
	Users ResolveUsers `json:"users,omitempty"`
	// VirtualAccounts: whether mappings of virtual accounts apply. Default true.
	VirtualAccounts *bool `json:"virtualAccounts,omitempty"`
	// ExternalIdentities: whether external identities apply. Default true.
	ExternalIdentities *bool `json:"externalIdentities,omitempty"`
}

// SignatureAlgorithms are the JWS algorithms that can be accepted at all.
func SignatureAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

func (p *IdentityProvider) Type() *TypeMeta        { return &p.TypeMeta }
func (p *IdentityProvider) Meta() *ObjectMeta      { return &p.ObjectMeta }
func (p *IdentityProvider) Secrets() []SecretField { return nil }

// Default normalises the short shape and fills in preset and defaults.
func (p *IdentityProvider) Default() {
	s := &p.Spec
	// In two shapes at once one would win unseen: Validate refuses that.
	if c := s.Config; c != nil && s.Issuer == "" && len(s.JWKSURLs)+len(s.JWKS)+len(s.Audiences) == 0 {
		if c.JWKSURI != "" {
			s.JWKSURLs = Strings{c.JWKSURI}
		}
		s.Issuer, s.Audiences = c.Issuer, c.Audience
		s.InsecureSkipAudience = s.InsecureSkipAudience || len(s.Audiences) == 0
		s.Config = nil
	}
	p.applyPreset()
	setDefault(&s.Preset, PresetCustom)
	setDefault(&s.ClockSkew, "30s")
	setDefault(&s.TokenType, TokenTypeAccess)
	setDefault(&s.StaleFor, "24h")
	setDefault(&s.EmailVerified, EmailVerifiedRequired)
	setDefault(&s.Resolve.Users, UsersNever)
	setDefaultList(&s.Algorithms, SignatureAlgorithms()...)
	c := &s.Claims
	setDefaultList(&c.Subject, "sub")
	setDefaultList(&c.Email, "email")
	setDefaultList(&c.EmailVerified, "email_verified")
	setDefaultList(&c.Groups, "groups")
	setDefaultList(&c.ClientID, "azp", "client_id")
	setDefaultList(&c.Name, "name")
	for i, d := range s.EmailDomains {
		s.EmailDomains[i] = lower(d)
	}
}

func (p *IdentityProvider) applyPreset() {
	s := &p.Spec
	client := func(path, value string) {
		if s.ClientTokenWhen == nil {
			s.ClientTokenWhen = []ClaimMatch{{Path: path, AnyOf: Strings{value}}}
		}
	}
	switch s.Preset {
	case PresetEntra:
		if s.Claims.Subject == nil {
			s.Claims.Subject = Strings{"oid"}
			setDefault(&s.Claims.SubjectWithin, "tid")
		}
		setDefaultList(&s.Claims.EmailVerified, "xms_edov", "email_verified")
		setDefaultList(&s.Claims.ClientID, "azp", "appid")
		client("idtyp", "app")
	case PresetAuth0:
		client("gty", "client-credentials")
	case PresetOkta:
		setDefaultList(&s.Claims.ClientID, "cid", "azp")
	case PresetKeycloak:
		client("preferred_username", "service-account-*")
		setDefaultList(&s.ClientTokenUnless, "sid")
	case PresetGoogle:
		setDefault(&s.TokenType, TokenTypeID)
		setDefault(&s.Issuer, "https://accounts.google.com")
	}
}

func setDefault[T ~string](v *T, def T) {
	if *v == "" {
		*v = def
	}
}

func setDefaultList(v *Strings, def ...string) {
	if *v == nil {
		*v = slices.Clone(def)
	}
}

// Validate reports everything that is wrong with the provider.
func (p *IdentityProvider) Validate() FieldErrors {
	errs := validateMeta(KindIdentityProvider, p.TypeMeta, p.ObjectMeta)
	s := &p.Spec
	oneOf(&errs, "spec.preset", s.Preset, PresetCustom, PresetKeycloak, PresetOkta, PresetEntra, PresetAuth0, PresetGoogle)
	if s.Config != nil {
		errs.addf("spec.config", "is the short shape; write it without issuer, jwksURLs, jwks and audiences, or write these alone")
	}
	p.validateKeys(&errs)
	p.validateAudience(&errs)
	if len(s.Algorithms) == 0 {
		errs.addf("spec.algorithms", "name at least one, or leave it out")
	}
	for i, a := range s.Algorithms {
		oneOf(&errs, index("spec.algorithms", i), a, SignatureAlgorithms()...)
	}
	errs.duration("spec.clockSkew", s.ClockSkew, 0, 5*time.Minute)
	errs.duration("spec.maxAge", s.MaxAge, time.Second, 365*24*time.Hour)
	errs.duration("spec.staleFor", s.StaleFor, time.Minute, 7*24*time.Hour)
	oneOf(&errs, "spec.tokenType", s.TokenType, TokenTypeAccess, TokenTypeID)
	p.validateClaims(&errs)
	p.validatePeople(&errs)
	errs.caCert("spec.caCert", s.CACert)
	return errs
}

func (p *IdentityProvider) validateKeys(errs *FieldErrors) {
	s := &p.Spec
	if s.Issuer == "" && len(s.JWKSURLs) == 0 && len(s.JWKS) == 0 {
		errs.addf("spec.issuer", "is required; or give jwksURLs or jwks")
	}
	if s.Issuer != "" {
		errs.url("spec.issuer", s.Issuer, s.InsecureHTTP)
	}
	if len(s.JWKSURLs) > 0 && len(s.JWKS) > 0 {
		errs.addf("spec.jwks", "use jwksURLs or jwks, not both")
	}
	if len(s.JWKSURLs) > 8 {
		errs.addf("spec.jwksURLs", "at most 8")
	}
	for i, u := range s.JWKSURLs {
		errs.url(index("spec.jwksURLs", i), u, s.InsecureHTTP)
	}
	if len(s.JWKS) > 0 {
		errs.keySet("spec.jwks", s.JWKS)
	}
}

// keySet checks a JWK Set (RFC 7517, 5), of whose members kty alone is required.
func (e *FieldErrors) keySet(path string, raw json.RawMessage) {
	var set struct {
		Keys []struct {
			Type string `json:"kty"`
		} `json:"keys"`
	}
	if json.Unmarshal(raw, &set) != nil || len(set.Keys) == 0 {
		e.addf(path, "must be {keys: […]} with at least one key")
	}
	for i, k := range set.Keys {
		if k.Type == "" {
			e.addf(index(path+".keys", i), "is not a key: it has no kty (RFC 7517, 4.1)")
		}
	}
}

func (p *IdentityProvider) validateAudience(errs *FieldErrors) {
	s := &p.Spec
	switch {
	case len(s.Audiences) == 0 && !s.InsecureSkipAudience:
		errs.addf("spec.audiences", "is required: the audience that the provider puts in tokens for Gatehouse; or say insecureSkipAudience: true")
	case len(s.Audiences) > 0 && s.InsecureSkipAudience:
		errs.addf("spec.insecureSkipAudience", "contradicts audiences; remove one")
	}
	for i, a := range s.Audiences {
		if a == "" {
			errs.addf(index("spec.audiences", i), "must not be empty")
		}
	}
	for i, c := range s.AudienceFrom {
		oneOf(errs, index("spec.audienceFrom", i), c, "client_id", "azp")
	}
}

func (p *IdentityProvider) validateClaims(errs *FieldErrors) {
	c := &p.Spec.Claims
	for _, f := range []struct {
		name string
		list Strings
	}{{"subject", c.Subject}, {"email", c.Email}, {"emailVerified", c.EmailVerified}, {"groups", c.Groups}, {"clientId", c.ClientID}, {"name", c.Name}} {
		path := "spec.claims." + f.name
		if f.list != nil && len(f.list) == 0 && f.name == "subject" {
			errs.addf(path, "name at least one claim")
		}
		for i, s := range f.list {
			errs.claimPath(index(path, i), s)
		}
	}
	if c.SubjectWithin != "" {
		errs.claimPath("spec.claims.subjectWithin", c.SubjectWithin)
	}
	errs.claimMatches("spec.clientTokenWhen", p.Spec.ClientTokenWhen)
	for i, s := range p.Spec.ClientTokenUnless {
		errs.claimPath(index("spec.clientTokenUnless", i), s)
	}
}

func (p *IdentityProvider) validatePeople(errs *FieldErrors) {
	s := &p.Spec
	oneOf(errs, "spec.linkBy", s.LinkBy, LinkByNone, LinkByEmail)
	oneOf(errs, "spec.emailVerified", s.EmailVerified, EmailVerifiedRequired, EmailVerifiedAssumed)
	oneOf(errs, "spec.resolve.users", s.Resolve.Users, UsersNever, UsersExisting, UsersCreate)
	if len(s.EmailDomains) == 0 && s.LinkBy == LinkByEmail {
		errs.addf("spec.emailDomains", "is required with linkBy: email; name the domains for which this provider may speak")
	}
	if len(s.EmailDomains) == 0 && s.Resolve.Users == UsersCreate {
		errs.addf("spec.emailDomains", "is required with resolve.users: create; name the domains for which this provider may speak")
	}
	if s.Preset == PresetEntra && s.EmailVerified == EmailVerifiedAssumed {
		errs.addf("spec.emailVerified", "Entra's e-mail claim can be set by anybody; it is never assumed to be verified")
	}
	for i, d := range s.EmailDomains {
		switch {
		case !isASCII(d):
			errs.addf(index("spec.emailDomains", i), "%q: %s", d, idnaForm)
		case d != "*" && (!strings.Contains(d, ".") || strings.ContainsAny(d, "@*/ ")):
			errs.addf(index("spec.emailDomains", i), "%q is not a domain; write it like acme.com, or * for any", d)
		}
	}
	if s.Issuer == "" && s.Resolve.Users != UsersNever && !s.TrustUsers {
		errs.addf("spec.resolve.users", "a provider without an issuer cannot vouch for users; set issuer")
	}
}

// AcceptsVirtualAccounts reports whether mappings of virtual accounts apply.
func (r Resolve) AcceptsVirtualAccounts() bool { return r.VirtualAccounts == nil || *r.VirtualAccounts }

// AcceptsExternalIdentities reports whether external identities apply.
func (r Resolve) AcceptsExternalIdentities() bool {
	return r.ExternalIdentities == nil || *r.ExternalIdentities
}
