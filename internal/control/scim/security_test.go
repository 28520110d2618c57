package scim_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/control/scim"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func TestSecurityOnlyALiveScimTokenGetsIn(t *testing.T) {
	w := newWorld(t)
	good := w.tokens["okta"]
	personal := identity.NewToken(identity.TokenPersonal)
	w.door.tokens[personal] = "okta" // the form is looked at whatever the port says
	for name, headers := range map[string][]string{
		"nothing":            {"Authorization", ""},
		"another scheme":     {"Authorization", "Basic " + good},
		"a bare token":       {"Authorization", good},
		"two spaces":         {"Authorization", "Bearer  " + good},
		"a person's token":   {"Authorization", "Bearer " + personal},
		"a machine's token":  {"Authorization", "Bearer " + identity.NewToken(identity.TokenVirtualAccount)},
		"an unknown token":   {"Authorization", "Bearer " + identity.NewToken(identity.TokenSCIM)},
		"a broken checksum":  {"Authorization", "Bearer " + good[:len(good)-1] + "?"},
		"a JWT":              {"Authorization", "Bearer a.b.c"},
		"a cookie":           {"Authorization", "", "Cookie", "__Host-gatehouse-session=" + identity.NewSessionSecret()},
		"a key besides":      {"X-Api-Key", "sk-x"},
		"the token as a key": {"Authorization", "", "X-Api-Key", good},
	} {
		for _, path := range []string{"/Users", "/Groups", "/Schemas", "/ServiceProviderConfig", "/Me", "/nothing"} {
			r := w.do("GET", path, "", headers...).refused(401, "")
			want := `Bearer realm="gatehouse", error="invalid_token"`
			if name == "nothing" || name == "a cookie" { // RFC 6750, 3.1: no error without a credential
				want = `Bearer realm="gatehouse"`
			}
			if r.header.Get("WWW-Authenticate") != want {
				t.Errorf("%s: WWW-Authenticate %q", name, r.header.Get("WWW-Authenticate"))
			}
		}
	}
	w.do("GET", "/Users", "", "Authorization", "bearer "+good).want(200)
	twice := httptest.NewRequest("GET", "https://gate.example/scim/v2/Users", nil)
	twice.Header["Authorization"] = []string{"Bearer " + good, "Bearer " + w.tokens["entra"]}
	rec := httptest.NewRecorder()
	if w.server.ServeHTTP(rec, twice); rec.Code != 401 {
		t.Errorf("two credentials: %d", rec.Code)
	}
	w.do("GET", "/Users?access_token="+good, "", "Authorization", "").refused(401, "")
}

// slowBody revokes the token while it is being read.
type slowBody struct {
	*strings.Reader
	revoke func()
}

func (b slowBody) Read(p []byte) (int, error) { b.revoke(); return b.Reader.Read(p) }
func (slowBody) Close() error                 { return nil }

func TestSecurityATokenRevokedWhileTheBodyComesWritesNothing(t *testing.T) {
	w := newWorld(t)
	r, _ := http.NewRequestWithContext(t.Context(), "POST", "https://gate.example/scim/v2/Users", nil)
	r.Header.Set("Authorization", "Bearer "+w.tokens["okta"])
	r.Body = slowBody{strings.NewReader(`{` + userSchema + `,"userName":"a@example.com"}`), func() { delete(w.door.tokens, w.tokens["okta"]) }}
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	if rec.Code != 401 || len(w.mem.users) != 0 {
		t.Errorf("%d, %d users", rec.Code, len(w.mem.users))
	}
}

func TestSecurityADirectoryDoesNotChangeWhileTheBodyComes(t *testing.T) {
	w := newWorld(t)
	r, _ := http.NewRequestWithContext(t.Context(), "POST", "https://gate.example/scim/v2/Users", nil)
	r.Header.Set("Authorization", "Bearer "+w.tokens["okta"])
	r.Body = slowBody{strings.NewReader(`{` + userSchema + `,"userName":"a@example.com"}`), func() { w.door.tokens[w.tokens["okta"]] = "entra" }}
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	if rec.Code != 401 || len(w.mem.users) != 0 {
		t.Errorf("%d, %d users", rec.Code, len(w.mem.users))
	}
}

