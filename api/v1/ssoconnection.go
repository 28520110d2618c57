package v1

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// SsoConnection lets people sign in to the console and to Gatehouse's own
// authorization server by an identity provider, with OpenID Connect or SAML 2.0.
// No domain may belong to two connections that are enabled; that is looked at
// when the connection is applied, where the others are known. Its status shows
// what is to be entered at the identity provider.
type SsoConnection struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       SsoConnectionSpec `json:"spec"`
	// Status is set by Gatehouse where it answers; it is never stored.
	Status *SsoConnectionStatus `json:"status,omitempty"`
}

// The closed words of a connection's settings.
const (
	SsoOIDC = "oidc"
	SsoSAML = "saml"

	TokenAuthBasic = "client_secret_basic"
	TokenAuthPost  = "client_secret_post"
	TokenAuthNone  = "none"

	EncryptionOff      = "off"
	EncryptionOptional = "optional"
	EncryptionRequired = "required"
)

// SsoConnectionSpec says how people sign in and what their sign-in means.
type SsoConnectionSpec struct {
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Enabled puts the connection on the sign-in page. Default false: a new
	// connection shows what the identity provider must be told, is filled in,
	// tried, and then enabled. One that is not enabled may be incomplete.
	Enabled bool `json:"enabled,omitempty"`
	// DisplayName stands on the sign-in page's button. Default: the name.
	DisplayName string `json:"displayName,omitempty"`
	// Provider fills in what is usual: okta, google, entra, keycloak or
	// custom. Default custom.
	Provider Preset `json:"provider,omitempty"`
	// Protocol is oidc or saml. Default oidc.
	Protocol string `json:"protocol,omitempty"`
	// Domains are e-mail domains: who types such an address on the sign-in
	// page is sent here. They decide nothing else.
	Domains Strings `json:"domains,omitempty"`
	// OIDC is the provider, with protocol: oidc.
	OIDC *SsoOpenID `json:"oidc,omitempty"`
	// SAML is the provider, with protocol: saml.
	SAML *SsoSaml `json:"saml,omitempty"`
	// Claims say where things stand in the ID token and the userinfo answer, or
	// which SAML attributes hold them; the SAML NameID is sub.
	Claims SsoClaims `json:"claims,omitzero"`
	// LinkBy: email finds an existing user by a verified e-mail address.
	// Default: by (issuer, sub) alone.
	LinkBy string `json:"linkBy,omitempty"`
	// EmailDomains are the domains for which this provider may speak; ["*"] is
	// any, and warns. Required for linkBy: email and for users: create.
	EmailDomains Strings `json:"emailDomains,omitempty"`
	// EmailVerified: required asks for email_verified: true, assumed takes a
	// missing one as true. Default required; assumed with SAML, where nothing
	// says it, but not with the entra preset.
	EmailVerified string `json:"emailVerified,omitempty"`
	// Users is never, existing or create: whether somebody who is not a user
	// yet becomes one. Default existing.
	Users ResolveUsers `json:"users,omitempty"`
	// Require holds people to how they prove who they are.
	Require SsoRequire `json:"require,omitzero"`
	// Sessions says how long a sign-in lasts.
	Sessions SsoSessions `json:"sessions,omitzero"`
	// CACert is trusted for this provider alone.
	CACert *CACert `json:"caCert,omitempty"`
	// InsecureHTTP allows plain-http URLs that are not loopback.
	InsecureHTTP bool `json:"insecureHTTP,omitempty"`
	// AllowPrivateNetwork allows URLs in private address ranges.
	AllowPrivateNetwork bool `json:"allowPrivateNetwork,omitempty"`
}

