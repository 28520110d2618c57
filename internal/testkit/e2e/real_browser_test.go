//go:build real

package e2e

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/control/sso"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// signIns is a Gatehouse at http://localhost with the identity providers at
// http://127.0.0.1, which to a browser is another site: cookies and forms go
// between them as they do between companies.
type signIns struct {
	*testkit.Gatehouse
	browser  *real.ChromiumBrowser
	keycloak *real.KeycloakServer
	openid   string // npm oidc-provider's issuer
	partner  *real.SAMLServer
}

// self is /api/v1/me.
type self struct {
	Via, Email  string
	Admin       bool
	Teams       []struct{ Name, Source string }
	Permissions []string
}

// whoIs opens /api/v1/me in the page: the session's cookie says who it is. The
// console's policy lets no script ask, so it is a page of its own.
func whoIs(t *testing.T, p *real.Page, base string) (status int, who self) {
	t.Helper()
	status = p.Goto(base + "/api/v1/me")
	if status == http.StatusOK {
		if err := json.Unmarshal([]byte(p.Text()), &who); err != nil {
			t.Fatalf("%v: %s", err, p.Text())
		}
	}
	return status, who
}

// signedIn fails the test unless the page has landed in the console and the
// session is this person's, with this team by this sign-in.
func signedIn(t *testing.T, p *real.Page, base, email, team string) self {
	t.Helper()
	p.AwaitURL(base + "/console/")
	for _, c := range p.Cookies() {
		if c.Name == sso.SessionCookie && (!c.HTTPOnly || !c.Secure || c.SameSite != "Lax" || c.Path != "/") {
			t.Errorf("the session's cookie: %+v", c)
		}
	}
	status, who := whoIs(t, p, base)
	if status != http.StatusOK || who.Via != "session" || who.Email != email {
		t.Fatalf("%d %+v, want %s by session", status, who, email)
	}
	if !slices.ContainsFunc(who.Teams, func(x struct{ Name, Source string }) bool {
		return x.Name == team && strings.HasPrefix(x.Source, "sso:")
	}) {
		t.Errorf("%s is in the teams %v, want %s by the sign-in", email, who.Teams, team)
	}
	return who
}

// signOut goes through our own page, and fails the test where the session lives
// on. What the provider does with its own is for the caller to look at.
func signOut(t *testing.T, p *real.Page, base string) {
	t.Helper()
	p.Goto(base + "/sso/logout")
	p.Click("Sign out")
}

func signedOut(t *testing.T, p *real.Page, base string) {
	t.Helper()
	p.AwaitURL(base + "/sso/signed-out")
	for _, c := range p.Cookies() {
		if c.Name == sso.SessionCookie {
			t.Errorf("the cookie is still there: %+v", c)
		}
	}
	if status, _ := whoIs(t, p, base); status != http.StatusUnauthorized {
		t.Errorf("/api/v1/me answers %d after the sign-out", status)
	}
}

// fine fails the test where a page of ours looks wrong or cannot be operated.
func fine(t *testing.T, p *real.Page, shot string) {
	t.Helper()
	p.Shot(shot)
	for _, wrong := range p.Inspect() {
		t.Errorf("%s: %s\n%s", shot, wrong, p.Snapshot())
	}
}

// uncomplaining fails the test where the browser found fault with a page of
// ours, such as something that its policy blocked.
func uncomplaining(t *testing.T, p *real.Page, base string) {
	t.Helper()
	for _, said := range p.Complaints() {
		// A page with an error's status is one, says the console.
		if strings.HasPrefix(said, base) && !strings.Contains(said, "Failed to load resource: the server responded with a status of") {
			t.Errorf("the browser complains: %s", said)
		}
	}
}

func team1(name, connection, group string) string {
	return "apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: " + name + "}\nspec: {identityProviderGroups: [{ssoConnection: " + connection + ", group: " + group + "}]}\n"
}

func connection(name, spec string) string {
	return "apiVersion: gatehouse.dev/v1\nkind: SsoConnection\nmetadata: {name: " + name + "}\nspec:\n  linkBy: email\n  emailDomains: [example.com]\n" + spec
}

