package real

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

//go:embed oidc-provider.mjs
var oidcProviderScript string

// audiencePrefix turns an audience into a resource indicator, which must be an
// absolute URI (RFC 8707 section 2).
const audiencePrefix = "urn:gatehouse:audience:"

// OIDCOptions says what the issuer signs with and puts into tokens.
type OIDCOptions struct {
	Alg     string           // RS256 (default), ES256 or EdDSA
	Claims  map[string]any   // extra claims of every access token
	Clients []map[string]any // client metadata (RFC 7591) besides the client `machine`
}

// OIDCServer is a running npm oidc-provider. Its client `machine` (secret
// machine-secret) may use client credentials; introspection, revocation, DPoP,
// device flow and dynamic registration are on.
type OIDCServer struct {
	URL string // the issuer

	dir    string
	node   string
	port   int
	opts   OIDCOptions
	client *http.Client
	proc   *process
}

// OIDCProvider starts an oidc-provider and waits until its discovery answers.
func OIDCProvider(t testing.TB, opts OIDCOptions) *OIDCServer {
	t.Helper()
	c := need(t, "oidc-provider")
	s := &OIDCServer{dir: t.TempDir(), node: NodeBin(t), port: freePort(t), opts: opts, client: newClient(t, nil)}
	s.URL = fmt.Sprintf("http://127.0.0.1:%d", s.port)
	if s.opts.Alg == "" {
		s.opts.Alg = "RS256"
	}
	// Node resolves packages from where the script lies.
	if err := os.Symlink(filepath.Join(c.values["dir"], "node_modules"), filepath.Join(s.dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "oidc-provider.mjs"), []byte(oidcProviderScript), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	return s
}

// Start starts a killed issuer again, on the same port and with the same keys.
func (s *OIDCServer) Start(t testing.TB) {
	t.Helper()
	machine := map[string]any{
		"client_id": "machine", "client_secret": "machine-secret", "grant_types": []string{"client_credentials"},
		"redirect_uris": []string{}, "response_types": []string{}, "token_endpoint_auth_method": "client_secret_post",
	}
	claims := maps.Clone(s.opts.Claims)
	if claims == nil {
		claims = map[string]any{}
	}
	rig, err := json.Marshal(map[string]any{
		"port": s.port, "issuer": s.URL, "alg": s.opts.Alg, "keyFile": filepath.Join(s.dir, "keys.json"),
		"claims": claims, "clients": append([]map[string]any{machine}, s.opts.Clients...), "audiencePrefix": audiencePrefix,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.proc = start(t, spec{
		name: "oidc-provider", dir: s.dir,
		argv: []string{s.node, "oidc-provider.mjs"}, env: []string{"RIG=" + string(rig)},
	})
	s.proc.waitHTTP(t, s.client, s.URL+"/.well-known/openid-configuration", 30*time.Second)
}

// Kill ends the issuer at once, as an outage would; Start brings it back.
func (s *OIDCServer) Kill() { s.proc.kill() }

// Issuer is the issuer URL, as it stands in iss.
func (s *OIDCServer) Issuer() string { return s.URL }

// ClientToken is a JWT access token of the client `machine` with this aud.
func (s *OIDCServer) ClientToken(t testing.TB, audience string) string {
	t.Helper()
	return s.Grant(t, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"machine"},
		"client_secret": {"machine-secret"}, "scope": {"gateway"}, "resource": {audiencePrefix + audience},
	}).Access
}

// Grant posts a form to the token endpoint.
func (s *OIDCServer) Grant(t testing.TB, form url.Values) Tokens {
	t.Helper()
	return postToken(t, s.client, s.URL+"/token", form)
}

// SetClaims replaces the extra claims of the access tokens made from now on.
func (s *OIDCServer) SetClaims(t testing.TB, claims map[string]any) {
	t.Helper()
	s.opts.Claims = claims
	s.rig(t, "/rig/claims", claims)
}

// RotateKey makes a new signing key. With keep, the old ones stay in the JWKS,
// as an orderly rotation has it; without, they are gone at once.
func (s *OIDCServer) RotateKey(t testing.TB, keep bool) {
	t.Helper()
	path := "/rig/rotate"
	if keep {
		path += "?keep=1"
	}
	s.rig(t, path, nil)
}

func (s *OIDCServer) rig(t testing.TB, path string, body any) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := doJSON(s.client, req, nil); err != nil {
		t.Fatal(err)
	}
}
