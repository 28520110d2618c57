//go:build real

package e2e

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// realm is the Keycloak of a test, and a Gatehouse that follows a directory of
// manifests: the CA is a file there, as an operator's would be.
type realm struct {
	k      *real.KeycloakServer
	g      *testkit.Gatehouse
	model  *real.Model
	caFile string
}

// keycloakProvider is the identity provider as docs/identity-providers.md has it.
func keycloakProvider(k *real.KeycloakServer, audiences, more string) string {
	return fmt.Sprintf(`
apiVersion: gatehouse.dev/v1
kind: IdentityProvider
metadata: {name: keycloak}
spec:
  preset: keycloak
  issuer: %s
  audiences: [%s]
  claims: {groups: [groups, /realm_access/roles]}
  linkBy: email
  emailDomains: [example.com]
  resolve: {users: create}
%s`, k.Issuer(), audiences, more)
}

// accounts: one for everybody, one a team, one for the service.
const keycloakAccounts = `
---
apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: research}
spec: {identityProviderGroups: [{identityProvider: keycloak, group: eng-research}]}
---
apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: finance}
spec: {identityProviderGroups: [{identityProvider: keycloak, group: finance}]}
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: public}
spec:
  provider: echo
  models: [{name: small}]
  collaborators: [{subject: "team:everyone", role: provider-account-user}]
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: lab}
spec:
  provider: echo
  models: [{name: small}]
  collaborators: [{subject: "team:research", role: provider-account-user}]
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: ledger}
spec:
  provider: echo
  models: [{name: small}]
  collaborators: [{subject: "team:finance", role: provider-account-user}]
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: machine}
spec:
  provider: echo
  models: [{name: small}]
---
apiVersion: gatehouse.dev/v1
kind: VirtualAccount
metadata: {name: booking}
spec:
  access: [{resource: "provider-account:machine", role: provider-account-user}]
  identityProviderMappings: [{identityProvider: keycloak, clientId: gateway-client}]
`

func startRealm(t *testing.T) *realm {
	t.Helper()
	r := &realm{k: real.KeycloakWith(t, real.KeycloakOptions{TLS: true}), model: real.Llama(t)}
	dir := t.TempDir()
	r.caFile = filepath.Join(dir, "keycloak-ca.pem")
	r.trust(t)
	manifests := filepath.Join(dir, "manifests")
	if err := os.Mkdir(manifests, 0o700); err != nil {
		t.Fatal(err)
	}
	// A directory of manifests names its administrators itself: there is no one-time token.
	admin := identity.NewToken(identity.TokenVirtualAccount)
	yaml := keycloakProvider(r.k, "gatehouse", "  caCert: {file: "+r.caFile+"}\n") + keycloakAccounts + `
---
apiVersion: gatehouse.dev/v1
kind: VirtualAccount
metadata: {name: operator}
spec:
  access: [{resource: tenant, role: tenant-admin}]
  tokens: [{digest: "sha256:` + fmt.Sprintf("%x", sha256.Sum256([]byte(admin))) + `", expiresAt: "` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}]
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: llama}
spec:
  provider: openai-compatible
  baseURL: ` + r.model.BaseURL + `
  models: [{name: ` + r.model.Name + `}]
  collaborators: [{subject: "team:everyone", role: provider-account-user}]
