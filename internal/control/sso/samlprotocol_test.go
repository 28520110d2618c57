package sso

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/sso/saml"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const samlIDP = "https://saml-idp.example/metadata"

// samlWorld has one SAML connection; key signs for its identity provider.
type samlWorld struct {
	*world
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

func newSAMLWorld(t *testing.T, change func(*v1.SsoConnection)) *samlWorld {
	t.Helper()
	w := &samlWorld{world: newWorld(t, nil)}
	raw, rawCert, err := saml.GenerateKeyPair(w.now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	if w.cert, err = x509.ParseCertificate(rawCert); err != nil {
		t.Fatal(err)
	}
	w.key = key.(*rsa.PrivateKey)
	opt := w.h.opt
	opt.SAML = func(context.Context) (crypto.Signer, *x509.Certificate, error) { return w.key, w.cert, nil }
	if w.h, err = New(opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.h.Close)
	c := &v1.SsoConnection{Spec: v1.SsoConnectionSpec{
		Enabled: true, Protocol: v1.SsoSAML, Users: v1.UsersCreate, EmailDomains: v1.Strings{"example.com"},
		SAML: &v1.SsoSaml{EntityID: samlIDP, SSOURL: "https://saml-idp.example/sso", Certificates: v1.Strings{
			string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rawCert})),
		}},
	}}
	c.APIVersion, c.Kind, c.Name, c.UID, c.ResourceVersion = v1.APIVersion, v1.KindSsoConnection, "corp", "uid-corp", "1"
	if change != nil {
		change(c)
	}
	w.put(c)
	w.apply("apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: corp}\nspec: {identityProviderGroups: [{ssoConnection: corp, group: staff}]}\n")
	return w
}

// response is a signed answer to a request; format is the NameID's.
func (w *samlWorld) response(request, format string) string {
	at := func(d time.Duration) string { return w.now.Add(d).UTC().Format(time.RFC3339) }
	answers := ""
	if request != "" {
		answers = fmt.Sprintf(`InResponseTo="%s" `, request)
	}
	acs := ours + "/sso/corp/saml/acs"
	assertion := fmt.Sprintf(`<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_%s" IssueInstant="%s" Version="2.0"><saml:Issuer>%s</saml:Issuer>`+
		`<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:%s">grace</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">`+
		`<saml:SubjectConfirmationData %sRecipient="%s" NotOnOrAfter="%s"/></saml:SubjectConfirmation></saml:Subject>`+
		`<saml:Conditions NotBefore="%s" NotOnOrAfter="%s"><saml:AudienceRestriction><saml:Audience>%s</saml:Audience></saml:AudienceRestriction></saml:Conditions>`+
		`<saml:AuthnStatement AuthnInstant="%s" SessionIndex="index-1" SessionNotOnOrAfter="%s"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>`+
		`<saml:AttributeStatement><saml:Attribute Name="email"><saml:AttributeValue>Grace@example.com</saml:AttributeValue></saml:Attribute>`+
		`<saml:Attribute Name="groups"><saml:AttributeValue>staff</saml:AttributeValue><saml:AttributeValue>other</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion>`,
		rand.Text(), at(0), samlIDP, format, answers, acs, at(time.Minute), at(-time.Minute), at(time.Minute), ours+"/sso/corp/saml/metadata", at(0), at(3*time.Hour))
	return fmt.Sprintf(`<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_%s" Version="2.0" IssueInstant="%s" Destination="%s" %s>`+
		`<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">%s</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>%s</samlp:Response>`,
		rand.Text(), at(0), acs, answers, samlIDP, w.signed(assertion))
}

