package sso

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
)

func TestSigningOutEndsTheSessionHereAndLeadsToTheProvider(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn()
	rec := b.post("/sso/logout", nil)
	if rec.Code != http.StatusOK || len(w.live()) != 0 {
		t.Fatalf("%d, %d sessions", rec.Code, len(w.live()))
	}
	body := strings.ReplaceAll(rec.Body.String(), "&amp;", "&")
	i := strings.Index(body, `href="`+w.idp.URL+"/logout?")
	if i < 0 || !strings.Contains(body, `http-equiv="refresh"`) {
		t.Fatalf("the page does not lead to the provider:\n%s", body)
	}
	location, _, _ := strings.Cut(body[i+len(`href="`):], `"`)
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Get("client_id") != "gate:house" || q.Get("post_logout_redirect_uri") != ours+"/sso/signed-out" || strings.Count(q.Get("id_token_hint"), ".") != 2 {
		t.Errorf("%v", q)
	}
	if b.cookies[SessionCookie] != "" || b.cookies[hintCookie] != "" {
		t.Error("the cookies are still there")
	}
	if s := w.sessions; len(s) != 1 {
		t.Error(s)
	}
	for _, s := range w.sessions {
		if s.EndedBy != "sign-out" {
			t.Errorf("ended by %q", s.EndedBy)
		}
	}
	if rec := b.get("/sso/signed-out"); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "You are signed out") {
		t.Error(rec.Body)
	}
	// Signed out already: still no error.
	if rec := b.post("/sso/logout", nil); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), ours+"/sso/signed-out") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestSigningOutByScriptGetsTheAddress(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn()
	r := httptest.NewRequest(http.MethodPost, ours+"/sso/logout", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Accept", "application/json")
	if rec := b.do(r); !strings.HasPrefix(rec.Body.String(), `{"location":"`+w.idp.URL+"/logout?") {
		t.Error(rec.Body)
	}
}

func TestSigningOutDoesNotDependOnTheProvider(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn()
	w.idp.script(func() { w.idp.discovery = func(d map[string]any) { d["issuer"] = "x" } })
	w.pass(48 * time.Hour)
	w.h.oidc.close()
	rec := b.post("/sso/logout", nil)
	if len(w.live()) != 0 || !strings.Contains(rec.Body.String(), ours+"/sso/signed-out?only=gatehouse") {
		t.Errorf("%d sessions\n%s", len(w.live()), rec.Body)
	}
	if rec := b.get("/sso/signed-out?only=gatehouse"); !strings.Contains(rec.Body.String(), "may still be signed in at your identity provider") {
		t.Errorf("the page keeps silent about the provider's session:\n%s", rec.Body)
	}
	if rec := b.get("/sso/signed-out"); strings.Contains(rec.Body.String(), "still be signed in") {
		t.Errorf("the page speaks of a session that has ended:\n%s", rec.Body)
	}
}

func TestSecurityASignOutFindsASessionThatAnotherReplicaHasJustMade(t *testing.T) {
	for name, leave := range map[string]func(*browser) *httptest.ResponseRecorder{
		"the form": func(b *browser) *httptest.ResponseRecorder { return b.post("/sso/logout", nil) },
		"the page": func(b *browser) *httptest.ResponseRecorder { return b.get("/sso/logout") },
	} {
		w := newWorld(t, nil)
		before := w.snap
		b := w.browser()
		b.signIn()
		w.snap, w.behind = before, true
		rec := leave(b)
		if name == "the form" && len(w.live()) != 0 {
			t.Errorf("the session goes on: %d", rec.Code)
		}
		if name == "the page" && !strings.Contains(rec.Body.String(), "Sign out?") {
			t.Errorf("the page calls it over:\n%s", rec.Body)
		}
	}
}

func TestSecurityAnotherSiteCannotSignSomebodyOut(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn()
	r := httptest.NewRequest(http.MethodPost, ours+"/sso/logout", nil)
	r.Header.Set("Origin", "https://evil.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if rec := b.do(r); rec.Code != http.StatusForbidden || len(w.live()) != 1 {
		t.Errorf("%d, %d sessions", rec.Code, len(w.live()))
	}
	if rec := b.get("/sso/logout"); rec.Code != http.StatusOK || len(w.live()) != 1 {
		t.Errorf("a link signs out: %d, %d sessions", rec.Code, len(w.live()))
	}
}

func TestTheSignOutPageAsksAndNeedsNoScript(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	if rec := b.get("/sso/logout"); !strings.Contains(rec.Body.String(), "You are signed out") {
		t.Errorf("nobody is signed in:\n%s", rec.Body)
	}
	b.signIn()
	rec := b.get("/sso/logout")
	for _, want := range []string{"Sign out?", "ada@example.com", `<form method="post" action="/sso/logout">`, `<button class="button" type="submit">Sign out</button>`} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("the page lacks %s:\n%s", want, rec.Body)
		}
	}
}

