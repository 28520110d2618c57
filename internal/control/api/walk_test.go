package api_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/api"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

var update = flag.Bool("update", false, "write testdata/permissions.txt anew; read every line of the difference")

// Export and PublicKey make a world an api.AuditExport.
func (w *world) Export(_ context.Context, out io.Writer, from uint64) error {
	if w.exportFails != nil {
		return w.exportFails(out)
	}
	_, err := fmt.Fprintf(out, "{\"from\":%d}\n", from)
	return err
}

func (w *world) PublicKey() ed25519.PublicKey { return make(ed25519.PublicKey, ed25519.PublicKeySize) }

// TestLink makes a world an api.SignInTests.
func (w *world) TestLink(connection, uid, by string) (string, time.Time, error) {
	return "https://gatehouse.example.com/sso/" + connection + "/login?test=" + uid + "." + by, time.Now().Add(time.Minute), nil
}

// walkSeed has one resource of each kind with the name target, the team
// research with its manager lead, and the team other with its manager outsider.
const walkSeed = `
apiVersion: gatehouse.dev/v1
kind: TenantSettings
metadata: {name: default}
spec: {virtualAccounts: delegated}
---
apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: other}
spec: {managers: [outsider@example.com]}
---
apiVersion: gatehouse.dev/v1
kind: SecretStore
metadata: {name: target}
spec: {provider: aws-ssm}
---
apiVersion: gatehouse.dev/v1
kind: IdentityProvider
metadata: {name: target}
spec: {issuer: "https://idp.example.com", audiences: [gatehouse]}
---
apiVersion: gatehouse.dev/v1
kind: SsoConnection
metadata: {name: target}
spec: {}
---
apiVersion: gatehouse.dev/v1
kind: ScimDirectory
metadata: {name: target}
spec: {}
---
apiVersion: gatehouse.dev/v1
kind: Role
metadata: {name: target}
spec: {permissions: ["model:use"]}
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: target}
spec: {provider: echo, models: [{name: m}], collaborators: [{subject: "team:research", role: provider-account-user}]}
---
apiVersion: gatehouse.dev/v1
kind: ExternalIdentity
metadata: {name: target}
spec: {identityProvider: target, claims: [{path: /org, anyOf: [acme]}]}
---
apiVersion: gatehouse.dev/v1
kind: VirtualAccount
metadata: {name: target}
spec: {team: research}
---
apiVersion: gatehouse.dev/v1
kind: RoleBinding
metadata: {name: target}
spec: {subjects: ["team:research"], role: model-user, resources: ["model:target/m"]}
---
apiVersion: gatehouse.dev/v1
kind: AuthzRules
metadata: {name: target}
spec: {rules: []}
`

// walkers are who walks: the columns of the table, and who they are in the world.
func walkers() [][2]string {
	return [][2]string{
		{"anonymous", ""}, {"member", "member"}, {"other-manager", "outsider"}, {"manager", "lead"}, {"admin", "admin"}, {"nothing", "nothing"},
	}
}

func walkID(n int) string { return fmt.Sprintf("01900000-0000-7000-8000-%012d", n) }

// walkWorld is a world in which everything that the walk asks for exists.
func walkWorld(t testing.TB) *world {
	w := newWorld(t)
	w.seed(walkSeed)
	b := &record.Batch{PutUsers: []identity.User{{
		UID: walkID(1), Email: "guest@example.com", Active: true, Memberships: []identity.Membership{{Team: "research", Source: "manual"}},
		Identities: []identity.UserIdentity{{Issuer: "https://idp.example.com", Subject: "1"}},
	}}}
	add := func(id, owner string, kind identity.TokenKind, n *identity.Narrowing) string {
		plain := identity.NewToken(kind)
		b.PutTokens = append(b.PutTokens, identity.Token{
			ID: id, Kind: kind, Name: "walk", Owner: owner, Digest: identity.DigestOf(plain), ExpiresAt: time.Now().Add(time.Hour), Narrowing: n,
		})
		return plain
	}
	for i, who := range people() {
		add(walkID(100+i), "uid-"+who, identity.TokenPersonal, nil)
	}
	add(walkID(2), w.uid(v1.KindVirtualAccount), identity.TokenVirtualAccount, nil)
	add(walkID(5), walkID(1), identity.TokenPersonal, nil)
	add(walkID(3), w.uid(v1.KindScimDirectory), identity.TokenSCIM, nil)
	w.tokens["nothing"] = add(walkID(4), "uid-admin", identity.TokenPersonal, &identity.Narrowing{Models: []string{}, MCPServers: []string{}, Agents: []string{}})
	w.commit(context.Background(), b)
	return w
}