// signed puts an enveloped signature after an assertion's issuer.
func (w *samlWorld) signed(assertion string) string {
	const exclusive = "http://www.w3.org/2001/10/xml-exc-c14n#"
	tree := func(s string) *etree.Element {
		doc := etree.NewDocument()
		if err := doc.ReadFromString(s); err != nil {
			w.t.Fatal(err)
		}
		return doc.Root()
	}
	hash := func(el *etree.Element) []byte {
		b, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(el.Copy())
		if err != nil {
			w.t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		return sum[:]
	}
	el := tree(assertion)
	info := `<ds:SignedInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:CanonicalizationMethod Algorithm="` + exclusive + `"/><ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>` +
		`<ds:Reference URI="#` + el.SelectAttrValue("ID", "") + `"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/><ds:Transform Algorithm="` + exclusive + `"/></ds:Transforms>` +
		`<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue>` + base64.StdEncoding.EncodeToString(hash(el)) + `</ds:DigestValue></ds:Reference></ds:SignedInfo>`
	value, err := rsa.SignPKCS1v15(rand.Reader, w.key, crypto.SHA256, hash(tree(info)))
	if err != nil {
		w.t.Fatal(err)
	}
	el.InsertChildAt(1, tree(`<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">`+info+`<ds:SignatureValue>`+base64.StdEncoding.EncodeToString(value)+`</ds:SignatureValue></ds:Signature>`))
	doc := etree.NewDocument()
	doc.SetRoot(el)
	out, err := doc.WriteToString()
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// answer posts a response to the ACS as an identity provider's page does:
// cross-site, with those cookies alone that go with that.
func (b *browser) answer(response, relay string) *httptest.ResponseRecorder {
	form := url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString([]byte(response))}, "RelayState": {relay}}
	r := httptest.NewRequest(http.MethodPost, ours+"/sso/corp/saml/acs", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://saml-idp.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	lax := map[string]string{}
	for _, name := range []string{SessionCookie, hintCookie} {
		if value, ok := b.cookies[name]; ok {
			lax[name] = value
			delete(b.cookies, name)
		}
	}
	rec := b.do(r)
	for name, value := range lax {
		if !slices.ContainsFunc(rec.Result().Cookies(), func(c *http.Cookie) bool { return c.Name == name }) {
			b.cookies[name] = value
		}
	}
	return rec
}

// open starts a SAML sign-in and returns the request's id and RelayState.
func (b *browser) open() (request, relay string) {
	b.w.t.Helper()
	return b.openAt("/sso/corp/login?return_to=/console/")
}

func (b *browser) openAt(path string) (request, relay string) {
	b.w.t.Helper()
	rec := b.get(path)
	u, err := url.Parse(rec.Header().Get("Location"))
	if err != nil || u.Host != "saml-idp.example" || u.Query().Get("Signature") == "" {
		b.w.t.Fatalf("%d %s\n%s", rec.Code, u, rec.Body)
	}
	relay = u.Query().Get("RelayState")
	for _, c := range rec.Result().Cookies() {
		if c.Name == attemptCookie(relay) && c.SameSite != http.SameSiteNoneMode {
			b.w.t.Error("the attempt's cookie does not come with a cross-site POST")
		}
	}
	// The id stands sealed in the attempt; a test may look.
	r := httptest.NewRequest(http.MethodGet, ours, nil)
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	c, _ := b.w.Load().SsoConnection("corp")
	a, err := b.w.h.attempt(httptest.NewRecorder(), r, c, relay, false)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return a.Request, relay
}

func TestSAMLSignsIn(t *testing.T) {
	w := newSAMLWorld(t, nil)
	b := w.browser()
	request, relay := b.open()
	rec := b.answer(w.response(request, "persistent"), relay)
	if rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/console/" {
		t.Fatalf("%d\n%s", rec.Code, rec.Body)
	}
	u, ok := w.userByEmail("grace@example.com")
	if !ok || u.Identities[0].Issuer != samlIDP || u.Identities[0].Subject != "grace" || len(u.Memberships) != 1 || u.Memberships[0].Team != "corp" || u.Memberships[0].Source != "sso:"+samlIDP {
		t.Errorf("%+v", u)
	}
	s := w.live()
	if len(s) != 1 || s[0].ProviderSession != "index-1" || !s[0].ExpiresAt.Equal(w.now.Add(3*time.Hour)) {
		t.Errorf("%+v", s)
	}
}

