package devidp_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-ai/gatehouse/internal/devidp"
)

const issuer = "http://127.0.0.1:8081"

// rig is a provider with a clock that the test sets.
type rig struct {
	*devidp.Provider
	h   http.Handler
	now atomic.Int64
}

func newRig(t *testing.T, change func(*devidp.Options)) *rig {
	t.Helper()
	r := &rig{}
	r.now.Store(1_800_000_000)
	o := devidp.Options{
		Issuer: issuer,
		Users: []devidp.User{
			{Email: "admin@example.com", Name: "Ada Admin", Password: "admin", Groups: []string{"admins"}},
			{Email: "member@example.com", Password: "member"},
		},
		Clients: []devidp.Client{
			{ID: "gatehouse", RedirectURIs: []string{"http://127.0.0.1/callback", "https://app.example/cb"}, PostLogoutRedirectURIs: []string{"http://127.0.0.1/bye"}},
			{ID: "service", Secret: "s3cret"},
		},
		Clock: func() time.Time { return time.Unix(r.now.Load(), 0) },
	}
	if change != nil {
		change(&o)
	}
	p, err := devidp.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Provider, r.h = p, p.Handler()
	return r
}

func (r *rig) do(req *http.Request) *httptest.ResponseRecorder {
	if req.Host == "example.com" { // httptest's default
		req.Host = "127.0.0.1:8081"
	}
	w := httptest.NewRecorder()
	r.h.ServeHTTP(w, req)
	return w
}

func (r *rig) get(path string) *httptest.ResponseRecorder {
	return r.do(httptest.NewRequest(http.MethodGet, path, nil))
}

func (r *rig) post(path string, form url.Values, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return r.do(req)
}

