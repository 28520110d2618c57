package api_test

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/testlog"
)

// browsers knows one signed-in browser: the cookie names whose it is.
type browsers struct {
	pub   *snapshot.Publisher
	ended []string
	// more is how many sessions everybody has besides, younger than their two.
	more int
}

func (b *browsers) Visit(r *http.Request) (*identity.Principal, *identity.Grant, *snapshot.Snapshot, error) {
	c, err := r.Cookie("who")
	if err != nil {
		return nil, nil, nil, identity.Errorf(identity.CodeNoCredential, "sign in")
	}
	s := b.pub.Load()
	u, ok := s.UserByUID("uid-" + c.Value)
	if !ok || !u.Active {
		return nil, nil, nil, identity.Errorf(identity.CodeInvalidToken, "your session has ended")
	}
	if r.Method != http.MethodGet && r.Header.Get("Sec-Fetch-Site") != "same-origin" {
		return nil, nil, nil, identity.Errorf(identity.CodePermissionDenied, "from another origin")
	}
	return s.UserPrincipal(u, time.Now()), &identity.Grant{Via: "session", TokenID: "s-" + c.Value, ExpiresAt: time.Now().Add(time.Hour)}, s, nil
}

func (b *browsers) List(_ context.Context, uid string) ([]identity.Session, error) {
	name := strings.TrimPrefix(uid, "uid-")
	list := []identity.Session{{ID: "s-" + name, UserUID: uid, Connection: "okta"}, {ID: "other-" + name, UserUID: uid}}
	for i := range b.more { // three in the same moment
		list = append(list, identity.Session{ID: walkID(b.more - i), UserUID: uid, CreatedAt: time.Unix(int64(1000+(b.more-i)/3), 0)})
	}
	return list, nil
}

func (b *browsers) End(_ context.Context, uid, id, by string, audit record.AuditEntry) (identity.Head, error) {
	b.ended = append(b.ended, strings.Join([]string{uid, id, by, audit.Actor, audit.Action}, " "))
	return b.pub.Load().Head(), nil
}

func (b *browsers) EndAll(_ context.Context, uid, except, by string, audit record.AuditEntry) (identity.Head, error) {
	b.ended = append(b.ended, strings.Join([]string{uid, "all but", except, by, audit.Actor, audit.Action}, " "))
	return b.pub.Load().Head(), nil
}

func TestASessionIsWhoeverSignedIn(t *testing.T) {
	w := newWorld(t)
	own := []string{"Cookie", "who=member", "Sec-Fetch-Site", "same-origin"}
	w.run(t, []scenario{
		{method: "GET", path: "/me", headers: own, status: 200, contains: []string{`"via":"session"`, "member@example.com"}},
		{who: "outsider", method: "GET", path: "/me", headers: own, status: 200, contains: []string{"outsider@example.com"}, lacks: []string{"member@"}},
		{method: "GET", path: "/me", headers: []string{"Cookie", "who=nobody"}, status: 401, contains: []string{"invalid_token"}},
		{method: "GET", path: "/me", headers: []string{"Cookie", "other=member"}, status: 401, contains: []string{"no_credential"}},
		{method: "GET", path: "/me", headers: append([]string{"Authorization", "Bearer gtp_wrong"}, own...), status: 401, contains: []string{"invalid_token"}},
		{method: "POST", path: "/me/tokens", headers: []string{"Cookie", "who=member"}, body: `{"name":"x"}`, status: 403},
		{method: "DELETE", path: "/me/tokens", headers: own, status: 204},
		{method: "GET", path: "/users", headers: own, status: 403, contains: []string{"user:read"}},
		{method: "GET", path: "/sessions", headers: own, status: 200, contains: []string{`"id":"s-member"`, `"current":true`, `"id":"other-member"`}, lacks: []string{"admin"}},
		{who: "member", method: "GET", path: "/sessions", status: 401},
	})
}

