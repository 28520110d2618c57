package v1

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func ssoConnection(change func(*SsoConnection)) *SsoConnection {
	c := &SsoConnection{Spec: SsoConnectionSpec{
		Enabled: true, OIDC: &SsoOpenID{Issuer: "https://idp.example.com", ClientID: "gatehouse", ClientSecret: &SecretValue{Value: "s3cret"}},
	}}
	c.APIVersion, c.Kind, c.Name = APIVersion, KindSsoConnection, "okta"
	if change != nil {
		change(c)
	}
	c.Default()
	return c
}

func TestSsoConnectionDefaults(t *testing.T) {
	c := ssoConnection(func(c *SsoConnection) { c.Spec.Domains = Strings{"ACME.com"} })
	if errs := c.Validate(); len(errs) > 0 {
		t.Fatal(errs)
	}
	s := c.Spec
	for _, f := range []struct{ name, got, want string }{
		{"provider", string(s.Provider), "custom"},
		{"protocol", s.Protocol, "oidc"},
		{"users", string(s.Users), "existing"},
		{"emailVerified", s.EmailVerified, "required"},
		{"idle", string(s.Sessions.Idle), "8h"},
		{"absolute", string(s.Sessions.Absolute), "7d"},
		{"tokenEndpointAuth", s.OIDC.TokenEndpointAuth, "client_secret_basic"},
		{"scopes", strings.Join(s.OIDC.Scopes, " "), "openid profile email"},
		{"subject", s.Claims.Subject[0], "sub"},
		{"groups", s.Claims.Groups[0], "groups"},
		{"domains", s.Domains[0], "acme.com"},
	} {
		if f.got != f.want {
			t.Errorf("%s: %q, want %q", f.name, f.got, f.want)
		}
	}
	before, _ := json.Marshal(c)
	c.Default()
	after, _ := json.Marshal(c)
	if d := cmp.Diff(string(before), string(after)); d != "" {
		t.Errorf("a second Default changes it: %s", d)
	}
}

func TestSsoConnectionPresets(t *testing.T) {
	google := ssoConnection(func(c *SsoConnection) { c.Spec.Provider, c.Spec.OIDC.Issuer = PresetGoogle, "" })
	if google.Spec.OIDC.Issuer != "https://accounts.google.com" || len(google.Validate()) > 0 {
		t.Errorf("google: %q %v", google.Spec.OIDC.Issuer, google.Validate())
	}
	entra := ssoConnection(func(c *SsoConnection) { c.Spec.Provider = PresetEntra })
	if m := entra.Spec.Claims; m.Subject[0] != "oid" || m.SubjectWithin != "tid" || !slices.Equal(m.EmailVerified, Strings{"xms_edov", "email_verified"}) {
		t.Errorf("entra: %+v", m)
	}
	saml := ssoConnection(func(c *SsoConnection) {
		c.Spec.Provider, c.Spec.Protocol, c.Spec.OIDC = PresetEntra, SsoSAML, nil
		c.Spec.SAML = &SsoSaml{MetadataURL: "https://login.example.com/metadata"}
	})
	if m := saml.Spec.Claims; !strings.HasSuffix(m.Subject[0], "/objectidentifier") || !strings.HasSuffix(m.Groups[0], "/groups") || saml.Spec.EmailVerified != EmailVerifiedRequired {
		t.Errorf("entra by SAML: %+v %s", m, saml.Spec.EmailVerified)
	}
	if keycloak := ssoConnection(func(c *SsoConnection) { c.Spec.Protocol, c.Spec.OIDC = SsoSAML, nil }); keycloak.Spec.EmailVerified != EmailVerifiedAssumed {
		t.Error("a SAML assertion has no word on verification; it is assumed within emailDomains")
	}
}

