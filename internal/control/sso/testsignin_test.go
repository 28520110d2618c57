package sso

import (
	"encoding/json"
	"errors"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/sso/saml"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// link is a link of a test of a connection.
func (w *world) link(name string) string {
	w.t.Helper()
	c, ok := w.Load().SsoConnection(name)
	if !ok {
		w.t.Fatal("no connection " + name)
	}
	link, expiresAt, err := w.h.TestLink(c.Name, c.UID, "user:admin@example.com")
	if err != nil || expiresAt.Sub(w.clock()) != testLife || !strings.HasPrefix(link, ours+"/sso/"+name+"/login?test=") {
		w.t.Fatal(link, expiresAt, err)
	}
	return strings.TrimPrefix(link, ours)
}

// changedNothing fails the test where a test sign-in left more than its entry.
func (w *world) changedNothing(rec *httptest.ResponseRecorder, outcome string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.batches {
		b := w.batches[i]
		b.Audit = nil
		if text, _ := json.Marshal(b); string(text) != "{}" && len(b.PutUsers)+len(b.PutSessions)+len(b.EndSessions)+len(b.PutResources) > 0 {
			w.t.Errorf("a test wrote %s", text)
		}
	}
	if len(w.sessions) != 0 {
		w.t.Errorf("a test made %d sessions", len(w.sessions))
	}
	for _, c := range rec.Result().Cookies() {
		if c.MaxAge >= 0 {
			w.t.Errorf("a test sets the cookie %s", c.Name)
		}
	}
	last := w.audit[len(w.audit)-1]
	if last.Action != "session.test" || last.Outcome != outcome || last.Target != "sso-connection:main" || !strings.Contains(string(last.After), `"by":"user:admin@example.com"`) {
		w.t.Errorf("the audit says %+v %s", last, last.After)
	}
}

func TestATestSignInSaysWhatWouldComeOfIt(t *testing.T) {
	known := func(u identity.User) func(*world) {
		return func(w *world) {
			u.UID, u.Email = "u-1", "ada@example.com"
			if len(u.Identities) > 0 {
				u.Identities[0].Issuer = w.idp.URL
			}
			w.addUser(u)
		}
	}
	ada := []identity.UserIdentity{{Subject: "ada-1"}}
	for _, tc := range []struct {
		name   string
		change func(*v1.SsoConnectionSpec)
		before func(*world)
		want   []string
		reason string
	}{
		{"somebody new", nil, nil, []string{"ada@example.com, a new user", "ada@example.com, which counts", "ada-1 at http", "<dd>research</dd>", "<dd>eng</dd>", "set spec.enabled to true", "<dt>email_verified</dt><dd><code>true</code>"}, ""},
		{"a user", nil, known(identity.User{Active: true, Identities: ada}), []string{"ada@example.com, a user here</dd>"}, ""},
		{"a user who would be linked", func(s *v1.SsoConnectionSpec) { s.LinkBy = v1.LinkByEmail }, known(identity.User{Active: true}), []string{"linked with this sign-in by the e-mail address"}, ""},
		{"a directory's", nil, known(identity.User{Active: true, Identities: ada, Manager: "scim:okta"}), []string{"those that the SCIM directory says"}, ""},
		{"enabled already", func(s *v1.SsoConnectionSpec) { s.Enabled = true }, nil, []string{"The test worked", "a new user"}, ""},
		{"not linked", nil, known(identity.User{Active: true}), nil, "identity_conflict"},
		{"another subject", func(s *v1.SsoConnectionSpec) { s.LinkBy = v1.LinkByEmail }, known(identity.User{Active: true, Identities: []identity.UserIdentity{{Subject: "ada-0"}}}), nil, "identity_conflict"},
		{"not a user", func(s *v1.SsoConnectionSpec) { s.Users = v1.UsersExisting }, nil, []string{"ada-1 at http"}, "not_mapped"},
		{"another's domain", func(s *v1.SsoConnectionSpec) { s.EmailDomains = v1.Strings{"elsewhere.example"} }, nil, []string{"which does not count"}, "not_mapped"},
		{"deactivated", nil, known(identity.User{Identities: ada}), nil, "inactive"},
		{"too weak", func(s *v1.SsoConnectionSpec) { s.Require.ACRValues = v1.Strings{"phr"} }, nil, []string{"required is one of [phr]", "ada@example.com, which counts"}, "acr"},
		{"no subject", func(s *v1.SsoConnectionSpec) { s.Claims.Subject = v1.Strings{"employee"} }, nil, []string{"Check spec.claims.subject.", "<dt>sub</dt><dd><code>&#34;ada-1&#34;</code>"}, "no_subject"},
		{"no groups", func(s *v1.SsoConnectionSpec) { s.Claims.Groups = v1.Strings{"roles"} }, func(w *world) { w.idp.info = map[string]any{"sub": "ada-1"} }, []string{"none; look at claims.groups", "none; no team lists one of the groups"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, func(c *v1.SsoConnection) {
				c.Spec.Enabled = false
				if tc.change != nil {
					tc.change(&c.Spec)
				}
			})
			if tc.before != nil {
				tc.before(w)
			}
			users := maps.Clone(w.users)
			b := w.browser()
			rec := b.get(b.provider(b.begin(w.link("main"))))
			body := rec.Body.String()
			want, outcome := append(tc.want, "Nobody was signed in, and nothing was changed."), "done"
			if tc.reason != "" {
				want, outcome = append(want, "The test failed", "<code>"+tc.reason+"</code>"), "denied"
			}
			for _, text := range want {
				if rec.Code != http.StatusOK || !strings.Contains(body, text) {
					t.Errorf("%d: the page lacks %q", rec.Code, text)
				}
			}
			if t.Failed() {
				t.Log(body)
			}
			w.changedNothing(rec, outcome)
			for uid, u := range w.users {
				if was, ok := users[uid]; !ok || was.Version != u.Version {
					t.Errorf("the user %s was changed", u.Email)
				}
			}
		})
	}
}

