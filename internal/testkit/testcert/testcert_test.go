package testcert_test

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/testkit/testcert"
)

func TestACertificateIsBelievedByItsAuthorityForItsHostsAlone(t *testing.T) {
	ca, other := testcert.NewCA("a test"), testcert.NewCA("a test")
	get := func(pair testcert.Pair, trusted *testcert.CA) error {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{pair.TLS()}}
		s.StartTLS()
		defer s.Close()
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted.Pool()}}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Get(s.URL)
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}
	if err := get(ca.Server(1, "127.0.0.1", "localhost"), ca); err != nil {
		t.Error(err)
	}
	if get(ca.Server(1, "127.0.0.1"), other) == nil {
		t.Error("an authority of the same name is believed")
	}
	if get(ca.Server(1, "localhost"), ca) == nil {
		t.Error("a certificate for another host is believed")
	}
}

func TestAPairIsReadFromItsFiles(t *testing.T) {
	for name, pair := range map[string]testcert.Pair{"server": testcert.NewCA("a test").Server(7, "127.0.0.1"), "RSA": testcert.RSA("a test")} {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		if err := pair.Write(cert, key); err != nil {
			t.Fatal(err)
		}
		read, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := read.Leaf.SerialNumber.Int64(); n != 7 && name == "server" {
			t.Errorf("serial number %d", n)
		}
	}
}
