package sso

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

func TestASignInMakesAPersonTheirTeamsAndASession(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	rec := b.signIn()
	if rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/console/" {
		t.Fatalf("%d %q\n%s", rec.Code, rec.Header().Get("Location"), rec.Body)
	}
	u, ok := w.userByEmail("ada@example.com")
	if !ok || u.DisplayName != "Ada" || len(u.Identities) != 1 || u.Identities[0].Issuer != w.idp.URL || u.Identities[0].Subject != "ada-1" {
		t.Fatalf("user %+v", u)
	}
	v, err := w.h.Sessions().Authenticate(b.api("GET"))
	if err != nil {
		t.Fatal(err)
	}
	if v.Principal.UID != u.UID || !slices.Equal(v.Principal.Teams, []string{"research"}) || v.Grant.Via != "session" || v.Grant.TokenID != w.live()[0].ID {
		t.Errorf("%+v %+v", v.Principal, v.Grant)
	}
	s := w.live()[0]
	if s.Connection != "main" || s.Issuer != w.idp.URL || s.Subject != "ada-1" || s.ProviderSession != "sid-1" || !s.ExpiresAt.Equal(w.now.Add(7*24*time.Hour)) || s.Digest != identity.DigestOf(b.cookies[SessionCookie]) {
		t.Errorf("session %+v", s)
	}
	if a := w.arrived; a.Via != "sso:main" || a.Through != "sso-connection:main" || a.RemoteAddr == "" || a.RequestID == "" {
		t.Errorf("the audit learns of the arrival %+v", a)
	}
	last := w.audit[len(w.audit)-1]
	if last.Action != "session.sign-in" || last.Outcome != "done" || last.Actor != "user:ada@example.com" || last.Target != "session:"+s.ID {
		t.Errorf("audit %+v", last)
	}
	for name := range b.cookies {
		if strings.HasPrefix(name, attemptPrefix) {
			t.Errorf("the attempt's cookie %s is still there", name)
		}
	}
}

func TestTheRequestToTheProviderIsComplete(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) {
		c.Spec.Require = v1.SsoRequire{ACRValues: v1.Strings{"mfa", "phr"}, MaxAge: "1h"}
	})
	u, err := url.Parse(w.browser().begin("/sso/main/login?login_hint=Ada@Example.com"))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"realm": "a", "response_type": "code", "client_id": "gate:house", "redirect_uri": ours + "/sso/main/callback", "scope": "openid profile email",
		"code_challenge_method": "S256", "acr_values": "mfa phr", "max_age": "3600", "login_hint": "ada@example.com",
	} {
		if q.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Get(name)) != 43 {
			t.Errorf("%s is %q", name, q.Get(name))
		}
	}
}

func TestASignInReplacesItsIssuersTeamsAndNoOthers(t *testing.T) {
	w := newWorld(t, nil)
	until := w.now.Add(time.Hour)
	w.addUser(identity.User{
		UID: "u1", Email: "ada@example.com", Active: true, Identities: []identity.UserIdentity{{Issuer: w.idp.URL, Subject: "ada-1"}},
		Memberships: []identity.Membership{
			{Team: "other", Source: "sso:" + w.idp.URL, ExpiresAt: &until}, {Team: "other", Source: "manual"}, {Team: "other", Source: "sso:https://elsewhere.example", ExpiresAt: &until},
		},
	})
	w.idp.claims["groups"] = []string{"eng", "operators", "unknown"}
	if rec := w.browser().signIn(); rec.Code != http.StatusSeeOther {
		t.Fatal(rec.Body)
	}
	got := map[string]time.Time{}
	for _, m := range w.users["u1"].Memberships {
		at := time.Time{}
		if m.ExpiresAt != nil {
			at = *m.ExpiresAt
		}
		got[m.Team+" "+m.Source] = at
	}
	end := w.now.Add(30 * 24 * time.Hour) // membershipMaxAge
	want := map[string]time.Time{
		"other manual": {}, "other sso:https://elsewhere.example": until, "research sso:" + w.idp.URL: end, "ops sso:" + w.idp.URL: end,
	}
	if len(got) != len(want) {
		t.Errorf("memberships %v, want %v", got, want)
	}
	for k, at := range want {
		if g, ok := got[k]; !ok || !g.Equal(at) {
			t.Errorf("%s until %v (%t), want %v", k, g, ok, at)
		}
	}
	if last := w.batches[len(w.batches)-1]; len(last.PutUsers) != 1 || len(last.PutSessions) != 1 || len(last.UserConditions) != 1 || len(last.Audit) != 1 {
		t.Errorf("memberships and session are not one batch: %+v", last)
	}
	// No groups any more: none of this issuer's memberships is left.
	w.idp.claims["groups"] = []string{}
	w.browser().signIn()
	for _, m := range w.users["u1"].Memberships {
		if m.Source == "sso:"+w.idp.URL {
			t.Errorf("%+v outlives the group", m)
		}
	}
}