`
	if err := os.WriteFile(filepath.Join(manifests, "gatehouse.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	r.g = testkit.Start(t, testkit.Options{Environ: []string{"GATEHOUSE_MANIFESTS_DIR=" + manifests}})
	r.g.Admin = admin
	return r
}

// trust replaces the CA file in one step, as a mounted secret is replaced.
func (r *realm) trust(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(r.caFile+".new", r.k.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(r.caFile+".new", r.caFile); err != nil {
		t.Fatal(err)
	}
}

// pem is the CA inside the manifest.
func (r *realm) pem() string {
	return "  caCert:\n    pem: |\n      " + strings.ReplaceAll(strings.TrimSpace(string(r.k.CAPEM())), "\n", "\n      ") + "\n"
}

func (r *realm) alice(t *testing.T) string {
	t.Helper()
	return r.k.PasswordToken(t, "gateway-client", "alice").Access
}

// TestRealKeycloak shares one Keycloak, whose start is what takes the time. The
// parts stand in the order in which they change it.
func TestRealKeycloak(t *testing.T) {
	r := startRealm(t)
	t.Run("PasswordAndClientTokensAreAnswered", r.tokensAreAnswered)
	t.Run("PersonOfTheSameClientIsNotTheService", r.personIsNotTheService)
	t.Run("GroupGivesTeamAccessAndItsRemovalTakesIt", r.groupsFollow)
	t.Run("SecurityRefreshIDAndOfflineTokensAreRefused", r.otherKindsAreRefused)
	t.Run("AudienceAccountIsRefusedExplainedAndMended", r.audienceIsMended)
	t.Run("SecurityPartnerThatAssertsTheAdministratorsAddressGetsNothing", r.partnerGetsNothing)
	t.Run("ARealModelStreamsToTheSDKWithAKeycloakToken", r.modelStreams)
	t.Run("RotatedSigningKeyWorksAtOnceAndTheOldOneNotAnyMore", r.keyRotates)
	t.Run("SecurityCAOfTheProviderIsReloadedAndNothingElseTrusted", r.caIsReloaded)
}

func (r *realm) tokensAreAnswered(t *testing.T) {
	alice, service := r.alice(t), r.k.ClientToken(t, "gateway-client").Access
	if got, want := r.g.Models(t, alice), "lab/small llama/"+r.model.Name+" public/small"; got != want {
		t.Errorf("alice's models are %q, want %q", got, want)
	}
	if got, want := r.g.Models(t, service), "machine/small"; got != want {
		t.Errorf("the service's models are %q, want %q", got, want)
	}
	wantStatus(t, "alice, public/small", r.g.Chat(t, alice, "public/small"), http.StatusOK)
	wantStatus(t, "the service, machine/small", r.g.Chat(t, service, "machine/small"), http.StatusOK)
	wantStatus(t, "the service, public/small", r.g.Chat(t, service, "public/small"), http.StatusForbidden)
	none := wantStatus(t, "nobody", r.g.Chat(t, "", "public/small"), http.StatusUnauthorized)
	if got := none.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer") || strings.Contains(got, "error=") {
		t.Errorf("without a credential: WWW-Authenticate %q", got)
	}
	sdk := r.g.Do(t, testkit.Request{Path: "/v1/models", Header: http.Header{"X-Api-Key": {alice}}})
	wantStatus(t, "alice's token as x-api-key", sdk, http.StatusOK)
}

func (r *realm) personIsNotTheService(t *testing.T) {
	alice, service := r.alice(t), r.k.ClientToken(t, "gateway-client").Access
	if a, b := real.Claims(t, alice)["azp"], real.Claims(t, service)["azp"]; a != b {
		t.Fatalf("the two came through %v and %v", a, b)
	}
	if who := whoAmI(t, r.g, service); who.Kind != "virtual-account" || who.Name != "booking" {
		t.Errorf("the client's own token is %+v", who)
	}
	if who := whoAmI(t, r.g, alice); who.Kind != "user" || who.Email != "alice@example.com" {
		t.Errorf("alice is %+v", who)
	}
	wantStatus(t, "alice, machine/small", r.g.Chat(t, alice, "machine/small"), http.StatusForbidden)
}

func (r *realm) groupsFollow(t *testing.T) {
	bob := func() string { return r.k.PasswordToken(t, "gateway-client", "bob").Access }
	before := bob()
	wantStatus(t, "bob in no group, ledger/small", r.g.Chat(t, before, "ledger/small"), http.StatusForbidden)
	r.k.AddUserToGroup(t, "bob", "finance")
	within := bob()
	wantStatus(t, "bob in finance, ledger/small", r.g.Chat(t, within, "ledger/small"), http.StatusOK)
	wantStatus(t, "bob in finance, lab/small", r.g.Chat(t, within, "lab/small"), http.StatusForbidden)
	r.k.RemoveUserFromGroup(t, "bob", "finance")
	after := bob()
	wantStatus(t, "bob taken out of finance, ledger/small", r.g.Chat(t, after, "ledger/small"), http.StatusForbidden)
	if got := r.g.Models(t, after); strings.Contains(got, "ledger/") {
		t.Errorf("bob taken out of finance is shown %q", got)
	}
	wantStatus(t, "bob, public/small", r.g.Chat(t, after, "public/small"), http.StatusOK)
}

// otherKindsAreRefused uses a provider that takes the audience of an ID token
// too, so that what is refused is the kind; and a CA inside the manifest.
func (r *realm) otherKindsAreRefused(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Manifests: keycloakProvider(r.k, "gatehouse, gateway-client, account", r.pem()) + keycloakAccounts})
	online, offline := r.k.PasswordToken(t, "gateway-client", "alice"), r.k.OfflineToken(t, "gateway-client", "alice")
	eventually(t, 10*time.Second, "an access token is accepted", func() bool { return g.Chat(t, online.Access, "public/small").Status == http.StatusOK })
	wantStatus(t, "the access token beside an offline token", g.Chat(t, offline.Access, "public/small"), http.StatusOK)
	for name, token := range map[string]string{"ID token": online.ID, "refresh token": online.Refresh, "offline token": offline.Refresh} {
		wantUnauthorized(t, name, g.Chat(t, token, "public/small"))
		wantUnauthorized(t, name+" for /v1/models", g.Do(t, testkit.Request{Path: "/v1/models", Token: token}))
		wantUnauthorized(t, name+" for the control API", g.Do(t, testkit.Request{Path: "/api/v1/me", Token: token}))
	}
	if ok, steps := explain(t, g, online.ID, "public/small"); ok || !strings.Contains(steps, "send the access token") {
		t.Errorf("explain does not say that it is an ID token:\n%s", steps)
	}
}

func (r *realm) audienceIsMended(t *testing.T) {
	const client = "gateway-client-no-aud"
	token := r.k.PasswordToken(t, client, "alice").Access
	if got := real.Claims(t, token)["aud"]; got != "account" {
		t.Fatalf("without a mapper aud is %v", got)
	}
	wantUnauthorized(t, "aud: account", r.g.Do(t, testkit.Request{Path: "/v1/models", Token: token}))
	if ok, steps := explain(t, r.g, token, "public/small"); ok || !strings.Contains(steps, `"Audience" mapper`) || !strings.Contains(steps, "account") {
		t.Errorf("explain does not name the audience mapper:\n%s", steps)
	}
	r.k.AddAudienceMapper(t, client, "gatehouse")
	mended := r.k.PasswordToken(t, client, "alice").Access
	wantStatus(t, "with the mapper", r.g.Chat(t, mended, "public/small"), http.StatusOK)
	wantUnauthorized(t, "the token from before the mapper", r.g.Do(t, testkit.Request{Path: "/v1/models", Token: token}))
	if ok, steps := explain(t, r.g, mended, "public/small"); !ok {
		t.Errorf("explain says no to what is answered:\n%s", steps)
	}
}

func (r *realm) modelStreams(t *testing.T) {
	token, model := r.alice(t), "llama/"+r.model.Name
	passed := passing(t, "openai_python.py", "with a Keycloak token", real.SDKTarget{BaseURL: r.g.URL() + "/v1", APIKey: token, Model: model, Env: []string{
		"SKIP_CHECKS=chat-tools,chat-tool-result,completions,embeddings,responses,responses-stream,transcription,images,moderations",
		"EXPECT_MODEL_LISTED=1", "EXPECT_STREAM_USAGE=1", "EXPECT_RESPONSE_FIELD=timings", "EXPECT_REQUEST_ID=1",
		"BAD_API_KEY=" + forge(t, token, nil, nil), "UNAUTHORIZED_CODE=invalid_token", "FORBIDDEN_MODEL=ledger/small",
	}}, patience)
	for _, check := range []string{"models-list", "chat", "chat-stream", "chat-extra-fields", "unauthorized", "forbidden"} {
		if !passed[check] {
			t.Errorf("%s did not pass", check)
		}
	}
	for attempt := 1; ; attempt++ {
		events, arrivals := timedStream(t, r.g, token, model)
		if events >= 20 && arrivals >= events/4 {
			return
		}
		if t.Logf("%d events in %d arrivals", events, arrivals); attempt == patience {
			t.Fatal("the events do not come as they are made")
		}
	}
}

// timedStream asks for a stream and says how many events came, and at how many
// different times: a gateway that does not flush lets them come in heaps.
func timedStream(t *testing.T, g *testkit.Gatehouse, token, model string) (events, arrivals int) {
	t.Helper()
	body := `{"model":"` + model + `","stream":true,"max_completion_tokens":64,"messages":[{"role":"user","content":"Tell me a long story."}]}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL()+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var last time.Time
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "data: {") {
			continue
		}
		events++
		if now := time.Now(); now.Sub(last) > time.Millisecond {
			arrivals++
			last = now
		}
	}
	if err := lines.Err(); err != nil {
		t.Logf("the stream broke off: %v", err)
	}
	return events, arrivals
}