func TestSecurityAHintOfAnotherSessionIsNotSent(t *testing.T) {
	w := newWorld(t, nil)
	one, two := w.browser(), w.browser()
	one.signIn()
	two.signIn()
	two.cookies[hintCookie] = one.cookies[hintCookie]
	if rec := two.post("/sso/logout", nil); strings.Contains(rec.Body.String(), "id_token_hint") {
		t.Error("the sign-out sends another session's ID token")
	}
}

// logoutClaimsOf are those of a right logout token.
func (w *world) logoutClaimsOf(change map[string]any) map[string]any {
	c := map[string]any{
		"iss": w.idp.URL, "aud": "gate:house", "iat": w.clock().Unix(), "exp": w.clock().Add(2 * time.Minute).Unix(), "jti": "j-1", "sid": "sid-1",
		"events": map[string]any{logoutEvent: map[string]any{}},
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// backchannel posts as the provider does: without cookies and Origin.
func (w *world) backchannel(token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, ours+"/sso/main/backchannel-logout", strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.browser().do(r)
}

func TestBackchannelLogoutEndsTheSessionsThatItNames(t *testing.T) {
	for _, tc := range []struct {
		name  string
		typ   string
		named map[string]any
		left  int
	}{
		{"by sid", "logout+jwt", nil, 2},
		{"by sid and sub", "logout+jwt", map[string]any{"sub": "ada-1"}, 2},
		{"by sub: all of the person", "logout+jwt", map[string]any{"sid": nil, "sub": "ada-1"}, 1},
		{"by another sid", "logout+jwt", map[string]any{"sid": "sid-9"}, 3},
		{"a sid of somebody else", "logout+jwt", map[string]any{"sub": "eve-1"}, 3},
		{"an older provider's typ", "JWT", nil, 2},
		{"no typ", "", nil, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			for _, who := range [][3]string{{"ada-1", "ada@example.com", "sid-1"}, {"ada-1", "ada@example.com", "sid-2"}, {"eve-1", "eve@example.com", "sid-3"}} {
				w.idp.claims["sub"], w.idp.claims["email"], w.idp.claims["sid"] = who[0], who[1], who[2]
				w.browser().signIn()
			}
			rec := w.backchannel(w.idp.sign(w.logoutClaimsOf(tc.named), tc.typ))
			if rec.Code != http.StatusOK || rec.Header().Get("Cache-Control") != "no-store" || len(w.live()) != tc.left {
				t.Errorf("%d, %d sessions are left, want %d\n%s", rec.Code, len(w.live()), tc.left, rec.Body)
			}
			for _, s := range w.sessions {
				if s.EndedAt != nil && s.EndedBy != "back-channel" {
					t.Errorf("ended by %q", s.EndedBy)
				}
			}
		})
	}
}

func TestSecurityBackchannelLogoutTokens(t *testing.T) {
	for _, tc := range []struct {
		name   string
		claims map[string]any
		typ    string
	}{
		{"wrong issuer", map[string]any{"iss": "https://evil.example"}, ""},
		{"wrong audience", map[string]any{"aud": []string{"another"}}, ""},
		{"no iat", map[string]any{"iat": nil}, ""},
		{"old", map[string]any{"iat": newClock().now.Add(-logoutTokenAge - time.Second).Unix(), "exp": nil}, ""},
		{"from the future", map[string]any{"iat": newClock().now.Add(time.Hour).Unix()}, ""},
		{"expired", map[string]any{"exp": newClock().now.Add(-2 * time.Minute).Unix()}, ""},
		{"exp is text", map[string]any{"exp": "never"}, ""},
		{"no jti", map[string]any{"jti": nil}, ""},
		{"no events", map[string]any{"events": nil}, ""},
		{"another event", map[string]any{"events": map[string]any{"https://example.com/other": map[string]any{}}}, ""},
		{"an event that is no object", map[string]any{"events": map[string]any{logoutEvent: true}}, ""},
		{"a nonce", map[string]any{"nonce": "n"}, ""},
		{"neither sub nor sid", map[string]any{"sid": nil}, ""},
		{"an access token", nil, "at+jwt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.browser().signIn()
			typ := tc.typ
			if typ == "" {
				typ = "logout+jwt"
			}
			if rec := w.backchannel(w.idp.sign(w.logoutClaimsOf(tc.claims), typ)); rec.Code != http.StatusBadRequest || len(w.live()) != 1 {
				t.Errorf("%d, %d sessions are left\n%s", rec.Code, len(w.live()), rec.Body)
			}
		})
	}
	w := newWorld(t, nil)
	w.browser().signIn()
	right := w.logoutClaimsOf(nil)
	for name, token := range map[string]string{
		"another's key": (&scriptedIDP{key: newKey(), kid: "k1"}).sign(right, "logout+jwt"),
		"HS256":         sign(gojose.SigningKey{Algorithm: gojose.HS256, Key: make([]byte, 64)}, right, nil),
		"alg none":      "eyJhbGciOiJub25lIn0.e30.",
		"nothing":       "",
	} {
		if rec := w.backchannel(token); rec.Code != http.StatusBadRequest || len(w.live()) != 1 {
			t.Errorf("%s: %d, %d sessions", name, rec.Code, len(w.live()))
		}
	}
}

