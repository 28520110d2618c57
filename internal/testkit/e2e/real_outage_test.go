//go:build real

package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/testkit"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// The outage suite: an oidc-provider that dies, comes back and rotates. The
// tests wait more than they work, so they run beside each other.

// machines has the issuer's every token use the echo provider. keys is where
// the keys come from; empty: by discovery.
func machines(issuer, keys string) string {
	if keys != "" {
		keys = "  jwksURLs: [" + keys + "]\n"
	}
	return `
apiVersion: gatehouse.dev/v1
kind: IdentityProvider
metadata: {name: idp}
spec:
  issuer: ` + issuer + `
  audiences: [gatehouse]
` + keys + `
---
apiVersion: gatehouse.dev/v1
kind: ExternalIdentity
metadata: {name: machines}
spec: {identityProvider: idp}
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: public}
spec:
  provider: echo
  models: [{name: small}]
  collaborators: [{subject: "external-identity:machines", role: provider-account-user}]
`
}

func answered(t *testing.T, g *testkit.Gatehouse, token string) func() bool {
	return func() bool { return g.Chat(t, token, "public/small").Status == http.StatusOK }
}

func TestRealStartWithoutTheIdentityProvider(t *testing.T) {
	t.Parallel()
	p := real.OIDCProvider(t, real.OIDCOptions{})
	token := p.ClientToken(t, "gatehouse")
	p.Kill()
	began := time.Now()
	g := testkit.Start(t, testkit.Options{Manifests: machines(p.Issuer(), "")})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the start took %v", took)
	}
	for range 5 {
		wantUnavailable(t, "no key was ever seen", g.Chat(t, token, "public/small"))
	}
	wantUnavailable(t, "no key was ever seen, /v1/models", g.Do(t, testkit.Request{Path: "/v1/models", Token: token}))
	wantUnauthorized(t, "a token of an issuer that nobody knows", g.Chat(t, forge(t, token, nil, map[string]string{p.Issuer(): "https://nobody.example"}), "public/small"))
	wantStatus(t, "a token of ours", g.Do(t, testkit.Request{Path: "/api/v1/me", Token: g.Admin}), http.StatusOK)
	wantDegraded(t, g, "idp")
	p.Start(t)
	took := eventually(t, 45*time.Second, "the issuer that came later is found", answered(t, g, token))
	t.Logf("found %v after it came", took.Round(100*time.Millisecond))
	eventually(t, 5*time.Second, "/readyz is content again", func() bool {
		return !strings.Contains(ops(t, g, "/readyz"), "identity-provider")
	})
}

func TestRealKnownKeysOutliveTheIdentityProviderAndARestart(t *testing.T) {
	t.Parallel()
	p := real.OIDCProvider(t, real.OIDCOptions{})
	g := testkit.Start(t, testkit.Options{Manifests: machines(p.Issuer(), "")})
	known := p.ClientToken(t, "gatehouse")
	eventually(t, 10*time.Second, "the key is known", answered(t, g, known))
	second := p.ClientToken(t, "gatehouse") // never seen before the outage
	p.RotateKey(t, false)
	unknown := p.ClientToken(t, "gatehouse")
	p.Kill()
	for range 20 {
		wantUnavailable(t, "an unknown key while the issuer is away", g.Chat(t, unknown, "public/small"))
	}
	wantStatus(t, "a known key while the issuer is away", g.Chat(t, known, "public/small"), http.StatusOK)
	wantStatus(t, "a new token of a known key", g.Chat(t, second, "public/small"), http.StatusOK)
	wantUnauthorized(t, "a forged signature of a known key", g.Chat(t, forge(t, known, nil, nil), "public/small"))
	wantDegraded(t, g, "idp")
	public := send(t, http.MethodGet, g.URL()+"/readyz", "", "")
	if public.status != http.StatusOK || strings.Contains(public.body, "idp") {
		t.Errorf("the public /readyz: %d %q", public.status, public.body)
	}

	g.Restart(t)
	for _, token := range []string{known, second} {
		wantStatus(t, "a known key after a restart in the outage", g.Chat(t, token, "public/small"), http.StatusOK)
	}
	wantUnavailable(t, "an unknown key after a restart in the outage", g.Chat(t, unknown, "public/small"))
	wantDegraded(t, g, "idp")

	p.Start(t)
	took := eventually(t, 45*time.Second, "the issuer that is back is asked", answered(t, g, unknown))
	t.Logf("the new key works %v after the issuer came back", took.Round(time.Second))
	wantUnauthorized(t, "a token of the key that was taken away", g.Chat(t, known, "public/small"))
}

