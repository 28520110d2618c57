package sso

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	gojose "github.com/go-jose/go-jose/v4"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn/jose"
	"github.com/gatehouse-ai/gatehouse/internal/safehttp"
)

const (
	maxAnswer    = 1 << 20
	fetchTimeout = 10 * time.Second
	metadataLife = time.Hour
	keysLife     = 15 * time.Minute
	staleLife    = 24 * time.Hour
	missPause    = 30 * time.Second // between fetches for a key that is not there
	failurePause = 5 * time.Second  // between fetches that fail
	maxProviders = 256
)

// metadata is what we read of a discovery document (OpenID Connect Discovery
// 1.0, 3), or what the connection says by hand.
type metadata struct {
	Issuer       string   `json:"issuer"`
	Authorize    string   `json:"authorization_endpoint"`
	Token        string   `json:"token_endpoint"`
	JWKS         string   `json:"jwks_uri"`
	Userinfo     string   `json:"userinfo_endpoint"`
	EndSession   string   `json:"end_session_endpoint"`
	Methods      []string `json:"code_challenge_methods_supported"`
	IssParameter bool     `json:"authorization_response_iss_parameter_supported"`
}

// keySet is one JWK Set. Our own parser decides which keys count; go-jose's
// copies of the same keys verify what our parser does not read: logout tokens,
// whose typ no access or ID token may have.
type keySet struct {
	keys []*jose.Key
	jwks []gojose.JSONWebKey
}

// provider is what outlives a request of one connection's OpenID provider. Its
// lock is held while fetching, so that many who wait cost one fetch.
type provider struct {
	name      string
	transport *http.Transport
	policy    safehttp.Policy
	now       func() time.Time

	mu       sync.Mutex
	spec     *v1.SsoOpenID
	meta     *metadata
	metaAt   time.Time
	keys     *keySet
	keysAt   time.Time
	missAt   time.Time
	failed   error
	failedAt time.Time
}

// openID is the relying party.
type openID struct {
	h *Handler

	mu        sync.Mutex
	providers map[string]*provider // by everything that decides whom we trust
}

func newOpenID(h *Handler) *openID { return &openID{h: h, providers: map[string]*provider{}} }

func (o *openID) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, p := range o.providers {
		p.transport.CloseIdleConnections()
		delete(o.providers, key)
	}
}

// provider returns the runtime of a connection. A change of anything that it
// trusts is another provider, which knows nothing of the old one's keys.
func (o *openID) provider(c *v1.SsoConnection) (*provider, error) {
	spec := c.Spec.OIDC
	if spec == nil || spec.Issuer == "" || spec.ClientID == "" {
		return nil, Misconfigured("incomplete", "This connection has no issuer or no client id. Set spec.oidc.issuer and spec.oidc.clientId.", nil)
	}
	roots, pem, err := o.roots(c)
	if err != nil {
		return nil, err
	}
	key, err := json.Marshal([]any{
		c.UID, spec.Issuer, spec.AuthorizationEndpoint, spec.TokenEndpoint, spec.JWKSURL, spec.UserinfoEndpoint, spec.EndSessionEndpoint,
		pem, c.Spec.InsecureHTTP, c.Spec.AllowPrivateNetwork,
	})
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if p, ok := o.providers[string(key)]; ok {
		return p, nil
	}
	if len(o.providers) >= maxProviders { // changed again and again: begin anew
		for k, p := range o.providers {
			p.transport.CloseIdleConnections()
			delete(o.providers, k)
		}
	}
	policy := safehttp.Policy{AllowPrivate: c.Spec.AllowPrivateNetwork, AllowPlainHTTP: c.Spec.InsecureHTTP, RootCAs: roots}
	for _, raw := range []string{spec.Issuer, spec.AuthorizationEndpoint, spec.TokenEndpoint, spec.JWKSURL} {
		policy.AllowLoopback = policy.AllowLoopback || safehttp.PolicyFor(raw, false, false).AllowLoopback
	}
	p := &provider{
		name: c.Name, policy: policy, spec: spec, now: o.h.now,
		transport: safehttp.NewTransport(policy, safehttp.Options{ResponseHeaderTimeout: fetchTimeout}),
	}
	o.providers[string(key)] = p
	return p, nil
}

