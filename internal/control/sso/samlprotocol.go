package sso

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/sso/saml"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/safehttp"
)

const (
	maxSAMLMetadata   = 4 << 20
	transientNameID   = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
	samlMetadataLife  = time.Hour
	samlMetadataStale = 7 * 24 * time.Hour
)

// ServiceKey returns our SAML key and its certificate: the same for every
// replica, kept for years (saml.GenerateKeyPair makes one).
type ServiceKey func(ctx context.Context) (crypto.Signer, *x509.Certificate, error)

// samlProtocol makes SAML connections sign people in. It owns what is around
// the messages: the identity provider's metadata, and what an assertion is in
// the terms of a sign-in.
type samlProtocol struct {
	h   *Handler
	key ServiceKey

	mu        sync.Mutex
	documents map[string]*samlDocument // by everything that decides whom we trust
	parsed    map[[sha256.Size]byte]*saml.IDP
}

type samlDocument struct {
	mu       sync.Mutex
	idp      saml.IDP
	at       time.Time
	failed   error
	failedAt time.Time
}

func newSAML(h *Handler, key ServiceKey) *samlProtocol {
	return &samlProtocol{h: h, key: key, documents: map[string]*samlDocument{}, parsed: map[[sha256.Size]byte]*saml.IDP{}}
}

// config is what a connection's service provider knows, but for whom it asks.
func (p *samlProtocol) config(ctx context.Context, c *v1.SsoConnection) (saml.Config, error) {
	key, cert, err := p.key(ctx)
	if err != nil {
		return saml.Config{}, err
	}
	m := c.Spec.SAML
	if m.Encryption == v1.EncryptionOff {
		key = signerOnly{key}
	}
	at := c.StatusAt(p.h.base)
	return saml.Config{
		EntityID: at.EntityID, ACSURL: at.ACSURL, SLOURL: at.SLOURL, Key: key, Certificate: cert,
		InsecureHTTP:     c.Spec.InsecureHTTP,
		UnsignedRequests: !m.SignsRequests(), AllowIDPInitiated: m.AllowIdpInitiated, NameIDFormat: m.NameIDFormat,
		RequireACR: c.Spec.Require.ACRValues, MaxAge: c.Spec.Require.MaxAge.Std(), Now: p.h.now,
	}, nil
}

// signerOnly hides that a key decrypts too.
type signerOnly struct{ crypto.Signer }

// begin says where the browser goes with an AuthnRequest.
func (p *samlProtocol) begin(ctx context.Context, c *v1.SsoConnection, a *Attempt) (Onward, error) {
	sp, err := p.connected(ctx, c)
	if err != nil {
		return Onward{}, err
	}
	r, err := sp.AuthnRequest(a.ID, saml.RequestOptions{})
	if err != nil {
		return Onward{}, err
	}
	a.Request = r.ID
	return Onward{Location: r.URL, Form: r.Form}, nil
}

// finish reads the response that the browser posted, and uses a up once it has
// been verified; a is nil where the identity provider began by itself.
func (p *samlProtocol) finish(ctx context.Context, c *v1.SsoConnection, r *http.Request, a *Attempt) (*Assertion, error) {
	var used error
	sp, err := p.serviceProvider(ctx, c, func(ctx context.Context, scope, id string, until time.Time) error {
		if used = p.h.claimOnce(ctx, a); used != nil {
			return used
		}
		return p.h.opt.Store.Claim(ctx, scope, id, until)
	})
	if err != nil {
		return nil, err
	}
	var expected []string
	if a != nil {
		expected = []string{a.Request}
	}
	var got saml.Assertion
	err = p.h.verified(r, toSignIn, func() (err error) {
		got, err = sp.ParseResponse(ctx, r.PostForm, expected)
		return err
	})
	if used != nil {
		return nil, used
	}
	if reason := saml.ReasonOf(err); reason != "" {
		return nil, samlRefused(reason, err)
	}
	if err != nil {
		return nil, err
	}
	if c.Spec.SAML.Encryption == v1.EncryptionRequired && !got.Encrypted {
		return nil, Misconfigured("saml_not_encrypted", "This connection requires encrypted assertions, and the identity provider sent a plain one. Give it our metadata, or change spec.saml.encryption.", nil)
	}
	if got.NameIDFormat == transientNameID && len(c.Spec.Claims.Subject) == 1 && c.Spec.Claims.Subject[0] == "sub" {
		return nil, Misconfigured("saml_transient", "The identity provider names people by a NameID that changes with every sign-in (transient). Make it send a persistent one, or set spec.claims.subject to an attribute that stays.", nil)
	}
	claims := map[string]any{}
	for name, values := range got.Attributes {
		list := make([]any, len(values))
		for i, v := range values {
			list[i] = v
		}
		claims[name] = list
	}
	claims["sub"] = got.NameID
	return &Assertion{
		Issuer: got.Issuer, Subject: got.NameID, Claims: claims, ProviderSession: got.SessionIndex, AuthenticatedAt: got.AuthnInstant,
		ACR: got.AuthnContextClassRef, NotAfter: got.SessionNotOnOrAfter, SignOutHint: nameIDHint(got),
	}, nil
}

