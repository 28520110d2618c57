package saml

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"slices"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// maxMetadata bounds metadata, which may describe a federation, in bytes.
const maxMetadata = 4 << 20

// Metadata describes a service provider to the identity provider (SAML
// metadata, 2.4.4). It needs none of IDP and Claim, because the identity
// provider is told first. Errors have the code `invalid_request`.
func Metadata(c Config) ([]byte, error) {
	if err := checkOwn(c); err != nil {
		return nil, err
	}
	root := etree.NewElement("md:EntityDescriptor")
	root.CreateAttr("xmlns:md", nsMetadata)
	root.CreateAttr("xmlns:ds", nsDsig)
	root.CreateAttr("entityID", c.EntityID)
	role := root.CreateElement("md:SPSSODescriptor")
	signs := "true"
	if c.UnsignedRequests && !c.IDP.WantsSignedRequests {
		signs = "false"
	}
	role.CreateAttr("AuthnRequestsSigned", signs)
	role.CreateAttr("WantAssertionsSigned", "true")
	role.CreateAttr("protocolSupportEnumeration", nsProtocol)
	describeKey(role, c.Certificate, "signing")
	if c.decrypts() {
		key := describeKey(role, c.Certificate, "encryption")
		for _, algorithm := range []string{nsXenc11 + "aes256-gcm", nsXenc11 + "aes128-gcm", nsXenc + "rsa-oaep-mgf1p"} {
			key.CreateElement("md:EncryptionMethod").CreateAttr("Algorithm", algorithm)
		}
	}
	if c.SLOURL != "" {
		for _, b := range []Binding{BindingRedirect, BindingPOST} {
			slo := role.CreateElement("md:SingleLogoutService")
			slo.CreateAttr("Binding", string(b))
			slo.CreateAttr("Location", c.SLOURL)
		}
	}
	if c.NameIDFormat != "" {
		role.CreateElement("md:NameIDFormat").SetText(c.NameIDFormat)
	}
	acs := role.CreateElement("md:AssertionConsumerService")
	acs.CreateAttr("Binding", string(BindingPOST))
	acs.CreateAttr("Location", c.ACSURL)
	acs.CreateAttr("index", "0")
	acs.CreateAttr("isDefault", "true")
	raw, err := serialize(root)
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header), raw...), nil
}

func describeKey(role *etree.Element, cert *x509.Certificate, use string) *etree.Element {
	key := role.CreateElement("md:KeyDescriptor")
	key.CreateAttr("use", use)
	key.CreateElement("ds:KeyInfo").CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").
		SetText(base64.StdEncoding.EncodeToString(cert.Raw))
	return key
}

// ParseMetadata reads an identity provider's metadata. entityID chooses one of
// several; empty takes the only one. HTTP-Redirect is preferred over HTTP-POST.
//
// A signature in the metadata is not verified and validUntil is not enforced:
// they are believed because an administrator gave them, or gave the https
// address that they were fetched from. Errors have the code `invalid_request`.
func ParseMetadata(data []byte, entityID string) (IDP, error) {
	if len(data) > maxMetadata || !utf8.Valid(data) || bytes.Contains(bytes.ToUpper(data), []byte("<!DOCTYPE")) {
		return IDP{}, configError("metadata: UTF-8 of at most 4 MiB and without a DOCTYPE is required")
	}
	dec := xml.NewDecoder(bytes.NewReader(data))
	r := reader{dec: dec, ids: map[string]bool{}, lenient: true}
	root, err := r.document()
	if err != nil {
		return IDP{}, configError("metadata: it cannot be read: %v", err)
	}
	var found []*node
	_ = root.walk(func(n *node) error {
		if n.is(nsMetadata, "EntityDescriptor") && len(n.all(nsMetadata, "IDPSSODescriptor")) > 0 &&
			(entityID == "" || n.attr("entityID") == entityID) {
			found = append(found, n)
		}
		return nil
	})
	if len(found) != 1 {
		return IDP{}, configError("metadata: %d identity providers match; exactly one must, so name its entityID", len(found))
	}
	return readDescriptor(found[0])
}

func readDescriptor(entity *node) (IDP, error) {
	idp := IDP{EntityID: entity.attr("entityID")}
	for _, role := range entity.all(nsMetadata, "IDPSSODescriptor") {
		if w := role.attr("WantAuthnRequestsSigned"); w == "true" || w == "1" {
			idp.WantsSignedRequests = true
		}
		if sso := endpoint(role, "SingleSignOnService"); sso != nil && idp.SSOURL == "" {
			idp.SSOURL, idp.SSOBinding = sso.attr("Location"), Binding(sso.attr("Binding"))
		}
		if slo := endpoint(role, "SingleLogoutService"); slo != nil && idp.SLOURL == "" {
			idp.SLOURL, idp.SLOBinding = slo.attr("Location"), Binding(slo.attr("Binding"))
			idp.SLOResponseURL = slo.attr("ResponseLocation")
		}
		for _, key := range role.all(nsMetadata, "KeyDescriptor") {
			if use := key.attr("use"); use != "" && use != "signing" {
				continue
			}
			certs, err := certificatesOf(key)
			if err != nil {
				return IDP{}, err
			}
			for _, cert := range certs {
				if !slices.ContainsFunc(idp.Certificates, cert.Equal) {
					idp.Certificates = append(idp.Certificates, cert)
				}
			}
		}
	}
	if idp.SSOURL == "" {
		return IDP{}, configError("metadata: no SingleSignOnService with HTTP-Redirect or HTTP-POST")
	}
	if len(idp.Certificates) == 0 {
		return IDP{}, configError("metadata: no signing certificate")
	}
	return idp, nil
}

// endpoint returns the service with the better binding, nil without one.
func endpoint(role *node, local string) *node {
	for _, b := range []Binding{BindingRedirect, BindingPOST} {
		for _, e := range role.all(nsMetadata, local) {
			if Binding(e.attr("Binding")) == b && e.attr("Location") != "" {
				return e
			}
		}
	}
	return nil
}

// ParseCertificates reads the PEM of one or more certificates, for an identity
// provider that is described by hand. Errors have the code `invalid_request`.
func ParseCertificates(text string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, configError("certificates: a PEM block is %q, not CERTIFICATE", clip(block.Type))
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, configError("certificates: one cannot be read: %v", err)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, configError("certificates: no PEM certificate")
	}
	return out, nil
}

func certificatesOf(key *node) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, info := range key.all(nsDsig, "KeyInfo") {
		for _, data := range info.all(nsDsig, "X509Data") {
			for _, c := range data.all(nsDsig, "X509Certificate") {
				der, err := decodeBase64(c.text)
				if err != nil {
					return nil, configError("metadata: a certificate is not base64")
				}
				cert, err := x509.ParseCertificate(der)
				if err != nil {
					return nil, configError("metadata: a certificate cannot be read: %v", err)
				}
				out = append(out, cert)
			}
		}
	}
	return out, nil
}
