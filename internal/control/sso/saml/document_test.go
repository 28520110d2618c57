package saml

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dsig "github.com/russellhaering/goxmldsig"
)

func TestSecurityNothingThatAParserCouldReadInTwoWays(t *testing.T) {
	before := func(s string) func(string) string { return func(doc string) string { return s + doc } }
	swap := func(old, new string) func(string) string {
		return func(doc string) string {
			if !strings.Contains(doc, old) {
				panic("nothing to change: " + old)
			}
			return strings.Replace(doc, old, new, 1)
		}
	}
	xxe := `<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>`
	bomb := `<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>`
	for _, c := range []struct {
		name   string
		change func(string) string
		words  string
	}{
		{"external entity", before(xxe), "DOCTYPE"},
		{"external entity after a declaration", before(`<?xml version="1.0"?>` + xxe), "DOCTYPE"},
		{"entity expansion", before(bomb), "DOCTYPE"},
		{"DOCTYPE in small letters", before(`<!doctype r>`), "DOCTYPE"},
		{"DOCTYPE at the end", func(s string) string { return s + xxe }, "DOCTYPE"},
		{"external entity reference alone", swap("<samlp:Status>", "<samlp:Status>&x;"), "not well-formed"},
		{"comment in the NameID", swap(">alice<", ">ali<!-- -->ce<"), "comments"},
		{"comment in an attribute value", swap(">eng<", ">e<!---->ng<"), "comments"},
		{"comment outside", before("<!-- -->"), "comments"},
		{"CDATA in the NameID", swap(">alice<", "><![CDATA[alice]]><"), "CDATA"},
		{"processing instruction in the NameID", swap(">alice<", ">ali<?x?>ce<"), "processing instructions"},
		{"stylesheet", before(`<?xml-stylesheet href="x"?>`), "processing instructions"},
		{"Latin-1", before(`<?xml version="1.0" encoding="ISO-8859-1"?>`), "UTF-8"},
		{"UTF-7", before(`<?xml version="1.0" encoding="UTF-7"?>`), "UTF-8"},
		{"XML 1.1", before(`<?xml version="1.1"?>`), "version 1.0"},
		{"declaration twice", before(`<?xml version="1.0"?><?xml version="1.0"?>`), "processing instructions"},
		{"not UTF-8", swap(">alice<", ">alice\xff<"), "not UTF-8"},
		{"UTF-16", func(s string) string { return "\xff\xfe" + s }, "not UTF-8"},
		{"NUL", swap(">alice<", ">alice\x00<"), "not well-formed"},
		{"control character", swap(">alice<", ">alice&#1;<"), "not well-formed"},
		{"two roots", func(s string) string { return s + "<x/>" }, "second root"},
		{"text after the root", func(s string) string { return s + "x" }, "text outside"},
		{"wrong end tag", swap("</samlp:Status>", "</samlp:Status2>"), "end tag"},
		{"end tag by another prefix", swap("</samlp:Status>", "</Status>"), "end tag"},
		{"not closed", func(s string) string { return strings.TrimSuffix(s, "</samlp:Response>") }, "not complete"},
		{"unknown prefix", swap("<samlp:Status>", "<samlp:Status><x:y/>"), "cannot be resolved"},
		{"a prefix of an element that is closed", swap("<samlp:Status>", `<samlp:Status><a xmlns:z="u"/><z:b/>`), "cannot be resolved"},
		{"unknown prefix of an attribute", swap("<samlp:Status>", `<samlp:Status x:y="">`), "cannot be resolved"},
		{"two colons", swap("<samlp:Status>", "<samlp:Status><samlp:a:b/>"), "not well-formed"},
		{"two colons in an attribute", swap("<samlp:Status>", `<samlp:Status samlp:a:b="">`), "not well-formed"},
		{"a colon without a prefix", swap("<samlp:Status>", "<samlp:Status><:a/>"), "cannot be resolved"},
		{"a colon without a name, in an attribute", swap("<samlp:Status>", `<samlp:Status a:="">`), "cannot be resolved"},
		{"attribute twice", swap(`Version="2.0"`, `Version="2.0" Version="2.0"`), "two attributes"},
		{"attribute twice by two prefixes", swap(`<samlp:Status>`, `<samlp:Status xmlns:a="urn:x" xmlns:b="urn:x" a:y="1" b:y="2">`), "two attributes"},
		{"namespace twice", swap(`<samlp:Status>`, `<samlp:Status xmlns:a="urn:x" xmlns:a="urn:y">`), "namespace declaration"},
		{"namespace taken away", swap(`<samlp:Status>`, `<samlp:Status xmlns:samlp="">`), "namespace declaration"},
		{"xmlns declared", swap(`<samlp:Status>`, `<samlp:Status xmlns:xmlns="urn:x">`), "namespace declaration"},
		{"xml redeclared", swap(`<samlp:Status>`, `<samlp:Status xmlns:xml="urn:x">`), "namespace declaration"},
		{"one ID twice", swap(`ID="_r1"`, `ID="_a1"`), "one ID"},
		{"one ID in another spelling", swap(`<samlp:Status>`, `<samlp:Status Id="_a1">`), "one ID"},
		{"one ID as xml:id", swap(`<samlp:Status>`, `<samlp:Status xml:id="_a1">`), "one ID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDraft()
			d.onResult = c.change
			_, err := newParty(t).parse(d.build())
			wantRefusal(t, err, ReasonMalformed, c.words)
		})
	}
}

