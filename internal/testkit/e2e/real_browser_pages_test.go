//go:build real

package e2e

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/control/sso"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// failures are the sign-ins that come to nothing, each with a page that says
// what to do.
func (s *signIns) failures(t *testing.T) {
	lab := func(secret string) string {
		return "  oidc: {issuer: \"" + s.openid + "\", clientId: gatehouse, clientSecret: {value: " + secret + "}}\n"
	}
	s.Apply(t, docs(
		connection("wrong-secret", "  enabled: true\n  users: create\n"+lab("not-the-secret")),
		connection("invited", "  enabled: true\n  users: existing\n"+lab("a-development-secret")),
		connection("away", "  enabled: true\n  oidc: {issuer: \"http://"+freeAddress(t)+"\", clientId: x, clientSecret: {value: x}}\n"),
	))
	for _, c := range []struct {
		name, connection string
		do               func(*real.Page)
		want             []string
	}{
		{"client-refused", "wrong-secret", func(p *real.Page) { s.atLab(p, "ada") }, []string{"client_refused", "needs its administrator", "For the administrator", "client secret"}},
		{"provider-away", "away", nil, []string{"provider_away", "try again in a moment"}},
		{"access-denied", "lab", func(p *real.Page) { p.AwaitURL(s.openid); p.ClickAt("text=Cancel") }, []string{"access_denied", "You are not signed in", "you cancelled"}},
		{"no-account", "invited", func(p *real.Page) { s.atLab(p, "stranger") }, []string{"not_mapped", "you are not a user here"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, o := range map[string]real.PageOptions{"light": {}, "phone-dark": {Phone: true, Dark: true, NoScript: true}} {
				p := s.browser.Page(t, o)
				p.Goto(s.URL() + "/sso/" + c.connection + "/login")
				if c.do != nil {
					c.do(p)
				}
				p.Await("text=Code for your administrator")
				mustContain(t, c.name, p.Text(), c.want...)
				if strings.Contains(p.Text(), "not-the-secret") {
					t.Error("the page shows the secret")
				}
				fine(t, p, "failure-"+c.name+"-"+name)
				p.TabTo("Back to sign-in")
				p.Press("Enter")
				p.AwaitURL(s.URL() + "/sso/login")
				if status, _ := whoIs(t, p, s.URL()); status != http.StatusUnauthorized {
					t.Errorf("there is a session: %d", status)
				}
				uncomplaining(t, p, s.URL())
			}
		})
	}
}

// tests are sign-ins at connections that are not enabled: tried, and nobody is
// signed in.
func (s *signIns) tests(t *testing.T) {
	try := func(p *real.Page, secret string) {
		s.Apply(t, docs(
			connection("tried", "  displayName: Trial\n  users: create\n  oidc: {issuer: \""+s.openid+"\", clientId: gatehouse, clientSecret: {value: "+secret+"}}\n"),
			team1("trial", "tried", "eng"),
		))
		var made struct{ URL string }
		s.Do(t, testkit.Request{Method: http.MethodPost, Path: "/api/v1/sso-connections/tried/test-sign-ins", Token: s.Admin}).JSON(t, &made)
		p.Goto(made.URL)
		s.atLab(p, "ada")
	}
	for name, o := range map[string]real.PageOptions{"light": {}, "phone-dark": {Phone: true, Dark: true, NoScript: true}} {
		p := s.browser.Page(t, o)
		try(p, "a-development-secret")
		p.Await("text=The test worked")
		mustContain(t, "the page of a test", p.Text(), "Nobody was signed in", "ada@example.com", "trial", "What the identity provider has sent", "set spec.enabled to true")
		fine(t, p, "test-worked-"+name)
		if status, _ := whoIs(t, p, s.URL()); status != http.StatusUnauthorized {
			t.Errorf("there is a session: %d", status)
		}
		p.Goto(s.URL() + "/sso/tried/login")
		mustContain(t, "the sign-in of a connection that is not enabled", p.Text(), "no_connection")
		uncomplaining(t, p, s.URL())

		p = s.browser.Page(t, o)
		try(p, "not-the-secret")
		p.Await("text=The test failed")
		mustContain(t, "the page of a test that failed", p.Text(), "client_refused", "What to change", "client secret")
		fine(t, p, "test-failed-"+name)
	}
}