// roots reads the connection's own authorities.
func (o *openID) roots(c *v1.SsoConnection) (*x509.CertPool, []byte, error) {
	ca := c.Spec.CACert
	if ca == nil {
		return nil, nil, nil
	}
	pem := []byte(ca.PEM)
	if ca.File != "" {
		err := errors.New("no file may be named here")
		if o.h.opt.CheckFile != nil {
			err = o.h.opt.CheckFile(ca.File, c.Manager)
		}
		if err == nil {
			pem, err = os.ReadFile(ca.File)
		}
		if err != nil {
			return nil, nil, Misconfigured("ca_unreadable", "The file of this connection's CA certificate cannot be read or may not be named. Check spec.caCert and secrets.allowFiles.", err)
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, Misconfigured("ca_unreadable", "spec.caCert holds no certificate.", nil)
	}
	return pool, pem, nil
}

// metadata returns the provider's endpoints. An old document goes on for a day
// while the provider cannot be reached.
func (p *provider) metadata(ctx context.Context) (*metadata, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.metadataLocked(ctx)
}

func (p *provider) metadataLocked(ctx context.Context) (*metadata, error) {
	if p.spec.AuthorizationEndpoint != "" {
		return &metadata{
			Issuer: p.spec.Issuer, Authorize: p.spec.AuthorizationEndpoint, Token: p.spec.TokenEndpoint, JWKS: p.spec.JWKSURL,
			Userinfo: p.spec.UserinfoEndpoint, EndSession: p.spec.EndSessionEndpoint,
		}, nil
	}
	now := p.now()
	if p.meta != nil && now.Sub(p.metaAt) < metadataLife {
		return p.meta, nil
	}
	meta, err := p.discover(ctx, now)
	switch {
	case err == nil:
		p.meta, p.metaAt = meta, now
		return meta, nil
	case p.meta != nil && now.Sub(p.metaAt) < staleLife:
		return p.meta, nil
	}
	return nil, err
}

func (p *provider) discover(ctx context.Context, now time.Time) (*metadata, error) {
	body, err := p.fetch(ctx, strings.TrimSuffix(p.spec.Issuer, "/")+"/.well-known/openid-configuration", now)
	if err != nil {
		return nil, err
	}
	var m metadata
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, Misconfigured("discovery_unreadable", "The address of the issuer answers, but not with an OpenID discovery document. Check spec.oidc.issuer.", err)
	}
	if m.Issuer != p.spec.Issuer { // Discovery 1.0, 4.3: exactly, a slash at the end included
		return nil, Misconfigured("discovery_issuer",
			"The discovery document names another issuer than this connection does. Write spec.oidc.issuer exactly as the provider's document has it, a slash at the end included.",
			fmt.Errorf("the document says %.200q", m.Issuer))
	}
	if m.Methods != nil && !slices.Contains(m.Methods, "S256") {
		return nil, Misconfigured("no_pkce", "The provider says that it does not support PKCE with S256, without which nobody signs in here. Enable it for this client.", nil)
	}
	for _, f := range []struct{ to, hand *string }{{&m.Userinfo, &p.spec.UserinfoEndpoint}, {&m.EndSession, &p.spec.EndSessionEndpoint}} {
		if *f.hand != "" {
			*f.to = *f.hand
		}
	}
	for _, u := range []string{m.Authorize, m.Token, m.JWKS, m.Userinfo, m.EndSession} {
		if u == "" && (m.Authorize != "" && m.Token != "" && m.JWKS != "") {
			continue
		}
		if err := safehttp.CheckURL(u, p.policy); err != nil {
			return nil, Misconfigured("discovery_endpoint", "The discovery document names an endpoint that cannot be used: plain http, a private address without allowPrivateNetwork, or none at all.", err)
		}
	}
	return &m, nil
}

// keysFor returns the keys to try for a kid. One that is not known costs the
// provider at most one fetch in half a minute.
func (p *provider) keysFor(ctx context.Context, kid string) (*keySet, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	fresh := p.keys != nil && now.Sub(p.keysAt) < keysLife
	if fresh && (kid == "" || p.keys.has(kid) || now.Sub(p.missAt) < missPause) {
		return p.keys, nil
	}
	if fresh {
		p.missAt = now
	}
	meta, err := p.metadataLocked(ctx)
	if err == nil {
		var body []byte
		if body, err = p.fetch(ctx, meta.JWKS, now); err == nil {
			var set *keySet
			if set, err = parseKeys(body); err == nil {
				p.keys, p.keysAt = set, now
				return set, nil
			}
		}
	}
	if p.keys != nil && now.Sub(p.keysAt) < staleLife {
		return p.keys, nil
	}
	return nil, err
}

func (s *keySet) has(kid string) bool {
	return slices.ContainsFunc(s.keys, func(k *jose.Key) bool { return k.Kid == kid || k.Kid == "" })
}

func parseKeys(body []byte) (*keySet, error) {
	keys, _, err := jose.ParseKeySet(body)
	if err == nil && len(keys) == 0 {
		err = errors.New("no key in it can be used")
	}
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err == nil {
		err = json.Unmarshal(body, &raw)
	}
	if err != nil {
		return nil, Misconfigured("keys_unreadable", "The provider's key set cannot be used. Check that it publishes an RSA (2048 bits or more), EC or Ed25519 key for signing.", err)
	}
	set := &keySet{}
	for i := range keys {
		set.keys = append(set.keys, &keys[i])
	}
	for _, one := range raw.Keys {
		var jwk gojose.JSONWebKey
		if json.Unmarshal(one, &jwk) == nil && jwk.IsPublic() && set.accepts(&jwk) {
			set.jwks = append(set.jwks, jwk)
		}
	}
	return set, nil
}

// accepts reports whether our own parser has taken the same key.
func (s *keySet) accepts(jwk *gojose.JSONWebKey) bool {
	print, err := thumbprint(jwk)
	return err == nil && slices.ContainsFunc(s.keys, func(k *jose.Key) bool { return k.Thumbprint == print && k.Kid == jwk.KeyID })
}

// fetch gets a document; a failure is remembered for a moment, so that a
// provider that hangs holds up one person at a time and not a queue of them.
func (p *provider) fetch(ctx context.Context, url string, now time.Time) ([]byte, error) {
	if p.failed != nil && now.Sub(p.failedAt) < failurePause {
		return nil, p.failed
	}
	ctx = context.WithoutCancel(ctx) // others wait for it too
	body, _, err := safehttp.Fetch(ctx, &http.Client{Transport: p.transport}, url, maxAnswer, fetchTimeout)
	if err == nil {
		p.failed = nil
		return body, nil
	}
	var refused *safehttp.Error
	if errors.As(err, &refused) {
		err = Misconfigured("provider_refused", "The identity provider's address cannot be used or answers with an error. Check spec.oidc.issuer, and allowPrivateNetwork for a provider in a private network.", err)
	} else {
		err = Away("provider_away", "The identity provider cannot be reached.", err)
	}
	p.failed, p.failedAt = err, now
	return nil, err
}
