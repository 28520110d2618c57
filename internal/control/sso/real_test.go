//go:build real

package sso

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// loopbackJar sends Secure cookies to loopback over plain http, as browsers do.
type loopbackJar struct{ *cookiejar.Jar }

func (j loopbackJar) SetCookies(u *url.URL, list []*http.Cookie) {
	for _, c := range list {
		c.Secure = false
	}
	j.Jar.SetCookies(u, list)
}

// visitor is somebody at a browser without JavaScript: follows redirects, links
// and forms.
type visitor struct {
	t      *testing.T
	client *http.Client
	at     *url.URL
	body   string
}

func newVisitor(t *testing.T) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &visitor{t: t, client: &http.Client{Jar: loopbackJar{jar}, Transport: tr, Timeout: 20 * time.Second}}
}

func (v *visitor) do(r *http.Request) {
	v.t.Helper()
	resp, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	v.at, v.body = resp.Request.URL, string(body)
	if resp.StatusCode >= 400 {
		v.t.Fatalf("%s answered %d:\n%s", v.at, resp.StatusCode, v.body)
	}
}

func (v *visitor) get(address string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	v.do(r)
}

// submit posts the first form of the page with its hidden fields and more.
func (v *visitor) submit(more url.Values) {
	v.t.Helper()
	action := regexp.MustCompile(`<form[^>]*action="([^"]+)"`).FindStringSubmatch(v.body)
	if action == nil {
		v.t.Fatalf("%s has no form:\n%s", v.at, v.body)
	}
	form := url.Values{}
	for _, m := range regexp.MustCompile(`<input[^>]*type="hidden"[^>]*>`).FindAllString(v.body, -1) {
		name := regexp.MustCompile(`name="([^"]*)"`).FindStringSubmatch(m)
		value := regexp.MustCompile(`value="([^"]*)"`).FindStringSubmatch(m)
		if name != nil && value != nil {
			form.Set(name[1], value[1])
		}
	}
	for k, list := range more {
		form[k] = list
	}
	to, err := v.at.Parse(strings.ReplaceAll(action[1], "&amp;", "&"))
	if err != nil {
		v.t.Fatal(err)
	}
	v.post(to.String(), form)
}

func (v *visitor) post(to string, form url.Values) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", v.at.Scheme+"://"+v.at.Host)
	v.do(r)
}

// follow goes where the page's button leads.
func (v *visitor) follow() {
	v.t.Helper()
	m := regexp.MustCompile(`<a class="button" href="([^"]+)"`).FindStringSubmatch(v.body)
	if m == nil {
		v.t.Fatalf("%s has no button:\n%s", v.at, v.body)
	}
	to, err := v.at.Parse(strings.ReplaceAll(m[1], "&amp;", "&"))
	if err != nil {
		v.t.Fatal(err)
	}
	v.get(to.String())
}

// startProvider runs testdata/signin-provider.mjs and waits for it.
func startProvider(t *testing.T, base string) string {
	t.Helper()
	packages, node, dir := real.Node(t, "oidc-provider"), real.NodeBin(t), t.TempDir()
	script, err := os.ReadFile("testdata/signin-provider.mjs")
	if err != nil {
		t.Fatal(err)
	}
	// Node resolves packages from where the script lies.
	for _, err := range []error{
		os.Symlink(filepath.Join(packages, "node_modules"), filepath.Join(dir, "node_modules")),
		os.WriteFile(filepath.Join(dir, "provider.mjs"), script, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	issuer := fmt.Sprintf("http://127.0.0.1:%d", port)
	rig, _ := json.Marshal(map[string]any{"port": port, "issuer": issuer, "client": map[string]any{
		"client_id": "gatehouse", "client_secret": "a secret/with+signs", "redirect_uris": []string{base + "/sso/main/callback"},
		"post_logout_redirect_uris": []string{base + "/sso/signed-out"},
		"backchannel_logout_uri":    base + "/sso/main/backchannel-logout", "backchannel_logout_session_required": true,
	}})
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, node, "provider.mjs")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "RIG="+string(rig))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the provider's log:\n%s", log.String())
		}
	})
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 600 {
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = conn.Close()
			return issuer
		}
		<-tick.C
	}
	t.Fatal("the provider does not listen")
	return ""
}

// realWorld is a handler on a listener, connected to npm oidc-provider.
func realWorld(t *testing.T) (w *world, base, issuer string) {
	t.Helper()
	w = newWorld(t, nil)
	w.realTime = true
	mux := http.NewServeMux()
	mux.HandleFunc("/console/", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "the console") })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	opt := w.h.opt
	opt.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	opt.ExternalURL, opt.Secret = server.URL, func(*v1.SsoConnection) (string, error) { return "a secret/with+signs", nil }
	h, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	w.h = h
	mux.Handle("/sso/", h)
	issuer = startProvider(t, server.URL)
	c := w.connection("main")
	c.Spec.OIDC.Issuer, c.Spec.OIDC.ClientID = issuer, "gatehouse"
	w.put(c)
	return w, server.URL, issuer
}

