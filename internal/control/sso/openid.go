package sso

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

func (o *openID) redirectURI(c *v1.SsoConnection) string {
	return c.StatusAt(o.h.base).RedirectURI
}

// begin builds the authorization request (OpenID Connect Core, 3.1.2.1).
func (o *openID) begin(ctx context.Context, c *v1.SsoConnection, a *Attempt) (string, error) {
	p, err := o.provider(c)
	if err != nil {
		return "", err
	}
	meta, err := p.metadata(ctx)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(meta.Authorize)
	if err != nil {
		return "", Misconfigured("discovery_endpoint", "The authorization endpoint is not a URL.", err)
	}
	a.Issuer, a.Nonce, a.Verifier = meta.Issuer, randomText(), randomText()
	challenge := sha256.Sum256([]byte(a.Verifier))
	q := u.Query()
	for name, value := range map[string]string{
		"response_type": "code", "client_id": c.Spec.OIDC.ClientID, "redirect_uri": o.redirectURI(c), "scope": strings.Join(c.Spec.OIDC.Scopes, " "),
		"state": a.ID, "nonce": a.Nonce, "code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]), "code_challenge_method": "S256",
		"acr_values": strings.Join(c.Spec.Require.ACRValues, " "), "login_hint": a.Hint,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if age := c.Spec.Require.MaxAge.Std(); age > 0 {
		q.Set("max_age", strconv.FormatInt(int64(age/time.Second), 10))
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// finish reads the answer to an attempt: who sent it first, then, the attempt
// being used up by that, the code's tokens, then what they say.
func (o *openID) finish(ctx context.Context, c *v1.SsoConnection, q url.Values, a *Attempt) (*Assertion, error) {
	p, err := o.provider(c)
	if err != nil {
		return nil, err
	}
	meta, err := p.metadata(ctx)
	if err != nil {
		return nil, err
	}
	// RFC 9207, 2.4: before anything else in the answer is believed.
	iss, named := q.Get("iss"), q.Has("iss")
	switch {
	case meta.Issuer != a.Issuer:
		return nil, again("issuer_changed", nil)
	case named && iss != meta.Issuer:
		return nil, Refused("mix_up", "The answer came from another identity provider than the one you were sent to.", fmt.Errorf("iss is %.200q", iss))
	case !named && meta.IssParameter:
		return nil, Refused("mix_up", "The identity provider's answer does not say who it is from.", errors.New("iss is missing, and the discovery document promises it"))
	case q.Has("error"):
		return nil, answeredError(q)
	case q.Get("code") == "":
		return nil, again("no_code", nil)
	}
	if err := o.h.claimOnce(ctx, a); err != nil {
		return nil, err
	}
	tokens, err := o.redeem(ctx, p, meta, c, q.Get("code"), a.Verifier)
	if err != nil {
		return nil, err
	}
	claims, err := o.idToken(ctx, p, c, meta, tokens, a.Nonce)
	if err != nil {
		return nil, err
	}
	return o.assertion(ctx, p, meta, c, tokens, claims)
}

// answeredError: the code of an error is one of a closed list; its description
// anybody could have written, so it is for the log.
func answeredError(q url.Values) error {
	code := q.Get("error")
	err := fmt.Errorf("%.80q: %.300q", code, q.Get("error_description"))
	switch code {
	case "access_denied":
		return Refused("access_denied", "The identity provider did not let you in, or you cancelled. If you should have access, ask your administrator to assign you to this application there.", err)
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		return Refused(code, "The identity provider wanted something more of you and could not ask. Begin again.", err)
	case "temporarily_unavailable", "server_error":
		return Away(code, "The identity provider could not answer.", err)
	case "unmet_authentication_requirements":
		return Refused(code, "The identity provider could not prove who you are as strongly as is asked for here, for example with a second factor.", err)
	case "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope":
		return Misconfigured(code, "The identity provider refused the request ("+code+"). Check the client there: its redirect URI, the authorization code grant, PKCE with S256, and the scopes of this connection.", err)
	}
	return Misconfigured("provider_error", "The identity provider answered with an error that is not one of the standard's. Its text is in the log.", err)
}

// tokens are the token endpoint's answer.
type tokens struct {
	Access string `json:"access_token"`
	Type   string `json:"token_type"`
	ID     string `json:"id_token"`
	Error  string `json:"error"`
	Detail string `json:"error_description"`
}

// redeem makes tokens of the code (RFC 6749, 4.1.3; RFC 7636, 4.5).
func (o *openID) redeem(ctx context.Context, p *provider, meta *metadata, c *v1.SsoConnection, code, verifier string) (*tokens, error) {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {o.redirectURI(c)}, "code_verifier": {verifier}}
	spec, secret := c.Spec.OIDC, ""
	if spec.TokenEndpointAuth != v1.TokenAuthNone {
		var err error
		if secret, err = o.h.opt.Secret(c); err != nil {
			return nil, Misconfigured("secret_unavailable", "The client secret of this connection cannot be read. Check spec.oidc.clientSecret and where it points to.", err)
		}
	}
	if spec.TokenEndpointAuth != v1.TokenAuthBasic {
		form.Set("client_id", spec.ClientID)
	}
	if spec.TokenEndpointAuth == v1.TokenAuthPost {
		form.Set("client_secret", secret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, meta.Token, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, Misconfigured("discovery_endpoint", "The token endpoint is not a URL.", nil)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if spec.TokenEndpointAuth == v1.TokenAuthBasic {
		req.SetBasicAuth(url.QueryEscape(spec.ClientID), url.QueryEscape(secret)) // RFC 6749, 2.3.1
	}
	var t tokens
	status, err := p.call(req, &t)
	if status != http.StatusOK {
		return nil, tokenError(status, &t, err)
	}
	switch {
	case err != nil:
		return nil, Away("token_answer", "The identity provider's answer could not be read.", err)
	case t.ID == "":
		return nil, Misconfigured("no_id_token", "The provider sent no ID token. Check that the client may use the scope openid.", nil)
	case !strings.EqualFold(t.Type, "Bearer"):
		return nil, Misconfigured("token_type", "The provider sent a token of another type than Bearer.", fmt.Errorf("token_type %.40q", t.Type))
	}
	return &t, nil
}

func tokenError(status int, t *tokens, err error) error {
	cause := errors.Join(fmt.Errorf("the token endpoint answered %d %.80q %.300q", status, t.Error, t.Detail), err)
	switch {
	case t.Error == "invalid_client" || status == http.StatusUnauthorized:
		return Misconfigured("client_refused", "The identity provider refused this connection's client id or client secret. Check both, and tokenEndpointAuth.", cause)
	case t.Error == "invalid_grant":
		return Refused("code_refused", "The identity provider does not accept this sign-in any more. Begin again.", cause)
	case status == 0 || status >= 500:
		return Away("token_endpoint_away", "The identity provider cannot be reached.", cause)
	}
	return Misconfigured("token_refused", "The identity provider refused the token request. Check the client there: redirect URI, grant and PKCE.", cause)
}

// call sends a request without following redirects, which would carry the
// secret elsewhere, and decodes a JSON answer.
func (p *provider) call(req *http.Request, out any) (status int, err error) {
	ctx, cancel := context.WithTimeout(req.Context(), fetchTimeout)
	defer cancel()
	client := http.Client{Transport: p.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "gatehouse")
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || len(body) > maxAnswer {
		return resp.StatusCode, errors.Join(errors.New("the answer is too long or broke off"), err)
	}
	if t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return resp.StatusCode, fmt.Errorf("the answer is %.80q and not JSON", resp.Header.Get("Content-Type"))
	}
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.UseNumber()
	return resp.StatusCode, dec.Decode(out)
}

// assertion collects what is known of the person. Userinfo is asked only where
// the ID token lacks the address or the groups; what both say, the ID token
// says.
func (o *openID) assertion(ctx context.Context, p *provider, meta *metadata, c *v1.SsoConnection, t *tokens, claims map[string]any) (*Assertion, error) {
	sub, _ := claims["sub"].(string)
	a := &Assertion{Issuer: meta.Issuer, Subject: sub, Claims: claims, SignOutHint: t.ID}
	a.ProviderSession, _ = claims["sid"].(string)
	a.ACR, _ = claims["acr"].(string)
	a.AuthenticatedAt = numericDate(claims["auth_time"])
	if list, ok := claims["amr"].([]any); ok {
		for _, v := range list {
			if s, ok := v.(string); ok && len(a.AMR) < 16 {
				a.AMR = append(a.AMR, s)
			}
		}
	}
	m := &c.Spec.Claims
	lacks := !present(m.Email, claims) || (len(m.Groups) > 0 && !present(m.Groups, claims))
	if !lacks || meta.Userinfo == "" || t.Access == "" {
		return a, nil
	}
	info, err := o.userinfo(ctx, p, meta, t.Access, sub)
	if err != nil {
		return nil, err
	}
	// Address and verification come from one of the two: what one says about
	// its address says nothing about the other's.
	a.EmailClaims = claims
	if !present(m.Email, claims) {
		a.EmailClaims = maps.Clone(info)
	}
	for name, v := range claims {
		info[name] = v
	}
	a.Claims = info
	return a, nil
}

// userinfo asks for more claims (OpenID Connect Core, 5.3). They are the
// person's only where sub is the same.
func (o *openID) userinfo(ctx context.Context, p *provider, meta *metadata, access, sub string) (map[string]any, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, meta.Userinfo, nil)
	if err != nil {
		return nil, Misconfigured("discovery_endpoint", "The userinfo endpoint is not a URL.", nil)
	}
	req.Header.Set("Authorization", "Bearer "+access)
	info := map[string]any{}
	status, err := p.call(req, &info)
	if err != nil || status != http.StatusOK {
		return nil, Away("userinfo", "The identity provider did not answer who you are.", errors.Join(fmt.Errorf("userinfo answered %d", status), err))
	}
	if got, _ := info["sub"].(string); got != sub || sub == "" {
		return nil, Refused("userinfo_subject", "The identity provider gave two answers about who you are.", errors.New("userinfo has another sub than the ID token"))
	}
	return info, nil
}

// checkRequired holds a sign-in to what the connection requires of it.
func checkRequired(c *v1.SsoConnection, a *Assertion, now time.Time) error {
	r := &c.Spec.Require
	const weak = "Sign in again with a stronger method, for example with a second factor. If you did, your administrator must make the identity provider say so."
	if len(r.ACRValues) > 0 && !slices.Contains(r.ACRValues, a.ACR) {
		return Refused("acr", weak, fmt.Errorf("acr is %.80q, required is one of %v", a.ACR, r.ACRValues))
	}
	if len(r.AMR) > 0 && !slices.ContainsFunc(a.AMR, func(m string) bool { return slices.Contains(r.AMR, m) }) {
		return Refused("amr", weak, fmt.Errorf("amr is %.200q, required is one of %v", a.AMR, r.AMR))
	}
	if age := r.MaxAge.Std(); age > 0 {
		switch {
		case a.AuthenticatedAt.IsZero():
			return Misconfigured("no_auth_time", "This connection requires maxAge, and the provider does not say when people proved who they are (auth_time).", nil)
		case now.Sub(a.AuthenticatedAt) > age+clockSkew:
			return Refused("too_long_ago", "You proved who you are too long ago. Sign out at the identity provider and begin again.", nil)
		}
	}
	return nil
}

// endSession is where the browser goes to end its session at the provider
// (RP-Initiated Logout 1.0); empty where it has no such address.
func (o *openID) endSession(ctx context.Context, c *v1.SsoConnection, idToken string) (string, error) {
	p, err := o.provider(c)
	if err != nil {
		return "", err
	}
	meta, err := p.metadata(ctx)
	if err != nil || meta.EndSession == "" {
		return "", err
	}
	u, err := url.Parse(meta.EndSession)
	if err != nil {
		return "", identity.Wrap(identity.CodeInternal, err, "the end session endpoint is not a URL")
	}
	q := u.Query()
	q.Set("client_id", c.Spec.OIDC.ClientID)
	q.Set("post_logout_redirect_uri", c.StatusAt(o.h.base).PostLogoutRedirectURI)
	if idToken != "" {
		q.Set("id_token_hint", idToken)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}
