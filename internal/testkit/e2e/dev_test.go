package e2e

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/testkit"
)

func TestDevAnswersTheAdminAndRefusesTheMember(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Dev: true})
	admin, member := g.DevToken(t, "admin@example.com"), g.DevToken(t, "member@example.com")
	if res := g.Chat(t, admin, "echo/large"); res.Status != http.StatusOK || !strings.Contains(res.Body, "Who is asking?") {
		t.Errorf("admin, echo/large: %d %s", res.Status, res.Body)
	}
	if res := g.Chat(t, member, "echo/small"); res.Status != http.StatusOK {
		t.Errorf("member, echo/small: %d %s", res.Status, res.Body)
	}
	res := g.Chat(t, member, "echo/large")
	if res.Status != http.StatusForbidden || !strings.Contains(res.Body, "model_not_permitted") || !strings.Contains(res.Body, "model:use") {
		t.Errorf("member, echo/large: %d %s", res.Status, res.Body)
	}
	if got, want := g.Models(t, admin), "echo/large echo/small"; got != want {
		t.Errorf("the admin's models are %q, want %q", got, want)
	}
	if got, want := g.Models(t, member), "echo/small"; got != want {
		t.Errorf("the member's models are %q, want %q", got, want)
	}
}

// What the page on single sign-on says about trying a connection, with the
// development identity provider's.
func TestAConnectionIsTriedByTheCommandOfThePage(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Dev: true})
	command := strings.Replace(blockWith(t, filepath.Join(root, "docs/sso/README.md"), "gatehouse test-sign-in"), "keycloak", "dev", 1)
	as := func(user string) string {
		return "export GATEHOUSE_URL=" + g.URL() + " GATEHOUSE_TOKEN=" + g.DevToken(t, user) + " PATH=$PWD/bin:$PATH\n"
	}
	if out := shell(t, t.TempDir(), as("member@example.com"), "! "+command); !strings.Contains(out, "sso-connection:update") {
		t.Errorf("a member makes a link: %s", out)
	}
	link := strings.TrimSpace(shell(t, t.TempDir(), as("admin@example.com"), strings.TrimSpace(command)+" 2>/dev/null"))
	if !strings.HasPrefix(link, g.URL()+"/sso/dev/login?test=") {
		t.Fatalf("it prints %q", link)
	}
	ask := newBrowser(t).ask
	res, _ := ask(http.MethodGet, link, "")
	provider, form := *res.Request.URL, res.Request.URL.Query()
	provider.RawQuery = ""
	form.Set("user", "member@example.com")
	_, page := ask(http.MethodPost, provider.String(), form.Encode())
	mustContain(t, "the page of the test", page, "The test worked", "member@example.com", "Nobody was signed in")
	if res, _ := ask(http.MethodGet, g.URL()+"/api/v1/me", ""); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("/api/v1/me answers %d: somebody is signed in", res.StatusCode)
	}
}
