package devidp

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// request is an authorization request, parsed and with a redirect that may be
// used.
type request struct {
	client                   Client
	redirect, state, nonce   string
	scope, challenge, prompt string
	refusal                  *oauthError
	params                   url.Values
}

// parse reads an authorization request. ok is false where the client or the
// redirect is not known: then nothing may be sent there, and the answer has
// been written.
func (p *Provider) parse(w http.ResponseWriter, params url.Values) (request, bool) {
	for name, values := range params {
		if len(values) > 1 { // RFC 6749, 3.1
			p.fail(w, "The parameter "+name+" was sent more than once.")
			return request{}, false
		}
	}
	c, ok := p.client(params.Get("client_id"))
	if !ok {
		p.fail(w, "There is no client with this client_id.")
		return request{}, false
	}
	redirect := params.Get("redirect_uri")
	if !allows(c.RedirectURIs, redirect) {
		p.fail(w, "This redirect_uri is not registered for the client "+c.ID+".")
		return request{}, false
	}
	r := request{
		client: c, redirect: redirect, state: params.Get("state"), nonce: params.Get("nonce"), scope: scopeOf(params),
		challenge: params.Get("code_challenge"), prompt: params.Get("prompt"), params: params,
	}
	switch {
	case params.Get("response_type") != "code":
		r.refusal = refuse("unsupported_response_type", "response_type must be code")
	case len(r.challenge) != 43 || params.Get("code_challenge_method") != "S256":
		r.refusal = refuse("invalid_request", "PKCE is required: code_challenge with code_challenge_method=S256 (RFC 7636)")
	case slices.Contains(strings.Fields(r.prompt), "none"):
		r.refusal = refuse("login_required", "the development identity provider keeps no session in the browser")
	}
	return r, true
}

// answer sends the browser back (RFC 6749, 4.1.2; RFC 9207).
func (p *Provider) answer(w http.ResponseWriter, r *http.Request, q request, params url.Values) {
	if q.state != "" {
		params.Set("state", q.state)
	}
	params.Set("iss", p.issuer)
	http.Redirect(w, r, withQuery(q.redirect, params), http.StatusSeeOther)
}

func (p *Provider) refuseRequest(w http.ResponseWriter, r *http.Request, q request, e *oauthError) {
	p.answer(w, r, q, url.Values{"error": {e.Code}, "error_description": {e.Description}})
}

// authorize shows the sign-in page.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q, ok := p.parse(w, r.URL.Query())
	switch {
	case !ok:
	case q.refusal != nil:
		p.refuseRequest(w, r, q, q.refusal)
	default:
		p.render(w, http.StatusOK, page{Title: "Sign in", Client: q.client.ID, Users: p.users, Params: hidden(q.params), Hint: q.params.Get("login_hint")})
	}
}

// signIn takes the choice made on the page.
func (p *Provider) signIn(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		p.fail(w, "The form could not be read.")
		return
	}
	choice := r.PostForm.Get("user")
	params := url.Values{}
	for k, v := range r.PostForm {
		if k != "user" {
			params[k] = v
		}
	}
	q, ok := p.parse(w, params)
	if !ok {
		return
	}
	u, known := p.user(choice)
	switch {
	case q.refusal != nil:
		p.refuseRequest(w, r, q, q.refusal)
	case choice == "":
		p.refuseRequest(w, r, q, refuse("access_denied", "the sign-in was cancelled"))
	case !known:
		p.fail(w, "There is no such user.")
	default:
		id := p.remember(&code{
			client: q.client.ID, redirect: q.redirect, challenge: q.challenge, nonce: q.nonce, scope: q.scope,
			sid: newID(), user: u, expires: p.clock().Add(codeLifetime),
		})
		p.answer(w, r, q, url.Values{"code": {id}})
	}
}

// param is a hidden field.
type param struct{ Name, Value string }

func hidden(params url.Values) []param {
	var list []param
	for name := range params {
		list = append(list, param{name, params.Get(name)})
	}
	slices.SortFunc(list, func(a, b param) int { return strings.Compare(a.Name, b.Name) })
	return list
}
