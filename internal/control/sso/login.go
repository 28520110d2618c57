package sso

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// loginPage is "Login with SSO": a button per connection, and a box that sends
// an e-mail address's domain to its connection. What it answers depends on the
// domain alone, never on whether somebody exists.
func (h *Handler) loginPage(w http.ResponseWriter, r *http.Request) {
	s, err := h.snapshot()
	if err != nil {
		h.fail(w, r, "", err)
		return
	}
	q := r.URL.Query()
	returnTo := safeReturnTo(q.Get("return_to"))
	page := loginForm{ReturnTo: returnTo}
	for _, c := range s.SsoConnections() {
		if c.Spec.Enabled {
			page.Connections = append(page.Connections, loginButton{Title: c.Title(), Location: loginURL(c.Name, returnTo, "")})
			page.ByEmail = page.ByEmail || len(c.Spec.Domains) > 0
		}
	}
	if h.breakGlassOn() {
		page.BreakGlass = "/sso/break-glass?" + url.Values{"return_to": {returnTo}}.Encode()
	}
	if !q.Has("email") {
		h.pages.login(w, http.StatusOK, page)
		return
	}
	email := authn.NormalizeEmail(strings.TrimSpace(q.Get("email")))
	if email == "" {
		page.Email, page.Problem = cut(q.Get("email"), 254), "This is not an e-mail address. Write it like ada@example.com."
		h.pages.login(w, http.StatusBadRequest, page)
		return
	}
	c := route(s, email)
	if c == nil {
		page.Email, page.Problem = email, "Single sign-on is not set up for this address. Choose a button if there is one for you, or ask your administrator."
		h.pages.login(w, http.StatusOK, page)
		return
	}
	h.pages.onward(w, onwardPage{
		Title: "Continue with " + c.Title(), Text: "You sign in at " + c.Title() + " and come back here.", Button: "Continue with " + c.Title(),
		Location: loginURL(c.Name, returnTo, email),
	})
}

// route finds the enabled connection of an address's domain. The first by name
// has a domain that two claim, which is refused when they are applied.
func route(s *snapshot.Snapshot, email string) *v1.SsoConnection {
	domain := email[strings.LastIndexByte(email, '@')+1:]
	for _, c := range s.SsoConnections() {
		if c.Spec.Enabled && slices.Contains(c.Spec.Domains, domain) {
			return c
		}
	}
	return nil
}

func loginURL(connection, returnTo, hint string) string {
	q := url.Values{"return_to": {returnTo}}
	if hint != "" {
		q.Set("login_hint", hint)
	}
	return "/sso/" + connection + "/login?" + q.Encode()
}
