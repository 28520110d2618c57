package saml

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	statusPrefix  = "urn:oasis:names:tc:SAML:2.0:status:"
	statusSuccess = statusPrefix + "Success"

	scopeAssertion = "saml-assertion:"
	scopeLogout    = "saml-logout:"

	maxID = 256
)

// Assertion is what an identity provider said about a person, all of it from
// bytes whose signature was verified, except ResponseID.
type Assertion struct {
	Issuer               string
	NameID, NameIDFormat string
	// NameQualifier and SPNameQualifier belong to the NameID, which a logout
	// request has to repeat whole (SAML core, 2.2.2 and 3.7.1); may be empty.
	NameQualifier, SPNameQualifier string
	// SessionIndex names the IdP's session in logout requests; may be empty.
	SessionIndex string
	// SessionNotOnOrAfter is when the IdP wants our session to end; zero when
	// it does not say.
	SessionNotOnOrAfter  time.Time
	AuthnInstant         time.Time
	AuthnContextClassRef string
	// NotOnOrAfter is when the assertion ends, before the clock skew.
	NotOnOrAfter time.Time
	// Attributes by Name; several of one name are joined. Empty values and
	// values that are not plain text are left out.
	Attributes map[string][]string

	AssertionID string
	ResponseID  string // what the outer response calls itself: for logs only
	// InResponseTo is the request that this answers, one of those expected;
	// empty when the identity provider started it.
	InResponseTo string
	// Encrypted says that the assertion came encrypted.
	Encrypted bool
}

// ParseResponse accepts a response that the browser posted to the ACS, or
// refuses it. form holds its fields; expected are the IDs of the requests that
// this browser has open (none, when it has none: only an unsolicited response
// can then be accepted, if the connection allows it).
//
// A refusal has the code `invalid_token` and a [Reason]. When the assertion was
// used before, the reason is ReasonReplayed; when Claim fails in another way,
// its error comes back as it is. The assertion is claimed last of all: a
// refused one can be sent again.
func (sp *ServiceProvider) ParseResponse(ctx context.Context, form url.Values, expected []string) (Assertion, error) {
	a, until, err := sp.parseResponse(form, expected)
	if err == nil {
		err = sp.claim(ctx, scopeAssertion, a.AssertionID, until)
	}
	if err != nil {
		return Assertion{}, coded(err)
	}
	return a, nil
}

func (sp *ServiceProvider) claim(ctx context.Context, scope, id string, until time.Time) error {
	err := sp.c.Claim(ctx, scope+sp.c.IDP.EntityID, id, until)
	if identity.CodeOf(err) == identity.CodeConflict {
		return refuse(ReasonReplayed, "it has been used before")
	}
	return err
}

func (sp *ServiceProvider) parseResponse(form url.Values, expected []string) (Assertion, time.Time, error) {
	raw, err := postedMessage(form, "SAMLResponse")
	if err != nil {
		return Assertion{}, time.Time{}, err
	}
	outer, tree, err := parseBoth(raw)
	if err != nil {
		return Assertion{}, time.Time{}, err
	}
	if !outer.is(nsProtocol, "Response") {
		return Assertion{}, time.Time{}, refuse(ReasonMalformed, "not a Response")
	}
	// The response's own signature, when there is one: from here on outer is
	// what was signed.
	signed := len(outer.all(nsDsig, "Signature")) > 0
	if signed {
		if outer, err = sp.verified(outer, tree); err != nil {
			return Assertion{}, time.Time{}, err
		}
	}
	if err := sp.checkResponse(outer, expected); err != nil {
		return Assertion{}, time.Time{}, err
	}
	assertion, encrypted, err := sp.onlyAssertion(outer, tree, signed)
	if err != nil {
		return Assertion{}, time.Time{}, err
	}
	a, until, err := sp.checkAssertion(assertion, outer.attr("InResponseTo"), expected)
	a.ResponseID, a.Encrypted = outer.attr("ID"), encrypted
	return a, until, err
}

