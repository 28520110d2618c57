package real

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

//go:embed browser.mjs
var browserScript string

// ChromiumBrowser is a running headless Chromium. It reaches nothing but this
// machine.
type ChromiumBrowser struct {
	url    string
	shots  string
	client *http.Client
}

// Chromium starts one, by Playwright. Screenshots go to the folder that
// GATEHOUSE_TEST_SCREENSHOTS names, or to one that goes with the test.
func Chromium(t testing.TB) *ChromiumBrowser {
	t.Helper()
	bin, packages := need(t, "chromium").values["bin"], need(t, "playwright").values["dir"]
	dir, port := t.TempDir(), freePort(t)
	b := &ChromiumBrowser{url: fmt.Sprintf("http://127.0.0.1:%d/", port), shots: os.Getenv("GATEHOUSE_TEST_SCREENSHOTS"), client: newClient(t, nil)}
	if b.shots == "" {
		b.shots = t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(dir, "browser.mjs"), []byte(browserScript), 0o600); err != nil {
		t.Fatal(err)
	}
	rig, err := json.Marshal(map[string]any{"port": port, "bin": bin, "packages": packages})
	if err != nil {
		t.Fatal(err)
	}
	proc := start(t, spec{name: "chromium", dir: dir, argv: []string{NodeBin(t), "browser.mjs"}, env: []string{"RIG=" + string(rig), "HOME=" + dir}})
	proc.waitHTTP(t, b.client, b.url, 60*time.Second)
	return b
}

// PageOptions say what kind of browser a page is in.
type PageOptions struct {
	NoScript bool // JavaScript is switched off
	Phone    bool // 390 by 760 pixels
	Dark     bool // the dark colour scheme
}

// Page is one window with cookies of its own. Each method fails the test where
// what it does is not possible within 15 seconds.
type Page struct {
	b  *ChromiumBrowser
	t  testing.TB
	id string
}

// Page opens one; it is closed when the test ends.
func (b *ChromiumBrowser) Page(t testing.TB, o PageOptions) *Page {
	t.Helper()
	q := map[string]any{"op": "open", "noScript": o.NoScript, "dark": o.Dark}
	if o.Phone {
		q["width"], q["height"] = 390, 760
	}
	p := &Page{b: b, t: t}
	p.call(q, &p.id)
	t.Cleanup(func() { p.call(map[string]any{"op": "close"}, nil) })
	return p
}

func (p *Page) call(q map[string]any, out any) {
	p.t.Helper()
	q["page"] = p.id
	raw, err := json.Marshal(q)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := p.b.client.Post(p.b.url, "application/json", bytes.NewReader(raw))
	if err != nil {
		p.t.Fatalf("the browser: %v", err)
	}
	defer res.Body.Close()
	var answer struct {
		Value json.RawMessage
		Error string
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		p.t.Fatalf("the browser: %v", err)
	}
	if answer.Error != "" {
		p.t.Fatalf("%v %v: %s", q["op"], q["text"], answer.Error)
	}
	if out != nil {
		if err := json.Unmarshal(answer.Value, out); err != nil {
			p.t.Fatalf("the browser: %v", err)
		}
	}
}

func (p *Page) op(op, text, value string, out any) {
	p.t.Helper()
	p.call(map[string]any{"op": op, "text": text, "value": value}, out)
}

// Goto opens an address and returns the status of the answer at its end.
func (p *Page) Goto(address string) (status int) {
	p.t.Helper()
	p.op("goto", address, "", &status)
	return status
}

// Click presses the button or link with exactly this name.
func (p *Page) Click(name string) { p.t.Helper(); p.op("click", name, "", nil) }

// ClickAt presses the first element of a CSS selector, on pages of others.
func (p *Page) ClickAt(selector string) { p.t.Helper(); p.op("select", selector, "", nil) }

// Fill writes into the field with exactly this label.
func (p *Page) Fill(label, value string) { p.t.Helper(); p.op("fill", label, value, nil) }

// FillAt writes into the first field of a CSS selector, on pages of others.
func (p *Page) FillAt(selector, value string) { p.t.Helper(); p.op("fillAt", selector, value, nil) }

// TabTo presses Tab until the control of this name or label has the focus.
func (p *Page) TabTo(name string) { p.t.Helper(); p.op("tabTo", name, "", nil) }

// Press presses a key, such as Enter.
func (p *Page) Press(key string) { p.t.Helper(); p.op("press", key, "", nil) }

// Type writes by keyboard into what has the focus.
func (p *Page) Type(text string) { p.t.Helper(); p.op("type", text, "", nil) }

// AwaitURL waits until the page is at an address that begins so.
func (p *Page) AwaitURL(prefix string) { p.t.Helper(); p.op("awaitURL", prefix, "", nil) }

