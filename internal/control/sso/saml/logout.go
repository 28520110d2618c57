package saml

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto"
	"crypto/rsa"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// LogoutRequest is an identity provider's wish to end sessions of a person.
type LogoutRequest struct {
	ID                   string
	NameID, NameIDFormat string
	// SessionIndexes names the sessions; none means all of the person's.
	SessionIndexes []string
	// RelayState must go back with the response, as it came.
	RelayState string
}

// ParseLogoutRequest accepts a signed logout request (SAML core, 3.7.1), or
// refuses it as ParseResponse does. Over HTTP-POST give form; over
// HTTP-Redirect give rawQuery exactly as it came, because its escaping is what
// was signed, and no form.
func (sp *ServiceProvider) ParseLogoutRequest(ctx context.Context, rawQuery string, form url.Values) (LogoutRequest, error) {
	out, err := sp.parseLogoutRequest(ctx, rawQuery, form)
	if err != nil {
		return LogoutRequest{}, coded(err)
	}
	return out, nil
}

func (sp *ServiceProvider) parseLogoutRequest(ctx context.Context, rawQuery string, form url.Values) (LogoutRequest, error) {
	n, relayState, err := sp.logoutMessage("SAMLRequest", "LogoutRequest", rawQuery, form)
	if err != nil {
		return LogoutRequest{}, err
	}
	out := LogoutRequest{ID: n.attr("ID"), RelayState: relayState}
	name, err := n.one(nsAssertion, "NameID")
	if err != nil {
		return LogoutRequest{}, err
	}
	if out.NameID, err = readNameID(name); err != nil {
		return LogoutRequest{}, err
	}
	out.NameIDFormat = name.attr("Format")
	for _, c := range n.all(nsProtocol, "SessionIndex") {
		index, err := exactText(c)
		if err != nil || index == "" {
			return LogoutRequest{}, refuse(ReasonMalformed, "a SessionIndex is not plain text")
		}
		out.SessionIndexes = append(out.SessionIndexes, index)
	}
	if err := sp.checkWindow(n); err != nil {
		return LogoutRequest{}, err
	}
	return out, sp.claim(ctx, scopeLogout, out.ID, sp.c.Now().Add(maxMessageAge+2*sp.c.Skew))
}

// ParseLogoutResponse accepts the signed answer to a logout request of ours,
// one of expected. ReasonStatus says that the identity provider did not end
// its session everywhere.
func (sp *ServiceProvider) ParseLogoutResponse(rawQuery string, form url.Values, expected []string) error {
	n, _, err := sp.logoutMessage("SAMLResponse", "LogoutResponse", rawQuery, form)
	if err != nil {
		return coded(err)
	}
	if n.attr("InResponseTo") == "" {
		return coded(refuse(ReasonInResponseTo, "the response answers no request"))
	}
	if err := sp.checkInResponseTo(n, expected); err != nil {
		return coded(err)
	}
	return coded(checkStatus(n))
}

// LogoutRequest makes a request to end a person's session at the identity
// provider, always signed. relayState is as for AuthnRequest. An IdP without
// single logout: code `not_found`.
func (sp *ServiceProvider) LogoutRequest(a Assertion, relayState string) (Request, error) {
	if sp.c.IDP.SLOURL == "" {
		return Request{}, identity.Errorf(identity.CodeNotFound, "The identity provider has no single logout.")
	}
	if err := checkRelayState(relayState); err != nil {
		return Request{}, err
	}
	id, el := sp.message("LogoutRequest", sp.c.IDP.SLOURL)
	el.CreateAttr("NotOnOrAfter", sp.c.Now().Add(5*time.Minute).UTC().Format("2006-01-02T15:04:05Z"))
	name := el.CreateElement("saml:NameID")
	for _, x := range []struct{ attr, value string }{
		{"Format", a.NameIDFormat}, {"NameQualifier", a.NameQualifier}, {"SPNameQualifier", a.SPNameQualifier},
	} {
		if x.value != "" {
			name.CreateAttr(x.attr, x.value)
		}
	}
	name.SetText(a.NameID)
	if a.SessionIndex != "" {
		el.CreateElement("samlp:SessionIndex").SetText(a.SessionIndex)
	}
	return sp.send(Request{ID: id, Binding: sp.c.IDP.SLOBinding, URL: sp.c.IDP.SLOURL}, "SAMLRequest", el, relayState, true)
}

// LogoutResponse makes the signed answer to a logout request: success, or that
// the sessions could not be ended. Its RelayState goes back however long it is.
func (sp *ServiceProvider) LogoutResponse(request LogoutRequest, success bool) (Request, error) {
	target := sp.c.IDP.SLOResponseURL
	if target == "" {
		target = sp.c.IDP.SLOURL
	}
	if target == "" {
		return Request{}, identity.Errorf(identity.CodeNotFound, "The identity provider has no single logout.")
	}
	id, el := sp.message("LogoutResponse", target)
	el.CreateAttr("InResponseTo", request.ID)
	status := statusSuccess
	if !success {
		status = statusPrefix + "Responder"
	}
	el.CreateElement("samlp:Status").CreateElement("samlp:StatusCode").CreateAttr("Value", status)
	return sp.send(Request{ID: id, Binding: sp.c.IDP.SLOBinding, URL: target}, "SAMLResponse", el, request.RelayState, true)
}