func samlRefused(reason saml.Reason, err error) error {
	const text = "The identity provider's answer was refused."
	word := "saml_" + string(reason)
	switch reason {
	case saml.ReasonReplayed, saml.ReasonInResponseTo, saml.ReasonUnsolicited, saml.ReasonExpired:
		return again(word, err)
	case saml.ReasonStatus:
		return Refused(word, "The identity provider did not let you in. If you should have access, ask your administrator to assign you to this application there.", err)
	case saml.ReasonAuthnContext:
		return Refused(word, "Sign in again with a stronger method, for example with a second factor.", err)
	case saml.ReasonUnsigned:
		return Misconfigured(word, "The identity provider does not sign its assertions. Switch on signing of assertions there; a signed response alone is not enough.", err)
	case saml.ReasonSignature, saml.ReasonCertificate:
		return Misconfigured(word, "The answer is not signed by a certificate that this connection knows, or the certificate is out of date. Check the identity provider's metadata or certificates.", err)
	case saml.ReasonAlgorithm:
		return Misconfigured(word, "The identity provider signs or encrypts in a way that is too weak, such as SHA-1. Choose SHA-256 there.", err)
	case saml.ReasonUndecryptable:
		return Misconfigured(word, "The assertion is encrypted for another key. Give the identity provider our present metadata.", err)
	case saml.ReasonDestination, saml.ReasonAudience, saml.ReasonIssuer:
		return Misconfigured(word, "The answer was made for another address or entity id than ours. Compare the identity provider's settings with our metadata.", err)
	case saml.ReasonMalformed, saml.ReasonTooLarge, saml.ReasonConfirmation, saml.ReasonNotYetValid:
	}
	return Refused(word, text, err)
}

// metadata describes us to the identity provider, as XML.
func (p *samlProtocol) metadata(ctx context.Context, c *v1.SsoConnection) ([]byte, error) {
	if c.Spec.SAML == nil {
		draft := *c
		draft.Spec.SAML = &v1.SsoSaml{}
		c = &draft
	}
	cfg, err := p.config(ctx, c)
	if err != nil {
		return nil, err
	}
	return saml.Metadata(cfg)
}

func (p *samlProtocol) connected(ctx context.Context, c *v1.SsoConnection) (*saml.ServiceProvider, error) {
	return p.serviceProvider(ctx, c, p.h.opt.Store.Claim)
}

// serviceProvider is us towards a connection's identity provider; claim is asked
// about each message that is otherwise right.
func (p *samlProtocol) serviceProvider(ctx context.Context, c *v1.SsoConnection, claim saml.Claim) (*saml.ServiceProvider, error) {
	if c.Spec.SAML == nil {
		return nil, Misconfigured("incomplete", "This connection has no identity provider. Set spec.saml.", nil)
	}
	idp, err := p.idp(ctx, c)
	if err != nil {
		return nil, err
	}
	cfg, err := p.config(ctx, c)
	if err != nil {
		return nil, err
	}
	cfg.IDP, cfg.Claim = *idp, claim
	sp, err := saml.New(cfg)
	if err != nil {
		return nil, Misconfigured("saml_settings", "The settings of this connection cannot be used. Check spec.saml: entityId, ssoURL, and certificates with RSA keys of 2048 bits or more.", err)
	}
	return sp, nil
}

