package api_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// PostgreSQL cannot keep a NUL, and SQLite keeps everything: a name must be
// right or wrong whatever the database.
func TestNamesHaveNoControlCharacters(t *testing.T) {
	w := newWorld(t)
	for _, c := range []string{`\u0000`, `\n`, `\t`, `\u001b[31m`, `\u007f`, `\u0085`} {
		w.run(t, []scenario{
			{who: "admin", method: "PUT", path: "/users/member@example.com", body: `{"displayName":"a` + c + `b"}`, status: 400, contains: []string{"displayName", "control character"}},
			{who: "admin", method: "PUT", path: "/users/member@example.com", body: `{"userName":"a` + c + `b"}`, status: 400, contains: []string{"userName", "control character"}},
			{who: "admin", method: "PUT", path: "/users/member@example.com", body: `{"userName":"` + c + `"}`, status: 400},
			{who: "member", method: "POST", path: "/me/tokens", body: `{"name":"a` + c + `b"}`, status: 400, contains: []string{"name", "control character"}},
		})
	}
	w.want(w.do("admin", "PUT", "/users/member@example.com", "{\"displayName\":\"a\xffb\"}"), 400, "UTF-8")
	w.want(w.do("admin", "PUT", "/users/member@example.com", `{"displayName":"Ada Łukasz 阿","userName":"ada l"}`), 200, "Ada Łukasz 阿")
	// What a directory or a sign-in wrote is not in the way of a deactivation.
	u, err := w.db.User(t.Context(), "uid-lead")
	if err != nil {
		t.Fatal(err)
	}
	u.DisplayName = "a\tb"
	w.commit(t.Context(), &record.Batch{PutUsers: []identity.User{u}})
	w.want(w.do("admin", "PUT", "/users/lead@example.com", `{"active":false}`), 200, `"active":false`)
}

func TestSecurityAPersonIsMadeOnlyUnderAnAddressThatSignInWouldTake(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{
		"%ff@acme.com", "%EF%BF%BD@acme.com", "%E2%84%AAim@acme.com", "j%C3%B6rg@acme.com", "a%20b@acme.com", "%20ada@acme.com", "@acme.com", "ada@", "ada@acme..com",
		"ada@ac_me.com", "ada@ab--c.com", "ada@xn--zzzzzzzz-.com", strings.Repeat("x", 260) + "@acme.com",
	} {
		r := w.do("admin", "PUT", "/users/"+path, `{}`)
		w.want(r, 400, "invalid_request", "e-mail address")
		w.want(w.do("member", "PUT", "/users/"+path, `{}`), 403)
	}
	w.want(w.do("admin", "PUT", "/users/%ff@acme.com", `{}`), 400, `\\xff@acme.com`)
	w.want(w.do("admin", "PUT", "/users/j%C3%B6rg@acme.com", `{}`), 400, "jörg@acme.com")
	w.want(w.do("admin", "PUT", "/users/Ada@b%C3%BCcher.example", `{}`), 201, `"email":"ada@xn--bcher-kva.example"`)
	list, err := w.db.Users(t.Context(), "", 500)
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		if strings.Contains(list[i].Email, "acme") {
			t.Errorf("%q was made", list[i].Email)
		}
	}
}

func TestAPersonIsChangedByUID(t *testing.T) {
	w := newWorld(t)
	w.run(t, []scenario{
		{who: "admin", method: "PUT", path: "/users/uid-member", body: `{"displayName":"M"}`, status: 200, contains: []string{`"email":"member@example.com"`, `"displayName":"M"`}},
		{who: "admin", method: "PUT", path: "/users/uid-member", body: `{}`, headers: []string{"If-None-Match", "*"}, status: 412},
		{who: "admin", method: "PUT", path: "/users/uid-nobody", body: `{}`, status: 404, contains: []string{"not_found"}},
		{who: "admin", method: "PUT", path: "/users/%ff", body: `{}`, status: 404},
		{who: "member", method: "PUT", path: "/users/uid-admin", body: `{}`, status: 404, lacks: []string{"admin@"}},
		{who: "member", method: "PUT", path: "/users/uid-nobody", body: `{}`, status: 404},
		{who: "maker", method: "PUT", path: "/users/uid-admin", body: `{"active":false}`, status: 403, contains: []string{"tenant:admin"}},
		{who: "maker", method: "PUT", path: "/users/uid-member", body: `{"displayName":"N"}`, status: 200},
		{who: "admin", method: "GET", path: "/audit?action=user.update&target=user:member@example.com", status: 200, contains: []string{"user:maker@example.com"}},
		{who: "admin", method: "GET", path: "/users/uid-nobody", status: 404},
	})
}

