package saml

import (
	"crypto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEncryptedAssertionsAreRead(t *testing.T) {
	oaep11 := func(hash, mgf string) string {
		return `<ds:DigestMethod xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Algorithm="` + hash + `"/><x:MGF xmlns:x="http://www.w3.org/2009/xmlenc11#" Algorithm="http://www.w3.org/2009/xmlenc11#` + mgf + `"/>`
	}
	for name, c := range map[string]struct {
		e        encryption
		response bool
	}{
		"AES-256-GCM":                        {e: encryption{}},
		"AES-128-GCM":                        {e: encryption{algorithm: nsXenc11 + "aes128-gcm"}},
		"key beside the data":                {e: encryption{besideData: true}},
		"OAEP with SHA-256":                  {e: encryption{key: nsXenc11 + "rsa-oaep", hash: crypto.SHA256, method: oaep11(shaNS, "mgf1sha256")}},
		"AES-128-CBC in a signed response":   {encryption{algorithm: nsXenc + "aes128-cbc"}, true},
		"AES-256-CBC in a signed response":   {encryption{algorithm: nsXenc + "aes256-cbc"}, true},
		"AES-256-GCM in a signed response":   {encryption{}, true},
		"key beside, in a signed response":   {encryption{besideData: true}, true},
		"OAEP with the SHA-1 mask, explicit": {e: encryption{method: `<ds:DigestMethod xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Algorithm="` + sha1NS + `"/>`}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDraft()
			d.encrypt = &c.e
			if c.response {
				d.response = &signing{}
			}
			got, err := newParty(t).parse(d.build())
			if err != nil {
				t.Fatal(err)
			}
			want := genuine()
			want.Encrypted = true
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSecurityCBCOnlyUnderASignature(t *testing.T) {
	d := newDraft()
	d.encrypt = &encryption{algorithm: nsXenc + "aes256-cbc"}
	_, err := newParty(t).parse(d.build())
	wantRefusal(t, err, ReasonAlgorithm, "AES-CBC is accepted only inside a signed response")

	// With a signed response a changed ciphertext is never decrypted.
	d.response = &signing{}
	d.onResult = func(s string) string {
		i := strings.LastIndex(s, "</xenc:CipherValue>") - 30
		return s[:i] + "AAAA" + s[i+4:]
	}
	_, err = newParty(t).parse(d.build())
	wantRefusal(t, err, ReasonSignature, "Response")
}

func TestSecurityAllFailuresInsideAreOne(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte {
			b[(at+len(b))%len(b)] ^= 1
			return b
		}
	}
	evil := &testPairs().evil.key.PublicKey
	cbc := nsXenc + "aes128-cbc"
	signed := &signing{}
	for name, change := range map[string]func(*draft){
		"unsigned inside":                  func(d *draft) { d.unsigned = true },
		"unsigned inside, response signed": func(d *draft) { d.unsigned, d.response = true, signed },
		"signed by another":                func(d *draft) { d.assertion.by = testPairs().evil.key },
		"SHA-1 inside":                     func(d *draft) { d.assertion.digest = sha1NS },
		"comment inside": func(d *draft) {
			d.onAssertion = func(s string) string { return strings.Replace(s, ">alice<", ">al<!---->ice<", 1) }
		},
		"DOCTYPE inside": func(d *draft) { d.onAssertion = func(s string) string { return "<!DOCTYPE x>" + s } },
		"not XML inside": func(d *draft) { d.onAssertion = func(string) string { return "x" } },
		"empty inside":   func(d *draft) { d.onAssertion = func(string) string { return "" } },
		"a whole response inside": func(d *draft) {
			d.onAssertion = func(string) string {
				return signElement(strings.Replace(d.fill(responseTemplate), "{assertion}", "", 1), signing{})
			}
		},
		"for another key":      func(d *draft) { d.encrypt.to = evil },
		"changed ciphertext":   func(d *draft) { d.encrypt.change = flip(40) },
		"changed tag":          func(d *draft) { d.encrypt.change = flip(-1) },
		"shorter than a nonce": func(d *draft) { d.encrypt.change = func([]byte) []byte { return []byte{1, 2, 3} } },
		"no ciphertext":        func(d *draft) { d.encrypt.change = func([]byte) []byte { return nil } },
		"CBC, wrong padding":   func(d *draft) { d.encrypt.algorithm, d.response, d.encrypt.change = cbc, signed, flip(-17) },
		"CBC, changed text":    func(d *draft) { d.encrypt.algorithm, d.response, d.encrypt.change = cbc, signed, flip(33) },
		"CBC, no whole blocks": func(d *draft) {
			d.encrypt.algorithm, d.response, d.encrypt.change = cbc, signed, func(b []byte) []byte { return b[1:] }
		},
		"CBC, one block": func(d *draft) {
			d.encrypt.algorithm, d.response, d.encrypt.change = cbc, signed, func(b []byte) []byte { return b[:16] }
		},
		"CBC, for another key":                func(d *draft) { d.encrypt.algorithm, d.response, d.encrypt.to = cbc, signed, evil },
		"OAEP with another hash than it says": func(d *draft) { d.encrypt.hash = crypto.SHA256 },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDraft()
			d.encrypt = &encryption{}
			change(d)
			_, err := newParty(t).parse(d.build())
			wantRefusal(t, err, ReasonUndecryptable, "")
			if want := coded(undecryptable()).Error(); err.Error() != want {
				t.Errorf("another text than the others:\n%v\n%s", err, want)
			}
		})
	}
}

