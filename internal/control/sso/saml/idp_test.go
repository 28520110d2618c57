package saml

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"hash"
	"html"
	"maps"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	testIDP     = "https://idp.example.com/metadata"
	testSP      = "https://gatehouse.example.com/sso/saml/main/metadata"
	testACS     = "https://gatehouse.example.com/sso/saml/main/acs"
	testSLO     = "https://gatehouse.example.com/sso/saml/main/slo"
	testRequest = "id-open"
	shaNS       = "http://www.w3.org/2001/04/xmlenc#sha256"
	sha1NS      = "http://www.w3.org/2000/09/xmldsig#sha1"
)

// pair is a key with its certificate.
type pair struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

func newPair(now time.Time) pair {
	k, c, err := GenerateKeyPair(now)
	if err != nil {
		panic(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(c)
	if err != nil {
		panic(err)
	}
	return pair{key.(*rsa.PrivateKey), cert}
}

// The keys of the tests: ours, the identity provider's, and an attacker's.
var testPairs = sync.OnceValue(func() (p struct{ sp, idp, evil pair }) {
	var wg sync.WaitGroup
	for _, to := range []*pair{&p.sp, &p.idp, &p.evil} {
		wg.Go(func() { *to = newPair(testNow()) })
	}
	wg.Wait()
	return p
})

func testNow() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// claims is a store of one-time ids.
type claims struct {
	mu    sync.Mutex
	taken map[string]time.Time
	fail  error
}

func (c *claims) claim(_ context.Context, scope, id string, until time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return c.fail
	}
	key := scope + " " + id
	if _, had := c.taken[key]; had {
		return identity.Errorf(identity.CodeConflict, "taken")
	}
	c.taken[key] = until
	return nil
}

// party is a service provider and what it has claimed.
type party struct {
	*ServiceProvider
	claims *claims
}

func testConfig() Config {
	return Config{
		EntityID: testSP, ACSURL: testACS, SLOURL: testSLO,
		Key: testPairs().sp.key, Certificate: testPairs().sp.cert,
		IDP: IDP{
			EntityID: testIDP, SSOURL: "https://idp.example.com/sso?tenant=1", SLOURL: "https://idp.example.com/slo",
			Certificates: []*x509.Certificate{testPairs().idp.cert},
		},
		Now: testNow,
	}
}

func newParty(t testing.TB, change ...func(*Config)) party {
	t.Helper()
	c, store := testConfig(), &claims{taken: map[string]time.Time{}}
	c.Claim = store.claim
	for _, f := range change {
		f(&c)
	}
	sp, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return party{sp, store}
}

func (p party) parse(raw string) (Assertion, error) {
	return p.ParseResponse(context.Background(), posted(raw), []string{"id-earlier", testRequest})
}

func posted(raw string) url.Values {
	return url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString([]byte(raw))}}
}

// signing says how the test identity provider signs; the zero value is the way
// that is accepted.
type signing struct {
	by         *rsa.PrivateKey
	method     string // signature algorithm
	digest     string
	transforms string // XML; the two good ones when empty
	c14n       string // of SignedInfo
	uri        *string
	references string // XML before the reference
	keyInfo    string // XML
	object     string // XML after everything
}

func hashOf(algorithm string) (crypto.Hash, func() hash.Hash) {
	switch {
	case strings.HasSuffix(algorithm, "sha1"):
		return crypto.SHA1, sha1.New
	case strings.HasSuffix(algorithm, "sha512"):
		return crypto.SHA512, crypto.SHA512.New
	default:
		return crypto.SHA256, crypto.SHA256.New
	}
}

const goodTransforms = `<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>` +
	`<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>`

