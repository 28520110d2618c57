package sso

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	attemptLife   = 10 * time.Minute
	attemptPrefix = "__Host-gatehouse-signin-"
	// maxAttempts of one browser at a time: each is a cookie in every request.
	maxAttempts = 8
	maxReturnTo = 1500 // a cookie has 4 KiB for all of it
)

// randomText returns 256 random bits in base64url, 43 characters: as a PKCE
// verifier has to be at least (RFC 7636, 4.1).
func randomText() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func attemptCookie(id string) string {
	sum := sha256.Sum256([]byte(id))
	return attemptPrefix + hex.EncodeToString(sum[:8])
}

// newAttempt begins an attempt; saveAttempt puts it into the browser.
func (h *Handler) newAttempt(c *v1.SsoConnection, returnTo, hint string) *Attempt {
	return &Attempt{
		ID: randomText(), Connection: c.Name, UID: c.UID, ReturnTo: safeReturnTo(returnTo), Hint: hint,
		ExpiresAt: h.now().Add(attemptLife).UTC(),
	}
}

// saveAttempt seals an attempt into a cookie of its own, so that two tabs do
// not disturb each other. SAML answers by a cross-site POST, to which browsers
// add no Lax cookie.
func (h *Handler) saveAttempt(w http.ResponseWriter, r *http.Request, a *Attempt, site http.SameSite) error {
	plain, err := json.Marshal(a)
	if err != nil {
		return err
	}
	name := attemptCookie(a.ID)
	sealed, err := h.opt.Sealer.Seal(plain, []byte("gatehouse/sso/attempt/1/"+name))
	if err != nil {
		return err
	}
	var open []string
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, attemptPrefix) {
			open = append(open, c.Name)
		}
	}
	if len(open) >= maxAttempts {
		for _, old := range open {
			h.clearCookie(w, old)
		}
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: base64.RawURLEncoding.EncodeToString(sealed), Path: "/", Secure: true, HttpOnly: true, SameSite: site,
		MaxAge: int(attemptLife / time.Second),
	})
	return nil
}

func (h *Handler) clearCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{Name: name, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1})
}

// attempt opens the attempt that an answer names, to sign in or to sign out. It
// must be this browser's, of this connection, and not over. The cookie goes,
// whatever comes of it.
func (h *Handler) attempt(w http.ResponseWriter, r *http.Request, c *v1.SsoConnection, id string, signOut bool) (*Attempt, error) {
	if id == "" || len(id) > 256 {
		return nil, again("no_state", nil)
	}
	name := attemptCookie(id)
	cookies := r.CookiesNamed(name)
	if len(cookies) != 1 {
		return nil, again("attempt_unknown", errors.New("the browser has no attempt with this state"))
	}
	h.clearCookie(w, name)
	sealed, err := base64.RawURLEncoding.DecodeString(cookies[0].Value)
	if err != nil {
		return nil, again("attempt_unreadable", err)
	}
	plain, err := h.opt.Sealer.Open(sealed, []byte("gatehouse/sso/attempt/1/"+name))
	if err != nil {
		return nil, again("attempt_unreadable", err)
	}
	var a Attempt
	if err := json.Unmarshal(plain, &a); err != nil {
		return nil, again("attempt_unreadable", err)
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(a.ID), []byte(id)) != 1:
		return nil, again("attempt_unknown", errors.New("the cookie holds another state"))
	case a.SignOut != signOut:
		return nil, again("attempt_unknown", errors.New("the attempt is for something else"))
	case a.Connection != c.Name || a.UID != c.UID:
		return nil, again("attempt_elsewhere", errors.New("the attempt was begun at another connection"))
	case !h.now().Before(a.ExpiresAt):
		return nil, again("attempt_expired", nil)
	}
	return &a, nil
}

// begun is the attempt to sign in that an answer belongs to. It is used up when
// the answer can lead to a sign-in: before its code is redeemed, or once its
// assertion is verified. Until then anybody could make us write, again and
// again; a test, which is told in the audit whatever comes of it, is used up at
// once. Through a connection that is not enabled only a test goes.
func (h *Handler) begun(w http.ResponseWriter, r *http.Request, c *v1.SsoConnection, id string) (*Attempt, error) {
	a, err := h.attempt(w, r, c, id, false)
	if !c.Spec.Enabled && (err != nil || a.Test == "") {
		return nil, noConnection()
	}
	if err == nil && a.Test != "" {
		err = h.claimOnce(r.Context(), a)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// claimOnce uses an attempt up, for all replicas, and reports a replay as a
// failure of its own. No attempt, where the identity provider began, is none to
// use up.
func (h *Handler) claimOnce(ctx context.Context, a *Attempt) error {
	if a == nil || a.claimed {
		return nil
	}
	err := h.opt.Store.Claim(ctx, "sso-attempt", a.ID, a.ExpiresAt)
	if identity.CodeOf(err) == identity.CodeConflict {
		return again("attempt_replayed", err)
	}
	a.claimed = err == nil
	return err
}

// safeReturnTo lets only a path of this origin through; anything else becomes
// "/". What browsers read as another origin: two slashes, or a slash and a
// backslash, with tabs and line breaks between, which they drop.
func safeReturnTo(s string) string {
	if s == "" || len(s) > maxReturnTo || s[0] != '/' || strings.HasPrefix(s, "//") || strings.Contains(s, `\`) {
		return "/"
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return "/"
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || strings.HasPrefix(u.Path, "//") || strings.Contains(u.Path, `\`) {
		return "/"
	}
	return s
}