func TestSessionsAreEndedByThosePermitted(t *testing.T) {
	w := newWorld(t)
	w.browsers.ended = nil
	w.run(t, []scenario{
		{who: "", method: "GET", path: "/sessions", status: 401},
		{who: "outsider", method: "GET", path: "/sessions?user=member@example.com", status: 403, contains: []string{"session:read"}},
		{who: "outsider", method: "GET", path: "/sessions?user=nobody@example.com", status: 403, contains: []string{"session:read"}},
		{who: "lead", method: "DELETE", path: "/sessions?user=member@example.com", status: 403, contains: []string{"session:end"}},
		{who: "lead", method: "DELETE", path: "/sessions/01900000-0000-7000-8000-000000000001?user=uid-member", status: 403, contains: []string{"session:end"}},
		{who: "narrowed", method: "GET", path: "/sessions", status: 403},
		{who: "narrowed", method: "DELETE", path: "/sessions", status: 403},
		{who: "admin", method: "GET", path: "/sessions?user=member@example.com", status: 200, contains: []string{"s-member"}, lacks: []string{`"current"`}},
		{who: "admin", method: "GET", path: "/sessions?user=nobody@example.com", status: 404},
		{who: "admin", method: "DELETE", path: "/sessions?user=uid-member", status: 204},
		{who: "admin", method: "DELETE", path: "/sessions/abc?user=member@example.com", status: 204},
		{who: "member", method: "DELETE", path: "/sessions/abc", status: 204},
		{method: "DELETE", path: "/sessions?keepCurrent=true", headers: []string{"Cookie", "who=member", "Sec-Fetch-Site", "same-origin"}, status: 204},
		{method: "DELETE", path: "/sessions?keepCurrent=perhaps", headers: []string{"Cookie", "who=member", "Sec-Fetch-Site", "same-origin"}, status: 400},
	})
	got := strings.Join(w.browsers.ended, "\n")
	want := strings.Join([]string{
		"uid-member all but  admin user:admin@example.com session.end",
		"uid-member abc admin user:admin@example.com session.end",
		"uid-member abc user user:member@example.com session.end",
		"uid-member all but s-member user user:member@example.com session.end",
	}, "\n")
	if got != want {
		t.Errorf("ended:\n%s\nwant:\n%s", got, want)
	}
}

func TestAManagerAddsAndRemovesMembersAndNothingElse(t *testing.T) {
	w := newWorld(t)
	const outsider = "/teams/research/members/outsider@example.com"
	w.run(t, []scenario{
		{who: "", method: "GET", path: "/teams/research/members", status: 401},
		{who: "member", method: "GET", path: "/teams/research/members", status: 403, contains: []string{"team:manage-members"}, lacks: []string{"lead@"}},
		{who: "outsider", method: "PUT", path: outsider, status: 403, contains: []string{"team:manage-members"}},
		{who: "narrowed", method: "PUT", path: outsider, status: 404},
		{who: "lead", method: "GET", path: "/teams/secretive/members", status: 403, lacks: []string{"admin@"}},
		{who: "lead", method: "PUT", path: "/teams/secretive/members/lead@example.com", status: 403},
		{who: "lead", method: "PUT", path: "/teams/absent/members/lead@example.com", status: 404},
		{who: "lead", method: "PUT", path: "/teams/research/members/nobody@example.com", status: 404},
		{who: "outsider", method: "GET", path: "/me", status: 200, contains: []string{`"teams":[]`}},
		{who: "lead", method: "PUT", path: outsider, status: 200, contains: []string{`"source":"manual"`, `"counts":true`}},
		{who: "lead", method: "PUT", path: outsider, status: 200},
		{who: "outsider", method: "GET", path: "/me", status: 200, contains: []string{`"name":"research"`, `"source":"manual"`}},
		{who: "outsider", method: "PUT", path: "/teams/research/members/ed@example.com", status: 403},
		{who: "lead", method: "GET", path: "/teams/research/members", status: 200, contains: []string{"lead@example.com", `"manager":true`, "member@example.com", "outsider@example.com"}, lacks: []string{"admin@", "identities"}},
		{who: "lead", method: "DELETE", path: "/teams/research/members/member@example.com", status: 409, contains: []string{"managed_by", "manifest"}},
		{who: "lead", method: "DELETE", path: "/teams/research/members/ed@example.com", status: 404},
		{who: "lead", method: "DELETE", path: outsider, status: 204},
		{who: "outsider", method: "GET", path: "/me", status: 200, contains: []string{`"teams":[]`}},
		{who: "lead", method: "DELETE", path: outsider, status: 404},
		{who: "admin", method: "GET", path: "/audit?limit=500", status: 200, contains: []string{"team.add-member", "team.remove-member", `"target":"team:research"`}},
	})
}

func TestWhatADirectoryOwnsIsChangedThere(t *testing.T) {
	w := newWorld(t)
	w.applyAs("scim:okta", head("Team", "pushed")+"{displayName: Pushed}")
	w.commit(t.Context(), &record.Batch{PutUsers: []identity.User{{
		UID: "uid-grace", Email: "grace@example.com", Active: true, Manager: "scim:okta", Memberships: []identity.Membership{
			{Team: "pushed", Source: "scim"}, {Team: "research", Source: "sso:https://idp.example.com"},
		},
	}}})
	w.run(t, []scenario{
		{who: "admin", method: "GET", path: "/teams/pushed/members", status: 200, contains: []string{"grace@example.com", `"source":"scim"`}},
		{who: "admin", method: "GET", path: "/teams/research/members", status: 200, contains: []string{`"source":"sso:https://idp.example.com","counts":false`}},
		{who: "admin", method: "PUT", path: "/teams/pushed/members/member@example.com", status: 409, contains: []string{"managed_by", "scim:okta"}},
		{who: "admin", method: "DELETE", path: "/teams/pushed/members/grace@example.com", status: 409, contains: []string{"managed_by"}},
		{who: "admin", method: "PUT", path: "/users/grace@example.com", body: `{"displayName":"G"}`, status: 409, contains: []string{"managed_by", "scim:okta"}},
		{who: "admin", method: "PUT", path: "/users/grace@example.com", body: `{"active":false}`, status: 200, contains: []string{`"active":false`}},
		{who: "admin", method: "PUT", path: "/users/grace@example.com", body: `{"active":true}`, status: 409},
	})
}

