package keyring

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/testkit/testcert"
)

// authority makes a CA and a certificate for 127.0.0.1 signed by it.
func authority(name string) (caPEM []byte, server tls.Certificate) {
	ca := testcert.NewCA(name)
	return ca.PEM, ca.Server(1, "127.0.0.1").TLS()
}

type tlsIdP struct {
	*httptest.Server
	cert atomic.Pointer[tls.Certificate]
	keys atomic.Pointer[string]
}

func (i *tlsIdP) serve(cert tls.Certificate, kids ...string) {
	doc := keySetOf(kids...)
	i.keys.Store(&doc)
	i.cert.Store(&cert)
}

func newTLSIdP(t *testing.T) *tlsIdP {
	i := &tlsIdP{}
	i.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "well-known") {
			_, _ = io.WriteString(w, `{"issuer":"`+i.URL+`","jwks_uri":"`+i.URL+`/jwks"}`)
			return
		}
		_, _ = io.WriteString(w, *i.keys.Load())
	}))
	i.Config.ErrorLog = log.New(io.Discard, "", 0)
	i.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*i.cert.Load()}}, nil
	}}
	i.StartTLS()
	t.Cleanup(i.Close)
	return i
}

func TestSecurityACAIsTrustedForItsProviderAlone(t *testing.T) {
	i := newTLSIdP(t)
	ca, cert := authority("Acme test CA")
	i.serve(cert, "a1")
	r := New(Options{})
	defer r.Close()
	other, _ := authority("Another CA")
	r.Reconcile([]Source{
		{UID: "u1", Name: "with", Issuer: i.URL, CAPEM: ca},
		{UID: "u2", Name: "without", Issuer: i.URL},
		{UID: "u3", Name: "wrong", Issuer: i.URL, CAPEM: other},
		{UID: "u4", Name: "broken", Issuer: i.URL, CAPEM: []byte("no certificate")},
	})
	wantKnown(t, r, "a1")
	for _, uid := range []string{"u2", "u3", "u4"} {
		if _, err := r.Lookup(context.Background(), uid, "a1"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", uid, err)
		}
	}
	says := map[string]string{"without": "system's authorities", "wrong": "only caCert in the manifest", "broken": "no PEM certificate", "with": ""}
	for _, st := range r.Status() {
		if !strings.Contains(st.LastError, says[st.Name]) || (says[st.Name] == "") != (st.LastError == "") {
			t.Errorf("%s: %q does not say %q", st.Name, st.LastError, says[st.Name])
		}
		if st.Name == "wrong" && !strings.Contains(st.LastError, "Acme test CA") {
			t.Errorf("%q does not say who issued the certificate", st.LastError)
		}
	}
}

func TestAChangedCAFileCountsFromTheNextFetch(t *testing.T) {
	i := newTLSIdP(t)
	first, cert := authority("first")
	i.serve(cert, "a1")
	file := filepath.Join(t.TempDir(), "ca.pem")
	write := func(pem []byte) {
		if err := os.WriteFile(file, pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	r := New(Options{})
	defer r.Close()
	r.Reconcile([]Source{{UID: "u1", Name: "acme", JWKSURLs: []string{i.URL + "/jwks"}, CAFile: file}})
	wantKnown(t, r, "a1")

	second, cert := authority("second")
	i.serve(cert, "a1", "b2")
	write(second)
	wantKnown(t, r, "b2")
	if st := r.Status()[0]; st.TrustedCA != file {
		t.Errorf("%+v", st)
	}
}

func TestSecurityACARemovedFromTheFileIsTrustedNoLonger(t *testing.T) {
	i := newTLSIdP(t)
	first, cert := authority("first")
	i.serve(cert, "a1")
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, first, 0o600); err != nil {
		t.Fatal(err)
	}
	r := New(Options{})
	defer r.Close()
	r.Reconcile([]Source{{UID: "u1", Name: "acme", JWKSURLs: []string{i.URL + "/jwks"}, CAFile: file}})
	wantKnown(t, r, "a1")
	second, _ := authority("second")
	if err := os.WriteFile(file, second, 0o600); err != nil {
		t.Fatal(err)
	}
	i.serve(cert, "a1", "b2")
	wantUnavailable(t, r, "b2")
	wantKnown(t, r, "a1")
	if st := r.Status()[0]; !strings.Contains(st.LastError, file) || !strings.Contains(st.LastError, `"CN=first"`) {
		t.Errorf("%q", st.LastError)
	}
}

func TestSecurityAPublicIssuerCannotSendUsToLoopback(t *testing.T) {
	i := newTLSIdP(t)
	_, cert := authority("x")
	i.serve(cert, "a1")
	p := Source{Issuer: "https://idp.example"}.policy()
	if p.AllowLoopback {
		t.Error("a public issuer must not reach loopback")
	}
	if !(Source{Issuer: i.URL}).policy().AllowLoopback {
		t.Error("an issuer on loopback must")
	}
}
