package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// slowBody is a body during which something happens.
type slowBody struct {
	io.Reader
	once      sync.Once
	meanwhile func()
}

func (b *slowBody) Read(p []byte) (int, error) {
	b.once.Do(b.meanwhile)
	return b.Reader.Read(p)
}

// slowly sends a request whose body arrives after something has happened.
func (w *world) slowly(who, method, path, body string, meanwhile func(), headers ...string) reply {
	w.t.Helper()
	r := httptest.NewRequest(method, "/api/v1"+path, &slowBody{Reader: strings.NewReader(body), meanwhile: meanwhile})
	r.Header.Set("Authorization", "Bearer "+w.tokens[who])
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.api.Handler().ServeHTTP(rec, r)
	return reply{rec.Code, rec.Header(), rec.Body.String()}
}

func TestSecurityASlowBodyDoesNotOutliveTheTokenItCameWith(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	r := w.slowly("lead", "POST", "/me/tokens", `{"name":"stolen again"}`, func() {
		w.want(w.do("admin", "DELETE", "/users/lead@example.com/tokens", ""), 204)
	})
	w.want(r, 401)
	r = w.slowly("pam", "POST", "/me/tokens", `{"name":"one more"}`, func() {
		u, err := w.db.UserByEmail(ctx, "pam@example.com")
		if err != nil {
			t.Fatal(err)
		}
		u.Active = false
		w.commit(ctx, &record.Batch{PutUsers: []identity.User{u}})
	})
	w.want(r, 401)
	for _, uid := range []string{"uid-lead", "uid-pam"} {
		list, err := w.db.Tokens(ctx, uid)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 1 {
			t.Errorf("%s has %d tokens", uid, len(list))
		}
	}
}

func TestSecurityASlowBodyDoesNotOutliveARole(t *testing.T) {
	w := newWorldOf(t, "apply:default")
	w.seed(head("RoleBinding", "second") + `{subjects: ["user:outsider@example.com"], role: tenant-admin, resources: [tenant]}`)
	gone := func() { w.want(w.do("admin", "DELETE", "/role-bindings/second", ""), 204) }
	admin := `{"metadata":{"name":"back-door"},"spec":{"subjects":["user:outsider@example.com"],"role":"tenant-admin","resources":["tenant"]}}`
	w.want(w.slowly("outsider", "PUT", "/role-bindings/back-door", admin, gone), 403)
	w.want(w.do("admin", "GET", "/role-bindings/back-door", ""), 404)
	// The same for every other way to write.
	w.seed(head("RoleBinding", "second") + `{subjects: ["user:outsider@example.com"], role: tenant-admin, resources: [tenant]}`)
	w.want(w.slowly("outsider", "POST", "/apply", `{"documents":[`+strings.Replace(admin, "{", `{"apiVersion":"gatehouse.dev/v1","kind":"RoleBinding",`, 1)+`]}`, gone), 403)
	w.seed(head("RoleBinding", "second") + `{subjects: ["user:outsider@example.com"], role: tenant-admin, resources: [tenant]}`)
	w.want(w.slowly("outsider", "PUT", "/users/new@example.com", `{}`, gone), 403)
	w.seed(head("RoleBinding", "second") + `{subjects: ["user:outsider@example.com"], role: tenant-admin, resources: [tenant]}`)
	w.want(w.slowly("outsider", "POST", "/virtual-accounts/bot/tokens", `{"name":"t"}`, gone), 404)
	w.seed(head("RoleBinding", "second") + `{subjects: ["user:outsider@example.com"], role: tenant-admin, resources: [tenant]}`)
	w.want(w.slowly("outsider", "POST", "/access:explain", `{"as":"user:admin@example.com"}`, gone), 403)
}

func TestSecurityASlowChangeOfAPersonDoesNotUndoADeactivation(t *testing.T) {
	w := newWorld(t)
	r := w.slowly("maker", "PUT", "/users/member@example.com", `{"displayName":"Member"}`, func() {
		w.want(w.do("admin", "PUT", "/users/member@example.com", `{"active":false}`), 200)
	})
	w.want(r, 200, `"active":false`)
	w.want(w.do("member", "GET", "/me", ""), 401)
}

