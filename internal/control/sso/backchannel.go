package sso

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// logoutTokenAge is how old a logout token may be; its jti is kept longer.
	logoutTokenAge = 5 * time.Minute
	maxLogoutToken = 16 << 10
)

// backchannel takes a logout token from the identity provider (OpenID Connect
// Back-Channel Logout 1.0, 2.5 to 2.8).
func (h *Handler) backchannel(w http.ResponseWriter, r *http.Request) {
	_, c, err := h.anyConnection(r)
	if err == nil && c.Spec.Protocol != v1.SsoOIDC {
		err = again("wrong_protocol", nil)
	}
	if err == nil {
		err = parseForm(w, r)
	}
	if err == nil {
		err = h.backchannelLogout(r, c, r.PostForm.Get("logout_token"))
	}
	if err == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	f := failureOf(err)
	h.log(r, f, "back-channel logout refused", r.PathValue("connection"))
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
	named := providerLogout{issuer: c.Spec.OIDC.Issuer, subject: l.sub, by: "back-channel"}
	if l.sid != "" {
		named.sessions = []string{l.sid}
	}
	_, err = h.endAt(r.Context(), c, named, h.addr(r))
	return err
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