// SsoOpenID is an OpenID provider (OpenID Connect Core 1.0). Sign-in is always
// by authorization code with PKCE S256, state and nonce.
type SsoOpenID struct {
	// Issuer must equal the ID token's iss exactly. Its discovery document
	// gives the endpoints unless they are named here.
	Issuer string `json:"issuer,omitempty"`
	// AuthorizationEndpoint is where browsers are sent. It, tokenEndpoint and
	// jwksURL replace the discovery document: all three or none.
	AuthorizationEndpoint string `json:"authorizationEndpoint,omitempty"`
	// TokenEndpoint is where a code becomes tokens.
	TokenEndpoint string `json:"tokenEndpoint,omitempty"`
	// JWKSURL gives the keys of ID tokens and logout tokens (RFC 7517).
	JWKSURL string `json:"jwksURL,omitempty"`
	// UserinfoEndpoint is asked where the ID token lacks mapped claims.
	UserinfoEndpoint string `json:"userinfoEndpoint,omitempty"`
	// EndSessionEndpoint is where a sign-out leads (RP-Initiated Logout 1.0).
	EndSessionEndpoint string `json:"endSessionEndpoint,omitempty"`
	// ClientID is Gatehouse's client at the provider.
	ClientID string `json:"clientId,omitempty"`
	// ClientSecret is that client's secret. It stays with its destination: a
	// change of the issuer or an endpoint needs it again.
	ClientSecret *SecretValue `json:"clientSecret,omitempty"`
	// TokenEndpointAuth is how the client proves itself: client_secret_basic,
	// client_secret_post or none. Default client_secret_basic.
	TokenEndpointAuth string `json:"tokenEndpointAuth,omitempty"`
	// Scopes are asked for. Default openid, profile, email; openid must be there.
	Scopes Strings `json:"scopes,omitzero"`
	// Algorithms are the accepted signature algorithms of ID tokens and logout
	// tokens. Default: as for an IdentityProvider. Never none, never HMAC.
	Algorithms Strings `json:"algorithms,omitzero"`
}

// SsoSaml is a SAML 2.0 identity provider: by its metadata, or by hand.
type SsoSaml struct {
	// MetadataURL is fetched and refreshed.
	MetadataURL string `json:"metadataURL,omitempty"`
	// MetadataXML is the metadata document itself.
	MetadataXML string `json:"metadataXML,omitempty"`
	// EntityID is the identity provider's; with metadata it picks one of several.
	EntityID string `json:"entityId,omitempty"`
	// SSOURL is the identity provider's sign-in address (HTTP-Redirect
	// binding), where there is no metadata.
	SSOURL string `json:"ssoURL,omitempty"`
	// SLOURL is its single logout address (HTTP-Redirect binding), where there
	// is no metadata. Default none: a sign-out ends the session here alone.
	SLOURL string `json:"sloURL,omitempty"`
	// Certificates verify the identity provider's signatures (PEM), where there
	// is no metadata.
	Certificates Strings `json:"certificates,omitempty"`
	// SignRequests signs our AuthnRequests. Default true.
	SignRequests *bool `json:"signRequests,omitempty"`
	// AllowIdpInitiated accepts sign-ins that the identity provider starts,
	// which nothing ties to this browser. Default false.
	AllowIdpInitiated bool `json:"allowIdpInitiated,omitempty"`
	// Encryption of assertions is off, optional or required. Default optional.
	Encryption string `json:"encryption,omitempty"`
	// NameIDFormat is asked for. Default none: the identity provider's choice.
	NameIDFormat string `json:"nameIdFormat,omitempty"`
}

// SsoClaims say where things stand: a claim's (or SAML attribute's) name, or a
// JSON Pointer when it starts with "/"; several are tried in order.
type SsoClaims struct {
	// Subject is who it is. Default sub.
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
	// Name is the display name. Default name.
	Name Strings `json:"name,omitzero"`
}

// SsoRequire holds people to how they prove who they are.
type SsoRequire struct {
	// ACRValues are asked for (acr_values; SAML: RequestedAuthnContext), and
	// one of them must be in the answer.
	ACRValues Strings `json:"acrValues,omitempty"`
	// AMR: one of these methods must be in the ID token's amr (RFC 8176). With
	// OpenID Connect alone.
	AMR Strings `json:"amr,omitempty"`
	// MaxAge is how long ago the person may have proven who they are. Default
	// none.
	MaxAge Duration `json:"maxAge,omitempty"`
}

// SsoSessions says how long a sign-in lasts.
type SsoSessions struct {
	// Idle ends a session that nothing has used for so long. Default 8h.
	Idle Duration `json:"idle,omitempty"`
	// Absolute ends a session so long after its sign-in. Default 7d.
	Absolute Duration `json:"absolute,omitempty"`
}

func (c *SsoConnection) Type() *TypeMeta   { return &c.TypeMeta }
func (c *SsoConnection) Meta() *ObjectMeta { return &c.ObjectMeta }

// Secrets lists the client secret. Where it is sent is every address that the
// token request could go to: the token endpoint, or whoever the issuer's
// discovery document names.
func (c *SsoConnection) Secrets() []SecretField {
	o := c.Spec.OIDC
	if o == nil || o.ClientSecret == nil {
		return nil
	}
	ca := CACert{}
	if c.Spec.CACert != nil {
		ca = *c.Spec.CACert
	}
	return []SecretField{{Path: "spec.oidc.clientSecret", Value: o.ClientSecret, Destination: destination(
		o.Issuer, o.TokenEndpoint, o.ClientID, ca.File, ca.PEM, strconv.FormatBool(c.Spec.InsecureHTTP), strconv.FormatBool(c.Spec.AllowPrivateNetwork))}}
}