// idp describes the identity provider, by hand or by its metadata.
func (p *samlProtocol) idp(ctx context.Context, c *v1.SsoConnection) (*saml.IDP, error) {
	m := c.Spec.SAML
	switch {
	case m.MetadataURL != "":
		return p.fetched(ctx, c)
	case m.MetadataXML != "":
		return p.written(m)
	}
	idp := saml.IDP{EntityID: m.EntityID, SSOURL: m.SSOURL, SLOURL: m.SLOURL}
	for _, text := range m.Certificates {
		certs, err := saml.ParseCertificates(text)
		if err != nil {
			return nil, Misconfigured("saml_certificate", "A certificate of this connection cannot be read. Check spec.saml.certificates: PEM, one or more.", err)
		}
		idp.Certificates = append(idp.Certificates, certs...)
	}
	return &idp, nil
}

// written reads metadata that stands in the connection, once: it may be large,
// and strangers cause it to be looked at.
func (p *samlProtocol) written(m *v1.SsoSaml) (*saml.IDP, error) {
	key := sha256.Sum256([]byte(m.EntityID + "\x00" + m.MetadataXML))
	p.mu.Lock()
	known := p.parsed[key]
	p.mu.Unlock()
	if known != nil {
		return known, nil
	}
	idp, err := saml.ParseMetadata([]byte(m.MetadataXML), m.EntityID)
	if err != nil {
		return nil, Misconfigured("saml_metadata", "The identity provider's metadata cannot be used. Check spec.saml.metadataXML, and entityId where it describes several.", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.parsed) >= maxProviders {
		clear(p.parsed)
	}
	p.parsed[key] = &idp
	return &idp, nil
}

// fetched returns the identity provider of a metadata address, at most an hour
// old; older for a week while it cannot be fetched.
func (p *samlProtocol) fetched(ctx context.Context, c *v1.SsoConnection) (*saml.IDP, error) {
	roots, pemBytes, err := p.h.oidc.roots(c)
	if err != nil {
		return nil, err
	}
	m := c.Spec.SAML
	key, err := json.Marshal([]any{c.UID, m.MetadataURL, m.EntityID, pemBytes, c.Spec.InsecureHTTP, c.Spec.AllowPrivateNetwork})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(key)
	p.mu.Lock()
	if len(p.documents) >= maxProviders {
		clear(p.documents)
	}
	d := p.documents[hex.EncodeToString(sum[:])]
	if d == nil {
		d = &samlDocument{}
		p.documents[hex.EncodeToString(sum[:])] = d
	}
	p.mu.Unlock()

	d.mu.Lock()
	defer d.mu.Unlock()
	now := p.h.now()
	if !d.at.IsZero() && now.Sub(d.at) < samlMetadataLife {
		return &d.idp, nil
	}
	if d.failed == nil || now.Sub(d.failedAt) >= failurePause {
		policy := safehttp.PolicyFor(m.MetadataURL, c.Spec.AllowPrivateNetwork, c.Spec.InsecureHTTP)
		policy.RootCAs = roots
		transport := safehttp.NewTransport(policy, safehttp.Options{ResponseHeaderTimeout: fetchTimeout, DisableKeepAlives: true})
		body, _, err := safehttp.Fetch(context.WithoutCancel(ctx), &http.Client{Transport: transport}, m.MetadataURL, maxSAMLMetadata, fetchTimeout)
		transport.CloseIdleConnections()
		var idp saml.IDP
		if err == nil {
			idp, err = saml.ParseMetadata(body, m.EntityID)
		}
		if err == nil {
			d.idp, d.at, d.failed = idp, now, nil
			return &d.idp, nil
		}
		d.failed, d.failedAt = err, now
	}
	if !d.at.IsZero() && now.Sub(d.at) < samlMetadataStale {
		return &d.idp, nil
	}
	if identity.CodeOf(d.failed) == identity.CodeInvalidRequest || isRefusal(d.failed) {
		return nil, Misconfigured("saml_metadata", "The identity provider's metadata cannot be used. Check spec.saml.metadataURL, entityId where it describes several, and allowPrivateNetwork for a private network.", d.failed)
	}
	return nil, Away("provider_away", "The identity provider cannot be reached.", d.failed)
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*safehttp.Error](err)
	return ok
}