func TestAConnectionThatIsNotEnabledMayBeIncomplete(t *testing.T) {
	for _, protocol := range []string{SsoOIDC, SsoSAML} {
		draft := func(enabled bool) FieldErrors {
			return ssoConnection(func(c *SsoConnection) { c.Spec = SsoConnectionSpec{Protocol: protocol, Enabled: enabled} }).Validate()
		}
		if errs := draft(false); len(errs) > 0 {
			t.Errorf("%s: a draft is refused: %v", protocol, errs)
		}
		if errs := draft(true); len(errs) == 0 {
			t.Errorf("%s: an empty connection may be enabled", protocol)
		}
	}
}

func TestSsoConnectionMistakesAreNamed(t *testing.T) {
	saml := func(m SsoSaml) func(*SsoConnection) {
		return func(c *SsoConnection) { c.Spec.Protocol, c.Spec.OIDC, c.Spec.SAML = SsoSAML, nil, &m }
	}
	for _, tc := range []struct {
		name, path string
		change     func(*SsoConnection)
	}{
		{"a reserved name", "metadata.name", func(c *SsoConnection) { c.Name = "break-glass" }},
		{"unknown provider", "spec.provider", func(c *SsoConnection) { c.Spec.Provider = "auth0" }},
		{"unknown protocol", "spec.protocol", func(c *SsoConnection) { c.Spec.Protocol = "ldap" }},
		{"both protocols", "spec.saml", func(c *SsoConnection) { c.Spec.SAML = &SsoSaml{} }},
		{"no issuer", "spec.oidc.issuer", func(c *SsoConnection) { c.Spec.OIDC.Issuer = "" }},
		{"issuer with a query", "spec.oidc.issuer", func(c *SsoConnection) { c.Spec.OIDC.Issuer = "https://idp.example.com?a=b" }},
		{"plain http", "spec.oidc.issuer", func(c *SsoConnection) { c.Spec.OIDC.Issuer = "http://idp.example.com" }},
		{"no client", "spec.oidc.clientId", func(c *SsoConnection) { c.Spec.OIDC.ClientID = "" }},
		{"no secret", "spec.oidc.clientSecret", func(c *SsoConnection) { c.Spec.OIDC.ClientSecret = nil }},
		{"secret of a public client", "spec.oidc.clientSecret", func(c *SsoConnection) { c.Spec.OIDC.TokenEndpointAuth = TokenAuthNone }},
		{"half of the endpoints", "spec.oidc.jwksURL", func(c *SsoConnection) {
			c.Spec.OIDC.AuthorizationEndpoint, c.Spec.OIDC.TokenEndpoint = "https://idp.example.com/a", "https://idp.example.com/t"
		}},
		{"unknown client authentication", "spec.oidc.tokenEndpointAuth", func(c *SsoConnection) { c.Spec.OIDC.TokenEndpointAuth = "private_key_jwt" }},
		{"scopes without openid", "spec.oidc.scopes", func(c *SsoConnection) { c.Spec.OIDC.Scopes = Strings{"email"} }},
		{"two scopes in one", "spec.oidc.scopes[1]", func(c *SsoConnection) { c.Spec.OIDC.Scopes = Strings{"openid", "a b"} }},
		{"HMAC", "spec.oidc.algorithms[0]", func(c *SsoConnection) { c.Spec.OIDC.Algorithms = Strings{"HS256"} }},
		{"no algorithm", "spec.oidc.algorithms", func(c *SsoConnection) { c.Spec.OIDC.Algorithms = Strings{} }},
		{"no subject", "spec.claims.subject", func(c *SsoConnection) { c.Spec.Claims.Subject = Strings{} }},
		{"broken pointer", "spec.claims.groups[0]", func(c *SsoConnection) { c.Spec.Claims.Groups = Strings{"/a~b"} }},
		{"linking without domains", "spec.emailDomains", func(c *SsoConnection) { c.Spec.LinkBy = LinkByEmail }},
		{"creating without domains", "spec.emailDomains", func(c *SsoConnection) { c.Spec.Users = UsersCreate }},
		{"Entra's word for an address", "spec.emailVerified", func(c *SsoConnection) { c.Spec.Provider, c.Spec.EmailVerified = PresetEntra, EmailVerifiedAssumed }},
		{"any domain is no route", "spec.domains[0]", func(c *SsoConnection) { c.Spec.Domains = Strings{"*"} }},
		{"a domain twice", "spec.domains[1]", func(c *SsoConnection) { c.Spec.Domains = Strings{"acme.com", "ACME.com"} }},
		{"unknown users", "spec.users", func(c *SsoConnection) { c.Spec.Users = "all" }},
		{"idle beyond absolute", "spec.sessions.idle", func(c *SsoConnection) { c.Spec.Sessions = SsoSessions{Idle: "2d", Absolute: "1d"} }},
		{"an endless session", "spec.sessions.absolute", func(c *SsoConnection) { c.Spec.Sessions.Absolute = "3650d" }},
		{"acr of two words", "spec.require", func(c *SsoConnection) { c.Spec.Require.ACRValues = Strings{"a b"} }},
		{"amr with SAML", "spec.require.amr", func(c *SsoConnection) {
			saml(SsoSaml{MetadataXML: "<x/>"})(c)
			c.Spec.Require.AMR = Strings{"mfa"}
		}},
		{"no CA", "spec.caCert", func(c *SsoConnection) { c.Spec.CACert = &CACert{} }},
		{"SAML without anything", "spec.saml", saml(SsoSaml{})},
		{"SAML by hand, half", "spec.saml", saml(SsoSaml{EntityID: "x", SSOURL: "https://idp.example.com"})},
		{"two forms of metadata", "spec.saml.metadataXML", saml(SsoSaml{MetadataURL: "https://idp.example.com/m", MetadataXML: "<x/>"})},
		{"metadata and by hand", "spec.saml.ssoURL", saml(SsoSaml{MetadataXML: "<x/>", SSOURL: "https://idp.example.com"})},
		{"not a certificate", "spec.saml.certificates[0]", saml(SsoSaml{EntityID: "x", SSOURL: "https://idp.example.com", Certificates: Strings{"MII"}})},
		{"unknown encryption", "spec.saml.encryption", saml(SsoSaml{MetadataXML: "<x/>", Encryption: "maybe"})},
	} {
		errs := ssoConnection(tc.change).Validate()
		if len(errs) == 0 || !slices.ContainsFunc(errs, func(e FieldError) bool { return e.Path == tc.path }) {
			t.Errorf("%s: want an error at %s, got %v", tc.name, tc.path, errs)
		}
	}
}

