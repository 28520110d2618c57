package devidp

import (
	"net/http"
	"net/url"
	"strings"
)

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	var algs []string
	for _, a := range algorithms() {
		algs = append(algs, string(a))
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                         p.issuer,
		"authorization_endpoint":                         p.issuer + "/authorize",
		"token_endpoint":                                 p.issuer + "/token",
		"userinfo_endpoint":                              p.issuer + "/userinfo",
		"end_session_endpoint":                           p.issuer + "/logout",
		"jwks_uri":                                       p.issuer + "/jwks",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token", "client_credentials", "password"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          algs,
		"code_challenge_methods_supported":               []string{"S256"},
		"token_endpoint_auth_methods_supported":          []string{"none", "client_secret_basic", "client_secret_post"},
		"scopes_supported":                               []string{"openid", "email", "profile"},
		"claims_supported":                               []string{"sub", "email", "email_verified", "name", "preferred_username", "groups", "sid"},
		"authorization_response_iss_parameter_supported": true,
	})
}

func (p *Provider) jwks(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	writeJSON(w, http.StatusOK, p.JWKS())
}

func (p *Provider) userinfo(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		writeJSON(w, http.StatusUnauthorized, refuse("invalid_request", "send an access token"))
		return
	}
	claims, err := p.verify(token)
	email, _ := claims["email"].(string)
	u, ok := p.user(email)
	if err != nil || !ok || claims["typ"] != nil || claims["at_hash"] != nil {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, refuse("invalid_token", "the access token is not valid"))
		return
	}
	writeJSON(w, http.StatusOK, person(u))
}

// logout ends the session of an ID token (OpenID Connect RP-Initiated Logout
// 1.0). It leads back only where the client has registered it.
func (p *Provider) logout(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		p.fail(w, "The request could not be read.")
		return
	}
	back, state := r.Form.Get("post_logout_redirect_uri"), r.Form.Get("state")
	claims, err := p.verify(r.Form.Get("id_token_hint"))
	clientID := r.Form.Get("client_id")
	if err == nil {
		if sid, _ := claims["sid"].(string); sid != "" {
			p.end(sid)
		}
		clientID, _ = claims["azp"].(string)
	}
	if c, ok := p.client(clientID); ok && back != "" && allows(c.PostLogoutRedirectURIs, back) {
		params := url.Values{}
		if state != "" {
			params.Set("state", state)
		}
		http.Redirect(w, r, withQuery(back, params), http.StatusSeeOther)
		return
	}
	p.render(w, http.StatusOK, page{Title: "Signed out", Text: "You are signed out of the development identity provider."})
}

// devToken is the short form for a shell: an access token and nothing else.
func (p *Provider) devToken(w http.ResponseWriter, r *http.Request) {
	var o MintOptions
	if audience := r.URL.Query()["audience"]; len(audience) > 0 {
		o.Audience = audience
	}
	token, err := p.Mint(r.URL.Query().Get("user"), o)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(token))
}

func withQuery(target string, params url.Values) string {
	u, err := url.Parse(target)
	if err != nil { // it was compared with a registered one
		return target
	}
	q := u.Query()
	for k, v := range params {
		q[k] = v
	}
	u.RawQuery = q.Encode()
	return u.String()
}