func TestSecurityADirectorySeesAndTouchesItsOwnAlone(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		w.as = "entra"
		foreign := w.add("foreign")
		group := w.addGroup("Foreigners", foreign)
		local := w.putUser(identity.User{Email: "local@example.com", UserName: "local", ExternalID: "x-local", Active: true}).UID
		manual := w.put(teamOf("manual", "api")).Meta().UID
		w.as = "okta"
		own := w.add("own")
		ownGroup := w.addGroup("Own", own)
		for _, path := range []string{"/Users/" + foreign, "/Users/" + local, "/Groups/" + group, "/Groups/" + manual, "/Users/" + ownGroup, "/Groups/" + own} {
			body := `{` + userSchema + `,"userName":"z@example.com"}`
			if strings.HasPrefix(path, "/Groups") {
				body = `{` + groupSchema + `,"displayName":"z"}`
			}
			w.do("GET", path, "").refused(404, "")
			w.do("PUT", path, body).refused(404, "")
			w.do("PATCH", path, patch(`{"op":"replace","path":"displayName","value":"z"}`)).refused(404, "")
			w.do("DELETE", path, "").refused(404, "")
		}
		for path, f := range map[string]string{"/Users": `userName pr`, "/Groups": `displayName pr`} {
			for _, q := range []string{"", "?filter=" + url.QueryEscape(f)} {
				r := w.do("GET", path+q, "").want(200).is("totalResults", 1)
				if strings.Contains(r.text, "oreign") || strings.Contains(r.text, "local") || strings.Contains(r.text, "manual") {
					t.Errorf("%s shows others: %s", path+q, r.text)
				}
			}
		}
		for _, f := range []string{
			`id eq "` + foreign + `"`, `id eq "` + local + `"`, `userName eq "foreign@example.com"`, `userName eq "local"`, `externalId eq "x-foreign"`,
			`externalId eq "x-local"`, `emails.value eq "local@example.com"`,
		} {
			w.do("GET", "/Users?filter="+url.QueryEscape(f), "").want(200).is("totalResults", 0)
		}
		w.do("GET", "/Groups?filter="+url.QueryEscape(`id eq "`+group+`"`), "").want(200).is("totalResults", 0)
		w.do("GET", "/Groups?filter="+url.QueryEscape(`members eq "`+foreign+`"`), "").want(200).is("totalResults", 0)
		// Nor can they be drawn into a group.
		for _, uid := range []string{foreign, local} {
			w.do("PATCH", "/Groups/"+ownGroup, patch(`{"op":"add","path":"members","value":[{"value":"`+uid+`"}]}`)).refused(400, "invalidValue")
			w.do("PUT", "/Groups/"+ownGroup, `{`+groupSchema+`,"displayName":"Own","members":[{"value":"`+uid+`"}]}`).refused(400, "invalidValue")
			w.do("POST", "/Groups", `{`+groupSchema+`,"displayName":"More","members":[{"value":"`+uid+`"}]}`).refused(400, "invalidValue")
			if len(w.person(uid).Memberships) > 1 {
				t.Error("somebody else's person is in the group")
			}
		}
	})
}