func TestWhatIsWrongWithANarrowingIsNamed(t *testing.T) {
	w := newWorld(t)
	for narrowing, says := range map[string]string{
		`{"cidr":["10.0.0.1"]}`:             `narrowing: cidr: \"10.0.0.1\" is one address; write 10.0.0.1/32`,
		`{"cidr":["2001:db8::1"]}`:          `2001:db8::1/128`,
		`{"cidr":["10.0.0.0/33"]}`:          `narrowing: cidr: \"10.0.0.0/33\" is not a range of addresses; write it like 192.0.2.0/24`,
		`{"cidr":["x"]}`:                    `write it like 192.0.2.0/24`,
		`{"cidr":[""]}`:                     `write it like 192.0.2.0/24`,
		`{"cidr":[null]}`:                   `cidr`,
		`{"cidr":"10.0.0.0/8"}`:             `narrowing: cidr must be a list`,
		`{"cidr":[5]}`:                      `narrowing: cidr must be a list`,
		`{"notAfter":"tomorrow"}`:           `narrowing: notAfter must be a time like 2026-01-31T12:00:00Z`,
		`{"notAfter":5}`:                    `narrowing: notAfter must be a time`,
		`{"modles":[]}`:                     `narrowing: there is no field \"modles\"`,
		`{"models":5}`:                      `narrowing: the field models must be a list`,
		`{"cidr":["10.0.0.0/8"],"cidr":[]}`: `twice`,
	} {
		w.want(w.do("member", "POST", "/me/tokens", `{"name":"x","narrowing":`+narrowing+`}`), 400, says)
	}
	w.want(w.do("member", "POST", "/me/tokens", `{"name":"x","narrowing":{"cidr":["10.0.0.0/8","2001:db8::/32"]}}`), 201, `"cidr":["10.0.0.0/8","2001:db8::/32"]`)
}

func TestALengthOfTimeIsSaidAsItIsWritten(t *testing.T) {
	w := newWorld(t)
	w.seed(head("TenantSettings", "default") + `{personalAccessTokenMaxAge: 168h}`)
	r := w.do("member", "POST", "/me/tokens", `{"name":"x","expiresIn":"8d"}`)
	w.want(r, 409, "expiresIn must be at most 7d here")
	w.want(w.do("lead", "POST", "/virtual-accounts/bot/tokens", `{"name":"x","expiresIn":"4000d"}`), 409, "at most 3650d here")
	w.want(w.do("admin", "PUT", "/tenant-settings/default", `{"metadata":{"name":"default"},"spec":{"membershipMaxAge":"1s"}}`, "If-Match", "*"), 400, "must be between 1m and 3650d")
}

func TestMeShowsNoInternalSubject(t *testing.T) {
	w := newWorld(t)
	w.want(w.do("admin", "PUT", "/users/member@example.com", `{"userName":"max"}`), 200)
	r := w.do("member", "GET", "/me", "")
	w.want(r, 200, `"subjects":["team:everyone","team:research","user:member@example.com"]`)
	w.without(r, "user-name", "max")
}

func TestUnlinkingWhatIsNotLinkedIsNotFound(t *testing.T) {
	w := walkWorld(t)
	const identities = "/users/guest@example.com/identities"
	w.want(w.do("admin", "DELETE", identities+"?issuer=https://other.example.com", ""), 404, "not_found", "issuer")
	w.want(w.do("admin", "GET", "/users/guest@example.com", ""), 200, "https://idp.example.com")
	w.want(w.do("admin", "DELETE", identities+"?issuer=https://idp.example.com", ""), 204)
	w.want(w.do("admin", "DELETE", identities+"?issuer=https://idp.example.com", ""), 404)
	if got, _ := w.actions("/audit?action=user.unlink"); len(got) != 1 {
		t.Errorf("what changed nothing is in the audit: %v", got)
	}
}
