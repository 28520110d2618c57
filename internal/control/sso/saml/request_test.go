package saml

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// received is what an identity provider reads of a request.
func received(t *testing.T, r Request, field string) *node {
	t.Helper()
	var raw []byte
	if r.Binding == BindingPOST {
		var err error
		if raw, err = decodeBase64(r.Form[field]); err != nil {
			t.Fatal(err)
		}
	} else {
		u, err := url.Parse(r.URL)
		if err != nil {
			t.Fatal(err)
		}
		deflated, err := decodeBase64(u.Query().Get(field))
		if err != nil {
			t.Fatal(err)
		}
		if raw, err = io.ReadAll(flate.NewReader(bytes.NewReader(deflated))); err != nil {
			t.Fatal(err)
		}
	}
	n, err := parseMessage(raw)
	if err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return n
}

func TestARedirectRequestIsSignedOverItsQuery(t *testing.T) {
	p := newParty(t)
	r, err := p.AuthnRequest("relay&=é", RequestOptions{ForceAuthn: true, ACR: []string{"urn:a", "urn:b"}})
	if err != nil {
		t.Fatal(err)
	}
	query, ok := strings.CutPrefix(r.URL, "https://idp.example.com/sso?tenant=1&")
	if !ok || r.Form != nil {
		t.Fatalf("%+v", r)
	}
	signed, sig, _ := strings.Cut(query, "&Signature=")
	sig, _ = url.QueryUnescape(sig)
	value, err := base64.StdEncoding.DecodeString(sig)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(signed))
	if err := rsa.VerifyPKCS1v15(&testPairs().sp.key.PublicKey, crypto.SHA256, digest[:], value); err != nil {
		t.Fatal(err)
	}
	q, err := url.ParseQuery(query)
	if err != nil || q.Get("RelayState") != "relay&=é" || q.Get("SigAlg") != "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256" {
		t.Fatalf("%v %v", err, q)
	}
	n := received(t, r, "SAMLRequest")
	got := map[string]string{}
	for _, a := range n.attrs {
		got[a.Name.Local] = a.Value
	}
	want := map[string]string{
		"ID": r.ID, "Version": "2.0", "IssueInstant": "2026-11-22T12:00:00Z", "Destination": "https://idp.example.com/sso?tenant=1",
		"ProtocolBinding": string(BindingPOST), "AssertionConsumerServiceURL": testACS, "ForceAuthn": "true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var classes []string
	for _, c := range n.children[2].children {
		classes = append(classes, c.text)
	}
	if diff := cmp.Diff([]string{"urn:a", "urn:b"}, classes); diff != "" || n.children[0].text != testSP {
		t.Error(diff)
	}
}