func TestATestSignInShowsWhatTheProviderRefuses(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) { c.Spec.Enabled = false })
	opt := w.h.opt
	opt.Secret = func(*v1.SsoConnection) (string, error) { return "wrong", nil }
	h, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	w.h = h
	b := w.browser()
	rec := b.get(b.provider(b.begin(w.link("main"))))
	for _, want := range []string{"The test failed", "<code>client_refused</code>", "What to change"} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("the page lacks %s:\n%s", want, rec.Body)
		}
	}
	w.changedNothing(rec, "denied")
}

func TestSecurityATestShowsNothingOfTheNetwork(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) { c.Spec.Enabled = false })
	w.idp.discovery = func(d map[string]any) { d["token_endpoint"] = "http://127.0.0.1:1/inside" }
	b := w.browser()
	rec := b.get(b.provider(b.begin(w.link("main"))))
	if body := rec.Body.String(); !strings.Contains(body, "The test failed") || strings.Contains(body, "127.0.0.1:1") {
		t.Errorf("%d\n%s", rec.Code, body)
	}
	w.changedNothing(rec, "denied")
	secret := errors.New("dial tcp 10.0.0.5:443")
	for _, tc := range []struct {
		err   error
		shown bool
	}{
		{Refused("acr", "", secret), true},
		{Misconfigured("client_refused", "", secret), true},
		{samlRefused(saml.ReasonDestination, &saml.Refusal{Reason: saml.ReasonDestination, Detail: secret.Error()}), true},
		{Misconfigured("provider_refused", "", secret), false},
		{Misconfigured("ca_unreadable", "", secret), false},
		{Misconfigured("secret_unavailable", "", secret), false},
		{Away("provider_away", "", secret), false},
		{secret, false},
	} {
		r := &rehearsal{c: w.connection("main"), err: tc.err}
		if page := r.page(); (page.Detail != "") != tc.shown || page.Reason == "" {
			t.Errorf("%v: shown %q", tc.err, page.Detail)
		}
	}
}

func TestSecurityALinkFillsNoAudit(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) { c.Spec.Enabled = false })
	link := w.link("main")
	for range triesTest {
		if rec := w.browser().get(link); rec.Code != http.StatusSeeOther {
			t.Fatal(rec.Code)
		}
	}
	if rec := w.browser().get(link); rec.Code != http.StatusTooManyRequests {
		t.Errorf("%d", rec.Code)
	}
	w.pass(window)
	w.refused(w.browser().get(link), "test_over")
}

