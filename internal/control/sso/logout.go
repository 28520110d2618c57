package sso

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// logoutPage asks before it signs out: a link alone, which any site can have,
// ends nothing. It is the way out without a script.
func (h *Handler) logoutPage(w http.ResponseWriter, r *http.Request) {
	_, t, ok, err := h.ownSession(r)
	if err != nil {
		h.fail(w, r, "", failed(aSignOut, err))
		return
	}
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
		h.fail(w, r, "", &Failure{Status: http.StatusForbidden, What: aSignOut, Reason: "cross_origin", Title: "You are still signed in", Text: "Another site asked to sign you out. If you want that, sign out in Gatehouse itself.", Err: err})
		return
	}
	to, err := h.endCurrent(w, r)
	if err != nil {
		h.fail(w, r, "", failed(aSignOut, err))
		return
	}
	h.clearCookie(w, SessionCookie)
	h.clearCookie(w, hintCookie)
	const title, text = "Signing you out", "You are signed out of Gatehouse."
	switch {
	case strings.Contains(r.Header.Get("Accept"), "application/json"):
		answer := map[string]any{"location": to.Location}
		if to.Form != nil {
			answer["form"] = to.Form
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the caller has gone if this fails
	case to.Form != nil:
		h.pages.postOnward(w, to, postPage{Title: title, Text: text + " Your identity provider may still know you: sign out there too.", Button: "Sign out there too"})
	default:
		h.pages.onward(w, onwardPage{Title: title, Text: text, Button: "Continue", Location: to.Location})
	}
}

// ownSession is the session that the request's cookie opens. One that another
// replica made a moment ago is waited for: to call it over would leave it open.
func (h *Handler) ownSession(r *http.Request) (*snapshot.Snapshot, snapshot.Token, bool, error) {
	s, err := h.snapshot()
	if err != nil {
		return nil, snapshot.Token{}, false, err
	}
	t, ok := currentSession(s, r)
	if cookies := r.CookiesNamed(SessionCookie); ok || len(cookies) != 1 || !identity.ValidSessionSecret(cookies[0].Value) {
		return s, t, ok, nil
	}
	if s, err = h.latest(r.Context()); err != nil {
		return nil, snapshot.Token{}, false, err
	}
	t, ok = currentSession(s, r)
	return s, t, ok, nil
}

// endCurrent ends the session of the request's cookie and says where to go.
// No session is no error: whoever asks wants to be signed out, and is.
func (h *Handler) endCurrent(w http.ResponseWriter, r *http.Request) (Onward, error) {
	s, t, ok, err := h.ownSession(r)
	if err != nil {
		return Onward{}, err
	}
	if !ok {
		return Onward{Location: h.base + signedOutPath}, nil
	}
	sess, err := h.opt.Sessions.Session(r.Context(), t.ID)
	if err != nil && identity.CodeOf(err) != identity.CodeNotFound {
		return Onward{}, err
	}
	actor := record.AuditEntry{Actor: "anonymous", ActorUID: sess.UserUID, Via: "session", TokenID: t.ID, RemoteAddr: h.addr(r), RequestID: requestID(r)}
	if t.Owner != nil && t.Owner.User != nil {
		actor.Actor, actor.ActorUID = string(identity.UserSubject(t.Owner.User.Email)), t.Owner.User.UID
	}
	if _, err := h.sessions.end(r.Context(), []identity.Session{{ID: t.ID}}, "sign-out", "session:"+t.ID, actor); err != nil {
		return Onward{}, err
	}
	return h.leave(w, r, s, &sess), nil
}

const (
	signedOutPath = "/sso/signed-out"
	hereOnly      = "?only=gatehouse" // the provider's own session goes on
)