type answer struct {
	Access  string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires int    `json:"expires_in"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
	Error   string `json:"error"`
}

func (r *rig) grant(t *testing.T, status int, form url.Values, header ...string) answer {
	t.Helper()
	w := r.post("/token", form, header...)
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != status {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("the answer may be cached")
	}
	return a
}

func password(user, pass string) url.Values {
	return url.Values{"grant_type": {"password"}, "username": {user}, "password": {pass}, "client_id": {"gatehouse"}}
}

// claims verifies a token with the published keys, as a resource server does.
func (r *rig) claims(t *testing.T, token string) (jose.Header, map[string]any) {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(r.get("/jwks").Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := parsed.Claims(set, &c); err != nil {
		t.Fatal(err)
	}
	return parsed.Headers[0], c
}

func TestPasswordGrantGivesAnAccessTokenForThePerson(t *testing.T) {
	r := newRig(t, nil)
	a := r.grant(t, 200, password("admin@example.com", "admin"))
	h, c := r.claims(t, a.Access)
	if h.ExtraHeaders["typ"] != "at+jwt" || h.Algorithm != "RS256" || h.KeyID == "" || a.Type != "Bearer" || a.Expires != 3600 {
		t.Errorf("%+v %+v", h, a)
	}
	for _, random := range []string{"jti", "sid", "sub"} {
		if s, _ := c[random].(string); s == "" {
			t.Errorf("no %s", random)
		}
		delete(c, random)
	}
	want := map[string]any{
		"iss": issuer, "aud": []any{"gatehouse"}, "azp": "gatehouse", "client_id": "gatehouse", "iat": 1.8e9, "exp": 1.8e9 + 3600,
		"scope": "openid email profile", "email": "admin@example.com", "email_verified": true, "name": "Ada Admin",
		"preferred_username": "admin@example.com", "groups": []any{"admins"},
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
}

func TestSubjectIsTheSameAtEveryStart(t *testing.T) {
	a, b := newRig(t, nil), newRig(t, nil)
	_, one := a.claims(t, a.grant(t, 200, password("admin@example.com", "admin")).Access)
	_, two := b.claims(t, b.grant(t, 200, password("admin@example.com", "admin")).Access)
	_, other := b.claims(t, b.grant(t, 200, password("member@example.com", "member")).Access)
	if one["sub"] != two["sub"] || one["sub"] == other["sub"] {
		t.Error(one["sub"], two["sub"], other["sub"])
	}
}

func TestSecurityWrongPasswordsClientsAndGrantsAreRefused(t *testing.T) {
	r := newRig(t, nil)
	service := url.Values{"grant_type": {"client_credentials"}, "client_id": {"service"}}
	for _, c := range []struct {
		form   url.Values
		status int
		want   string
	}{
		{password("admin@example.com", "member"), 400, "invalid_grant"},
		{password("admin@example.com", ""), 400, "invalid_grant"},
		{password("nobody@example.com", "admin"), 400, "invalid_grant"},
		{url.Values{"grant_type": {"password"}, "client_id": {"nobody"}}, 401, "invalid_client"},
		{url.Values{"grant_type": {"password"}}, 401, "invalid_client"},
		{service, 401, "invalid_client"},
		{url.Values{"grant_type": {"client_credentials"}, "client_id": {"gatehouse"}}, 400, "unauthorized_client"},
		{url.Values{"grant_type": {"implicit"}, "client_id": {"gatehouse"}}, 400, "unsupported_grant_type"},
		{url.Values{"grant_type": {"refresh_token"}, "client_id": {"gatehouse"}, "refresh_token": {"x"}}, 400, "invalid_grant"},
		{url.Values{"grant_type": {"authorization_code"}, "client_id": {"gatehouse"}, "code": {"x"}}, 400, "invalid_grant"},
	} {
		if a := r.grant(t, c.status, c.form); a.Error != c.want || a.Access != "" {
			t.Errorf("%v: %+v", c.form, a)
		}
	}
}

func TestClientCredentialsGiveTheClientsOwnToken(t *testing.T) {
	r := newRig(t, nil)
	form := url.Values{"grant_type": {"client_credentials"}}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("service:s3cret"))
	_, c := r.claims(t, r.grant(t, 200, form, "Authorization", basic).Access)
	if c["sub"] != "service" || c["azp"] != "service" || c["email"] != nil || c["sid"] != nil {
		t.Error(c)
	}
}

func TestRefreshGoesOnWithTheSessionUntilItEnds(t *testing.T) {
	r := newRig(t, nil)
	first := r.grant(t, 200, password("member@example.com", "member"))
	_, before := r.claims(t, first.Access)
	for name, token := range map[string]string{"access token": first.Access, "ID token": first.ID} {
		bad := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {"gatehouse"}}
		if a := r.grant(t, 400, bad); a.Error != "invalid_grant" {
			t.Errorf("an %s passed for a refresh token", name)
		}
	}
	r.now.Add(3601)
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.Refresh}, "client_id": {"gatehouse"}}
	second := r.grant(t, 200, form)
	_, after := r.claims(t, second.Access)
	if before["sid"] != after["sid"] || after["email"] != "member@example.com" || after["exp"].(float64) <= before["exp"].(float64) {
		t.Error(before, after)
	}
	other := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.Refresh}, "client_id": {"service"}, "client_secret": {"s3cret"}}
	r.grant(t, 400, other)
	if w := r.get("/logout?id_token_hint=" + second.ID); w.Code != 200 {
		t.Fatal(w.Code)
	}
	r.grant(t, 400, form)
	fresh := r.grant(t, 200, password("member@example.com", "member"))
	r.now.Add(24 * 3600)
	form.Set("refresh_token", fresh.Refresh)
	r.grant(t, 400, form)
}

func TestSecurityOnlyThisMachineCanReachIt(t *testing.T) {
	r := newRig(t, nil)
	for address, ok := range map[string]bool{
		"127.0.0.1:8081": true, "[::1]:8081": true, "localhost:0": true, "127.9.9.9:1": true,
		"0.0.0.0:8081": false, ":8081": false, "[::]:8081": false, "192.0.2.1:8081": false, "example.com:8081": false, "8081": false,
	} {
		if err := r.CheckAddress(address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, bad := range []string{"http://192.0.2.1:8081", "http://idp.example", "http://127.0.0.1/realm", "127.0.0.1:8081", ""} {
		if _, err := devidp.New(devidp.Options{Issuer: bad, Users: []devidp.User{{Email: "a@b.c"}}}); err == nil {
			t.Errorf("%q was accepted as issuer", bad)
		}
	}
	req := httptest.NewRequest(http.MethodGet, "/dev/token?user=admin@example.com", nil)
	req.Host = "rebound.example:8081"
	if w := r.do(req); w.Code != http.StatusMisdirectedRequest || strings.Contains(w.Body.String(), "ey") {
		t.Errorf("DNS rebinding: %d", w.Code)
	}
	if w := r.post("/authorize", authRequest("user", "admin@example.com"), "Origin", "https://evil.example"); w.Code != http.StatusForbidden {
		t.Errorf("foreign form: %d", w.Code)
	}
}

func TestDiscoveryPointsAtWhatIsServed(t *testing.T) {
	r := newRig(t, nil)
	var d map[string]any
	w := r.get("/.well-known/openid-configuration")
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || d["issuer"] != issuer {
		t.Fatal(err, d)
	}
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "end_session_endpoint", "jwks_uri"} {
		path := strings.TrimPrefix(fmt.Sprint(d[name]), issuer)
		if w := r.get(path); w.Code == 404 {
			t.Errorf("%s: %s is not served", name, path)
		}
	}
	if b := r.get("/jwks").Body.String(); strings.Contains(b, `"d"`) || strings.Count(b, `"kid"`) != 3 {
		t.Error(b)
	}
}

func TestUserinfoTakesAccessTokensAlone(t *testing.T) {
	r := newRig(t, nil)
	a := r.grant(t, 200, password("admin@example.com", "admin"))
	ask := func(token string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(http.MethodGet, "/userinfo", nil)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		return r.do(req)
	}
	if w := ask(a.Access); w.Code != 200 || !strings.Contains(w.Body.String(), `"email":"admin@example.com"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for name, token := range map[string]string{"nothing": "", "nonsense": "x", "ID token": a.ID, "refresh token": a.Refresh} {
		if w := ask(token); w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	r.now.Add(3601)
	if w := ask(a.Access); w.Code != 401 {
		t.Errorf("expired: %d", w.Code)
	}
}

func TestLogoutLeadsBackOnlyWhereItIsRegistered(t *testing.T) {
	r := newRig(t, nil)
	a := r.grant(t, 200, password("admin@example.com", "admin"))
	w := r.get("/logout?" + url.Values{"id_token_hint": {a.ID}, "post_logout_redirect_uri": {"http://127.0.0.1:7/bye"}, "state": {"s"}}.Encode())
	if w.Header().Get("Location") != "http://127.0.0.1:7/bye?state=s" {
		t.Error(w.Code, w.Header())
	}
	w = r.get("/logout?" + url.Values{"id_token_hint": {a.ID}, "post_logout_redirect_uri": {"https://evil.example"}}.Encode())
	if w.Code != 200 || w.Header().Get("Location") != "" {
		t.Error(w.Code, w.Header())
	}
}

func TestDevTokenPrintsTheTokenAndNothingElse(t *testing.T) {
	r := newRig(t, nil)
	w := r.get("/dev/token?user=member@example.com")
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || strings.TrimSpace(w.Body.String()) != w.Body.String() {
		t.Error(w.Code, w.Header())
	}
	if _, c := r.claims(t, w.Body.String()); c["email"] != "member@example.com" {
		t.Error(c)
	}
	if w := r.get("/dev/token?user=nobody@example.com"); w.Code != 404 {
		t.Error(w.Code)
	}
}

func TestMintedTokensDifferAsAsked(t *testing.T) {
	r := newRig(t, nil)
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		token, err := r.Mint("admin@example.com", devidp.MintOptions{
			Alg: alg, Audience: []string{"other"}, ExpiresIn: -time.Minute, ClientID: "cli", Type: "JWT",
			Extra: map[string]any{"org": "acme", "email_verified": nil},
		})
		if err != nil {
			t.Fatal(err)
		}
		h, c := r.claims(t, token)
		_, verified := c["email_verified"]
		if h.Algorithm != alg || h.ExtraHeaders["typ"] != "JWT" || fmt.Sprint(c["aud"]) != "[other]" || c["exp"] != 1.8e9-60 || c["azp"] != "cli" || c["org"] != "acme" || verified {
			t.Errorf("%s: %+v %v", alg, h, c)
		}
	}
	token, err := r.Mint("admin@example.com", devidp.MintOptions{Kid: "unknown"})
	if err != nil || !strings.HasPrefix(header(t, token), `{"alg":"RS256","kid":"unknown"`) {
		t.Error(header(t, token), err)
	}
	if _, err := r.Mint("nobody@example.com", devidp.MintOptions{}); err == nil {
		t.Error("minted for nobody")
	}
	if _, err := r.Mint("admin@example.com", devidp.MintOptions{Alg: "HS256"}); err == nil {
		t.Error("minted with HMAC")
	}
}

func header(t *testing.T, token string) string {
	t.Helper()
	first, _, _ := strings.Cut(token, ".")
	b, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestKeysOutliveARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "made", "devidp.json")
	with := func(o *devidp.Options) { o.KeyFile = file }
	before := newRig(t, with)
	token := before.grant(t, 200, password("admin@example.com", "admin")).Access
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(err, info.Mode())
	}
	after := newRig(t, with)
	after.claims(t, token) // fails the test if the key is another
	if err := os.WriteFile(file, []byte(`{"keys": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := devidp.New(devidp.Options{Issuer: issuer, Users: []devidp.User{{Email: "a@b.c"}}, KeyFile: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Error(err)
	}
}

func TestEveryAnswerSaysThatItIsForDevelopment(t *testing.T) {
	r := newRig(t, nil)
	w := r.get("/")
	body, _ := io.ReadAll(w.Body)
	if w.Header().Get("X-Gatehouse-Development") != "true" || !strings.Contains(string(body), "Development only.") || !strings.Contains(r.Warning(), "DEVELOPMENT ONLY") {
		t.Error(string(body), r.Warning())
	}
}
