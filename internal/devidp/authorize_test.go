package devidp_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

const verifier = "a-verifier-of-at-least-forty-three-characters-as-RFC-7636-asks"

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func authRequest(change ...string) url.Values {
	q := url.Values{
		"client_id": {"gatehouse"}, "redirect_uri": {"http://127.0.0.1:5555/callback"}, "response_type": {"code"}, "state": {"st"},
		"nonce": {"no"}, "scope": {"openid email"}, "code_challenge": {challenge()}, "code_challenge_method": {"S256"},
	}
	for i := 0; i+1 < len(change); i += 2 {
		q.Del(change[i])
		if change[i+1] != "" {
			q.Set(change[i], change[i+1])
		}
	}
	return q
}

// code signs in on the page and returns the parameters of the redirect.
func (r *rig) code(t *testing.T, user string, q url.Values) url.Values {
	t.Helper()
	q.Set("user", user)
	w := r.post("/authorize", q, "Origin", issuer)
	to, err := url.Parse(w.Header().Get("Location"))
	if err != nil || w.Code != http.StatusSeeOther || !strings.HasPrefix(to.String(), q.Get("redirect_uri")+"?") {
		t.Fatalf("%d %s", w.Code, w.Header().Get("Location"))
	}
	return to.Query()
}

func codeForm(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"gatehouse"}, "code": {code},
		"redirect_uri": {"http://127.0.0.1:5555/callback"}, "code_verifier": {verifier},
	}
}

func TestSigningInOnThePageGivesACodeForTokens(t *testing.T) {
	r := newRig(t, nil)
	w := r.get("/authorize?" + authRequest().Encode())
	body := w.Body.String()
	for _, want := range []string{"Ada Admin", "admin@example.com", "member@example.com", `<html lang="en">`, "Development only.", `name="code_challenge" value="` + challenge()} {
		if w.Code != 200 || !strings.Contains(body, want) {
			t.Errorf("%d, no %q", w.Code, want)
		}
	}
	if strings.Contains(body, "<script") {
		t.Error("the page must work without JavaScript")
	}
	back := r.code(t, "admin@example.com", authRequest())
	if back.Get("state") != "st" || back.Get("iss") != issuer {
		t.Error(back)
	}
	a := r.grant(t, 200, codeForm(back.Get("code")))
	_, c := r.claims(t, a.ID)
	if c["nonce"] != "no" || c["aud"] != "gatehouse" || c["email"] != "admin@example.com" || c["at_hash"] == nil {
		t.Error(c)
	}
	sum := sha256.Sum256([]byte(a.Access))
	if c["at_hash"] != base64.RawURLEncoding.EncodeToString(sum[:16]) {
		t.Error("at_hash is not that of the access token")
	}
}

func TestThePagesStyleIsTheOneItsPolicyAllows(t *testing.T) {
	w := newRig(t, nil).get("/authorize?" + authRequest().Encode())
	_, rest, _ := strings.Cut(w.Body.String(), "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Error(policy)
	}
}

func TestSecurityCodesAreGoodOnceAndForTheirRequestAlone(t *testing.T) {
	r := newRig(t, nil)
	fresh := func() url.Values { return codeForm(r.code(t, "admin@example.com", authRequest()).Get("code")) }
	for name, change := range map[string]func(url.Values){
		"no verifier":      func(f url.Values) { f.Del("code_verifier") },
		"another verifier": func(f url.Values) { f.Set("code_verifier", verifier+"x") },
		"another redirect": func(f url.Values) { f.Set("redirect_uri", "http://127.0.0.1:5556/callback") },
		"another client":   func(f url.Values) { f.Set("client_id", "service"); f.Set("client_secret", "s3cret") },
		"too late":         func(url.Values) { r.now.Add(61) },
	} {
		f := fresh()
		change(f)
		if a := r.grant(t, 400, f); a.Error != "invalid_grant" {
			t.Errorf("%s: %+v", name, a)
		}
	}
	f := fresh()
	a := r.grant(t, 200, f)
	if again := r.grant(t, 400, f); again.Error != "invalid_grant" {
		t.Error("a code was good twice")
	}
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.Refresh}, "client_id": {"gatehouse"}}
	if after := r.grant(t, 400, refresh); after.Error != "invalid_grant" {
		t.Error("what a reused code gave still works")
	}
}

func TestSecurityPKCEWithS256IsRequired(t *testing.T) {
	r := newRig(t, nil)
	for _, q := range []url.Values{
		authRequest("code_challenge", ""), authRequest("code_challenge_method", ""), authRequest("code_challenge_method", "plain"),
		authRequest("code_challenge", "short"),
	} {
		for _, w := range []*httptest.ResponseRecorder{r.get("/authorize?" + q.Encode()), func() *httptest.ResponseRecorder {
			q.Set("user", "admin@example.com")
			return r.post("/authorize", q)
		}()} {
			to, _ := url.Parse(w.Header().Get("Location"))
			if w.Code != http.StatusSeeOther || to.Query().Get("error") != "invalid_request" || to.Query().Get("code") != "" {
				t.Errorf("%v: %d %s", q, w.Code, to)
			}
		}
	}
}

func TestSecurityRedirectsMatchExactlyButForALoopbackPort(t *testing.T) {
	r := newRig(t, nil)
	for redirect, ok := range map[string]bool{
		"http://127.0.0.1/callback":          true,
		"http://127.0.0.1:1234/callback":     true,
		"https://app.example/cb":             true,
		"https://app.example:8443/cb":        false,
		"http://127.0.0.1:1234/callback/":    false,
		"http://127.0.0.1:1234/callback?x=y": false,
		"http://127.0.0.1:1234/callback#x":   false,
		"http://u@127.0.0.1:1234/callback":   false,
		"http://127.0.0.1:1234/%63allback":   false,
		"https://127.0.0.1:1234/callback":    false,
		"http://localhost:1234/callback":     false,
		"http://127.0.0.2:1234/callback":     false,
		"http://evil.example/callback":       false,
		"https://app.example.evil.org/cb":    false,
		"":                                   false,
	} {
		w := r.get("/authorize?" + authRequest("redirect_uri", redirect).Encode())
		if (w.Code == 200) != ok || w.Header().Get("Location") != "" {
			t.Errorf("%q: %d %s", redirect, w.Code, w.Header().Get("Location"))
		}
	}
}

func TestRefusalsOfASignInGoWhereTheyBelong(t *testing.T) {
	r := newRig(t, nil)
	for want, q := range map[string]url.Values{
		"unsupported_response_type": authRequest("response_type", "token"),
		"login_required":            authRequest("prompt", "none"),
	} {
		to, _ := url.Parse(r.get("/authorize?" + q.Encode()).Header().Get("Location"))
		if to.Query().Get("error") != want || to.Query().Get("state") != "st" || to.Query().Get("iss") != issuer {
			t.Errorf("%s: %s", want, to)
		}
	}
	if back := r.code(t, "", authRequest()); back.Get("error") != "access_denied" {
		t.Error(back)
	}
	twice := authRequest()
	twice.Add("state", "again")
	for _, q := range []url.Values{authRequest("client_id", "nobody"), twice} {
		if w := r.get("/authorize?" + q.Encode()); w.Code != 400 || w.Header().Get("Location") != "" {
			t.Errorf("%v: %d", q, w.Code)
		}
	}
	q := authRequest("user", "nobody@example.com")
	if w := r.post("/authorize", q); w.Code != 400 {
		t.Error(w.Code)
	}
}
