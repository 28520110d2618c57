package e2e

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// browser follows redirects, keeps cookies and sends forms as a browser does
// from a page of the same site.
type browser struct {
	t      testing.TB
	client *http.Client
}

func newBrowser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, &http.Client{Jar: loopbackJar{jar}, Transport: &http.Transport{DisableKeepAlives: true}}}
}

func (b *browser) ask(method, address, form string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, address, strings.NewReader(form))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	res, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res, string(text)
}

// loopbackJar takes loopback for TLS where cookies are concerned, as browsers do.
type loopbackJar struct{ http.CookieJar }

func overTLS(u *url.URL) *url.URL { c := *u; c.Scheme = "https"; return &c }

func (j loopbackJar) Cookies(u *url.URL) []*http.Cookie { return j.CookieJar.Cookies(overTLS(u)) }

func (j loopbackJar) SetCookies(u *url.URL, list []*http.Cookie) {
	j.CookieJar.SetCookies(overTLS(u), list)
}

// The whole story of the local administrator whose password was forgotten, with
// the binary, beside the running server.
func TestAForgottenBreakGlassPasswordIsResetBesideTheRunningServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	reset := func() (string, error) {
		c := exec.CommandContext(t.Context(), binary(t), "break-glass", "reset")
		c.Dir, c.Env = dir, onData(dir)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := reset(); err == nil || !strings.Contains(out, "no such file") {
		t.Errorf("without a database it says %q, %v", out, err)
	}
	s := serve(t, onData(dir), dir, "serve")
	links := regexp.MustCompile(`(http\S+)(/sso/break-glass/setup)\?token=(\S+)`)
	choose := func(said, password string) *browser {
		t.Helper()
		m := links.FindStringSubmatch(said)
		if m == nil {
			t.Fatalf("no link: %s", said)
		}
		b := newBrowser(t)
		b.ask(http.MethodPost, s.url+m[2], url.Values{"token": {m[3]}, "password": {password}, "again": {password}}.Encode())
		if res, text := b.ask(http.MethodGet, s.url+"/api/v1/me", ""); res.StatusCode != http.StatusOK || !strings.Contains(text, "break-glass@gatehouse.invalid") {
			t.Fatalf("%d %s", res.StatusCode, text)
		}
		return b
	}
	signIn := func(password string) string {
		_, text := newBrowser(t).ask(http.MethodPost, s.url+"/sso/break-glass", url.Values{"password": {password}}.Encode())
		return text
	}
	const old, fresh = "the first long password", "the second long password"
	before := choose(s.welcome.String(), old)
	out, err := reset()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if text := signIn(old); !strings.Contains(text, "break_glass_off") {
		t.Errorf("the old password is still good for something: %s", text)
	}
	eventually(t, 20*time.Second, "the session before ends", func() bool {
		res, _ := before.ask(http.MethodGet, s.url+"/api/v1/me", "")
		return res.StatusCode == http.StatusUnauthorized
	})
	after := choose(out, fresh)
	if text := signIn(old); !strings.Contains(text, "The password is wrong") {
		t.Errorf("the old password: %s", text)
	}
	_, audit := after.ask(http.MethodGet, s.url+"/api/v1/audit?action=break-glass.*", "")
	mustContain(t, "the audit", audit, `"break-glass.reset"`, `"system:operator"`)
}
