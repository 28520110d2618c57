package sso

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/sso/saml"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	// triesSAML is how many messages of one network are refused in a quarter of an
	// hour before no more are looked at, and verifyAtOnce how many are verified at
	// a time: what they hold is nobody's word until that is done. Genuine ones do
	// not count: all of a company may come from one network, by its people's
	// browsers or its identity provider's server.
	triesSAML    = 300
	verifyAtOnce = 2
	verifyWait   = 5 * time.Second

	// What a message is about. Each has places and a count of its own, so that who
	// sends the one is in nobody's way with the other.
	toSignIn, toSignOut = "acs", "slo"
)

func newPlaces() map[string]chan struct{} {
	return map[string]chan struct{}{toSignIn: make(chan struct{}, verifyAtOnce), toSignOut: make(chan struct{}, verifyAtOnce)}
}

// verified runs what verifies a message, when there is a place for it, and
// counts it against its network where it is refused.
func (h *Handler) verified(r *http.Request, about string, verify func() error) error {
	wait := time.NewTimer(verifyWait)
	defer wait.Stop()
	select {
	case h.verifying[about] <- struct{}{}:
		defer func() { <-h.verifying[about] }()
	case <-wait.C:
		return Away("busy", "Too many messages are being looked at right now.", nil)
	case <-r.Context().Done():
		return r.Context().Err()
	}
	if h.tiredOf(r, about) { // of those that waited with this one
		return tooMany()
	}
	err := verify()
	if saml.ReasonOf(err) != "" {
		h.crowd.allow(about+"/"+network(h.addr(r)), triesSAML, h.now())
	}
	return err
}

// tiredOf reports whether no more messages of a request's network are looked at.
func (h *Handler) tiredOf(r *http.Request, about string) bool {
	return h.crowd.spent(about+"/"+network(h.addr(r)), triesSAML, h.now())
}

// singleLogout takes the messages of SAML single logout (SAML profiles, 4.4)
// over both bindings: a request of the identity provider's, or its answer to
// one of ours. A connection that is switched off still ends sessions.
func (h *Handler) singleLogout(w http.ResponseWriter, r *http.Request) {
	_, c, err := h.anyConnection(r)
	if err == nil && (c.Spec.Protocol != v1.SsoSAML || h.saml == nil) {
		err = again("wrong_protocol", nil)
	}
	message := r.URL.Query()
	if err == nil && r.Method == http.MethodPost {
		err = parseForm(w, r)
		message = r.PostForm
	}
	if err == nil && message.Has("SAMLRequest") == message.Has("SAMLResponse") {
		err = again("saml_malformed", errors.New("not one SAMLRequest or SAMLResponse"))
	}
	if err == nil && h.tiredOf(r, toSignOut) {
		err = tooMany()
	}
	if err != nil {
		h.fail(w, r, r.PathValue("connection"), notSignedOut(err))
		return
	}
	if message.Has("SAMLRequest") {
		h.logoutRequested(w, r, c)
		return
	}
	h.logoutAnswered(w, r, c, message.Get("RelayState"))
}

