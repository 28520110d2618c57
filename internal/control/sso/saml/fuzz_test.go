package saml

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fuzzed are the signed documents that FuzzParseResponse changes. They are made
// in each process: keys are not kept in the repository.
func fuzzed() []string {
	plain, both, gcm, cbc := newDraft(), newDraft(), newDraft(), newDraft()
	both.response = &signing{}
	gcm.encrypt = &encryption{}
	cbc.encrypt, cbc.response = &encryption{algorithm: nsXenc + "aes128-cbc"}, &signing{}
	return []string{plain.build(), both.build(), gcm.build(), cbc.build()}
}

// FuzzParseResponse changes signed responses: it cuts a piece out, puts another
// in, and moves one. Nothing may panic, and whatever is accepted must say
// exactly what the identity provider signed.
func FuzzParseResponse(f *testing.F) {
	docs := fuzzed()
	good := docs[0]
	at := func(s string) uint32 { return uint32(strings.Index(good, s)) }
	assertion := good[at("<saml:Assertion"):at("</samlp:Response>")]
	f.Add(uint8(0), at(">alice<")+1, uint16(5), uint32(0), uint16(0), []byte("mallory"))
	f.Add(uint8(0), at("<saml:Assertion"), uint16(0), uint32(0), uint16(0), []byte(strings.ReplaceAll(assertion, "alice", "mallory")))
	f.Add(uint8(0), at("<samlp:Status>"), uint16(0), at("<ds:Signature "), uint16(1400), []byte("<!-- -->"))
	f.Add(uint8(1), at("Destination"), uint16(0), uint32(0), uint16(0), []byte(`xmlns:x="urn:x" `))
	f.Add(uint8(2), uint32(900), uint16(3), uint32(0), uint16(0), []byte("AAA"))
	f.Add(uint8(3), uint32(2500), uint16(3), uint32(0), uint16(0), []byte("AAA"))
	f.Add(uint8(0), uint32(0), uint16(65535), uint32(0), uint16(0), []byte(`<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"/>`))
	f.Fuzz(func(t *testing.T, which uint8, position uint32, cut uint16, from uint32, length uint16, insert []byte) {
		doc := docs[int(which)%len(docs)]
		piece := func(at uint32, n uint16) (int, int) {
			i := int(at) % (len(doc) + 1)
			return i, min(len(doc), i+int(n))
		}
		i, j := piece(position, cut)
		k, l := piece(from, length)
		got, err := newParty(t).parse(doc[:i] + string(insert) + doc[k:l] + doc[j:])
		if err != nil {
			return
		}
		want := genuine()
		want.ResponseID, want.Encrypted = got.ResponseID, got.Encrypted // not the assertion's
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("accepted what was not signed: %s", diff)
		}
	})
}

// FuzzParseMetadata never panics on an administrator's paste.
func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(idpMetadata("")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		idp, err := ParseMetadata(raw, "")
		if err == nil && (idp.EntityID == "" && idp.SSOURL == "" || len(idp.Certificates) == 0) {
			t.Errorf("accepted an identity provider without what it takes: %+v", idp)
		}
	})
}