func TestASAMLTestSignIn(t *testing.T) {
	w := newSAMLWorld(t, func(c *v1.SsoConnection) { c.Spec.Enabled = false })
	b := w.browser()
	request, relay := b.openAt(w.link("corp"))
	rec := b.answer(w.response(request, "persistent"), relay)
	for _, want := range []string{"The test worked", "grace@example.com, a new user", "<dd>staff, other</dd>", "<dd>corp</dd>"} {
		if rec.Code != http.StatusOK || !strings.Contains(html.UnescapeString(rec.Body.String()), want) {
			t.Errorf("%d: the page lacks %q\n%s", rec.Code, want, rec.Body)
		}
	}
	if len(w.live()) != 0 || len(w.users) != 0 {
		t.Errorf("%d sessions, %d users", len(w.live()), len(w.users))
	}
}

func TestATestLeavesTheSessionOfTheBrowser(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn()
	before := b.cookies[SessionCookie]
	if rec := b.get(b.provider(b.begin(w.link("main")))); !strings.Contains(rec.Body.String(), "The test worked") {
		t.Fatal(rec.Body)
	}
	if len(w.live()) != 1 || b.cookies[SessionCookie] != before {
		t.Errorf("%d sessions, the cookie changed: %v", len(w.live()), b.cookies[SessionCookie] != before)
	}
}

func TestSecurityOnlyALinkOfThisConnectionAndTimeTestsIt(t *testing.T) {
	off := func(c *v1.SsoConnection) { c.Spec.Enabled = false }
	w := newWorld(t, off)
	second := w.connection("second")
	off(second)
	w.put(second)
	b := w.browser()
	right := w.link("main")
	_, ticket, _ := strings.Cut(right, "test=")
	attempt := ""
	for name, value := range func() map[string]string { b.begin(right); return b.cookies }() {
		if strings.HasPrefix(name, attemptPrefix) {
			attempt = value
		}
	}
	for name, path := range map[string]string{
		"another connection's": "/sso/second/login?test=" + ticket,
		"changed":              "/sso/main/login?test=" + ticket[:len(ticket)-3] + "AAA",
		"made up":              "/sso/main/login?test=x",
		"empty":                "/sso/main/login?test=",
		"an attempt":           "/sso/main/login?test=" + attempt,
	} {
		if rec := b.get(path); rec.Code != http.StatusNotFound || !strings.Contains(rec.Body.String(), "<code>test_over</code>") {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Header().Get("Location"))
		}
	}
	w.refused(b.get("/sso/main/login"), "no_connection")
	renewed := w.connection("main") // deleted and made again
	off(renewed)
	renewed.UID = "uid-again"
	w.put(renewed)
	w.refused(b.get(right), "test_over")
	renewed.UID = "uid-main"
	w.put(renewed)
	w.pass(testLife)
	w.refused(b.get(right), "test_over")
}

func TestSecurityATestNeverBecomesASignIn(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) { c.Spec.Enabled = false })
	b := w.browser()
	back := b.provider(b.begin(w.link("main")))
	w.put(w.connection("main")) // enabled meanwhile
	rec := b.get(back)
	if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "The test worked") {
		t.Errorf("%d\n%s", rec.Code, rec.Body)
	}
	w.changedNothing(rec, "done")
	w.refused(b.get(back), "attempt_unknown")
}

func TestSecurityASwitchedOffConnectionIsOffAtOnceEverywhere(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	back := b.provider(b.begin("/sso/main/login"))
	off := w.connection("main")
	off.Spec.Enabled = false
	off.Default()
	w.resources[identity.ResourceKey{Kind: v1.KindSsoConnection, Name: "main"}] = off // by another replica
	w.behind = true
	w.refused(b.get(back), "no_connection")
}

func TestSecurityAPersonIsShownTheirOwnClaimsAlone(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) { c.Spec.Enabled = false })
	b := w.browser()
	back := b.provider(b.begin(w.link("main")))
	if rec := w.browser().get(back); strings.Contains(rec.Body.String(), "ada@example.com") {
		t.Errorf("another browser sees the claims:\n%s", rec.Body)
	}
}