func newSignIns(t *testing.T, browser *real.ChromiumBrowser) *signIns {
	t.Helper()
	address := freeAddress(t)
	base := "http://localhost" + address[strings.LastIndexByte(address, ':'):]
	s := &signIns{browser: browser, keycloak: real.Keycloak(t)}
	s.openid = real.SignInProvider(t, map[string]any{
		"client_id": "gatehouse", "client_secret": "a-development-secret",
		"redirect_uris":             []string{base + "/sso/lab/callback", base + "/sso/invited/callback", base + "/sso/wrong-secret/callback", base + "/sso/tried/callback"},
		"post_logout_redirect_uris": []string{base + "/sso/signed-out"},
		"backchannel_logout_uri":    base + "/sso/lab/backchannel-logout", "backchannel_logout_session_required": true,
	})
	s.Gatehouse = testkit.Start(t, testkit.Options{Environ: []string{"GATEHOUSE_SERVER_ADDRESS=" + address, "GATEHOUSE_SERVER_EXTERNAL_URL=" + base}})
	secret := s.keycloak.AddSignInClient(t, "gatehouse-console", base)
	s.Apply(t, docs(
		connection("keycloak", "  enabled: true\n  displayName: Keycloak\n  provider: keycloak\n  domains: [example.com]\n  users: create\n  oidc: {issuer: \""+s.keycloak.Issuer()+"\", clientId: gatehouse-console, clientSecret: {value: \""+secret+"\"}}\n"),
		connection("lab", "  enabled: true\n  displayName: Research laboratory\n  domains: [lab.example]\n  users: create\n  oidc: {issuer: \""+s.openid+"\", clientId: gatehouse, clientSecret: {value: a-development-secret}}\n"),
		connection("keycloak-saml", "  protocol: saml\n"),
		connection("partner", "  protocol: saml\n"),
		team1("research", "keycloak", "eng-research"), team1("engineers", "lab", "eng"), team1("money", "keycloak-saml", "finance"), team1("partners", "partner", "staff"),
		"apiVersion: gatehouse.dev/v1\nkind: RoleBinding\nmetadata: {name: viewers}\nspec: {subjects: [\"team:research\", \"team:money\"], role: provider-account-viewer, resources: [tenant]}\n",
	))
	s.connectSAML(t)
	return s
}

// connectSAML gives both SAML identity providers our metadata, and us theirs.
func (s *signIns) connectSAML(t *testing.T) {
	t.Helper()
	metadata := wantOK(t, s.Do(t, testkit.Request{Path: "/sso/keycloak-saml/saml/metadata"}))
	s.keycloak.AddSAMLClient(t, []byte(metadata), map[string]string{"saml_name_id_format": "persistent", "saml_force_name_id_format": "true"})
	s.keycloak.AddUserToGroup(t, "bob", "finance")

	m := regexp.MustCompile(`(?s)X509Certificate[^>]*>([^<]+)<`).FindStringSubmatch(wantOK(t, s.Do(t, testkit.Request{Path: "/sso/partner/saml/metadata"})))
	if m == nil {
		t.Fatal("our metadata has no certificate")
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(m[1]), ""))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(cert.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	partner := real.SAMLP(t, real.SAMLOptions{
		ACSURL: s.URL() + "/sso/partner/saml/acs", SLOURL: s.URL() + "/sso/partner/saml/slo", EntityID: s.URL() + "/sso/partner/saml/metadata", SPCertificate: certPEM, NameID: "grace-1",
		Attributes: map[string]any{"email": "grace@example.com", "groups": []string{"staff"}, "name": "Grace Example"},
		Options: map[string]any{
			"encryptionCert": certPEM, "encryptionPublicKey": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})),
			"encryptionAlgorithm":                     "http://www.w3.org/2009/xmlenc11#aes256-gcm",
			"disallowEncryptionWithInsecureAlgorithm": false, "warnOnInsecureEncryptionAlgorithm": false,
		},
	})
	s.partner = partner
	saml := func(name, title, metadataURL string) string {
		return connection(name, "  enabled: true\n  displayName: "+title+"\n  protocol: saml\n  users: create\n  saml: {metadataURL: \""+metadataURL+"\", encryption: required}\n")
	}
	s.Apply(t, docs(saml("keycloak-saml", "Keycloak (SAML)", s.keycloak.Issuer()+"/protocol/saml/descriptor"), saml("partner", "Partner company", partner.EntityID())))
}

func wantOK(t *testing.T, res testkit.Response) string {
	t.Helper()
	if res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	return res.Body
}

// atKeycloak signs somebody in on Keycloak's own page.
func (s *signIns) atKeycloak(p *real.Page, user string) {
	p.AwaitURL(s.keycloak.URL)
	p.FillAt("#username", user)
	p.FillAt("#password", user+"-development-password")
	p.ClickAt("#kc-login")
}

