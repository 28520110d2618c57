package saml

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// maxRelayState is the limit that the bindings set (3.4.3, 3.5.3), in bytes.
const maxRelayState = 80

// Request is a message that the browser carries to the identity provider.
type Request struct {
	ID      string
	Binding Binding
	// URL is where the browser goes: by GET with BindingRedirect, by POST of
	// the fields of Form with BindingPOST.
	URL  string
	Form map[string]string
}

// RequestOptions say what one sign-in asks for beyond the configuration.
type RequestOptions struct {
	// ForceAuthn asks the IdP to authenticate the person again. The caller
	// checks AuthnInstant afterwards.
	ForceAuthn bool
	// ACR replaces the configured authentication context classes in the
	// request. What is accepted is still the configuration's.
	ACR []string
}

// AuthnRequest makes a request to authenticate somebody. relayState comes back
// with the response, unprotected: use it as an opaque key of at most 80 bytes.
func (sp *ServiceProvider) AuthnRequest(relayState string, o RequestOptions) (Request, error) {
	if err := checkRelayState(relayState); err != nil {
		return Request{}, err
	}
	id, el := sp.message("AuthnRequest", sp.c.IDP.SSOURL)
	el.CreateAttr("ProtocolBinding", string(BindingPOST))
	el.CreateAttr("AssertionConsumerServiceURL", sp.c.ACSURL)
	if o.ForceAuthn || sp.c.MaxAge > 0 && sp.c.MaxAge < time.Minute {
		el.CreateAttr("ForceAuthn", "true")
	}
	policy := el.CreateElement("samlp:NameIDPolicy")
	if sp.c.NameIDFormat != "" {
		policy.CreateAttr("Format", sp.c.NameIDFormat)
	}
	policy.CreateAttr("AllowCreate", "true")
	classes := sp.c.RequireACR
	if len(o.ACR) > 0 {
		classes = o.ACR
	}
	if len(classes) > 0 {
		wanted := el.CreateElement("samlp:RequestedAuthnContext")
		wanted.CreateAttr("Comparison", "exact")
		for _, class := range classes {
			wanted.CreateElement("saml:AuthnContextClassRef").SetText(class)
		}
	}
	r := Request{ID: id, Binding: sp.c.IDP.SSOBinding, URL: sp.c.IDP.SSOURL}
	return sp.send(r, "SAMLRequest", el, relayState, !sp.c.UnsignedRequests || sp.c.IDP.WantsSignedRequests)
}

// message begins a protocol message.
func (sp *ServiceProvider) message(name, destination string) (string, *etree.Element) {
	id := "id-" + strings.ToLower(rand.Text()) // 130 bits; an xs:ID may not begin with a digit
	el := etree.NewElement("samlp:" + name)
	el.CreateAttr("xmlns:samlp", nsProtocol)
	el.CreateAttr("xmlns:saml", nsAssertion)
	el.CreateAttr("ID", id)
	el.CreateAttr("Version", "2.0")
	el.CreateAttr("IssueInstant", sp.c.Now().UTC().Format("2006-01-02T15:04:05Z"))
	el.CreateAttr("Destination", destination)
	el.CreateElement("saml:Issuer").SetText(sp.c.EntityID)
	return id, el
}

func checkRelayState(s string) error {
	if len(s) > maxRelayState {
		return configError("relay state: %d bytes, more than %d", len(s), maxRelayState)
	}
	return nil
}

// send encodes a message for its binding and signs it.
func (sp *ServiceProvider) send(r Request, field string, el *etree.Element, relayState string, sign bool) (Request, error) {
	encode := sp.sendRedirect
	if r.Binding == BindingPOST {
		encode = sp.sendPOST
	}
	if err := encode(&r, field, el, relayState, sign); err != nil {
		return Request{}, err
	}
	return r, nil
}

func (sp *ServiceProvider) sendPOST(r *Request, field string, el *etree.Element, relayState string, sign bool) error {
	if sign {
		if err := sp.signEnveloped(el); err != nil {
			return err
		}
	}
	raw, err := serialize(el)
	if err != nil {
		return err
	}
	r.Form = map[string]string{field: base64.StdEncoding.EncodeToString(raw)}
	if relayState != "" {
		r.Form["RelayState"] = relayState
	}
	return nil
}

// signEnveloped puts the signature after the Issuer, where the schema has it.
func (sp *ServiceProvider) signEnveloped(el *etree.Element) error {
	ctx, err := dsig.NewSigningContext(sp.c.Key, [][]byte{sp.c.Certificate.Raw})
	if err != nil {
		return fmt.Errorf("saml: sign: %w", err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	sig, err := ctx.ConstructSignature(el.Copy(), true)
	if err != nil {
		return fmt.Errorf("saml: sign: %w", err)
	}
	el.InsertChildAt(1, sig)
	return nil
}

// sendRedirect deflates and signs the query, not the document (bindings,
// 3.4.4.1). The order of the parameters and their very escaping are what is
// signed; parameters that the address had before are not part of it.
func (sp *ServiceProvider) sendRedirect(r *Request, field string, el *etree.Element, relayState string, sign bool) error {
	raw, err := serialize(el)
	if err != nil {
		return err
	}
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.BestCompression)
	if err == nil {
		_, err = w.Write(raw)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return fmt.Errorf("saml: deflate: %w", err)
	}
	query := field + "=" + url.QueryEscape(base64.StdEncoding.EncodeToString(deflated.Bytes()))
	if relayState != "" {
		query += "&RelayState=" + url.QueryEscape(relayState)
	}
	if sign {
		query += "&SigAlg=" + url.QueryEscape(dsig.RSASHA256SignatureMethod)
		digest := sha256.Sum256([]byte(query))
		sig, err := sp.c.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			return fmt.Errorf("saml: sign: %w", err)
		}
		query += "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(sig))
	}
	separator := "?"
	if strings.ContainsRune(r.URL, '?') {
		separator = "&"
	}
	r.URL += separator + query
	return nil
}

func serialize(el *etree.Element) ([]byte, error) {
	doc := etree.NewDocument()
	doc.SetRoot(el.Copy())
	raw, err := doc.WriteToBytes()
	if err != nil {
		return nil, fmt.Errorf("saml: write XML: %w", err)
	}
	return raw, nil
}