// logoutMessage reads and verifies a message of either binding and checks what
// both kinds of it have.
func (sp *ServiceProvider) logoutMessage(field, local, rawQuery string, form url.Values) (*node, string, error) {
	if sp.c.SLOURL == "" {
		return nil, "", refuse(ReasonDestination, "single logout is not configured here")
	}
	var n *node
	var relayState string
	var err error
	if len(form) > 0 {
		n, err = sp.postedLogout(field, form)
		relayState = form.Get("RelayState")
	} else {
		n, relayState, err = sp.redirectedLogout(field, rawQuery)
	}
	if err != nil {
		return nil, "", err
	}
	if !n.is(nsProtocol, local) {
		return nil, "", refuse(ReasonMalformed, "not a %s", local)
	}
	if err := sp.checkEnvelope(n); err != nil {
		return nil, "", err
	}
	if len(n.all(nsAssertion, "Issuer")) != 1 {
		return nil, "", refuse(ReasonIssuer, "the message names no issuer")
	}
	if d := n.attr("Destination"); d != sp.c.SLOURL {
		return nil, "", refuse(ReasonDestination, "Destination is %q, not %q", clip(d), sp.c.SLOURL)
	}
	return n, relayState, nil
}

func (sp *ServiceProvider) postedLogout(field string, form url.Values) (*node, error) {
	raw, err := postedMessage(form, field)
	if err != nil {
		return nil, err
	}
	n, tree, err := parseBoth(raw)
	if err != nil {
		return nil, err
	}
	return sp.verified(n, tree)
}

// redirectedLogout verifies the signature over the query as it came (bindings,
// 3.4.4.1) before it inflates anything.
func (sp *ServiceProvider) redirectedLogout(field, rawQuery string) (*node, string, error) {
	if len(rawQuery) > 2*maxDocument {
		return nil, "", refuse(ReasonTooLarge, "the query has %d characters", len(rawQuery))
	}
	raw := map[string]string{} // as escaped
	for _, pair := range strings.Split(rawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch name {
		case field, "RelayState", "SigAlg", "Signature":
			if _, twice := raw[name]; twice {
				return nil, "", refuse(ReasonMalformed, "two parameters %s", name)
			}
			raw[name] = value
		}
	}
	plain := map[string]string{}
	for name, value := range raw {
		unescaped, err := url.QueryUnescape(value)
		if err != nil {
			return nil, "", refuse(ReasonMalformed, "%s is not escaped as a query", name)
		}
		plain[name] = unescaped
	}
	if err := sp.verifyQuery(field, raw, plain); err != nil {
		return nil, "", err
	}
	n, err := inflated(field, plain[field])
	return n, plain["RelayState"], err
}

func (sp *ServiceProvider) verifyQuery(field string, raw, plain map[string]string) error {
	if plain["Signature"] == "" || plain["SigAlg"] == "" {
		return refuse(ReasonUnsigned, "the query is not signed")
	}
	hash, ok := acceptedSignature(plain["SigAlg"])
	if !ok {
		return refuse(ReasonAlgorithm, "signature algorithm %q is not accepted: use RSA with SHA-256", clip(plain["SigAlg"]))
	}
	sig, err := decodeBase64(plain["Signature"])
	if err != nil {
		return refuse(ReasonMalformed, "the signature is not base64")
	}
	signed := field + "=" + raw[field]
	if relayState, ok := raw["RelayState"]; ok {
		signed += "&RelayState=" + relayState
	}
	signed += "&SigAlg=" + raw["SigAlg"]
	return sp.verifyBytes(hash, []byte(signed), sig)
}

func (sp *ServiceProvider) verifyBytes(hash crypto.Hash, signed, sig []byte) error {
	h := hash.New()
	h.Write(signed)
	digest := h.Sum(nil)
	now, current := sp.c.Now(), 0
	for _, cert := range sp.certs {
		if !validAt(cert, now) {
			continue
		}
		current++
		if pub, ok := cert.PublicKey.(*rsa.PublicKey); ok && rsa.VerifyPKCS1v15(pub, hash, digest, sig) == nil {
			return nil
		}
	}
	if current == 0 {
		return refuse(ReasonCertificate, "none of the identity provider's certificates is valid today")
	}
	return refuse(ReasonSignature, "no certificate of the identity provider verifies the signature of the query")
}

// inflated reads at most maxDocument bytes, whatever a deflate stream promises.
func inflated(field, encoded string) (*node, error) {
	deflated, err := decodeBase64(encoded)
	if err != nil {
		return nil, refuse(ReasonMalformed, "%s is not base64", field)
	}
	raw, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(deflated)), maxDocument+1))
	if len(raw) > maxDocument {
		return nil, refuse(ReasonTooLarge, "more than %d bytes after inflating", maxDocument)
	}
	if err != nil {
		return nil, refuse(ReasonMalformed, "%s is not deflated", field)
	}
	n, _, err := parseBoth(raw)
	return n, err
}
