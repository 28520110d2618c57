package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// administering is a world with a team and an application that administer it,
// for somebody (outsider) who may do nearly everything else about them.
func administering(t *testing.T, expires string) *world {
	t.Helper()
	w := newWorld(t)
	w.seed(head("Team", "chiefs") + `{}` + "\n---\n" +
		head("VirtualAccount", "gitops") + `{}` + "\n---\n" +
		head("RoleBinding", "chiefs") + `{subjects: ["team:chiefs", "virtual-account:gitops"], role: tenant-admin, resources: [tenant]` + expires + `}` + "\n---\n" +
		head("Role", "desk") + `{permissions: ["team:manage-members", "team:read", "virtual-account:manage-tokens", "virtual-account:read", "virtual-account:update", "role:bind", "role-binding:create", "user:read", "user:update", "user:delete"]}` + "\n---\n" +
		head("RoleBinding", "desk") + `{subjects: ["user:outsider@example.com"], role: desk, resources: [tenant]}`)
	return w
}

func (w *world) noAdmin(who string) {
	w.t.Helper()
	w.without(w.do(who, "GET", "/me", ""), `"admin":true`)
}

// Whoever manages people, applications or bindings makes no administrator by it,
// not even one for a time.
func TestSecurityNothingButAdministeringMakesAnAdministrator(t *testing.T) {
	for name, expires := range map[string]string{"for ever": "", "for a time": `, expiresAt: "` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"`} {
		t.Run(name, func(t *testing.T) {
			w := administering(t, expires)
			const member = "/teams/chiefs/members/outsider@example.com"
			w.want(w.do("outsider", "PUT", member, ""), 403, "tenant:admin")
			w.want(w.do("outsider", "PUT", "/teams/chiefs", `{"metadata":{"name":"chiefs"},"spec":{"members":["outsider@example.com"]}}`, "If-Match", "*"), 403, "tenant:admin")
			// Becoming its manager helps no more than the permissions did.
			w.want(w.do("outsider", "PUT", "/role-bindings/mine", `{"metadata":{"name":"mine"},"spec":{"subjects":["user:outsider@example.com"],"role":"team-manager","resources":["team:chiefs"]}}`), 201)
			w.want(w.do("outsider", "PUT", member, ""), 403, "tenant:admin")
			w.want(w.do("outsider", "POST", "/virtual-accounts/gitops/tokens", `{"name":"x"}`), 403, "tenant:admin")
			w.want(w.do("outsider", "PUT", "/virtual-accounts/gitops", `{"metadata":{"name":"gitops"},"spec":{"tokens":[{"digest":"`+identity.DigestOf("x").String()+`","expiresAt":"2030-01-01T00:00:00Z"}]}}`, "If-Match", "*"), 403, "tenant:admin")
			w.noAdmin("outsider")
			// What does not administer is theirs to manage, and an administrator may all of it.
			w.want(w.do("outsider", "PUT", "/teams/research/members/outsider@example.com", ""), 200)
			w.want(w.do("outsider", "POST", "/virtual-accounts/bot/tokens", `{"name":"x"}`), 201)
			w.want(w.do("admin", "POST", "/virtual-accounts/gitops/tokens", `{"name":"x"}`), 201)
			w.want(w.do("admin", "PUT", member, ""), 200)
			w.want(w.do("outsider", "GET", "/me", ""), 200, `"admin":true`)
		})
	}
}

func TestSecurityAnAdministratorIsChangedByAdministratorsAlone(t *testing.T) {
	w := administering(t, "")
	for _, c := range []struct{ method, path, body string }{
		{"PUT", "/users/admin@example.com", `{"active":false}`},
		{"PUT", "/users/admin@example.com", `{"userName":"x"}`},
		{"DELETE", "/users/admin@example.com", ""},
		{"DELETE", "/users/admin@example.com/identities", ""},
	} {
		w.want(w.do("outsider", c.method, c.path, c.body), 403, "tenant:admin")
	}
	w.want(w.do("admin", "GET", "/me", ""), 200, `"admin":true`)
	w.want(w.do("outsider", "PUT", "/users/member@example.com", `{"active":false}`), 200)
	w.want(w.do("outsider", "DELETE", "/users/member@example.com", ""), 204)
	w.want(w.do("admin", "PUT", "/users/admin@example.com", `{"displayName":"Root"}`), 200)
}

