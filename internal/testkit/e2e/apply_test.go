package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/devidp"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
)

// asCLI is the environment of the command line for a server.
func asCLI(t testing.TB, url, token string) []string {
	return quietEnv(t.TempDir(), "GATEHOUSE_URL="+url, "GATEHOUSE_TOKEN="+token)
}

// outcomes reads the answer of apply as KIND/NAME ACTION.
func outcomes(t testing.TB, body string) map[string]string {
	t.Helper()
	var res struct {
		Results []struct{ Kind, Name, Action string }
	}
	if err := json.Unmarshal([]byte(body), &res); err != nil {
		t.Fatal(err, body)
	}
	m := map[string]string{}
	for _, r := range res.Results {
		m[r.Kind+"/"+r.Name] = r.Action
	}
	return m
}

func TestApplyOfAFolderWithOneBadFileChangesNothing(t *testing.T) {
	g := testkit.Start(t, testkit.Options{})
	for _, c := range []struct {
		name, file, content string
		want                []string
	}{
		{"an unknown field", "b-bad.yaml", "apiVersion: gatehouse.dev/v1\nkind: ProviderAccount\nmetadata: {name: acc}\nspec:\n  provider: echo\n  baseUrl: http://127.0.0.1:1/v1\n", []string{"b-bad.yaml:6:3", "spec.baseUrl"}},
		{"a wrong value", "b-bad.yaml", "apiVersion: gatehouse.dev/v1\nkind: ProviderAccount\nmetadata: {name: acc}\nspec:\n  provider: ecko\n", []string{"b-bad.yaml:5:", "spec.provider"}},
		{"a tab", "rules.yaml", "authz_rules:\n  - models: [a/b]\n\tusers: [x@example.com]\n", []string{"rules.yaml:3:1"}},
		{"what only the server knows", "b-bad.yaml", "# a comment\napiVersion: gatehouse.dev/v1\nkind: ExternalIdentity\nmetadata: {name: partner}\nspec:\n  identityProvider: nobody\n", []string{"spec.identityProvider", "nobody"}}, // file and line are lost on the way: see the next test for what the API says
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "a-good.yaml"), team("good", "a@example.com"))
			write(t, filepath.Join(dir, c.file), c.content)
			write(t, filepath.Join(dir, "c-good.yaml"), team("good-too", "a@example.com"))
			code, out, errs := cli(t, asCLI(t, g.URL(), g.Admin), dir, "", "apply", "-f", dir)
			if code == 0 || out != "" {
				t.Errorf("exit status %d, output %q", code, out)
			}
			mustContain(t, "the message", errs, c.want...)
			for _, name := range []string{"good", "good-too"} {
				if res := g.Do(t, testkit.Request{Path: "/api/v1/teams/" + name, Token: g.Admin}); res.Status != http.StatusNotFound {
					t.Errorf("team %s: %d %s", name, res.Status, res.Body)
				}
			}
		})
	}
}

func TestTheAPINamesLineColumnAndFieldOfWhatIsWrong(t *testing.T) {
	g := testkit.Start(t, testkit.Options{})
	res := g.Do(t, testkit.Request{
		Method: http.MethodPost, Path: "/api/v1/apply", Token: g.Admin, Header: http.Header{"Content-Type": {"application/yaml"}},
		Body: docs(team("fine"), "apiVersion: gatehouse.dev/v1\nkind: ExternalIdentity\nmetadata: {name: partner}\nspec:\n  identityProvider: nobody\n"),
	})
	mustContain(t, "the answer", res.Body, `"line":10`, `"column":`, `"path":"spec.identityProvider"`)
	if res.Status != http.StatusConflict { // right in itself: it does not fit what is there
		t.Errorf("status %d", res.Status)
	}
	if res := g.Do(t, testkit.Request{Path: "/api/v1/teams/fine", Token: g.Admin}); res.Status != http.StatusNotFound {
		t.Errorf("the good document was written: %d", res.Status)
	}
}