// signInAt goes through the pages of both sides.
func (v *visitor) signInAt(base string) {
	v.t.Helper()
	v.get(base + "/sso/login?return_to=/console/&email=ada@main.example")
	v.follow()
	v.submit(url.Values{"login": {"ada"}, "password": {"any"}})
	v.submit(nil) // consent
	if v.at.String() != base+"/console/" || v.body != "the console" {
		v.t.Fatalf("the sign-in ended at %s:\n%s", v.at, v.body)
	}
}

func TestRealSignInAndSignOut(t *testing.T) {
	w, base, issuer := realWorld(t)
	v := newVisitor(t)
	v.signInAt(base)
	u, ok := w.userByEmail("ada@example.com")
	if !ok || len(u.Memberships) != 1 || u.Memberships[0].Team != "research" || u.Memberships[0].Source != "sso:"+issuer || u.DisplayName != "Ada" {
		t.Fatalf("%+v", u)
	}
	if list := w.live(); len(list) != 1 || list[0].Subject != "ada" {
		t.Fatalf("%+v", list)
	}
	v.post(base+"/sso/logout", nil)
	if len(w.live()) != 0 {
		t.Error("the session is alive")
	}
	v.follow() // to the provider
	if !strings.HasPrefix(v.at.String(), issuer+"/session/end") {
		t.Fatalf("at %s:\n%s", v.at, v.body)
	}
	v.submit(url.Values{"logout": {"yes"}})
	if !strings.HasPrefix(v.at.String(), base+"/sso/signed-out") || !strings.Contains(v.body, "You are signed out") {
		t.Fatalf("at %s:\n%s", v.at, v.body)
	}
	// Signed out there too: the provider asks who it is again.
	v.get(base + "/sso/main/login?return_to=/console/")
	if !strings.Contains(v.body, `name="password"`) {
		t.Errorf("the provider still knows the person:\n%s", v.body)
	}
}

func TestRealBackchannelLogout(t *testing.T) {
	w, base, issuer := realWorld(t)
	here, there := newVisitor(t), newVisitor(t)
	here.signInAt(base)
	there.signInAt(base)
	list := w.live()
	if len(list) != 2 || list[0].ProviderSession == "" || list[0].ProviderSession == list[1].ProviderSession {
		t.Fatalf("%+v", list)
	}
	// Somebody signs out at the provider, and Gatehouse hears of it.
	here.get(issuer + "/session/end")
	here.submit(url.Values{"logout": {"yes"}})
	var ended []identity.Session
	for _, s := range w.sessions {
		if s.EndedAt != nil {
			ended = append(ended, s)
		}
	}
	if len(ended) != 1 || ended[0].EndedBy != "back-channel" || len(w.live()) != 1 {
		t.Fatalf("ended %+v, alive %d", ended, len(w.live()))
	}
}

func TestRealSAMLSignIn(t *testing.T) {
	w := newSAMLWorld(t, nil)
	w.mu.Lock()
	w.now, w.realTime = time.Now(), true
	w.mu.Unlock()
	idp := real.SAMLP(t, real.SAMLOptions{
		ACSURL: ours + "/sso/corp/saml/acs", SPCertificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.cert.Raw})), NameID: "grace",
		Attributes: map[string]any{"email": "grace@example.com", "groups": []string{"staff", "R&D <ops>"}, "name": "Grace"},
	})
	c := &v1.SsoConnection{Spec: v1.SsoConnectionSpec{
		Enabled: true, Protocol: v1.SsoSAML, Users: v1.UsersCreate, EmailDomains: v1.Strings{"example.com"}, SAML: &v1.SsoSaml{MetadataURL: idp.EntityID()},
	}}
	c.APIVersion, c.Kind, c.Name, c.UID, c.ResourceVersion = v1.APIVersion, v1.KindSsoConnection, "corp", "uid-corp", "2"
	w.put(c)
	b := w.browser()
	rec := b.get("/sso/corp/login?return_to=/console/")
	if rec.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	status, form := idp.SignIn(t, rec.Header().Get("Location"), nil)
	if status != http.StatusOK {
		t.Fatalf("samlp answered %d %v", status, form)
	}
	response, err := base64.StdEncoding.DecodeString(form.Get("SAMLResponse"))
	if err != nil {
		t.Fatal(err)
	}
	if rec := b.answer(string(response), form.Get("RelayState")); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/console/" {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	u, ok := w.userByEmail("grace@example.com")
	if !ok || u.DisplayName != "Grace" || len(u.Memberships) != 1 || u.Memberships[0].Team != "corp" || u.Identities[0].Issuer != idp.EntityID() {
		t.Errorf("%+v", u)
	}
}