func TestSCIMBeatsASignIn(t *testing.T) {
	w := newWorld(t, nil)
	scim := []identity.Membership{{Team: "ops", Source: "scim"}}
	w.addUser(identity.User{
		UID: "u1", Email: "ada@example.com", Active: true, Manager: "scim:hr", Identities: []identity.UserIdentity{{Issuer: w.idp.URL, Subject: "ada-1"}},
		Memberships: scim,
	})
	w.browser().signIn()
	if m := w.users["u1"].Memberships; len(m) != 1 || m[0] != scim[0] || len(w.live()) != 1 {
		t.Errorf("memberships %+v, %d sessions", m, len(w.live()))
	}
}

func TestSecurityAnIssuerWhosePeopleComeBySCIMCreatesNobody(t *testing.T) {
	w := newWorld(t, nil)
	w.apply("apiVersion: gatehouse.dev/v1\nkind: ScimDirectory\nmetadata: {name: hr}\nspec: {issuers: [\"" + w.idp.URL + "\"]}\n")
	w.refused(w.browser().signIn(), "not_mapped")
	if len(w.users) != 0 {
		t.Errorf("%+v", w.users)
	}
	// Whom the directory has made may sign in, with the directory's teams alone.
	w.addUser(identity.User{UID: "u1", Email: "ada@example.com", Active: true, Identities: []identity.UserIdentity{{Issuer: w.idp.URL, Subject: "ada-1"}}})
	if rec := w.browser().signIn(); rec.Code != http.StatusSeeOther || len(w.users["u1"].Memberships) != 0 {
		t.Errorf("%d %+v", rec.Code, w.users["u1"])
	}
}

