package testcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// Everything works from an hour ago, for clocks that differ, to a day from now.
const before, after = time.Hour, 24 * time.Hour

// must is for what nothing but a mistake in this package keeps from working.
func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("testcert: %v", err))
	}
	return v
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func template(name string, serial *big.Int) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-before), NotAfter: now.Add(after),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// CA is a certificate authority.
type CA struct {
	// PEM is its certificate.
	PEM  []byte
	cert *x509.Certificate
	key  crypto.Signer
}

// NewCA makes an authority. Each has a key of its own, also where two have the
// same name.
func NewCA(name string) *CA {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := template(name, must(rand.Int(rand.Reader, big.NewInt(1<<62))))
	c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
	der := must(x509.CreateCertificate(rand.Reader, c, c, key.Public(), key))
	return &CA{PEM: block("CERTIFICATE", der), cert: must(x509.ParseCertificate(der)), key: key}
}

// Pool trusts this authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Server signs the certificate of a server for IP addresses and host names.
func (ca *CA) Server(serial int64, hosts ...string) Pair {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := template("a server", big.NewInt(serial))
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, host)
		}
	}
	der := must(x509.CreateCertificate(rand.Reader, c, ca.cert, key.Public(), ca.key))
	return Pair{Cert: block("CERTIFICATE", der), Key: block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))}
}

// Pair is a certificate and its key, in PEM.
type Pair struct{ Cert, Key []byte }

// TLS is the pair as a server of ours presents it.
func (p Pair) TLS() tls.Certificate { return must(tls.X509KeyPair(p.Cert, p.Key)) }

// Write puts the pair where a process reads it; nobody else may.
func (p Pair) Write(certFile, keyFile string) error {
	return errors.Join(os.WriteFile(certFile, p.Cert, 0o600), os.WriteFile(keyFile, p.Key, 0o600))
}

// RSA makes a key that signs XML, in the form that every stack reads (PKCS #1),
// and a certificate that it has signed itself.
func RSA(name string) Pair {
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	c := template(name, big.NewInt(1))
	der := must(x509.CreateCertificate(rand.Reader, c, c, key.Public(), key))
	return Pair{Cert: block("CERTIFICATE", der), Key: block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))}
}