// SignsRequests reports whether our AuthnRequests are signed.
func (s *SsoSaml) SignsRequests() bool { return s.SignRequests == nil || *s.SignRequests }

// Title is how the connection is called on pages.
func (c *SsoConnection) Title() string {
	if c.Spec.DisplayName != "" {
		return c.Spec.DisplayName
	}
	return c.Name
}

// Default fills in preset and defaults.
func (c *SsoConnection) Default() {
	s := &c.Spec
	setDefault(&s.Provider, PresetCustom)
	setDefault(&s.Protocol, SsoOIDC)
	setDefault(&s.Users, UsersExisting)
	setDefault(&s.Sessions.Idle, "8h")
	setDefault(&s.Sessions.Absolute, "7d")
	if s.Protocol == SsoSAML && s.Provider != PresetEntra {
		setDefault(&s.EmailVerified, EmailVerifiedAssumed)
	}
	setDefault(&s.EmailVerified, EmailVerifiedRequired)
	if o := s.OIDC; o != nil {
		if s.Provider == PresetGoogle {
			setDefault(&o.Issuer, "https://accounts.google.com")
		}
		setDefault(&o.TokenEndpointAuth, TokenAuthBasic)
		setDefaultList(&o.Scopes, "openid", "profile", "email")
		setDefaultList(&o.Algorithms, SignatureAlgorithms()...)
	}
	if s.SAML != nil {
		setDefault(&s.SAML.Encryption, EncryptionOptional)
	}
	c.defaultClaims()
	for _, list := range []Strings{s.Domains, s.EmailDomains} {
		for i, d := range list {
			list[i] = lower(d)
		}
	}
}

// defaultClaims: what the products call things. Of Entra's claims only the
// object id within its tenant names a person for good (sub differs from client
// to client).
func (c *SsoConnection) defaultClaims() {
	s, m := &c.Spec, &c.Spec.Claims
	switch {
	case s.Provider == PresetEntra && s.Protocol == SsoSAML:
		const microsoft, soap = "http://schemas.microsoft.com/", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
		if m.Subject == nil {
			m.Subject = Strings{microsoft + "identity/claims/objectidentifier"}
			setDefault(&m.SubjectWithin, microsoft+"identity/claims/tenantid")
		}
		setDefaultList(&m.Email, soap+"emailaddress")
		setDefaultList(&m.Groups, microsoft+"ws/2008/06/identity/claims/groups")
		setDefaultList(&m.Name, microsoft+"identity/claims/displayname")
	case s.Provider == PresetEntra:
		if m.Subject == nil {
			m.Subject = Strings{"oid"}
			setDefault(&m.SubjectWithin, "tid")
		}
		setDefaultList(&m.EmailVerified, "xms_edov", "email_verified")
	case s.Protocol == SsoSAML: // what administrators type in, and the X.500 profile's names
		setDefaultList(&m.Email, "email", "mail", "urn:oid:1.2.840.113549.1.9.1", "urn:oid:0.9.2342.19200300.100.1.3")
		setDefaultList(&m.Groups, "groups", "member", "urn:oid:1.3.6.1.4.1.5923.1.5.1.1")
		setDefaultList(&m.Name, "name", "displayName", "urn:oid:2.16.840.1.113730.3.1.241")
	}
	setDefaultList(&m.Subject, "sub")
	setDefaultList(&m.Email, "email")
	setDefaultList(&m.EmailVerified, "email_verified")
	setDefaultList(&m.Groups, "groups")
	setDefaultList(&m.Name, "name")
}

