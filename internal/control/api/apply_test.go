package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

func teamYAML(name, member string) string {
	return head("Team", name) + `{members: [` + member + `@example.com]}`
}

func TestApplyIsIdempotentAllOrNothingAndShowsDiffs(t *testing.T) {
	w := newWorld(t)
	set := teamYAML("a", "x") + "\n---\n" + teamYAML("b", "y")
	w.want(w.yaml("admin", "?dryRun=true", set), 200, `"dryRun":true`, `"created"`, "+  name: a")
	w.want(w.do("admin", "GET", "/teams/a", ""), 404)
	w.want(w.yaml("admin", "", set), 200, `"created"`)
	head1 := w.pub.Load().Head()
	r := w.yaml("admin", "", set)
	w.want(r, 200, `"unchanged"`)
	w.without(r, "configured", "created", "diff")
	if w.pub.Load().Head() != head1 {
		t.Error("applying the same twice took a revision")
	}
	w.want(w.yaml("admin", "", strings.Replace(set, "x@", "z@", 1)), 200, `"configured"`, `"unchanged"`, `-    - x@example.com`, `+    - z@example.com`)
	// One wrong document, and nothing is written; every error has its place.
	r = w.yaml("admin", "", teamYAML("c", "x")+"\n---\n"+head("ExternalIdentity", "e")+"{identityProvider: none}\n---\n"+head("RoleBinding", "e")+`{subjects: ["team:c"], role: none, resources: [tenant]}`)
	w.want(r, 409, "manifest_conflict", `"path":"spec.identityProvider"`, `"line":9`, `"path":"spec.role"`)
	w.want(w.do("admin", "GET", "/teams/c", ""), 404)
	// What another state would not make right either is wrong, whatever else contradicts what is there.
	r = w.yaml("admin", "", head("ExternalIdentity", "e")+"{identityProvider: none}\n---\n"+head("Role", "e")+"{permissions: [fly]}")
	w.want(r, 400, "invalid_manifest", `"path":"spec.identityProvider"`, `"path":"spec.permissions[0]"`)
	// References within the set are found, in any order; what grants nothing yet is a warning.
	r = w.yaml("admin", "", head("ExternalIdentity", "e")+"{identityProvider: idp}\n---\n"+head("IdentityProvider", "idp")+"{issuer: \"https://idp.example.com\", audiences: [g]}\n---\n"+
		head("AuthzRules", "z")+"{rules: [{models: [later/m], users: [ada]}]}")
	w.want(r, 200, "there is no provider account later (yet)")
}

func TestApplyTakesJSONAndNamesTheDocument(t *testing.T) {
	w := newWorld(t)
	doc := func(name string) string {
		return `{"apiVersion":"gatehouse.dev/v1","kind":"Team","metadata":{"name":"` + name + `"},"spec":{}}`
	}
	w.want(w.do("admin", "POST", "/apply", `{"manager":"ci","documents":[`+doc("a")+`]}`), 200, "created")
	w.want(w.do("admin", "GET", "/teams/a", ""), 200, `"manager":"apply:ci"`)
	for body, want := range map[string]string{
		`{"documents":[` + doc("a") + `,` + doc("NO") + `]}`: "documents[1].json",
		`{"documents":[` + doc("x") + `,` + doc("x") + `]}`:  "twice",
		`{"manager":"../x","documents":[]}`:                  "manager must be",
		`{"manager":"ci"}`:                                   "documents is required",
		`{"documents":[],"Prune":true,"prune":false}`:        "ambiguous_body",
		`{"documents":[],"purge":true}`:                      "purge",
		`{"documents":[]} {}`:                                "after the JSON",
	} {
		w.want(w.do("admin", "POST", "/apply", body), 400, want)
	}
}

func TestPruneRemovesTheManagersOwnResourcesOnly(t *testing.T) {
	w := newWorld(t)
	w.want(w.yaml("admin", "?manager=one", teamYAML("a", "x")+"\n---\n"+teamYAML("b", "x")), 200)
	w.want(w.yaml("admin", "?manager=two", teamYAML("c", "x")), 200)
	r := w.yaml("admin", "?manager=one&prune=true", teamYAML("a", "x"))
	w.want(r, 200, `"name":"b","action":"pruned"`)
	w.without(r, `"c"`, "research")
	w.want(w.do("admin", "GET", "/teams/b", ""), 404)
	w.want(w.do("admin", "GET", "/teams/c", ""), 200)
	w.want(w.do("admin", "GET", "/teams/research", ""), 200)
	// What would be removed must be removable.
	w.want(w.yaml("maker", "?manager=one&prune=true", teamYAML("mine", "maker")), 403, "team:delete")
	w.want(w.do("admin", "GET", "/teams/a", ""), 200)
}