func TestSecurityKeyTransport(t *testing.T) {
	second := encryption{}.wrap("<x/>")
	second = second[strings.Index(second, "<xenc:EncryptedKey"):]
	second = second[:strings.Index(second, "</ds:KeyInfo>")]
	for name, c := range map[string]struct {
		e      encryption
		reason Reason
		words  string
	}{
		"RSA 1.5":          {encryption{key: nsXenc + "rsa-1_5"}, ReasonAlgorithm, "use RSA-OAEP"},
		"unknown mask":     {encryption{key: nsXenc11 + "rsa-oaep", method: `<x:MGF xmlns:x="http://www.w3.org/2009/xmlenc11#" Algorithm="http://www.w3.org/2009/xmlenc11#mgf1md5"/>`}, ReasonAlgorithm, "RSA-OAEP is not accepted"},
		"label":            {encryption{method: `<x:OAEPparams xmlns:x="http://www.w3.org/2001/04/xmlenc#">AAAA</x:OAEPparams>`}, ReasonAlgorithm, "RSA-OAEP is not accepted"},
		"unknown digest":   {encryption{method: `<ds:DigestMethod xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Algorithm="http://www.w3.org/2001/04/xmldsig-more#md5"/>`}, ReasonAlgorithm, "RSA-OAEP is not accepted"},
		"two keys":         {encryption{secondKeyXML: second}, ReasonMalformed, "one encrypted key"},
		"unknown cipher 3": {encryption{algorithm: nsXenc11 + "aes128-ctr-gcm"}, ReasonAlgorithm, "encryption algorithm"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDraft()
			d.encrypt = &c.e
			_, err := newParty(t).parse(d.build())
			wantRefusal(t, err, c.reason, c.words)
		})
	}
	t.Run("no key", func(t *testing.T) {
		d := newDraft()
		d.encrypt = &encryption{besideData: true}
		d.onResult = func(s string) string {
			return s[:strings.Index(s, "<xenc:EncryptedKey")] + s[strings.Index(s, "</xenc:EncryptedKey>")+len("</xenc:EncryptedKey>"):]
		}
		_, err := newParty(t).parse(d.build())
		wantRefusal(t, err, ReasonMalformed, "one encrypted key, not 0")
	})
	t.Run("a key that only signs", func(t *testing.T) {
		p := newParty(t, func(c *Config) { c.Key = signOnly{c.Key} })
		d := newDraft()
		d.encrypt = &encryption{}
		_, err := p.parse(d.build())
		wantRefusal(t, err, ReasonEncryption, "encryption is off here")
		m, err := Metadata(p.c)
		if err != nil || strings.Contains(string(m), `use="encryption"`) {
			t.Errorf("%v: it offers encryption: %s", err, m)
		}
	})
}

func TestSecurityEncryptionAsTheConnectionHasIt(t *testing.T) {
	plain, encrypted := newDraft(), newDraft()
	encrypted.encrypt = &encryption{}
	off := newParty(t, func(c *Config) { c.Encryption = EncryptionOff })
	_, err := off.parse(encrypted.build())
	wantRefusal(t, err, ReasonEncryption, "encryption is off here")
	if m, err := Metadata(off.c); err != nil || strings.Contains(string(m), `use="encryption"`) {
		t.Errorf("%v: it offers encryption: %s", err, m)
	}
	required := newParty(t, func(c *Config) { c.Encryption = EncryptionRequired })
	_, err = required.parse(plain.build())
	wantRefusal(t, err, ReasonEncryption, "this connection requires it")
	if _, err := required.parse(encrypted.build()); err != nil {
		t.Fatal(err)
	}
}

// signOnly is a key in a module that does not decrypt.
type signOnly struct{ crypto.Signer }
