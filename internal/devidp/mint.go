package devidp

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
)

// MintOptions say how a minted token differs from a usual access token.
type MintOptions struct {
	// Audience replaces aud.
	Audience []string
	// ExpiresIn replaces the hour; negative for a token that has expired. Zero: an hour.
	ExpiresIn time.Duration
	// ClientID replaces azp and client_id. Default gatehouse.
	ClientID string
	// Extra sets claims; nil as a value removes one.
	Extra map[string]any
	// Alg is RS256 (default), ES256 or EdDSA.
	Alg string
	// Kid replaces the kid of the header; the signature stays that of the key.
	Kid string
	// Type replaces the typ of the header, which is at+jwt.
	Type string
}

// Mint returns an access token for one of the users, by e-mail address.
func (p *Provider) Mint(email string, o MintOptions) (string, error) {
	u, ok := p.user(email)
	if !ok {
		return "", fmt.Errorf("the development identity provider has no user %q", email)
	}
	if o.ClientID == "" {
		o.ClientID = DefaultClient
	}
	return p.mint(p.access(u, o.ClientID, "openid email profile", newID()), o)
}

func (p *Provider) mint(claims map[string]any, o MintOptions) (string, error) {
	if o.Audience != nil {
		claims["aud"] = o.Audience
	}
	if o.ExpiresIn != 0 {
		claims["exp"] = p.clock().Add(o.ExpiresIn).Unix()
	}
	for name, value := range o.Extra {
		if value == nil {
			delete(claims, name)
			continue
		}
		claims[name] = value
	}
	if o.Type == "" {
		o.Type = "at+jwt" // RFC 9068, 2.1
	}
	return p.sign(claims, o.Type, o.Alg, o.Kid)
}

// access returns the claims of a person's access token (RFC 9068, 2.2).
func (p *Provider) access(u User, client, scope, sid string) map[string]any {
	claims := p.base(client, scope)
	maps.Copy(claims, person(u))
	claims["sid"] = sid
	return claims
}

// base returns the claims that every access token has.
func (p *Provider) base(client, scope string) map[string]any {
	now := p.clock()
	return map[string]any{
		"iss": p.issuer, "sub": client, "aud": p.audience, "azp": client, "client_id": client,
		"iat": now.Unix(), "exp": now.Add(AccessTokenLifetime).Unix(), "jti": newID(), "scope": scope,
	}
}

func person(u User) map[string]any {
	groups := u.Groups
	if groups == nil {
		groups = []string{}
	}
	return map[string]any{
		"sub": u.Subject(), "email": u.Email, "email_verified": true, "name": u.Name, "preferred_username": u.Email, "groups": groups,
	}
}

func (p *Provider) sign(claims map[string]any, typ, alg, kid string) (string, error) {
	for _, k := range p.keys {
		if alg != "" && alg != string(k.alg) {
			continue
		}
		if kid == "" {
			kid = k.jwk.KeyID
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: jose.JSONWebKey{Key: k.jwk.Key, KeyID: kid}},
			(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
		if err != nil {
			return "", err
		}
		body, err := json.Marshal(claims)
		if err != nil {
			return "", err
		}
		signed, err := signer.Sign(body)
		if err != nil {
			return "", err
		}
		return signed.CompactSerialize()
	}
	return "", fmt.Errorf("the development identity provider has no key for %q", alg)
}

// verify checks one of our own tokens and returns its claims.
func (p *Provider) verify(token string) (map[string]any, error) {
	signed, err := jose.ParseSignedCompact(token, algorithms())
	if err != nil {
		return nil, err
	}
	body, err := signed.Verify(p.JWKS())
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	if err := json.Unmarshal(body, &claims); err != nil {
		return nil, err
	}
	exp, _ := claims["exp"].(float64)
	if claims["iss"] != p.issuer || p.clock().Unix() >= int64(exp) {
		return nil, fmt.Errorf("the token has expired, or is another's")
	}
	return claims, nil
}

// atHash is half of the access token's hash (OpenID Connect Core, 3.1.3.6).
func atHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func newID() string { return uuid.NewString() }

func newSecret() string { return rand.Text() + rand.Text() }