func (r *realm) keyRotates(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Manifests: keycloakProvider(r.k, "gatehouse", r.pem()) + keycloakAccounts})
	old := r.alice(t)
	eventually(t, 10*time.Second, "the old key is known", func() bool { return g.Chat(t, old, "public/small").Status == http.StatusOK })
	r.k.RotateSigningKey(t)
	next := r.alice(t)
	if a, b := real.Header(t, old)["kid"], real.Header(t, next)["kid"]; a == b {
		t.Fatal("the key did not change")
	}
	began := time.Now()
	wantStatus(t, "the first request with the new key", g.Chat(t, next, "public/small"), http.StatusOK)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the first request with the new key took %v", took)
	}
	wantUnauthorized(t, "a token of the key that was taken away", g.Chat(t, old, "public/small"))
}

func (r *realm) caIsReloaded(t *testing.T) {
	known := r.alice(t)
	// The key of this token may be new to this Gatehouse; then it is fetched now.
	eventually(t, 40*time.Second, "the key of today is known", func() bool { return r.g.Chat(t, known, "public/small").Status == http.StatusOK })
	r.k.RestartWithNewCA(t)
	r.k.RotateSigningKey(t)
	token := r.alice(t)
	eventually(t, 60*time.Second, "an unknown key behind an untrusted certificate is 503", func() bool {
		return r.g.Chat(t, token, "public/small").Status == http.StatusServiceUnavailable
	})
	wantUnavailable(t, "an unknown key behind an untrusted certificate", r.g.Chat(t, token, "public/small"))
	wantStatus(t, "a known key meanwhile", r.g.Chat(t, known, "public/small"), http.StatusOK)
	eventually(t, 60*time.Second, "explain says which CA is trusted", func() bool {
		_, steps := explain(t, r.g, token, "public/small")
		return strings.Contains(steps, "TLS not trusted") && strings.Contains(steps, r.caFile)
	})
	wantDegraded(t, r.g, "keycloak")
	r.trust(t)
	took := eventually(t, 60*time.Second, "the new CA is trusted", func() bool { return r.g.Chat(t, token, "public/small").Status == http.StatusOK })
	t.Logf("a new CA file is believed after %v", took.Round(time.Second))
	wantUnauthorized(t, "a token of the key that is gone", r.g.Chat(t, known, "public/small"))
}