// breakGlass is the first start of an installation: the link that it prints
// makes the local administrator, once.
func breakGlass(t *testing.T, b *real.ChromiumBrowser) {
	g := testkit.Start(t, testkit.Options{})
	link := regexp.MustCompile(`http\S+/sso/break-glass/setup\?token=\S+`).FindString(g.Out())
	if link == "" {
		t.Fatalf("no link is printed:\n%s", g.Out())
	}
	p := b.Page(t, real.PageOptions{NoScript: true})
	p.Goto(g.URL() + "/sso/login")
	mustContain(t, "a new installation's sign-in page", p.Text(), "not set up here yet")
	fine(t, p, "login-first-start")
	p.Goto(link)
	fine(t, p, "break-glass-setup")
	p.Fill("Password", "correct horse battery")
	p.Fill("The same password again", "correct horse batteries")
	p.Click("Set password and sign in")
	p.Await("[role=alert]")
	fine(t, p, "break-glass-setup-problem")
	p.Fill("Password", "correct horse battery")
	p.Fill("The same password again", "correct horse battery")
	p.Click("Set password and sign in")
	p.AwaitURL(g.URL() + "/console/")
	status, who := whoIs(t, p, g.URL())
	if status != http.StatusOK || !who.Admin || who.Via != "session" || who.Email != "break-glass@gatehouse.invalid" {
		t.Fatalf("%d %+v", status, who)
	}
	signOut(t, p, g.URL())
	signedOut(t, p, g.URL())
	p.Goto(link)
	mustContain(t, "the link a second time", p.Text(), "This link has been used")
	fine(t, p, "break-glass-link-used")

	phone := b.Page(t, real.PageOptions{Phone: true, Dark: true})
	phone.Goto(g.URL() + "/sso/login")
	phone.Click("Local administrator (break-glass)")
	fine(t, phone, "break-glass-phone-dark")
	phone.Fill("Password", "wrong horse battery")
	phone.Click("Sign in")
	phone.Await("[role=alert]")
	fine(t, phone, "break-glass-wrong-password")
	phone.TabTo("Password")
	phone.Type("correct horse battery")
	phone.Press("Enter")
	phone.AwaitURL(g.URL() + "/console/")
	if status, who := whoIs(t, phone, g.URL()); status != http.StatusOK || !who.Admin {
		t.Errorf("%d %+v", status, who)
	}
	uncomplaining(t, p, g.URL())
	uncomplaining(t, phone, g.URL())
}

// consent shows the page that our authorization server will show, and sends its
// answer on to an application at another origin, as that will.
func consent(t *testing.T, b *real.ChromiumBrowser) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("<!doctype html><title>app</title><p>the application has " + r.URL.Query().Get("code")))
	}))
	t.Cleanup(app.Close)
	pages, err := sso.NewPages()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, _ *http.Request) {
		pages.Consent(w, sso.Consent{
			Client: "Acme Code Editor", RedirectURI: app.URL + "/callback", User: "ada@example.com", Resource: "https://gatehouse.acme.com/mcp/github",
			Permissions: []string{"List and call the tools of github, as you.", "Stay connected until you end it."},
			Action:      "/authorize", Fields: []sso.Field{{Name: "request", Value: "r-1"}},
		})
	})
	mux.HandleFunc("POST /authorize", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, app.URL+"/callback?code="+r.FormValue("decision")+"-"+r.FormValue("request"), http.StatusSeeOther)
	})
	us := httptest.NewServer(mux)
	t.Cleanup(us.Close)
	base := strings.Replace(us.URL, "127.0.0.1", "localhost", 1) // another site than the application's
	for name, o := range map[string]real.PageOptions{"light": {}, "phone-dark": {Phone: true, Dark: true, NoScript: true}} {
		for button, answer := range map[string]string{"Allow": "allow-r-1", "Do not allow": "deny-r-1"} {
			p := b.Page(t, o)
			p.Goto(base + "/authorize")
			fine(t, p, "consent-"+name)
			p.TabTo(button)
			p.Press("Enter")
			p.AwaitURL(app.URL + "/callback")
			mustContain(t, button, p.Text(), "the application has "+answer)
			uncomplaining(t, p, base)
		}
	}
}
