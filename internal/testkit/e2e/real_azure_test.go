//go:build real

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/testkit"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// azure is an Azure OpenAI resource: its paths, then OpenAI's validator.
func azure(t *testing.T, v *real.Server) *witness {
	t.Helper()
	return before(t, v.URL, func(r *http.Request) {
		path := r.URL.Path
		if rest, ok := strings.CutPrefix(path, "/openai/v1"); ok {
			path = rest
		} else if rest, ok := strings.CutPrefix(path, "/openai/deployments/"); ok {
			_, path, _ = strings.Cut(rest, "/")
			path = "/" + path
		}
		r.URL.Path, r.URL.RawQuery = path, ""
		r.Header.Set("Authorization", "Bearer "+r.Header.Get("Api-Key")) // as OpenAI's description asks for one
	})
}

// claimsOf is what an issuer says of somebody.
func claimsOf(name string) map[string]any {
	return map[string]any{"person": name, "email": name + "@example.com", "email_verified": true}
}

const azureAccounts = `
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: azure-dev, labels: {env: dev}}
spec:
  provider: azure-openai
  baseURL: %s
  apiVersion: "2024-10-21"
  credentials: {apiKey: {value: the-dev-key}}
  models: [{name: gpt-4o, model: gpt-4o-dev}]
  collaborators:
    - {subject: "user:ada@example.com", role: provider-account-user}
    - {subject: "user:ben@example.com", role: provider-account-user}
---
apiVersion: gatehouse.dev/v1
kind: VirtualAccount
metadata: {name: booking-bot}
spec: {}
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: azure-production, labels: {env: production}}
spec:
  provider: azure-openai
  baseURL: %s
  credentials: {apiKey: {value: the-production-key}}
  models: [{name: gpt-4o, model: gpt-4o-production}]
  collaborators: [{subject: "virtual-account:booking-bot", role: provider-account-user}]
`

func TestRealTwoAzureOpenAIAccountsDevForTwoUsersAndProductionForOneVirtualAccount(t *testing.T) {
	v := real.Validator(t)
	dev, production := azure(t, v), azure(t, v)
	p := real.OIDCProvider(t, real.OIDCOptions{})
	g := testkit.Start(t, testkit.Options{Manifests: `
apiVersion: gatehouse.dev/v1
kind: IdentityProvider
metadata: {name: company}
spec:
  issuer: ` + p.Issuer() + `
  audiences: [gatehouse]
  claims: {subject: [person], clientId: [azp]}
  linkBy: email
  emailDomains: [example.com]
  resolve: {users: create}
` + fmt.Sprintf(azureAccounts, dev.URL, production.URL)})
	bot := accountToken(t, g, "booking-bot")
	tokens := map[string]string{"bot": bot}
	for _, name := range []string{"ada", "ben", "eve"} {
		p.SetClaims(t, claimsOf(name))
		tokens[name] = p.ClientToken(t, "gatehouse")
	}
	eventually(t, 10*time.Second, "the company's keys are there", func() bool {
		return g.Do(t, testkit.Request{Path: "/v1/models", Token: tokens["ada"]}).Status == http.StatusOK
	})

	for _, c := range []struct {
		who, list       string
		dev, production int
	}{
		{"ada", "azure-dev/gpt-4o", http.StatusOK, http.StatusForbidden},
		{"ben", "azure-dev/gpt-4o", http.StatusOK, http.StatusForbidden},
		{"eve", "", http.StatusForbidden, http.StatusForbidden},
		{"bot", "azure-production/gpt-4o", http.StatusForbidden, http.StatusOK},
	} {
		token := tokens[c.who]
		if got := g.Models(t, token); got != c.list {
			t.Errorf("%s is shown %q, want %q", c.who, got, c.list)
		}
		wantStatus(t, c.who+", azure-dev/gpt-4o", g.Chat(t, token, "azure-dev/gpt-4o"), c.dev)
		wantStatus(t, c.who+", azure-production/gpt-4o", g.Chat(t, token, "azure-production/gpt-4o"), c.production)
	}
	wantAzureCalls(t, dev, production)
	for _, path := range []string{"/api/v1/provider-accounts/azure-dev", "/api/v1/provider-accounts"} {
		res := wantStatus(t, path, g.Do(t, testkit.Request{Path: path, Token: g.Admin}), http.StatusOK)
		if strings.Contains(res.Body, "the-dev-key") || strings.Contains(res.Body, "the-production-key") {
			t.Errorf("%s shows a key:\n%s", path, res.Body)
		}
	}
}

// wantAzureCalls wants each resource called with its own key and deployment,
// and what was sent to be what OpenAI's description takes.
func wantAzureCalls(t *testing.T, dev, production *witness) {
	t.Helper()
	for name, c := range map[string]struct {
		w                *witness
		calls            int
		key, path, query string
	}{
		"dev":        {dev, 2, "the-dev-key", "/openai/deployments/gpt-4o-dev/chat/completions", "api-version=2024-10-21"},
		"production": {production, 1, "the-production-key", "/openai/v1/chat/completions", ""},
	} {
		calls := c.w.all()
		if len(calls) != c.calls {
			t.Errorf("%s was called %d times, want %d", name, len(calls), c.calls)
		}
		for _, s := range calls {
			if s.Path != c.path || s.Query != c.query || s.Header.Get("Api-Key") != c.key || s.Header.Get("Authorization") != "" {
				t.Errorf("%s was sent %s?%s, api-key %q, authorization %q", name, s.Path, s.Query, s.Header.Get("Api-Key"), s.Header.Get("Authorization"))
			}
			if s.Valid == "false" || s.Status != http.StatusOK {
				t.Errorf("the validator refuses what %s was sent: %d", name, s.Status)
			}
		}
	}
}
