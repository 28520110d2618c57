package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/testkit"
)

const breakGlassPassword = "correct horse battery"

// emergency is a Gatehouse of which somebody has followed the printed link.
func emergency(t *testing.T, environ ...string) (*testkit.Gatehouse, *browser) {
	t.Helper()
	g := testkit.Start(t, testkit.Options{Environ: environ})
	m := regexp.MustCompile(`/sso/break-glass/setup\?token=(\S+)`).FindStringSubmatch(g.Out())
	if m == nil {
		t.Fatalf("no link: %s", g.Out())
	}
	b := newBrowser(t)
	b.ask(http.MethodPost, g.URL()+"/sso/break-glass/setup", url.Values{"token": {m[1]}, "password": {breakGlassPassword}, "again": {breakGlassPassword}}.Encode())
	if res, text := b.ask(http.MethodGet, g.URL()+"/api/v1/me", ""); res.StatusCode != http.StatusOK || !strings.Contains(text, `"admin":true`) {
		t.Fatalf("%d %s", res.StatusCode, text)
	}
	return g, b
}

func TestSecurityStrangersBehindAProxyDoNotShutTheEmergencyDoor(t *testing.T) {
	t.Parallel()
	g, _ := emergency(t, "GATEHOUSE_SERVER_TRUSTED_PROXIES=127.0.0.1/32")
	from := func(addr, path, password string) int {
		return g.Do(t, testkit.Request{Method: http.MethodPost, Path: path, Body: url.Values{"password": {password}}.Encode(), Header: http.Header{
			"X-Forwarded-For": {addr}, "Sec-Fetch-Site": {"same-origin"}, "Content-Type": {"application/x-www-form-urlencoded"},
		}}).Status
	}
	refused := map[int]int{}
	for n := range 70 { // addresses of one network
		refused[from(fmt.Sprintf("2001:db8::%x", n+1), "/sso/break-glass", "wrong, wrong, wrong")]++
	}
	if refused[http.StatusForbidden] != 5 || refused[http.StatusTooManyRequests] != 65 {
		t.Errorf("one network's passwords get %v", refused)
	}
	if status := from("192.0.2.9", "/sso/break-glass", breakGlassPassword); status >= http.StatusBadRequest {
		t.Errorf("the right password from elsewhere gets %d", status)
	}
}

func TestSecuritySwitchingOffTheLocalAdministratorEndsItsSession(t *testing.T) {
	t.Parallel()
	g, b := emergency(t)
	off := "apiVersion: gatehouse.dev/v1\nkind: TenantSettings\nmetadata: {name: default}\nspec: {breakGlass: disabled}\n"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL()+"/api/v1/apply", strings.NewReader(off))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/yaml")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	applied, err := b.client.Do(req)
	if err != nil || applied.StatusCode != http.StatusOK {
		t.Fatalf("%v %+v", err, applied)
	}
	applied.Body.Close()
	if res, text := b.ask(http.MethodGet, g.URL()+"/api/v1/me", ""); res.StatusCode != http.StatusUnauthorized || strings.Contains(text, `"admin"`) {
		t.Errorf("%d %s", res.StatusCode, text)
	}
	if res, _ := newBrowser(t).ask(http.MethodPost, g.URL()+"/sso/break-glass", url.Values{"password": {breakGlassPassword}}.Encode()); res.StatusCode != http.StatusNotFound {
		t.Errorf("the door: %d", res.StatusCode)
	}
}