func TestSecurityAnotherManagersResourceNeedsTakeOver(t *testing.T) {
	w := newWorld(t)
	w.applyAs("dir", teamYAML("from-dir", "x"))
	w.want(w.yaml("admin", "?manager=ci", teamYAML("from-dir", "y")), 409, "managed_by", "managed by dir")
	w.want(w.do("admin", "DELETE", "/teams/from-dir", ""), 409, "managed_by")
	w.want(w.yaml("maker", "?manager=ci&takeOver=true", teamYAML("from-dir", "x")), 403, "resource:take-over")
	// To somebody who may not write it, the manager is nobody's business.
	r := w.yaml("outsider", "?manager=ci", teamYAML("from-dir", "y"))
	w.want(r, 403)
	w.without(r, "managed")
	w.want(w.yaml("admin", "?manager=ci&takeOver=true", teamYAML("from-dir", "y")), 200, "configured")
	w.want(w.do("admin", "GET", "/teams/from-dir", ""), 200, `"manager":"apply:ci"`)
}

func TestDocumentsWithAVersionAreWrittenOnTopOfItOnly(t *testing.T) {
	w := newWorld(t)
	w.want(w.yaml("admin", "", teamYAML("a", "x")), 200)
	stale := strings.Trim(w.etag(v1.KindTeam, "a"), `"`)
	versioned := func(member string) string {
		return strings.Replace(teamYAML("a", member), "{name: a}", `{name: a, resourceVersion: "`+stale+`"}`, 1)
	}
	w.want(w.yaml("admin", "", versioned("y")), 200, "configured")
	w.want(w.yaml("admin", "", versioned("z")), 412, "precondition_failed")
	w.want(w.yaml("admin", "", strings.Replace(versioned("z"), "name: a,", "name: gone,", 1)), 412)
}

func TestConcurrentAppliesLoseNothing(t *testing.T) {
	w := newWorld(t)
	const n = 8
	var wg sync.WaitGroup
	replies := make([]reply, n)
	for i := range n {
		wg.Go(func() {
			replies[i] = w.yaml("admin", fmt.Sprintf("?manager=m%d", i), teamYAML(fmt.Sprintf("own-%d", i), "x"))
		})
	}
	wg.Wait()
	for i, r := range replies {
		w.want(r, 200, "created")
		w.want(w.do("admin", "GET", fmt.Sprintf("/teams/own-%d", i), ""), 200)
	}
	// Of writers who have all read the same, one wins and the others are told.
	tag := w.etag(v1.KindTeam, "own-0")
	for i := range n {
		wg.Go(func() {
			replies[i] = w.do("admin", "PUT", "/teams/own-0?takeOver=true", fmt.Sprintf(`{"metadata":{"name":"own-0"},"spec":{"members":["m%d@example.com"]}}`, i), "If-Match", tag)
		})
	}
	wg.Wait()
	won := 0
	for _, r := range replies {
		switch r.status {
		case 200:
			won++
		case 412:
		default:
			t.Errorf("status %d: %s", r.status, r.body)
		}
	}
	if won != 1 {
		t.Errorf("%d writers won", won)
	}
	// Without a version the last one wins, and nobody is refused.
	for i := range n {
		wg.Go(func() {
			replies[i] = w.yaml("admin", "?manager=m1&takeOver=true", teamYAML("own-1", fmt.Sprintf("m%d", i)))
		})
	}
	wg.Wait()
	for _, r := range replies {
		w.want(r, 200)
	}
}

func TestSecuritySecretsAreSealedAndNeverShown(t *testing.T) {
	w := newWorld(t)
	for who, path := range map[string]string{"admin": "/provider-accounts/main", "pam": "/provider-accounts", "ed": "/provider-accounts/main"} {
		r := w.do(who, "GET", path, "")
		w.want(r, 200, `"stored":true`, `"digest":"hmac:`)
		w.without(r, plainKey)
	}
	secret := "sk-another-secret"
	body := strings.ReplaceAll(account(seedCollaborators, seedModels), "SECRET", `{"value":"`+secret+`"}`)
	w.want(w.putAccount("admin", body), 200)
	w.want(w.putAccount("admin", strings.Replace(body, `"gpt"`, `"gpt!?"`, 1)), 400)
	w.want(w.yaml("admin", "?manager=x&takeOver=true&dryRun=true", head("ProviderAccount", "main")+`{provider: openai-compatible, baseURL: "https://upstream.example.com/v1", credentials: {apiKey: {value: third-secret}}}`), 200, "digest")
	w.want(w.putAccount("admin", strings.ReplaceAll(body, secret, "[redacted]")), 400)
	audit := w.do("admin", "GET", "/audit?limit=500", "")
	w.want(audit, 200, "provider-account.update")
	for _, where := range []reply{audit, w.do("admin", "GET", "/provider-accounts", ""), {body: w.log.String()}} {
		w.without(where, secret, plainKey, "third-secret", w.tokens["admin"])
	}
	r, err := w.db.Resource(t.Context(), keyOf(v1.KindProviderAccount, "main"))
	if err != nil {
		t.Fatal(err)
	}
	sealed, _, err := w.db.SealedSecret(t.Context(), r.Meta().UID, "spec.credentials.apiKey")
	if err != nil || len(sealed) == 0 || strings.Contains(string(sealed), secret) {
		t.Errorf("sealed: %v", err)
	}
}

