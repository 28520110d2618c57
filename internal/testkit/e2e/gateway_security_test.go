package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/testkit"
)

// asHost sends a GET with a Host of somebody else's, as a browser does whose
// name for us was rebound to this machine's address.
func asHost(t *testing.T, url, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b := make([]byte, 2048)
	n, _ := res.Body.Read(b)
	return res.StatusCode, string(b[:n])
}

// TestSecurityNoListenerAnswersToAReboundName: DNS rebinding makes a page of
// evil.example read what answers on this machine. Every listener has a list of
// names, or at least every one on loopback.
func TestSecurityNoListenerAnswersToAReboundName(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Dev: true, Environ: []string{"GATEHOUSE_OPS_PPROF=true"}})
	for name, url := range map[string]string{
		"main":    g.URL() + "/v1/models",
		"health":  g.URL() + "/health",
		"console": g.URL() + "/console/",
		"metrics": g.OpsURL() + "/metrics",
		"ready":   g.OpsURL() + "/readyz",
		"pprof":   g.OpsURL() + "/debug/pprof/goroutine?debug=1",
		"dev IdP": g.IDPURL() + "/dev/token?user=admin@example.com",
	} {
		for _, host := range []string{"evil.example", "127.0.0.1.evil.example:9090", "localhost.evil.example"} {
			if status, body := asHost(t, url, host); status < 400 {
				t.Errorf("%s answers to %s: %d %.60q", name, host, status, body)
			}
		}
	}
}

// TestSecurityWithoutAuthenticationForeignPagesReachNothing: a form or a fetch
// without a content type needs no preflight.
func TestSecurityWithoutAuthenticationForeignPagesReachNothing(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Environ: []string{"AUTH_ENABLE=false"}, Manifests: strings.Replace(echoAccount("echo", ""),
		"collaborators: [", "collaborators: [{subject: \"external-identity:env-callers\", role: provider-account-user}, ", 1)})
	body := `{"model":"echo/small","messages":[{"role":"user","content":"x"}]}`
	if res := send(t, http.MethodPost, g.URL()+"/v1/chat/completions", "", body); res.status != http.StatusOK {
		t.Fatalf("a program on this machine: %d %s", res.status, res.body)
	}
	for _, origin := range []string{"https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1:1"} {
		for _, path := range []string{"/v1/chat/completions", "/v1/models", "/v1/audio/transcriptions"} {
			res := send(t, http.MethodPost, g.URL()+path, "", body, "Origin", origin)
			if res.status < 400 || strings.Contains(res.body, "echo/small") {
				t.Errorf("%s from %s: %d %s", path, origin, res.status, res.body)
			}
		}
	}
	for _, path := range []string{"/api/v1/me", "/api/v1/provider-accounts", "/api/v1/apply", "/metrics"} {
		if res := send(t, http.MethodGet, g.URL()+path, "", ""); res.status < 400 {
			t.Errorf("%s is open: %d", path, res.status)
		}
	}
}
