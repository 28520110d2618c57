package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// refusal is the newest refusal in the audit, with what was noted about it.
func (w *world) refusal() (e record.AuditEntry, after map[string]any) {
	w.t.Helper()
	list, err := w.db.AuditWhere(w.t.Context(), record.AuditFilter{Outcome: "denied"}, "", 1)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(list) == 0 {
		return e, nil
	}
	if err := json.Unmarshal(list[0].After, &after); err != nil {
		w.t.Fatal(err)
	}
	return list[0], after
}

// refusals counts those of somebody.
func (w *world) refusals(who string) int {
	w.t.Helper()
	list, err := w.db.AuditWhere(w.t.Context(), record.AuditFilter{Outcome: "denied", Actor: "user:" + who + "@example.com"}, "", 500)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(list)
}

// Each is a refusal that is answered like something that is not there. What is
// not there is taken down in the same way, so that neither the answer nor the
// time it takes tells the two apart.
func TestSecurityAHiddenRefusalIsAudited(t *testing.T) {
	for _, c := range []struct{ method, path, absent, body, action, target, permission string }{
		{"DELETE", "/identity-providers/target", "/identity-providers/absent", "", "identity-provider.delete", "identity-provider:target", "tenant:admin"},
		{"DELETE", "/roles/target", "/roles/absent", "", "role.delete", "role:target", "role:delete"},
		{"DELETE", "/virtual-accounts/target", "/virtual-accounts/absent", "", "virtual-account.delete", "virtual-account:target", "virtual-account:delete"},
		{"DELETE", "/users/admin@example.com", "/users/absent@example.com", "", "user.delete", "user:admin@example.com", "user:delete"},
		{"DELETE", "/users/uid-admin", "/users/uid-absent", "", "user.delete", "user:admin@example.com", "user:delete"},
		{"DELETE", "/users/admin@example.com/identities", "/users/absent@example.com/identities", "", "user.unlink", "user:admin@example.com", "user:update"},
		{"POST", "/virtual-accounts/target/tokens", "/virtual-accounts/absent/tokens", `{"name":"x"}`, "token.create", "virtual-account:target", "virtual-account:manage-tokens"},
		{"DELETE", "/virtual-accounts/target/tokens/" + walkID(2), "/virtual-accounts/absent/tokens/" + walkID(2), "", "token.revoke", "virtual-account:target", "virtual-account:manage-tokens"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			w := walkWorld(t)
			r := w.do("member", c.method, c.path, c.body)
			w.want(r, 404, "not_found")
			w.without(r, "permission", "denied", "exists")
			e, after := w.refusal()
			if e.Action != c.action || e.Target != c.target || e.Actor != "user:member@example.com" || e.RequestID == "" {
				t.Errorf("%+v", e)
			}
			if after["code"] != "not_found" || after["permission"] != c.permission || after["exists"] != true {
				t.Errorf("%v", after)
			}
			absent := w.do("member", c.method, c.absent, c.body)
			w.want(absent, 404, "not_found")
			if _, after := w.refusal(); w.refusals("member") != 2 || after["permission"] != c.permission || after["exists"] != false {
				t.Errorf("what is not there is told apart: %d entries, %v", w.refusals("member"), after)
			}
			w.want(w.do("admin", c.method, c.absent, c.body), 404)
			if w.refusals("admin") != 0 {
				t.Error("an admin who finds nothing was refused nothing")
			}
		})
	}
}

func TestSecurityAHiddenRefusalOfATeamIsAudited(t *testing.T) {
	w := walkWorld(t)
	w.want(w.do("nothing", "PUT", "/teams/research/members/ed@example.com", ""), 404)
	if e, after := w.refusal(); e.Action != "team.add-member" || e.Target != "team:research" || after["exists"] != true || after["permission"] != "team:manage-members" {
		t.Errorf("%+v %v", e, after)
	}
}

