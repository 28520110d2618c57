package real

import (
	"path/filepath"
	"testing"
)

// Commands are lines of a shell after which kcadm.sh can be called, and asks
// for no password.
func (k *KeycloakServer) Commands(t testing.TB) string {
	t.Helper()
	return "export PATH=" + filepath.Join(need(t, "keycloak").values["home"], "bin") + ":$PATH JAVA_HOME=" + k.java +
		" KC_CLI_PASSWORD=admin KC_OPTS=-XX:TieredStopAtLevel=1\n" // it ends before a better compiler would pay
}