func TestSecurityNameIDIsOneText(t *testing.T) {
	for name, c := range map[string]struct{ nameID, words string }{
		"element inside":     {`<saml:NameID>ali<saml:X/>ce</saml:NameID>`, "text alone"},
		"white space around": {`<saml:NameID> alice</saml:NameID>`, "white space"},
		"empty":              {`<saml:NameID></saml:NameID>`, "1 to"},
		"line break":         {"<saml:NameID>al&#10;ice</saml:NameID>", "control characters"},
		"long":               {"<saml:NameID>" + strings.Repeat("a", 1025) + "</saml:NameID>", "1 to"},
		"two":                {`<saml:NameID>alice</saml:NameID><saml:NameID>bob</saml:NameID>`, "2 NameID"},
		"none":               {``, "no NameID"},
		"encrypted":          {`<saml:EncryptedID/>`, "no NameID"},
		"another namespace":  {`<x:NameID xmlns:x="urn:x">alice</x:NameID>`, "no NameID"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newParty(t).parse(newDraft().set(map[string]string{"nameID": c.nameID}).build())
			wantRefusal(t, err, ReasonMalformed, c.words)
		})
	}
}

func TestSecurityAttributeValuesAreNeverReadInPart(t *testing.T) {
	d := newDraft().set(map[string]string{"attributes": goodAttributes +
		`<saml:Attribute Name="id"><saml:AttributeValue>ad<saml:NameID>x</saml:NameID>min</saml:AttributeValue><saml:AttributeValue/></saml:Attribute>`})
	a, err := newParty(t).parse(d.build())
	if err != nil {
		t.Fatal(err)
	}
	if v, had := a.Attributes["id"]; had {
		t.Errorf("read %q", v)
	}
}

func TestSecurityBounds(t *testing.T) {
	many := func(n int, f func(int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(f(i))
		}
		return b.String()
	}
	same := func(s string) func(int) string { return func(int) string { return s } }
	for name, status := range map[string]string{
		"bytes":      strings.Repeat(" ", maxDocument),
		"depth":      many(maxDepth, same("<samlp:x>")) + many(maxDepth, same("</samlp:x>")),
		"elements":   many(maxElements, same("<samlp:x/>")),
		"attributes": "<samlp:x " + many(maxAttributes+1, func(i int) string { return fmt.Sprintf(`a%d="" `, i) }) + "/>",
		"namespaces": "<samlp:x " + many(maxNamespaces, func(i int) string { return fmt.Sprintf(`xmlns:a%d="urn:x" `, i) }) + "/>",
		"namespaces, nested": many(maxNamespaces/4, func(i int) string {
			return fmt.Sprintf(`<samlp:x xmlns:b%d="u" xmlns:c%d="u" xmlns:d%d="u" xmlns:e%d="u">`, i, i, i, i)
		}) +
			many(maxNamespaces/4, same("</samlp:x>")),
		"declarations": many(maxDeclarations, same(`<samlp:x xmlns:z="u"/>`)),
		"attributes of all": many(maxAllAttributes/32, func(int) string {
			return "<samlp:x " + many(32, func(i int) string { return fmt.Sprintf(`a%d="" `, i) }) + "/>"
		}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newParty(t).parse(newDraft().set(map[string]string{"moreStatus": status}).build())
			wantRefusal(t, err, ReasonTooLarge, "more than")
		})
	}
	t.Run("before decoding", func(t *testing.T) {
		_, err := newParty(t).ParseResponse(t.Context(), map[string][]string{"SAMLResponse": {strings.Repeat("A", 2*maxDocument+4)}}, nil)
		wantRefusal(t, err, ReasonTooLarge, "characters")
	})
	t.Run("as many values as fit, each with two namespaces, are fine", func(t *testing.T) {
		d := newDraft().set(map[string]string{"attributes": `<saml:Attribute Name="groups">` + many(1500, same(
			`<saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">g</saml:AttributeValue>`)) + `</saml:Attribute>`})
		if a, err := newParty(t).parse(d.build()); err != nil || len(a.Attributes["groups"]) != 1500 {
			t.Fatalf("%v, %d groups", err, len(a.Attributes["groups"]))
		}
	})
	t.Run("a thousand groups are fine", func(t *testing.T) {
		d := newDraft().set(map[string]string{"attributes": `<saml:Attribute Name="groups">` +
			many(1000, func(i int) string { return fmt.Sprintf("<saml:AttributeValue>group-%d</saml:AttributeValue>", i) }) + `</saml:Attribute>`})
		d.response = &signing{}
		a, err := newParty(t).parse(d.build())
		if err != nil || len(a.Attributes["groups"]) != 1000 {
			t.Fatalf("%v, %d groups", err, len(a.Attributes["groups"]))
		}
	})
}

