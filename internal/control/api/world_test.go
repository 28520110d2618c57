package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/control/api"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/seal"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/testlog"
)

// world is the control API on a real store, with people whose tokens are real.
type world struct {
	used   *testlog.Buffer // the tokens whose use the API has noted, a line each
	t      testing.TB
	db     *sqlite.DB
	pub    *snapshot.Publisher
	api    *api.API
	log    *testlog.Buffer
	tokens map[string]string // who → token

	browsers *browsers
	// exportFails, where not nil, is an export of the audit that fails.
	exportFails func(io.Writer) error
}

// The people of the world: an admin, the manager and a member of the team
// research, an outsider, the manager and the editor of the provider account
// main, somebody who may write roles and bindings but holds little else, and
// somebody who may make teams and applications of research.
func people() []string {
	return []string{"admin", "lead", "member", "outsider", "pam", "ed", "binder", "maker"}
}

const plainKey = "sk-very-secret-upstream-key"

const seed = `
apiVersion: gatehouse.dev/v1
kind: RoleBinding
metadata: {name: admins}
spec: {subjects: ["user:admin@example.com"], role: tenant-admin, resources: [tenant]}
---
apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: research, labels: {env: lab}}
spec: {managers: [lead@example.com], members: [member@example.com]}
---
apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: secretive, labels: {env: lab}}
spec: {members: [admin@example.com]}
---
apiVersion: gatehouse.dev/v1
kind: Role
metadata: {name: write-roles}
spec: {permissions: ["role:read", "role:create", "role:update", "role-binding:read", "role-binding:create", "role-binding:update", "authz-rules:create", "authz-rules:update", "authz-rules:read"]}
---
apiVersion: gatehouse.dev/v1
kind: Role
metadata: {name: make}
spec: {permissions: ["team:create", "team:update", "virtual-account:create", "virtual-account:update", "virtual-account:read", "secret-store:read", "user:create", "user:update", "user:read"]}
---
apiVersion: gatehouse.dev/v1
kind: RoleBinding
metadata: {name: binder}
spec: {subjects: ["user:binder@example.com"], role: write-roles, resources: [tenant]}
---
apiVersion: gatehouse.dev/v1
kind: RoleBinding
metadata: {name: maker}
spec: {subjects: ["user:maker@example.com"], role: make, resources: [tenant]}
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: main}
spec:
  provider: openai-compatible
  baseURL: https://upstream.example.com/v1
  credentials: {apiKey: {value: ` + plainKey + `}}
  models:
    - {name: gpt}
    - {name: o3, collaborators: [{subject: "user:admin@example.com", role: model-user}]}
  collaborators:
    - {subject: "team:research", role: provider-account-user}
    - {subject: "user:pam@example.com", role: provider-account-manager}
    - {subject: "user:ed@example.com", role: provider-account-editor}
---
apiVersion: gatehouse.dev/v1
kind: VirtualAccount
metadata: {name: bot}
spec: {team: research, access: [{resource: "model:main/gpt", role: model-user}]}
---
apiVersion: gatehouse.dev/v1
kind: SecretStore
metadata: {name: vault}
spec: {provider: vault, address: "https://vault.example.com", pathPrefixes: [llm]}
`

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOf(t, apply.ManagerAPI)
}

