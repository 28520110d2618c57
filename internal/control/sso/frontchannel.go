package sso

import (
	"errors"
	"net/http"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

const (
	// triesFrontChannel is how many sids of nobody's one network names in a
	// quarter of an hour: behind it may be an office whose sessions are over. Those
	// that end a session do not count.
	triesFrontChannel = 3000
	maxSID            = 256
)

// frontchannel ends the session that the identity provider names by way of the
// browser, in a frame of its own sign-out page (OpenID Connect Front-Channel
// Logout 1.0, 3). No cookie comes with that and nothing is signed: the sid is
// known to the provider, the browser and us alone, and without one nothing is
// ended.
func (h *Handler) frontchannel(w http.ResponseWriter, r *http.Request) {
	_, c, err := h.anyConnection(r)
	if err == nil {
		err = h.frontchannelLogout(r, c)
	}
	if err != nil {
		h.fail(w, r, r.PathValue("connection"), notSignedOut(err))
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK) // and no page: nothing of ours is shown in another's frame
}

func (h *Handler) frontchannelLogout(r *http.Request, c *v1.SsoConnection) error {
	if c.Spec.Protocol != v1.SsoOIDC || c.Spec.OIDC == nil {
		return again("wrong_protocol", nil)
	}
	q := r.URL.Query()
	for name, values := range q {
		if len(values) > 1 {
			return again("parameter_twice", errors.New(name))
		}
	}
	sid, tries := q.Get("sid"), "frontchannel/"+network(h.addr(r))
	switch {
	case sid == "" || len(sid) > maxSID:
		return again("logout_sid", errors.New("the sid is missing or too long"))
	case q.Has("iss") && q.Get("iss") != c.Spec.OIDC.Issuer:
		return again("logout_issuer", errors.New("the iss is another's"))
	case h.crowd.spent(tries, triesFrontChannel, h.now()):
		return tooMany()
	}
	ended, err := h.endAt(r.Context(), c, providerLogout{issuer: c.Spec.OIDC.Issuer, sessions: []string{sid}, by: "front-channel"}, h.addr(r))
	if err == nil && len(ended) == 0 {
		h.crowd.allow(tries, triesFrontChannel, h.now())
	}
	return err
}
