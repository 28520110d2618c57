package saml

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

const (
	keyBits      = 3072
	minKeyBits   = 2048
	certLifetime = 10 // years; the certificate only carries the key
)

// GenerateKeyPair makes the service provider's key, which signs requests and
// decrypts assertions, and the self-signed certificate that carries it in the
// metadata: RSA 3072, valid for ten years from an hour before now. The key is
// PKCS #8, both are DER. The key is a secret: the caller seals it.
func GenerateKeyPair(now time.Time) (key, certificate []byte, err error) {
	k, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, nil, fmt.Errorf("saml: generate a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, fmt.Errorf("saml: generate a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Gatehouse SAML service provider"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(certLifetime, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		BasicConstraintsValid: true,
	}
	certificate, err = x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		return nil, nil, fmt.Errorf("saml: make the certificate: %w", err)
	}
	key, err = x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, fmt.Errorf("saml: encode the key: %w", err)
	}
	return key, certificate, nil
}