func TestSecurityWhoMayComeIn(t *testing.T) {
	key := func(w *world) []identity.UserIdentity {
		return []identity.UserIdentity{{Issuer: w.idp.URL, Subject: "ada-1"}}
	}
	exists := func(w *world) { w.addUser(identity.User{UID: "u1", Email: "ada@example.com", Active: true}) }
	for _, tc := range []struct {
		name   string
		spec   func(*v1.SsoConnectionSpec)
		before func(*world)
		reason string // empty: they come in, as the user u1
	}{
		{"nobody where users is never", func(s *v1.SsoConnectionSpec) { s.Users = v1.UsersNever }, exists, "users_never"},
		{"nobody new where users is existing", func(s *v1.SsoConnectionSpec) { s.Users = v1.UsersExisting }, nil, "not_mapped"},
		{"an existing user of the identity", func(s *v1.SsoConnectionSpec) { s.Users = v1.UsersExisting }, func(w *world) {
			w.addUser(identity.User{UID: "u1", Email: "x@y.example", Active: true, Identities: key(w)})
		}, ""},
		{"an existing user by e-mail, where linked", func(s *v1.SsoConnectionSpec) { s.LinkBy = v1.LinkByEmail }, exists, ""},
		{"not by e-mail alone", nil, exists, "identity_conflict"},
		{"not a second subject of the issuer", func(s *v1.SsoConnectionSpec) { s.LinkBy = v1.LinkByEmail }, func(w *world) {
			w.addUser(identity.User{UID: "u1", Email: "ada@example.com", Active: true, Identities: []identity.UserIdentity{{Issuer: w.idp.URL, Subject: "another"}}})
		}, "identity_conflict"},
		{"not for another domain", func(s *v1.SsoConnectionSpec) {
			s.LinkBy, s.EmailDomains = v1.LinkByEmail, v1.Strings{"elsewhere.example"}
		}, exists, "not_mapped"},
		{"not with an unverified address", func(s *v1.SsoConnectionSpec) { s.LinkBy = v1.LinkByEmail }, func(w *world) {
			exists(w)
			w.idp.claims["email_verified"] = false
		}, "not_mapped"},
		{"not where nothing says verified", func(s *v1.SsoConnectionSpec) { s.LinkBy = v1.LinkByEmail }, func(w *world) {
			exists(w)
			delete(w.idp.claims, "email_verified")
		}, "not_mapped"},
		{"where a missing word is assumed", func(s *v1.SsoConnectionSpec) { s.LinkBy, s.EmailVerified = v1.LinkByEmail, v1.EmailVerifiedAssumed }, func(w *world) {
			exists(w)
			delete(w.idp.claims, "email_verified")
		}, ""},
		{"but not against a false", func(s *v1.SsoConnectionSpec) { s.LinkBy, s.EmailVerified = v1.LinkByEmail, v1.EmailVerifiedAssumed }, func(w *world) {
			exists(w)
			w.idp.claims["email_verified"] = "false"
		}, "not_mapped"},
		{"nor against what is no word at all", func(s *v1.SsoConnectionSpec) { s.LinkBy, s.EmailVerified = v1.LinkByEmail, v1.EmailVerifiedAssumed }, func(w *world) {
			exists(w)
			w.idp.claims["email_verified"] = []string{"true", "false"}
		}, "not_mapped"},
		{"not an address that only looks like it", func(s *v1.SsoConnectionSpec) { s.LinkBy = v1.LinkByEmail }, func(w *world) {
			w.addUser(identity.User{UID: "u1", Email: "k@example.com", Active: true})
			w.idp.claims["email"] = "\u212A@example.com"
		}, "not_mapped"},
		{"not somebody who is switched off", nil, func(w *world) {
			w.addUser(identity.User{UID: "u1", Email: "ada@example.com", Identities: key(w)})
		}, "inactive"},
		{"not somebody who is switched off, by e-mail", func(s *v1.SsoConnectionSpec) { s.LinkBy = v1.LinkByEmail }, func(w *world) {
			w.addUser(identity.User{UID: "u1", Email: "ada@example.com"})
		}, "inactive"},
		{"not a deleted identity", nil, func(w *world) {
			w.tombs = []identity.Tombstone{{UID: "gone", Email: "old@example.com", Identities: []identity.IdentityKey{{Issuer: w.idp.URL, Subject: "ada-1"}}}}
			w.publish()
		}, "deleted"},
		{"not a deleted identity, whatever its address", nil, func(w *world) {
			w.tombs = []identity.Tombstone{{UID: "gone", Email: "old@example.com", Identities: []identity.IdentityKey{{Issuer: w.idp.URL, Subject: "ada-1"}}}}
			w.publish()
			w.idp.claims["email_verified"] = false
		}, "deleted"},
		{"not a deleted address", nil, func(w *world) {
			w.tombs = []identity.Tombstone{{UID: "gone", Email: "ada@example.com"}}
			w.publish()
		}, "deleted"},
		{"not somebody whom another replica has just switched off", nil, func(w *world) {
			w.addUser(identity.User{UID: "u1", Email: "ada@example.com", Active: true, Identities: key(w)})
			u := w.users["u1"]
			u.Active = false
			w.users["u1"], w.behind = u, true
		}, "inactive"},
		{"not an address that another replica has just deleted", nil, func(w *world) {
			w.tombs, w.behind = []identity.Tombstone{{UID: "gone", Email: "ada@example.com"}}, true
		}, "deleted"},
		{"somebody whom another replica has just let in again", nil, func(w *world) {
			w.tombs = []identity.Tombstone{{UID: "gone", Email: "ada@example.com"}}
			w.publish()
			w.tombs, w.behind = nil, true
			w.users["u1"] = identity.User{UID: "u1", Email: "ada@example.com", Active: true, Version: 1, Identities: key(w)}
		}, ""},
		{"nobody as the local administrator", func(s *v1.SsoConnectionSpec) { s.LinkBy, s.EmailDomains = v1.LinkByEmail, v1.Strings{"*"} }, func(w *world) {
			w.addUser(identity.User{UID: "u1", Email: breakGlassEmail, Active: true})
			w.idp.claims["email"] = breakGlassEmail
		}, "not_mapped"},
		{"not without the second factor that is required", func(s *v1.SsoConnectionSpec) { s.Require.AMR = v1.Strings{"mfa", "otp"} }, func(w *world) {
			w.idp.claims["amr"] = []string{"pwd"}
		}, "amr"},
		{"not with another acr", func(s *v1.SsoConnectionSpec) { s.Require.ACRValues = v1.Strings{"mfa"} }, func(w *world) { w.idp.claims["acr"] = "pwd" }, "acr"},
		{"not with an old proof", func(s *v1.SsoConnectionSpec) { s.Require.MaxAge = "1h" }, func(w *world) {
			w.idp.claims["auth_time"] = w.now.Add(-2 * time.Hour).Unix()
		}, "too_long_ago"},
		{"not with a proof of no date", func(s *v1.SsoConnectionSpec) { s.Require.MaxAge = "1h" }, func(w *world) { w.idp.claims["auth_time"] = nil }, "no_auth_time"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, func(c *v1.SsoConnection) {
				if tc.spec != nil {
					tc.spec(&c.Spec)
				}
			})
			if tc.before != nil {
				tc.before(w)
			}
			before := maps.Clone(w.users)
			rec := w.browser().signIn()
			if d := cmp.Diff(before, w.users); d != "" && tc.reason != "" {
				t.Errorf("somebody was made or changed:\n%s", d)
			}
			if tc.reason == "" {
				if list := w.live(); rec.Code != http.StatusSeeOther || len(list) != 1 || list[0].UserUID != "u1" {
					t.Errorf("%d %+v\n%s", rec.Code, list, rec.Body)
				}
				return
			}
			w.refused(rec, tc.reason)
			last := w.audit[len(w.audit)-1]
			if last.Outcome != "denied" || last.Target != "sso-connection:main" || !strings.Contains(string(last.After), `"reason":"`+tc.reason+`"`) {
				t.Errorf("audit %+v", last)
			}
		})
	}
}