func TestRealRotationOfTheSigningKey(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			p := real.OIDCProvider(t, real.OIDCOptions{Alg: alg})
			g := testkit.Start(t, testkit.Options{Manifests: machines(p.Issuer(), "")})
			old := p.ClientToken(t, "gatehouse")
			eventually(t, 10*time.Second, "the first key is known", answered(t, g, old))
			p.RotateKey(t, true)
			next := p.ClientToken(t, "gatehouse")
			wantStatus(t, "the first request with the new key", g.Chat(t, next, "public/small"), http.StatusOK)
			wantStatus(t, "the old key, still published", g.Chat(t, old, "public/small"), http.StatusOK)
			p.RotateKey(t, false)
			last := p.ClientToken(t, "gatehouse")
			eventually(t, 40*time.Second, "a second rotation within 30 s", answered(t, g, last))
			wantUnauthorized(t, "a key that is published no longer", g.Chat(t, next, "public/small"))
			wantUnauthorized(t, "a key that is published no longer", g.Chat(t, old, "public/small"))
		})
	}
}

// forge changes a token's header, and words of its payload, and leaves it with
// a signature that fits nothing.
func forge(t *testing.T, token string, header map[string]string, payload map[string]string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	change := func(part string, words map[string]string) string {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		for from, to := range words {
			if !strings.Contains(text, from) {
				t.Fatalf("no %q in %s", from, text)
			}
			text = strings.ReplaceAll(text, from, to)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(text))
	}
	signature := []byte(parts[2])
	signature[10]++
	if signature[10] == 'z'+1 || signature[10] == '9'+1 || signature[10] == 'Z'+1 || signature[10] == '_'+1 || signature[10] == '-'+1 {
		signature[10] = 'A'
	}
	return change(parts[0], header) + "." + change(parts[1], payload) + "." + string(signature)
}

// flood sends n tokens, eight at a time, and counts the answers by status. It
// ends early after limit.
func flood(t *testing.T, g *testkit.Gatehouse, n int, limit time.Duration, token func(i int) string) map[int]int {
	t.Helper()
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	statuses, deadline := map[int]int{}, time.Now().Add(limit)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n && time.Now().Before(deadline); i = int(next.Add(1)) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL()+"/v1/models", nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+token(i))
				res, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_ = res.Body.Close()
				mu.Lock()
				statuses[res.StatusCode]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return statuses
}

