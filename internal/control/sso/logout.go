package sso

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

const (
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// logoutTokenAge is how old a logout token may be; its jti is kept longer.
	logoutTokenAge = 5 * time.Minute
	maxLogoutToken = 16 << 10
)

// logoutPage asks before it signs out: a link alone, which any site can have,
// ends nothing. It is the way out without a script.
func (h *Handler) logoutPage(w http.ResponseWriter, r *http.Request) {
	s, err := h.snapshot()
	if err != nil {
		h.fail(w, r, "", err)
		return
	}
	t, ok := currentSession(s, r)
	if !ok || t.Owner == nil || t.Owner.User == nil {
		h.signedOut(w, r)
		return
	}
	h.pages.signOut(w, signOutPage{User: t.Owner.User.Email})
}

// logout ends the browser's session here, and leads to the identity provider's
// own sign-out where there is one. It answers with a page that goes on by
// itself: a redirect after a form would be held up by the form-action of the
// page that had the form. A script that accepts JSON gets the address.
func (h *Handler) logout(w http.ResponseWriter, r *http.Request) {
	if err := h.SameOrigin(r); err != nil {
		h.fail(w, r, "", &Failure{Status: http.StatusForbidden, Reason: "cross_origin", Title: "You are still signed in", Text: "Another site asked to sign you out. If you want that, sign out in Gatehouse itself.", Err: err})
		return
	}
	next, err := h.endCurrent(r)
	if err != nil {
		h.fail(w, r, "", err)
		return
	}
	h.clearCookie(w, SessionCookie)
	h.clearCookie(w, hintCookie)
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"location": next}) // the caller has gone if this fails
		return
	}
	h.pages.onward(w, onwardPage{Title: "Signing you out", Text: "You are signed out of Gatehouse.", Button: "Continue", Location: next})
}

// endCurrent ends the session of the request's cookie and says where to go.
// No session is no error: whoever asks wants to be signed out, and is.
func (h *Handler) endCurrent(r *http.Request) (string, error) {
	done := h.base + "/sso/signed-out"
	s, err := h.snapshot()
	if err != nil {
		return "", err
	}
	t, ok := currentSession(s, r)
	if !ok {
		return done, nil
	}
	sess, err := h.opt.Sessions.Session(r.Context(), t.ID)
	if err != nil && identity.CodeOf(err) != identity.CodeNotFound {
		return "", err
	}
	actor := record.AuditEntry{Actor: "anonymous", ActorUID: sess.UserUID, Via: "session", TokenID: t.ID, RemoteAddr: h.addr(r), RequestID: requestID(r)}
	if t.Owner != nil && t.Owner.User != nil {
		actor.Actor, actor.ActorUID = string(identity.UserSubject(t.Owner.User.Email)), t.Owner.User.UID
	}
	if _, err := h.sessions.end(r.Context(), []identity.Session{{ID: t.ID}}, "sign-out", "session:"+t.ID, actor); err != nil {
		return "", err
	}
	if sess.Connection == BreakGlassConnection {
		return done, nil
	}
	const hereOnly = "?only=gatehouse" // the provider's own session goes on
	c, ok := s.SsoConnection(sess.Connection)
	if !ok || c.Spec.Protocol != v1.SsoOIDC {
		return done + hereOnly, nil
	}
	// That the provider cannot be asked does not undo the sign-out here.
	if next, err := h.oidc.endSession(r.Context(), c, h.hint(r, t.ID)); err == nil && next != "" {
		return next, nil
	}
	return done + hereOnly, nil
}

func (h *Handler) signedOut(w http.ResponseWriter, r *http.Request) {
	text := "Close this window if you share the computer with others."
	if r.URL.Query().Has("only") {
		text = "You are signed out of Gatehouse. You may still be signed in at your identity provider: if you share the computer with others, sign out there too."
	}
	h.pages.message(w, http.StatusOK, messagePage{Title: "You are signed out", Text: text, Link: "/sso/login", LinkText: "Sign in again"})
}

// backchannel takes a logout token from the identity provider (OpenID Connect
// Back-Channel Logout 1.0, 2.5 to 2.8).
func (h *Handler) backchannel(w http.ResponseWriter, r *http.Request) {
	_, c, err := h.connection(r)
	if err == nil && c.Spec.Protocol != v1.SsoOIDC {
		err = again("wrong_protocol", nil)
	}
	if err == nil {
		err = parseForm(r)
	}
	if err == nil {
		err = h.backchannelLogout(r, c, r.PostForm.Get("logout_token"))
	}
	if err == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	f := failureOf(err)
	h.opt.Log.WarnContext(r.Context(), "back-channel logout refused", "connection", r.PathValue("connection"), "remote_addr", h.addr(r), "reason", f.Reason, "error", f.Error())
	status, code := http.StatusBadRequest, "invalid_request"
	if f.Status >= http.StatusInternalServerError {
		status, code = http.StatusServiceUnavailable, "temporarily_unavailable"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code})
}

