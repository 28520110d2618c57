package sso

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// with returns an answer's path with a parameter changed; an empty value takes
// it away.
func with(path, name, value string) string {
	u, _ := url.Parse(path)
	q := u.Query()
	if q.Set(name, value); value == "" {
		q.Del(name)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func TestSecurityMixUp(t *testing.T) {
	for _, tc := range []struct{ name, iss string }{{"another issuer", "https://evil.example"}, {"none although promised", ""}} {
		w := newWorld(t, nil)
		b := w.browser()
		back := b.provider(b.begin("/sso/main/login"))
		w.refused(b.get(with(back, "iss", tc.iss)), "mix_up")
		if len(w.idp.tokenReqs) != 0 {
			t.Errorf("%s: the code was sent to a token endpoint", tc.name)
		}
	}
	// Where the provider promises nothing, none is accepted; a wrong one is not.
	quiet := func(d map[string]any) { delete(d, "authorization_response_iss_parameter_supported") }
	w := newWorld(t, nil)
	w.idp.discovery = quiet
	b := w.browser()
	w.refused(b.get(with(b.provider(b.begin("/sso/main/login")), "iss", "https://evil.example")), "mix_up")
	if rec := b.get(with(b.provider(b.begin("/sso/main/login")), "iss", "")); rec.Code != http.StatusSeeOther {
		t.Error(rec.Body)
	}
}

func TestSecurityAnAnswerOfAnotherConnectionsAttempt(t *testing.T) {
	w := newWorld(t, nil)
	w.put(w.connection("second"))
	b := w.browser()
	back := b.provider(b.begin("/sso/main/login"))
	w.refused(b.get(strings.Replace(back, "/sso/main/", "/sso/second/", 1)), "attempt_elsewhere")
}

func TestSecurityCodeInjection(t *testing.T) {
	w := newWorld(t, nil)
	victim, attacker := w.browser(), w.browser()
	stolen, _ := url.Parse(victim.provider(victim.begin("/sso/main/login")))
	own := attacker.provider(attacker.begin("/sso/main/login"))
	// The attacker puts the victim's code into their own attempt: PKCE stops it.
	w.refused(attacker.get(with(own, "code", stolen.Query().Get("code"))), "code_refused")
	// With a provider that does not look at the verifier, the nonce does.
	w = newWorld(t, nil)
	victim, attacker = w.browser(), w.browser()
	stolen, _ = url.Parse(victim.provider(victim.begin("/sso/main/login")))
	own = attacker.provider(attacker.begin("/sso/main/login"))
	code := stolen.Query().Get("code")
	ownURL, _ := url.Parse(own)
	w.idp.script(func() {
		challenge := w.idp.codes[ownURL.Query().Get("code")].Get("code_challenge")
		w.idp.codes[code].Set("code_challenge", challenge)
	})
	w.refused(attacker.get(with(own, "code", code)), "id_token_nonce")
}

func TestSecurityLoginCSRF(t *testing.T) {
	w := newWorld(t, nil)
	attacker := w.browser()
	back := attacker.provider(attacker.begin("/sso/main/login"))
	// The victim's browser is led to the attacker's answer: it has no attempt,
	// or one of its own.
	victim := w.browser()
	w.refused(victim.get(back), "attempt_unknown")
	victim.begin("/sso/main/login")
	w.refused(victim.get(back), "attempt_unknown")
	// Its own attempt's cookie under the attacker's name opens nothing.
	u, _ := url.Parse(back)
	for name, value := range victim.cookies {
		if strings.HasPrefix(name, attemptPrefix) {
			victim.cookies[attemptCookie(u.Query().Get("state"))] = value
		}
	}
	w.refused(victim.get(back), "attempt_unreadable")
	w.refused(w.browser().get("/sso/main/callback?code=x"), "no_state")
}

func TestSecurityReplayedState(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	back := b.provider(b.begin("/sso/main/login"))
	kept := map[string]string{}
	for k, v := range b.cookies {
		kept[k] = v
	}
	if rec := b.get(back); rec.Code != http.StatusSeeOther {
		t.Fatal(rec.Body)
	}
	calls := len(w.idp.tokenReqs)
	again := w.browser()
	again.cookies = kept // a browser, or a thief, that still has the attempt
	rec := again.get(back)
	if rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "attempt_replayed") || len(w.live()) != 1 || len(w.idp.tokenReqs) != calls {
		t.Errorf("%d, %d sessions\n%s", rec.Code, len(w.live()), rec.Body)
	}
}

func TestSecurityAFailedAttemptIsUsedUpToo(t *testing.T) {
	w := newWorld(t, nil)
	w.idp.claims["nonce"] = "another"
	b := w.browser()
	back := b.provider(b.begin("/sso/main/login"))
	kept := maps.Clone(b.cookies)
	w.refused(b.get(back), "id_token_nonce")
	b.cookies = kept
	w.refused(b.get(back), "attempt_replayed")
	if len(w.idp.tokenReqs) != 1 {
		t.Errorf("%d codes were redeemed", len(w.idp.tokenReqs))
	}
}

func TestSecurityExpiredAttempt(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	back := b.provider(b.begin("/sso/main/login"))
	w.pass(attemptLife)
	w.refused(b.get(back), "attempt_expired")
}

func TestSecurityDisabledConnection(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	back := b.provider(b.begin("/sso/main/login"))
	c := w.connection("main")
	c.Spec.Enabled = false
	w.put(c)
	w.refused(b.get(back), "no_connection")
	if len(w.idp.tokenReqs) != 0 {
		t.Error("the provider was asked for tokens nevertheless")
	}
	w.refused(b.get("/sso/main/login"), "no_connection")
	for _, page := range []string{"/sso/login", "/sso/login?email=ada@main.example"} {
		if body := b.get(page).Body.String(); strings.Contains(body, "/sso/main/login") {
			t.Errorf("%s leads to a connection that is switched off", page)
		}
	}
	// Made anew under the same name, it does not take the old one's attempts.
	c = w.connection("main")
	c.UID = "uid-another"
	w.put(c)
	b = w.browser()
	back = b.provider(b.begin("/sso/main/login"))
	w.put(w.connection("main"))
	w.refused(b.get(back), "attempt_elsewhere")
}

func TestSecurityPKCEIsNeverDowngraded(t *testing.T) {
	w := newWorld(t, nil)
	for range 3 {
		w.browser().signIn()
	}
	for i, q := range w.idp.requests {
		if q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 || len(w.idp.tokenReqs[i].Get("code_verifier")) != 43 {
			t.Errorf("%v %v", q, w.idp.tokenReqs[i])
		}
		for _, before := range w.idp.requests[:i] {
			for _, name := range []string{"state", "nonce", "code_challenge"} {
				if before.Get(name) == q.Get(name) {
					t.Errorf("%s is used twice", name)
				}
			}
		}
	}
	// A provider whose code is bound to no challenge would be one without PKCE.
	w = newWorld(t, nil)
	b := w.browser()
	back := b.provider(with(b.begin("/sso/main/login"), "code_challenge", ""))
	w.refused(b.get(back), "code_refused")
}

func TestSecurityOpenRedirect(t *testing.T) {
	for _, bad := range []string{
		"https://evil.example", "//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`, "/\t/evil.example", "/\n/evil.example", "/%0d%0a", "javascript:alert(1)",
		"evil.example", "/ok?next=\\evil", "/a\x00b", "/a b", "/" + strings.Repeat("a", maxReturnTo), " /console", "http:/evil.example", "/%5cevil.example", "/%2fevil.example",
	} {
		got := safeReturnTo(bad)
		if got != "/" && bad != "/%0d%0a" {
			t.Errorf("%q leads to %q", bad, got)
		}
	}
	for _, good := range []string{"/", "/console/", "/oauth2/authorize?client_id=x&redirect_uri=https%3A%2F%2Fapp.example%2Fcb", "/console/teams#a"} {
		if got := safeReturnTo(good); got != good {
			t.Errorf("%q became %q", good, got)
		}
	}
	w := newWorld(t, nil)
	b := w.browser()
	rec := b.get(b.provider(b.begin("/sso/main/login?return_to=" + url.QueryEscape("//evil.example"))))
	if got := rec.Header().Get("Location"); got != "/" {
		t.Errorf("led to %q", got)
	}
	page := w.browser().get("/sso/login?return_to=" + url.QueryEscape("https://evil.example")).Body.String()
	if strings.Contains(page, "evil.example") {
		t.Error("the sign-in page hands the address on")
	}
}

func TestSecurityIDTokens(t *testing.T) {
	hmac := func(w *world) func(map[string]any) string {
		return func(c map[string]any) string {
			// The classic: HMAC keyed with the public key, as text.
			der, _ := json.Marshal(gojose.JSONWebKey{Key: &w.idp.key.PublicKey})
			return sign(gojose.SigningKey{Algorithm: gojose.HS256, Key: append(der, make([]byte, 64)...)}, c, nil)
		}
	}
	none := func(*world) func(map[string]any) string {
		return func(c map[string]any) string {
			body, _ := json.Marshal(c)
			enc := base64.RawURLEncoding.EncodeToString
			return enc([]byte(`{"alg":"none"}`)) + "." + enc(body) + "."
		}
	}
	for _, tc := range []struct {
		name, reason string
		claims       map[string]any
		token        func(*world) func(map[string]any) string
	}{
		{"alg none", "id_token", nil, none},
		{"HS256", "id_token", nil, hmac},
		{"another's key", "id_token_signature", nil, func(*world) func(map[string]any) string {
			other := &scriptedIDP{key: newKey(), kid: "k1"}
			return func(c map[string]any) string { return other.sign(c, "JWT") }
		}},
		{"wrong issuer", "id_token_issuer", map[string]any{"iss": "https://evil.example"}, nil},
		{"wrong audience", "id_token_audience", map[string]any{"aud": "another"}, nil},
		{"no audience", "id_token_audience", map[string]any{"aud": nil}, nil},
		{"two audiences without azp", "id_token_azp", map[string]any{"aud": []string{"gate:house", "another"}}, nil},
		{"another's azp", "id_token_azp", map[string]any{"aud": []string{"gate:house", "another"}, "azp": "another"}, nil},
		{"another's azp, one audience", "id_token_azp", map[string]any{"azp": "another"}, nil},
		{"azp is no text", "id_token_azp", map[string]any{"azp": []string{"gate:house"}}, nil},
		{"wrong nonce", "id_token_nonce", map[string]any{"nonce": "another"}, nil},
		{"no nonce", "id_token_nonce", map[string]any{"nonce": nil}, nil},
		{"expired", "id_token_time", map[string]any{"exp": newClock().now.Add(-time.Hour).Unix()}, nil},
		{"no exp", "id_token_time", map[string]any{"exp": nil}, nil},
		{"no iat", "id_token_time", map[string]any{"iat": nil}, nil},
		{"from the future", "id_token_time", map[string]any{"iat": newClock().now.Add(time.Hour).Unix()}, nil},
		{"no subject", "id_token_subject", map[string]any{"sub": nil}, nil},
		{"a subject without end", "id_token_subject", map[string]any{"sub": strings.Repeat("a", 256)}, nil},
		{"a logout token", "id_token_kind", map[string]any{"events": map[string]any{}}, nil},
		{"another access token's hash", "at_hash", map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			for k, v := range tc.claims {
				w.idp.claims[k] = v
			}
			if tc.token != nil {
				w.idp.idToken = tc.token(w)
			}
			w.refused(w.browser().signIn(), tc.reason)
			if len(w.users) != 0 {
				t.Error("somebody was made of it")
			}
		})
	}
	// Two audiences with the right azp are fine.
	w := newWorld(t, nil)
	w.idp.claims["aud"], w.idp.claims["azp"] = []string{"gate:house", "another"}, "gate:house"
	if rec := w.browser().signIn(); rec.Code != http.StatusSeeOther {
		t.Error(rec.Body)
	}
}