// Validate reports everything that is wrong with the connection. What is
// missing is wrong only where it is enabled.
func (c *SsoConnection) Validate() FieldErrors {
	errs := validateMeta(KindSsoConnection, c.TypeMeta, c.ObjectMeta)
	s := &c.Spec
	if c.Name == "break-glass" {
		errs.addf("metadata.name", "break-glass is the local administrator; choose another name")
	}
	if len(s.DisplayName) > 64 {
		errs.addf("spec.displayName", "is longer than 64 bytes")
	}
	oneOf(&errs, "spec.provider", s.Provider, PresetCustom, PresetKeycloak, PresetOkta, PresetEntra, PresetGoogle)
	oneOf(&errs, "spec.protocol", s.Protocol, SsoOIDC, SsoSAML)
	if s.OIDC != nil && s.Protocol == SsoSAML {
		errs.addf("spec.oidc", "goes with protocol: oidc")
	}
	if s.SAML != nil && s.Protocol == SsoOIDC {
		errs.addf("spec.saml", "goes with protocol: saml")
	}
	if s.Protocol == SsoSAML {
		c.validateSAML(&errs)
	} else {
		c.validateOIDC(&errs)
	}
	c.validateClaims(&errs)
	c.validatePeople(&errs)
	errs.caCert("spec.caCert", s.CACert)
	return errs
}

func (c *SsoConnection) validateOIDC(errs *FieldErrors) {
	o := c.Spec.OIDC
	if o == nil {
		if c.Spec.Enabled {
			errs.addf("spec.oidc", "is required: issuer and clientId")
		}
		return
	}
	manual := []struct{ name, url string }{
		{"authorizationEndpoint", o.AuthorizationEndpoint}, {"tokenEndpoint", o.TokenEndpoint}, {"jwksURL", o.JWKSURL},
	}
	byHand := o.AuthorizationEndpoint != "" || o.TokenEndpoint != "" || o.JWKSURL != ""
	for _, f := range manual {
		if byHand && f.url == "" {
			errs.addf("spec.oidc."+f.name, "is required where another endpoint replaces the discovery document")
		}
	}
	for _, f := range append(manual, []struct{ name, url string }{
		{"issuer", o.Issuer}, {"userinfoEndpoint", o.UserinfoEndpoint}, {"endSessionEndpoint", o.EndSessionEndpoint},
	}...) {
		if f.url != "" {
			errs.url("spec.oidc."+f.name, f.url, c.Spec.InsecureHTTP)
		}
	}
	if strings.Contains(o.Issuer, "?") {
		errs.addf("spec.oidc.issuer", "must not have a query")
	}
	c.validateClient(errs, o)
}

func (c *SsoConnection) validateClient(errs *FieldErrors, o *SsoOpenID) {
	if c.Spec.Enabled && o.Issuer == "" {
		errs.addf("spec.oidc.issuer", "is required, with endpoints by hand too: the ID token's iss is compared with it")
	}
	if c.Spec.Enabled && o.ClientID == "" {
		errs.addf("spec.oidc.clientId", "is required")
	}
	oneOf(errs, "spec.oidc.tokenEndpointAuth", o.TokenEndpointAuth, TokenAuthBasic, TokenAuthPost, TokenAuthNone)
	switch {
	case o.TokenEndpointAuth == TokenAuthNone && o.ClientSecret != nil:
		errs.addf("spec.oidc.clientSecret", "is not used with tokenEndpointAuth: none; remove one")
	case o.TokenEndpointAuth != TokenAuthNone && o.ClientSecret == nil && c.Spec.Enabled:
		errs.addf("spec.oidc.clientSecret", "is required; or say tokenEndpointAuth: none for a public client")
	}
	errs.secret("spec.oidc.clientSecret", o.ClientSecret)
	if !slices.Contains(o.Scopes, "openid") {
		errs.addf("spec.oidc.scopes", "must contain openid")
	}
	for i, s := range o.Scopes {
		if s == "" || strings.ContainsAny(s, " \"\\\t\r\n") {
			errs.addf(index("spec.oidc.scopes", i), "%q is not a scope", s)
		}
	}
	if len(o.Algorithms) == 0 {
		errs.addf("spec.oidc.algorithms", "name at least one, or leave it out")
	}
	for i, a := range o.Algorithms {
		oneOf(errs, index("spec.oidc.algorithms", i), a, SignatureAlgorithms()...)
	}
}