func TestSecurityAClientSecretDoesNotFollowItsDestination(t *testing.T) {
	at := func(change func(*SsoConnection)) string { return ssoConnection(change).Secrets()[0].Destination }
	first := at(nil)
	for name, change := range map[string]func(*SsoConnection){
		"issuer":              func(c *SsoConnection) { c.Spec.OIDC.Issuer = "https://evil.example.com" },
		"token endpoint":      func(c *SsoConnection) { c.Spec.OIDC.TokenEndpoint = "https://evil.example.com/t" },
		"client":              func(c *SsoConnection) { c.Spec.OIDC.ClientID = "another" },
		"CA":                  func(c *SsoConnection) { c.Spec.CACert = &CACert{PEM: "x"} },
		"plain http":          func(c *SsoConnection) { c.Spec.InsecureHTTP = true },
		"the private network": func(c *SsoConnection) { c.Spec.AllowPrivateNetwork = true },
	} {
		if at(change) == first {
			t.Errorf("a change of the %s keeps the stored secret", name)
		}
	}
	if at(func(c *SsoConnection) { c.Spec.DisplayName = "x" }) != first {
		t.Error("a change of the name asks for the secret again")
	}
	if got := ssoConnection(func(c *SsoConnection) { c.Spec.OIDC.ClientSecret = nil }).Secrets(); len(got) != 0 {
		t.Error("there is no secret to list")
	}
}
