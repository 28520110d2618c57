package sso

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/sso/saml"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	samlIDPSLO = "https://saml-idp.example/slo"
	ourSLO     = "/sso/corp/saml/slo"
)

// newSLOWorld has an identity provider with single logout.
func newSLOWorld(t *testing.T, change func(*v1.SsoConnection)) *samlWorld {
	t.Helper()
	return newSAMLWorld(t, func(c *v1.SsoConnection) {
		c.Spec.SAML.SLOURL = samlIDPSLO
		if change != nil {
			change(c)
		}
	})
}

// change writes the connection anew.
func (w *samlWorld) change(change func(*v1.SsoConnectionSpec)) {
	w.t.Helper()
	old, _ := w.Load().SsoConnection("corp")
	c, settings := *old, *old.Spec.SAML
	c.Spec.SAML = &settings
	change(&c.Spec)
	w.put(&c)
}

// provider is the identity provider as a party of single logout: what we write,
// the other way around.
func (w *samlWorld) provider(change func(*saml.Config)) *saml.ServiceProvider {
	w.t.Helper()
	cfg := saml.Config{
		EntityID: samlIDP, ACSURL: "https://saml-idp.example/unused", SLOURL: samlIDPSLO, Key: w.key, Certificate: w.cert, Now: w.clock,
		Claim: func(context.Context, string, string, time.Time) error { return nil },
		IDP: saml.IDP{
			EntityID: ours + "/sso/corp/saml/metadata", SSOURL: ours + "/unused", SLOURL: ours + ourSLO, Certificates: []*x509.Certificate{w.cert},
		},
	}
	if change != nil {
		change(&cfg)
	}
	sp, err := saml.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return sp
}

// carry takes a message of the identity provider's to us, as a browser does.
func (b *browser) carry(m saml.Request, err error) *httptest.ResponseRecorder {
	b.w.t.Helper()
	if err != nil {
		b.w.t.Fatal(err)
	}
	if m.Form == nil {
		return b.get(strings.TrimPrefix(m.URL, ours))
	}
	form := url.Values{}
	for name, value := range m.Form {
		form.Set(name, value)
	}
	r := httptest.NewRequest(http.MethodPost, m.URL, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://saml-idp.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	return b.do(r)
}

// samlSignIn signs grace in, in a browser of her own.
func (w *samlWorld) samlSignIn() *browser {
	w.t.Helper()
	b := w.browser()
	request, relay := b.open()
	if rec := b.answer(w.response(request, "persistent"), relay); rec.Code != http.StatusSeeOther {
		w.t.Fatalf("%d\n%s", rec.Code, rec.Body)
	}
	return b
}

// sentOn is the address to which a page leads by itself.
func sentOn(t *testing.T, rec *httptest.ResponseRecorder) string {
	t.Helper()
	m := regexp.MustCompile(`http-equiv="refresh" content="0; url=([^"]+)"`).FindStringSubmatch(rec.Body.String())
	if rec.Code != http.StatusOK || m == nil {
		t.Fatalf("%d: the page leads nowhere\n%s", rec.Code, rec.Body)
	}
	return html.UnescapeString(m[1])
}

func query(t *testing.T, location, at string) string {
	t.Helper()
	where, q, ok := strings.Cut(location, "?")
	if where != at || !ok {
		t.Fatalf("the browser is sent to %s, want %s", location, at)
	}
	return q
}

func TestSAMLSignOutGoesOnToTheIdentityProviderAndComesBack(t *testing.T) {
	w := newSLOWorld(t, nil)
	for _, tc := range []struct {
		name    string
		success bool
		binding saml.Binding
		next    string
	}{
		{"signed out there", true, saml.BindingRedirect, ours + "/sso/signed-out"},
		{"signed out there, by a form", true, saml.BindingPOST, ours + "/sso/signed-out"},
		{"not everywhere", false, saml.BindingRedirect, ours + "/sso/signed-out?only=gatehouse"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := w.samlSignIn()
			rec := b.post("/sso/logout", nil)
			if len(w.live()) != 0 || b.cookies[SessionCookie] != "" {
				t.Fatalf("%d sessions are alive after the sign-out", len(w.live()))
			}
			idp := w.provider(func(c *saml.Config) { c.IDP.SLOBinding = tc.binding })
			req, err := idp.ParseLogoutRequest(t.Context(), query(t, sentOn(t, rec), samlIDPSLO), nil)
			if err != nil {
				t.Fatal(err)
			}
			if req.NameID != "grace" || !strings.HasSuffix(req.NameIDFormat, ":persistent") || len(req.SessionIndexes) != 1 || req.SessionIndexes[0] != "index-1" {
				t.Errorf("the request is about %+v", req)
			}
			kept := map[string]string{}
			for name, value := range b.cookies {
				kept[name] = value
			}
			answer, err := idp.LogoutResponse(req, tc.success)
			if rec = b.carry(answer, err); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != tc.next {
				t.Errorf("%d %s\n%s", rec.Code, rec.Header().Get("Location"), rec.Body)
			}
			b.cookies = kept
			w.refused(b.carry(answer, nil), "attempt_replayed")
			w.refused(w.browser().carry(answer, nil), "attempt_unknown")
		})
	}
}