func TestSecurityHiddenRefusalsDoNotFillTheAudit(t *testing.T) {
	w := newWorld(t)
	for i := range 200 {
		w.want(w.do("member", "DELETE", fmt.Sprintf("/roles/absent-%d", i%3), ""), 404)
		w.want(w.do("member", "DELETE", "/role-bindings/admins", ""), 404)
	}
	if n := w.refusals("member"); n == 0 || n > 60 {
		t.Errorf("%d entries", n)
	}
}

// A refusal says of whom and of which thing, not only that something was tried.
func TestARefusalNamesWhatItWasAbout(t *testing.T) {
	id := walkID(2)
	for _, c := range []struct{ who, method, path, body, action, target, noted string }{
		{"member", "DELETE", "/users/guest@example.com/tokens", "", "token.revoke", "user:guest@example.com", ""},
		{"member", "DELETE", "/users/" + walkID(1) + "/tokens", "", "token.revoke", "user:guest@example.com", ""},
		{"member", "DELETE", "/users/Guest@EXAMPLE.com/tokens", "", "token.revoke", "user:guest@example.com", ""},
		{"member", "DELETE", "/sessions?user=guest@example.com", "", "session.end", "user:guest@example.com", ""},
		{"member", "DELETE", "/sessions/" + id + "?user=guest@example.com", "", "session.end", "user:guest@example.com", `"id":"` + id + `"`},
		{"nothing", "DELETE", "/sessions/" + id, "", "session.end", "user:admin@example.com", `"id":"` + id + `"`},
		{"nothing", "POST", "/me/tokens", `{"name":"x"}`, "token.create", "user:admin@example.com", ""},
		{"member", "DELETE", "/scim-directories/target/tokens/" + id, "", "token.revoke", "scim-directory:target", `"id":"` + id + `"`},
		{"member", "POST", "/sso-connections/target/test-sign-ins", "", "sso-connection.test", "sso-connection:target", ""},
		{"member", "POST", "/apply", teams("first", "second"), "tenant.apply", "team:first", `"permission":"team:create"`},
		{"lead", "POST", "/apply", `{"documents":[{"apiVersion":"gatehouse.dev/v1","kind":"Team","metadata":{"name":"research","labels":{"env":"lab"}},"spec":{"managers":["lead@example.com"],"members":["ed@example.com"]}},` + teams("second")[len(`{"documents":[`):], "tenant.apply", "team:second", ""},
		{"member", "POST", "/access:explain", `{"as":"user:guest@example.com"}`, "access.explain", "user:guest@example.com", ""},
	} {
		w := walkWorld(t)
		if r := w.do(c.who, c.method, c.path, c.body); r.status != 403 {
			t.Errorf("%s: %d %s", c.path, r.status, r.body)
		}
		e, _ := w.refusal()
		if e.Action != c.action || e.Target != c.target || !strings.Contains(string(e.After), c.noted) || strings.Contains(string(e.After), "dryRun") {
			t.Errorf("%s %s: %s %s %s", c.method, c.path, e.Action, e.Target, e.After)
		}
	}
}

func TestARefusedDryRunSaysThatItWasOne(t *testing.T) {
	w := newWorld(t)
	w.want(w.do("member", "POST", "/apply", `{"dryRun":true,`+teams("x")[1:]), 403)
	w.want(w.yaml("lead", "?dryRun=true", head("Team", "y")+"{}"), 403)
	for _, who := range []string{"member", "lead"} {
		list, err := w.db.AuditWhere(t.Context(), record.AuditFilter{Actor: "user:" + who + "@example.com"}, "", 9)
		if err != nil || len(list) != 1 || !strings.Contains(string(list[0].After), `"dryRun":true`) {
			t.Errorf("%s: %v %+v", who, err, list)
		}
	}
}

// teams is a set of teams for apply.
func teams(names ...string) string {
	var docs []string
	for _, n := range names {
		docs = append(docs, `{"apiVersion":"gatehouse.dev/v1","kind":"Team","metadata":{"name":"`+n+`"},"spec":{}}`)
	}
	return `{"documents":[` + strings.Join(docs, ",") + `]}`
}
