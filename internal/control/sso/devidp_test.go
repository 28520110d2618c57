package sso

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/devidp"
)

// The development identity provider is an OpenID provider that this package
// did not write, with a public client.
func TestSignInAtTheDevelopmentIdentityProvider(t *testing.T) {
	w := newWorld(t, nil)
	w.realTime = true
	server := httptest.NewUnstartedServer(nil)
	issuer := "http://" + server.Listener.Addr().String()
	p, err := devidp.New(devidp.Options{
		Issuer: issuer, Users: []devidp.User{{Email: "admin@example.com", Name: "Admin", Groups: []string{"eng"}}},
		Clients: []devidp.Client{{ID: "console", RedirectURIs: []string{ours + "/sso/dev/callback"}, PostLogoutRedirectURIs: []string{ours + "/sso/signed-out"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = p.Handler()
	server.Start()
	t.Cleanup(server.Close)
	c := w.connection("dev")
	c.Spec.OIDC = &v1.SsoOpenID{Issuer: issuer, ClientID: "console", TokenEndpointAuth: v1.TokenAuthNone}
	w.put(c)
	w.apply("apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: devs}\nspec: {identityProviderGroups: [{ssoConnection: dev, group: eng}]}\n")

	b := w.browser()
	u, _ := url.Parse(b.begin("/sso/dev/login"))
	form := u.Query()
	form.Set("user", "admin@example.com")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	post := func(path string, form url.Values) string {
		resp, err := client.PostForm(issuer+path, form)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.Header.Get("Location")
	}
	if rec := b.get(strings.TrimPrefix(post("/authorize", form), ours)); rec.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	admin, ok := w.userByEmail("admin@example.com")
	if !ok || len(admin.Memberships) != 1 || admin.Memberships[0].Team != "devs" || len(w.live()) != 1 {
		t.Errorf("%+v", admin)
	}
	next, err := w.h.endCurrent(httptest.NewRecorder(), b.api(http.MethodPost))
	if err != nil {
		t.Fatal(err)
	}
	out, _ := url.Parse(next.Location)
	if back := post("/logout", out.Query()); back != ours+"/sso/signed-out" || len(w.live()) != 0 {
		t.Errorf("the sign-out leads to %q", back)
	}
	client.CloseIdleConnections()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
