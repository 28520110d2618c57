package sso

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

func TestKeysAreFetchedSeldomAndRotate(t *testing.T) {
	w := newWorld(t, nil)
	in := func() bool { return w.browser().signIn().Code == http.StatusSeeOther }
	for range 3 {
		if !in() {
			t.Fatal("no sign-in")
		}
	}
	if w.idp.keyCalls != 1 {
		t.Errorf("the keys were fetched %d times", w.idp.keyCalls)
	}
	old := w.idp.key
	w.idp.script(func() { w.idp.key, w.idp.kid = newKey(), "k2" })
	if !in() || w.idp.keyCalls != 2 {
		t.Errorf("a new key: %d fetches", w.idp.keyCalls)
	}
	// Unknown kids cost one fetch in half a minute.
	forged := &scriptedIDP{key: old, kid: "k9"}
	w.idp.script(func() { w.idp.idToken = func(c map[string]any) string { return forged.sign(c, "JWT") } })
	for range 5 {
		if in() {
			t.Error("a key that is not there verifies")
		}
	}
	if w.idp.keyCalls != 2 {
		t.Errorf("unknown keys cost %d fetches", w.idp.keyCalls-2)
	}
	w.pass(missPause)
	if in(); w.idp.keyCalls != 3 {
		t.Errorf("%d fetches after the pause", w.idp.keyCalls)
	}
}

func TestSecurityAKeyThatWasTakenAwayStopsWorking(t *testing.T) {
	w := newWorld(t, nil)
	w.browser().signIn()
	old := &scriptedIDP{key: w.idp.key, kid: "k1"}
	w.idp.script(func() {
		w.idp.key, w.idp.kid = newKey(), "k2"
		w.idp.idToken = func(c map[string]any) string { return old.sign(c, "JWT") }
	})
	w.pass(keysLife)
	n := len(w.live())
	if rec := w.browser().signIn(); !strings.Contains(rec.Body.String(), "id_token_signature") || len(w.live()) != n {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestSecurityAChangedConnectionTrustsNothingOfTheOldOne(t *testing.T) {
	w := newWorld(t, nil)
	w.browser().signIn()
	p, err := w.h.oidc.provider(w.connection("main"))
	if err != nil || p.keys == nil {
		t.Fatalf("%v: no keys were kept", err)
	}
	for name, change := range map[string]func(*v1.SsoConnection){
		"issuer":             func(c *v1.SsoConnection) { c.Spec.OIDC.Issuer = "https://another.example" },
		"key set":            func(c *v1.SsoConnection) { c.Spec.OIDC.JWKSURL = "https://another.example/jwks" },
		"network":            func(c *v1.SsoConnection) { c.Spec.AllowPrivateNetwork = true },
		"another connection": func(c *v1.SsoConnection) { c.UID = "uid-another" },
	} {
		c := w.connection("main")
		change(c)
		if other, err := w.h.oidc.provider(c); err != nil || other == p || other.keys != nil {
			t.Errorf("%s: %v, the keys are still there", name, err)
		}
	}
}

func TestSecurityAProvidersCAIsItsOwn(t *testing.T) {
	w := newWorld(t, nil)
	server := httptest.NewTLSServer(w.idp.Config.Handler)
	t.Cleanup(server.Close)
	w.idp.discovery = func(d map[string]any) { d["issuer"] = server.URL }
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(ca), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		ca     *v1.CACert
		check  func(path, manager string) error
		reason string
	}{
		{"none", nil, nil, "provider_away"},
		{"in the manifest", &v1.CACert{PEM: ca}, nil, ""},
		{"a file where none may be named", &v1.CACert{File: file}, nil, "ca_unreadable"},
		{"a file that may not be named", &v1.CACert{File: file}, func(string, string) error { return errors.New("no") }, "ca_unreadable"},
		{"a file that may be", &v1.CACert{File: file}, func(path, _ string) error {
			if path != file {
				return errors.New(path)
			}
			return nil
		}, ""},
	} {
		w.h.opt.CheckFile = tc.check
		w.h.oidc.close()
		w.pass(time.Minute)
		c := w.connection("main")
		c.Spec.OIDC.Issuer, c.Spec.CACert = server.URL, tc.ca
		w.put(c)
		rec := w.browser().get("/sso/main/login")
		if tc.reason == "" && rec.Code != http.StatusSeeOther || tc.reason != "" && !strings.Contains(rec.Body.String(), tc.reason) {
			t.Errorf("%s: %d %s", tc.name, rec.Code, rec.Body)
		}
	}
}
