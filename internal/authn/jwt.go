package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn/jose"
	"github.com/gatehouse-ai/gatehouse/internal/authn/keyring"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// jwt judges a token of an identity provider: from the cache, or by every
// provider that may judge it.
func (a *Authenticator) jwt(ctx context.Context, s *snapshot.Snapshot, token string, addr netip.Addr, m mode, tr *identity.Trace) (Caller, error) {
	key := tokenKey(token)
	if m == live {
		if e, ok := a.cache.tokens.GetIfPresent(key); ok {
			now := a.opt.Now()
			if _, trusted := e.trusted(s, a.opt.Keys); trusted && now.Before(e.until) && !e.expired(now) {
				return a.resolveEntry(ctx, s, e, addr, m, tr)
			}
			a.cache.tokens.Invalidate(key)
		}
	}
	e, said, err := a.verify(ctx, s, token, m, tr)
	if err != nil {
		return Caller{}, err
	}
	if m == live {
		a.cache.tokens.Set(key, e)
	}
	if p, ok := s.Provider(e.provider); ok && tr == nil {
		e.meaning.Store(&meaning{config: s.ConfigID(), facts: readFacts(s, p, said)})
	}
	return a.resolveEntry(ctx, s, e, addr, m, tr)
}

// verify tries the providers that may judge the token, each complete in
// itself. The first that accepts it wins. If none does the answer is 401,
// unless one of them could not say: then it is 503. It returns the claims
// besides.
func (a *Authenticator) verify(ctx context.Context, s *snapshot.Snapshot, token string, m mode, tr *identity.Trace) (*verified, map[string]any, error) {
	t, err := jose.Parse(token)
	if err != nil {
		tr.Add("credential", false, "the JWT cannot be read: %v", err)
		return nil, nil, invalid(err.Error())
	}
	iss, ok := t.Claims["iss"].(string)
	if _, present := t.Claims["iss"]; present && !ok {
		tr.Note("credential", false, "the JWT's iss is not a string")
		return nil, nil, invalid("iss is not a string")
	}
	if tr != nil { // what is passed would be made for every token
		tr.Add("credential", true, "a JWT, alg %s, kid %q, iss %q", t.Alg, t.Kid, iss)
	}
	candidates := s.Candidates(iss)
	if len(candidates) == 0 {
		traceNoIssuer(tr, s, iss)
		return nil, nil, invalid(fmt.Sprintf("no identity provider has the issuer %q", iss))
	}
	var unavailable error
	var reasons []string
	for _, p := range candidates {
		e, err := a.judge(ctx, p, t, m, tr)
		if err == nil {
			e.payload, e.issuer = t.Payload(), iss
			return e, t.Claims, nil
		}
		reasons = append(reasons, p.Name+": "+err.Error())
		if errors.Is(err, keyring.ErrUnavailable) {
			unavailable = err
		}
	}
	if unavailable != nil {
		return nil, nil, unavailableError(unavailable)
	}
	return nil, nil, invalid(strings.Join(reasons, "; "))
}

func unavailableError(err error) error {
	e := &identity.Error{
		Code: identity.CodeKeysUnavailable, Err: err, RetryAfter: 5 * time.Second,
		Message: "the identity provider of this token cannot be reached; try again",
	}
	if u, ok := errors.AsType[*keyring.UnavailableError](err); ok && u.RetryAfter > 0 {
		e.RetryAfter = u.RetryAfter
	}
	return e
}

// judge applies one provider's rules to a token. What costs nothing and nobody
// comes first; the signature comes last.
func (a *Authenticator) judge(ctx context.Context, p *snapshot.Provider, t *jose.Token, m mode, tr *identity.Trace) (*verified, error) {
	if err := a.checkClaims(p, t); err != nil {
		traceRefusal(tr, p, t, err)
		return nil, err
	}
	var res keyring.Result
	var err error
	if m == dry {
		res, err = a.opt.Keys.Peek(p.UID, t.Kid)
	} else {
		res, err = a.opt.Keys.Lookup(ctx, p.UID, t.Kid)
	}
	if err != nil {
		a.traceKeys(tr, p, t, err)
		if !errors.Is(err, keyring.ErrUnknownKid) && !errors.Is(err, keyring.ErrUnavailable) {
			err = errors.Join(keyring.ErrUnavailable, err) // whatever it is, it is not the caller's fault
		}
		return nil, err
	}
	key, err := jose.VerifyAny(t, res.Keys)
	if err != nil {
		tr.Add("provider", false, "%s: the signature is wrong: %v", p.Name, err)
		return nil, err
	}
	exp, _ := jose.ExpiresAt(t)
	tr.Add("provider", true, "%s accepts the token: issuer, audience, times, kind and signature (key %q) are right", p.Name, t.Kid)
	return &verified{
		provider: p.Name, uid: p.UID, version: p.Version, thumbprint: key.Thumbprint, expires: exp, skew: p.ClockSkew,
		until: a.believeUntil(p, t),
		grant: &identity.Grant{Via: "jwt", Provider: p.Name, ExpiresAt: exp},
	}, nil
}

// believeUntil is when a token that is sent again must be verified again: after
// five minutes, and where the provider has a maxAge when that is over.
func (a *Authenticator) believeUntil(p *snapshot.Provider, t *jose.Token) time.Time {
	until := a.opt.Now().Add(cacheFor)
	if p.MaxAge == 0 {
		return until
	}
	n, _ := t.Claims["iat"].(json.Number)
	iat, err := n.Float64()
	if err != nil {
		return time.Time{}
	}
	if end := time.Unix(int64(iat), 0).Add(p.MaxAge + p.ClockSkew); end.Before(until) {
		return end
	}
	return until
}

func (a *Authenticator) checkClaims(p *snapshot.Provider, t *jose.Token) error {
	if err := jose.CheckAlgorithm(t, p.Spec.Algorithms); err != nil {
		return err
	}
	if err := jose.CheckKind(t, jose.Kind(p.Spec.TokenType)); err != nil {
		return err
	}
	if err := jose.CheckTimes(t, a.opt.Now(), p.ClockSkew, p.MaxAge); err != nil {
		return err
	}
	if err := checkAudience(p, t); err != nil {
		return err
	}
	if _, ok := readSubject(p, t.Claims); !ok {
		return jose.Refuse(jose.NoSubject, "no subject: the claim %s is missing, empty or not a string", strings.Join(p.Spec.Claims.Subject, ", "))
	}
	return nil
}

// checkAudience asks for one of the configured audiences in aud (RFC 7519,
// section 4.1.3). A token without aud may prove its audience by another claim
// where the provider says so.
func checkAudience(p *snapshot.Provider, t *jose.Token) error {
	if p.Spec.InsecureSkipAudience && len(p.Spec.Audiences) == 0 {
		return nil
	}
	got := jose.Audience(t)
	if _, present := t.Claims["aud"]; !present {
		for _, c := range p.Spec.AudienceFrom {
			if v, ok := t.Claims[c].(string); ok {
				got = append(got, v)
			}
		}
	}
	for _, g := range got {
		if slices.Contains(p.Spec.Audiences, g) {
			return nil
		}
	}
	return jose.Refuse(jose.WrongAudience, "the token is for %q; this provider asks for one of %q", got, []string(p.Spec.Audiences))
}

// claims reads the claims again.
func (v *verified) claims() (map[string]any, error) {
	c, err := jose.ClaimsOf(v.payload)
	if err != nil {
		return nil, fmt.Errorf("claims of a verified token: %w", err)
	}
	return c, nil
}
