//go:build real

package saml_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-ai/gatehouse/internal/control/sso/saml"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

const (
	realSP  = "https://gatehouse.example.com/sso/saml/real/metadata"
	realACS = "https://gatehouse.example.com/sso/saml/real/acs"
	realSLO = "https://gatehouse.example.com/sso/saml/real/slo"
)

// realConfig is a service provider with a fresh key, without its IdP.
func realConfig(t *testing.T) (saml.Config, string) {
	t.Helper()
	rawKey, rawCert, err := saml.GenerateKeyPair(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(rawKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(rawCert)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	taken := map[string]bool{}
	c := saml.Config{EntityID: realSP, ACSURL: realACS, SLOURL: realSLO, Certificate: cert}
	c.Key = key.(crypto.Signer)
	c.Claim = func(_ context.Context, scope, id string, _ time.Time) error {
		mu.Lock()
		defer mu.Unlock()
		if taken[scope+id] {
			return identity.Errorf(identity.CodeConflict, "taken")
		}
		taken[scope+id] = true
		return nil
	}
	return c, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rawCert}))
}

func connect(t *testing.T, c saml.Config, metadata []byte, change func(*saml.IDP)) *saml.ServiceProvider {
	t.Helper()
	idp, err := saml.ParseMetadata(metadata, "")
	if err != nil {
		t.Fatalf("%v: %s", err, metadata)
	}
	if change != nil {
		change(&idp)
	}
	c.IDP = idp
	sp, err := saml.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return sp
}

func TestRealSAMLPSignsIn(t *testing.T) {
	config, certPEM := realConfig(t)
	pub, err := x509.MarshalPKIXPublicKey(config.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	encrypted := func(algorithm string, more map[string]any) map[string]any {
		o := map[string]any{
			"encryptionCert": certPEM, "encryptionPublicKey": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})),
			"encryptionAlgorithm": algorithm, "disallowEncryptionWithInsecureAlgorithm": false, "warnOnInsecureEncryptionAlgorithm": false,
		}
		for k, v := range more {
			o[k] = v
		}
		return o
	}
	for _, c := range []struct {
		name    string
		options map[string]any
		refused saml.Reason
	}{
		{"signed assertion", nil, ""},
		{"both signed", map[string]any{"signResponse": true}, ""},
		{"encrypted with GCM", encrypted("http://www.w3.org/2009/xmlenc11#aes256-gcm", nil), ""},
		{"encrypted with CBC", encrypted("http://www.w3.org/2001/04/xmlenc#aes256-cbc", nil), saml.ReasonAlgorithm},
		{"encrypted with CBC, response signed", encrypted("http://www.w3.org/2001/04/xmlenc#aes256-cbc", map[string]any{"signResponse": true}), ""},
		{"assertion unsigned", map[string]any{"signAssertion": false, "signResponse": true}, saml.ReasonUnsigned},
		{"SHA-1", map[string]any{"signatureAlgorithm": "rsa-sha1", "digestAlgorithm": "sha1"}, saml.ReasonAlgorithm},
	} {
		t.Run(c.name, func(t *testing.T) {
			idp := real.SAMLP(t, real.SAMLOptions{
				ACSURL: realACS, SPCertificate: certPEM, NameID: "alice-1", Options: c.options,
				Attributes: map[string]any{"email": "alice@example.com", "groups": []string{"eng", "R&D <ops>"}, "name": "Älice"},
			})
			for _, binding := range []saml.Binding{saml.BindingRedirect, saml.BindingPOST} {
				sp := connect(t, config, idp.Metadata(t), func(i *saml.IDP) { i.SSOBinding = binding })
				r, err := sp.AuthnRequest("relay-1", saml.RequestOptions{})
				if err != nil {
					t.Fatal(err)
				}
				status, form := idp.SignIn(t, r.URL, r.Form)
				if status != http.StatusOK || form.Get("RelayState") != "relay-1" {
					t.Fatalf("%s: samlp answered %d %v", binding, status, form)
				}
				a, err := sp.ParseResponse(t.Context(), form, []string{r.ID})
				if saml.ReasonOf(err) != c.refused {
					t.Fatalf("%s: %v", binding, err)
				}
				if c.refused != "" {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				want := map[string][]string{"email": {"alice@example.com"}, "groups": {"eng", "R&D <ops>"}, "name": {"Älice"}}
				if diff := cmp.Diff(want, a.Attributes); diff != "" || a.NameID != "alice-1" || a.Issuer != idp.EntityID() || a.InResponseTo != r.ID {
					t.Errorf("%s: %s %+v", binding, diff, a)
				}
				if _, err = sp.ParseResponse(t.Context(), form, []string{r.ID}); saml.ReasonOf(err) != saml.ReasonReplayed {
					t.Errorf("replay: %v", err)
				}
			}
			// That it accepted our signatures means something: it refuses others.
			sp := connect(t, config, idp.Metadata(t), nil)
			r, err := sp.AuthnRequest("relay-1", saml.RequestOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if status, _ := idp.SignIn(t, strings.Replace(r.URL, "relay-1", "relay-2", 1), nil); status != http.StatusBadRequest {
				t.Errorf("samlp accepted a query that we did not sign: %d", status)
			}
		})
	}
}

func TestRealXMLSecAcceptsOurAuthnRequest(t *testing.T) {
	config, certPEM := realConfig(t)
	config.RequireACR = []string{"urn:oasis:names:tc:SAML:2.0:ac:classes:X509"}
	config.IDP = saml.IDP{
		EntityID: "https://idp.example.com", SSOURL: "https://idp.example.com/sso?a=1&b=2", SSOBinding: saml.BindingPOST,
		Certificates: []*x509.Certificate{config.Certificate},
	}
	sp, err := saml.New(config)
	if err != nil {
		t.Fatal(err)
	}
	r, err := sp.AuthnRequest("", saml.RequestOptions{ForceAuthn: true})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := base64.StdEncoding.DecodeString(r.Form["SAMLRequest"])
	if err != nil {
		t.Fatal(err)
	}
	out, err := real.XMLSecVerify(t, doc, "AuthnRequest", certPEM)
	t.Logf("xmlsec1: %v\n%s", err, out)
	if err != nil || !strings.Contains(out, "OK") {
		t.Fatal("xmlsec1 does not verify our request")
	}
	forged := strings.Replace(string(doc), "ForceAuthn=\"true\"", "ForceAuthn=\"false\"", 1)
	if out, err := real.XMLSecVerify(t, []byte(forged), "AuthnRequest", certPEM); err == nil {
		t.Fatalf("xmlsec1 verifies anything: %s", out)
	}
}

func TestRealKeycloakSAML(t *testing.T) {
	k := real.KeycloakWith(t, real.KeycloakOptions{TLS: true})
	config, _ := realConfig(t)
	own, err := saml.Metadata(config)
	if err != nil {
		t.Fatal(err)
	}
	k.AddSAMLClient(t, own, map[string]string{"saml_force_name_id_format": "true", "saml_name_id_format": "persistent"})
	for _, c := range []struct {
		name       string
		attributes map[string]string
		encrypted  bool
		refused    saml.Reason
	}{
		{"as our metadata asks for it", nil, true, ""},
		{"signed, not encrypted", map[string]string{"saml.encrypt": "false"}, false, ""},
		{"AES-256-GCM", map[string]string{"saml.encrypt": "true", "saml.encryption.algorithm": "http://www.w3.org/2009/xmlenc11#aes256-gcm"}, true, ""},
		{"AES-128-CBC, document signed", map[string]string{"saml.encryption.algorithm": "http://www.w3.org/2001/04/xmlenc#aes128-cbc", "saml.server.signature": "true"}, true, ""},
		{"AES-128-CBC, document unsigned", map[string]string{"saml.server.signature": "false"}, true, saml.ReasonAlgorithm},
		{"assertion unsigned", map[string]string{"saml.encrypt": "false", "saml.assertion.signature": "false", "saml.server.signature": "true"}, false, saml.ReasonUnsigned},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.attributes != nil {
				k.SetSAMLClient(t, realSP, c.attributes)
			}
			for _, binding := range []saml.Binding{saml.BindingRedirect, saml.BindingPOST} {
				sp := connect(t, config, k.SAMLMetadata(t), func(i *saml.IDP) { i.SSOBinding = binding })
				a, err := keycloakSignIn(t, k, sp)
				if saml.ReasonOf(err) != c.refused {
					t.Fatalf("%s: %v", binding, err)
				}
				if c.refused != "" {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if a.NameID == "" || a.SessionIndex == "" || a.Encrypted != c.encrypted ||
					!cmp.Equal(a.Attributes["email"], []string{"alice@example.com"}) || !cmp.Equal(a.Attributes["groups"], []string{"eng-research"}) {
					t.Errorf("%s: %+v", binding, a)
				}
			}
		})
	}
	k.SetSAMLClient(t, realSP, map[string]string{"saml.assertion.signature": "true"})
	for _, binding := range []saml.Binding{saml.BindingRedirect, saml.BindingPOST} {
		t.Run("single logout by "+string(binding), func(t *testing.T) {
			keycloakLogout(t, k, connect(t, config, k.SAMLMetadata(t), func(i *saml.IDP) { i.SLOBinding = binding }))
		})
	}
}

