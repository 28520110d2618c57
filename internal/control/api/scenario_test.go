package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

type scenario struct {
	who, method, path, body string
	headers                 []string
	status                  int
	contains, lacks         []string
}

func (w *world) run(t *testing.T, list []scenario) {
	t.Helper()
	for _, s := range list {
		t.Run(s.who+" "+s.method+" "+s.path, func(t *testing.T) {
			sub := *w
			sub.t = t
			r := sub.do(s.who, s.method, s.path, s.body, s.headers...)
			sub.want(r, s.status, s.contains...)
			sub.without(r, append([]string{plainKey, "gtp_"}, s.lacks...)...)
			if r.header.Get("Cache-Control") != "no-store" || len(r.header["Set-Cookie"]) > 0 {
				t.Errorf("headers: %v", r.header)
			}
			if s.status >= 400 && r.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("Content-Type %q", r.header.Get("Content-Type"))
			}
		})
	}
}

func TestReadingShowsWhatTheCallerMayRead(t *testing.T) {
	w := newWorld(t)
	w.run(t, []scenario{
		{who: "", method: "GET", path: "/provider-accounts", status: 401, contains: []string{"no_credential"}, lacks: []string{"main"}},
		{who: "", method: "GET", path: "/nothing", status: 401},
		{who: "admin", method: "GET", path: "/nothing", status: 404, contains: []string{"not_found"}},
		{who: "admin", method: "PATCH", path: "/teams/research", status: 405, contains: []string{"method_not_allowed"}},
		{who: "admin", method: "GET", path: "/provider-accounts", status: 200, contains: []string{`"name":"main"`, `"total":1`, `"stored":true`}},
		{who: "outsider", method: "GET", path: "/provider-accounts", status: 200, contains: []string{`"items":[]`, `"total":0`}, lacks: []string{"main"}},
		{who: "member", method: "GET", path: "/provider-accounts/main", status: 404, contains: []string{"not_found"}, lacks: []string{"upstream"}},
		{who: "member", method: "GET", path: "/provider-accounts/absent", status: 404, contains: []string{"not_found"}},
		{who: "pam", method: "GET", path: "/provider-accounts/main", status: 200, contains: []string{"upstream.example.com"}},
		{who: "admin", method: "GET", path: "/teams?filter=metadata.labels.env+eq+%22lab%22", status: 200, contains: []string{`"total":2`}},
		{who: "outsider", method: "GET", path: "/teams?filter=metadata.name+pr", status: 200, contains: []string{`"total":2`, "secretive"}, lacks: []string{"@example.com"}},
		{who: "outsider", method: "GET", path: "/teams?filter=metadata.labels.env+eq+%22lab%22", status: 200, contains: []string{`"total":0`}},
		{who: "outsider", method: "GET", path: "/role-bindings?filter=metadata.name+eq+%22admins%22", status: 200, contains: []string{`"total":0`}, lacks: []string{"admins"}},
		{who: "admin", method: "GET", path: "/teams?filter=spec.members+eq+%22x%22", status: 400},
		{who: "admin", method: "GET", path: "/teams?limit=501", status: 400},
		{who: "narrowed", method: "GET", path: "/provider-accounts", status: 200, contains: []string{`"total":0`}, lacks: []string{"main"}},
		{who: "narrowed", method: "GET", path: "/users", status: 403, contains: []string{"permission_denied", "user:read"}},
		{who: "elsewhere", method: "GET", path: "/me", status: 403, contains: []string{"address_not_permitted"}},
		{who: "lead", method: "GET", path: "/virtual-accounts/bot", status: 200, contains: []string{"research"}},
		{who: "member", method: "GET", path: "/virtual-accounts/bot", status: 404},
		{who: "outsider", method: "GET", path: "/users", status: 403, contains: []string{`"permission":"user:read"`}},
		{who: "outsider", method: "GET", path: "/users/admin@example.com", status: 404, lacks: []string{"uid-admin"}},
		{who: "admin", method: "GET", path: "/users/uid-member", status: 200, contains: []string{"member@example.com"}},
		{who: "member", method: "GET", path: "/me", status: 200, contains: []string{`"name":"research"`, `"source":"manifest"`, "token:create-own", `"admin":false`}},
		{who: "narrowed", method: "GET", path: "/me", status: 200, contains: []string{`"permissions":[]`, `"narrowing"`, `"admin":false`}},
		{who: "member", method: "GET", path: "/permissions", status: 200, contains: []string{"model:use", "team-manager"}},
		{who: "member", method: "GET", path: "/audit", status: 403, contains: []string{"audit:read"}},
		{who: "admin", method: "GET", path: "/audit?limit=3", status: 200, contains: []string{"provider-account.create", "nextCursor"}},
		{who: "member", method: "GET", path: "/logs", status: 200, contains: []string{`"items":[]`}},
		{who: "member", method: "GET", path: "/logs?scope=all", status: 403, contains: []string{"logs:read"}},
	})
}

