package api_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

func head(kind, name string) string {
	return "apiVersion: gatehouse.dev/v1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec: "
}

// account is main as the seed has it, with other lists.
func account(collaborators, models string) string {
	return `{"metadata":{"name":"main"},"spec":{"provider":"openai-compatible","baseURL":"https://upstream.example.com/v1","credentials":{"apiKey":SECRET},
		"models":[` + models + `],"collaborators":[` + collaborators + `]}}`
}

const (
	seedModels        = `{"name":"gpt"},{"name":"o3","collaborators":[{"subject":"user:admin@example.com","role":"model-user"}]}`
	seedCollaborators = `{"subject":"team:research","role":"provider-account-user"},{"subject":"user:pam@example.com","role":"provider-account-manager"},{"subject":"user:ed@example.com","role":"provider-account-editor"}`
)

func (w *world) digest() string {
	r := w.do("admin", "GET", "/provider-accounts/main", "")
	_, rest, _ := strings.Cut(r.body, `"digest":"`)
	d, _, _ := strings.Cut(rest, `"`)
	return d
}

// putAccount writes main with its stored secret kept.
func (w *world) putAccount(who, body string) reply {
	w.t.Helper()
	body = strings.ReplaceAll(body, "SECRET", `{"stored":true,"digest":"`+w.digest()+`"}`)
	return w.do(who, "PUT", "/provider-accounts/main", body, "If-Match", w.etag(v1.KindProviderAccount, "main"))
}

func TestSecurityNobodyGrantsMoreThanTheyHold(t *testing.T) {
	for name, c := range map[string]struct {
		who, yaml string
		status    int
		perm      string
	}{
		"role":                       {"binder", head("Role", "r") + `{permissions: ["model:use"]}`, 403, "model:use"},
		"role held":                  {"binder", head("Role", "r") + `{permissions: ["role:read"]}`, 200, ""},
		"role edit is escalation":    {"binder", head("Role", "write-roles") + `{permissions: ["role:read", "role:create", "role:update", "audit:read"]}`, 403, "audit:read"},
		"role edit removes":          {"binder", head("Role", "write-roles") + `{permissions: ["role:read"]}`, 200, ""},
		"binding":                    {"binder", head("RoleBinding", "b") + `{subjects: ["user:binder@example.com"], role: tenant-admin, resources: [tenant]}`, 403, ""},
		"binding of bind":            {"binder", head("RoleBinding", "b") + `{subjects: ["user:binder@example.com"], role: provider-account-manager, resources: ["provider-account:main"]}`, 403, ""},
		"binding held":               {"binder", head("RoleBinding", "b") + `{subjects: ["user:outsider@example.com"], role: write-roles, resources: [tenant]}`, 200, ""},
		"role and binding at once":   {"binder", head("Role", "r") + `{permissions: ["role:read", "user:delete"]}` + "\n---\n" + head("RoleBinding", "b") + `{subjects: ["user:binder@example.com"], role: r, resources: [tenant]}`, 403, "user:delete"},
		"widened role and binding":   {"binder", head("Role", "make") + `{permissions: ["team:create", "team:update", "virtual-account:create", "virtual-account:update", "virtual-account:read", "secret-store:read", "user:create", "user:update", "user:read"]}` + "\n---\n" + head("RoleBinding", "b") + `{subjects: ["user:binder@example.com"], role: make, resources: [tenant]}`, 403, ""},
		"admin permission in a role": {"admin", head("Role", "r") + `{permissions: ["tenant:admin"]}`, 400, ""},
		"built-in role":              {"admin", head("Role", "team-viewer") + `{permissions: ["team:read"]}`, 400, ""},
		"unknown permission":         {"admin", head("Role", "r") + `{permissions: ["team:own"]}`, 400, ""},
		"authz rules":                {"binder", head("AuthzRules", "a") + `{rules: [{models: [main/gpt], users: [binder@example.com]}]}`, 403, "model:use"},
		"team with what it has":      {"maker", head("Team", "research") + `{managers: [lead@example.com], members: [member@example.com, maker@example.com]}`, 403, "team:manage-members"},
		"team groups":                {"maker", head("Team", "research") + `{managers: [lead@example.com], members: [member@example.com], identityProviderGroups: [{identityProvider: kc, group: g}]}`, 403, ""},
		"team manager":               {"maker", head("Team", "research") + `{managers: [lead@example.com, maker@example.com], members: [member@example.com]}`, 403, ""},
		"team fewer members":         {"maker", head("Team", "research") + `{managers: [lead@example.com]}`, 200, ""},
		"team resurrected":           {"maker", head("Team", "ghosts") + `{members: [maker@example.com]}`, 403, ""},
		"new team":                   {"maker", head("Team", "fresh") + `{members: [maker@example.com]}`, 200, ""},
		"virtual account, central":   {"maker", head("VirtualAccount", "v") + `{team: research}`, 403, "tenant:admin"},
		"identity provider":          {"maker", head("IdentityProvider", "evil") + `{issuer: "https://evil.example.com", audiences: [x]}`, 403, "tenant:admin"},
		"external identity":          {"maker", head("ExternalIdentity", "x") + `{identityProvider: kc}`, 403, "tenant:admin"},
		"secret store":               {"maker", head("SecretStore", "s") + `{provider: aws-ssm}`, 403, "tenant:admin"},
		"tenant settings":            {"maker", head("TenantSettings", "default") + `{virtualAccounts: delegated}`, 403, "tenant:admin"},
		"mapping":                    {"lead", head("VirtualAccount", "bot") + `{team: research, access: [{resource: "model:main/gpt", role: model-user}], identityProviderMappings: [{identityProvider: kc, clientId: x}]}`, 403, "tenant:admin"},
		"own issuer":                 {"admin", head("IdentityProvider", "self") + `{issuer: "https://GATEHOUSE.example.com:443/", audiences: [x]}`, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldOf(t, "apply:default")
			w.seed(head("IdentityProvider", "kc") + `{issuer: "https://kc.example.com", audiences: [x]}` + "\n---\n" +
				head("RoleBinding", "ghosts") + `{subjects: ["team:ghosts"], role: model-user, resources: ["provider-account:main"]}`)
			r := w.yaml(c.who, "", c.yaml)
			w.want(r, c.status)
			if c.perm != "" {
				w.want(r, c.status, `"permission":"`+c.perm+`"`)
			}
		})
	}
}