// postedMessage decodes the one field of the HTTP-POST binding.
func postedMessage(form url.Values, field string) ([]byte, error) {
	if len(form[field]) != 1 {
		return nil, refuse(ReasonMalformed, "%d fields %s, where one belongs", len(form[field]), field)
	}
	encoded := form[field][0]
	if len(encoded) > 2*maxDocument {
		return nil, refuse(ReasonTooLarge, "%s has %d characters", field, len(encoded))
	}
	raw, err := decodeBase64(encoded)
	if err != nil {
		return nil, refuse(ReasonMalformed, "%s is not base64", field)
	}
	return raw, nil
}

// parseBoth reads a document for us and for the verifier.
func parseBoth(raw []byte) (*node, *etree.Element, error) {
	n, err := parseMessage(raw)
	if err != nil {
		return nil, nil, err
	}
	if err := checkSignaturePlaces(n); err != nil {
		return nil, nil, err
	}
	tree, err := parseTree(raw)
	return n, tree, err
}

// checkResponse checks the outer message (SAML core, 3.2.2; profiles, 4.1.4.2).
func (sp *ServiceProvider) checkResponse(r *node, expected []string) error {
	if err := sp.checkEnvelope(r); err != nil {
		return err
	}
	if d := r.attr("Destination"); d != sp.c.ACSURL {
		return refuse(ReasonDestination, "Destination is %q, not %q", clip(d), sp.c.ACSURL)
	}
	if err := sp.checkInResponseTo(r, expected); err != nil {
		return err
	}
	return checkStatus(r)
}

// checkEnvelope checks what every protocol message has.
func (sp *ServiceProvider) checkEnvelope(r *node) error {
	if r.attr("Version") != "2.0" || !goodID(r.attr("ID")) {
		return refuse(ReasonMalformed, "%s needs Version 2.0 and an ID", r.local)
	}
	issued, err := instant(r, "IssueInstant")
	if err != nil {
		return err
	}
	if err := sp.checkIssued(r, issued); err != nil {
		return err
	}
	issuer, err := r.optional(nsAssertion, "Issuer")
	if err != nil || issuer == nil {
		return err
	}
	return sp.checkIssuer(issuer)
}

// maxMessageAge bounds how old a message may be, and so how long a replay has
// to be remembered, whatever lifetime an identity provider writes.
const maxMessageAge = time.Hour

func (sp *ServiceProvider) checkIssued(n *node, issued time.Time) error {
	switch now := sp.c.Now(); {
	case issued.After(now.Add(sp.c.Skew)):
		return refuse(ReasonNotYetValid, "%s was issued at %s, which is in the future", n.local, issued.Format(time.RFC3339))
	case issued.Before(now.Add(-maxMessageAge - sp.c.Skew)):
		return refuse(ReasonExpired, "%s was issued at %s", n.local, issued.Format(time.RFC3339))
	}
	return nil
}

func (sp *ServiceProvider) checkIssuer(issuer *node) error {
	name, err := exactText(issuer)
	if err != nil {
		return err
	}
	const entity = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
	if f := issuer.attr("Format"); name != sp.c.IDP.EntityID || f != "" && f != entity {
		return refuse(ReasonIssuer, "Issuer is %q, not %q", clip(name), sp.c.IDP.EntityID)
	}
	return nil
}

// checkInResponseTo says whether a message or confirmation answers a request
// that is open, or answers none where that is allowed (profiles, 4.1.5: an
// unsolicited response must not have the attribute).
func (sp *ServiceProvider) checkInResponseTo(n *node, expected []string) error {
	id, present := n.lookup("InResponseTo")
	switch {
	case !present && sp.c.AllowIDPInitiated:
		return nil
	case !present:
		return refuse(ReasonUnsolicited, "%s answers no request, and sign-in that the identity provider starts is not enabled", n.local)
	case !slices.Contains(expected, id) || id == "":
		return refuse(ReasonInResponseTo, "%s answers a request that this browser has not open", n.local)
	}
	return nil
}

