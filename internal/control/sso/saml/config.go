package saml

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"net/netip"
	"net/url"
	"slices"
	"time"
)

// DefaultSkew is how far the clocks of the two sides may differ.
const DefaultSkew = 90 * time.Second

// Binding is how a request travels to the identity provider.
type Binding string

// The bindings (SAML bindings, 3.4 and 3.5).
const (
	BindingRedirect Binding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	BindingPOST     Binding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
)

// IDP is an identity provider as its metadata or an administrator describes it.
type IDP struct {
	EntityID string
	// SSOURL is where requests go, by SSOBinding (default BindingRedirect).
	SSOURL     string
	SSOBinding Binding
	// SLOURL is where logout messages go, by SLOBinding; empty is no single
	// logout. SLOResponseURL is for responses where that is another address.
	SLOURL         string
	SLOResponseURL string
	SLOBinding     Binding
	// Certificates carry the keys that its signatures are accepted by. Only
	// RSA keys of 2048 bits and more count.
	Certificates []*x509.Certificate
	// WantsSignedRequests is what its metadata says; requests are then signed
	// whatever Config says.
	WantsSignedRequests bool
}

// Encryption is what a connection says about encrypted assertions.
type Encryption string

// The words for it.
const (
	EncryptionOptional Encryption = "optional" // the default
	EncryptionRequired Encryption = "required" // plain assertions are refused
	EncryptionOff      Encryption = "off"      // encrypted ones are, and no key is offered
)

// Claim takes an id for itself in a scope until a time, for all replicas, and
// returns an error with the code `conflict` when somebody has it already.
type Claim func(ctx context.Context, scope, id string, until time.Time) error

// Config is everything that a ServiceProvider knows.
type Config struct {
	// EntityID is our name; by custom the address of our metadata.
	EntityID string
	// ACSURL is where the browser posts responses to; SLOURL, where logout
	// messages arrive, may be empty. https, or http on loopback.
	ACSURL string
	SLOURL string
	// Key is an RSA key of 2048 bits or more, which signs requests and, when it
	// is a crypto.Decrypter too, decrypts assertions. Certificate carries it.
	Key         crypto.Signer
	Certificate *x509.Certificate

	IDP IDP

	// UnsignedRequests sends requests without a signature, for an identity
	// provider that cannot take one.
	UnsignedRequests bool
	// AllowIDPInitiated accepts a response that answers no request. Anybody can
	// then sign a victim's browser in as themselves, so it is off by default.
	AllowIDPInitiated bool
	// Encryption of assertions. Default: EncryptionOptional.
	Encryption Encryption
	// InsecureHTTP permits http addresses beyond loopback, for development.
	InsecureHTTP bool
	// NameIDFormat is asked for in requests; empty leaves it to the IdP.
	NameIDFormat string
	// RequireACR lists the authentication context classes of which one is asked
	// for, and must be what the assertion says. Empty accepts any.
	RequireACR []string
	// MaxAge is how long ago the person may have authenticated at the IdP; 0 is
	// any time. Below a minute every sign-in asks for a fresh one.
	MaxAge time.Duration

	// Skew is the clock difference that is forgiven. Default: DefaultSkew.
	Skew time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Claim stops replays: it is called with each message's id once everything
	// else about it was accepted.
	Claim Claim
}

// ServiceProvider is one connection to one identity provider. It is immutable
// and safe for concurrent use.
type ServiceProvider struct {
	c Config
	// certs are the IdP's certificates with a usable key.
	certs []*x509.Certificate
}