func TestConcurrentAppliesDoNotLoseOneAnothersChange(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Manifests: docs(team("shared"), team("base"))})
	const writers = 8
	var wg sync.WaitGroup
	// Each adds its own member to the same team, on top of what it has read.
	for i := range writers {
		wg.Go(func() {
			for range 200 {
				got := send(t, http.MethodGet, g.URL()+"/api/v1/teams/shared", g.Admin, "")
				var doc struct{ Spec struct{ Members []string } }
				if err := json.Unmarshal([]byte(got.body), &doc); err != nil {
					t.Errorf("writer %d: %v %s", i, err, got.body)
					return
				}
				members := strings.Join(append(doc.Spec.Members, fmt.Sprintf("w%d@example.com", i)), `","`)
				body := `{"metadata":{"name":"shared"},"spec":{"members":["` + members + `"]}}`
				put := send(t, http.MethodPut, g.URL()+"/api/v1/teams/shared?takeOver=true", g.Admin, body, "If-Match", got.header.Get("ETag"))
				if put.status == http.StatusOK {
					return
				}
				if put.status != http.StatusPreconditionFailed {
					t.Errorf("writer %d: %d %s", i, put.status, put.body)
					return
				}
			}
			t.Errorf("writer %d was never first", i)
		})
		// And a whole set of its own beside it.
		wg.Go(func() {
			res := send(t, http.MethodPost, fmt.Sprintf("%s/api/v1/apply?manager=w%d", g.URL(), i), g.Admin,
				docs(team(fmt.Sprintf("own-%d", i)), team(fmt.Sprintf("own-too-%d", i))), "Content-Type", "application/yaml")
			if res.status != http.StatusOK {
				t.Errorf("set %d: %d %s", i, res.status, res.body)
			}
		})
	}
	wg.Wait()
	got := g.Do(t, testkit.Request{Path: "/api/v1/teams/shared", Token: g.Admin}).Body
	for i := range writers {
		mustContain(t, "the team", got, fmt.Sprintf("w%d@example.com", i))
		for _, name := range []string{"own", "own-too"} {
			if res := g.Do(t, testkit.Request{Path: fmt.Sprintf("/api/v1/teams/%s-%d", name, i), Token: g.Admin}); res.Status != http.StatusOK {
				t.Errorf("%s-%d: %d", name, i, res.Status)
			}
		}
	}
}

func TestASetThatWasReadBeforeSomebodyElsesChangeIsRefused(t *testing.T) {
	g := testkit.Start(t, testkit.Options{Manifests: team("shared")})
	read := g.Do(t, testkit.Request{Path: "/api/v1/teams/shared", Token: g.Admin, Header: http.Header{"Accept": {"application/yaml"}}}).Body
	mustContain(t, "the resource", read, "resourceVersion")
	g.Apply(t, team("shared", "first@example.com"))
	res := g.Do(t, testkit.Request{Method: http.MethodPost, Path: "/api/v1/apply", Token: g.Admin, Body: read, Header: http.Header{"Content-Type": {"application/yaml"}}})
	if res.Status != http.StatusPreconditionFailed {
		t.Errorf("the second: %d %s", res.Status, res.Body)
	}
	mustContain(t, "the team", g.Do(t, testkit.Request{Path: "/api/v1/teams/shared", Token: g.Admin}).Body, "first@example.com")
}

func TestPruneShowsWhatItRemovesAndLeavesOthersAlone(t *testing.T) {
	g := testkit.Start(t, testkit.Options{})
	applyTo(t, g.URL(), g.Admin, docs(team("keep"), team("drop", "gone@example.com")), "manager=ours")
	applyTo(t, g.URL(), g.Admin, team("theirs"), "manager=others")
	put := g.Do(t, testkit.Request{Method: http.MethodPut, Path: "/api/v1/teams/by-hand", Token: g.Admin, Body: `{"metadata":{"name":"by-hand"},"spec":{}}`})
	if put.Status != http.StatusCreated {
		t.Fatalf("%d %s", put.Status, put.Body)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "keep.yaml"), team("keep"))
	env := asCLI(t, g.URL(), g.Admin)
	there := func(name string) bool {
		return g.Do(t, testkit.Request{Path: "/api/v1/teams/" + name, Token: g.Admin}).Status == http.StatusOK
	}

	code, out, errs := cli(t, env, dir, "", "apply", "-f", dir, "--prune", "--dry-run", "--manager", "ours")
	if code != 0 {
		t.Fatalf("dry run: %d %s", code, errs)
	}
	mustContain(t, "the dry run", out, "team/keep unchanged", "team/drop pruned", "gone@example.com")
	if strings.Contains(out, "theirs") || strings.Contains(out, "by-hand") {
		t.Errorf("the dry run names others' resources:\n%s", out)
	}
	if !there("drop") {
		t.Error("the dry run has removed something")
	}

	if code, _, errs = cli(t, env, dir, "", "apply", "-f", dir, "--prune", "--manager", "ours"); code != 0 {
		t.Fatalf("prune: %d %s", code, errs)
	}
	for name, want := range map[string]bool{"keep": true, "drop": false, "theirs": true, "by-hand": true} {
		if there(name) != want {
			t.Errorf("team %s: there %t, want %t", name, !want, want)
		}
	}
}