func checkStatus(r *node) error {
	status, err := r.one(nsProtocol, "Status")
	if err != nil {
		return err
	}
	code, err := status.one(nsProtocol, "StatusCode")
	if err != nil {
		return err
	}
	if code.attr("Value") == statusSuccess {
		return nil
	}
	// StatusMessage is text of whoever sent this: it goes nowhere.
	codes := []string{statusName(code)}
	if inner, _ := code.optional(nsProtocol, "StatusCode"); inner != nil {
		codes = append(codes, statusName(inner))
	}
	return refuse(ReasonStatus, "the identity provider answered %s", strings.Join(codes, ", "))
}

// statusName keeps of a status code what can be shown to anybody.
func statusName(code *node) string {
	name, ok := strings.CutPrefix(code.attr("Value"), statusPrefix)
	if !ok || name == "" || len(name) > 40 || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		return "an unknown status"
	}
	return name
}

// onlyAssertion returns the verified bytes of the one assertion. One means: in
// the whole document, under any namespace, there is no second element of that
// name, and the one is a direct child of the response.
func (sp *ServiceProvider) onlyAssertion(outer *node, tree *etree.Element, authenticated bool) (*node, bool, error) {
	total := 0
	_ = outer.walk(func(n *node) error {
		if n.local == "Assertion" || n.local == "EncryptedAssertion" {
			total++
		}
		return nil
	})
	plain, encrypted := outer.all(nsAssertion, "Assertion"), outer.all(nsAssertion, "EncryptedAssertion")
	if total != 1 || len(plain)+len(encrypted) != 1 {
		return nil, false, refuse(ReasonMalformed, "exactly one assertion is accepted, directly in the response; there are %d", total)
	}
	if len(encrypted) == 0 && sp.c.Encryption == EncryptionRequired {
		return nil, false, refuse(ReasonEncryption, "the assertion is not encrypted, and this connection requires it")
	}
	if len(encrypted) == 1 {
		n, err := sp.openAssertion(encrypted[0], authenticated)
		return n, true, err
	}
	// The verifier needs the element with its signature, and a signed response
	// was canonicalized for itself: so it gets the received one, which stands
	// where outer's stands, and only what it verified is read.
	for _, el := range tree.ChildElements() {
		if el.Tag != "Assertion" || el.NamespaceURI() != nsAssertion {
			continue
		}
		n, err := sp.verifiedAlone(standAlone(el))
		if err == nil && n.attr("ID") != plain[0].attr("ID") {
			err = refuse(ReasonSignature, "the response and the assertion were signed apart")
		}
		return n, false, err
	}
	return nil, false, refuse(ReasonMalformed, "the assertion cannot be found")
}

// verifiedAlone verifies an element that was cut out of its document.
func (sp *ServiceProvider) verifiedAlone(el *etree.Element) (*node, error) {
	doc := etree.NewDocument()
	doc.SetRoot(el)
	doc.WriteSettings = etree.WriteSettings{CanonicalText: true, CanonicalAttrVal: true}
	raw, err := doc.WriteToBytes()
	if err != nil {
		return nil, refuse(ReasonMalformed, "the assertion cannot be cut out")
	}
	n, tree, err := parseBoth(raw)
	if err != nil {
		return nil, err
	}
	return sp.verified(n, tree)
}

// openAssertion decrypts an assertion, which then must be signed as a plain one
// must. All that can go wrong with the plaintext is one refusal.
func (sp *ServiceProvider) openAssertion(encrypted *node, authenticated bool) (*node, error) {
	raw, err := sp.decrypt(encrypted, authenticated)
	if err != nil {
		return nil, err
	}
	n, tree, err := parseBoth(raw)
	if err != nil || !n.is(nsAssertion, "Assertion") {
		return nil, undecryptable()
	}
	out, err := sp.verified(n, tree)
	if err != nil {
		return nil, undecryptable()
	}
	return out, nil
}