func (c *SsoConnection) validateSAML(errs *FieldErrors) {
	m := c.Spec.SAML
	if m == nil {
		if c.Spec.Enabled {
			errs.addf("spec.saml", "is required: metadataURL, metadataXML, or entityId, ssoURL and certificates")
		}
		return
	}
	metadata := m.MetadataURL != "" || m.MetadataXML != ""
	byHand := m.SSOURL != "" || m.SLOURL != "" || len(m.Certificates) > 0
	switch {
	case m.MetadataURL != "" && m.MetadataXML != "":
		errs.addf("spec.saml.metadataXML", "use metadataURL or metadataXML, not both")
	case metadata && byHand:
		errs.addf("spec.saml.ssoURL", "use metadata, or ssoURL, sloURL and certificates, not both")
	case !metadata && c.Spec.Enabled && (m.EntityID == "" || m.SSOURL == "" || len(m.Certificates) == 0):
		errs.addf("spec.saml", "needs metadataURL, metadataXML, or all of entityId, ssoURL and certificates")
	}
	for _, f := range []struct{ name, url string }{{"metadataURL", m.MetadataURL}, {"ssoURL", m.SSOURL}, {"sloURL", m.SLOURL}} {
		if f.url != "" {
			errs.url("spec.saml."+f.name, f.url, c.Spec.InsecureHTTP)
		}
	}
	for i, pem := range m.Certificates {
		if !strings.Contains(pem, "-----BEGIN CERTIFICATE-----") {
			errs.addf(index("spec.saml.certificates", i), "is not a PEM certificate")
		}
	}
	oneOf(errs, "spec.saml.encryption", m.Encryption, EncryptionOff, EncryptionOptional, EncryptionRequired)
}

func (c *SsoConnection) validateClaims(errs *FieldErrors) {
	m := &c.Spec.Claims
	if len(m.Subject) == 0 {
		errs.addf("spec.claims.subject", "name at least one claim")
	}
	for _, f := range []struct {
		name string
		list Strings
	}{{"subject", m.Subject}, {"email", m.Email}, {"emailVerified", m.EmailVerified}, {"groups", m.Groups}, {"name", m.Name}} {
		for i, s := range f.list {
			errs.claimPath(index("spec.claims."+f.name, i), s)
		}
	}
	if m.SubjectWithin != "" {
		errs.claimPath("spec.claims.subjectWithin", m.SubjectWithin)
	}
}

func (c *SsoConnection) validatePeople(errs *FieldErrors) {
	s := &c.Spec
	oneOf(errs, "spec.linkBy", s.LinkBy, LinkByNone, LinkByEmail)
	oneOf(errs, "spec.emailVerified", s.EmailVerified, EmailVerifiedRequired, EmailVerifiedAssumed)
	oneOf(errs, "spec.users", s.Users, UsersNever, UsersExisting, UsersCreate)
	if len(s.EmailDomains) == 0 && s.LinkBy == LinkByEmail {
		errs.addf("spec.emailDomains", "is required with linkBy: email; name the domains for which this provider may speak")
	}
	if len(s.EmailDomains) == 0 && s.Users == UsersCreate {
		errs.addf("spec.emailDomains", "is required with users: create; name the domains for which this provider may speak")
	}
	if s.Provider == PresetEntra && s.Protocol == SsoOIDC && s.EmailVerified == EmailVerifiedAssumed {
		errs.addf("spec.emailVerified", "Entra's e-mail claim can be set by anybody; it is never assumed to be verified")
	}
	validateDomains(errs, "spec.emailDomains", s.EmailDomains, true)
	validateDomains(errs, "spec.domains", s.Domains, false)
	for i, a := range append(slices.Clone(s.Require.ACRValues), s.Require.AMR...) {
		if a == "" || strings.ContainsAny(a, " \t\r\n") {
			errs.addf("spec.require", "value %d (%q) must be one word", i+1, a)
		}
	}
	if s.Protocol == SsoSAML && len(s.Require.AMR) > 0 {
		errs.addf("spec.require.amr", "SAML does not say it; use acrValues")
	}
	errs.duration("spec.require.maxAge", s.Require.MaxAge, time.Minute, 365*24*time.Hour)
	errs.duration("spec.sessions.idle", s.Sessions.Idle, 2*time.Minute, 30*24*time.Hour)
	errs.duration("spec.sessions.absolute", s.Sessions.Absolute, 5*time.Minute, 90*24*time.Hour)
	if idle, absolute := s.Sessions.Idle.Std(), s.Sessions.Absolute.Std(); idle > absolute {
		errs.addf("spec.sessions.idle", "must not be longer than absolute")
	}
}

func validateDomains(errs *FieldErrors, path string, domains Strings, anyToo bool) {
	for i, d := range domains {
		switch {
		case !isASCII(d):
			errs.addf(index(path, i), "%q: %s", d, idnaForm)
		case d == "*" && anyToo:
		case !strings.Contains(d, ".") || strings.ContainsAny(d, "@*/ "):
			errs.addf(index(path, i), "%q is not a domain; write it like acme.com%s", d, map[bool]string{true: ", or * for any"}[anyToo])
		case slices.Contains(domains[:i], d):
			errs.addf(index(path, i), "%q stands there twice", d)
		}
	}
}