// metadata is the identity provider's, with single logout by one binding.
func (w *samlWorld) metadata(slo saml.Binding) string {
	return `<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="` + samlIDP + `"><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">` +
		`<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>` + base64.StdEncoding.EncodeToString(w.cert.Raw) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>` +
		`<md:SingleLogoutService Binding="` + string(slo) + `" Location="` + samlIDPSLO + `"/>` +
		`<md:SingleSignOnService Binding="` + string(saml.BindingRedirect) + `" Location="https://saml-idp.example/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>`
}

func TestSAMLSignOutByAFormAndByScript(t *testing.T) {
	w := newSAMLWorld(t, nil)
	w.change(func(s *v1.SsoConnectionSpec) { s.SAML = &v1.SsoSaml{MetadataXML: w.metadata(saml.BindingPOST)} })

	rec := w.samlSignIn().post("/sso/logout", nil)
	body := rec.Body.String()
	if !strings.Contains(body, `action="`+samlIDPSLO+`"`) || !strings.Contains(body, `name="RelayState"`) ||
		!strings.HasSuffix(rec.Header().Get("Content-Security-Policy"), "form-action 'self' https://saml-idp.example") {
		t.Errorf("the page has no form to the identity provider: %s\n%s", rec.Header().Get("Content-Security-Policy"), body)
	}

	b := w.samlSignIn()
	r := httptest.NewRequest(http.MethodPost, ours+"/sso/logout", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Accept", "application/json")
	var answer struct {
		Location string
		Form     map[string]string
	}
	if err := json.Unmarshal(b.do(r).Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	if _, err := w.provider(nil).ParseLogoutRequest(t.Context(), "", url.Values{"SAMLRequest": {answer.Form["SAMLRequest"]}}); err != nil || answer.Location != samlIDPSLO {
		t.Errorf("%v, %+v", err, answer)
	}
}

func TestSAMLSignOutWhereThereIsNoSingleLogoutSaysSo(t *testing.T) {
	w := newSAMLWorld(t, nil)
	if next := sentOn(t, w.samlSignIn().post("/sso/logout", nil)); next != ours+"/sso/signed-out?only=gatehouse" {
		t.Error(next)
	}
}

func TestSecurityAnotherProviderIsNotToldWhoSignsOut(t *testing.T) {
	w := newSLOWorld(t, nil)
	saml, openid := w.samlSignIn(), w.browser()
	openid.signIn()
	w.change(func(s *v1.SsoConnectionSpec) { s.SAML.EntityID = "https://other.example/metadata" })
	main := w.connection("main")
	o := main.Spec.OIDC
	o.Issuer, o.EndSessionEndpoint = "https://other.example", "https://other.example/logout"
	o.AuthorizationEndpoint, o.TokenEndpoint, o.JWKSURL = "https://other.example/authorize", "https://other.example/token", "https://other.example/jwks"
	w.put(main)
	for name, b := range map[string]*browser{"SAML": saml, "OpenID Connect": openid} {
		if next := sentOn(t, b.post("/sso/logout", nil)); next != ours+"/sso/signed-out?only=gatehouse" {
			t.Errorf("%s: the new provider learns of the old one's person: %s", name, next)
		}
	}
	if len(w.live()) != 0 {
		t.Errorf("%d sessions are alive", len(w.live()))
	}
}

func TestSAMLSingleLogoutEndsTheSessionsThatTheProviderNames(t *testing.T) {
	for _, tc := range []struct {
		name string
		own  string // the first browser's session there
		who  saml.Assertion
		left int
	}{
		{"by SessionIndex", "index-1", saml.Assertion{NameID: "grace", SessionIndex: "index-1"}, 2},
		{"without SessionIndex: all of the person", "index-1", saml.Assertion{NameID: "grace"}, 1},
		{"another SessionIndex", "index-1", saml.Assertion{NameID: "grace", SessionIndex: "index-9"}, 3},
		{"another SessionIndex, where ours is not known", "", saml.Assertion{NameID: "grace", SessionIndex: "index-9"}, 2},
		{"somebody else", "index-1", saml.Assertion{NameID: "alan", SessionIndex: "index-1"}, 3},
	} {
		for _, binding := range []saml.Binding{saml.BindingRedirect, saml.BindingPOST} {
			t.Run(tc.name+" "+string(binding), func(t *testing.T) {
				w := newSLOWorld(t, nil)
				b := w.samlSignIn()
				w.samlSignIn()
				for id, s := range w.sessions {
					s.ProviderSession = "index-2"
					if s.Digest == identity.DigestOf(b.cookies[SessionCookie]) {
						s.ProviderSession = tc.own
					}
					w.sessions[id] = s
				}
				w.browser().signIn() // by another connection
				idp := w.provider(func(c *saml.Config) { c.IDP.SLOBinding = binding })
				rec := b.carry(idp.LogoutRequest(tc.who, "back"))
				if len(w.live()) != tc.left {
					t.Errorf("%d sessions are alive, want %d", len(w.live()), tc.left)
				}
				answer := query(t, rec.Header().Get("Location"), samlIDPSLO)
				if v, _ := url.ParseQuery(answer); rec.Code != http.StatusSeeOther || v.Get("RelayState") != "back" || v.Get("SAMLResponse") == "" || v.Get("Signature") == "" {
					t.Errorf("%d %s", rec.Code, answer)
				}
				for _, s := range w.sessions {
					if s.EndedAt != nil && s.EndedBy != "single-logout" {
						t.Errorf("ended by %q", s.EndedBy)
					}
				}
				if e := w.audit[len(w.audit)-1]; tc.left < 3 && (e.Action != "session.end" || !strings.Contains(string(e.After), `"subject":"grace"`) || !strings.Contains(string(e.After), `"users":["new-grace"]`)) {
					t.Errorf("the audit does not say who was signed out: %s %s", e.Action, e.After)
				}
				if gone := b.cookies[SessionCookie] == ""; gone != (tc.left < 3) {
					t.Errorf("the cookie is gone: %v", gone)
				}
			})
		}
	}
}

func TestASAMLLogoutThatCannotBeWrittenIsNoSuccess(t *testing.T) {
	w := newSLOWorld(t, nil)
	b := w.samlSignIn()
	w.down = true
	idp := w.provider(nil)
	req, err := idp.LogoutRequest(saml.Assertion{NameID: "grace"}, "")
	rec := b.carry(req, err)
	err = idp.ParseLogoutResponse(query(t, rec.Header().Get("Location"), samlIDPSLO), nil, []string{req.ID})
	if saml.ReasonOf(err) != saml.ReasonStatus || len(w.live()) != 1 || b.cookies[SessionCookie] == "" {
		t.Errorf("%v, %d sessions", err, len(w.live()))
	}
}

func TestThePageAfterASAMLLogoutSaysWhatHasHappened(t *testing.T) {
	w := newSLOWorld(t, nil)
	w.change(func(s *v1.SsoConnectionSpec) { s.SAML = &v1.SsoSaml{MetadataXML: w.metadata(saml.BindingPOST)} })
	b := w.samlSignIn()
	ask := func(who string) string {
		m, err := w.provider(nil).LogoutRequest(saml.Assertion{NameID: who}, "")
		return b.carry(m, err).Body.String()
	}
	if page := ask("alan"); strings.Contains(page, "signed out of Gatehouse") || !strings.Contains(page, "Signing out at") {
		t.Errorf("nobody was signed out here:\n%s", page)
	}
	w.down = true
	if page := ask("grace"); !strings.Contains(page, "You are not signed out of Gatehouse") || len(w.live()) != 1 {
		t.Errorf("the session goes on:\n%s", page)
	}
	w.down = false
	if page := ask("grace"); !strings.Contains(page, "You are signed out of Gatehouse") || len(w.live()) != 0 {
		t.Errorf("the session has ended:\n%s", page)
	}
}

func TestTheProvidersOwnLogoutsAreNotCountedAgainstIt(t *testing.T) {
	w := newSLOWorld(t, nil)
	w.samlSignIn()
	idp := w.provider(nil)
	for range triesSAML + 1 {
		if rec := w.browser().carry(idp.LogoutRequest(saml.Assertion{NameID: "somebody"}, "")); rec.Code != http.StatusSeeOther {
			t.Fatalf("%d\n%s", rec.Code, rec.Body)
		}
	}
	if rec := w.browser().carry(idp.LogoutRequest(saml.Assertion{NameID: "grace"}, "")); rec.Code != http.StatusSeeOther || len(w.live()) != 0 {
		t.Errorf("%d, %d sessions", rec.Code, len(w.live()))
	}
}

func TestSecurityLogoutMessagesOfStrangersAreBounded(t *testing.T) {
	w := newSLOWorld(t, nil)
	for range triesSAML {
		if rec := w.browser().get(ourSLO + "?SAMLRequest=x"); rec.Code == http.StatusTooManyRequests {
			t.Fatal("too soon")
		}
	}
	if rec := w.browser().get(ourSLO + "?SAMLRequest=x"); rec.Code != http.StatusTooManyRequests {
		t.Errorf("%d", rec.Code)
	}
	// Nor does it cost the emergency door its tries, or more than two at a time.
	if rec := w.browser().get("/sso/break-glass"); rec.Code != http.StatusOK {
		t.Errorf("the local administrator: %d", rec.Code)
	}
	for range verifyAtOnce {
		w.h.verifying[toSignIn] <- struct{}{}
	}
	looked, r := make(chan error, 1), httptest.NewRequest(http.MethodGet, ourSLO, nil)
	go func() {
		looked <- nil
		looked <- w.h.verified(r, toSignIn, func() error { looked <- errors.New("looked at"); return nil })
	}()
	<-looked
	select {
	case <-looked:
		t.Fatal("a third one is looked at beside two")
	case <-time.After(100 * time.Millisecond):
	}
	<-w.h.verifying[toSignIn] // a place
	if first, second := <-looked, <-looked; first == nil || second != nil {
		t.Errorf("it is not looked at when there is a place: %v, %v", first, second)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w.h.verifying[toSignIn] <- struct{}{}
	if err := w.h.verified(r.WithContext(gone), toSignIn, func() error { t.Error("nobody waits for it"); return nil }); err == nil {
		t.Error("no error")
	}
	if network("2001:db8::1") != network("2001:db8::ffff:2") || network("192.0.2.1") == network("192.0.2.2") || network("") != "" {
		t.Error("a /64 of IPv6 is one network, an address of IPv4 is one")
	}
}

func TestAConnectionThatIsSwitchedOffStillEndsSessions(t *testing.T) {
	w := newSLOWorld(t, nil)
	w.samlSignIn()
	w.browser().signIn()
	w.change(func(s *v1.SsoConnectionSpec) { s.Enabled = false })
	main := w.connection("main")
	main.Spec.Enabled = false
	w.put(main)
	if rec := w.browser().get("/sso/corp/login"); rec.Code != http.StatusNotFound {
		t.Errorf("it lets people in: %d", rec.Code)
	}
	if rec := w.browser().carry(w.provider(nil).LogoutRequest(saml.Assertion{NameID: "grace"}, "")); rec.Code != http.StatusSeeOther || len(w.live()) != 1 {
		t.Errorf("SAML: %d, %d sessions\n%s", rec.Code, len(w.live()), rec.Body)
	}
	if rec := w.backchannel(w.idp.sign(w.logoutClaimsOf(nil), "logout+jwt")); rec.Code != http.StatusOK || len(w.live()) != 0 {
		t.Errorf("OpenID Connect: %d, %d sessions\n%s", rec.Code, len(w.live()), rec.Body)
	}
}

// TestSecurityASAMLLogoutIsTheProviders: what the messages themselves are held
// to is tested in the package saml.
func TestSecurityASAMLLogoutIsTheProviders(t *testing.T) {
	w := newSLOWorld(t, nil)
	b := w.samlSignIn()
	evil := newSAMLWorld(t, nil)
	grace := saml.Assertion{NameID: "grace"}
	genuine, err := w.provider(nil).LogoutRequest(grace, "")
	if err != nil {
		t.Fatal(err)
	}
	unsigned := genuine
	unsigned.URL, _, _ = strings.Cut(genuine.URL, "&SigAlg=")
	forged, err := w.provider(func(c *saml.Config) { c.Key, c.Certificate = evil.key, evil.cert }).LogoutRequest(grace, "")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := w.provider(func(c *saml.Config) { c.IDP.SLOURL = "https://other.example/slo" }).LogoutRequest(grace, "")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere.URL = strings.Replace(elsewhere.URL, "https://other.example/slo", ours+ourSLO, 1)
	both := genuine
	both.URL += "&SAMLResponse=x"
	twice := genuine
	twice.URL += "&SAMLRequest=x"
	toOpenID := genuine
	toOpenID.URL = strings.Replace(genuine.URL, "/sso/corp/", "/sso/main/", 1)
	toNobody := genuine
	toNobody.URL = strings.Replace(genuine.URL, "/sso/corp/", "/sso/none/", 1)
	for name, c := range map[string]struct {
		m      saml.Request
		reason string
	}{
		"unsigned":                 {unsigned, "saml_unsigned"},
		"another's key":            {forged, "saml_wrong_signature"},
		"for another":              {elsewhere, "saml_wrong_destination"},
		"a request and a response": {both, "saml_malformed"},
		"two requests":             {twice, "saml_malformed"},
		"an OpenID connection":     {toOpenID, "wrong_protocol"},
		"no connection":            {toNobody, "no_connection"},
		"nothing":                  {saml.Request{URL: ours + ourSLO}, "saml_malformed"},
		"an empty form":            {saml.Request{URL: genuine.URL, Form: map[string]string{}}, "saml_malformed"},
	} {
		rec := b.carry(c.m, nil)
		if rec.Code < 400 || !strings.Contains(rec.Body.String(), "<code>"+c.reason+"</code>") || len(w.live()) != 1 || b.cookies[SessionCookie] == "" {
			t.Errorf("%s: %d, %d sessions\n%s", name, rec.Code, len(w.live()), rec.Body)
		}
	}
	if rec := b.carry(genuine, nil); rec.Code != http.StatusSeeOther || len(w.live()) != 0 {
		t.Fatalf("%d, %d sessions\n%s", rec.Code, len(w.live()), rec.Body)
	}
	w.samlSignIn()
	if rec := w.browser().carry(genuine, nil); rec.Code < 400 || len(w.live()) != 1 {
		t.Errorf("the same request ends the next session too: %d, %d sessions", rec.Code, len(w.live()))
	}
}

func TestSecurityASAMLLogoutEndsNothingOfAnotherConnection(t *testing.T) {
	w := newSLOWorld(t, nil)
	w.samlSignIn()
	for id, s := range w.sessions {
		s.Connection = "second" // of the same identity provider
		w.sessions[id] = s
	}
	w.publish()
	if rec := w.browser().carry(w.provider(nil).LogoutRequest(saml.Assertion{NameID: "grace"}, "")); rec.Code != http.StatusSeeOther || len(w.live()) != 1 {
		t.Errorf("%d, %d sessions", rec.Code, len(w.live()))
	}
}

func TestSecurityAnAttemptToSignOutIsNoneToSignIn(t *testing.T) {
	w := newSLOWorld(t, nil)
	b := w.samlSignIn()
	q, _ := url.ParseQuery(query(t, sentOn(t, b.post("/sso/logout", nil)), samlIDPSLO))
	req, err := w.provider(nil).ParseLogoutRequest(t.Context(), query(t, samlIDPSLO+"?"+q.Encode(), samlIDPSLO), nil)
	if saml.ReasonOf(err) == "" && err != nil {
		t.Fatal(err)
	}
	w.refused(b.answer(w.response(req.ID, "persistent"), q.Get("RelayState")), "attempt_unknown")

	request, relay := b.open()
	answer, err := w.provider(nil).LogoutResponse(saml.LogoutRequest{ID: request, RelayState: relay}, true)
	w.refused(b.carry(answer, err), "attempt_unknown")
}
