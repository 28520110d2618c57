package sso

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
)

// scriptedIDP is an OpenID provider that does what a test says.
type scriptedIDP struct {
	*httptest.Server
	key *rsa.PrivateKey
	kid string

	mu        sync.Mutex
	claims    map[string]any                // of the ID token, beside the protocol's
	info      map[string]any                // the userinfo answer
	discovery func(map[string]any)          // changes the discovery document
	answer    func(url.Values)              // changes what the browser brings back
	idToken   func(c map[string]any) string // replaces the signature
	codes     map[string]url.Values         // code → authorization request
	requests  []url.Values                  // of /authorize
	tokenReqs []url.Values
	infoCalls int
	keyCalls  int
	clock     func() time.Time
}

// testKey is made once: it takes longer than most tests.
var testKey = sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func newIDP(t testing.TB, w *world) *scriptedIDP {
	t.Helper()
	p := &scriptedIDP{key: testKey(), kid: "k1", codes: map[string]url.Values{}, clock: w.clock, claims: map[string]any{
		"sub": "ada-1", "email": "ada@example.com", "email_verified": true, "name": "Ada", "groups": []string{"eng"}, "sid": "sid-1",
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.serveDiscovery)
	mux.HandleFunc("GET /authorize", p.serveAuthorize)
	mux.HandleFunc("POST /token", p.serveToken)
	mux.HandleFunc("GET /jwks", func(rw http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.keyCalls++
		writeJSON(rw, gojose.JSONWebKeySet{Keys: []gojose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: p.kid, Use: "sig"}}})
	})
	mux.HandleFunc("GET /userinfo", func(rw http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.infoCalls++
		if r.Header.Get("Authorization") != "Bearer access-1" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		writeJSON(rw, p.info)
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(func() { p.Close(); p.Client().CloseIdleConnections() })
	return p
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (p *scriptedIDP) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	d := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize?realm=a", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/jwks",
		"userinfo_endpoint": p.URL + "/userinfo", "end_session_endpoint": p.URL + "/logout", "code_challenge_methods_supported": []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.discovery != nil {
		p.discovery(d)
	}
	writeJSON(w, d)
}

func (p *scriptedIDP) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, q)
	code := rand.Text()
	p.codes[code] = q
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.URL}}
	if p.answer != nil {
		p.answer(back)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusSeeOther)
}

// serveToken holds the client to PKCE with S256: no verifier, no token.
func (p *scriptedIDP) serveToken(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokenReqs = append(p.tokenReqs, r.PostForm)
	q, ok := p.codes[r.PostForm.Get("code")]
	delete(p.codes, r.PostForm.Get("code"))
	id, secret, _ := r.BasicAuth()
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	fail := ""
	switch {
	case id != "gate%3Ahouse" || secret != "s3cret%2F%2B+":
		fail = "invalid_client"
	case !ok || q.Get("redirect_uri") != r.PostForm.Get("redirect_uri") || q.Get("code_challenge_method") != "S256" ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge"):
		fail = "invalid_grant"
	}
	if fail != "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": fail})
		return
	}
	hash := sha256.Sum256([]byte("access-1"))
	claims := map[string]any{
		"iss": p.URL, "aud": "gate:house", "iat": p.clock().Unix(), "exp": p.clock().Add(time.Minute).Unix(), "nonce": q.Get("nonce"),
		"auth_time": p.clock().Unix(), "at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]),
	}
	for k, v := range p.claims {
		if v == nil {
			delete(claims, k)
		} else {
			claims[k] = v
		}
	}
	token := ""
	if p.idToken != nil {
		token = p.idToken(claims)
	} else {
		token = p.sign(claims, "JWT")
	}
	writeJSON(w, map[string]any{"access_token": "access-1", "token_type": "bearer", "id_token": token, "expires_in": 60})
}

func (p *scriptedIDP) sign(claims map[string]any, typ string) string {
	opts := (&gojose.SignerOptions{}).WithHeader("kid", p.kid)
	if typ != "" {
		opts = opts.WithType(gojose.ContentType(typ))
	}
	return sign(gojose.SigningKey{Algorithm: gojose.RS256, Key: p.key}, claims, opts)
}

func sign(key gojose.SigningKey, claims map[string]any, opts *gojose.SignerOptions) string {
	s, err := gojose.NewSigner(key, opts)
	if err != nil {
		panic(err)
	}
	body, _ := json.Marshal(claims)
	jws, err := s.Sign(body)
	if err != nil {
		panic(err)
	}
	out, _ := jws.CompactSerialize()
	return out
}

// script changes what the provider does.
func (p *scriptedIDP) script(f func()) { p.mu.Lock(); defer p.mu.Unlock(); f() }