// New checks a configuration and makes its service provider. Errors have the
// code `invalid_request` and say which setting is wrong.
func New(c Config) (*ServiceProvider, error) {
	if err := checkOwn(c); err != nil {
		return nil, err
	}
	if c.Claim == nil {
		return nil, configError("claim: without it a response could be replayed")
	}
	if c.Skew == 0 {
		c.Skew = DefaultSkew
	}
	if c.Skew < 0 || c.Skew > 10*time.Minute {
		return nil, configError("skew: must be between 0 and 10 minutes")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.IDP.SSOBinding == "" {
		c.IDP.SSOBinding = BindingRedirect
	}
	if c.IDP.SLOBinding == "" {
		c.IDP.SLOBinding = c.IDP.SSOBinding
	}
	certs, err := checkIDP(c)
	if err != nil {
		return nil, err
	}
	return &ServiceProvider{c: c, certs: certs}, nil
}

// IDP is the identity provider's entity id.
func (sp *ServiceProvider) IDP() string { return sp.c.IDP.EntityID }

// checkOwn checks what is ours, which is all that our metadata needs.
func checkOwn(c Config) error {
	if c.EntityID == "" || len(c.EntityID) > 1024 {
		return configError("entityID: 1 to 1024 characters are required (SAML core, 8.3.6)")
	}
	if !c.acceptableURL(c.ACSURL) || c.SLOURL != "" && !c.acceptableURL(c.SLOURL) {
		return configError("acsURL, sloURL: " + wantURL)
	}
	switch c.Encryption {
	case "", EncryptionOptional, EncryptionRequired, EncryptionOff:
	default:
		return configError("encryption: %q is not off, optional or required", c.Encryption)
	}
	if c.Encryption == EncryptionRequired && !c.decrypts() {
		return configError("encryption: it is required, and our key cannot decrypt")
	}
	return checkKey(c)
}

// decrypts says whether the identity provider may encrypt for us.
func (c Config) decrypts() bool {
	_, ok := c.Key.(crypto.Decrypter)
	return ok && c.Encryption != EncryptionOff
}

const wantURL = "an https URL without a fragment is required (http only on loopback)"

func checkKey(c Config) error {
	if c.Key == nil || c.Certificate == nil {
		return configError("key and certificate are required")
	}
	pub, ok := c.Key.Public().(*rsa.PublicKey)
	if !ok || pub.N.BitLen() < minKeyBits {
		return configError("key: RSA of %d bits or more is required", minKeyBits)
	}
	if !pub.Equal(c.Certificate.PublicKey) {
		return configError("certificate: it does not carry the key")
	}
	return nil
}

func checkIDP(c Config) ([]*x509.Certificate, error) {
	if c.IDP.EntityID == "" {
		return nil, configError("the identity provider's entityID is required")
	}
	if c.IDP.EntityID == c.EntityID {
		return nil, configError("the identity provider's entityID is our own: this is our metadata, not its")
	}
	for _, u := range []struct {
		field, url string
		required   bool
	}{
		{"the identity provider's ssoURL", c.IDP.SSOURL, true},
		{"the identity provider's sloURL", c.IDP.SLOURL, false},
		{"the identity provider's sloResponseURL", c.IDP.SLOResponseURL, false},
	} {
		if u.url == "" && !u.required {
			continue
		}
		if !c.acceptableURL(u.url) {
			return nil, configError("%s: "+wantURL, u.field)
		}
	}
	for _, b := range []Binding{c.IDP.SSOBinding, c.IDP.SLOBinding} {
		if b != BindingRedirect && b != BindingPOST {
			return nil, configError("binding: %q is not HTTP-Redirect or HTTP-POST", b)
		}
	}
	var certs []*x509.Certificate
	for _, cert := range c.IDP.Certificates {
		if slices.ContainsFunc(certs, cert.Equal) {
			continue // each costs a look at the whole message
		}
		if pub, ok := cert.PublicKey.(*rsa.PublicKey); ok && pub.N.BitLen() >= minKeyBits {
			certs = append(certs, cert)
		}
	}
	if len(certs) == 0 {
		return nil, configError("the identity provider's certificates: one with an RSA key of %d bits or more is required", minKeyBits)
	}
	return certs, nil
}

// acceptableURL keeps passwords, assertions and codes off plain http, and
// `javascript:` out of forms.
func (c Config) acceptableURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Fragment != "" || u.User != nil {
		return false
	}
	if u.Scheme == "https" {
		return true
	}
	if u.Scheme != "http" {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return c.InsecureHTTP || u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}