func TestWritingAsksForPermission(t *testing.T) {
	w := newWorld(t)
	team := `{"metadata":{"name":"new"},"spec":{"members":["a@example.com"]}}`
	w.run(t, []scenario{
		{who: "", method: "PUT", path: "/teams/new", body: team, status: 401},
		{who: "outsider", method: "PUT", path: "/teams/new", body: team, status: 403, contains: []string{`"permission":"team:create"`}},
		{who: "narrowed", method: "PUT", path: "/teams/new", body: team, status: 403},
		{who: "admin", method: "PUT", path: "/teams/other", body: team, status: 400, contains: []string{"invalid_manifest"}},
		{who: "admin", method: "PUT", path: "/teams/new", body: `{"metadata":{"name":"new"},"spec":{"membres":[]}}`, status: 400, contains: []string{`"line":1`, "membres"}},
		{who: "admin", method: "PUT", path: "/teams/new", body: team, headers: []string{"Content-Type", "text/plain"}, status: 415},
		{who: "admin", method: "PUT", path: "/teams/new", body: team, headers: []string{"If-Match", `"1"`}, status: 412},
		{who: "admin", method: "PUT", path: "/teams/new", body: team, headers: []string{"If-None-Match", "*"}, status: 201, contains: []string{`"uid"`, `"manager":"api"`}},
		{who: "admin", method: "PUT", path: "/teams/new", body: team, headers: []string{"If-None-Match", "*"}, status: 412},
		{who: "admin", method: "PUT", path: "/teams/new", body: team, status: 428, contains: []string{"precondition_required"}},
		{who: "admin", method: "PUT", path: "/teams/new", body: team, headers: []string{"If-Match", `"stale"`}, status: 412},
		{who: "admin", method: "PUT", path: "/teams/new", body: team, headers: []string{"If-Match", `W/"x"`}, status: 400},
		{who: "admin", method: "PUT", path: "/teams/new", body: team, headers: []string{"If-Match", `*`}, status: 200},
		{who: "admin", method: "PUT", path: "/teams/new", body: strings.Repeat(" ", 4<<20) + team, headers: []string{"If-Match", `*`}, status: 413},
		{who: "outsider", method: "DELETE", path: "/teams/new", status: 403, contains: []string{"team:delete"}},
		{who: "outsider", method: "DELETE", path: "/provider-accounts/main", status: 404},
		{who: "outsider", method: "PUT", path: "/provider-accounts/main", body: `{"metadata":{"name":"main"},"spec":{"provider":"echo"}}`, status: 403, contains: []string{"provider-account:create"}},
		{who: "outsider", method: "PUT", path: "/provider-accounts/mine", body: `{"metadata":{"name":"mine"},"spec":{"provider":"echo"}}`, status: 403, contains: []string{"provider-account:create"}},
		{who: "admin", method: "DELETE", path: "/teams/new", headers: []string{"If-Match", `"x"`}, status: 412},
		{who: "admin", method: "DELETE", path: "/teams/new", status: 204},
		{who: "admin", method: "DELETE", path: "/teams/new", status: 404},
	})
	r := w.do("admin", "GET", "/audit?limit=500", "")
	for _, want := range []string{`"outcome":"denied"`, `"team.update"`, `"team.create"`, `"team.delete"`, `"remoteAddr":"192.0.2.7"`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("the audit lacks %s", want)
		}
	}
}