func (w *world) uid(k v1.Kind) string {
	w.t.Helper()
	r, err := w.db.Resource(context.Background(), keyOf(k, "target"))
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Meta().UID
}

// step is one request of the walk: a valid body, and a target that is there.
type step struct {
	row, method, path, body string
	headers                 []string
}

// own stands for the id of a token of whoever asks.
const own = "{own}"

// walkSteps are the requests to one operation. Without any a new operation
// fails the test.
func (w *world) walkSteps(op api.OperationInfo) []step {
	path := strings.TrimPrefix(op.Path, "/api/v1")
	for _, k := range v1.Kinds() {
		if strings.HasPrefix(path, "/"+k.Plural()) && (path == "/"+k.Plural() || path == "/"+k.Plural()+"/{name}") {
			return w.kindSteps(op, k, path)
		}
	}
	one := func(path, body string) []step { return []step{{row: op.ID, method: op.Method, path: path, body: body}} }
	and := func(row, path, body string) step {
		return step{row: op.ID + "/" + row, method: op.Method, path: path, body: body}
	}
	const guest, account, directory = "/users/guest@example.com", "/virtual-accounts/target/tokens", "/scim-directories/target/tokens"
	switch op.ID {
	case "apply":
		team := `{"documents":[{"apiVersion":"gatehouse.dev/v1","kind":"Team","metadata":{"name":"fresh"},"spec":{}}]}`
		return append(one(path, `{"documents":[]}`), and("team", path, team), and("dry-run", path, strings.Replace(team, "{", `{"dryRun":true,`, 1)))
	case "get-user", "delete-user":
		return one(guest, "")
	case "put-user":
		return append(one(guest, `{"displayName":"G"}`), and("new", "/users/new@example.com", `{}`))
	case "unlink-user":
		return one(guest+"/identities", "")
	case "list-user-tokens", "revoke-user-tokens":
		return one(guest+"/tokens", "")
	case "revoke-user-token":
		return one(guest+"/tokens/"+walkID(5), "")
	case "list-team-members":
		return one("/teams/research/members", "")
	case "add-team-member":
		return one("/teams/research/members/ed@example.com", "")
	case "remove-team-member":
		return one("/teams/research/members/guest@example.com", "")
	case "list-sessions", "end-sessions":
		return append(one(path, ""), and("others", path+"?user=guest@example.com", ""))
	case "end-session":
		return append(one("/sessions/"+walkID(9), ""), and("others", "/sessions/"+walkID(9)+"?user=guest@example.com", ""))
	case "create-my-token":
		return one(path, `{"name":"x"}`)
	case "revoke-my-token":
		return one("/me/tokens/"+own, "")
	case "list-virtual-account-tokens":
		return one(account, "")
	case "create-virtual-account-token":
		return one(account, `{"name":"x"}`)
	case "revoke-virtual-account-token":
		return one(account+"/"+walkID(2), "")
	case "list-scim-directory-tokens":
		return one(directory, "")
	case "create-scim-directory-token":
		return one(directory, `{"name":"x"}`)
	case "revoke-scim-directory-token":
		return one(directory+"/"+walkID(3), "")
	case "create-test-sign-in":
		return append(one("/sso-connections/target/test-sign-ins", ""), and("none", "/sso-connections/nowhere/test-sign-ins", ""))
	case "explain":
		return append(one(path, `{"model":"target/m"}`), and("others", path, `{"as":"user:guest@example.com","model":"target/m"}`))
	case "logs":
		return append(one(path, ""), and("all", path+"?scope=all", ""))
	case "list-users", "list-my-tokens", "revoke-my-tokens", "me", "permissions", "openapi", "audit", "export-audit", "audit-keys":
		return one(path, "")
	}
	return nil
}