// Await waits until an element of a CSS selector is shown.
func (p *Page) Await(selector string) { p.t.Helper(); p.op("await", selector, "", nil) }

// Text is what the page shows.
func (p *Page) Text() (text string) { p.t.Helper(); p.op("text", "", "", &text); return text }

// URL is where the page is.
func (p *Page) URL() (address string) { p.t.Helper(); p.op("url", "", "", &address); return address }

// Shot takes a screenshot of the whole page as NAME.png.
func (p *Page) Shot(name string) {
	p.t.Helper()
	p.op("shot", filepath.Join(p.b.shots, name+".png"), "", nil)
}

// Snapshot is the page as assistive technology has it.
func (p *Page) Snapshot() (tree string) { p.t.Helper(); p.op("snapshot", "", "", &tree); return tree }

// Inspect lists what is wrong with the page: controls without a name or out of
// the keyboard's reach, a focus that cannot be seen, contrast below WCAG AA,
// text or controls that are cut off or too small.
func (p *Page) Inspect() (wrong []string) {
	p.t.Helper()
	p.op("inspect", "", "", &wrong)
	return wrong
}

// Cookie is one of the window's cookies.
type Cookie struct {
	Name, Value, Domain, Path, SameSite string
	HTTPOnly                            bool `json:"httpOnly"`
	Secure                              bool
}

// Cookies are all of them, those of other sites too.
func (p *Page) Cookies() (list []Cookie) { p.t.Helper(); p.op("cookies", "", "", &list); return list }

// Complaints are what the browser has written as errors into its console since
// they were last asked for: what a policy blocked stands there.
func (p *Page) Complaints() (list []string) { p.t.Helper(); p.op("said", "", "", &list); return list }

// SignInProvider starts npm oidc-provider with sign-in pages, where anybody
// signs in with any password and is ID@example.com, in the group eng, and
// returns its issuer. client is its one client (RFC 7591).
func SignInProvider(t testing.TB, client map[string]any) (issuer string) {
	t.Helper()
	c := need(t, "oidc-provider")
	dir, port := t.TempDir(), freePort(t)
	issuer = fmt.Sprintf("http://127.0.0.1:%d", port)
	script, err := os.ReadFile(filepath.Join(RepoRoot(t), "internal", "control", "sso", "testdata", "signin-provider.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "provider.mjs"), script, 0o600); err != nil {
		t.Fatal(err)
	}
	// Node resolves packages from where the script lies.
	if err := os.Symlink(filepath.Join(c.values["dir"], "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	rig, err := json.Marshal(map[string]any{"port": port, "issuer": issuer, "client": client})
	if err != nil {
		t.Fatal(err)
	}
	proc := start(t, spec{name: "signin-provider", dir: dir, argv: []string{NodeBin(t), "provider.mjs"}, env: []string{"RIG=" + string(rig)}})
	proc.waitHTTP(t, newClient(t, nil), issuer+"/.well-known/openid-configuration", 30*time.Second)
	return issuer
}

// AddSignInClient registers a confidential client of the realm for signing in
// at the connection `keycloak` of a Gatehouse, as docs/sso/keycloak.md has it,
// and returns its secret.
func (k *KeycloakServer) AddSignInClient(t testing.TB, id, gatehouse string) (secret string) {
	t.Helper()
	sso := strings.TrimRight(gatehouse, "/") + "/sso/"
	k.admin(t, http.MethodPost, "/clients", map[string]any{
		"clientId": id, "name": "Gatehouse", "protocol": "openid-connect", "publicClient": false, "standardFlowEnabled": true,
		"directAccessGrantsEnabled": false, "redirectUris": []string{sso + "keycloak/callback"},
		"attributes": map[string]string{
			"pkce.code.challenge.method": "S256", "post.logout.redirect.uris": sso + "signed-out",
			"backchannel.logout.url": sso + "keycloak/backchannel-logout", "backchannel.logout.session.required": "true",
		},
		"protocolMappers": []map[string]any{{
			"name": "groups", "protocol": "openid-connect", "protocolMapper": "oidc-group-membership-mapper",
			"config": map[string]string{"claim.name": "groups", "full.path": "false", "id.token.claim": "true", "access.token.claim": "false", "userinfo.token.claim": "true"},
		}},
	}, nil)
	var made struct{ Value string }
	k.admin(t, http.MethodGet, "/clients/"+k.idOf(t, "/clients?clientId="+url.QueryEscape(id), "clientId", id)+"/client-secret", nil, &made)
	return made.Value
}

// SignOutUser ends all sessions of a user, as an administrator does in the
// console; clients hear of it by back-channel logout.
func (k *KeycloakServer) SignOutUser(t testing.TB, user string) {
	t.Helper()
	k.admin(t, http.MethodPost, "/users/"+k.userID(t, user)+"/logout", nil, nil)
}