func TestFrontChannelLogoutEndsTheSessionThatItNames(t *testing.T) {
	w := newWorld(t, nil)
	for _, sid := range []string{"sid-1", "sid-2"} {
		w.idp.claims["sid"] = sid
		w.browser().signIn()
	}
	stranger := w.browser() // in a frame of the provider's page no cookie comes
	rec := stranger.get("/sso/main/frontchannel-logout?" + url.Values{"iss": {w.idp.URL}, "sid": {"sid-1"}}.Encode())
	if left := w.live(); rec.Code != http.StatusOK || rec.Body.Len() > 0 || rec.Header().Get("Cache-Control") != "no-store" || len(left) != 1 || left[0].ProviderSession != "sid-2" {
		t.Errorf("%d, %+v are left\n%s", rec.Code, left, rec.Body)
	}
	if rec = stranger.get("/sso/main/frontchannel-logout?sid=sid-2"); rec.Code != http.StatusOK || len(w.live()) != 0 {
		t.Errorf("without iss: %d, %d sessions", rec.Code, len(w.live()))
	}
}

func TestSecurityFrontChannelLogoutNeedsTheSID(t *testing.T) {
	w := newWorld(t, nil)
	w.put(w.connection("second"))
	b := w.browser()
	b.signIn()
	for name, path := range map[string]string{
		"no sid":               "/sso/main/frontchannel-logout?iss=" + url.QueryEscape(w.idp.URL),
		"nothing":              "/sso/main/frontchannel-logout",
		"an empty sid":         "/sso/main/frontchannel-logout?sid=",
		"another's iss":        "/sso/main/frontchannel-logout?iss=https://evil.example&sid=sid-1",
		"two sids":             "/sso/main/frontchannel-logout?sid=sid-1&sid=sid-2",
		"a long sid":           "/sso/main/frontchannel-logout?sid=" + strings.Repeat("x", maxSID+1),
		"another sid":          "/sso/main/frontchannel-logout?sid=sid-9",
		"another's connection": "/sso/second/frontchannel-logout?sid=sid-1",
		"no connection":        "/sso/none/frontchannel-logout?sid=sid-1",
	} {
		if rec := b.get(path); len(w.live()) != 1 || b.cookies[SessionCookie] == "" {
			t.Errorf("%s: %d, the session has ended", name, rec.Code)
		}
	}
	for i := range triesFrontChannel + 1 {
		if rec := w.browser().get("/sso/main/frontchannel-logout?sid=guess-" + strconv.Itoa(i)); rec.Code == http.StatusTooManyRequests {
			return
		}
	}
	t.Error("sids can be guessed without end")
}

func TestFrontChannelLogoutsOfAWholeOfficeGoOn(t *testing.T) {
	w := newWorld(t, nil)
	for range triesFrontChannel - 1 { // one try is left
		w.h.crowd.allow("frontchannel/192.0.2.1", triesFrontChannel, w.clock())
	}
	for range 3 {
		w.browser().signIn()
		if rec := w.browser().get("/sso/main/frontchannel-logout?sid=sid-1"); rec.Code != http.StatusOK || len(w.live()) != 0 {
			t.Fatalf("%d, %d sessions", rec.Code, len(w.live()))
		}
	}
}

func TestSecurityALogoutTokenWorksOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.browser().signIn()
	token := w.idp.sign(w.logoutClaimsOf(nil), "logout+jwt")
	if rec := w.backchannel(token); rec.Code != http.StatusOK {
		t.Fatal(rec.Body)
	}
	w.browser().signIn() // with the same sid
	if rec := w.backchannel(token); rec.Code != http.StatusBadRequest || len(w.live()) != 1 {
		t.Errorf("%d, %d sessions", rec.Code, len(w.live()))
	}
}

func TestSecurityALogoutTokenEndsNothingOfAnotherConnection(t *testing.T) {
	w := newWorld(t, nil)
	w.put(w.connection("second"))
	b := w.browser()
	b.get(b.provider(b.begin("/sso/second/login")))
	if rec := w.backchannel(w.idp.sign(w.logoutClaimsOf(nil), "logout+jwt")); rec.Code != http.StatusOK || len(w.live()) != 1 {
		t.Errorf("%d, %d sessions", rec.Code, len(w.live()))
	}
}

func TestABackchannelLogoutThatCannotBeWrittenSaysSo(t *testing.T) {
	w := newWorld(t, nil)
	w.browser().signIn()
	w.down = true
	if rec := w.backchannel(w.idp.sign(w.logoutClaimsOf(nil), "logout+jwt")); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