// atLab signs somebody in on oidc-provider's own pages, up to its consent.
func (s *signIns) atLab(p *real.Page, user string) {
	p.AwaitURL(s.openid)
	p.FillAt("[name=login]", user)
	p.FillAt("[name=password]", "any")
	p.ClickAt("button[type=submit]")
	p.Await("text=Authorize")
	p.ClickAt("button[type=submit]")
}

func TestRealBrowser(t *testing.T) {
	b := real.Chromium(t)
	t.Run("gatehouse dev", func(t *testing.T) { signInUnderDev(t, b) })
	t.Run("break-glass", func(t *testing.T) { breakGlass(t, b) })
	t.Run("consent", func(t *testing.T) { consent(t, b) })
	s := newSignIns(t, b)
	for _, c := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"sign-in pages", s.pages},
		{"Keycloak OpenID Connect", s.keycloakOIDC},
		{"Keycloak ends the session by itself", s.keycloakBackchannel},
		{"Keycloak ends the session in a frame", s.keycloakFrontchannel},
		{"oidc-provider without JavaScript, by e-mail", s.labWithoutScript},
		{"oidc-provider by keyboard", s.labByKeyboard},
		{"Keycloak SAML without JavaScript", s.keycloakSAML},
		{"SAML providers end sessions by themselves", s.samlByProvider},
		{"Keycloak SAML by a form", s.keycloakSAMLByForm},
		{"samlp", s.samlp},
		{"failures", s.failures},
		{"test sign-ins", s.tests},
	} {
		t.Run(c.name, c.run)
	}
}

func signInUnderDev(t *testing.T, b *real.ChromiumBrowser) {
	g := testkit.Start(t, testkit.Options{Dev: true})
	p := b.Page(t, real.PageOptions{})
	p.Goto(g.URL() + "/sso/login")
	p.Click("Development sign-in")
	p.AwaitURL(g.IDPURL())
	p.Shot("dev-provider")
	p.ClickAt(`button[value="admin@example.com"]`)
	if who := signedIn(t, p, g.URL(), "admin@example.com", "research"); !who.Admin {
		t.Errorf("%+v is no admin", who)
	}
	p.Goto(g.URL() + "/sso/logout")
	fine(t, p, "sign-out")
	p.Click("Sign out")
	signedOut(t, p, g.URL())
	// The provider keeps no session of its own: it asks who it is.
	p.Goto(g.URL() + "/sso/dev/login")
	p.AwaitURL(g.IDPURL())
	p.Await(`button[value="admin@example.com"]`)
	uncomplaining(t, p, g.URL())
}

func (s *signIns) pages(t *testing.T) {
	for name, o := range map[string]real.PageOptions{"light": {}, "dark": {Dark: true}, "phone": {Phone: true}, "phone-dark": {Phone: true, Dark: true}} {
		p := s.browser.Page(t, o)
		p.Goto(s.URL() + "/sso/login")
		text := p.Text()
		mustContain(t, "the sign-in page", text, "Login with SSO", "Keycloak", "Keycloak (SAML)", "Partner company", "Research laboratory", "Your e-mail address")
		fine(t, p, "login-"+name)
		p.Fill("Your e-mail address", "ada@nowhere.example")
		p.Click("Continue with e-mail")
		p.Await("[role=alert]")
		fine(t, p, "login-problem-"+name)
		p.Goto(s.URL() + "/sso/signed-out")
		fine(t, p, "signed-out-"+name)
		p.Goto(s.URL() + "/sso/nothing")
		fine(t, p, "no-page-"+name)
		uncomplaining(t, p, s.URL())
	}
}

func (s *signIns) keycloakOIDC(t *testing.T) {
	p := s.browser.Page(t, real.PageOptions{})
	p.Goto(s.URL() + "/sso/login?return_to=/console/")
	p.Click("Keycloak")
	s.atKeycloak(p, "alice")
	who := signedIn(t, p, s.URL(), "alice@example.com", "research")
	if who.Admin || !slices.Contains(who.Permissions, "provider-account:read") {
		t.Errorf("alice has not the role of her team: %+v", who)
	}
	signOut(t, p, s.URL())
	signedOut(t, p, s.URL())
	// Signed out there too: Keycloak asks for the password again.
	p.Goto(s.URL() + "/sso/keycloak/login")
	p.Await("#password")
	uncomplaining(t, p, s.URL())
}