func TestSecurityMembershipsOfOtherTeamsAreNotShown(t *testing.T) {
	w := newWorld(t)
	id := w.add("a")
	w.put(teamOf("secret-project", "api"))
	u := w.person(id)
	w.addGroup("Ours")
	u.Memberships = []identity.Membership{{Team: "ours", Source: "manual"}, {Team: "secret-project", Source: "manual"}, {Team: "secret-project", Source: "scim"}}
	w.putUser(u)
	if r := w.do("GET", "/Users/"+id, "").want(200); strings.Contains(r.text, "secret") || r.get("groups") != nil {
		t.Errorf("another team is shown: %s", r.text)
	}
	// And a change by the directory leaves them alone.
	w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"title","value":"N"}`)).want(200)
	if len(w.person(id).Memberships) != 3 {
		t.Error("a manual membership was taken away")
	}
}

func TestSecurityAPersonIsTakenOverOnlyFromNoDirectoryAndNeverAnAdmin(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		linked := []identity.UserIdentity{{Issuer: "https://okta.example", Subject: "sub"}}
		member := w.putUser(identity.User{
			Email: "member@example.com", Active: true, Identities: linked,
			Memberships: []identity.Membership{{Team: "manual", Source: "manual"}},
		})
		admin := w.putUser(identity.User{Email: "admin@example.com", UserName: "root", Active: true})
		w.putUser(identity.User{Email: "third@example.com", UserName: "third", Active: true})
		w.trust.admins = []string{"admin@example.com", "root", "future@example.com"}
		w.as = "entra"
		w.add("foreign")
		w.as = "okta"
		post := func(userName, email string) *reply {
			return w.do("POST", "/Users", `{`+userSchema+`,"userName":"`+userName+`","emails":[{"value":"`+email+`"}]}`)
		}
		for _, c := range [][2]string{
			{"x", "admin@example.com"},
			{"ROOT", "x@example.com"},
			{"admin@example.com", "y@example.com"},
			{"x", "foreign@example.com"},
			{"Foreign@example.com", "x@example.com"},
			{"x", "future@example.com"},
			{"root", "member@example.com"},
			{"third", "member@example.com"},
		} {
			r := post(c[0], c[1]).refused(409, "uniqueness")
			if strings.Contains(r.text, admin.UID) || strings.Contains(r.text, "entra") {
				t.Errorf("the refusal says who: %s", r.text)
			}
		}
		w.do("POST", "/Users?dryRun=true", `{`+userSchema+`,"userName":"third","emails":[{"value":"member@example.com"}]}`).refused(409, "uniqueness")
		got := post("m", "Member@example.com").want(201)
		u := w.person(member.UID)
		if got.id() != member.UID || u.Manager != "scim:okta" || len(u.Identities) != 1 || len(u.Memberships) != 1 || u.UserName != "m" {
			t.Errorf("taken over as %+v", u)
		}
		if e := w.lastAudit(); e.Action != "user.update" || !strings.Contains(string(e.After), "scim:okta") {
			t.Errorf("audited as %+v", e)
		}
		post("m", "member@example.com").refused(409, "uniqueness")
		// Neither by changing somebody later.
		own := w.add("own")
		w.do("PATCH", "/Users/"+own, patch(`{"op":"add","path":"emails","value":"own@example.com"}`)).want(200)
		for _, op := range []string{
			`{"op":"replace","path":"userName","value":"root"}`, `{"op":"replace","path":"emails","value":[{"value":"admin@example.com"}]}`,
			`{"op":"replace","path":"emails","value":[{"value":"future@example.com"}]}`, `{"op":"replace","path":"userName","value":"FOREIGN@example.com"}`,
			`{"op":"replace","path":"emails","value":[{"value":"foreign@example.com"}]}`, `{"op":"replace","path":"externalId","value":""},{"op":"replace","path":"userName","value":"M"}`,
		} {
			w.do("PATCH", "/Users/"+own, patch(op)).refused(409, "uniqueness")
		}
		if u := w.person(own); u.Email != "own@example.com" || u.UserName != "own@example.com" {
			t.Errorf("changed to %+v", u)
		}
	})
}

// A person of the directory whom somebody has made an administrator: their
// address and user name lead to them, so the directory cannot give them away.
func TestSecurityADirectoryGivesNoAdministratorAnotherName(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		id := w.add("ada")
		w.trust.admins = []string{"ada@example.com"}
		for _, op := range []string{
			`{"op":"replace","path":"emails","value":[{"value":"mallory@example.com"}]}`, `{"op":"replace","path":"userName","value":"mallory@example.com"}`,
		} {
			w.do("PATCH", "/Users/"+id, patch(op)).refused(409, "uniqueness")
			w.do("PATCH", "/Users/"+id+"?dryRun=true", patch(op)).refused(409, "uniqueness")
		}
		w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"displayName","value":"Ada"}`)).want(200)
		w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"active","value":false}`)).want(200)
		if u := w.person(id); u.Email != "ada@example.com" || u.Active || u.DisplayName != "Ada" {
			t.Errorf("changed to %+v", u)
		}
		w.trust.admins = nil
		w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"emails","value":[{"value":"lovelace@example.com"}]}`)).want(200)
	})
}

