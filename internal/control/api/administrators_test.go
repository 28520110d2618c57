package api_test

import (
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