func TestSecurityWhoIsSwitchedOffMeanwhileGetsNoSession(t *testing.T) {
	w := newWorld(t, nil)
	w.addUser(identity.User{UID: "u1", Email: "ada@example.com", Active: true, Identities: []identity.UserIdentity{{Issuer: w.idp.URL, Subject: "ada-1"}}})
	w.onUser = func() { // between the reading and the writing
		u := w.users["u1"]
		u.Active, u.Version = false, u.Version+1
		w.users["u1"] = u
	}
	w.refused(w.browser().signIn(), "inactive")
}

func TestEntraNamesPeopleByObjectIDWithinTheTenant(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) { c.Spec.Provider = v1.PresetEntra })
	c := w.idp.claims
	c["oid"], c["tid"], c["xms_edov"] = "object/1", "tenant/2", true
	delete(c, "email_verified")
	w.browser().signIn()
	u, _ := w.userByEmail("ada@example.com")
	if len(u.Identities) != 1 || u.Identities[0].Subject != "tenant~12/object/1" {
		t.Errorf("%+v", u)
	}
	if s := w.live(); len(s) != 1 || s[0].Subject != "ada-1" {
		t.Errorf("the session must keep sub, which a back-channel logout names: %+v", s)
	}
}

func TestUserinfoIsAskedForWhatTheIDTokenLacks(t *testing.T) {
	w := newWorld(t, nil)
	w.browser().signIn()
	if w.idp.infoCalls != 0 {
		t.Error("userinfo was asked although the ID token said everything")
	}
	w = newWorld(t, nil)
	for _, name := range []string{"email", "email_verified", "groups"} {
		delete(w.idp.claims, name)
	}
	w.idp.info = map[string]any{"sub": "ada-1", "email": "ada@example.com", "email_verified": true, "groups": []string{"eng"}, "name": "Not Ada"}
	w.browser().signIn()
	u, ok := w.userByEmail("ada@example.com")
	if !ok || len(u.Memberships) != 1 || u.DisplayName != "Ada" || w.idp.infoCalls != 1 {
		t.Errorf("%+v, %d calls", u, w.idp.infoCalls)
	}
}

func TestSecurityUserinfoOfSomebodyElse(t *testing.T) {
	w := newWorld(t, nil)
	delete(w.idp.claims, "email")
	w.idp.info = map[string]any{"sub": "eve-1", "email": "ada@example.com", "email_verified": true}
	w.refused(w.browser().signIn(), "userinfo_subject")
}

