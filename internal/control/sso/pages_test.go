package sso

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// allPages renders each page once, with texts that would be markup.
func allPages(t *testing.T) map[string]*httptest.ResponseRecorder {
	t.Helper()
	p, err := NewPages()
	if err != nil {
		t.Fatal(err)
	}
	const evil = `"><script>alert(1)</script>`
	out := map[string]*httptest.ResponseRecorder{}
	page := func(name string) http.ResponseWriter { out[name] = httptest.NewRecorder(); return out[name] }
	p.login(page("login"), 200, loginForm{Connections: []loginButton{{evil, "/sso/a/login"}}, ByEmail: true, ReturnTo: evil, Email: evil, Problem: evil, BreakGlass: "/sso/break-glass"})
	p.login(page("login without anything"), 200, loginForm{})
	p.onward(page("onward"), onwardPage{Title: evil, Text: evil, Button: evil, Location: "https://idp.example/?a=" + evil})
	p.postOnward(page("post"), Onward{Location: "https://idp.example/sso", Form: map[string]string{evil: evil}}, postPage{Title: evil, Text: evil, Button: evil})
	p.message(page("message"), 200, messagePage{Title: evil, Text: evil, Link: "/", LinkText: evil})
	p.signOut(page("sign-out"), signOutPage{User: evil})
	p.failed(page("failure"), &Failure{Status: 403, Reason: evil, Title: evil, Text: evil, Change: evil}, "id", evil)
	p.tested(page("test"), testPage{
		Title: evil, Connection: evil, Problem: evil, Change: evil, Reason: evil, Detail: evil, Next: evil, Facts: []fact{{evil, evil}}, Claims: []fact{{evil, evil}},
	})
	p.breakGlass(page("break-glass"), 200, breakGlassForm{ReturnTo: evil, Problem: evil})
	p.setup(page("setup"), 200, setupForm{Token: evil, Problem: evil, Minimum: 14})
	p.Consent(page("consent"), Consent{
		Client: evil, RedirectURI: "http://127.0.0.1:3000/cb", User: evil, Resource: evil, Permissions: []string{evil}, Action: "/oauth2/authorize", Fields: []Field{{evil, evil}},
	})
	return out
}

func TestSecurityPagesHaveAStrictPolicyAndNoScript(t *testing.T) {
	for name, rec := range allPages(t) {
		h, body := rec.Header(), rec.Body.String()
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy %q lacks %s", name, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: headers %v", name, h)
		}
		if strings.Contains(body, "<script") || regexp.MustCompile(`\son[a-z]+=|style=|javascript:`).MatchString(body) {
			t.Errorf("%s has script or inline style:\n%s", name, body)
		}
		_, rest, _ := strings.Cut(body, "<style>")
		style, _, ok := strings.Cut(rest, "</style>")
		sum := sha256.Sum256([]byte(style))
		if !ok || !strings.Contains(csp, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
			t.Errorf("%s: the policy does not permit the page's own style", name)
		}
	}
}

func TestPagesAreUsable(t *testing.T) {
	label := regexp.MustCompile(`<label for="([^"]+)"`)
	input := regexp.MustCompile(`<input id="([^"]+)"`)
	for name, rec := range allPages(t) {
		body := rec.Body.String()
		for _, want := range []string{`<html lang="en">`, `name="viewport"`, "<main>", "<h1>", "Gatehouse</title>", "</html>"} {
			if strings.Count(body, want) != 1 {
				t.Errorf("%s: %q stands there %d times", name, want, strings.Count(body, want))
			}
		}
		labels := map[string]bool{}
		for _, m := range label.FindAllStringSubmatch(body, -1) {
			labels[m[1]] = true
		}
		for _, m := range input.FindAllStringSubmatch(body, -1) {
			if !labels[m[1]] {
				t.Errorf("%s: the field %s has no label", name, m[1])
			}
		}
		if strings.Contains(body, "↑") || strings.Contains(body, "50%") || strings.Contains(body, "circle") {
			t.Errorf("%s has a circle or an upward arrow", name)
		}
	}
}