func TestSecurityCollaboratorsAreGrants(t *testing.T) {
	w := newWorld(t)
	mine := `{"subject":"user:ed@example.com","role":"provider-account-user"}`
	// The editor changes settings, not access.
	w.want(w.putAccount("ed", account(seedCollaborators+","+mine, seedModels)), 403, `"permission":"model:use"`, "spec.collaborators[3]")
	w.want(w.putAccount("ed", account(seedCollaborators, `{"name":"gpt"},{"name":"o3"}`)), 403)
	w.want(w.putAccount("ed", account(seedCollaborators, seedModels+`,{"name":"side-door","model":"o3"}`)), 403)
	w.want(w.putAccount("ed", account(seedCollaborators, `{"name":"gpt"},{"name":"*"}`)), 403)
	w.want(w.putAccount("ed", account(seedCollaborators, `{"name":"gpt","enabled":false},`+seedModels[len(`{"name":"gpt"},`):])), 200)
	// The manager binds what is not for admins alone.
	w.want(w.putAccount("pam", account(seedCollaborators+","+mine, seedModels)), 200)
	w.want(w.putAccount("pam", account(seedCollaborators+`,{"subject":"user:pam@example.com","role":"tenant-admin"}`, seedModels)), 403)
	// Whoever has no access to it does not learn that it is there.
	w.without(w.putAccount("outsider", account(seedCollaborators, seedModels)), "upstream", "managed_by")
}

func TestSecurityExtendingABindingIsGranting(t *testing.T) {
	w := newWorld(t)
	w.seed(head("RoleBinding", "short") + `{subjects: ["user:outsider@example.com"], role: model-user, resources: ["provider-account:main"], expiresAt: "2027-01-01T00:00:00Z"}`)
	body := func(expires string) string {
		return `{"metadata":{"name":"short"},"spec":{"subjects":["user:outsider@example.com"],"role":"model-user","resources":["provider-account:main"]` + expires + `}}`
	}
	put := func(expires string) reply {
		return w.do("binder", "PUT", "/role-bindings/short", body(expires), "If-Match", "*")
	}
	w.want(put(""), 403)
	w.want(put(`,"expiresAt":"2028-01-01T00:00:00Z"`), 403)
	w.want(put(`,"expiresAt":"2026-12-30T00:00:00Z"`), 200)
}

func TestSecurityTeamManagerChangesMembersAndNothingElse(t *testing.T) {
	w := newWorld(t)
	put := func(who, spec string) reply {
		return w.do(who, "PUT", "/teams/research", `{"metadata":{"name":"research","labels":{"env":"lab"}},"spec":`+spec+`}`, "If-Match", "*")
	}
	w.want(put("lead", `{"managers":["lead@example.com"],"members":["member@example.com","outsider@example.com"]}`), 200)
	w.want(put("lead", `{"managers":["lead@example.com"],"members":[]}`), 200)
	w.want(put("lead", `{"managers":["lead@example.com","member@example.com"]}`), 403, "team:update")
	w.want(put("lead", `{"description":"mine","managers":["lead@example.com"]}`), 403)
	w.want(put("member", `{"members":["outsider@example.com"]}`), 403)
	r := w.do("lead", "PUT", "/teams/secretive", `{"metadata":{"name":"secretive","labels":{"env":"lab"}},"spec":{"members":["lead@example.com"]}}`, "If-Match", "*")
	w.want(r, 403)
}