func TestSecurityUserinfosVerificationIsNotForTheIDTokensAddress(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) { c.Spec.LinkBy = v1.LinkByEmail })
	w.addUser(identity.User{UID: "boss", Email: "boss@example.com", Active: true})
	w.idp.claims["email"] = "boss@example.com"
	delete(w.idp.claims, "email_verified")
	delete(w.idp.claims, "groups")
	w.idp.info = map[string]any{"sub": "ada-1", "email": "ada@example.com", "email_verified": true}
	w.refused(w.browser().signIn(), "not_mapped")
	// Nor the other way round.
	delete(w.idp.claims, "email")
	w.idp.claims["email_verified"] = true
	w.idp.info = map[string]any{"sub": "ada-1", "email": "boss@example.com", "email_verified": false}
	w.refused(w.browser().signIn(), "not_mapped")
}

func TestManualEndpointsNeedNoDiscovery(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) {
		o := c.Spec.OIDC
		o.AuthorizationEndpoint, o.TokenEndpoint, o.JWKSURL = o.Issuer+"/authorize", o.Issuer+"/token", o.Issuer+"/jwks"
	})
	w.idp.discovery = func(map[string]any) { t.Error("the discovery document was fetched") }
	if rec := w.browser().signIn(); rec.Code != http.StatusSeeOther {
		t.Error(rec.Body)
	}
}

func TestMisconfigurationsTellTheAdministratorWhatToChange(t *testing.T) {
	for _, tc := range []struct {
		name, reason, says string
		script             func(*world)
	}{
		{"issuer with a slash", "discovery_issuer", "slash at the end", func(w *world) {
			w.idp.discovery = func(d map[string]any) { d["issuer"] = w.idp.URL + "/" }
		}},
		{"no S256", "no_pkce", "PKCE", func(w *world) {
			w.idp.discovery = func(d map[string]any) { d["code_challenge_methods_supported"] = []string{"plain"} }
		}},
		{"an endpoint on the metadata service", "discovery_endpoint", "allowPrivateNetwork", func(w *world) {
			w.idp.discovery = func(d map[string]any) { d["token_endpoint"] = "http://169.254.169.254/token" }
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			tc.script(w)
			rec := w.browser().get("/sso/main/login")
			w.refused(rec, tc.reason)
			if !strings.Contains(rec.Body.String(), tc.says) || !strings.Contains(rec.Body.String(), "For the administrator") {
				t.Errorf("the page does not say %q:\n%s", tc.says, rec.Body)
			}
		})
	}
}

func TestTheProvidersErrorsGetAPage(t *testing.T) {
	for code, reason := range map[string]string{
		"access_denied": "access_denied", "invalid_scope": "invalid_scope", "temporarily_unavailable": "temporarily_unavailable", "<script>": "provider_error",
	} {
		w := newWorld(t, nil)
		w.idp.answer = func(q url.Values) {
			q.Del("code")
			q.Set("error", code)
			q.Set("error_description", "Call 555-EVIL to fix this")
		}
		rec := w.browser().signIn()
		w.refused(rec, reason)
		if strings.Contains(rec.Body.String(), "EVIL") || strings.Contains(rec.Body.String(), "<script>") {
			t.Errorf("%s: the page shows what anybody could have written:\n%s", code, rec.Body)
		}
	}
}

func TestSecurityTheClientSecretIsOnNoPage(t *testing.T) {
	w := newWorld(t, nil)
	w.h.opt.Secret = func(*v1.SsoConnection) (string, error) { return "wrong-secret", nil }
	rec := w.browser().signIn()
	w.refused(rec, "client_refused")
	if strings.Contains(rec.Body.String(), "wrong-secret") {
		t.Error("the page shows the secret")
	}
}

func TestAnOutageOfTheProviderIsNotRememberedForLong(t *testing.T) {
	w := newWorld(t, nil)
	w.idp.discovery = func(d map[string]any) { d["issuer"] = "x" }
	w.refused(w.browser().get("/sso/main/login"), "discovery_issuer")
	w.idp.script(func() { w.idp.discovery = nil })
	w.pass(10 * time.Second)
	if rec := w.browser().signIn(); rec.Code != http.StatusSeeOther {
		t.Error(rec.Body)
	}
	// What is known goes on while the provider is away.
	w.idp.script(func() { w.idp.discovery = func(d map[string]any) { d["issuer"] = "x" } })
	w.pass(2 * time.Hour)
	if rec := w.browser().signIn(); rec.Code != http.StatusSeeOther {
		t.Error(rec.Body)
	}
}