func TestSecurityAlgorithms(t *testing.T) {
	transform := func(a string) string { return `<ds:Transform Algorithm="` + a + `"/>` }
	enveloped, exclusive := transform("http://www.w3.org/2000/09/xmldsig#enveloped-signature"), transform("http://www.w3.org/2001/10/xml-exc-c14n#")
	empty, other := "", "#_r1"
	for _, c := range []struct {
		name   string
		s      signing
		reason Reason
		words  string
	}{
		{"SHA-1 signature", signing{method: dsig.RSASHA1SignatureMethod}, ReasonAlgorithm, "signature algorithm"},
		{"SHA-1 digest", signing{digest: sha1NS}, ReasonAlgorithm, "digest algorithm"},
		{"HMAC with the public key", signing{method: "http://www.w3.org/2000/09/xmldsig#hmac-sha1"}, ReasonAlgorithm, "signature algorithm"},
		{"inclusive canonicalization of SignedInfo", signing{c14n: "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"}, ReasonAlgorithm, "canonicalization"},
		{"comments kept in SignedInfo", signing{c14n: "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"}, ReasonAlgorithm, "canonicalization"},
		{"inclusive canonicalization", signing{transforms: enveloped + transform("http://www.w3.org/TR/2001/REC-xml-c14n-20010315")}, ReasonAlgorithm, "exactly the transforms"},
		{"comments kept", signing{transforms: enveloped + transform("http://www.w3.org/2001/10/xml-exc-c14n#WithComments")}, ReasonAlgorithm, "exactly the transforms"},
		{"no canonicalization", signing{transforms: enveloped}, ReasonAlgorithm, "exactly the transforms"},
		{"not enveloped", signing{transforms: exclusive}, ReasonAlgorithm, "exactly the transforms"},
		{"XPath", signing{transforms: enveloped + transform("http://www.w3.org/TR/1999/REC-xpath-19991116") + exclusive}, ReasonAlgorithm, "exactly the transforms"},
		{"XSLT", signing{transforms: enveloped + transform("http://www.w3.org/TR/1999/REC-xslt-19991116")}, ReasonAlgorithm, "exactly the transforms"},
		{"two references", signing{references: `<ds:Reference URI="#_r1"/>`}, ReasonMalformed, "must hold exactly"},
		{"the whole document", signing{uri: &empty}, ReasonSignature, "refers to something else"},
		{"another element", signing{uri: &other}, ReasonSignature, "refers to something else"},
		{"object", signing{object: `<ds:Object/>`}, ReasonMalformed, "must hold exactly"},
		{"two values", signing{keyInfo: `<ds:SignatureValue/>`}, ReasonMalformed, "must hold exactly"},
		{"two SignedInfo", signing{keyInfo: `<ds:SignedInfo/>`}, ReasonMalformed, "must hold exactly"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDraft()
			d.assertion = c.s
			_, err := newParty(t).parse(d.build())
			wantRefusal(t, err, c.reason, c.words)
		})
	}
}