// logoutClaims are what a logout token says, checked.
type logoutClaims struct{ jti, sub, sid string }

func (h *Handler) backchannelLogout(r *http.Request, c *v1.SsoConnection, raw string) error {
	p, err := h.oidc.provider(c)
	if err != nil {
		return err
	}
	if len(raw) > maxLogoutToken {
		return again("logout_token", fmt.Errorf("%d bytes", len(raw)))
	}
	typ, payload, err := h.oidc.logoutToken(r.Context(), p, c, raw)
	if err != nil {
		if f, ok := errors.AsType[*Failure](err); ok {
			return f // the keys could not be had
		}
		return again("logout_token", err)
	}
	l, err := checkLogout(typ, payload, c.Spec.OIDC, h.now())
	if err != nil {
		return again("logout_token", err)
	}
	err = h.opt.Store.Claim(r.Context(), "oidc-logout:"+c.UID, l.jti, h.now().Add(2*logoutTokenAge))
	if identity.CodeOf(err) == identity.CodeConflict {
		return again("logout_token_replayed", err)
	}
	if err != nil {
		return err
	}
	return h.endAt(r.Context(), c, l, h.addr(r))
}

// checkLogout is section 2.6, all of it.
func checkLogout(typ string, t map[string]any, spec *v1.SsoOpenID, now time.Time) (logoutClaims, error) {
	var l logoutClaims
	l.jti, _ = t["jti"].(string)
	l.sub, _ = t["sub"].(string)
	l.sid, _ = t["sid"].(string)
	events, _ := t["events"].(map[string]any)
	event, isObject := events[logoutEvent].(map[string]any)
	iat := numericDate(t["iat"])
	exp, hasExp := t["exp"]
	_, hasNonce := t["nonce"]
	aud := audience(t["aud"])
	switch {
	case typ != "" && !slices.Contains([]string{"logout+jwt", "jwt"}, strings.TrimPrefix(strings.ToLower(typ), "application/")):
		return l, fmt.Errorf("typ is %.40q", typ)
	case t["iss"] != spec.Issuer:
		return l, fmt.Errorf("iss is %.200q", t["iss"])
	case !slices.Contains(aud, spec.ClientID):
		return l, fmt.Errorf("aud is %.200q", aud)
	case iat.IsZero() || iat.After(now.Add(clockSkew)) || now.Sub(iat) > logoutTokenAge:
		return l, fmt.Errorf("iat is %s", iat)
	case hasExp && !now.Before(numericDate(exp).Add(clockSkew)):
		return l, fmt.Errorf("exp is %s", numericDate(exp))
	case l.jti == "" || len(l.jti) > 256:
		return l, errors.New("jti is missing or too long")
	case !isObject || event == nil:
		return l, errors.New("events does not name a back-channel logout")
	case hasNonce:
		return l, errors.New("there is a nonce: this is an ID token")
	case l.sub == "" && l.sid == "":
		return l, errors.New("neither sub nor sid")
	}
	return l, nil
}

func audience(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var list []string
		for _, one := range v {
			if s, ok := one.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}

// endAt ends the sessions that a logout token names: those of its sid, or all
// of its sub, of this connection alone. The token is used up already, so what
// fails is tried again here.
func (h *Handler) endAt(ctx context.Context, c *v1.SsoConnection, l logoutClaims, addr string) error {
	var err error
	for range writeTries {
		var list []identity.Session
		if list, err = h.opt.Sessions.SessionsAt(ctx, c.Spec.OIDC.Issuer, l.sub, l.sid); err != nil {
			continue
		}
		list = slices.DeleteFunc(list, func(x identity.Session) bool {
			return x.Connection != c.Name || x.Issuer != c.Spec.OIDC.Issuer || (l.sid != "" && x.ProviderSession != l.sid) || (l.sub != "" && x.Subject != l.sub)
		})
		if len(list) == 0 {
			return nil
		}
		actor := record.AuditEntry{Actor: "system:sso", Via: "sso:" + c.Name, RemoteAddr: addr}
		if _, err = h.sessions.end(ctx, list, "back-channel", "sso-connection:"+c.Name, actor); err == nil {
			return nil
		}
	}
	return err
}
