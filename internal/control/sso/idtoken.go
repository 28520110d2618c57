package sso

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	gojose "github.com/go-jose/go-jose/v4"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn/jose"
	"github.com/gatehouse-ai/gatehouse/internal/claims"
)

const clockSkew = time.Minute

func badToken(reason string, err error) error {
	return Refused(reason, "The identity provider's answer could not be verified.", err)
}

// idToken verifies the ID token (OpenID Connect Core, 3.1.3.7) and returns its
// claims. It came straight from the token endpoint; its signature is verified
// all the same.
func (o *openID) idToken(ctx context.Context, p *provider, c *v1.SsoConnection, meta *metadata, t *tokens, nonce string) (map[string]any, error) {
	parsed, err := jose.Parse(t.ID)
	if err != nil {
		return nil, badToken("id_token", err)
	}
	if err := jose.CheckAlgorithm(parsed, c.Spec.OIDC.Algorithms); err != nil {
		return nil, badToken("id_token_algorithm", err)
	}
	keys, err := p.keysFor(ctx, parsed.Kid)
	if err != nil {
		return nil, err
	}
	if _, err := jose.VerifyAny(parsed, keys.keys); err != nil {
		return nil, badToken("id_token_signature", err)
	}
	if err := jose.CheckTimes(parsed, o.h.now(), clockSkew, 0); err != nil {
		return nil, badToken("id_token_time", err)
	}
	if err := jose.CheckKind(parsed, jose.ID); err != nil {
		return nil, badToken("id_token_kind", err)
	}
	if err := checkIDClaims(parsed, meta.Issuer, c.Spec.OIDC.ClientID, nonce); err != nil {
		return nil, err
	}
	if err := checkHash(parsed, t.Access); err != nil {
		return nil, badToken("at_hash", err)
	}
	return parsed.Claims, nil
}

// checkIDClaims: from whom, for whom, about whom, and in answer to what.
func checkIDClaims(t *jose.Token, issuer, clientID, nonce string) error {
	if iss, _ := t.Claims["iss"].(string); iss != issuer {
		return badToken("id_token_issuer", fmt.Errorf("iss is %.200q, want %q", t.Claims["iss"], issuer))
	}
	aud := jose.Audience(t)
	azp, hasAzp := t.Claims["azp"]
	switch {
	case !slices.Contains(aud, clientID):
		return badToken("id_token_audience", fmt.Errorf("aud %.300q does not name the client", aud))
	case len(aud) > 1 && !hasAzp:
		return badToken("id_token_azp", errors.New("several audiences and no azp"))
	case hasAzp && azp != clientID:
		return badToken("id_token_azp", fmt.Errorf("azp is %.200q", azp))
	}
	if got, _ := t.Claims["nonce"].(string); nonce == "" || subtle.ConstantTimeCompare([]byte(got), []byte(nonce)) != 1 {
		return badToken("id_token_nonce", errors.New("the nonce is not this attempt's"))
	}
	if sub, _ := t.Claims["sub"].(string); sub == "" || len(sub) > 255 {
		return badToken("id_token_subject", errors.New("sub is missing or longer than 255 bytes"))
	}
	if _, present := t.Claims["iat"]; !present {
		return badToken("id_token_time", errors.New("iat is missing"))
	}
	return nil
}

// checkHash ties the access token to the ID token where the provider has done
// so (3.1.3.6).
func checkHash(t *jose.Token, access string) error {
	v, present := t.Claims["at_hash"]
	if !present {
		return nil
	}
	want, _ := v.(string)
	var h hash.Hash
	switch {
	case strings.HasSuffix(t.Alg, "256"):
		h = sha256.New()
	case strings.HasSuffix(t.Alg, "384"):
		h = sha512.New384()
	default: // …512, and EdDSA with Ed25519, which signs over SHA-512
		h = sha512.New()
	}
	h.Write([]byte(access))
	sum := h.Sum(nil)
	got := base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	if subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return errors.New("at_hash does not fit the access token")
	}
	return nil
}

// logoutToken verifies the signature of a logout token and returns its typ and
// claims. It goes by go-jose, because our own parser refuses its typ, as it
// must wherever a token is a credential. The algorithms are the connection's.
func (o *openID) logoutToken(ctx context.Context, p *provider, c *v1.SsoConnection, raw string) (typ string, payload map[string]any, err error) {
	if len(raw) > jose.MaxToken || !jose.LooksLikeJWT(raw) {
		return "", nil, errors.New("not a compact JWS")
	}
	var algs []gojose.SignatureAlgorithm
	for _, a := range c.Spec.OIDC.Algorithms {
		algs = append(algs, gojose.SignatureAlgorithm(a))
	}
	jws, err := gojose.ParseSignedCompact(raw, algs)
	if err != nil {
		return "", nil, err
	}
	header := jws.Signatures[0].Protected
	if v, present := header.ExtraHeaders[gojose.HeaderType]; present {
		s, ok := v.(string)
		if !ok {
			return "", nil, errors.New("typ is not a string")
		}
		typ = s
	}
	keys, err := p.keysFor(ctx, header.KeyID)
	if err != nil {
		return "", nil, err
	}
	for i := range keys.jwks {
		k := &keys.jwks[i]
		if (header.KeyID != "" && k.KeyID != "" && header.KeyID != k.KeyID) || (k.Algorithm != "" && k.Algorithm != header.Algorithm) {
			continue
		}
		if body, err := jws.Verify(k.Key); err == nil {
			payload, err = jose.ClaimsOf(string(body))
			return typ, payload, err
		}
	}
	return "", nil, errors.New("no key of the provider verifies it")
}

func thumbprint(jwk *gojose.JSONWebKey) (string, error) {
	sum, err := jwk.Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

// numericDate reads seconds since 1970; zero for anything else.
func numericDate(v any) time.Time {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}
	}
	f, err := n.Float64()
	if err != nil || f <= 0 || f > 1<<37 {
		return time.Time{}
	}
	return time.Unix(int64(f), 0).UTC()
}

// paths reads claim paths; one that cannot be read is an error, because
// leaving it out would make somebody of somebody else.
func paths(list []string) ([]claims.Path, error) {
	out := make([]claims.Path, 0, len(list))
	for _, s := range list {
		p, err := claims.Parse(s)
		if err != nil {
			return nil, Misconfigured("claim_path", "A claim path of this connection cannot be read. Check spec.claims.", err)
		}
		out = append(out, p)
	}
	return out, nil
}

func present(list []string, c map[string]any) bool {
	p, err := paths(list)
	if err != nil {
		return false
	}
	_, which := claims.First(p, c)
	return which >= 0
}
