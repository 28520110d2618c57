package e2e

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/testkit"
)

// The last admin going must not bring the one-time token back to life.
func TestSecurityTheBootstrapTokenDoesNotComeBackWhenTheAdminGoes(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Manifests: `
apiVersion: gatehouse.dev/v1
kind: VirtualAccount
metadata: {name: chief}
spec: {}
`})
	file := g.BootstrapFile()
	made := g.Do(t, testkit.Request{Path: "/api/v1/virtual-accounts/chief/tokens", Token: g.Admin, Body: `{"name":"t"}`})
	var token struct{ Token string }
	made.JSON(t, &token)
	g.Apply(t, `
apiVersion: gatehouse.dev/v1
kind: RoleBinding
metadata: {name: chief}
spec: {subjects: [virtual-account:chief], role: tenant-admin, resources: [tenant]}
`)
	if res := g.Do(t, testkit.Request{Path: "/api/v1/me", Token: g.Admin}); res.Status != http.StatusUnauthorized {
		t.Errorf("with an admin the one-time token gets %d, want 401", res.Status)
	}
	eventually(t, 5*time.Second, "the file of the one-time token is gone", func() bool {
		_, err := os.Stat(file)
		return errors.Is(err, fs.ErrNotExist)
	})
	eventually(t, 5*time.Second, "the one-time token is revoked", func() bool {
		res := g.Do(t, testkit.Request{Path: "/api/v1/audit?limit=20", Token: token.Token})
		return strings.Contains(res.Body, "token.revoke")
	})
	res := g.Do(t, testkit.Request{Method: http.MethodDelete, Path: "/api/v1/role-bindings/chief?takeOver=true", Token: token.Token})
	if res.Status != http.StatusNoContent && res.Status != http.StatusOK {
		t.Fatalf("removing the only admin: %d %s", res.Status, res.Body)
	}
	if res := g.Do(t, testkit.Request{Path: "/api/v1/me", Token: g.Admin}); res.Status != http.StatusUnauthorized {
		t.Errorf("without an admin again the one-time token gets %d, want 401", res.Status)
	}
}