// signElement returns the XML of an element with a signature after its Issuer.
// It makes every part itself, so that every part can be made wrong.
func signElement(raw string, s signing) string {
	el := mustTree(raw)
	if s.by == nil {
		s.by = testPairs().idp.key
	}
	s.method, s.digest = or(s.method, dsig.RSASHA256SignatureMethod), or(s.digest, shaNS)
	s.c14n, s.transforms = or(s.c14n, "http://www.w3.org/2001/10/xml-exc-c14n#"), or(s.transforms, goodTransforms)
	uri := "#" + el.SelectAttrValue("ID", "")
	if s.uri != nil {
		uri = *s.uri
	}
	canonical := func(algorithm string, el *etree.Element) []byte {
		c := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
		if !strings.Contains(algorithm, "xml-exc-c14n#") {
			c = dsig.MakeC14N10RecCanonicalizer()
		}
		b, err := c.Canonicalize(el.Copy())
		if err != nil {
			panic(err)
		}
		return b
	}
	_, digest := hashOf(s.digest)
	h := digest()
	h.Write(canonical(s.transforms, el))
	info := `<ds:SignedInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:CanonicalizationMethod Algorithm="` + s.c14n + `"/>` +
		`<ds:SignatureMethod Algorithm="` + s.method + `"/>` + s.references + `<ds:Reference URI="` + uri + `"><ds:Transforms>` + s.transforms +
		`</ds:Transforms><ds:DigestMethod Algorithm="` + s.digest + `"/><ds:DigestValue>` +
		base64.StdEncoding.EncodeToString(h.Sum(nil)) + `</ds:DigestValue></ds:Reference></ds:SignedInfo>`
	which, sum := hashOf(s.method)
	h = sum()
	h.Write(canonical(s.c14n, mustTree(info)))
	value, err := rsa.SignPKCS1v15(rand.Reader, s.by, which, h.Sum(nil))
	if err != nil {
		panic(err)
	}
	sig := `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">` + info + `<ds:SignatureValue>` +
		base64.StdEncoding.EncodeToString(value) + `</ds:SignatureValue>` + s.keyInfo + s.object + `</ds:Signature>`
	at := 1
	if el.SelectElement("Issuer") == nil {
		at = 0
	}
	el.InsertChildAt(at, mustTree(sig))
	return text(el)
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func mustTree(raw string) *etree.Element {
	el, err := parseTree([]byte(raw))
	if err != nil {
		panic(err.Error() + ": " + raw)
	}
	return el
}

func text(el *etree.Element) string {
	raw, err := serialize(el)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// draft is a response before it is signed: fields of two templates.
type draft struct {
	fields                map[string]string
	assertion             signing
	unsigned              bool // the assertion is
	response              *signing
	encrypt               *encryption
	onAssertion, onResult func(string) string // after signing
}

const assertionTemplate = `<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="{assertionID}" IssueInstant="{issued}" Version="2.0">` +
	`<saml:Issuer>{issuer}</saml:Issuer><saml:Subject>{nameID}<saml:SubjectConfirmation Method="{method}"><saml:SubjectConfirmationData {scd}/></saml:SubjectConfirmation>{moreSubject}</saml:Subject>` +
	`<saml:Conditions NotBefore="{notBefore}" NotOnOrAfter="{notOnOrAfter}">{conditions}</saml:Conditions>` +
	`<saml:AuthnStatement AuthnInstant="{authenticated}" SessionIndex="s-1"{session}><saml:AuthnContext><saml:AuthnContextClassRef>{acr}</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>` +
	`<saml:AttributeStatement>{attributes}</saml:AttributeStatement>{moreAssertion}</saml:Assertion>`

const responseTemplate = `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:xs="http://www.w3.org/2001/XMLSchema" ID="{responseID}" Version="2.0" IssueInstant="{issued}" {destination} {inResponseTo}>` +
	`<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{responseIssuer}</saml:Issuer><samlp:Status><samlp:StatusCode Value="{status}"/>{moreStatus}</samlp:Status>{assertion}{moreResponse}</samlp:Response>`

const goodAttributes = `<saml:Attribute Name="email"><saml:AttributeValue xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string" xmlns:xs="http://www.w3.org/2001/XMLSchema">alice@example.com</saml:AttributeValue></saml:Attribute>` +
	`<saml:Attribute Name="groups"><saml:AttributeValue>eng</saml:AttributeValue><saml:AttributeValue>R&amp;D</saml:AttributeValue></saml:Attribute>` +
	`<saml:Attribute Name="groups"><saml:AttributeValue>ops</saml:AttributeValue></saml:Attribute>`

func at(d time.Duration) string { return testNow().Add(d).Format("2006-01-02T15:04:05.000Z") }

func newDraft() *draft {
	return &draft{fields: map[string]string{
		"assertionID": "_a1", "responseID": "_r1", "issued": at(0), "issuer": testIDP, "responseIssuer": testIDP,
		"nameID": `<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">alice</saml:NameID>`,
		"method": methodBearer, "scd": fmt.Sprintf(`InResponseTo="%s" Recipient="%s" NotOnOrAfter="%s"`, testRequest, testACS, at(5*time.Minute)),
		"notBefore": at(-time.Minute), "notOnOrAfter": at(6 * time.Minute),
		"conditions":    `<saml:AudienceRestriction><saml:Audience>https://other.example.com</saml:Audience><saml:Audience>` + testSP + `</saml:Audience></saml:AudienceRestriction>`,
		"authenticated": at(-10 * time.Minute), "session": "", "acr": "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
		"attributes": goodAttributes, "moreAssertion": "", "moreSubject": "", "moreStatus": "", "moreResponse": "",
		"destination": `Destination="` + testACS + `"`, "inResponseTo": `InResponseTo="` + testRequest + `"`, "status": statusSuccess,
	}}
}

// set replaces fields of the draft; scd is easier replaced in part.
func (d *draft) set(fields map[string]string) *draft {
	maps.Copy(d.fields, fields)
	return d
}

func (d *draft) fill(template string) string {
	for k, v := range d.fields {
		template = strings.ReplaceAll(template, "{"+k+"}", v)
	}
	return template
}

// build makes the response as it goes over the wire, before base64.
func (d *draft) build() string {
	a := d.fill(assertionTemplate)
	if !d.unsigned {
		a = signElement(a, d.assertion)
	}
	if d.onAssertion != nil {
		a = d.onAssertion(a)
	}
	if d.encrypt != nil {
		a = d.encrypt.wrap(a)
	}
	out := strings.Replace(d.fill(responseTemplate), "{assertion}", a, 1)
	if d.response != nil {
		out = signElement(out, *d.response)
	}
	if d.onResult != nil {
		out = d.onResult(out)
	}
	return out
}

// encryption says how the test identity provider encrypts.
type encryption struct {
	algorithm    string // after the namespace; aes256-gcm when empty
	key          string // key transport algorithm
	to           *rsa.PublicKey
	change       func(ciphertext []byte) []byte
	method       string // XML inside the key's EncryptionMethod
	hash         crypto.Hash
	besideData   bool
	secondKeyXML string
}

func (e encryption) wrap(plain string) string {
	algorithm := or(e.algorithm, nsXenc11+"aes256-gcm")
	size := map[string]int{"128": 16, "256": 32}[algorithm[strings.Index(algorithm, "#aes")+4:][:3]]
	key := make([]byte, size)
	_, _ = rand.Read(key)
	block, _ := aes.NewCipher(key)
	var ciphertext []byte
	if strings.HasSuffix(algorithm, "gcm") {
		aead, _ := cipher.NewGCM(block)
		nonce := make([]byte, aead.NonceSize())
		_, _ = rand.Read(nonce)
		ciphertext = aead.Seal(nonce, nonce, []byte(plain), nil)
	} else {
		padding := 16 - len(plain)%16
		padded := append([]byte(plain), make([]byte, padding)...)
		padded[len(padded)-1] = byte(padding)
		ciphertext = make([]byte, 16+len(padded))
		_, _ = rand.Read(ciphertext[:16])
		cipher.NewCBCEncrypter(block, ciphertext[:16]).CryptBlocks(ciphertext[16:], padded)
	}
	if e.change != nil {
		ciphertext = e.change(ciphertext)
	}
	to := e.to
	if to == nil {
		to = &testPairs().sp.key.PublicKey
	}
	if e.hash == 0 {
		e.hash = crypto.SHA1
	}
	wrapped, err := rsa.EncryptOAEP(e.hash.New(), rand.Reader, to, key, nil)
	if err != nil {
		panic(err)
	}
	encryptedKey := `<xenc:EncryptedKey xmlns:xenc="http://www.w3.org/2001/04/xmlenc#"><xenc:EncryptionMethod Algorithm="` + or(e.key, nsXenc+"rsa-oaep-mgf1p") + `">` + e.method + `</xenc:EncryptionMethod>` +
		`<xenc:CipherData><xenc:CipherValue>` + base64.StdEncoding.EncodeToString(wrapped) + `</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey>`
	inside, beside := `<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">`+encryptedKey+e.secondKeyXML+`</ds:KeyInfo>`, ""
	if e.besideData {
		inside, beside = "", encryptedKey
	}
	return `<saml:EncryptedAssertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"><xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" Type="http://www.w3.org/2001/04/xmlenc#Element">` +
		`<xenc:EncryptionMethod Algorithm="` + algorithm + `"/>` + inside + `<xenc:CipherData><xenc:CipherValue>` + base64.StdEncoding.EncodeToString(ciphertext) +
		`</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>` + beside + `</saml:EncryptedAssertion>`
}

// certInfo is a KeyInfo with a certificate.
func certInfo(c *x509.Certificate) string {
	return `<ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + html.EscapeString(base64.StdEncoding.EncodeToString(c.Raw)) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo>`
}

// wantRefusal fails unless err refuses for the reason, with the words in its
// detail: so a test fails when its rule is gone and another one refuses.
func wantRefusal(t *testing.T, err error, reason Reason, words string) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted")
	}
	if ReasonOf(err) != reason || !strings.Contains(err.Error(), words) {
		t.Fatalf("refused with %v\nwant %s with %q", err, reason, words)
	}
	if identity.CodeOf(err) != identity.CodeInvalidToken {
		t.Fatalf("code %s", identity.CodeOf(err))
	}
}