// logoutRequested ends the sessions that the identity provider names, and
// answers by way of the browser.
func (h *Handler) logoutRequested(w http.ResponseWriter, r *http.Request, c *v1.SsoConnection) {
	sp, err := h.saml.connected(r.Context(), c)
	var req saml.LogoutRequest
	if err == nil {
		err = h.verified(r, toSignOut, func() error {
			req, err = sp.ParseLogoutRequest(r.Context(), r.URL.RawQuery, r.PostForm)
			return err
		})
		if reason := saml.ReasonOf(err); reason != "" {
			err = samlRefused(reason, err)
		}
	}
	if err != nil {
		h.fail(w, r, c.Name, notSignedOut(err))
		return
	}
	ended, endErr := h.endAt(r.Context(), c, providerLogout{issuer: sp.IDP(), subject: req.NameID, sessions: req.SessionIndexes, by: "single-logout"}, h.addr(r))
	for _, cookie := range r.CookiesNamed(SessionCookie) {
		if slices.ContainsFunc(ended, func(x identity.Session) bool { return x.Digest == identity.DigestOf(cookie.Value) }) {
			h.clearCookie(w, SessionCookie)
			h.clearCookie(w, hintCookie)
		}
	}
	page := postPage{Title: "You are signed out of Gatehouse", Text: "Go on to finish signing out at " + c.Title() + ".", Button: "Continue"}
	switch {
	case endErr != nil:
		page.Title, page.Text = "You are not signed out of Gatehouse", "Gatehouse cannot reach its own data right now. Go on to let "+c.Title()+" know."
	case len(ended) == 0:
		page.Title = "Signing out at " + c.Title()
	}
	answer, err := sp.LogoutResponse(req, endErr == nil)
	if endErr != nil && err != nil {
		h.fail(w, r, c.Name, failed(aSignOut, errors.Join(endErr, err)))
		return
	}
	if endErr != nil {
		h.log(r, failureOf(endErr), "sessions could not be ended at the identity provider's request", c.Name)
	}
	switch {
	case identity.CodeOf(err) == identity.CodeNotFound: // there is nowhere to answer to
		h.pages.message(w, http.StatusOK, messagePage{Title: page.Title, Text: "You can close this window.", Link: "/sso/login", LinkText: "Sign in"})
	case err != nil:
		h.fail(w, r, c.Name, failed(aSignOut, err))
	default:
		h.sendOnward(w, r, Onward{Location: answer.URL, Form: answer.Form}, page)
	}
}

// logoutAnswered takes the identity provider's answer. The session here is over
// in any case: what is refused or did not succeed changes what the page says.
func (h *Handler) logoutAnswered(w http.ResponseWriter, r *http.Request, c *v1.SsoConnection, relay string) {
	a, err := h.attempt(w, r, c, relay, true)
	if err == nil {
		err = h.claimOnce(r.Context(), a)
	}
	if err != nil {
		h.fail(w, r, c.Name, notSignedOut(err))
		return
	}
	sp, err := h.saml.connected(r.Context(), c)
	if err == nil {
		err = h.verified(r, toSignOut, func() error { return sp.ParseLogoutResponse(r.URL.RawQuery, r.PostForm, []string{a.Request}) })
	}
	next := h.base + signedOutPath
	if err != nil {
		h.log(r, failureOf(err), "the identity provider did not sign out", c.Name)
		next += hereOnly
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// notSignedOut makes the page of a failure speak of signing out.
func notSignedOut(err error) *Failure {
	f := failed(aSignOut, err)
	if f.Status < http.StatusInternalServerError || f.Change != "" {
		f.Title, f.Text = "Nobody was signed out", "Your identity provider's message about a sign-out was refused. If you want to be signed out of Gatehouse, sign out in Gatehouse itself."
	}
	return f
}

// leave sends a LogoutRequest about a session that has ended here. Nowhere to
// send one is no error.
func (p *samlProtocol) leave(w http.ResponseWriter, r *http.Request, c *v1.SsoConnection, sess *identity.Session) (Onward, error) {
	sp, err := p.connected(r.Context(), c)
	if err != nil {
		return Onward{}, err
	}
	if sp.IDP() != sess.Issuer {
		return Onward{}, nil
	}
	who := hintedNameID(p.h.hint(r, sess.ID))
	who.NameID, who.SessionIndex = sess.Subject, sess.ProviderSession
	a := p.h.newAttempt(c, "", "")
	a.SignOut = true
	req, err := sp.LogoutRequest(who, a.ID)
	if identity.CodeOf(err) == identity.CodeNotFound {
		return Onward{}, nil
	}
	if err != nil {
		return Onward{}, err
	}
	a.Request = req.ID
	return Onward{Location: req.URL, Form: req.Form}, p.h.saveAttempt(w, r, a, http.SameSiteNoneMode)
}

// nameIDHint keeps what belongs to a NameID and is no part of a session.
func nameIDHint(a saml.Assertion) string {
	q := url.Values{}
	for name, value := range map[string]string{"format": a.NameIDFormat, "qualifier": a.NameQualifier, "sp": a.SPNameQualifier} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q.Encode()
}

func hintedNameID(hint string) saml.Assertion {
	q, _ := url.ParseQuery(hint) // ours, sealed; without it the provider goes by the name alone
	return saml.Assertion{NameIDFormat: q.Get("format"), NameQualifier: q.Get("qualifier"), SPNameQualifier: q.Get("sp")}
}