// A directory's own id of somebody is likely their subject at the issuer: with it
// a removed administrator would be let in again beside any other address.
func TestSecurityADirectoryDoesNotUnburyAnAdministrator(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		linked := func(subject string) []identity.UserIdentity {
			return []identity.UserIdentity{{Issuer: "https://okta.example", Subject: subject, LinkedAt: time.Now()}}
		}
		boss := w.putUser(identity.User{Email: "boss@example.com", Active: true, Identities: linked("x-boss")})
		bob := w.putUser(identity.User{Email: "bob@example.com", Active: true, Identities: linked("x-bob")})
		if _, err := w.back.Commit(t.Context(), &record.Batch{DeleteUsers: []string{boss.UID, bob.UID}}); err != nil {
			t.Fatal(err)
		}
		w.trust.admins, w.trust.buried = []string{"boss@example.com"}, []string{boss.UID}
		left := func(email string) int {
			t.Helper()
			uids, err := w.back.TombstonesOf(t.Context(), email, nil)
			if err != nil {
				t.Fatal(err)
			}
			return len(uids)
		}
		post := func(name, external string) *reply {
			return w.do("POST", "/Users", `{`+userSchema+`,"userName":"`+name+`@example.com","externalId":"`+external+`"}`)
		}
		post("other", "x-boss").refused(409, "uniqueness")
		if left("boss@example.com") != 1 {
			t.Error("the administrator's tombstone was lifted")
		}
		if e := w.lastAudit(); e.Outcome != "denied" || !strings.Contains(string(e.After), "removed") {
			t.Errorf("audited as %+v", e)
		}
		post("robert", "x-bob").want(201) // somebody else comes back under another address
		if left("bob@example.com") != 0 {
			t.Error("the tombstone was not lifted")
		}
	})
}

func TestSecurityADirectoryIsNotGivenTheLocalAdministratorsAddress(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		for _, body := range []string{
			`"userName":"` + identity.LocalAdministrator + `"`, `"userName":"x","emails":[{"value":"Break-Glass@Gatehouse.INVALID"}]`,
			`"userName":"x","emails":[{"value":"anybody@gatehouse.invalid"}]`,
		} {
			w.do("POST", "/Users", `{`+userSchema+`,`+body+`}`).refused(400, "invalidValue")
		}
		local := w.putUser(identity.User{Email: identity.LocalAdministrator, Active: true})
		w.do("POST", "/Users", `{`+userSchema+`,"userName":"x","emails":[{"value":"`+identity.LocalAdministrator+`"}]}`).refused(400, "invalidValue")
		if u := w.person(local.UID); u.Manager != "" && u.Manager != "api" {
			t.Errorf("%+v", u)
		}
	})
}

func TestSecurityAServerWithoutTrustAdoptsNobody(t *testing.T) {
	w := newWorld(t)
	s, err := scim.New(scim.Options{People: w.back, Past: w.back, Teams: w.back, Writer: w.back, Authenticator: w.door})
	if err != nil {
		t.Fatal(err)
	}
	w.server = s
	w.putUser(identity.User{UID: "u", Email: "a@example.com", Active: true})
	w.do("POST", "/Users", `{`+userSchema+`,"userName":"a@example.com"}`).refused(409, "uniqueness")
	w.add("b")
}