func TestSecurityASAMLSignInEndsTheSessionBefore(t *testing.T) {
	w := newSAMLWorld(t, nil)
	b := w.browser()
	for range 2 {
		request, relay := b.open()
		if rec := b.answer(w.response(request, "persistent"), relay); rec.Code != http.StatusSeeOther {
			t.Fatalf("%d\n%s", rec.Code, rec.Body)
		}
	}
	if len(w.sessions) != 2 || len(w.live()) != 1 {
		t.Fatalf("%d of %d sessions are alive, want the second alone", len(w.live()), len(w.sessions))
	}
	for _, s := range w.sessions {
		if s.EndedAt != nil && s.EndedBy != "sign-in" {
			t.Errorf("ended by %q", s.EndedBy)
		}
	}
}

func TestSecuritySAMLAnswersBelongToTheirBrowserAndAttempt(t *testing.T) {
	w := newSAMLWorld(t, nil)
	attacker, victim := w.browser(), w.browser()
	request, relay := attacker.open()
	own := w.response(request, "persistent")
	w.refused(victim.answer(own, relay), "attempt_unknown") // login CSRF
	_, victimRelay := victim.open()
	w.refused(victim.answer(own, victimRelay), "saml_wrong_request")
	w.refused(w.browser().answer(w.response("", "persistent"), ""), "no_state") // unsolicited
	kept := map[string]string{}
	for k, v := range attacker.cookies {
		kept[k] = v
	}
	if rec := attacker.answer(own, relay); rec.Code != http.StatusSeeOther {
		t.Fatal(rec.Body)
	}
	again := w.browser()
	again.cookies = kept
	if rec := again.answer(own, relay); !strings.Contains(rec.Body.String(), "attempt_replayed") || len(w.live()) != 1 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestSecuritySAMLSettings(t *testing.T) {
	unsolicited := func(*samlWorld, *browser) (string, string) { return "", "" }
	for _, tc := range []struct {
		name, reason, format string
		change               func(*v1.SsoConnectionSpec)
		begin                func(*samlWorld, *browser) (string, string)
		spoil                func(string) string
	}{
		{"IdP-initiated, where enabled", "", "persistent", func(s *v1.SsoConnectionSpec) { s.SAML.AllowIdpInitiated = true }, unsolicited, nil},
		{"a name that changes every time", "saml_transient", "transient", nil, nil, nil},
		{"not encrypted, where required", "saml_not_encrypted", "persistent", func(s *v1.SsoConnectionSpec) { s.SAML.Encryption = v1.EncryptionRequired }, nil, nil},
		{"a weaker sign-in than required", "saml_authentication_too_weak", "persistent", func(s *v1.SsoConnectionSpec) { s.Require.ACRValues = v1.Strings{"urn:mfa"} }, nil, nil},
		{"changed after signing", "saml_wrong_signature", "persistent", nil, nil, func(s string) string { return strings.Replace(s, "Grace@", "Boss@", 1) }},
		{"Entra's subject is not there", "no_subject", "persistent", func(s *v1.SsoConnectionSpec) { s.Provider = v1.PresetEntra }, nil, nil},
		{"another's domain", "not_mapped", "persistent", func(s *v1.SsoConnectionSpec) { s.EmailDomains = v1.Strings{"elsewhere.example"} }, nil, nil},
		{"no key that can be used", "saml_certificate", "", func(s *v1.SsoConnectionSpec) {
			s.SAML.Certificates = v1.Strings{"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"}
		}, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newSAMLWorld(t, func(c *v1.SsoConnection) {
				if tc.change != nil {
					tc.change(&c.Spec)
				}
			})
			b := w.browser()
			if tc.reason == "saml_certificate" {
				if rec := b.get("/sso/corp/login"); rec.Code != http.StatusBadGateway {
					t.Errorf("%d %s", rec.Code, rec.Body)
				}
				return
			}
			begin := func(_ *samlWorld, b *browser) (string, string) { return b.open() }
			if tc.begin != nil {
				begin = tc.begin
			}
			request, relay := begin(w, b)
			raw := w.response(request, tc.format)
			if tc.spoil != nil {
				raw = tc.spoil(raw)
			}
			rec := b.answer(raw, relay)
			if tc.reason == "" {
				if rec.Code != http.StatusSeeOther || len(w.live()) != 1 {
					t.Errorf("%d %s", rec.Code, rec.Body)
				}
				return
			}
			w.refused(rec, tc.reason)
		})
	}
}