func TestTheBareAuthzRulesFileAppliesAsPrinted(t *testing.T) {
	idp := newCompany(t, "ada@acme.com", "bob@acme.com", "cyd@acme.com")
	account := strings.Replace(echoAccount("openai-main", ""), `  collaborators: [{subject: "team:everyone", role: provider-account-user}]`+"\n", "", 1)
	account = strings.Replace(account, "{name: small}", "{name: gpt-4o}, {name: text-embedding-3-small}", 1)
	g := testkit.Start(t, testkit.Options{Manifests: docs(idp.manifest("company"), account, team("research", "bob@acme.com"))})
	rules := blockWith(t, filepath.Join(root, "docs/access-control.md"), "authz_rules:")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules.yaml"), rules)
	code, out, errs := cli(t, asCLI(t, g.URL(), g.Admin), dir, "", "apply", "-f", "rules.yaml")
	if code != 0 {
		t.Fatalf("%d %s", code, errs)
	}
	mustContain(t, "the output", out, "authz-rules/rules created")
	for email, want := range map[string]int{"ada@acme.com": 200, "bob@acme.com": 200, "cyd@acme.com": 403} {
		if res := g.Chat(t, idp.token(email, devidp.MintOptions{}), "openai-main/gpt-4o"); res.Status != want {
			t.Errorf("%s: %d, want %d: %s", email, res.Status, want, res.Body)
		}
	}
	// A user name works too, and the same text over HTTP.
	g.Apply(t, "authz_rules:\n  - models: [openai-main/gpt-4o]\n    users: [cyd]\n")
	if res := g.Do(t, testkit.Request{Method: http.MethodPut, Path: "/api/v1/users/cyd@acme.com", Token: g.Admin, Body: `{"userName":"cyd"}`}); res.Status != http.StatusOK {
		t.Fatalf("user name: %d %s", res.Status, res.Body)
	}
	if res := g.Chat(t, idp.token("cyd@acme.com", devidp.MintOptions{}), "openai-main/gpt-4o"); res.Status != 200 {
		t.Errorf("by user name: %d %s", res.Status, res.Body)
	}
}

// everything is one of each kind that can be written, with a secret.
func everything(idp *company) string {
	return docs(idp.manifest("company"), adminBinding("ada@acme.com"), team("research", "bob@acme.com"), echoAccount("echo", ""),
		`apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: openai-main, labels: {env: production}}
spec:
  provider: openai
  credentials: {apiKey: {value: sk-very-secret}}
  models: [{name: gpt-4o, model: gpt-4o-2024-11-20, types: [chat], cost: {input: "2.50", output: "10.00"}}]
`, `apiVersion: gatehouse.dev/v1
kind: ExternalIdentity
metadata: {name: partner}
spec: {identityProvider: company, claims: [{path: /org, anyOf: [acme]}]}
`, `apiVersion: gatehouse.dev/v1
kind: VirtualAccount
metadata: {name: bot}
spec: {team: research, access: [{resource: "model:echo/small", role: model-user}], token: {expiresAfter: 90d}}
`, `apiVersion: gatehouse.dev/v1
kind: Role
metadata: {name: reader}
spec: {permissions: ["provider-account:read"]}
`, `apiVersion: gatehouse.dev/v1
kind: AuthzRules
metadata: {name: rules}
spec: {rules: [{models: [openai-main/gpt-4o], users: [ada@acme.com]}]}
`)
}

func TestApplyTwiceAndExportedAppliedAgainChangesNothing(t *testing.T) {
	idp := newCompany(t, "ada@acme.com", "bob@acme.com")
	g := testkit.Start(t, testkit.Options{})
	first := applyTo(t, g.URL(), g.Admin, everything(idp))
	for what, action := range outcomes(t, first.body) {
		if action != "created" {
			t.Errorf("at first: %s %s", what, action)
		}
	}
	second := applyTo(t, g.URL(), g.Admin, everything(idp))
	for what, action := range outcomes(t, second.body) {
		if action != "unchanged" {
			t.Errorf("again: %s %s\n%s", what, action, second.body)
		}
	}
	env := asCLI(t, g.URL(), g.Admin)
	code, exported, errs := cli(t, env, t.TempDir(), "", "export")
	if code != 0 {
		t.Fatalf("export: %d %s", code, errs)
	}
	if strings.Contains(exported, "sk-very-secret") {
		t.Error("the export holds a secret")
	}
	code, out, errs := cli(t, env, t.TempDir(), exported, "apply", "-f", "-")
	if code != 0 {
		t.Fatalf("apply of the export: %d %s\n%s", code, errs, exported)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(outcomes(t, first.body)) {
		t.Errorf("%d resources were exported, %d written", len(lines), len(outcomes(t, first.body)))
	}
	for _, line := range lines {
		if !strings.HasSuffix(line, " unchanged") {
			t.Errorf("export, then apply: %s", line)
		}
	}
}

// blockWith returns the first fenced block of a page that holds a text.
func blockWith(t testing.TB, page, text string) string {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range fenced(string(b)) {
		if strings.Contains(block.text, text) {
			return block.text
		}
	}
	t.Fatalf("%s has no block with %q", page, text)
	return ""
}

// block is a fenced block of a page.
type block struct {
	language, text string
	line           int
}

func fenced(page string) []block {
	var list []block
	var open *block
	for i, line := range strings.Split(page, "\n") {
		switch mark, ok := strings.CutPrefix(line, "```"); {
		case ok && open == nil:
			open = &block{language: mark, line: i + 1}
		case ok:
			list = append(list, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return list
}