// partnerManifests make alice the administrator, and let a partner speak for its
// own domain.
const partnerManifests = `
---
apiVersion: gatehouse.dev/v1
kind: RoleBinding
metadata: {name: admins}
spec: {subjects: ["user:alice@example.com"], role: tenant-admin, resources: [tenant]}
---
apiVersion: gatehouse.dev/v1
kind: IdentityProvider
metadata: {name: partner}
spec:
  issuer: %s
  audiences: [gatehouse]
  claims: {subject: [person], clientId: [azp]}
  linkBy: email
  emailDomains: [partner.example]
  resolve: {users: create}
---
apiVersion: gatehouse.dev/v1
kind: ExternalIdentity
metadata: {name: partners}
spec: {identityProvider: partner}
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: partners}
spec:
  provider: echo
  models: [{name: small}]
  collaborators: [{subject: "external-identity:partners", role: provider-account-user}]
`

// partnerGetsNothing: another issuer says that its caller is alice, who is the
// administrator here.
func (r *realm) partnerGetsNothing(t *testing.T) {
	claims := map[string]any{"person": "mallory", "email": "alice@example.com", "email_verified": true, "groups": []string{"eng-research"}}
	p := real.OIDCProvider(t, real.OIDCOptions{Claims: claims})
	g := testkit.Start(t, testkit.Options{Manifests: keycloakProvider(r.k, "gatehouse", r.pem()) + keycloakAccounts + fmt.Sprintf(partnerManifests, p.Issuer())})
	alice := r.alice(t)
	eventually(t, 10*time.Second, "alice is known", func() bool { return g.Chat(t, alice, "public/small").Status == http.StatusOK })
	admin := whoAmI(t, g, alice)
	if !admin.Admin {
		t.Fatalf("alice is no administrator: %+v", admin)
	}
	g.Admin = alice // the one-time token has ended with the first administrator
	wantStatus(t, "alice reads people", g.Do(t, testkit.Request{Path: "/api/v1/users", Token: alice}), http.StatusOK)
	user := "/api/v1/users/" + url.PathEscape("alice@example.com")
	before := wantStatus(t, "alice", g.Do(t, testkit.Request{Path: user, Token: alice}), http.StatusOK).Body

	mallory := p.ClientToken(t, "gatehouse")
	eventually(t, 10*time.Second, "the partner's keys are there", func() bool { return g.Chat(t, mallory, "partners/small").Status == http.StatusOK })
	if who := whoAmI(t, g, mallory); who.Admin || who.UID == admin.UID || who.Kind == "user" || len(who.Teams) > 0 {
		t.Errorf("the partner's caller became %+v", who)
	}
	if got, want := g.Models(t, mallory), "partners/small"; got != want {
		t.Errorf("the partner's caller is shown %q, want %q", got, want)
	}
	for _, model := range []string{"public/small", "lab/small", "machine/small"} {
		wantStatus(t, "the partner's caller, "+model, g.Chat(t, mallory, model), http.StatusForbidden)
	}
	for _, path := range []string{"/api/v1/users", user, "/api/v1/identity-providers", "/api/v1/audit"} {
		if res := g.Do(t, testkit.Request{Path: path, Token: mallory}); res.Status == http.StatusOK && strings.Contains(res.Body, "alice") || res.Status >= 500 {
			t.Errorf("the partner's caller reads %s: %d %s", path, res.Status, res.Body)
		}
	}
	wantStatus(t, "the partner's caller applies", g.Do(t, testkit.Request{
		Path: "/api/v1/apply", Token: mallory, Header: http.Header{"Content-Type": {"application/yaml"}},
		Body: "apiVersion: gatehouse.dev/v1\nkind: RoleBinding\nmetadata: {name: mine}\nspec: {subjects: [\"external-identity:partners\"], role: tenant-admin, resources: [tenant]}\n",
	}), http.StatusForbidden)
	if after := g.Do(t, testkit.Request{Path: user, Token: alice}).Body; strings.Contains(after, "mallory") {
		t.Errorf("alice was linked to the partner's subject:\n%s\n%s", before, after)
	}

	// The same issuer may speak for its own people: what was refused was the address.
	p.SetClaims(t, map[string]any{"person": "pat", "email": "pat@partner.example", "email_verified": true})
	pat := p.ClientToken(t, "gatehouse")
	wantStatus(t, "a person of the partner's domain", g.Chat(t, pat, "public/small"), http.StatusOK)
	if who := whoAmI(t, g, pat); who.Kind != "user" || who.Email != "pat@partner.example" || who.Admin {
		t.Errorf("a person of the partner's domain is %+v", who)
	}
}