// wrappings are the known ways to move a signed assertion aside and put another
// in its place (Somorovsky et al., "On Breaking SAML", 2012; the numbers are
// those of SAML Raider). good is signed, evil is a copy with another name and no
// signature, sig is the signature.
func wrappings(good, evil, bare, sig string) map[string]string {
	end := "</saml:Assertion>"
	into := func(outer, inner string) string { return strings.TrimSuffix(outer, end) + inner + end }
	signedEvil := strings.Replace(evil, "</saml:Issuer>", "</saml:Issuer>"+sig, 1)
	sigEnd := "</ds:Signature>"
	return map[string]string{
		"3: evil before":                           evil + good,
		"4: good inside evil":                      into(evil, good),
		"5: signature moved to evil":               signedEvil + bare,
		"6: good inside the signature of evil":     strings.Replace(signedEvil, sigEnd, bare+sigEnd, 1),
		"7: evil in Extensions":                    "<samlp:Extensions>" + evil + "</samlp:Extensions>" + good,
		"8: good in an Object of evil's signature": strings.Replace(signedEvil, sigEnd, "<ds:Object>"+bare+"</ds:Object>"+sigEnd, 1),
		"9: evil behind":                           good + evil,
		"evil in Advice of good":                   into(good, "<saml:Advice>"+evil+"</saml:Advice>"),
		"evil under another namespace":             strings.ReplaceAll(evil, nsAssertion, "urn:oasis:names:tc:SAML:1.0:assertion") + good,
	}
}

func TestSecuritySignatureWrapping(t *testing.T) {
	good := signElement(newDraft().fill(assertionTemplate), signing{})
	sig := good[strings.Index(good, "<ds:Signature ") : strings.Index(good, "</ds:Signature>")+len("</ds:Signature>")]
	bare := strings.Replace(good, sig, "", 1)
	for _, id := range []string{"_a1", "_evil"} {
		evil := strings.Replace(strings.Replace(bare, ">alice<", ">mallory<", 1), `ID="_a1"`, `ID="`+id+`"`, 1)
		for name, body := range wrappings(good, evil, bare, sig) {
			for _, response := range []*signing{nil, {}} {
				t.Run(fmt.Sprintf("%s, ID %s, response signed %t", name, id, response != nil), func(t *testing.T) {
					d := newDraft()
					d.onAssertion = func(string) string { return body }
					d.response = response // even an IdP that signs it makes no difference
					a, err := newParty(t).parse(d.build())
					if err == nil {
						t.Fatalf("accepted %q", a.NameID)
					}
					if r := ReasonOf(err); r != ReasonMalformed && r != ReasonSignature {
						t.Fatalf("refused for another reason: %v", err)
					}
				})
			}
		}
	}
}

func TestSecuritySignatureWrappingOfTheResponse(t *testing.T) {
	d := newDraft()
	d.response = &signing{}
	whole := d.build()
	sig := whole[strings.Index(whole, "<ds:Signature ") : strings.Index(whole, "</ds:Signature>")+len("</ds:Signature>")]
	original := strings.Replace(whole, sig, "", 1)
	evil := strings.Replace(strings.Replace(whole, ">alice<", ">mallory<", 1), `ID="_r1"`, `ID="_evil"`, 1)
	for name, doc := range map[string]string{
		"1: original inside the signature":        strings.Replace(evil, "</ds:Signature>", original+"</ds:Signature>", 1),
		"2: original before a detached signature": strings.Replace(evil, sig, original+sig, 1),
		"original in an Extensions":               strings.Replace(evil, "<samlp:Status>", "<samlp:Extensions>"+whole+"</samlp:Extensions><samlp:Status>", 1),
	} {
		t.Run(name, func(t *testing.T) {
			a, err := newParty(t).parse(doc)
			if err == nil {
				t.Fatalf("accepted %q", a.NameID)
			}
			if r := ReasonOf(err); r != ReasonMalformed && r != ReasonSignature {
				t.Fatalf("refused for another reason: %v", err)
			}
		})
	}
}