func TestAPostedRequestIsSignedInside(t *testing.T) {
	p := newParty(t, func(c *Config) {
		c.IDP.SSOBinding = BindingPOST
		c.NameIDFormat = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	})
	r, err := p.AuthnRequest("r", RequestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r.URL != "https://idp.example.com/sso?tenant=1" || r.Form["RelayState"] != "r" || len(r.Form) != 2 {
		t.Fatalf("%+v", r)
	}
	raw, err := decodeBase64(r.Form["SAMLRequest"])
	if err != nil {
		t.Fatal(err)
	}
	// The other side of our own rules: an IdP as strict as we are accepts it.
	peer := newParty(t, func(c *Config) { c.IDP.Certificates = []*x509.Certificate{testPairs().sp.cert} })
	n, tree, err := parseBoth(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !n.children[1].is(nsDsig, "Signature") {
		t.Error("the schema wants the signature after the issuer")
	}
	if _, err := peer.verified(n, tree); err != nil {
		t.Fatal(err)
	}
}

func TestRequestsAreUnsignedOnlyWhereWanted(t *testing.T) {
	unsigned := func(c *Config) { c.UnsignedRequests = true }
	r, err := newParty(t, unsigned).AuthnRequest("", RequestOptions{})
	if err != nil || strings.Contains(r.URL, "Signature=") || strings.Contains(r.URL, "RelayState") {
		t.Fatalf("%v %s", err, r.URL)
	}
	r, err = newParty(t, unsigned, func(c *Config) { c.IDP.WantsSignedRequests = true }).AuthnRequest("", RequestOptions{})
	if err != nil || !strings.Contains(r.URL, "Signature=") {
		t.Fatalf("%v %s", err, r.URL)
	}
}

func TestRequestIDsAreFresh(t *testing.T) {
	p, seen := newParty(t, func(c *Config) { c.UnsignedRequests = true }), map[string]bool{}
	for range 100 {
		r, err := p.AuthnRequest("", RequestOptions{})
		if err != nil || seen[r.ID] || !goodID(r.ID) || len(r.ID) < 26 {
			t.Fatalf("%v %s", err, r.ID)
		}
		seen[r.ID] = true
	}
}

func TestRelayStateIsBounded(t *testing.T) {
	_, err := newParty(t).AuthnRequest(strings.Repeat("r", 81), RequestOptions{})
	if identity.CodeOf(err) != identity.CodeInvalidRequest {
		t.Fatal(err)
	}
}

func TestMaxAgeBelowAMinuteForcesAuthentication(t *testing.T) {
	r, err := newParty(t, func(c *Config) { c.MaxAge = time.Second }).AuthnRequest("", RequestOptions{})
	if err != nil || received(t, r, "SAMLRequest").attr("ForceAuthn") != "true" {
		t.Fatal(err)
	}
}

func TestOurMetadataSaysWhatWeAre(t *testing.T) {
	c := testConfig()
	c.NameIDFormat, c.IDP, c.Claim = "urn:x", IDP{}, nil // the identity provider is told first
	raw, err := Metadata(c)
	if err != nil {
		t.Fatal(err)
	}
	n, err := parseMessage(raw)
	if err != nil {
		t.Fatal(err)
	}
	role, err := n.one(nsMetadata, "SPSSODescriptor")
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, c := range role.children {
		order = append(order, c.local)
	}
	want := []string{"KeyDescriptor", "KeyDescriptor", "SingleLogoutService", "SingleLogoutService", "NameIDFormat", "AssertionConsumerService"}
	if diff := cmp.Diff(want, order); diff != "" { // the schema has this order
		t.Error(diff)
	}
	acs := role.children[5]
	if n.attr("entityID") != testSP || acs.attr("Location") != testACS || acs.attr("Binding") != string(BindingPOST) ||
		role.attr("WantAssertionsSigned") != "true" || role.attr("AuthnRequestsSigned") != "true" {
		t.Errorf("%s", raw)
	}
	for _, key := range role.children[:2] {
		certs, err := certificatesOf(key)
		if err != nil || len(certs) != 1 || !certs[0].Equal(testPairs().sp.cert) {
			t.Errorf("%v: another certificate", err)
		}
	}
	if strings.Contains(string(raw), "PRIVATE") {
		t.Error("a private key in public metadata")
	}
}

func idpMetadata(more string) string {
	cert := base64.StdEncoding.EncodeToString(testPairs().idp.cert.Raw)
	return `<?xml version="1.0"?><!-- exported --><EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="` + testIDP + `">` +
		`<IDPSSODescriptor WantAuthnRequestsSigned="true" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">` +
		`<KeyDescriptor use="encryption"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + base64.StdEncoding.EncodeToString(testPairs().evil.cert.Raw) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>` +
		`<KeyDescriptor><ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + "\n" + cert[:64] + "\n  " + cert[64:] + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>` +
		`<SingleLogoutService Binding="` + string(BindingPOST) + `" Location="https://idp.example.com/slo" ResponseLocation="https://idp.example.com/slo2"/>` +
		`<SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP" Location="https://idp.example.com/soap"/>` +
		`<SingleSignOnService Binding="` + string(BindingPOST) + `" Location="https://idp.example.com/post"/>` + more +
		`</IDPSSODescriptor></EntityDescriptor>`
}

func TestMetadataOfAnIdentityProvider(t *testing.T) {
	got, err := ParseMetadata([]byte(idpMetadata("")), "")
	if err != nil {
		t.Fatal(err)
	}
	want := IDP{
		EntityID: testIDP, SSOURL: "https://idp.example.com/post", SSOBinding: BindingPOST,
		SLOURL: "https://idp.example.com/slo", SLOResponseURL: "https://idp.example.com/slo2", SLOBinding: BindingPOST,
		Certificates: []*x509.Certificate{testPairs().idp.cert}, WantsSignedRequests: true,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b *x509.Certificate) bool { return a.Equal(b) })); diff != "" {
		t.Error(diff)
	}
	got, err = ParseMetadata([]byte(idpMetadata(`<SingleSignOnService Binding="`+string(BindingRedirect)+`" Location="https://idp.example.com/redirect"/>`)), testIDP)
	if err != nil || got.SSOURL != "https://idp.example.com/redirect" {
		t.Fatalf("%v %+v", err, got)
	}
	federation := `<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">` +
		strings.TrimPrefix(idpMetadata(""), `<?xml version="1.0"?>`) + strings.ReplaceAll(strings.TrimPrefix(idpMetadata(""), `<?xml version="1.0"?>`), testIDP, "https://other.example.com") + `</md:EntitiesDescriptor>`
	if _, err := ParseMetadata([]byte(federation), ""); identity.CodeOf(err) != identity.CodeInvalidRequest {
		t.Errorf("one of two was taken: %v", err)
	}
	if got, err := ParseMetadata([]byte(federation), testIDP); err != nil || got.EntityID != testIDP {
		t.Errorf("%v %+v", err, got)
	}
}