func TestAPersonIsWrittenAtTheVersionThatWasRead(t *testing.T) {
	w := newWorld(t)
	r := w.do("admin", "GET", "/users/member@example.com", "")
	etag := r.header.Get("ETag")
	if !regexp.MustCompile(`^"[0-9]+"$`).MatchString(etag) {
		t.Fatalf("ETag %q", etag)
	}
	w.run(t, []scenario{
		{who: "admin", method: "PUT", path: "/users/member@example.com", headers: []string{"If-Match", etag}, body: `{"displayName":"A"}`, status: 200},
		{who: "admin", method: "PUT", path: "/users/member@example.com", headers: []string{"If-Match", etag}, body: `{"displayName":"B"}`, status: 412, contains: []string{"precondition_failed"}},
		{who: "admin", method: "DELETE", path: "/users/member@example.com/identities", headers: []string{"If-Match", etag}, status: 412},
		{who: "admin", method: "DELETE", path: "/users/member@example.com", headers: []string{"If-Match", etag}, status: 412},
		{who: "admin", method: "GET", path: "/users/member@example.com", status: 200, contains: []string{`"displayName":"A"`}},
		{who: "admin", method: "PUT", path: "/users/member@example.com", headers: []string{"If-Match", "*"}, body: `{"displayName":"C"}`, status: 200},
	})
}

func TestAPersonIsCreatedOnlyWhereThatIsMeant(t *testing.T) {
	w := newWorld(t)
	w.run(t, []scenario{
		{who: "admin", method: "PUT", path: "/users/member@example.com", headers: []string{"If-None-Match", "*"}, body: `{"displayName":"A"}`, status: 412, contains: []string{"precondition_failed"}},
		{who: "admin", method: "PUT", path: "/users/new@example.com", headers: []string{"If-Match", "*"}, body: `{}`, status: 412, contains: []string{"precondition_failed"}},
		{who: "admin", method: "GET", path: "/users/new@example.com", status: 404},
		{who: "admin", method: "PUT", path: "/users/new@example.com", headers: []string{"If-None-Match", "*"}, body: `{}`, status: 201},
		{who: "outsider", method: "PUT", path: "/users/member@example.com", headers: []string{"If-None-Match", "*"}, body: `{}`, status: 403},
		{who: "admin", method: "PUT", path: "/users/new@example.com", body: `{"active":null}`, status: 400, contains: []string{"null"}},
		{who: "admin", method: "PUT", path: "/users/new@example.com", body: `{"displayName":"` + strings.Repeat("é", 256) + `"}`, status: 200},
		{who: "admin", method: "PUT", path: "/users/new@example.com", body: `{"displayName":"` + strings.Repeat("é", 257) + `"}`, status: 400},
	})
	for _, as := range []string{"nobody", "team:research", "user:", "user:not an address", "virtual-account:No"} {
		for _, who := range []string{"admin", "member"} {
			w.want(w.do(who, "POST", "/access:explain", `{"as":"`+as+`"}`), 400, "as must be")
		}
	}
}

func TestSecuritySCIMTokensAreTheTenantAdminsToMake(t *testing.T) {
	w := newWorld(t)
	w.seed(head("ScimDirectory", "okta") + "{}")
	const tokens = "/scim-directories/okta/tokens"
	for _, who := range []string{"lead", "member", "outsider", "maker", "binder", "narrowed"} {
		w.want(w.do(who, "POST", tokens, `{"name":"x"}`), 403, "scim-directory:update")
		w.want(w.do(who, "GET", tokens, ""), 403)
	}
	w.want(w.do("admin", "POST", "/scim-directories/absent/tokens", `{"name":"x"}`), 404)
	w.want(w.do("admin", "POST", tokens, `{"name":"x","narrowing":{"models":[]}}`), 400, "narrowing")
	id := w.mint("scim", "admin", tokens, `{"name":"x"}`)
	if !strings.HasPrefix(w.tokens["scim"], "gts_") {
		t.Errorf("the token begins with %.4s", w.tokens["scim"])
	}
	w.want(w.do("scim", "GET", "/me", ""), 401)
	w.want(w.do("admin", "GET", tokens, ""), 200, id, "scim-token")
	w.want(w.do("admin", "DELETE", tokens+"/"+id, ""), 204)
	w.want(w.do("admin", "GET", tokens, ""), 200, "revokedAt")
}