// newClock is a world of a clock alone.
func newClock() *world { return &world{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func TestSecurityAnAlgorithmThatTheConnectionDoesNotAllow(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) { c.Spec.OIDC.Algorithms = v1.Strings{"ES256"} })
	w.refused(w.browser().signIn(), "id_token_algorithm")
}

func TestSecuritySessionFixation(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	planted := identity.NewSessionSecret()
	b.cookies[SessionCookie] = planted
	b.signIn()
	first := b.cookies[SessionCookie]
	if first == planted || len(w.live()) != 1 {
		t.Fatal("the planted secret became a session's")
	}
	b.signIn()
	if b.cookies[SessionCookie] == first {
		t.Error("a second sign-in keeps the secret")
	}
	if list := w.live(); len(list) != 1 || list[0].Digest != identity.DigestOf(b.cookies[SessionCookie]) {
		t.Errorf("the session before is alive: %+v", list)
	}
	old := w.browser()
	old.cookies[SessionCookie] = first
	if _, err := w.h.Sessions().Authenticate(old.api("GET")); identity.CodeOf(err) != identity.CodeInvalidToken {
		t.Errorf("the old secret: %v", err)
	}
}

func TestSecurityNoParameterTwice(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	w.refused(b.get(b.provider(b.begin("/sso/main/login"))+"&iss=https://evil.example"), "parameter_twice")
}

