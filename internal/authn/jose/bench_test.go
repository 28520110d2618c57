package jose

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"testing"
	"time"
)

// BenchmarkToken is what a token costs that was never seen before, in its
// parts. The claims are those of a person with a few groups.
func BenchmarkToken(b *testing.B) {
	const header = `{"alg":"RS256","typ":"JWT","kid":"7c1d2b0e-1f"}`
	const payload = `{"iss":"https://idp.example/realms/acme","aud":"bench","azp":"bench","sub":"9f0c1d7e-6c1b-4a55-8a43-d0b7c4f5a001","typ":"Bearer",` +
		`"iat":1785000000,"nbf":1785000000,"exp":1785003600,"jti":"0b7c4f5a001","email":"ada@example.com","email_verified":true,"name":"Ada Lovelace",` +
		`"groups":["platform-engineering","ml-research","gateway-users","oncall-primary","emea-all-staff"],"scope":"openid profile email groups",` +
		`"realm_access":{"roles":["offline_access","uma_authorization"]}}`
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	input := encode([]byte(header)) + "." + encode([]byte(payload))
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	token := input + "." + encode(signature)
	key := &Key{Kty: "RSA", public: &private.PublicKey}
	parsed, err := Parse(token)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Unix(1785000001, 0)
	for _, part := range []struct {
		name string
		do   func() error
	}{
		{"parse", func() error { _, err := Parse(token); return err }},
		{"times", func() error { return CheckTimes(parsed, now, time.Minute, 0) }},
		{"verify", func() error { return key.Verify(parsed) }},
		{"crypto/rsa", func() error { return rsa.VerifyPKCS1v15(&private.PublicKey, crypto.SHA256, sum[:], signature) }},
	} {
		b.Run(part.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := part.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