func TestSecurityMetadataIsNoWayIn(t *testing.T) {
	own, err := Metadata(testConfig())
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"DOCTYPE":           strings.Replace(idpMetadata(""), "<!-- exported -->", `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>`, 1),
		"small DOCTYPE":     strings.Replace(idpMetadata(""), "<!-- exported -->", `<!doctype x>`, 1),
		"service provider":  string(own),
		"no certificate":    strings.ReplaceAll(idpMetadata(""), "<KeyDescriptor>", `<KeyDescriptor use="other">`),
		"broken":            strings.Replace(idpMetadata(""), "\nMII", "\n###", 1),
		"not a certificate": strings.Replace(idpMetadata(""), "\nMII", "\nAAA", 1),
		"no endpoint":       strings.Replace(idpMetadata(""), "https://idp.example.com/post", "", 1),
		"HTML":              "<html>", "empty": "",
		"huge": strings.Repeat(" ", maxMetadata+1),
	} {
		t.Run(name, func(t *testing.T) {
			if idp, err := ParseMetadata([]byte(raw), ""); identity.CodeOf(err) != identity.CodeInvalidRequest {
				t.Fatalf("%v %+v", err, idp)
			}
		})
	}
}

func TestCertificatesByHand(t *testing.T) {
	one := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	idp, evil := testPairs().idp.cert, testPairs().evil.cert
	got, err := ParseCertificates("# of the IdP\n" + one("CERTIFICATE", idp.Raw) + one("CERTIFICATE", evil.Raw))
	if err != nil || len(got) != 2 || !got[0].Equal(idp) || !got[1].Equal(evil) {
		t.Fatalf("%v %d", err, len(got))
	}
	for _, text := range []string{"", "x", one("PRIVATE KEY", []byte{1}), one("CERTIFICATE", []byte{1})} {
		if _, err := ParseCertificates(text); identity.CodeOf(err) != identity.CodeInvalidRequest {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestGeneratedKeysAreStrongAndLast(t *testing.T) {
	p := testPairs().sp
	if p.key.N.BitLen() != 3072 || p.cert.NotAfter.Year() != testNow().Year()+10 || p.cert.NotBefore.After(testNow()) || p.cert.IsCA {
		t.Errorf("%d bits, %v to %v", p.key.N.BitLen(), p.cert.NotBefore, p.cert.NotAfter)
	}
	if err := p.cert.CheckSignatureFrom(p.cert); err == nil {
		t.Error("the certificate could issue others")
	}
}