func TestRealSecurityFloodOfBadTokensCostsTheIdentityProviderOneFetchInThirtySeconds(t *testing.T) {
	t.Parallel()
	p := real.OIDCProvider(t, real.OIDCOptions{})
	w := before(t, p.URL, nil)
	g := testkit.Start(t, testkit.Options{Manifests: machines(p.Issuer(), w.URL+"/jwks")})
	good := p.ClientToken(t, "gatehouse")
	eventually(t, 10*time.Second, "the key is known", answered(t, g, good))
	kid := fmt.Sprint(real.Header(t, good)["kid"])
	const refetches = `gatehouse_identity_provider_refetches_total{provider="idp"}`
	w.all()

	// A forged signature of a known key costs nothing.
	statuses := flood(t, g, 2_000, 20*time.Second, func(i int) string {
		return forge(t, good, nil, map[string]string{`"sub":"machine"`: fmt.Sprintf(`"sub":"m%d"`, i)})
	})
	if asked := len(w.all()); asked != 0 || statuses[http.StatusUnauthorized] < 500 || len(statuses) != 1 {
		t.Errorf("forged signatures: %v, %d fetches", statuses, asked)
	}

	// Keys that nobody knows cost one fetch in 30 s, and the callers nothing.
	began := time.Now()
	statuses = flood(t, g, 10_000, 25*time.Second, func(i int) string {
		return forge(t, good, map[string]string{kid: fmt.Sprintf("unknown-%d", i)}, nil)
	})
	took := time.Since(began)
	asked, allowed := len(w.all()), 1+int(took/(30*time.Second))
	t.Logf("%v in %v, %d fetches", statuses, took.Round(time.Millisecond), asked)
	if asked > allowed || asked == 0 {
		t.Errorf("the flood cost %d fetches, want %d", asked, allowed)
	}
	// The kid that caused the fetch was looked for: 401. The others were not yet, which is our choice: 503.
	if statuses[http.StatusUnauthorized] == 0 || statuses[http.StatusUnauthorized]+statuses[http.StatusServiceUnavailable] < 1_000 || len(statuses) != 2 {
		t.Errorf("the flood was answered %v, want 401 and 503", statuses)
	}
	if n := int(metric(t, g, refetches)); n != asked {
		t.Errorf("%s is %d, and the provider saw %d", refetches, n, asked)
	}
	wantStatus(t, "a good token after the flood", g.Chat(t, good, "public/small"), http.StatusOK)
	wantStatus(t, "another good token after the flood", g.Chat(t, p.ClientToken(t, "gatehouse"), "public/small"), http.StatusOK)
}

func TestRealSecurityFloodDuringAnOutageIsUnavailableAndDoesNotHammer(t *testing.T) {
	t.Parallel()
	p := real.OIDCProvider(t, real.OIDCOptions{})
	w := before(t, p.URL, nil) // it stays, and answers 502 for the issuer that is away
	g := testkit.Start(t, testkit.Options{Manifests: machines(p.Issuer(), w.URL+"/jwks")})
	good := p.ClientToken(t, "gatehouse")
	eventually(t, 10*time.Second, "the key is known", answered(t, g, good))
	kid := fmt.Sprint(real.Header(t, good)["kid"])
	p.Kill()
	w.all()
	began := time.Now()
	statuses := flood(t, g, 2_000, 20*time.Second, func(i int) string {
		return forge(t, good, map[string]string{kid: fmt.Sprintf("unknown-%d", i)}, nil)
	})
	took := time.Since(began)
	if asked, allowed := len(w.all()), 1+int(took/(30*time.Second)); asked > allowed || asked == 0 {
		t.Errorf("the flood cost %d fetches in %v, want %d", asked, took, allowed)
	}
	if statuses[http.StatusServiceUnavailable] < 500 || len(statuses) != 1 {
		t.Errorf("the flood was answered %v, want 503 alone", statuses)
	}
	wantStatus(t, "a known key during the flood", g.Chat(t, good, "public/small"), http.StatusOK)
}

func TestRealHungIdentityProviderHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	p := real.OIDCProvider(t, real.OIDCOptions{})
	release := make(chan struct{})
	hung := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(hung.Close)
	t.Cleanup(func() { close(release) })
	token := p.ClientToken(t, "gatehouse")
	began := time.Now()
	g := testkit.Start(t, testkit.Options{Manifests: machines(p.Issuer(), "") + `
---
apiVersion: gatehouse.dev/v1
kind: IdentityProvider
metadata: {name: hung}
spec: {issuer: ` + hung.URL + `, audiences: [gatehouse]}
`})
	eventually(t, 10*time.Second, "the other provider's tokens work", answered(t, g, token))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a hung provider held up the start for %v", took)
	}
	wantUnavailable(t, "a token of the hung provider", g.Chat(t, forge(t, token, nil, map[string]string{p.Issuer(): hung.URL}), "public/small"))
}
