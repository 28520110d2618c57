package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/api"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// secretWord stands in everything that belongs to the team red, and in nothing
// else; control is a word that stands nowhere. Whoever has nothing to do with
// red must not be able to tell the one from the other.
const (
	secretWord = "zebrafish"
	control    = "quokkabug"
)

// redSeed is red's data. Only the team's name and display name are everybody's
// to see.
const redSeed = `
apiVersion: gatehouse.dev/v1
kind: TenantSettings
metadata: {name: default}
spec: {virtualAccounts: delegated}
---
apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: red, labels: {zebrafish: zebrafish}, annotations: {zebrafish: zebrafish}}
spec: {displayName: Red, description: zebrafish, managers: [zebrafish@example.com], members: [zebrafish2@example.com]}
---
apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: blue, labels: {env: blue}}
spec: {managers: [outsider@example.com], members: [ed@example.com]}
---
apiVersion: gatehouse.dev/v1
kind: SecretStore
metadata: {name: zebrafish, labels: {zebrafish: zebrafish}}
spec: {provider: aws-ssm, region: zebrafish, collaborators: [{subject: "team:red", role: secret-store-user}]}
---
apiVersion: gatehouse.dev/v1
kind: IdentityProvider
metadata: {name: zebrafish, labels: {zebrafish: zebrafish}}
spec: {issuer: "https://zebrafish.example.com", audiences: [zebrafish]}
---
apiVersion: gatehouse.dev/v1
kind: SsoConnection
metadata: {name: zebrafish, labels: {zebrafish: zebrafish}}
spec: {description: zebrafish}
---
apiVersion: gatehouse.dev/v1
kind: ScimDirectory
metadata: {name: zebrafish, labels: {zebrafish: zebrafish}}
spec: {description: zebrafish}
---
apiVersion: gatehouse.dev/v1
kind: Role
metadata: {name: zebrafish, labels: {zebrafish: zebrafish}}
spec: {description: zebrafish, permissions: ["model:use"]}
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: zebrafish, labels: {zebrafish: zebrafish}}
spec:
  provider: echo
  description: zebrafish
  models: [{name: zebrafish}]
  collaborators: [{subject: "team:red", role: provider-account-user}, {subject: "user:zebrafish@example.com", role: provider-account-manager}]
---
apiVersion: gatehouse.dev/v1
kind: ExternalIdentity
metadata: {name: zebrafish, labels: {zebrafish: zebrafish}}
spec: {identityProvider: zebrafish, claims: [{path: /zebrafish, anyOf: [zebrafish]}]}
---
apiVersion: gatehouse.dev/v1
kind: VirtualAccount
metadata: {name: zebrafish, labels: {zebrafish: zebrafish}}
spec: {team: red, description: zebrafish}
---
apiVersion: gatehouse.dev/v1
kind: RoleBinding
metadata: {name: zebrafish, labels: {zebrafish: zebrafish}}
spec: {subjects: ["team:red"], role: zebrafish, resources: ["model:zebrafish/zebrafish"]}
---
apiVersion: gatehouse.dev/v1
kind: AuthzRules
metadata: {name: zebrafish, labels: {zebrafish: zebrafish}}
spec: {rules: [{models: [zebrafish/zebrafish], users: ["team:red"]}]}
`