// newWorldOf returns a world whose resources have a manager.
func newWorldOf(t testing.TB, manager string) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{t: t, log: &testlog.Buffer{}, used: &testlog.Buffer{}, tokens: map[string]string{}}
	var err error
	if w.db, err = sqlite.Open(ctx, sqlite.Options{Path: sqlite.Memory}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close() })
	w.pub = snapshot.NewPublisher(snapshot.Options{Loader: w.db, Coalesce: time.Microsecond})
	if err := w.pub.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.pub.Close)
	keys, err := seal.Open("env:KEY", seal.Options{LookupEnv: func(string) (string, bool) {
		return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7, 9}, 16)), true
	}})
	if err != nil {
		t.Fatal(err)
	}
	auth := authn.New(authn.Options{Snapshots: w.pub})
	w.browsers = &browsers{pub: w.pub}
	w.api, err = api.New(api.Options{
		Browsers: w.browsers, SignInTests: w, AuditExport: w,
		Snapshots: w.pub, Authenticator: auth, Explainer: auth, Writer: w.db, Resources: w.db, People: w.db, Tokens: w.db, Audit: w.db, Logs: w.db,
		Sealer: keys, Allow: secret.Allow{Env: []string{"ALLOWED_KEY"}}, ExternalURL: "https://gatehouse.example.com",
		Addr: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.7") },
		Log:  slog.New(slog.NewTextHandler(w.log, nil)),
		Used: func(id string, _ time.Time, from string) { _, _ = fmt.Fprintln(w.used, id, "from", from) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.seedPeople(ctx)
	w.applyAs(manager, seed)
	return w
}

func (w *world) seedPeople(ctx context.Context) {
	w.t.Helper()
	b := &record.Batch{}
	for _, name := range people() {
		b.PutUsers = append(b.PutUsers, identity.User{UID: "uid-" + name, Email: name + "@example.com", Active: true})
		w.tokens[name] = identity.NewToken(identity.TokenPersonal)
		b.PutTokens = append(b.PutTokens, identity.Token{
			Kind: identity.TokenPersonal, Name: "t", Owner: "uid-" + name,
			Digest: identity.DigestOf(w.tokens[name]), ExpiresAt: time.Now().Add(time.Hour),
		})
	}
	w.tokens["narrowed"] = identity.NewToken(identity.TokenPersonal)
	b.PutTokens = append(b.PutTokens, identity.Token{
		Kind: identity.TokenPersonal, Name: "n", Owner: "uid-admin",
		Digest: identity.DigestOf(w.tokens["narrowed"]), ExpiresAt: time.Now().Add(time.Hour), Narrowing: &identity.Narrowing{Models: []string{"main/gpt"}},
	})
	w.tokens["elsewhere"] = identity.NewToken(identity.TokenPersonal)
	b.PutTokens = append(b.PutTokens, identity.Token{
		Kind: identity.TokenPersonal, Name: "e", Owner: "uid-admin",
		Digest: identity.DigestOf(w.tokens["elsewhere"]), ExpiresAt: time.Now().Add(time.Hour), Narrowing: &identity.Narrowing{CIDR: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
	})
	w.commit(ctx, b)
}

// renew gives somebody another token, which the caller stores.
func (w *world) renew(who string) string {
	w.tokens[who] = identity.NewToken(identity.TokenPersonal)
	return w.tokens[who]
}

func (w *world) commit(ctx context.Context, b *record.Batch) {
	w.t.Helper()
	head, err := w.db.Commit(ctx, b)
	if err == nil {
		err = w.pub.WaitFor(ctx, head)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// seed writes manifests as the operator, who manages them like the API does.
func (w *world) seed(yaml string) {
	w.t.Helper()
	w.applyAs(apply.ManagerAPI, yaml)
}

func (w *world) applyAs(manager, yaml string) {
	w.t.Helper()
	docs, err := manifest.Parse("seed.yaml", []byte(yaml))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.api.Applier().Apply(context.Background(), apply.SystemActor(manager), apply.Request{Documents: docs}); err != nil {
		w.t.Fatal(err)
	}
}

// reply is what the API answered.
type reply struct {
	status int
	header http.Header
	body   string
}

func (w *world) do(who, method, path, body string, headers ...string) reply {
	w.t.Helper()
	r := httptest.NewRequest(method, "/api/v1"+path, strings.NewReader(body))
	if token := w.tokens[who]; token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.api.Handler().ServeHTTP(rec, r)
	out, _ := io.ReadAll(rec.Body)
	return reply{rec.Code, rec.Header(), string(out)}
}

func (w *world) etag(k v1.Kind, name string) string {
	w.t.Helper()
	r, err := w.db.Resource(context.Background(), identity.ResourceKey{Kind: k, Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return `"` + r.Meta().ResourceVersion + `"`
}

func (w *world) want(r reply, status int, contains ...string) {
	w.t.Helper()
	if r.status != status {
		w.t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	for _, s := range contains {
		if !strings.Contains(r.body, s) {
			w.t.Errorf("the answer lacks %q: %s", s, r.body)
		}
	}
}

func (w *world) without(r reply, unwanted ...string) {
	w.t.Helper()
	for _, s := range unwanted {
		if strings.Contains(r.body, s) {
			w.t.Errorf("the answer has %q: %s", s, r.body)
		}
	}
}

// yaml applies manifests as somebody.
func (w *world) yaml(who, query, text string) reply {
	w.t.Helper()
	return w.do(who, http.MethodPost, "/apply"+query, text, "Content-Type", "application/yaml")
}