func TestSecurityManagingMembersIsNotManagingManagersOrGroups(t *testing.T) {
	w := newWorld(t)
	w.seed(head("IdentityProvider", "kc") + `{issuer: "https://kc.example.com", audiences: [x]}` + "\n---\n" +
		head("Role", "secretary") + `{permissions: ["team:update", "team:manage-members"]}` + "\n---\n" +
		head("RoleBinding", "secretary") + `{subjects: ["user:outsider@example.com"], role: secretary, resources: ["team:research"]}`)
	put := func(spec string) reply {
		return w.do("outsider", "PUT", "/teams/research", `{"metadata":{"name":"research"},"spec":`+spec+`}`, "If-Match", "*")
	}
	w.want(put(`{"managers":["lead@example.com"],"members":["a@example.com"],"identityProviderGroups":[{"identityProvider":"kc","group":"g"}]}`), 403, "more than you hold")
	w.want(put(`{"managers":["lead@example.com","outsider@example.com"],"members":["a@example.com"]}`), 403)
	w.want(put(`{"description":"hello","managers":["lead@example.com"],"members":["a@example.com"]}`), 200)
}

func TestSecurityTenantAdminOnOneResourceIsNoAdmin(t *testing.T) {
	w := newWorld(t)
	w.seed(head("RoleBinding", "half") + `{subjects: ["user:outsider@example.com"], role: tenant-admin, resources: ["secret-store:vault", "provider-account:main"]}`)
	w.want(w.do("outsider", "GET", "/secret-stores/vault", ""), 200)
	w.want(w.do("outsider", "PUT", "/secret-stores/vault", `{"metadata":{"name":"vault"},"spec":{"provider":"vault","address":"https://evil.example.com"}}`, "If-Match", "*"), 403, "tenant:admin")
	w.want(w.do("outsider", "DELETE", "/secret-stores/vault", ""), 403, "tenant:admin")
	w.want(w.do("outsider", "PUT", "/roles/r", `{"metadata":{"name":"r"},"spec":{"permissions":["model:use"]}}`), 403)
	w.want(w.do("outsider", "GET", "/users", ""), 403)
}

func TestSecurityVirtualAccountModeIsEnforced(t *testing.T) {
	put := func(w *world, who, name, spec string) reply {
		return w.do(who, "PUT", "/virtual-accounts/"+name, `{"metadata":{"name":"`+name+`"},"spec":`+spec+`}`)
	}
	w := newWorld(t)
	w.want(put(w, "lead", "v", `{"team":"research"}`), 403, "tenant:admin")
	w.want(put(w, "admin", "central", `{"access":[{"resource":"model:main/gpt","role":"model-user"}]}`), 201)
	w.seed(head("TenantSettings", "default") + `{virtualAccounts: delegated}`)
	w.want(put(w, "lead", "v", `{"team":"research","access":[{"resource":"model:main/gpt","role":"model-user"}]}`), 201)
	w.want(put(w, "lead", "v2", `{"team":"research","access":[{"resource":"model:main/o3","role":"model-user"}]}`), 403, "model:use")
	w.want(put(w, "lead", "v3", `{"team":"secretive"}`), 403, "virtual-account:create")
	w.want(put(w, "lead", "v4", `{}`), 403)
	w.want(put(w, "member", "v5", `{"team":"research"}`), 403)
	// What the manager holds and the team does not is not for the team's account.
	w.seed(head("RoleBinding", "lead-o3") + `{subjects: ["user:lead@example.com"], role: model-user, resources: ["model:main/o3"]}`)
	w.want(put(w, "lead", "v6", `{"team":"research","access":[{"resource":"model:main/o3","role":"model-user"}]}`), 403, "team:research does not have")
	// Into another team needs that team's consent.
	w.want(w.do("lead", "PUT", "/virtual-accounts/v", `{"metadata":{"name":"v"},"spec":{"team":"secretive"}}`, "If-Match", "*"), 403, "virtual-account:create")
	// Out of the team is out of its limits.
	w.want(w.do("lead", "PUT", "/virtual-accounts/v", `{"metadata":{"name":"v"},"spec":{}}`, "If-Match", "*"), 403)
	w.seed(head("TenantSettings", "default") + `{virtualAccounts: gitops}`)
	w.want(put(w, "admin", "v7", `{}`), 403, "gitops")
	w.applyAs("dir", head("VirtualAccount", "from-git")+`{}`)
}