// A bundle holds the next certificate too, while an identity provider changes
// its key.
func TestEveryCertificateOfABundleCounts(t *testing.T) {
	old := newSAMLWorld(t, nil)
	text := func(c *x509.Certificate) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	w := newSAMLWorld(t, nil)
	w.change(func(s *v1.SsoConnectionSpec) { s.SAML.Certificates = v1.Strings{text(old.cert) + text(w.cert)} })
	w.samlSignIn() // by the second
	w.key, w.cert = old.key, old.cert
	w.samlSignIn() // by the first
	w.change(func(s *v1.SsoConnectionSpec) {
		s.SAML.Certificates = v1.Strings{text(w.cert) + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}
	})
	if rec := w.browser().get("/sso/corp/login"); rec.Code != http.StatusBadGateway || !strings.Contains(rec.Body.String(), "saml_certificate") {
		t.Errorf("one that cannot be read is left out without a word: %d", rec.Code)
	}
}

func TestSAMLMetadataIsThereBeforeTheConnectionIsComplete(t *testing.T) {
	w := newSAMLWorld(t, func(c *v1.SsoConnection) { c.Spec.Enabled, c.Spec.SAML = false, nil })
	rec := w.browser().get("/sso/corp/saml/metadata")
	if body := rec.Body.String(); rec.Code != 200 || !strings.Contains(body, `entityID="`+ours+`/sso/corp/saml/metadata"`) || !strings.Contains(body, ours+"/sso/corp/saml/acs") {
		t.Errorf("%d %s", rec.Code, body)
	}
	if rec := w.browser().get("/sso/main/saml/metadata"); rec.Code != http.StatusNotFound {
		t.Error("an OpenID connection has SAML metadata")
	}
}

func TestSAMLMetadataIsFetchedAndKept(t *testing.T) {
	up, calls := true, 0
	var doc string
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		calls++
		if !up {
			rw.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = rw.Write([]byte(doc))
	}))
	defer server.Close()
	w := newSAMLWorld(t, func(c *v1.SsoConnection) { c.Spec.SAML = &v1.SsoSaml{MetadataURL: server.URL} })
	binding := "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	write := func() {
		doc = `<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="` + samlIDP + `"><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">` +
			`<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>` + base64.StdEncoding.EncodeToString(w.cert.Raw) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>` +
			`<md:SingleSignOnService Binding="` + binding + `" Location="https://saml-idp.example/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>`
	}
	write()
	b := w.browser()
	for range 2 {
		request, relay := b.open()
		if rec := b.answer(w.response(request, "persistent"), relay); rec.Code != http.StatusSeeOther {
			t.Fatal(rec.Body)
		}
	}
	if calls != 1 {
		t.Errorf("fetched %d times", calls)
	}
	up = false
	w.pass(2 * time.Hour)
	b.open() // goes on while it is away
	w.pass(samlMetadataStale)
	if rec := b.get("/sso/corp/login"); rec.Code != http.StatusBadGateway || !strings.Contains(rec.Body.String(), "saml_metadata") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	// An identity provider that takes requests by POST alone gets a form.
	binding = strings.Replace(binding, "Redirect", "POST", 1)
	write()
	up = true
	w.pass(time.Minute)
	rec := w.browser().get("/sso/corp/login")
	if body := rec.Body.String(); rec.Code != 200 || !strings.Contains(body, `action="https://saml-idp.example/sso"`) || !strings.Contains(body, `name="SAMLRequest"`) ||
		!strings.HasSuffix(rec.Header().Get("Content-Security-Policy"), "form-action 'self' https://saml-idp.example") {
		t.Errorf("%d %s\n%s", rec.Code, rec.Header().Get("Content-Security-Policy"), body)
	}
}

func TestASAMLConnectionWithoutOurKeySaysSo(t *testing.T) {
	w := newSAMLWorld(t, nil)
	opt := w.h.opt
	opt.SAML = func(context.Context) (crypto.Signer, *x509.Certificate, error) {
		return nil, nil, identity.Errorf(identity.CodeSecretUnavailable, "the key cannot be read")
	}
	h, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	w.h = h
	if rec := w.browser().get("/sso/corp/login"); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