func TestSecurityAGroupTakesNoTeamsGrants(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		w.put(teamOf("admins", "api"))
		w.put(teamOf("deployers", "apply:ci"))
		w.trust.granted = []string{"payroll"}
		old := w.putUser(identity.User{Email: "old@example.com", Active: true, Memberships: []identity.Membership{{Team: "ghosts", Source: "manual"}}})
		w.as = "entra"
		w.addGroup("Theirs")
		w.as = "okta"
		for display, want := range map[string]string{
			"Admins": "admins-2", "deployers": "deployers-2", "everyone": "everyone-2", "EVERYONE!": "everyone-3", "Payroll": "payroll-2",
			"Ghosts": "ghosts-2", "theirs": "theirs-2", "日本": "group", "Ünïcode": "n-code", strings.Repeat("x", 200): strings.Repeat("x", 48), "a--b__c": "a-b-c",
		} {
			id := w.do("POST", "/Groups", `{`+groupSchema+`,"displayName":"`+display+`","externalId":"e-`+want+`"}`).want(201).id()
			got := ""
			for _, name := range []string{want, "everyone-2", "everyone-3"} {
				if r, err := w.back.Resource(t.Context(), identity.ResourceKey{Kind: "Team", Name: name}); err == nil && r.Meta().UID == id {
					got = name
				}
			}
			if got == "" || got != want && !strings.HasPrefix(want, "everyone") {
				t.Errorf("%s became %q, want %q", display, got, want)
			}
			// A rename to such a name changes what is shown alone.
			w.do("PATCH", "/Groups/"+id, patch(`{"op":"replace","path":"displayName","value":"admins"}`)).want(204)
		}
		if tm := w.team("admins"); tm.Manager != "api" || tm.Spec.DisplayName != "" {
			t.Errorf("the manual team is %+v", tm)
		}
		if len(w.person(old.UID).Memberships) != 1 {
			t.Error("a stranger was written")
		}
	})
}

func TestSecurityDeletingAGroupLeavesNobodyForItsSuccessor(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		a := w.add("a")
		id := w.addGroup("Ops", a)
		guest := w.putUser(identity.User{Email: "guest@example.com", Active: true, Memberships: []identity.Membership{
			{Team: "ops", Source: "manual", Manager: true}, {Team: "other", Source: "manual"},
		}})
		w.do("DELETE", "/Groups/"+id, "").want(204)
		if m := w.person(guest.UID).Memberships; len(m) != 1 || m[0].Team != "other" {
			t.Errorf("left: %+v", m)
		}
		next := w.addGroup("Ops")
		if next == id || len(w.members(next)) != 0 {
			t.Error("the successor has members")
		}
		w.team("ops")
	})
}