func TestATeamListsGroupsOfAConnectionThatIsThere(t *testing.T) {
	w := newWorld(t)
	team := `{"metadata":{"name":"signed-in"},"spec":{"identityProviderGroups":[{"ssoConnection":"okta","group":"eng"}]}}`
	w.want(w.do("admin", "PUT", "/teams/signed-in", team), 409, "spec.identityProviderGroups[0].ssoConnection", "okta")
	w.seed(head("SsoConnection", "okta") + "{}")
	w.want(w.do("admin", "PUT", "/teams/signed-in", team), 201, `"ssoConnection":"okta"`)
}

func TestTheControlAPINotesThatATokenWasUsed(t *testing.T) {
	w := newWorld(t)
	id := w.mint("laptop", "member", "/me/tokens", `{"name":"laptop"}`)
	w.used = &testlog.Buffer{}
	w.want(w.do("laptop", "GET", "/me", ""), 200)
	if got := w.used.String(); got != id+" from 192.0.2.7\n" {
		t.Errorf("noted %q", got)
	}
	w.used = &testlog.Buffer{}
	w.want(w.do("", "GET", "/me", "", "Cookie", "who=member"), 200)
	w.want(w.do("elsewhere", "GET", "/me", ""), 403)
	if got := w.used.String(); got != "" {
		t.Errorf("a session, or a token that was refused, counts as used: %q", got)
	}
}

func TestADomainAndAnIssuerBelongToOne(t *testing.T) {
	w := newWorld(t)
	sso := func(name, spec string) string {
		return `{"apiVersion":"gatehouse.dev/v1","kind":"SsoConnection","metadata":{"name":"` + name + `"},"spec":{"domains":["acme.com","` + name + `.example"]` + spec + `}}`
	}
	const on = `,"enabled":true,"oidc":{"issuer":"https://idp.example.com","clientId":"x","tokenEndpointAuth":"none"}`
	dir := func(name string) string {
		return `{"apiVersion":"gatehouse.dev/v1","kind":"ScimDirectory","metadata":{"name":"` + name + `"},"spec":{"issuers":["https://` + name + `.example","https://idp.example.com"]}}`
	}
	set := func(docs ...string) string { return `{"documents":[` + strings.Join(docs, ",") + `]}` }
	w.want(w.do("admin", "POST", "/apply", set(sso("a", on), sso("b", on))), 409, "spec.domains[0]", "acme.com leads to sso-connection:a already", "sso-connection:b already")
	w.want(w.do("admin", "POST", "/apply", set(sso("a", on), sso("b", ""))), 200)
	w.want(w.do("admin", "POST", "/apply", set(sso("b", on))), 409, "acme.com leads to sso-connection:a already; remove it from one of the two")
	w.want(w.do("admin", "POST", "/apply", set(sso("a", on))), 200)
	w.want(w.do("admin", "POST", "/apply", set(sso("a", ""), sso("b", on))), 200) // they change places

	w.want(w.do("admin", "PUT", "/scim-directories/one", dir("one")), 201)
	w.want(w.do("admin", "PUT", "/scim-directories/two", dir("two")), 409, "spec.issuers[1]", "https://idp.example.com is claimed by scim-directory:one already")
	w.want(w.do("admin", "DELETE", "/scim-directories/one", "", "If-Match", "*"), 204)
	w.want(w.do("admin", "PUT", "/scim-directories/two", dir("two")), 201)
}

// Whoever may only look at a connection makes nobody sign in through it.
func TestSecurityATestSignInIsForThoseWhoMayChangeTheConnection(t *testing.T) {
	w := newWorld(t)
	w.seed(head("SsoConnection", "okta") + "{}\n---\n" + head("Role", "looker") + "{permissions: [\"sso-connection:read\"]}\n---\n" +
		head("RoleBinding", "member-looks") + `{subjects: ["user:member@example.com"], role: looker, resources: [tenant]}`)
	w.want(w.do("member", "GET", "/sso-connections/okta", ""), 200)
	w.want(w.do("member", "POST", "/sso-connections/okta/test-sign-ins", ""), 403, "sso-connection:update")
	w.want(w.do("narrowed", "POST", "/sso-connections/okta/test-sign-ins", ""), 403)
	w.want(w.do("admin", "POST", "/sso-connections/okta/test-sign-ins", ""), 201, `"url"`, "user:admin@example.com")
}
