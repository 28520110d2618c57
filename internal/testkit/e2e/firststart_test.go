package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/devidp"
)

// readmesManifest is the README's first.yaml with an issuer and a provider that
// are on this machine.
func readmesManifest(t *testing.T, page string, idp *company) string {
	t.Helper()
	manifest := blockWith(t, page, "kind: IdentityProvider")
	for old, now := range map[string]string{
		"https://login.acme.com/realms/acme":              idp.Issuer(),
		"  provider: openai\n":                            "  provider: echo\n",
		"  credentials: {apiKey: {value: sk-your-key}}\n": "",
	} {
		if !strings.Contains(manifest, old) {
			t.Fatalf("the README's first.yaml lacks %q", old)
		}
		manifest = strings.Replace(manifest, old, now, 1)
	}
	return manifest
}

// The README's three steps, with its own file and its own commands; only the
// issuer and the provider, which are somebody else's, stand on loopback, and
// the ports are free ones.
func TestAnEmptyMachineReachesItsFirstCallByTheReadmesWordsAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	idp := newCompany(t, "you@acme.com", "member@acme.com")
	page := filepath.Join(root, "README.md")
	write(t, filepath.Join(dir, "first.yaml"), readmesManifest(t, page, idp))

	// Step 1: the folder of the database does not exist.
	mustContain(t, "the README's first step", blockWith(t, page, "gatehouse serve"), "GATEHOUSE_DATABASE_URL=sqlite://$PWD/data/gatehouse.db")
	environ := onData(dir, "GATEHOUSE_DATABASE_URL=sqlite://"+filepath.Join(dir, "data", "gatehouse.db"))
	s := serve(t, environ, dir, "serve")
	file := filepath.Join(dir, "data", "bootstrap.token")
	st, err := os.Stat(file)
	if err != nil || st.Mode().Perm() != 0o600 || s.bootstrap != file {
		t.Fatalf("bootstrap file %v %v, announced as %q", st, err, s.bootstrap)
	}
	bootstrap := s.admin(t)
	if strings.Contains(s.log.String()+s.welcome.String(), bootstrap) {
		t.Error("the one-time token was printed")
	}

	// Step 2: as printed, but for the port.
	commands := blockWith(t, page, "apply -f first.yaml --dry-run")
	script := strings.ReplaceAll(commands, "http://127.0.0.1:8080", s.url)
	out := shell(t, dir, "", script)
	mustContain(t, "apply", out, "identity-provider/company created (dry run)", "identity-provider/company created\n", "provider-account/openai-main created\n", "role-binding/first-admin created\n")

	// Until the first admin is there the one-time token works.
	if res := send(t, http.MethodGet, s.url+"/api/v1/me", bootstrap, ""); res.status != 200 {
		t.Errorf("the bootstrap token before the first admin's call: %d %s", res.status, res.body)
	}
	// Somebody else's first call ends nothing.
	if res := chat(t, s.url, idp.token("member@acme.com", devidp.MintOptions{}), "openai-main/gpt-4o"); res.status != 200 {
		t.Errorf("a member's first call: %d %s", res.status, res.body)
	}
	if res := send(t, http.MethodGet, s.url+"/api/v1/me", bootstrap, ""); res.status != 200 {
		t.Errorf("the bootstrap token after a member's call: %d %s", res.status, res.body)
	}

	// Step 3: the first admin's call makes the user and ends the token.
	you := idp.token("you@acme.com", devidp.MintOptions{})
	if res := chat(t, s.url, you, "openai-main/gpt-4o"); res.status != 200 {
		t.Fatalf("the first call: %d %s", res.status, res.body)
	}
	if res := send(t, http.MethodGet, s.url+"/api/v1/users/you@acme.com", you, ""); res.status != 200 || !strings.Contains(res.body, `"active":true`) {
		t.Errorf("the user: %d %s", res.status, res.body)
	}
	if res := send(t, http.MethodGet, s.url+"/api/v1/me", bootstrap, ""); res.status != 401 {
		t.Errorf("the bootstrap token after the first admin: %d %s", res.status, res.body)
	}

	explain := strings.ReplaceAll(blockWith(t, page, "explain --token-file"), "http://127.0.0.1:8080", s.url)
	mustContain(t, "explain", shell(t, dir, "export GATEHOUSE_URL="+s.url+" YOUR_ACCESS_TOKEN="+you+"\n", explain), "allowed")

	afterARestart(t, s, environ, dir, bootstrap, you)
}

// afterARestart: it does not bring the one-time token back.
func afterARestart(t *testing.T, s *server, environ []string, dir, bootstrap, you string) {
	t.Helper()
	if code := s.terminate(t, 5*time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	s = serve(t, environ, dir, "serve")
	if _, err := os.Stat(filepath.Join(dir, "data", "bootstrap.token")); err == nil || s.bootstrap != "" {
		t.Errorf("after the restart there is a bootstrap file again (%v), announced %q", err, s.bootstrap)
	}
	if res := send(t, http.MethodGet, s.url+"/api/v1/me", bootstrap, ""); res.status != 401 {
		t.Errorf("the bootstrap token after the restart: %d %s", res.status, res.body)
	}
	if res := chat(t, s.url, you, "openai-main/gpt-4o"); res.status != 200 {
		t.Errorf("the admin after the restart: %d %s", res.status, res.body)
	}
}

func TestSecurityTheOneTimeTokenOfAnEarlierStartEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, onData(dir), dir, "serve")
	first := s.admin(t)
	s.terminate(t, 5*time.Second)

	s = serve(t, onData(dir), dir, "serve")
	second := s.admin(t)
	if first == second {
		t.Error("the second start has the first one's token")
	}
	for token, want := range map[string]int{first: 401, second: 200} {
		if res := send(t, http.MethodGet, s.url+"/api/v1/me", token, ""); res.status != want {
			t.Errorf("%d, want %d: %s", res.status, want, res.body)
		}
	}
	s.terminate(t, 5*time.Second)

	// With a directory of manifests there is none, and the last one ends too.
	manifests := t.TempDir()
	s = serve(t, onData(dir, "GATEHOUSE_MANIFESTS_DIR="+manifests), dir, "serve")
	if res := send(t, http.MethodGet, s.url+"/api/v1/me", second, ""); res.status != 401 {
		t.Errorf("the last one-time token beside manifests.dir: %d %s", res.status, res.body)
	}
}