func TestSecurityTwoWhoWriteAPersonUndoNothingOfEachOther(t *testing.T) {
	w := newWorld(t)
	for round := range 20 {
		w.want(w.do("admin", "PUT", "/users/member@example.com", `{"active":true}`), 200)
		var wg sync.WaitGroup
		wg.Go(func() { w.do("admin", "PUT", "/users/member@example.com", `{"active":false}`) })
		for i := range 3 {
			wg.Go(func() {
				w.do("maker", "PUT", "/users/member@example.com", fmt.Sprintf(`{"displayName":"%d-%d"}`, round, i))
			})
		}
		wg.Wait()
		w.want(w.do("admin", "GET", "/users/member@example.com", ""), 200, `"active":false`)
	}
}

func TestSecurityANarrowedModelIsNotOpenedInTwoSteps(t *testing.T) {
	const narrow = `{"name":"reasoning","model":"o3","collaborators":[{"subject":"user:admin@example.com","role":"model-user"}]}`
	for name, models := range map[string]string{
		"taken away, to be listed again for everybody":      `{"name":"gpt"}`,
		"taken away, with a wildcard that covers it":        `{"name":"gpt"},{"name":"*"}`,
		"led elsewhere, so that the wildcard covers it":     `{"name":"gpt"},{"name":"*"},{"name":"reasoning","model":"dull","collaborators":[{"subject":"user:admin@example.com","role":"model-user"}]}`,
		"another name for the same":                         `{"name":"gpt"},` + narrow + `,{"name":"x","model":"o3"}`,
		"another name for a dated variant of the same":      `{"name":"gpt"},` + narrow + `,{"name":"x","model":"o3-2025-04-16"}`,
		"another spelling of the same":                      `{"name":"gpt"},` + narrow + `,{"name":"x","model":"O3"}`,
		"an open entry that is led to it":                   `{"name":"gpt","model":"o3"},` + narrow,
		"switched off, to be switched on by the next write": `{"name":"gpt"},` + narrow + `,{"name":"x","model":"o3","enabled":false}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.want(w.putAccount("pam", account(seedCollaborators, `{"name":"gpt"},`+narrow)), 200)
			w.want(w.putAccount("ed", account(seedCollaborators, models)), 403, "had collaborators of its own", "role:bind")
		})
	}
	w := newWorld(t)
	w.want(w.putAccount("pam", account(seedCollaborators, `{"name":"gpt"},`+narrow)), 200)
	w.want(w.putAccount("ed", account(seedCollaborators, `{"name":"gpt"},{"name":"new"},{"name":"*"},`+strings.Replace(narrow, `"model"`, `"enabled":false,"model"`, 1))), 200)
	// A narrow wildcard: to list a model that only it covered is to open it.
	w.want(w.putAccount("pam", account(seedCollaborators, `{"name":"gpt"},{"name":"*","collaborators":[]}`)), 200)
	w.want(w.putAccount("ed", account(seedCollaborators, `{"name":"gpt"},{"name":"o1"},{"name":"*","collaborators":[]}`)), 403)
	w.want(w.putAccount("ed", account(seedCollaborators, `{"name":"gpt"}`)), 403)
	w.want(w.putAccount("ed", account(seedCollaborators, `{"name":"gpt"},{"name":"4","model":"gpt-2024-01-01"},{"name":"*","collaborators":[]}`)), 200)
}

func TestSecurityRefusalsDoNotFillTheAudit(t *testing.T) {
	w := newWorld(t)
	body := `{"metadata":{"name":"e"},"spec":{"subjects":["team:everyone"],"role":"tenant-admin","resources":["tenant"]}}`
	for range 200 {
		w.want(w.do("member", "PUT", "/role-bindings/e", body), 403)
	}
	denied := func() (n int, longest int) {
		list, err := w.db.Audit(context.Background(), "", 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Outcome == apply.OutcomeDenied {
				n, longest = n+1, max(longest, len(e.Target))
			}
		}
		return n, longest
	}
	n, _ := denied()
	if n == 0 || n > 60 {
		t.Errorf("%d refusals of one caller are in the audit", n)
	}
	// Somebody else's refusal is written down all the same, and no target is
	// longer than anything that exists.
	w.want(w.do("outsider", "PUT", "/users/"+strings.Repeat("x", 9000)+"@example.com", `{}`), 403)
	after, longest := denied()
	if after != n+1 || longest > 310 {
		t.Errorf("%d refusals, the longest target has %d bytes", after, longest)
	}
}

func TestSecurityWhoeverHangsUpIsAudited(t *testing.T) {
	w := newWorld(t)
	ctx, hangUp := context.WithCancel(context.Background())
	r := httptest.NewRequest("DELETE", "/api/v1/users/admin@example.com/tokens", nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+w.tokens["binder"])
	hangUp()
	w.api.Handler().ServeHTTP(httptest.NewRecorder(), r)
	list, err := w.db.Audit(context.Background(), "", 500)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Outcome == apply.OutcomeDenied && e.ActorUID == "uid-binder" {
			return
		}
	}
	t.Error("the refusal of somebody who has hung up is not in the audit")
}

func TestSecurityOneBodyIsNotUnboundedWork(t *testing.T) {
	w := newWorld(t)
	list := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	// A product of subjects and resources.
	binding := `{"metadata":{"name":"b"},"spec":{"subjects":[` + list(2000, `"user:u%d@example.com"`) + `],"role":"model-user","resources":[` + list(2000, `"model:main/m%d"`) + `]}}`
	w.want(w.do("binder", "PUT", "/role-bindings/b", binding), 400, "more than 100000 grants")
	w.want(w.do("member", "POST", "/apply", `{"documents":[`+list(10_001, `%d`)+`]}`), 400, "at most 10000 documents")
	w.want(w.do("member", "POST", "/apply", strings.Repeat("authz_rules: []\n---\n", 10_001), "Content-Type", "application/yaml"), 400)
	r := w.do("member", "POST", "/apply", `{"documents":[`+list(9_000, `%d`)+`]}`)
	var p struct{ Errors []json.RawMessage }
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || len(p.Errors) > 100 {
		t.Errorf("%d errors in one answer (%v)", len(p.Errors), err)
	}
}

func TestSecurityANarrowedTokenIsExplainedAsItIs(t *testing.T) {
	w := newWorld(t)
	w.seed(head("RoleBinding", "o3") + `{subjects: ["user:member@example.com"], role: model-user, resources: ["model:main/o3"]}`)
	token := identity.NewToken(identity.TokenPersonal)
	w.tokens["thin"] = token
	w.commit(context.Background(), &record.Batch{PutTokens: []identity.Token{{
		Kind: identity.TokenPersonal, Name: "thin", Owner: "uid-member",
		Digest: identity.DigestOf(token), ExpiresAt: time.Now().Add(time.Hour), Narrowing: &identity.Narrowing{Models: []string{"main/gpt"}},
	}}})
	for _, q := range []string{`{"model":"main/o3"}`, `{"as":"user:member@example.com","model":"main/o3"}`} {
		w.want(w.do("thin", "POST", "/access:explain", q), 200, `"allowed":false`, "token_narrowed")
	}
	w.want(w.do("member", "POST", "/access:explain", `{"as":"user:member@example.com","model":"main/o3"}`), 200, `"allowed":true`)
}

func TestTheBodyMustBeAnObject(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{`null`, `[]`, `"x"`, `1`, ` null`} {
		w.want(w.do("admin", "POST", "/access:explain", body), 400, "must be a JSON object")
	}
	r := w.do("admin", "POST", "/me/tokens", `{"name":1}`)
	w.want(r, 400, "the field name must be a string")
	w.without(r, "api.")
}

func TestSecurityNothingIsTakenInOfStrangers(t *testing.T) {
	w := newWorld(t)
	read := false
	r := httptest.NewRequest(http.MethodPut, "/api/v1/teams/x", &slowBody{Reader: strings.NewReader("{}"), meanwhile: func() { read = true }})
	rec := httptest.NewRecorder()
	w.api.Handler().ServeHTTP(rec, r)
	if rec.Code != 401 || read {
		t.Errorf("status %d, the body was read: %t", rec.Code, read)
	}
}