func TestSecurityEveryOperationDeclaresPermissionAndAuditAndRefusesStrangers(t *testing.T) {
	w := newWorld(t)
	ops := w.api.Operations()
	if len(ops) < 50 {
		t.Fatalf("only %d operations", len(ops))
	}
	for _, op := range ops {
		if op.Permission == "" || op.AuditAction == "" {
			t.Errorf("%s %s declares permission %q and audit action %q", op.Method, op.Path, op.Permission, op.AuditAction)
		}
		if op.Method != http.MethodGet && op.AuditAction == "none" {
			t.Errorf("%s %s changes something and is not audited", op.Method, op.Path)
		}
		path := strings.NewReplacer("{name}", "main", "{user}", "uid-member", "{id}", "x").Replace(strings.TrimPrefix(op.Path, "/api/v1"))
		for name, headers := range map[string][]string{
			"anonymous": nil, "bad token": {"Authorization", "Bearer gtp_x"}, "cookie": {"Cookie", "session=" + w.tokens["admin"]},
			"basic": {"Authorization", "Basic " + w.tokens["admin"]},
		} {
			r := w.do("", op.Method, path, `{}`, headers...)
			if r.status != 401 || !strings.HasPrefix(r.header.Get("WWW-Authenticate"), `Bearer realm="gatehouse"`) {
				t.Errorf("%s: %s %s: status %d, WWW-Authenticate %q", name, op.Method, path, r.status, r.header.Get("WWW-Authenticate"))
			}
			if (name == "anonymous" || name == "cookie") && strings.Contains(r.header.Get("WWW-Authenticate"), "error") {
				t.Errorf("%s: an error without a credential", name)
			}
		}
		if op.Permission == "authenticated" || op.Path == "/api/v1/access:explain" {
			continue // about oneself; what is about others is in TestSecurityExplain…
		}
		r := w.do("narrowed", op.Method, path, `{}`)
		list := op.Method == http.MethodGet && r.status == 200 && strings.Contains(r.body, `"items":[]`)
		if r.status < 400 && !list {
			t.Errorf("a narrowed token: %s %s: %d %s", op.Method, path, r.status, r.body)
		}
	}
}

func TestTheDescriptionNamesEveryOperation(t *testing.T) {
	w := newWorld(t)
	r := w.do("member", "GET", "/openapi.json", "")
	w.want(r, 200)
	var doc struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal([]byte(r.body), &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("openapi %q: %v", doc.OpenAPI, err)
	}
	for _, op := range w.api.Operations() {
		if doc.Paths[op.Path][strings.ToLower(op.Method)] == nil {
			t.Errorf("%s %s is not described", op.Method, op.Path)
		}
	}
}

func TestSecurityPathsAreReadInOneWayOnly(t *testing.T) {
	w := newWorld(t)
	for _, p := range []string{"//teams", "/teams/..%2fusers", "/teams/%2e%2e/users", "/teams/x%5cy", "/teams/%2E"} {
		if r := w.do("admin", "GET", p, ""); r.status != 400 {
			t.Errorf("%s: %d", p, r.status)
		}
	}
}

func TestSecurityCursorIsBoundToCallerListAndFilter(t *testing.T) {
	w := newWorld(t)
	var page struct {
		NextCursor string `json:"nextCursor"`
		Items      []struct {
			Metadata struct{ Name string } `json:"metadata"`
		}
	}
	r := w.do("admin", "GET", "/teams?limit=1", "")
	w.want(r, 200, `"total":2`)
	if err := json.Unmarshal([]byte(r.body), &page); err != nil || page.NextCursor == "" {
		t.Fatalf("%v: %s", err, r.body)
	}
	next := w.do("admin", "GET", "/teams?limit=1&cursor="+page.NextCursor, "")
	w.want(next, 200, "secretive")
	w.without(next, "nextCursor", `"name":"research"`)
	for who, path := range map[string]string{
		"member": "/teams?limit=1&cursor=" + page.NextCursor,
		"admin":  "/roles?cursor=" + page.NextCursor,
		"pam":    "/teams?filter=kind+pr&cursor=" + page.NextCursor,
		"lead":   "/teams?cursor=research",
	} {
		if r := w.do(who, "GET", path, ""); r.status != 400 {
			t.Errorf("%s %s: %d", who, path, r.status)
		}
	}
	if r := w.do("admin", "GET", "/teams?filter=kind+pr&cursor="+page.NextCursor, ""); r.status != 400 {
		t.Errorf("another filter: %d", r.status)
	}
}