func (s *signIns) keycloakBackchannel(t *testing.T) {
	p := s.browser.Page(t, real.PageOptions{})
	// The domain of the address leads to Keycloak, which has the address by then.
	p.Goto(s.URL() + "/sso/login?return_to=/console/")
	p.Fill("Your e-mail address", "Alice@Example.com")
	p.Click("Continue with e-mail")
	p.AwaitURL(s.keycloak.URL)
	p.FillAt("#password", "alice-development-password")
	p.ClickAt("#kc-login")
	signedIn(t, p, s.URL(), "alice@example.com", "research")
	s.keycloak.SignOutUser(t, "alice")
	eventually(t, 10*time.Second, "Keycloak's sign-out ends our session", func() bool {
		status, _ := whoIs(t, p, s.URL())
		return status == http.StatusUnauthorized
	})
	p.Goto(s.URL() + "/sso/keycloak/login")
	p.Await("#password")
}

// keycloakFrontchannel is a sign-out at Keycloak where it cannot reach us: its
// page does, in a frame to which the browser adds no cookie of ours.
func (s *signIns) keycloakFrontchannel(t *testing.T) {
	s.keycloak.UseFrontChannel(t, "gatehouse-console", s.URL()+"/sso/keycloak/frontchannel-logout")
	p := s.browser.Page(t, real.PageOptions{})
	p.Goto(s.URL() + "/sso/keycloak/login?return_to=/console/")
	s.atKeycloak(p, "alice")
	signedIn(t, p, s.URL(), "alice@example.com", "research")
	p.Goto(s.keycloak.Issuer() + "/protocol/openid-connect/logout")
	p.ClickAt("#kc-logout")
	p.Await("text=You are logging out from following apps")
	eventually(t, 10*time.Second, "the frame ends our session", func() bool {
		status, _ := whoIs(t, p, s.URL())
		return status == http.StatusUnauthorized
	})
}

func (s *signIns) labWithoutScript(t *testing.T) {
	p := s.browser.Page(t, real.PageOptions{NoScript: true, Phone: true})
	p.Goto(s.URL() + "/sso/login?return_to=/console/")
	p.Fill("Your e-mail address", "ada@lab.example")
	p.Click("Continue with e-mail")
	s.atLab(p, "ada")
	who := signedIn(t, p, s.URL(), "ada@example.com", "engineers")
	if who.Admin || slices.Contains(who.Permissions, "provider-account:read") {
		t.Errorf("ada has a role that her team does not have: %+v", who)
	}
	signOut(t, p, s.URL())
	p.AwaitURL(s.openid)
	p.ClickAt("button[value=yes]") // it asks, as its own pages do
	signedOut(t, p, s.URL())
	p.Goto(s.URL() + "/sso/lab/login")
	p.Await("[name=password]")
}

// labByKeyboard touches no mouse on our pages.
func (s *signIns) labByKeyboard(t *testing.T) {
	p := s.browser.Page(t, real.PageOptions{Dark: true})
	p.Goto(s.URL() + "/sso/login?return_to=/console/")
	p.TabTo("Your e-mail address")
	p.Type("kim@lab.example")
	p.TabTo("Continue with e-mail")
	p.Press("Enter")
	s.atLab(p, "kim")
	signedIn(t, p, s.URL(), "kim@example.com", "engineers")
	p.Goto(s.URL() + "/sso/logout")
	p.TabTo("Sign out")
	p.Press("Enter")
	p.AwaitURL(s.openid)
	p.ClickAt("button[value=yes]")
	signedOut(t, p, s.URL())
	p.Goto(s.URL() + "/sso/login")
	p.TabTo("Research laboratory")
	p.Press("Enter")
	p.AwaitURL(s.openid)
	p.Await("[name=password]")
}

func (s *signIns) keycloakSAML(t *testing.T) {
	p := s.browser.Page(t, real.PageOptions{NoScript: true})
	p.Goto(s.URL() + "/sso/login?return_to=/console/")
	p.Click("Keycloak (SAML)")
	s.atKeycloak(p, "bob")
	p.ClickAt("input[type=submit],button[type=submit]") // Keycloak's form back to us, without a script
	who := signedIn(t, p, s.URL(), "bob@example.com", "money")
	if who.Admin || !slices.Contains(who.Permissions, "provider-account:read") {
		t.Errorf("bob has not the role of his team: %+v", who)
	}
	signOut(t, p, s.URL())
	p.AwaitURL(s.keycloak.URL)
	p.ClickAt("input[type=submit],button[type=submit]")
	signedOut(t, p, s.URL())
	// Signed out there too: Keycloak asks for the password again.
	p.Goto(s.URL() + "/sso/keycloak-saml/login")
	p.Await("#password")
}