func TestSecurityTheLocalAdministratorIsNotMadeOrChangedHere(t *testing.T) {
	w := newWorld(t)
	const local = "/users/" + identity.LocalAdministrator
	w.want(w.do("admin", "PUT", local, `{}`), 409, "breakGlass")
	w.want(w.do("admin", "PUT", "/users/Another@GATEHOUSE.invalid", `{}`), 409, "breakGlass")
	token := identity.NewToken(identity.TokenPersonal)
	w.tokens["local"] = token
	w.commit(t.Context(), &record.Batch{
		PutUsers:  []identity.User{{UID: "uid-local", Email: identity.LocalAdministrator, Active: true}},
		PutTokens: []identity.Token{{Kind: identity.TokenPersonal, Name: "t", Owner: "uid-local", Digest: identity.DigestOf(token), ExpiresAt: time.Now().Add(time.Hour)}},
	})
	w.want(w.do("admin", "PUT", local, `{"active":false}`), 409, "breakGlass")
	w.want(w.do("admin", "DELETE", local, ""), 409, "breakGlass")
	w.want(w.do("outsider", "PUT", local, `{"active":false}`), 403, "user:")
	w.want(w.do("local", "POST", "/me/tokens", `{"name":"t"}`), 403, "outlast")
}

// A binding that ended at the first second of 1970 has ended, and is no binding
// for ever that somebody could put an end to.
func TestSecurityAnExpiredBindingIsExtendedOnlyByWhoHoldsIt(t *testing.T) {
	for _, ended := range []string{"1970-01-01T00:00:00Z", "1970-01-01T00:00:05Z", "1969-12-31T23:59:59Z"} {
		w := newWorld(t)
		w.seed(head("RoleBinding", "old") + `{subjects: ["user:binder@example.com"], role: tenant-admin, resources: [tenant], expiresAt: "` + ended + `"}`)
		w.noAdmin("binder")
		r := w.do("binder", "PUT", "/role-bindings/old", `{"metadata":{"name":"old"},"spec":{"subjects":["user:binder@example.com"],"role":"tenant-admin","resources":["tenant"],"expiresAt":"2099-01-01T00:00:00Z"}}`, "If-Match", "*")
		w.want(r, 403)
		w.noAdmin("binder")
	}
}

// vat gives an application a token that was made before anybody cared.
func (w *world) vat(name string) {
	w.t.Helper()
	v, ok := w.pub.Load().VirtualAccount(name)
	if !ok {
		w.t.Fatalf("there is no %s", name)
	}
	w.tokens[name] = identity.NewToken(identity.TokenVirtualAccount)
	w.commit(context.Background(), &record.Batch{PutTokens: []identity.Token{{
		Kind: identity.TokenVirtualAccount, Name: "t", Owner: v.UID, Digest: identity.DigestOf(w.tokens[name]), ExpiresAt: time.Now().Add(time.Hour),
	}}})
}

func TestSecurityAnApplicationThatAdministersIsSwitchedOnAndMovedByAdministrators(t *testing.T) {
	w := newWorld(t)
	w.seed(head("TenantSettings", "default") + `{virtualAccounts: delegated}` + "\n---\n" +
		head("Team", "chiefs") + `{}` + "\n---\n" + head("Team", "low") + `{}` + "\n---\n" +
		head("VirtualAccount", "off") + `{enabled: false}` + "\n---\n" + head("VirtualAccount", "ci") + `{team: low}` + "\n---\n" +
		head("RoleBinding", "chiefs") + `{subjects: ["team:chiefs", "virtual-account:ci", "virtual-account:off"], role: tenant-admin, resources: [tenant]}` + "\n---\n" +
		head("Role", "desk") + `{permissions: ["virtual-account:read", "virtual-account:update", "virtual-account:delete"]}` + "\n---\n" +
		head("RoleBinding", "desk") + `{subjects: ["user:outsider@example.com"], role: desk, resources: [tenant]}` + "\n---\n" +
		head("RoleBinding", "mgr") + `{subjects: ["user:outsider@example.com"], role: team-manager, resources: ["team:chiefs", "team:low"]}`)
	w.vat("off")
	w.vat("ci")
	put := func(who, name, spec string) reply {
		return w.do(who, "PUT", "/virtual-accounts/"+name, `{"metadata":{"name":"`+name+`"},"spec":`+spec+`}`, "If-Match", "*")
	}
	w.want(put("outsider", "off", `{"enabled":true}`), 403, "tenant:admin")
	w.want(w.do("off", "GET", "/me", ""), 401)
	w.want(put("outsider", "ci", `{"team":"chiefs"}`), 403, "tenant:admin")
	w.noAdmin("ci")
	w.want(w.do("outsider", "DELETE", "/virtual-accounts/ci", ""), 403, "tenant:admin")
	w.want(put("outsider", "ci", `{"team":"low","description":"hello"}`), 200)
	w.want(put("admin", "off", `{"enabled":true}`), 200)
	w.want(w.do("off", "GET", "/me", ""), 200, `"admin":true`)
}