// leave says where a browser goes whose session has ended: to the provider's
// own sign-out, where it has one. That the provider cannot be asked does not
// undo the sign-out here.
func (h *Handler) leave(w http.ResponseWriter, r *http.Request, s *snapshot.Snapshot, sess *identity.Session) Onward {
	done := Onward{Location: h.base + signedOutPath}
	if sess.Connection == BreakGlassConnection {
		return done
	}
	to := Onward{}
	var err error
	// The connection of that name may be another provider's by now, which is
	// told nothing about its predecessor's people.
	c, ok := s.SsoConnection(sess.Connection)
	switch {
	case !ok:
	case c.Spec.Protocol == v1.SsoSAML && h.saml != nil:
		to, err = h.saml.leave(w, r, c, sess)
	case c.Spec.Protocol == v1.SsoOIDC && c.Spec.OIDC != nil && c.Spec.OIDC.Issuer == sess.Issuer:
		to.Location, err = h.oidc.endSession(r.Context(), c, h.hint(r, sess.ID))
	}
	if err != nil {
		h.opt.Log.WarnContext(r.Context(), "sign-out at the identity provider is not possible", "connection", sess.Connection, "error", err)
	}
	if err != nil || to.Location == "" {
		return Onward{Location: done.Location + hereOnly}
	}
	return to
}

func (h *Handler) signedOut(w http.ResponseWriter, r *http.Request) {
	text := "Close this window if you share the computer with others."
	if r.URL.Query().Has("only") {
		text = "You are signed out of Gatehouse. You may still be signed in at your identity provider: if you share the computer with others, sign out there too."
	}
	h.pages.message(w, http.StatusOK, messagePage{Title: "You are signed out", Text: text, Link: "/sso/login", LinkText: "Sign in again"})
}

// providerLogout is what an identity provider says has ended there.
type providerLogout struct {
	issuer string
	// subject is whose sessions end, sessions which: one of the two may be
	// empty, which is any.
	subject  string
	sessions []string
	// by is how it was said: back-channel, front-channel or single-logout.
	by string
}

// names reports whether a session of the issuer and the subject is one of those.
// One of the subject's of which it is not known which it is there is taken to be.
func (l *providerLogout) names(x *identity.Session) bool {
	unknown := l.subject != "" && x.ProviderSession == ""
	return len(l.sessions) == 0 || unknown || slices.Contains(l.sessions, x.ProviderSession)
}

// told is what the audit keeps of it: how, of whom there, and of whom here.
func (l *providerLogout) told(list []identity.Session) json.RawMessage {
	ids, users := make([]string, len(list)), make([]string, len(list))
	for i := range list {
		ids[i], users[i] = list[i].ID, list[i].UserUID
	}
	slices.Sort(users)
	after, _ := json.Marshal(map[string]any{ // strings only: this cannot fail
		"by": l.by, "issuer": l.issuer, "subject": cut(l.subject, 256), "sessions": ids, "users": slices.Compact(users),
	})
	return after
}

// endAt ends the sessions that an identity provider names, those of this
// connection alone, and returns them. The provider's message is used up
// already, so what fails is tried again here.
func (h *Handler) endAt(ctx context.Context, c *v1.SsoConnection, l providerLogout, addr string) ([]identity.Session, error) {
	only := "" // the store looks for one session, or for all of a person's
	if l.subject == "" && len(l.sessions) == 1 {
		only = l.sessions[0]
	}
	var err error
	for range writeTries {
		var list []identity.Session
		if list, err = h.opt.Sessions.SessionsAt(ctx, l.issuer, l.subject, only); err != nil {
			continue
		}
		list = slices.DeleteFunc(list, func(x identity.Session) bool { return x.Connection != c.Name || !l.names(&x) })
		if len(list) == 0 {
			return nil, nil
		}
		actor := record.AuditEntry{Actor: "system:sso", Via: "sso:" + c.Name, RemoteAddr: addr, After: l.told(list)}
		if _, err = h.sessions.end(ctx, list, l.by, "sso-connection:"+c.Name, actor); err == nil {
			return list, nil
		}
	}
	return nil, err
}