func TestSecuritySignaturesStandWhereTheyBelong(t *testing.T) {
	good := signElement(newDraft().fill(assertionTemplate), signing{})
	sig := good[strings.Index(good, "<ds:Signature ") : strings.Index(good, "</ds:Signature>")+len("</ds:Signature>")]
	for name, c := range map[string]struct{ field, xml, words string }{
		"in an extension":             {"moreStatus", "<samlp:StatusDetail>" + sig + "</samlp:StatusDetail>", "a place where none belongs"},
		"deep in the assertion":       {"moreAssertion", "<saml:Advice>" + sig + "</saml:Advice>", "a place where none belongs"},
		"of another language":         {"moreStatus", `<x:Signature xmlns:x="urn:x"/>`, "a place where none belongs"},
		"of the assertion, elsewhere": {"moreResponse", sig, "refers to something else"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newParty(t).parse(newDraft().set(map[string]string{c.field: c.xml}).build())
			if err == nil || !strings.Contains(err.Error(), c.words) {
				t.Fatalf("got %v", err)
			}
		})
	}
	two := newDraft()
	two.onAssertion = func(s string) string { return strings.Replace(s, sigStart, sig+sigStart, 1) }
	_, err := newParty(t).parse(two.build())
	wantRefusal(t, err, ReasonMalformed, "two signatures")
}

const sigStart = "<ds:Signature "

func TestSecurityExactlyOneAssertion(t *testing.T) {
	second := newDraft().set(map[string]string{"assertionID": "_a2"})
	for name, more := range map[string]string{
		"a second signed one":          signElement(second.fill(assertionTemplate), signing{}),
		"an encrypted one beside":      encryption{}.wrap("<x/>"),
		"an empty one":                 `<x:Assertion xmlns:x="urn:oasis:names:tc:SAML:2.0:assertion"/>`,
		"one deep in something else":   `<samlp:x><samlp:x><x:Assertion xmlns:x="urn:oasis:names:tc:SAML:2.0:assertion"/></samlp:x></samlp:x>`,
		"one of an unrelated language": `<x:Assertion xmlns:x="urn:x"/>`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newParty(t).parse(newDraft().set(map[string]string{"moreResponse": more}).build())
			wantRefusal(t, err, ReasonMalformed, "exactly one assertion")
		})
	}
	d := newDraft()
	d.onAssertion = func(string) string { return "" }
	_, err := newParty(t).parse(d.build())
	wantRefusal(t, err, ReasonMalformed, "exactly one assertion")
}

// crewjam returns the test data of the Go library crewjam/saml, which its
// module brings along.
func crewjam(t *testing.T, file string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/crewjam/saml").Output()
	if err != nil || strings.TrimSpace(string(out)) == "" {
		t.Skipf("SKIP: the module github.com/crewjam/saml is not in the module cache: %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "testdata", file))
	if err != nil {
		t.Skipf("SKIP: %v", err)
	}
	return raw
}

func TestSecurityCrewjamsWrappingsAndComment(t *testing.T) {
	at := func(s string) time.Time {
		when, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	metadata := "TestSPCanHandleOneloginResponse_IDPMetadata"
	files := map[string]string{"TestSPRejectsInjectedComment_response": "TestSPRejectsInjectedComment_IDPMetadata"}
	for _, n := range []string{"One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"} {
		files["TestXswPermutation"+n+"IsRejected_response"] = metadata
	}
	for file, metadata := range files {
		t.Run(file, func(t *testing.T) {
			idp, err := ParseMetadata(crewjam(t, metadata), "")
			if err != nil {
				t.Fatal(err)
			}
			p := newParty(t, func(c *Config) {
				c.IDP, c.ACSURL, c.EntityID = idp, "https://29ee6d2e.ngrok.io/saml/acs", "https://29ee6d2e.ngrok.io/saml/metadata"
				c.Now = func() time.Time { return at("2016-01-05T17:53:12Z") }
				c.AllowIDPInitiated = true
			})
			raw := string(crewjam(t, file))
			expected := []string{"id-d40c15c104b52691eccf0a2a5c8a15595be75423", "id-fd419a5ab0472645427f8e07d87a3a5dd0b2e9a6"}
			_, err = p.ParseResponse(t.Context(), map[string][]string{"SAMLResponse": {raw}}, expected)
			if ReasonOf(err) == "" {
				t.Fatalf("not refused: %v", err)
			}
			t.Log(err)
			if !strings.HasPrefix(file, "TestSPRejects") {
				return
			}
			// The file is a good response; what that library's test injects:
			doc, err := decodeBase64(raw)
			if err != nil {
				t.Fatal(err)
			}
			for _, injected := range []string{"ross@<!-- and a comment -->octolabs.io", "ross@octolabs.io<!-- and a comment -->.example.com"} {
				forged := strings.Replace(string(doc), "ross@octolabs.io", injected, 1)
				_, err = p.ParseResponse(t.Context(), posted(forged), expected)
				wantRefusal(t, err, ReasonMalformed, "comments are not accepted")
			}
		})
	}
}