func keycloakSignIn(t *testing.T, k *real.KeycloakServer, sp *saml.ServiceProvider) (saml.Assertion, error) {
	t.Helper()
	return signInWith(t, k.Browser(t, "alice"), sp)
}

func signInWith(t *testing.T, b *real.Browser, sp *saml.ServiceProvider) (saml.Assertion, error) {
	t.Helper()
	r, err := sp.AuthnRequest("relay-1", saml.RequestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	action, form := b.SAML(t, r.URL, r.Form)
	if action != realACS || form.Get("RelayState") != "relay-1" {
		t.Fatalf("sent to %q with %v", action, form)
	}
	a, err := sp.ParseResponse(t.Context(), url.Values(form), []string{r.ID})
	if err == nil && a.InResponseTo != r.ID {
		t.Errorf("answers %q", a.InResponseTo)
	}
	return a, err
}

// keycloakLogout ends a session at Keycloak by a request of ours.
func keycloakLogout(t *testing.T, k *real.KeycloakServer, sp *saml.ServiceProvider) {
	t.Helper()
	b := k.Browser(t, "alice")
	a, err := signInWith(t, b, sp)
	if err != nil {
		t.Fatal(err)
	}
	r, err := sp.LogoutRequest(a, "relay-2")
	if err != nil {
		t.Fatal(err)
	}
	action, form := b.SAML(t, r.URL, r.Form)
	if action != realSLO {
		t.Fatalf("sent to %q", action)
	}
	if err := sp.ParseLogoutResponse("", form, []string{r.ID}); err != nil {
		t.Fatal(err)
	}
}