// samlByProvider is single logout from the other side: somebody signs out on
// Keycloak's page, its administrator ends their sessions, and the partner's
// person signs out there.
func (s *signIns) samlByProvider(t *testing.T) {
	p := s.browser.Page(t, real.PageOptions{})
	signIn := func() {
		p.Goto(s.URL() + "/sso/keycloak-saml/login?return_to=/console/")
		s.atKeycloak(p, "bob")
		signedIn(t, p, s.URL(), "bob@example.com", "money")
	}
	signIn()
	p.Goto(s.keycloak.Issuer() + "/protocol/openid-connect/logout")
	p.ClickAt("#kc-logout")
	p.Await("text=You are logged out")
	if status, _ := whoIs(t, p, s.URL()); status != http.StatusUnauthorized {
		t.Errorf("/api/v1/me answers %d after Keycloak's sign-out", status)
	}
	s.keycloak.SetSAMLLogout(t, s.URL()+"/sso/keycloak-saml/saml/metadata", false)
	signIn()
	s.keycloak.SignOutUser(t, "bob")
	eventually(t, 10*time.Second, "Keycloak's administrator ends our session", func() bool {
		status, _ := whoIs(t, p, s.URL())
		return status == http.StatusUnauthorized
	})
	p.Goto(s.URL() + "/sso/partner/login?return_to=/console/")
	signedIn(t, p, s.URL(), "grace@example.com", "partners")
	p.Goto(s.partner.SLOURL())
	if text := p.Text(); text != "done" || s.partner.SignedIn(t) != "0" {
		t.Errorf("samlp's sign-out ends with %q, and it knows of %s sessions", text, s.partner.SignedIn(t))
	}
	if status, _ := whoIs(t, p, s.URL()); status != http.StatusUnauthorized {
		t.Errorf("/api/v1/me answers %d after samlp's sign-out", status)
	}
}

// keycloakSAMLByForm is an identity provider that takes requests by POST alone:
// the browser is sent there by a form of ours, to another site.
func (s *signIns) keycloakSAMLByForm(t *testing.T) {
	redirect := regexp.MustCompile(`<[^<>]*Single(SignOn|Logout)Service[^<>]*HTTP-Redirect[^<>]*>(</[^<>]*Single(SignOn|Logout)Service>)?`)
	metadata, err := json.Marshal(redirect.ReplaceAllString(string(s.keycloak.SAMLMetadata(t)), ""))
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(t, connection("keycloak-saml", "  enabled: true\n  displayName: Keycloak (SAML)\n  protocol: saml\n  users: create\n  saml: {metadataXML: "+string(metadata)+", encryption: required}\n"))
	p := s.browser.Page(t, real.PageOptions{Phone: true})
	p.Goto(s.URL() + "/sso/login?return_to=/console/")
	p.Click("Keycloak (SAML)")
	p.AwaitURL(s.URL() + "/sso/keycloak-saml/login")
	fine(t, p, "saml-form")
	p.TabTo("Continue with Keycloak (SAML)")
	p.Press("Enter")
	s.atKeycloak(p, "bob")
	signedIn(t, p, s.URL(), "bob@example.com", "money")
	signOut(t, p, s.URL())
	fine(t, p, "saml-sign-out-form")
	p.Click("Sign out there too")
	signedOut(t, p, s.URL())
	uncomplaining(t, p, s.URL())
}

func (s *signIns) samlp(t *testing.T) {
	p := s.browser.Page(t, real.PageOptions{Phone: true})
	p.Goto(s.URL() + "/sso/login?return_to=/console/")
	p.Click("Partner company")
	signedIn(t, p, s.URL(), "grace@example.com", "partners")
	// Again: the session before ends, although its cookie did not come with the
	// provider's form.
	p.Goto(s.URL() + "/sso/login?return_to=/console/")
	p.Click("Partner company")
	signedIn(t, p, s.URL(), "grace@example.com", "partners")
	p.Goto(s.URL() + "/api/v1/sessions")
	if list := p.Text(); strings.Count(list, `"connection":"partner"`) != 1 {
		t.Errorf("not one session of grace's: %s", list)
	}
	signOut(t, p, s.URL())
	signedOut(t, p, s.URL())
	// Both sign-ins: of the first one samlp asked us, and we answered.
	if n := s.partner.SignedIn(t); n != "0" {
		t.Errorf("samlp knows of %s sessions after the sign-out", n)
	}
}