func TestSecurityNobodyBringsAnAdministratorBackButOne(t *testing.T) {
	w := newWorld(t)
	w.seed(head("RoleBinding", "more") + `{subjects: ["user:gone@example.com", "user:fired@example.com"], role: tenant-admin, resources: [tenant]}` + "\n---\n" +
		head("Role", "desk") + `{permissions: ["user:read", "user:create", "user:update"]}` + "\n---\n" +
		head("RoleBinding", "desk") + `{subjects: ["user:outsider@example.com"], role: desk, resources: [tenant]}`)
	w.commit(t.Context(), &record.Batch{PutUsers: []identity.User{{UID: "uid-fired", Email: "fired@example.com", Active: true}}})
	w.want(w.do("admin", "DELETE", "/users/fired@example.com", ""), 204)
	for _, who := range []string{"gone", "fired"} {
		w.want(w.do("outsider", "PUT", "/users/"+who+"@example.com", `{}`), 403, "tenant:admin")
		w.want(w.do("admin", "PUT", "/users/"+who+"@example.com", `{}`), 201)
	}
	w.want(w.do("outsider", "PUT", "/users/new@example.com", `{}`), 201)
}

// Taking a grant away, joining, and waiting for the manifests to bring it back
// would be a way up; emptying the team would be a way to shut everybody out.
func TestSecurityOnlyAdministratorsTakeAdministeringAway(t *testing.T) {
	w := newWorld(t)
	w.seed(head("Team", "chiefs") + `{members: [member@example.com]}` + "\n---\n" +
		head("Role", "desk") + `{permissions: ["team:manage-members", "team:read", "team:update", "team:delete", "role-binding:read", "role-binding:update", "role-binding:delete"]}` + "\n---\n" +
		head("RoleBinding", "desk") + `{subjects: ["user:outsider@example.com"], role: desk, resources: [tenant]}` + "\n---\n" +
		head("RoleBinding", "old") + `{subjects: ["user:maker@example.com"], role: tenant-admin, resources: [tenant], expiresAt: "2020-01-01T00:00:00Z"}`)
	w.applyAs("apply:ci", head("RoleBinding", "chiefs")+`{subjects: ["team:chiefs", "user:pam@example.com"], role: tenant-admin, resources: [tenant]}`)
	w.want(w.do("admin", "PUT", "/teams/chiefs/members/ed@example.com", ""), 200)
	for name, r := range map[string]reply{
		"prune":          w.do("outsider", "POST", "/apply", `{"manager":"ci","prune":true,"documents":[]}`),
		"another role":   w.do("outsider", "POST", "/apply?manager=ci", head("RoleBinding", "chiefs")+`{subjects: ["team:chiefs", "user:pam@example.com"], role: team-viewer, resources: [tenant]}`, "Content-Type", "application/yaml"),
		"an end":         w.do("outsider", "POST", "/apply?manager=ci", head("RoleBinding", "chiefs")+`{subjects: ["team:chiefs", "user:pam@example.com"], role: tenant-admin, resources: [tenant], expiresAt: "2099-01-01T00:00:00Z"}`, "Content-Type", "application/yaml"),
		"one less":       w.do("outsider", "PUT", "/role-bindings/admins", `{"metadata":{"name":"admins"},"spec":{"subjects":["user:nobody@example.com"],"role":"tenant-admin","resources":["tenant"]}}`, "If-Match", "*"),
		"the binding":    w.do("outsider", "DELETE", "/role-bindings/admins", ""),
		"a member":       w.do("outsider", "DELETE", "/teams/chiefs/members/ed@example.com", ""),
		"one of a name":  w.do("outsider", "PUT", "/teams/chiefs", `{"metadata":{"name":"chiefs"},"spec":{}}`, "If-Match", "*"),
		"the whole team": w.do("outsider", "DELETE", "/teams/chiefs", ""),
	} {
		if r.status != 403 || !strings.Contains(r.body, "tenant:admin") {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	for _, who := range []string{"admin", "member", "ed", "pam"} {
		w.want(w.do(who, "GET", "/me", ""), 200, `"admin":true`)
	}
	// What does not administer, or no longer does, is theirs to manage.
	w.want(w.do("outsider", "DELETE", "/role-bindings/old", ""), 204)
	w.want(w.do("outsider", "PUT", "/teams/research", `{"metadata":{"name":"research"},"spec":{"managers":["lead@example.com"]}}`, "If-Match", "*"), 200)
	less := head("RoleBinding", "chiefs") + `{subjects: ["user:nobody@example.com"], role: team-viewer, resources: [tenant]}`
	w.want(w.do("admin", "POST", "/apply?manager=ci", less, "Content-Type", "application/yaml"), 200)
	w.noAdmin("member")
}