func TestSecurityDeactivationEndsEverythingAndNothingComesBack(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		for _, off := range []string{
			`{"op":"Replace","path":"active","value":"False"}`, `{"op":"replace","path":"active","value":false}`,
			`{"op":"Replace","value":{"active":"false"}}`, `{"op":"add","path":"active","value":[{"value":"False"}]}`,
		} {
			id := w.add("ada")
			w.token(id)
			w.token(id)
			awaited := w.awaited
			w.do("PATCH", "/Users/"+id, patch(off)).want(200).is("active", false)
			if w.live(id) != 0 || w.person(id).Active || w.awaited != awaited+1 {
				t.Fatalf("%s: %d tokens live, awaited %d", off, w.live(id), w.awaited-awaited)
			}
			if e := w.lastAudit(); e.Action != "user.deactivate" {
				t.Errorf("audited as %s", e.Action)
			}
			w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"active","value":true}`)).want(200).is("active", true)
			if w.live(id) != 0 {
				t.Error("a token came back")
			}
			w.do("DELETE", "/Users/"+id, "").want(204)
		}
		id := w.add("put")
		w.token(id)
		w.do("PUT", "/Users/"+id, `{`+userSchema+`,"userName":"put@example.com","active":"False"}`).want(200)
		if w.live(id) != 0 {
			t.Error("PUT left a token")
		}
	})
}

func TestSecurityARehiredPersonIsSomebodyNew(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		id := w.add("ada")
		u := w.person(id)
		u.Identities = []identity.UserIdentity{{Issuer: "https://okta.example", Subject: "x-ada", LinkedAt: time.Now()}}
		w.putUser(u)
		w.token(id)
		w.do("DELETE", "/Users/"+id, "").want(204)
		w.do("GET", "/Users/"+id, "").refused(404, "")
		if e := w.lastAudit(); e.Action != "user.delete" || e.After != nil || !strings.Contains(string(e.Before), "ada@example.com") {
			t.Errorf("audited as %+v", e)
		}
		keys := []identity.IdentityKey{{Issuer: "https://okta.example", Subject: "x-ada"}}
		if buried, _ := w.back.TombstonesOf(t.Context(), "ada@example.com", keys); len(buried) != 1 {
			t.Fatalf("tombstones: %v", buried)
		}
		// They come back under another address, with the directory's same id.
		again := w.do("POST", "/Users", `{`+userSchema+`,"userName":"lovelace@example.com","externalId":"x-ada"}`).want(201).id()
		if buried, _ := w.back.TombstonesOf(t.Context(), "ada@example.com", keys); len(buried) != 0 {
			t.Errorf("the tombstone is still there: %v", buried)
		}
		if again == id || w.live(id) != 0 || w.live(again) != 0 || len(w.person(again).Identities) != 0 {
			t.Error("the person is their former self")
		}
		// And so do people under the same address.
		second := w.add("ben")
		w.do("DELETE", "/Users/"+second, "").want(204)
		for address, want := range map[string]int{"ben@example.com": 1, "lovelace@example.com": 0, "": 0} {
			if buried, _ := w.back.TombstonesOf(t.Context(), address, nil); len(buried) != want {
				t.Fatalf("%d tombstones of %q, want %d", len(buried), address, want)
			}
		}
		if w.add("ben") == second {
			t.Error("a uid was used again")
		}
		if buried, _ := w.back.TombstonesOf(t.Context(), "ben@example.com", nil); len(buried) != 0 {
			t.Errorf("the tombstone is still there: %v", buried)
		}
	})
}

func TestSecurityAnotherDirectorysIssuerIsNotLifted(t *testing.T) {
	w := newWorld(t)
	w.mem.tombs["dead"] = identity.Tombstone{UID: "dead", Email: "dead@example.com", Identities: []identity.IdentityKey{{Issuer: "https://entra.example", Subject: "x-ada"}}}
	w.add("ada")
	if len(w.mem.tombs) != 1 {
		t.Error("a tombstone of another directory's issuer was lifted")
	}
}

func TestEveryChangeIsAudited(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		var id, group string
		for _, c := range []struct {
			do             func()
			action, target string
		}{
			{func() { id = w.add("ada") }, "user.create", "user:ada@example.com"},
			{func() { w.do("PATCH", "/Users/"+id, patch(`{"op":"replace","path":"title","value":"N"}`)) }, "user.update", "user:ada@example.com"},
			{func() { group = w.addGroup("Ops") }, "team.create", "team:ops"},
			{func() {
				w.do("PATCH", "/Groups/"+group, patch(`{"op":"replace","path":"displayName","value":"N"}`))
			}, "team.update", "team:ops"},
			{func() { w.do("PATCH", "/Groups/"+group, patch(`{"op":"add","path":"members","value":"`+id+`"}`)) }, "team.update", "team:ops"},
			{func() { w.do("DELETE", "/Groups/"+group, "") }, "team.delete", "team:ops"},
			{func() { w.do("DELETE", "/Users/"+id, "") }, "user.delete", "user:ada@example.com"},
		} {
			c.do()
			e := w.lastAudit()
			if e.Action != c.action || e.Target != c.target || e.Actor != "scim:okta" || e.Via != "scim-token" || e.TokenID != "token-of-okta" ||
				e.RemoteAddr != "192.0.2.7" || e.Outcome != "done" || e.RequestID == "" {
				t.Errorf("%s %s: audited as %+v", c.action, c.target, e)
			}
			if json.Valid(e.Before) == (e.Action == "user.create" || e.Action == "team.create") && len(e.Before) > 0 {
				t.Errorf("%s: before is %s", c.action, e.Before)
			}
		}
	})
}

func TestADryRunTellsAndChangesNothing(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		id := w.do("POST", "/Users", ada).want(201).id()
		b := w.add("ben")
		group := w.addGroup("Ops", id)
		local := w.putUser(identity.User{Email: "local@example.com", Active: true})
		usersBefore, groupBefore := w.do("GET", "/Users", "").text, w.do("GET", "/Groups/"+group, "").text
		entry := w.lastAudit().ID
		for _, c := range []struct {
			method, path, body string
			changes            int
			operation          string
			contains           string
		}{
			{"POST", "/Users", `{` + userSchema + `,"userName":"c@example.com","title":"T"}`, 3, "create", `"after":"T"`},
			{"POST", "/Users", `{` + userSchema + `,"userName":"local@example.com"}`, 1, "adopt", local.UID},
			{"PATCH", "/Users/" + id, patch(`{"op":"replace","path":"title","value":"N"}`), 1, "update", `"before":"Countess"`},
			{"PATCH", "/Users/" + id, patch(`{"op":"replace","path":"title","value":"Countess"}`), 0, "", `"changes":[]`},
			{"PATCH", "/Users/" + id, patch(`{"op":"replace","path":"active","value":"False"}`), 1, "deactivate", `"attribute":"active"`},
			{"PUT", "/Users/" + b, `{` + userSchema + `,"userName":"ben@example.com"}`, 1, "update", `"attribute":"externalId"`},
			{"PATCH", "/Users/" + id, patch(`{"op":"remove","path":"` + enterprise + `:department"}`), 1, "update", enterprise + `:department`},
			{"DELETE", "/Users/" + id, "", 1, "delete", id},
			{"POST", "/Groups", `{` + groupSchema + `,"displayName":"New","members":[{"value":"` + b + `"}]}`, 2, "create", b},
			{"PATCH", "/Groups/" + group, patch(`{"op":"add","path":"members","value":[{"value":"` + b + `"},{"value":"` + id + `"}]}`), 1, "update", b},
			{"PUT", "/Groups/" + group, `{` + groupSchema + `,"displayName":"N","members":[{"value":"` + b + `"}]}`, 3, "update", `"before":"` + id + `"`},
			{"DELETE", "/Groups/" + group, "", 1, "delete", "Ops"},
		} {
			r := w.do(c.method, c.path+"?dryRun=true", c.body).want(200).is("dryRun", true)
			list, _ := r.body["changes"].([]any)
			if len(list) != c.changes || c.operation != "" && r.get("changes.0.operation") != c.operation || !strings.Contains(r.text, c.contains) {
				t.Errorf("%s %s %s: %s", c.method, c.path, c.body, r.text)
			}
		}
		for _, c := range [][4]string{
			{"POST", "/Users", `{` + userSchema + `,"userName":"ben@example.com"}`, "409"},
			{"PATCH", "/Users/" + id, patch(`{"op":"replace","path":"userName","value":"BEN@example.com"}`), "409"},
			{"PATCH", "/Groups/" + group, patch(`{"op":"add","path":"members","value":[{"value":"nobody"}]}`), "400"},
			{"DELETE", "/Users/nobody", "", "404"},
		} {
			if r := w.do(c[0], c[1]+"?dryRun=True", c[2]); r.text == "" || !strings.Contains(r.text, `"status":"`+c[3]+`"`) {
				t.Errorf("%s %s: %s", c[0], c[1], r.text)
			}
		}
		w.do("DELETE", "/Users/"+id+"?dryRun=yes", "").refused(400, "invalidValue")
		if w.do("GET", "/Users", "").text != usersBefore || w.do("GET", "/Groups/"+group, "").text != groupBefore || w.lastAudit().ID != entry {
			t.Error("a dry run changed something")
		}
	})
}