func redWorld(t testing.TB) *world {
	w := newWorld(t)
	w.seed(redSeed)
	ctx := context.Background()
	red := []identity.User{{UID: walkID(10), Email: secretWord + "@example.com", UserName: secretWord, DisplayName: secretWord, Active: true}}
	for i, email := range []string{secretWord + "2@example.com", secretWord + "3@example.com"} {
		red = append(red, identity.User{UID: walkID(11 + i), Email: email, Active: true, Memberships: []identity.Membership{{Team: "red", Source: "manual"}}})
	}
	account, err := w.db.Resource(ctx, keyOf(v1.KindVirtualAccount, secretWord))
	if err != nil {
		t.Fatal(err)
	}
	b := &record.Batch{PutUsers: red}
	for i, owner := range []string{walkID(10), account.Meta().UID} {
		kind := []identity.TokenKind{identity.TokenPersonal, identity.TokenVirtualAccount}[i]
		plain := identity.NewToken(kind)
		w.tokens[[]string{"red", "red-bot"}[i]] = plain
		b.PutTokens = append(b.PutTokens, identity.Token{
			ID: walkID(20 + i), Kind: kind, Name: secretWord, Owner: owner, Digest: identity.DigestOf(plain), ExpiresAt: time.Now().Add(time.Hour),
		})
	}
	w.commit(ctx, b)
	err = w.db.AppendRequests(ctx, []record.Request{{
		ID: walkID(30), At: time.Now(), Endpoint: "chat.completions", PrincipalKind: "user", UID: walkID(10), Principal: secretWord + "@example.com",
		Email: secretWord + "@example.com", Team: "red", Account: secretWord, Model: secretWord, Status: 200, Metadata: `{"k":"` + secretWord + `"}`,
	}})
	if err != nil {
		t.Fatal(err)
	}
	// Red's manager does something, so that it is in the audit.
	w.want(w.do("red", "POST", "/me/tokens", `{"name":"`+secretWord+`"}`), 201)
	return w
}

// others are who has nothing to do with red: a manager and a member of blue,
// and somebody in no team.
func others() []string { return []string{"outsider", "ed", "lead"} }

// probe is a request about a word; told says that by its nature it tells
// whether the name is taken.
type probe struct {
	method, path, body string
	headers            []string
	told               []string
}

// probes are everything that can be asked about a word at one operation.
func probes(w *world, op api.OperationInfo, word string) []probe {
	path := strings.TrimPrefix(op.Path, "/api/v1")
	isTeam := strings.HasPrefix(path, "/teams")
	name, id := word, walkID(20)
	if word == control {
		id = walkID(99)
	}
	if strings.HasSuffix(path, "/members/{user}") || isTeam {
		name = "blue" // that red is there is no secret; its people are
	}
	at := strings.NewReplacer("{name}", name, "{user}", word+"@example.com", "{id}", id).Replace(path)
	list := []probe{{method: op.Method, path: at, body: `{}`}}
	if op.ID == "add-team-member" { // R4.1: who is added by address learns that there is somebody
		list[0].told = []string{"outsider"}
	}
	if op.Method == http.MethodGet && !strings.Contains(path, "{") {
		list = append(list, searches(at, word)...)
	}
	switch {
	case op.Method == http.MethodGet:
		for i := range list {
			list[i].body = ""
		}
	case strings.HasPrefix(op.ID, "put-") && strings.HasSuffix(path, "/{name}"):
		list = puts(w, op, at, word)
	case op.ID == "explain":
		list = explains(at, word)
	case strings.HasPrefix(op.ID, "create-"):
		list[0].body = `{"name":"x","narrowing":{"models":["` + word + `/` + word + `"]}}`
	}
	if strings.Contains(path, "sessions") {
		list = append(list, probe{method: op.Method, path: at + "?user=" + word + "@example.com"})
	}
	return list
}

// searches use a filter as an oracle.
func searches(path, word string) []probe {
	var list []probe
	for _, q := range []string{
		`metadata.name co "` + word + `"`, `metadata.name eq "` + word + `"`, `not (metadata.name sw "` + word[:3] + `")`, `metadata.labels.` + word + ` pr`,
		`metadata.labels.` + word + ` eq "` + word + `"`, `metadata.annotations.` + word + ` pr`, `spec.description co "` + word + `"`, `metadata.name ne "` + word + `"`,
		`metadata.name ne "` + word + `" and metadata.name pr`,
	} {
		escaped := strings.NewReplacer(" ", "+", `"`, "%22").Replace(q)
		list = append(list, probe{method: "GET", path: path + "?filter=" + escaped}, probe{method: "GET", path: path + "?limit=1&filter=" + escaped})
	}
	return append(list, probe{method: "GET", path: path + "?actor=user:" + word + "@example.com"}, probe{method: "GET", path: path + "?target=virtual-account:" + word},
		probe{method: "GET", path: path + "?cursor=" + word}, probe{method: "GET", path: path + "?scope=all"})
}