func TestSecurityTheSignInPageTellsNothingAboutPeople(t *testing.T) {
	w := newWorld(t, nil)
	w.addUser(identity.User{UID: "u1", Email: "ada@main.example", Active: true})
	body := func(email string) string {
		return strings.ReplaceAll(w.browser().get("/sso/login?email="+url.QueryEscape(email)).Body.String(), url.QueryEscape(url.QueryEscape(email)), "X")
	}
	one, two := body("ada@main.example"), body("nobody@main.example")
	if strings.ReplaceAll(one, "ada", "nobody") != two {
		t.Errorf("the answers differ:\n%s\n%s", one, two)
	}
}

func TestSecurityCookiesOfAnAttemptDoNotPileUp(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	for range 3 * maxAttempts {
		b.begin("/sso/main/login")
	}
	if len(b.cookies) > maxAttempts {
		t.Errorf("%d cookies", len(b.cookies))
	}
}

func TestSecurityAProviderThatRedirectsDoesNotGetTheSecretElsewhere(t *testing.T) {
	reached := false
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer evil.Close()
	w := newWorld(t, nil)
	moved := httptest.NewServer(http.RedirectHandler(evil.URL, http.StatusTemporaryRedirect))
	defer moved.Close()
	w.idp.discovery = func(d map[string]any) { d["token_endpoint"] = moved.URL }
	w.refused(w.browser().signIn(), "token_refused")
	if reached {
		t.Error("the token request followed a redirect")
	}
}
