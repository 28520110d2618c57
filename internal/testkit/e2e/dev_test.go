package e2e

import (
	"net/http"
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
