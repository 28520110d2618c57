package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func keyOf(k v1.Kind, name string) identity.ResourceKey {
	return identity.ResourceKey{Kind: k, Name: name}
}

// mint makes a token and remembers it under a name.
func (w *world) mint(as, who, path, body string) string {
	w.t.Helper()
	r := w.do(who, "POST", path, body)
	w.want(r, 201)
	var made struct{ Token, ID string }
	if err := json.Unmarshal([]byte(r.body), &made); err != nil || made.Token == "" {
		w.t.Fatalf("%v: %s", err, r.body)
	}
	w.tokens[as] = made.Token
	return made.ID
}

func TestSecurityPersonalAccessTokens(t *testing.T) {
	w := newWorld(t)
	w.seed(head("TenantSettings", "default") + `{personalAccessTokenMaxAge: 30d}`)
	w.run(t, []scenario{
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","expiresIn":"31d"}`, status: 409, contains: []string{"at most"}},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","narrowing":{"notAfter":"2020-01-01T00:00:00Z"}}`, status: 409, contains: []string{"notAfter has passed"}},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","narrowing":{"notAfter":"yesterday"}}`, status: 400},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","expiresIn":"0s"}`, status: 400},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"expiresIn":"1d"}`, status: 400},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","narrowing":{"models":null}}`, status: 400, contains: []string{"null"}},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","narrowing":null}`, status: 400},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","narrowing":{"model":["main/gpt"]}}`, status: 400, contains: []string{"model"}},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","narrowing":{"models":["gpt"]}}`, status: 400},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","narrowing":{"cidr":["10.0.0.1"]}}`, status: 400},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","narrowing":{"cidr":[null]}}`, status: 400, contains: []string{"cidr"}},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","narrowing":{"cidr":[""]}}`, status: 400, contains: []string{"cidr"}},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","narrowing":{"models":[null]}}`, status: 400},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","narrowing":{"agents":[` + strings.Repeat(`"a",`, 1000) + `"a"]}}`, status: 400, contains: []string{"1000"}},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"Name":"x"}`, status: 400, contains: []string{"Name"}},
		{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"x","expiresIn":null}`, status: 400, contains: []string{"null"}},
		{who: "narrowed", method: "POST", path: "/me/tokens", body: `{"name":"x"}`, status: 403},
		{who: "narrowed", method: "GET", path: "/me/tokens", status: 403},
		{who: "narrowed", method: "DELETE", path: "/me/tokens", status: 403},
		{who: "member", method: "GET", path: "/users/uid-admin/tokens", status: 403, contains: []string{"token:read"}},
		{who: "member", method: "DELETE", path: "/users/uid-admin/tokens", status: 403, contains: []string{"token:revoke"}},
	})
	w.mint("weak", "member", "/me/tokens", `{"name":"weak","narrowing":{"models":[]}}`)
	me := w.do("weak", "GET", "/me", "")
	w.want(me, 200, `"models":[]`)
	var who struct{ ExpiresAt time.Time }
	if err := json.Unmarshal([]byte(me.body), &who); err != nil || time.Until(who.ExpiresAt) > 30*24*time.Hour {
		t.Errorf("expires %v", who.ExpiresAt)
	}
	// Somebody else's token is not there.
	adminList := w.do("admin", "GET", "/me/tokens", "")
	var list struct{ Items []struct{ ID string } }
	if err := json.Unmarshal([]byte(adminList.body), &list); err != nil || len(list.Items) == 0 {
		t.Fatal(adminList.body)
	}
	w.want(w.do("member", "DELETE", "/me/tokens/"+list.Items[0].ID, ""), 404)
	w.want(w.do("admin", "DELETE", "/users/member@example.com/tokens", ""), 204)
	w.want(w.do("member", "GET", "/me", ""), 401)
	w.want(w.do("weak", "GET", "/me", ""), 401)
}

func TestSecurityVirtualAccountTokens(t *testing.T) {
	w := newWorld(t)
	path := "/virtual-accounts/bot/tokens"
	w.want(w.do("member", "POST", path, `{"name":"x"}`), 404)
	w.want(w.do("maker", "POST", path, `{"name":"x"}`), 403, "virtual-account:manage-tokens")
	w.want(w.do("narrowed", "POST", path, `{"name":"x"}`), 404)
	w.want(w.do("admin", "POST", "/virtual-accounts/none/tokens", `{"name":"x"}`), 404)
	id := w.mint("bot", "lead", path, `{"name":"x","expiresIn":"1d"}`)
	w.want(w.do("bot", "GET", "/me", ""), 200, `"kind":"virtual-account"`, `"source":"owner"`)
	w.want(w.do("bot", "POST", "/me/tokens", `{"name":"x"}`), 403)
	w.want(w.do("bot", "GET", "/me/tokens", ""), 403, "only a user")
	w.want(w.do("lead", "GET", path, ""), 200, id)
	w.want(w.do("lead", "DELETE", path+"/"+id, ""), 204)
	w.want(w.do("lead", "DELETE", path+"/nothing", ""), 404)
	w.want(w.do("bot", "GET", "/me", ""), 401)
	w.mint("bot", "lead", path, `{"name":"y"}`)
	w.want(w.do("admin", "DELETE", "/virtual-accounts/bot", ""), 204)
	w.want(w.do("bot", "GET", "/me", ""), 401)
}

func TestSecurityPeopleAreRemovedForGood(t *testing.T) {
	w := newWorld(t)
	w.want(w.do("outsider", "PUT", "/users/outsider@example.com", `{"userName":"root"}`), 403, "user:create")
	w.want(w.do("outsider", "PUT", "/users/absent@example.com", `{}`), 403, "user:create")
	w.want(w.do("outsider", "DELETE", "/users/admin@example.com", ""), 404)
	w.want(w.do("maker", "DELETE", "/users/admin@example.com", ""), 403, "user:delete")
	w.want(w.do("admin", "PUT", "/users/member@example.com", `{"active":false}`), 200, `"active":false`)
	w.want(w.do("member", "GET", "/me", ""), 401)
	w.want(w.do("admin", "PUT", "/users/member@example.com", `{"active":true,"displayName":"M"}`), 200)
	w.want(w.do("member", "GET", "/me", ""), 401) // what was revoked stays revoked
	w.commit(t.Context(), &record.Batch{PutTokens: []identity.Token{{
		Kind: identity.TokenPersonal, Name: "new", Owner: "uid-member", Digest: identity.DigestOf(w.renew("member")), ExpiresAt: time.Now().Add(time.Hour),
	}}})
	w.want(w.do("member", "GET", "/me", ""), 200)
	w.commit(t.Context(), &record.Batch{PutUsers: []identity.User{{
		UID: "uid-member", Email: "member@example.com", Active: true,
		Identities: []identity.UserIdentity{{Issuer: "https://a", Subject: "1"}, {Issuer: "https://b", Subject: "2"}},
	}}})
	w.want(w.do("admin", "DELETE", "/users/uid-member/identities?issuer=https://a", ""), 204)
	r := w.do("admin", "GET", "/users/uid-member", "")
	w.want(r, 200, "https://b")
	w.without(r, "https://a")
	w.want(w.do("admin", "DELETE", "/users/uid-member", ""), 204)
	w.want(w.do("member", "GET", "/me", ""), 401)
	if !w.pub.Load().Tombstoned(identity.IdentityKey{Issuer: "https://b", Subject: "2"}, "") {
		t.Error("no tombstone")
	}
	w.want(w.do("admin", "GET", "/users?limit=500", ""), 200, "lead@example.com")
}

func TestSecurityBootstrapHasNoTokensOfItsOwn(t *testing.T) {
	w := newWorld(t)
	w.want(w.do("admin", "DELETE", "/role-bindings/admins", ""), 204)
	w.tokens["bootstrap"] = identity.NewToken(identity.TokenPersonal)
	w.commit(t.Context(), &record.Batch{PutTokens: []identity.Token{{
		Kind: identity.TokenPersonal, Name: "b", Bootstrap: true,
		Digest: identity.DigestOf(w.tokens["bootstrap"]), ExpiresAt: time.Now().Add(time.Hour),
	}}})
	w.want(w.do("bootstrap", "POST", "/me/tokens", `{"name":"x"}`), 403)
	w.want(w.do("bootstrap", "GET", "/me", ""), 200, `"admin":true`)
	w.want(w.do("bootstrap", "PUT", "/role-bindings/admins", `{"metadata":{"name":"admins"},"spec":{"subjects":["user:admin@example.com"],"role":"tenant-admin","resources":["tenant"]}}`), 201)
	w.want(w.do("bootstrap", "GET", "/me", ""), 401)
}

func TestSecurityExplainIsForOneselfOrForThoseWhoMay(t *testing.T) {
	w := newWorld(t)
	ask := func(who, body string) reply { return w.do(who, "POST", "/access:explain", body) }
	token := func(who, model string) string { return fmt.Sprintf(`{"token":%q,"model":%q}`, w.tokens[who], model) }
	w.want(ask("member", token("member", "main/gpt")), 200, `"allowed":true`, "permits model:use")
	w.want(ask("member", `{"model":"main/gpt"}`), 200, `"allowed":true`)
	w.want(ask("member", `{"as":"user:member@example.com","model":"main/gpt"}`), 200, `"allowed":true`)
	w.want(ask("admin", `{"as":"user:member@example.com","model":"main/o3"}`), 200, `"allowed":false`, "collaborators of its own")
	w.want(ask("admin", `{"as":"virtual-account:bot","model":"main/gpt"}`), 200, `"allowed":true`)
	w.want(ask("admin", `{"as":"user:outsider@example.com","resource":"team:research","action":"team:update"}`), 200, `"allowed":false`, "no_grant")
	w.want(ask("admin", token("member", "main/gpt")), 200, `"allowed":true`)
	w.want(ask("admin", `{"token":"gtp_bad","model":"main/gpt"}`), 200, `"allowed":false`, "invalid_token", "checksum")
	// Somebody else's token, a bad one, and somebody else look the same.
	other := ask("member", token("admin", "main/gpt"))
	for _, body := range []string{`{"token":"gtp_bad","model":"main/gpt"}`, `{"as":"user:admin@example.com"}`, `{"as":"user:nobody@example.com"}`} {
		if r := ask("member", body); r.status != 403 || strip(r.body) != strip(other.body) {
			t.Errorf("%s: %s, and somebody else's token: %s", body, r.body, other.body)
		}
	}
	// Asking about oneself does not tell what exists.
	hidden, absent := ask("outsider", `{"model":"main/gpt"}`), ask("outsider", `{"model":"main/none"}`)
	if hidden.status != 200 || hidden.body != absent.body {
		t.Errorf("hidden: %s, absent: %s", hidden.body, absent.body)
	}
	w.want(ask("admin", `{"token":"x","as":"user:a@example.com"}`), 400)
	w.want(ask("admin", `{"model":"gpt"}`), 400)
	audit := w.do("admin", "GET", "/audit?limit=500", "")
	w.want(audit, 200, "access.explain", "user:member")
	w.without(audit, "gtp_")
	if strings.Contains(w.log.String(), "gtp_") {
		t.Error("the log has a token")
	}
}

// strip takes the request id off a problem.
func strip(body string) string {
	before, _, _ := strings.Cut(body, `"requestId"`)
	return before
}

func TestListsGoOnWhereTheyEnded(t *testing.T) {
	w := newWorld(t)
	for _, list := range []string{"/users", "/audit", "/teams"} {
		seen, path := map[string]bool{}, list+"?limit=2"
		for range 100 {
			r := w.do("admin", "GET", path, "")
			w.want(r, 200)
			var page struct {
				Items      []json.RawMessage
				NextCursor string
			}
			if err := json.Unmarshal([]byte(r.body), &page); err != nil {
				t.Fatal(err)
			}
			for _, i := range page.Items {
				if seen[string(i)] {
					t.Fatalf("%s: %s comes twice", list, i)
				}
				seen[string(i)] = true
			}
			if page.NextCursor == "" {
				break
			}
			path = list + "?limit=2&cursor=" + page.NextCursor
		}
		if list == "/users" && len(seen) != len(people()) {
			t.Errorf("%d users", len(seen))
		}
	}
}