func (w *world) kindSteps(op api.OperationInfo, k v1.Kind, path string) []step {
	name := "target"
	switch k {
	case v1.KindTenantSettings:
		name = "default"
	case v1.KindTeam:
		name = "research"
	}
	path = strings.Replace(path, "{name}", name, 1)
	s := step{row: op.ID, method: op.Method, path: path}
	if op.Method != "PUT" {
		return []step{s}
	}
	var was map[string]json.RawMessage
	if err := json.Unmarshal([]byte(w.do("admin", "GET", path, "").body), &was); err != nil {
		w.t.Fatal(err)
	}
	named := func(name string) string {
		was["metadata"] = json.RawMessage(`{"name":"` + name + `","labels":{"changed":"yes"}}`)
		body, _ := json.Marshal(was)
		return string(body)
	}
	s.body, s.headers = named(name), []string{"If-Match", "*"}
	if k == v1.KindTenantSettings {
		return []step{s}
	}
	return []step{s, {row: op.ID + "/new", method: "PUT", path: strings.TrimSuffix(path, name) + "fresh", body: named("fresh")}}
}

type walk struct {
	t     *testing.T
	w     *world
	ran   int
	dirty bool
}

// ask runs a step in a world in which nothing has been changed.
func (k *walk) ask(s *step, who string, headers ...string) reply {
	if k.dirty || k.w == nil {
		k.w, k.dirty = walkWorld(k.t), false
	}
	k.ran++
	path := s.path
	if i := slices.Index(people(), who); i >= 0 {
		path = strings.Replace(path, own, walkID(100+i), 1)
	}
	path = strings.Replace(path, own, walkID(4), 1)
	token := who
	if len(headers) > 0 {
		token = ""
	}
	r := k.w.do(token, s.method, path, s.body, append(slices.Clone(s.headers), headers...)...)
	k.dirty = s.method != "GET" && r.status < 400
	return r
}

func TestSecurityEveryOperationAsEverybody(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP: hundreds of requests, each in a world of its own")
	}
	k := &walk{t: t, w: walkWorld(t)}
	head := "operation"
	for _, who := range walkers() {
		head += " " + who[0]
	}
	lines := []string{head}
	for _, op := range k.w.api.Operations() {
		steps := k.w.walkSteps(op)
		if len(steps) == 0 {
			t.Errorf("%s (%s %s) is new: say in walkSteps how it is asked", op.ID, op.Method, op.Path)
		}
		for i := range steps {
			lines = append(lines, k.row(&steps[i]))
		}
	}
	compareTable(t, filepath.Join("testdata", "permissions.txt"), lines)
	if k.ran < 500 {
		t.Errorf("only %d requests were made", k.ran)
	}
}

// row asks as everybody, by token and by session.
func (k *walk) row(s *step) string {
	line := s.row
	for _, who := range walkers() {
		r := k.ask(s, who[1])
		line += fmt.Sprintf(" %d", r.status)
		if r.status >= 500 {
			k.t.Errorf("%s as %s: %d %s", s.row, who[0], r.status, r.body)
		}
		if who[1] == "" || who[1] == "nothing" {
			continue
		}
		cookie := []string{"Cookie", "who=" + who[1]}
		if got := k.ask(s, who[1], append(cookie, "Sec-Fetch-Site", "same-origin")...); got.status != r.status {
			k.t.Errorf("%s as %s: %d by token, %d by session: %s", s.row, who[0], r.status, got.status, got.body)
		}
		if got := k.ask(s, who[1], append(cookie, "Sec-Fetch-Site", "cross-site")...); s.method != "GET" && got.status != 403 {
			k.t.Errorf("%s as %s from another site: %d", s.row, who[0], got.status)
		}
	}
	return line
}

// compareTable holds lines against a file, line by line.
func compareTable(t *testing.T, file string, lines []string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n") {
		key, _, _ := strings.Cut(line, " ")
		want[key] = line
	}
	for _, line := range lines {
		key, _, _ := strings.Cut(line, " ")
		if want[key] != line {
			t.Errorf("%s: got %q, the table says %q", key, line, want[key])
		}
		delete(want, key)
	}
	for key := range want {
		t.Errorf("the table has %s, which is not there", key)
	}
}