func TestSecurityTokenDigestsAreTokens(t *testing.T) {
	w := newWorld(t)
	d := identity.DigestOf(w.tokens["admin"]).String()
	fresh := identity.DigestOf("x").String()
	body := func(digest string) string {
		return `{"metadata":{"name":"bot"},"spec":{"team":"research","access":[{"resource":"model:main/gpt","role":"model-user"}],"tokens":[{"digest":"` + digest + `","expiresAt":"2030-01-01T00:00:00Z"}]}}`
	}
	w.want(w.do("maker", "PUT", "/virtual-accounts/bot", body(fresh), "If-Match", "*"), 403, "virtual-account:manage-tokens")
	w.want(w.do("lead", "PUT", "/virtual-accounts/bot", body(d), "If-Match", "*"), 409, "is in use")
	w.want(w.do("lead", "PUT", "/virtual-accounts/bot", body(fresh), "If-Match", "*"), 200)
}

func TestSecurityUserNamesThatRulesNameAreGrants(t *testing.T) {
	w := newWorld(t)
	w.seed(head("AuthzRules", "a") + `{rules: [{models: [main/gpt], users: [ada]}]}`)
	w.want(w.do("maker", "PUT", "/users/maker@example.com", `{"userName":"ada"}`), 403, "role:bind")
	w.want(w.do("maker", "PUT", "/users/maker@example.com", `{"userName":"bob"}`), 200)
	w.want(w.do("admin", "PUT", "/users/maker@example.com", `{"userName":"ada"}`), 200)
}

// TestSecurityNobodyWritesAGrantAboveTheirOwn writes random sets of roles,
// bindings and rules as somebody who holds a few permissions, and looks at
// what they hold afterwards: never more.
func TestSecurityNobodyWritesAGrantAboveTheirOwn(t *testing.T) {
	w := newWorldOf(t, "apply:default")
	refs := []string{"tenant", "provider-account:main", "model:main/gpt", "model:main/o3", "model:main/none", "team:research", "virtual-account:bot", "provider-account:none", "user:admin@example.com"}
	roles := append([]string{"write-roles", "make", "r1", "r2"}, identity.BuiltinRoleNames()...)
	perms := []string{"role:read", "role:create", "role:update", "role-binding:create", "model:use", "audit:read", "role:bind", "team:update", "user:read", "token:create-own", "team:read"}
	subjects := []string{"user:binder@example.com", "team:everyone", "user:outsider@example.com"}
	held := func() map[string]identity.PermissionSet {
		s := w.pub.Load()
		out := map[string]identity.PermissionSet{}
		for _, who := range []string{"binder", "outsider"} {
			u, _ := s.UserByUID("uid-" + who)
			for _, ref := range refs {
				p := s.UserPrincipal(u, u.CreatedAt)
				out[who+" "+ref] = authz.Held(p, &identity.Grant{}, s.Target(identity.ResourceRef(ref)), u.CreatedAt)
			}
		}
		return out
	}
	before := held()
	accepted := 0
	rapid.Check(t, func(rt *rapid.T) {
		var docs []string
		for i := range rapid.IntRange(1, 3).Draw(rt, "documents") {
			switch rapid.IntRange(0, 2).Draw(rt, "kind") {
			case 0:
				list := rapid.SliceOfNDistinct(rapid.SampledFrom(perms), 1, 4, rapid.ID).Draw(rt, "permissions")
				name := rapid.SampledFrom([]string{"r1", "r2", "write-roles"}).Draw(rt, "role")
				docs = append(docs, head("Role", name)+fmt.Sprintf(`{permissions: ["%s"]}`, strings.Join(list, `", "`)))
			case 1:
				docs = append(docs, head("RoleBinding", fmt.Sprintf("b%d", i))+fmt.Sprintf(`{subjects: ["%s"], role: %s, resources: ["%s"]}`,
					rapid.SampledFrom(subjects).Draw(rt, "subject"), rapid.SampledFrom(roles).Draw(rt, "bound"), rapid.SampledFrom(refs).Draw(rt, "resource")))
			default:
				docs = append(docs, head("AuthzRules", fmt.Sprintf("a%d", i))+fmt.Sprintf(`{rules: [{models: [%s], users: ["%s"]}]}`,
					rapid.SampledFrom([]string{"main/gpt", "main/o3", "none/x"}).Draw(rt, "model"), rapid.SampledFrom(subjects).Draw(rt, "user")))
			}
		}
		if r := w.yaml("binder", "", strings.Join(docs, "\n---\n")); r.status == 200 {
			accepted++
		}
		for key, now := range held() {
			who, ref, _ := strings.Cut(key, " ")
			// Nobody has more on anything than the writer had there at first.
			if more := now.Without(before["binder "+ref]).Without(before[key]); !more.IsEmpty() {
				rt.Fatalf("%s gained %v on %s by\n%s", who, more.List(), ref, strings.Join(docs, "\n---\n"))
			}
		}
	})
	if accepted == 0 {
		t.Error("nothing was accepted: this proves nothing")
	}
}
