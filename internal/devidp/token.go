package devidp

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// oauthError is an error of RFC 6749, 5.2.
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (e *oauthError) Error() string { return e.Code + ": " + e.Description }

func refuse(code, description string) *oauthError { return &oauthError{code, description} }

// tokens is the answer of the token endpoint (RFC 6749, 5.1).
type tokens struct {
	Access    string `json:"access_token"`
	Type      string `json:"token_type"`
	ExpiresIn int    `json:"expires_in"`
	Refresh   string `json:"refresh_token,omitempty"`
	ID        string `json:"id_token,omitempty"`
	Scope     string `json:"scope,omitempty"`
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		writeJSON(w, http.StatusBadRequest, refuse("invalid_request", "the body is not a form"))
		return
	}
	client, refusal := p.authenticate(r)
	if refusal != nil {
		w.Header().Set("WWW-Authenticate", `Basic realm="gatehouse development"`)
		writeJSON(w, http.StatusUnauthorized, refusal)
		return
	}
	var answer *tokens
	switch grant := r.PostForm.Get("grant_type"); grant {
	case "password":
		answer, refusal = p.passwordGrant(client, r.PostForm)
	case "client_credentials":
		answer, refusal = p.clientGrant(client, r.PostForm)
	case "refresh_token":
		answer, refusal = p.refreshGrant(client, r.PostForm)
	case "authorization_code":
		answer, refusal = p.codeGrant(client, r.PostForm)
	default:
		refusal = refuse("unsupported_grant_type", "grant_type must be password, client_credentials, refresh_token or authorization_code")
	}
	if refusal != nil {
		writeJSON(w, http.StatusBadRequest, refusal)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// authenticate finds the client by HTTP Basic or by the form (RFC 6749, 2.3.1).
func (p *Provider) authenticate(r *http.Request) (Client, *oauthError) {
	id, secret, basic := r.BasicAuth()
	if basic {
		var errID, errSecret error
		id, errID = url.QueryUnescape(id)
		secret, errSecret = url.QueryUnescape(secret)
		if errID != nil || errSecret != nil {
			return Client{}, refuse("invalid_client", "the client's id and secret must be form-encoded")
		}
	} else {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	c, ok := p.client(id)
	if !ok || c.Secret != "" && !equal(secret, c.Secret) {
		return Client{}, refuse("invalid_client", "unknown client, or wrong secret")
	}
	return c, nil
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func (p *Provider) passwordGrant(c Client, form url.Values) (*tokens, *oauthError) {
	u, ok := p.user(form.Get("username"))
	if !ok || !equal(form.Get("password"), u.Password) {
		return nil, refuse("invalid_grant", "wrong user name or password")
	}
	return p.issue(u, c.ID, scopeOf(form), "", newID())
}

func (p *Provider) clientGrant(c Client, form url.Values) (*tokens, *oauthError) {
	if c.Secret == "" {
		return nil, refuse("unauthorized_client", "a public client has no token of its own")
	}
	access, err := p.mint(p.base(c.ID, form.Get("scope")), MintOptions{})
	if err != nil {
		return nil, refuse("server_error", err.Error())
	}
	return &tokens{Access: access, Type: "Bearer", ExpiresIn: int(AccessTokenLifetime.Seconds()), Scope: form.Get("scope")}, nil
}

func (p *Provider) refreshGrant(c Client, form url.Values) (*tokens, *oauthError) {
	claims, err := p.verify(form.Get("refresh_token"))
	if err != nil || claims["typ"] != "Refresh" || claims["azp"] != c.ID {
		return nil, refuse("invalid_grant", "the refresh token is not valid")
	}
	email, _ := claims["email"].(string)
	scope, _ := claims["scope"].(string)
	sid, _ := claims["sid"].(string)
	u, ok := p.user(email)
	if !ok || p.hasEnded(sid) {
		return nil, refuse("invalid_grant", "the session has ended")
	}
	return p.issue(u, c.ID, scope, "", sid)
}

func (p *Provider) codeGrant(c Client, form url.Values) (*tokens, *oauthError) {
	p.mu.Lock()
	given, ok := p.codes[form.Get("code")]
	reused := ok && given.used
	if ok {
		given.used = true
	}
	p.mu.Unlock()
	verifier := form.Get("code_verifier")
	sum := sha256.Sum256([]byte(verifier))
	switch {
	case !ok || p.clock().After(given.expires) || given.client != c.ID:
		return nil, refuse("invalid_grant", "the code is not valid")
	case reused: // RFC 6749, 4.1.2: what it gave is taken back
		p.end(given.sid)
		return nil, refuse("invalid_grant", "the code was used before; the session has been ended")
	case form.Get("redirect_uri") != given.redirect:
		return nil, refuse("invalid_grant", "redirect_uri differs from the one that was authorized")
	case len(verifier) < 43 || !equal(base64.RawURLEncoding.EncodeToString(sum[:]), given.challenge):
		return nil, refuse("invalid_grant", "code_verifier does not match the code_challenge (RFC 7636)")
	}
	return p.issue(given.user, c.ID, given.scope, given.nonce, given.sid)
}

func scopeOf(form url.Values) string {
	if s := strings.Join(strings.Fields(form.Get("scope")), " "); s != "" {
		return s
	}
	return "openid email profile"
}

// issue makes the tokens of a person's session.
func (p *Provider) issue(u User, client, scope, nonce, sid string) (*tokens, *oauthError) {
	access, err := p.mint(p.access(u, client, scope, sid), MintOptions{})
	if err != nil {
		return nil, refuse("server_error", err.Error())
	}
	now := p.clock()
	// typ in the payload keeps resource servers from taking it for an access token.
	refresh, err := p.sign(map[string]any{
		"iss": p.issuer, "aud": p.issuer, "sub": u.Subject(), "typ": "Refresh", "azp": client, "email": u.Email, "scope": scope, "sid": sid,
		"iat": now.Unix(), "exp": now.Add(RefreshTokenLifetime).Unix(), "jti": newID(),
	}, "JWT", "", "")
	if err != nil {
		return nil, refuse("server_error", err.Error())
	}
	answer := &tokens{Access: access, Type: "Bearer", ExpiresIn: int(AccessTokenLifetime.Seconds()), Refresh: refresh, Scope: scope}
	if slices.Contains(strings.Fields(scope), "openid") {
		claims := person(u)
		for k, v := range map[string]any{
			"iss": p.issuer, "aud": client, "azp": client, "iat": now.Unix(), "exp": now.Add(AccessTokenLifetime).Unix(),
			"auth_time": now.Unix(), "sid": sid, "at_hash": atHash(access),
		} {
			claims[k] = v
		}
		if nonce != "" {
			claims["nonce"] = nonce
		}
		if answer.ID, err = p.sign(claims, "JWT", "", ""); err != nil {
			return nil, refuse("server_error", err.Error())
		}
	}
	return answer, nil
}

func (p *Provider) end(sid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	for id, until := range p.ended {
		if now.After(until) {
			delete(p.ended, id)
		}
	}
	p.ended[sid] = now.Add(RefreshTokenLifetime)
}

func (p *Provider) hasEnded(sid string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ended := p.ended[sid]
	return ended
}

// remember keeps a code and forgets those that are long past their use.
func (p *Provider) remember(c *code) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	for id, old := range p.codes {
		if now.After(old.expires.Add(10 * time.Minute)) {
			delete(p.codes, id)
		}
	}
	id := newSecret()
	p.codes[id] = c
	return id
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller has gone if this fails
}