// puts write over what is red's, and refer to it.
func puts(w *world, op api.OperationInfo, path, word string) []probe {
	if op.ID == "put-tenant-settings" { // there is one, and it is nobody's secret
		return []probe{{method: "PUT", path: "/tenant-settings/default", body: `{"metadata":{"name":"default"},"spec":{"corsOrigins":["https://` + word + `.example.com"]}}`}}
	}
	var was map[string]json.RawMessage
	get := w.do("admin", "GET", strings.Replace(path, control, secretWord, 1), "")
	if json.Unmarshal([]byte(get.body), &was) != nil || was["spec"] == nil {
		w.t.Fatalf("%s: %s", path, get.body)
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	was["metadata"] = json.RawMessage(`{"name":"` + name + `"}`)
	text, _ := json.Marshal(was)
	body := strings.ReplaceAll(string(text), secretWord, word)
	// Names of virtual accounts are the installation's: a manager who may make
	// one learns that a name is taken, and no more.
	told := map[bool][]string{true: {"outsider", "lead"}}[op.ID == "put-virtual-account"]
	list := []probe{
		{"PUT", path, body, nil, told},
		{"PUT", path, body, []string{"If-None-Match", "*"}, told},
		{"PUT", path, body, []string{"If-Match", "*"}, told},
		{"PUT", path + "?takeOver=true", body, []string{"If-Match", `"1"`}, told},
	}
	if op.ID == "put-virtual-account" {
		for _, access := range []string{`model:` + word + `/` + word, "provider-account:" + word, "virtual-account:" + word, "secret-store:" + word} {
			list = append(list, probe{method: "PUT", path: "/virtual-accounts/mine", body: `{"metadata":{"name":"mine"},"spec":{"team":"blue","access":[{"resource":"` + access + `","role":"model-user"}]}}`})
		}
		list = append(list, probe{method: "PUT", path: "/virtual-accounts/mine", body: `{"metadata":{"name":"mine"},"spec":{"team":"blue","access":[{"resource":"model:main/gpt","role":"` + word + `"}]}}`},
			probe{method: "PUT", path: "/virtual-accounts/mine", body: `{"metadata":{"name":"mine"},"spec":{"team":"blue","identityProviderMappings":[{"identityProvider":"` + word + `","clientId":"x"}]}}`})
	}
	return list
}

func explains(path, word string) []probe {
	var list []probe
	for _, body := range []string{
		`{"model":"W/W"}`, `{"as":"user:W@example.com","model":"main/gpt"}`, `{"as":"virtual-account:W"}`, `{"resource":"virtual-account:W","action":"virtual-account:read"}`,
		`{"resource":"user:W@example.com","action":"user:read"}`, `{"resource":"role:W","action":"role:read"}`, `{"resource":"provider-account:W","action":"provider-account:read"}`,
	} {
		list = append(list, probe{method: "POST", path: path, body: strings.ReplaceAll(body, "W", word)})
	}
	return list
}

var (
	requestIDs = regexp.MustCompile(`"requestId":"[^"]*"`)
	uuids      = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	secrets    = regexp.MustCompile(`"token":"gt[a-z]_[^"]*"`)
	moments    = regexp.MustCompile(`20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z`)
	cursors    = regexp.MustCompile(`"nextCursor":"[^"]*"`)
	versions   = regexp.MustCompile(`"resourceVersion":"[^"]*"`)
)

// seen is all of an answer that somebody can compare with another.
func seen(r reply, word string) string {
	h := r.header.Clone()
	h.Del("X-Request-Id")
	if h.Get("ETag") != "" && strings.HasPrefix(r.body, "{") && strings.Contains(r.body, `"blue"`) {
		h.Set("ETag", "of blue")
	}
	headers, _ := json.Marshal(h)
	text := r.body
	for re, with := range map[*regexp.Regexp]string{requestIDs: "ID", uuids: "UUID", secrets: "SECRET", moments: "TIME", cursors: "CURSOR", versions: "VERSION"} {
		text = re.ReplaceAllString(text, with)
	}
	return strings.ReplaceAll(strings.Join([]string{http.StatusText(r.status), string(headers), text}, " "), word, "WORD")
}

func TestSecurityAnotherTeamsDataCannotBeToldFromNothing(t *testing.T) {
	ran := 0
	var w *world
	for _, who := range others() {
		w = redWorld(t)
		for _, op := range w.api.Operations() {
			if op.ID == "openapi" || strings.HasPrefix(op.ID, "revoke-my-token") {
				continue
			}
			asked, absent := probes(w, op, secretWord), probes(w, op, control)
			for i := range asked {
				ran++
				got := w.ask(who, &asked[i])
				if got.status < 400 && op.Method != http.MethodGet && op.ID != "explain" {
					w = redWorld(t)
				}
				other := w.ask(who, &absent[i])
				if other.status < 400 && op.Method != http.MethodGet && op.ID != "explain" {
					w = redWorld(t)
				}
				if strings.Contains(seen(other, control), secretWord) {
					t.Errorf("%s: %s %s shows red's data: %s", who, op.Method, absent[i].path, other.body)
				}
				if a, b := seen(got, secretWord), seen(other, control); a != b && !slices.Contains(asked[i].told, who) {
					t.Errorf("%s: %s %s %s\ntells: %s\n  for: %s", who, op.Method, asked[i].path, asked[i].body, a, b)
				}
				if got.status >= 500 || other.status >= 500 {
					t.Errorf("%s: %s %s: %d, %d", who, op.Method, asked[i].path, got.status, other.status)
				}
			}
		}
	}
	if ran < 1000 {
		t.Errorf("only %d probes", ran)
	}
}

func (w *world) ask(who string, p *probe) reply {
	return w.do(who, p.method, p.path, p.body, p.headers...)
}

func TestSecurityEverybodyOfATeamSeesItsOwnData(t *testing.T) {
	w := redWorld(t)
	w.run(t, []scenario{
		{who: "red", method: "GET", path: "/teams/red", status: 200, contains: []string{secretWord}},
		{who: "red", method: "GET", path: "/teams/red/members", status: 200, contains: []string{secretWord + "3@example.com"}},
		{who: "red", method: "GET", path: "/virtual-accounts?filter=metadata.name+co+%22zebra%22", status: 200, contains: []string{`"total":1`, secretWord}},
		{who: "red", method: "GET", path: "/provider-accounts", status: 200, contains: []string{`"total":1`, secretWord}},
		{who: "red", method: "GET", path: "/logs", status: 200, contains: []string{secretWord}},
		{who: "admin", method: "GET", path: "/teams/red", status: 200, contains: []string{secretWord}},
		{who: "ed", method: "GET", path: "/teams/red", status: 200, contains: []string{`"displayName":"Red"`}, lacks: []string{secretWord, "uid", "resourceVersion"}},
		{who: "ed", method: "GET", path: "/teams/blue", status: 200, contains: []string{"outsider@example.com"}},
	})
	w.seed(head("RoleBinding", "auditor") + `{subjects: ["user:pam@example.com"], role: team-viewer, resources: [tenant]}`)
	w.want(w.do("pam", "GET", "/teams/red", ""), 200, secretWord)
	if r := w.do("ed", "GET", "/teams/red", ""); r.header.Get("ETag") != "" {
		t.Errorf("the version of another team is told: %s", r.header.Get("ETag"))
	}
}