func TestSecurityStoredSecretDoesNotFollowItsDestination(t *testing.T) {
	w := newWorld(t)
	keep := account(seedCollaborators, seedModels)
	w.want(w.putAccount("ed", keep), 200)
	for _, moved := range []string{
		strings.Replace(keep, "upstream.example.com", "evil.example.com", 1),
		strings.Replace(keep, `"openai-compatible"`, `"openai"`, 1),
		strings.Replace(keep, `"provider"`, `"caCert":{"pem":"-----BEGIN CERTIFICATE-----"},"provider"`, 1),
	} {
		w.want(w.putAccount("ed", moved), 409, "manifest_conflict", "send the secret again", "spec.credentials.apiKey")
	}
	w.want(w.putAccount("ed", strings.ReplaceAll(keep, "SECRET", `{"stored":true,"digest":"hmac:other"}`)), 409, "digest")
	w.want(w.putAccount("ed", strings.ReplaceAll(keep, "SECRET", `{"stored":true}`)), 409)
	with := strings.Replace(strings.ReplaceAll(keep, "SECRET", `{"value":"new"}`), "upstream.example.com", "other.example.com", 1)
	w.want(w.putAccount("ed", with), 200)
	// A digest is good in its own place only.
	other := strings.ReplaceAll(strings.ReplaceAll(keep, "SECRET", `{"stored":true,"digest":"`+w.digest()+`"}`), `"main"`, `"copy"`)
	w.want(w.do("admin", "PUT", "/provider-accounts/copy", other), 409, "nothing is stored here")
	// Absent removes.
	w.want(w.putAccount("ed", strings.ReplaceAll(with, `"credentials":{"apiKey":{"value":"new"}},`, "")), 200)
	w.without(w.do("admin", "GET", "/provider-accounts/main", ""), "stored")
}

func TestSecurityReferencesNeedTheOperatorOrThePermission(t *testing.T) {
	w := newWorld(t)
	ref := func(secret string) string {
		return strings.ReplaceAll(account(seedCollaborators, seedModels), "SECRET", secret)
	}
	w.want(w.putAccount("admin", ref(`{"env":"GATEHOUSE_MASTER"}`)), 403, "secrets.allowEnv")
	w.want(w.putAccount("admin", ref(`{"file":"/etc/shadow"}`)), 403, "secrets.allowFiles")
	w.want(w.putAccount("admin", strings.Replace(ref(`{"value":"x"}`), `"provider"`, `"caCert":{"file":"/etc/shadow"},"provider"`, 1)), 403, "spec.caCert.file")
	w.want(w.putAccount("ed", ref(`{"store":"vault","path":"llm/x"}`)), 403, "secret-store:use")
	w.want(w.putAccount("ed", ref(`{"store":"none","path":"llm/x"}`)), 403, "secret-store:use")
	w.want(w.putAccount("admin", ref(`{"store":"vault","path":"hr/x"}`)), 409, "pathPrefixes")
	w.want(w.putAccount("admin", ref(`{"store":"vault","path":"llm/../hr/x"}`)), 400, "invalid_manifest")
	w.want(w.putAccount("admin", ref(`{"store":"none","path":"llm/x"}`)), 409, "there is no SecretStore")
	w.want(w.putAccount("ed", ref(`{"env":"ALLOWED_KEY"}`)), 200)
	w.want(w.putAccount("admin", ref(`{"store":"vault","path":"llm/x"}`)), 200)
	// What an admin has put there may stay, and stays where it is sent.
	w.want(w.putAccount("ed", strings.Replace(ref(`{"store":"vault","path":"llm/x"}`), `"name":"gpt"`, `"name":"gpt","enabled":false`, 1)), 200)
	w.want(w.putAccount("ed", strings.Replace(ref(`{"store":"vault","path":"llm/x"}`), "upstream.", "evil.", 1)), 403, "secret-store:use")
	// The operator's files are the operator's; taken over, they are not.
	w.applyAs("dir", head("ProviderAccount", "ops")+`{provider: openai, credentials: {apiKey: {file: /etc/gatehouse/key}}}`)
	w.want(w.yaml("admin", "?takeOver=true", head("ProviderAccount", "ops")+`{provider: openai, credentials: {apiKey: {file: /etc/gatehouse/key}}}`), 403, "secrets.allowFiles")
}

func TestWrittenThingsAreLiveWhenTheAnswerArrives(t *testing.T) {
	w := newWorld(t)
	w.want(w.do("admin", "PUT", "/users/new@example.com", `{"displayName":"New"}`), 201)
	if _, ok := w.pub.Load().UserByEmail("new@example.com"); !ok {
		t.Error("the user is not live")
	}
	r := w.do("member", "POST", "/me/tokens", `{"name":"ci"}`)
	w.want(r, 201)
	var made struct{ Token, ID string }
	if err := json.Unmarshal([]byte(r.body), &made); err != nil {
		t.Fatal(err)
	}
	w.tokens["ci"] = made.Token
	w.want(w.do("ci", "GET", "/me", ""), 200, `"tokenId":"`+made.ID+`"`)
	w.want(w.do("ci", "DELETE", "/me/tokens/"+made.ID, ""), 204)
	w.want(w.do("ci", "GET", "/me", ""), 401, "invalid_token")
}
