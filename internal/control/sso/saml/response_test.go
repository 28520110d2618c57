package saml

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

func genuine() Assertion {
	return Assertion{
		Issuer: testIDP, NameID: "alice", NameIDFormat: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
		SessionIndex: "s-1", AuthnInstant: testNow().Add(-10 * time.Minute),
		AuthnContextClassRef: "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
		NotOnOrAfter:         testNow().Add(5 * time.Minute),
		Attributes:           map[string][]string{"email": {"alice@example.com"}, "groups": {"eng", "R&D", "ops"}},
		AssertionID:          "_a1", ResponseID: "_r1", InResponseTo: testRequest,
	}
}

func TestASignedAssertionIsReadInFull(t *testing.T) {
	for name, change := range map[string]func(*draft){
		"assertion signed": func(*draft) {},
		"both signed":      func(d *draft) { d.response = &signing{} },
		"RSA with SHA-512": func(d *draft) { d.assertion.method = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512" },
		"digest SHA-512":   func(d *draft) { d.assertion.digest = "http://www.w3.org/2001/04/xmlenc#sha512" },
		"inclusive prefixes": func(d *draft) {
			d.assertion.transforms = strings.Replace(goodTransforms, `exc-c14n#"/>`, `exc-c14n#"><ec:InclusiveNamespaces xmlns:ec="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="unused"/></ds:Transform>`, 1)
		},
		"XML declaration": func(d *draft) {
			d.onResult = func(s string) string { return `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + s }
		},
		"no Issuer around": func(d *draft) {
			d.onResult = func(s string) string {
				return strings.Replace(s, `<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">`+testIDP+`</saml:Issuer>`, "", 1)
			}
		},
		"white space around the value": func(d *draft) {
			d.onResult = func(s string) string {
				return strings.Replace(s, "</ds:SignatureValue>", "&#13;\n  </ds:SignatureValue>", 1)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDraft()
			change(d)
			got, err := newParty(t).parse(d.build())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(genuine(), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNamespacesDeclaredOnTheResponseCountForTheAssertion(t *testing.T) {
	d := newDraft()
	d.onAssertion = func(s string) string {
		return strings.Replace(s, ` xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"`, "", 1)
	}
	d.onResult = func(s string) string {
		return strings.Replace(s, "<samlp:Response ", `<samlp:Response xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" `, 1)
	}
	if _, err := newParty(t).parse(d.build()); err != nil {
		t.Fatal(err)
	}
}

func TestSecurityAssertionMustBeSignedItself(t *testing.T) {
	d := newDraft()
	d.unsigned = true
	_, err := newParty(t).parse(d.build())
	wantRefusal(t, err, ReasonUnsigned, "Assertion has no signature")

	d.response = &signing{} // the response's signature covers it and does not count
	_, err = newParty(t).parse(d.build())
	wantRefusal(t, err, ReasonUnsigned, "Assertion has no signature")
}

func TestSecurityABrokenResponseSignatureRefusesAGoodAssertion(t *testing.T) {
	d := newDraft()
	d.response = &signing{by: testPairs().evil.key}
	_, err := newParty(t).parse(d.build())
	wantRefusal(t, err, ReasonSignature, "Response")
}

func TestSecurityKeysOfTheConnectionOnly(t *testing.T) {
	other := testPairs().evil
	for name, s := range map[string]signing{
		"another key":                       {by: other.key},
		"another key, its certificate":      {by: other.key, keyInfo: certInfo(other.cert)},
		"another key, the IdP's certficate": {by: other.key, keyInfo: certInfo(testPairs().idp.cert)},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDraft()
			d.assertion = s
			_, err := newParty(t).parse(d.build())
			wantRefusal(t, err, ReasonSignature, "no certificate of the identity provider verifies")
		})
	}
	for name, info := range map[string]string{
		"another certificate": certInfo(other.cert),
		"garbage":             `<ds:KeyInfo><ds:X509Data><ds:X509Certificate>!</ds:X509Certificate></ds:X509Data></ds:KeyInfo>`,
		"a name":              `<ds:KeyInfo><ds:KeyName>k</ds:KeyName></ds:KeyInfo>`,
	} {
		t.Run("the IdP's key, KeyInfo is "+name, func(t *testing.T) {
			d := newDraft()
			d.assertion.keyInfo = info
			if _, err := newParty(t).parse(d.build()); err != nil {
				t.Fatalf("KeyInfo was not ignored: %v", err)
			}
		})
	}
	t.Run("any of several certificates", func(t *testing.T) {
		p := newParty(t, func(c *Config) { c.IDP.Certificates = []*x509.Certificate{other.cert, testPairs().idp.cert} })
		if _, err := p.parse(newDraft().build()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSecurityAnExpiredCertificateSignsNothing(t *testing.T) {
	// The assertion is of the certificate's eleventh year.
	later := testNow().AddDate(11, 0, 0)
	p := newParty(t, func(c *Config) { c.Now = func() time.Time { return later } })
	raw := newDraft().fill(assertionTemplate)
	_, err := p.verify(mustTree(signElement(raw, signing{})))
	wantRefusal(t, coded(err), ReasonCertificate, "valid today")
}

func TestSecurityChangedAfterSigning(t *testing.T) {
	for name, change := range map[string][2]string{
		"name":         {">alice<", ">mallory<"},
		"attribute":    {">eng<", ">administrators<"},
		"added group":  {"</saml:AttributeStatement>", `<saml:Attribute Name="groups"><saml:AttributeValue>administrators</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>`},
		"later end":    {`NotOnOrAfter="` + at(5*time.Minute), `NotOnOrAfter="` + at(50*time.Minute)},
		"digest":       {"<ds:DigestValue>", "<ds:DigestValue>AAAA"},
		"signed value": {"<ds:SignatureValue>", "<ds:SignatureValue>AAAA"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDraft()
			d.onResult = func(s string) string {
				if !strings.Contains(s, change[0]) {
					t.Fatal("nothing to change")
				}
				return strings.Replace(s, change[0], change[1], 1)
			}
			_, err := newParty(t).parse(d.build())
			if r := ReasonOf(err); r != ReasonSignature && r != ReasonMalformed {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestSecurityVerifiedBytesAreTheBytesRead(t *testing.T) {
	// As if our parser and the verifier's saw different documents: the node
	// says mallory, the tree that verifies says alice.
	p := newParty(t)
	signed := signElement(newDraft().fill(assertionTemplate), signing{})
	forged, err := parseMessage([]byte(strings.Replace(signed, ">alice<", ">mallory<", 1)))
	if err != nil {
		t.Fatal(err)
	}
	n, err := p.verified(forged, mustTree(signed))
	if err != nil {
		t.Fatal(err)
	}
	if got := n.children[1].children[0].text; got != "alice" {
		t.Fatalf("read %q from the document as received", got)
	}
	// And as if the verifier had verified another digest than the one shown.
	from := strings.Index(signed, "<ds:DigestValue>") + len("<ds:DigestValue>")
	to := strings.Index(signed, "</ds:DigestValue>")
	other, err := parseMessage([]byte(signed[:from] + base64.StdEncoding.EncodeToString(make([]byte, 32)) + signed[to:]))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.verified(other, mustTree(signed))
	wantRefusal(t, coded(err), ReasonSignature, "what would be read is not what was signed")
}

func TestSecurityTimes(t *testing.T) {
	scd := func(end time.Duration) map[string]string {
		return map[string]string{"scd": `InResponseTo="` + testRequest + `" Recipient="` + testACS + `" NotOnOrAfter="` + at(end) + `"`}
	}
	for _, c := range []struct {
		name   string
		fields map[string]string
		reason Reason
		words  string
	}{
		{"confirmation ended", scd(-90 * time.Second), ReasonExpired, "SubjectConfirmationData ended"},
		{"confirmation ended within the skew", scd(-89 * time.Second), "", ""},
		{"confirmation without an end", map[string]string{"scd": `InResponseTo="` + testRequest + `" Recipient="` + testACS + `"`}, ReasonMalformed, "NotOnOrAfter"},
		{"confirmation begins later", map[string]string{"scd": newDraft().fields["scd"] + ` NotBefore="` + at(2*time.Minute) + `"`}, ReasonNotYetValid, "SubjectConfirmationData begins"},
		{"conditions ended", map[string]string{"notOnOrAfter": at(-2 * time.Minute)}, ReasonExpired, "Conditions ended"},
		{"conditions begin later", map[string]string{"notBefore": at(2 * time.Minute)}, ReasonNotYetValid, "Conditions begins"},
		{"conditions begin within the skew", map[string]string{"notBefore": at(time.Minute)}, "", ""},
		{"session ended", map[string]string{"session": ` SessionNotOnOrAfter="` + at(-time.Hour) + `"`}, ReasonExpired, "session at the identity provider"},
		{"issued in the future", map[string]string{"issued": at(time.Hour)}, ReasonNotYetValid, "issued"},
		{"issued long ago, valid for ever", map[string]string{"issued": at(-2 * time.Hour)}, ReasonExpired, "issued"},
		{"authenticated in the future", map[string]string{"authenticated": at(time.Hour)}, ReasonNotYetValid, "authentication is in the future"},
		{"no zone", map[string]string{"notOnOrAfter": "2026-11-22T13:00:00"}, ReasonMalformed, "not a time in UTC"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := newParty(t).parse(newDraft().set(c.fields).build())
			if c.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantRefusal(t, err, c.reason, c.words)
		})
	}
}

func TestSecurityReplay(t *testing.T) {
	p := newParty(t)
	raw := newDraft().build()
	if _, err := p.parse(raw); err != nil {
		t.Fatal(err)
	}
	_, err := p.parse(raw)
	wantRefusal(t, err, ReasonReplayed, "used before")

	want := map[string]time.Time{"saml-assertion:" + testIDP + " _a1": testNow().Add(5*time.Minute + DefaultSkew)}
	if diff := cmp.Diff(want, p.claims.taken); diff != "" {
		t.Error(diff)
	}
	t.Run("another response around it", func(t *testing.T) {
		_, err := p.parse(strings.Replace(raw, "_r1", "_r2", 1))
		wantRefusal(t, err, ReasonReplayed, "used before")
	})
	t.Run("a refused one is not claimed", func(t *testing.T) {
		p := newParty(t)
		d := newDraft().set(map[string]string{"acr": "urn:x"})
		p.c.RequireACR = []string{"urn:y"}
		if _, err := p.parse(d.build()); err == nil || len(p.claims.taken) > 0 {
			t.Fatalf("%v, claimed %v", err, p.claims.taken)
		}
	})
	t.Run("a store that is away refuses", func(t *testing.T) {
		p := newParty(t)
		p.claims.fail = identity.Errorf(identity.CodeDatabaseUnavailable, "away")
		_, err := p.parse(raw)
		if !identity.IsCode(err, identity.CodeDatabaseUnavailable) || ReasonOf(err) != "" {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("a lifetime of years is not remembered for years", func(t *testing.T) {
		p := newParty(t)
		d := newDraft().set(map[string]string{"notOnOrAfter": at(87600 * time.Hour)})
		d.fields["scd"] = strings.Replace(d.fields["scd"], at(5*time.Minute), at(87600*time.Hour), 1)
		if _, err := p.parse(d.build()); err != nil {
			t.Fatal(err)
		}
		for _, until := range p.claims.taken {
			// No earlier than the last moment at which it would be accepted.
			if until.Before(testNow().Add(maxMessageAge+DefaultSkew)) || until.After(testNow().Add(2*time.Hour)) {
				t.Errorf("remembered until %v", until)
			}
		}
	})
}

func TestSecurityMeantForUs(t *testing.T) {
	good := newDraft().fields["scd"]
	for _, c := range []struct {
		name, field, value string
		reason             Reason
		words              string
	}{
		{"Destination of another", "destination", `Destination="https://other.example.com/acs"`, ReasonDestination, "Destination is"},
		{"Destination with a slash more", "destination", `Destination="` + testACS + `/"`, ReasonDestination, "Destination is"},
		{"no Destination", "destination", "", ReasonDestination, "Destination is"},
		{"Recipient of another", "scd", strings.Replace(good, testACS, "https://other.example.com/acs", 1), ReasonDestination, "Recipient is"},
		{"no Recipient", "scd", strings.Replace(good, `Recipient="`+testACS+`"`, "", 1), ReasonDestination, "Recipient is"},
		{"Audience of another", "conditions", `<saml:AudienceRestriction><saml:Audience>https://other.example.com</saml:Audience></saml:AudienceRestriction>`, ReasonAudience, "the audience is"},
		{"one of two restrictions is another's", "conditions", newDraft().fields["conditions"] + `<saml:AudienceRestriction><saml:Audience>https://other.example.com</saml:Audience></saml:AudienceRestriction>`, ReasonAudience, "the audience is"},
		{"no Audience", "conditions", "", ReasonAudience, "names no audience"},
		{"unknown condition", "conditions", newDraft().fields["conditions"] + `<saml:Condition/>`, ReasonMalformed, "not known"},
		{"Issuer of the assertion", "issuer", "https://evil.example.com", ReasonIssuer, "Issuer is"},
		{"Issuer of the response", "responseIssuer", "https://evil.example.com", ReasonIssuer, "Issuer is"},
		{"InResponseTo of another browser", "inResponseTo", `InResponseTo="id-of-another"`, ReasonInResponseTo, "Response answers"},
		{"confirmation for another browser", "scd", strings.Replace(good, testRequest, "id-of-another", 1), ReasonInResponseTo, "SubjectConfirmationData answers"},
		{"two open requests", "scd", strings.Replace(good, testRequest, "id-earlier", 1), ReasonInResponseTo, "different requests"},
		{"no InResponseTo", "inResponseTo", "", ReasonUnsolicited, "Response answers no request"},
		{"confirmation without InResponseTo", "scd", strings.Replace(good, `InResponseTo="`+testRequest+`"`, "", 1), ReasonUnsolicited, "SubjectConfirmationData answers no"},
		{"empty InResponseTo", "inResponseTo", `InResponseTo=""`, ReasonInResponseTo, "Response answers"},
		{"sender vouches", "method", "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches", ReasonConfirmation, "not bearer"},
		{"holder of key", "method", "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key", ReasonConfirmation, "not bearer"},
		{"two confirmations", "moreSubject", `<saml:SubjectConfirmation Method="` + methodBearer + `"/>`, ReasonConfirmation, "exactly one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newParty(t)
			_, err := p.parse(newDraft().set(map[string]string{c.field: c.value}).build())
			wantRefusal(t, err, c.reason, c.words)
			if len(p.claims.taken) > 0 {
				t.Error("a refused assertion was claimed")
			}
		})
	}
	t.Run("no request open", func(t *testing.T) {
		_, err := newParty(t).ParseResponse(t.Context(), posted(newDraft().build()), nil)
		wantRefusal(t, err, ReasonInResponseTo, "has not open")
	})
}

func TestSecurityIDPInitiatedOnlyWhereEnabled(t *testing.T) {
	unsolicited := newDraft()
	unsolicited.fields["inResponseTo"] = ""
	unsolicited.fields["scd"] = strings.Replace(unsolicited.fields["scd"], `InResponseTo="`+testRequest+`"`, "", 1)
	_, err := newParty(t).parse(unsolicited.build())
	wantRefusal(t, err, ReasonUnsolicited, "not enabled")

	allow := func(c *Config) { c.AllowIDPInitiated = true }
	a, err := newParty(t, allow).parse(unsolicited.build())
	if err != nil || a.InResponseTo != "" {
		t.Fatalf("%v %+v", err, a)
	}
	// What answers a request still has to answer one that is open.
	_, err = newParty(t, allow).ParseResponse(t.Context(), posted(newDraft().build()), nil)
	wantRefusal(t, err, ReasonInResponseTo, "has not open")
	// Half an answer is none.
	half := newDraft().set(map[string]string{"inResponseTo": ""})
	_, err = newParty(t, allow).parse(half.build())
	wantRefusal(t, err, ReasonInResponseTo, "different requests")
}

func TestSecurityAuthenticationStrength(t *testing.T) {
	strong := "https://refeds.org/profile/mfa"
	demand := func(c *Config) { c.RequireACR = []string{strong} }
	_, err := newParty(t, demand).parse(newDraft().build())
	wantRefusal(t, err, ReasonAuthnContext, "none of those demanded")
	if _, err := newParty(t, demand).parse(newDraft().set(map[string]string{"acr": strong}).build()); err != nil {
		t.Fatal(err)
	}
	_, err = newParty(t, func(c *Config) { c.MaxAge = 5 * time.Minute }).parse(newDraft().build())
	wantRefusal(t, err, ReasonAuthnContext, "longer ago")
	if _, err := newParty(t, func(c *Config) { c.MaxAge = 10 * time.Minute }).parse(newDraft().build()); err != nil {
		t.Fatal(err)
	}
}

func TestSecurityTheIDPsRefusalIsNotRepeatedWordByWord(t *testing.T) {
	d := newDraft().set(map[string]string{
		"status":     statusPrefix + "Responder",
		"moreStatus": `<samlp:StatusMessage>click https://evil.example.com</samlp:StatusMessage>`,
	})
	_, err := newParty(t).parse(d.build())
	wantRefusal(t, err, ReasonStatus, "Responder")
	d.fields["status"] = "https://evil.example.com/click"
	_, err = newParty(t).parse(d.build())
	wantRefusal(t, err, ReasonStatus, "an unknown status")
	if strings.Contains(err.Error(), "evil") {
		t.Errorf("the stranger's text came through: %v", err)
	}
}

func TestNewRefusesWrongSettings(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no entity":            func(c *Config) { c.EntityID = "" },
		"no key":               func(c *Config) { c.Key = nil },
		"another's cert":       func(c *Config) { c.Certificate = testPairs().evil.cert },
		"no claim":             func(c *Config) { c.Claim = nil },
		"plain http":           func(c *Config) { c.ACSURL = "http://gatehouse.example.com/acs" },
		"IdP on plain http":    func(c *Config) { c.IDP.SSOURL = "http://idp.example.com/sso" },
		"encryption":           func(c *Config) { c.Encryption = "sometimes" },
		"no way to decrypt":    func(c *Config) { c.Encryption, c.Key = EncryptionRequired, signOnly{c.Key} },
		"another scheme":       func(c *Config) { c.IDP.SSOURL = "ftp://localhost/sso" },
		"script":               func(c *Config) { c.IDP.SSOURL = "javascript:alert(1)" },
		"no IdP":               func(c *Config) { c.IDP.EntityID = "" },
		"our own metadata":     func(c *Config) { c.IDP.EntityID = c.EntityID },
		"no certificate":       func(c *Config) { c.IDP.Certificates = nil },
		"binding":              func(c *Config) { c.IDP.SSOBinding = "urn:oasis:names:tc:SAML:2.0:bindings:SOAP" },
		"skew":                 func(c *Config) { c.Skew = time.Hour },
		"elliptic key":         func(c *Config) { c.Key = curve },
		"logout on plain http": func(c *Config) { c.IDP.SLOURL = "http://idp.example.com/slo" },
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig()
			c.Claim = (&claims{}).claim
			change(&c)
			if _, err := New(c); identity.CodeOf(err) != identity.CodeInvalidRequest {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestPlainHTTPOnlyOnLoopbackOrWhereAskedFor(t *testing.T) {
	newParty(t, func(c *Config) { c.ACSURL, c.IDP.SSOURL = "http://127.0.0.1:8080/acs", "http://localhost:8081/sso" })
	newParty(t, func(c *Config) { c.ACSURL, c.InsecureHTTP = "http://gatehouse.test/acs", true })
}

func TestSecurityOneFieldOneMessage(t *testing.T) {
	good := posted(newDraft().build())["SAMLResponse"][0]
	for name, form := range map[string]url.Values{
		"none":           {},
		"two":            {"SAMLResponse": {good, good}},
		"garbage":        {"SAMLResponse": {"%%%"}},
		"two spellings":  {"SAMLResponse": {"QQ==QQ=="}},
		"stray bits":     {"SAMLResponse": {"QR=="}},
		"URL alphabet":   {"SAMLResponse": {"_-_-"}},
		"not XML":        {"SAMLResponse": {"QUFB"}},
		"empty":          {"SAMLResponse": {""}},
		"only an opener": posted("<a"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newParty(t).ParseResponse(context.Background(), form, []string{testRequest})
			wantRefusal(t, err, ReasonMalformed, "")
		})
	}
}

func TestSecurityBase64HasOneSpelling(t *testing.T) {
	doc := newDraft().build()
	for len(doc)%3 != 1 {
		doc += " "
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(doc)) // ends in ...A== or the like, four bits unused
	p := newParty(t)
	if _, err := p.ParseResponse(t.Context(), url.Values{"SAMLResponse": {encoded[:76] + "\r\n" + encoded[76:]}}, []string{testRequest}); err != nil {
		t.Fatalf("line breaks do not count: %v", err)
	}
	last := len(encoded) - 3
	stray := encoded[:last] + string(encoded[last]+1) + "=="
	_, err := p.ParseResponse(t.Context(), url.Values{"SAMLResponse": {stray}}, []string{testRequest})
	wantRefusal(t, err, ReasonMalformed, "not base64")
}