// luminance is WCAG 2.2's relative luminance.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	hex = strings.TrimPrefix(hex, "#")
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	v, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	channel := func(shift uint) float64 {
		c := float64(v>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(16) + 0.7152*channel(8) + 0.0722*channel(0)
}

func TestColoursMeetWCAGAA(t *testing.T) {
	css, err := files.ReadFile("templates/style.css")
	if err != nil {
		t.Fatal(err)
	}
	themes := regexp.MustCompile(`:root\{([^}]*)\}`).FindAllStringSubmatch(string(css), -1)
	if len(themes) != 2 || !strings.Contains(string(css), "prefers-color-scheme:dark") {
		t.Fatalf("%d themes", len(themes))
	}
	for i, theme := range themes {
		colour := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z-]+):(#[0-9a-f]+)`).FindAllStringSubmatch(theme[1], -1) {
			colour[m[1]] = m[2]
		}
		for _, pair := range []struct {
			front, back string
			least       float64
		}{
			{"text", "page", 4.5},
			{"text", "card", 4.5},
			{"muted", "page", 4.5},
			{"muted", "card", 4.5},
			{"accent", "card", 4.5},
			{"accent", "page", 4.5},
			{"on-accent", "accent", 4.5},
			{"on-accent", "accent-strong", 4.5},
			{"text", "note", 4.5},
			{"bad", "card", 4.5},
			{"line", "card", 3},
			{"note-line", "note", 3},
		} {
			a, b := luminance(t, colour[pair.front]), luminance(t, colour[pair.back])
			if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < pair.least {
				t.Errorf("theme %d: %s on %s has a contrast of %.2f, want %.1f", i, pair.front, pair.back, ratio, pair.least)
			}
		}
	}
}

func TestConsentSaysWhoAsksAndLeadsBackOnlyThere(t *testing.T) {
	p, err := NewPages()
	if err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]string{
		"https://app.example/cb": "form-action 'self' https://app.example", "http://127.0.0.1:3000/cb": "form-action 'self' http://127.0.0.1:3000",
		"cursor://anysphere/cb": "form-action 'self' cursor:", "https://evil.example;script-src": "form-action 'self'", "https://evil.example;script-src *": "form-action 'self'", "%": "form-action 'self'",
	} {
		rec := httptest.NewRecorder()
		p.Consent(rec, Consent{
			Client: "Editor", RedirectURI: uri, User: "ada@example.com", Resource: ours + "/mcp/github", Permissions: []string{"List and call tools."},
			Action: "/oauth2/authorize", Fields: []Field{{"request", "r-1"}},
		})
		if csp := rec.Header().Get("Content-Security-Policy"); !strings.HasSuffix(csp, "; "+want) {
			t.Errorf("%s: %q", uri, csp)
		}
		body := rec.Body.String()
		for _, text := range []string{"<strong>Editor</strong>", "ada@example.com", "List and call tools.", ours + "/mcp/github", `name="request" value="r-1"`, `value="allow"`, `value="deny"`, "nobody here has checked it"} {
			if !strings.Contains(body, text) {
				t.Errorf("%s: the page lacks %s:\n%s", uri, text, body)
			}
		}
	}
	rec := httptest.NewRecorder()
	p.Consent(rec, Consent{Client: "x", Verified: true})
	if strings.Contains(rec.Body.String(), "nobody here has checked it") {
		t.Error("a verified application gets the warning")
	}
}

func TestTheSignInPage(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) { c.Spec.DisplayName = "Acme & Sons" })
	b := w.browser()
	body := b.get("/sso/login?return_to=/console/teams").Body.String()
	for _, want := range []string{"Login with SSO", "Acme &amp; Sons", `href="/sso/main/login?return_to=%2Fconsole%2Fteams"`, `type="email"`, `value="/console/teams"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s:\n%s", want, body)
		}
	}
	rec := b.get("/sso/login?email=Ada@MAIN.example&return_to=/x")
	if want := `/sso/main/login?login_hint=ada%40main.example&amp;return_to=%2Fx`; rec.Code != 200 || strings.Count(rec.Body.String(), want) != 2 {
		t.Errorf("want a page that goes on to %s:\n%s", want, rec.Body)
	}
	for email, code := range map[string]int{"ada@nowhere.example": 200, "nonsense": 400} {
		if rec := b.get("/sso/login?email=" + email); rec.Code != code || !strings.Contains(rec.Body.String(), `role="alert"`) {
			t.Errorf("%s: %d %s", email, rec.Code, rec.Body)
		}
	}
	if rec := b.get("/sso/nothing/here"); rec.Code != http.StatusNotFound {
		t.Error(rec.Code)
	}
	empty := newWorld(t, func(c *v1.SsoConnection) { c.Spec.Enabled = false })
	if body := fmt.Sprint(empty.browser().get("/sso/login").Body); !strings.Contains(body, "not set up here yet") {
		t.Error(body)
	}
}
