package real

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/testkit/testcert"
)

// KeycloakOptions says how a Keycloak is to be started.
type KeycloakOptions struct {
	// TLS serves https with a certificate of a CA made for this test; plain
	// http on loopback otherwise.
	TLS bool
}

// KeycloakServer is a running Keycloak with the realm of deploy/keycloak.
// Clients there have the secret NAME-development-secret, users the password
// NAME-development-password.
type KeycloakServer struct {
	URL string // scheme and address, without a slash at the end

	opts   KeycloakOptions
	home   string
	port   int
	java   string
	ca     *testcert.CA // nil on plain http
	client *http.Client
	proc   *process
}

// Keycloak starts a Keycloak with the realm of deploy/keycloak/realm.json on
// plain http and waits until the realm's discovery answers.
func Keycloak(t testing.TB) *KeycloakServer {
	t.Helper()
	return KeycloakWith(t, KeycloakOptions{})
}

// KeycloakWith is Keycloak with options.
func KeycloakWith(t testing.TB, opts KeycloakOptions) *KeycloakServer {
	t.Helper()
	c := need(t, "keycloak")
	k := &KeycloakServer{opts: opts, home: t.TempDir(), port: freePort(t), java: c.values["java"]}
	scheme := "http"
	if opts.TLS {
		scheme = "https"
		k.newCA(t)
	} else {
		k.client = newClient(t, nil)
	}
	k.URL = fmt.Sprintf("%s://127.0.0.1:%d", scheme, k.port)
	layKeycloakHome(t, k.home, c.values["home"], c.values["template"])
	k.Start(t)
	return k
}

// layKeycloakHome makes a home of the server's own around the shared
// distribution: only the data are private, and they begin as a copy of a
// database that already has its schema, which halves the time to start.
func layKeycloakHome(t testing.TB, home, dist, template string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("prepare Keycloak's home: %v", err)
		}
	}
	must(os.MkdirAll(filepath.Join(home, "bin"), 0o755))
	must(os.MkdirAll(filepath.Join(home, "data", "import"), 0o755))
	copyFile := func(from, to string, mode os.FileMode) {
		t.Helper()
		b, err := os.ReadFile(from)
		must(err)
		must(os.WriteFile(to, b, mode))
	}
	// kc.sh finds its home from where it lies itself, so it is copied, not linked.
	copyFile(filepath.Join(dist, "bin", "kc.sh"), filepath.Join(home, "bin", "kc.sh"), 0o755)
	for _, part := range []string{"lib", "providers", "themes", "conf"} {
		must(os.Symlink(filepath.Join(dist, part), filepath.Join(home, part)))
	}
	must(os.CopyFS(filepath.Join(home, "data", "h2"), os.DirFS(template)))
	copyFile(filepath.Join(RepoRoot(t), "deploy", "keycloak", "realm.json"),
		filepath.Join(home, "data", "import", "gatehouse-realm.json"), 0o644)
}

func (k *KeycloakServer) newCA(t testing.TB) {
	t.Helper()
	k.ca = testcert.NewCA("Keycloak of a test")
	if err := k.ca.Server(1, "127.0.0.1", "localhost").Write(filepath.Join(k.home, "server.crt"), filepath.Join(k.home, "server.key")); err != nil {
		t.Fatal(err)
	}
	k.client = newClient(t, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: k.ca.Pool()}})
}

// Start starts a stopped server again on the same port, with the data and keys
// that it had.
func (k *KeycloakServer) Start(t testing.TB) {
	t.Helper()
	port := strconv.Itoa(k.port)
	argv := []string{
		"/bin/bash", filepath.Join(k.home, "bin", "kc.sh"), "start", "--optimized", "--import-realm",
		// Without this it would open cluster ports on every interface.
		"--cache=local", "--http-host=127.0.0.1", "--hostname=" + k.URL,
	}
	if k.opts.TLS {
		argv = append(argv, "--https-port="+port, "--http-enabled=false",
			"--https-certificate-file="+filepath.Join(k.home, "server.crt"),
			"--https-certificate-key-file="+filepath.Join(k.home, "server.key"))
	} else {
		argv = append(argv, "--http-enabled=true", "--http-port="+port)
	}
	k.proc = start(t, spec{name: "keycloak", dir: k.home, argv: argv, env: []string{
		"JAVA_HOME=" + k.java,
		"JAVA_OPTS_KC_HEAP=-Xms128m -Xmx768m",
		"JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1", // starts sooner; nothing here is measured
	}})
	k.proc.waitHTTP(t, k.client, k.Issuer()+"/.well-known/openid-configuration", 120*time.Second)
}

// Stop ends the server, keeping its data and its port.
func (k *KeycloakServer) Stop() { k.proc.stop() }

// RestartWithNewCA restarts an https server with a certificate of another CA,
// as when an operator changes it; CAPEM is the new one's from then on.
func (k *KeycloakServer) RestartWithNewCA(t testing.TB) {
	t.Helper()
	if !k.opts.TLS {
		t.Fatal("RestartWithNewCA wants KeycloakOptions{TLS: true}")
	}
	k.Stop()
	k.newCA(t)
	k.Start(t)
}

// Issuer is the realm's issuer URL, as it stands in iss.
func (k *KeycloakServer) Issuer() string { return k.URL + "/realms/gatehouse" }

// CAPEM is the CA certificate to trust; nil on plain http.
func (k *KeycloakServer) CAPEM() []byte {
	if k.ca == nil {
		return nil
	}
	return k.ca.PEM
}

// HTTPClient trusts the server's CA and follows no redirect.
func (k *KeycloakServer) HTTPClient() *http.Client { return k.client }
