package authz_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

var full = &identity.Grant{Via: "jwt"}

func narrowed(n identity.Narrowing) *identity.Grant { return &identity.Grant{Narrowing: &n} }

// office is an installation with one of everything that decides.
func office(t fataler) *snapshot.Snapshot {
	return build(nil, identity.Rows{
		Users: []identity.User{person("ada@example.com", "research"), person("eve@example.com"), person("boss@example.com"), person("root@example.com"), person("late@example.com")},
		Resources: []v1.Resource{
			res(t, v1.KindTeam, "research", `{}`), res(t, v1.KindTeam, "poor", `{}`),
			res(t, v1.KindProviderAccount, "acme", `{"provider":"echo",
				"collaborators":[{"subject":"team:research","role":"provider-account-user"},{"subject":"user:boss@example.com","role":"provider-account-manager"}],
				"models":[{"name":"open"},{"name":"off","enabled":false},{"name":"nobody","collaborators":[]},
					{"name":"eves","collaborators":[{"subject":"user:eve@example.com","role":"model-user"}]},{"name":"*"}]}`),
			res(t, v1.KindProviderAccount, "shut", `{"provider":"echo","models":[{"name":"*","collaborators":[]}]}`),
			res(t, v1.KindRoleBinding, "root", `{"subjects":["user:root@example.com"],"role":"tenant-admin","resources":["tenant"]}`),
			res(t, v1.KindRoleBinding, "late", `{"subjects":["user:late@example.com"],"role":"model-user","resources":["model:acme/open"],"expiresAt":"2026-03-01T12:00:00Z"}`),
			res(t, v1.KindRoleBinding, "one", `{"subjects":["user:eve@example.com"],"role":"model-user","resources":["model:shut/one"]}`),
			res(t, v1.KindVirtualAccount, "central", `{"access":[{"resource":"provider-account:acme","role":"provider-account-user"}]}`),
			res(t, v1.KindVirtualAccount, "rich", `{"team":"research","access":[{"resource":"provider-account:acme","role":"provider-account-user"},{"resource":"tenant","role":"tenant-admin"}]}`),
			res(t, v1.KindVirtualAccount, "poor", `{"team":"poor","access":[{"resource":"provider-account:acme","role":"provider-account-user"}]}`),
			res(t, v1.KindVirtualAccount, "orphan", `{"team":"gone","access":[{"resource":"tenant","role":"tenant-admin"}]}`),
			res(t, v1.KindVirtualAccount, "plain", `{"team":"research"}`),
		},
	})
}

func TestSecurityWhoMayUseWhichModel(t *testing.T) {
	s := office(t)
	account := func(name string) *identity.Principal { return virtualAccount(t, s, name) }
	for _, tc := range []struct {
		who  string
		p    *identity.Principal
		want string // the models that are allowed, of all that are asked for
	}{
		{"a member of the team", user(t, s, "ada@example.com"), "acme/open acme/other"},
		{"somebody with one narrowed model and one under a shut wildcard", user(t, s, "eve@example.com"), "acme/eves shut/one"},
		{"a manager of the account", user(t, s, "boss@example.com"), "acme/open acme/nobody acme/eves acme/other"},
		{"a tenant admin", user(t, s, "root@example.com"), "acme/open acme/nobody acme/eves acme/other shut/one shut/two"},
		{"whose binding ends this second", user(t, s, "late@example.com"), ""},
		{"a central account", account("central"), "acme/open acme/other"},
		{"an account of a team that has it", account("rich"), "acme/open acme/other"},
		{"an account of a team that has it, but was given nothing", account("plain"), ""},
		{"an account of a team that has less", account("poor"), ""},
		{"an account of a team that does not exist, an admin by what is written", account("orphan"), ""},
	} {
		var got []string
		for _, fqn := range []string{"acme/open", "acme/off", "acme/nobody", "acme/eves", "acme/other", "shut/one", "shut/two", "none/x", "acme", "", "acme/*", "shut/*"} {
			if may(s, tc.p, full, fqn, nil).Allowed {
				got = append(got, fqn)
			}
		}
		if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", tc.who, diff)
		}
	}
}

func TestSecurityANarrowedTokenDoesLess(t *testing.T) {
	s := office(t)
	root := user(t, s, "root@example.com")
	before, after := noon.Add(-time.Second), noon.Add(time.Second)
	for _, tc := range []struct {
		name string
		n    identity.Narrowing
		fqn  string
		want authz.Reason
	}{
		{"no list is no limit", identity.Narrowing{}, "acme/open", authz.ReasonPermitted},
		{"an empty list is nothing", identity.Narrowing{Models: []string{}}, "acme/open", authz.ReasonNarrowed},
		{"the model itself", identity.Narrowing{Models: []string{"acme/open"}}, "acme/open", authz.ReasonPermitted},
		{"another model", identity.Narrowing{Models: []string{"acme/open"}}, "acme/other", authz.ReasonNarrowed},
		{"all of an account", identity.Narrowing{Models: []string{"acme/*"}}, "acme/other", authz.ReasonPermitted},
		{"all of another account", identity.Narrowing{Models: []string{"shut/*"}}, "acme/other", authz.ReasonNarrowed},
		{"an account whose name only begins so", identity.Narrowing{Models: []string{"ac/*", "acm/*", "*", "/*"}}, "acme/other", authz.ReasonNarrowed},
		{"not over yet", identity.Narrowing{NotAfter: &after}, "acme/open", authz.ReasonPermitted},
		{"over", identity.Narrowing{NotAfter: &before}, "acme/open", authz.ReasonTokenEnded},
		{"over this second", identity.Narrowing{NotAfter: &noon}, "acme/open", authz.ReasonTokenEnded},
		{"a disabled model stays disabled", identity.Narrowing{Models: []string{"acme/off"}}, "acme/off", authz.ReasonDisabled},
	} {
		if got := may(s, root, narrowed(tc.n), tc.fqn, nil); got.Reason != tc.want || got.Allowed != (tc.want == authz.ReasonPermitted) {
			t.Errorf("%s: %+v (%s)", tc.name, got, got.Reason)
		}
	}
	for _, action := range identity.Catalogue() {
		q := authz.Request{Principal: root, Grant: narrowed(identity.Narrowing{}), Action: action, Resource: s.Tenant(), Context: authz.Context{Now: noon}}
		if action != identity.PermModelUse && authz.Decide(&q).Allowed {
			t.Errorf("a narrowed token may %s", action)
		}
	}
	if held := authz.Held(root, narrowed(identity.Narrowing{}), s.Tenant(), noon); !held.IsEmpty() {
		t.Errorf("a narrowed token can grant %v", held.List())
	}
}

func TestSecurityNothingMeansNobody(t *testing.T) {
	s := office(t)
	m, _ := s.Model("acme", "open")
	root := user(t, s, "root@example.com")
	for name, q := range map[string]authz.Request{
		"no principal":                {Grant: full, Action: identity.PermModelUse, Resource: m.Target},
		"no grant":                    {Principal: root, Action: identity.PermModelUse, Resource: m.Target},
		"no resource":                 {Principal: root, Grant: full, Action: identity.PermModelUse},
		"no subjects":                 {Principal: &identity.Principal{}, Grant: full, Action: identity.PermModelUse, Resource: m.Target},
		"no action":                   {Principal: root, Grant: full, Resource: m.Target},
		"an action that nobody knows": {Principal: root, Grant: full, Action: "model:everything", Resource: m.Target},
	} {
		q.Context.Now = noon
		if d := authz.Decide(&q); d.Allowed {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if !authz.Held(nil, full, s.Tenant(), noon).IsEmpty() || !authz.Held(root, nil, s.Tenant(), noon).IsEmpty() {
		t.Error("nobody holds something")
	}
}

// Whoever forgets to say what time it is gets what is for ever, and no more.
func TestSecurityAForgottenClockKeepsNothingAlive(t *testing.T) {
	s := office(t)
	m, _ := s.Model("acme", "open")
	end := noon.Add(time.Hour)
	late := user(t, s, "late@example.com")
	for _, q := range []authz.Request{
		{Principal: late, Grant: full},
		{Principal: user(t, s, "ada@example.com"), Grant: narrowed(identity.Narrowing{NotAfter: &end})},
	} {
		q.Action, q.Resource, q.Name = identity.PermModelUse, m.Target, m.FQN
		if d := authz.Decide(&q); d.Allowed {
			t.Errorf("%s is allowed", q.Principal.Name)
		}
	}
	if held := authz.Held(late, full, m.Target, time.Time{}); held.Has(identity.PermModelUse) {
		t.Error("and can grant it")
	}
	if d := authz.Decide(&authz.Request{Principal: user(t, s, "ada@example.com"), Grant: full, Action: identity.PermModelUse, Resource: m.Target}); !d.Allowed {
		t.Error("what is for ever is not allowed")
	}
}

func TestHeldIsWhatDecideAllows(t *testing.T) {
	s := office(t)
	principals := []*identity.Principal{virtualAccount(t, s, "rich"), virtualAccount(t, s, "orphan"), virtualAccount(t, s, "central")}
	for u := range s.Users {
		principals = append(principals, s.UserPrincipal(u, noon))
	}
	for _, p := range principals {
		for _, ref := range []identity.ResourceRef{"tenant", "provider-account:acme", "model:acme/open", "model:acme/nobody", "model:acme/eves", "team:research", "secret-store:none"} {
			target := s.Target(ref)
			held := authz.Held(p, full, target, noon)
			for _, action := range identity.Catalogue() {
				err := authz.Allows(p, full, action, target, noon)
				if held.Has(action) != (err == nil) {
					t.Errorf("%s on %s: %s held %t, allowed %v", p.Name, ref, action, held.Has(action), err)
				}
				if err != nil && identity.CodeOf(err) != identity.CodePermissionDenied {
					t.Errorf("error: %v", err)
				}
			}
		}
	}
}

func TestExplainNamesTheSettingToChange(t *testing.T) {
	s := office(t)
	ada := user(t, s, "ada@example.com")
	for _, tc := range []struct {
		name string
		p    *identity.Principal
		g    *identity.Grant
		fqn  string
		want []string
	}{
		{"wrong model", ada, full, "none/x", []string{"no such model", "spec.models"}},
		{"disabled model", ada, full, "acme/off", []string{"acme/off is disabled", "enabled: true", "spec.models of provider-account:acme"}},
		{"no role", user(t, s, "eve@example.com"), full, "acme/open", []string{"user:eve@example.com", "model:use on model:acme/open", "RoleBinding", "collaborators"}},
		{"model with collaborators of its own", ada, full, "acme/eves", []string{"does not count, because the model has collaborators of its own", "model:acme/eves has collaborators of its own; add one of them there"}},
		{"binding that has expired", user(t, s, "late@example.com"), full, "acme/open", []string{"role-binding:late", "has expired; change spec.expiresAt"}},
		{"team that has less", virtualAccount(t, s, "poor"), full, "acme/open", []string{"nothing gives the owning team the permission model:use"}},
		{"narrowed token", ada, narrowed(identity.Narrowing{Models: []string{}}), "acme/open", []string{"narrowing.models"}},
	} {
		tr := &identity.Trace{}
		d, want := may(s, tc.p, tc.g, tc.fqn, tr), may(s, tc.p, tc.g, tc.fqn, nil)
		if d.Allowed || d != want {
			t.Errorf("%s: %+v with a trace, %+v without", tc.name, d, want)
		}
		text := ""
		for _, step := range tr.Steps {
			text += step.Stage + ": " + step.Message + "\n"
		}
		for _, w := range tc.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no word on %q in:\n%s", tc.name, w, text)
			}
		}
	}
}

func TestReasonsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for r := authz.ReasonNoGrant; r <= authz.ReasonModelNarrowed; r++ {
		if seen[r.String()] {
			t.Errorf("two reasons are called %s", r)
		}
		seen[r.String()] = true
	}
}

func large(t fataler) *snapshot.Snapshot {
	return build(nil, identity.Rows{
		Users: []identity.User{person("ada@example.com", "research"), person("eve@example.com", "research")},
		Resources: []v1.Resource{
			res(t, v1.KindTeam, "research", `{}`),
			res(t, v1.KindProviderAccount, "acme", `{"provider":"echo","collaborators":[`+manyEntries(10_000)+`],"models":[{"name":"m"}]}`),
		},
	})
}

func TestDecideAllocatesNothing(t *testing.T) {
	s := large(t)
	m, _ := s.Model("acme", "m")
	ends := noon.Add(time.Hour)
	for name, want := range map[string]bool{"ada@example.com": true, "eve@example.com": false} {
		q := authz.Request{
			Principal: user(t, s, name), Grant: narrowed(identity.Narrowing{Models: []string{"acme/*"}, NotAfter: &ends}),
			Action: identity.PermModelUse, Resource: m.Target, Name: "acme/m", Context: authz.Context{Now: noon},
		}
		if got := testing.AllocsPerRun(100, func() {
			if authz.Decide(&q).Allowed != want {
				t.Errorf("%s: allowed is not %t", name, want)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	s := large(b)
	m, _ := s.Model("acme", "m")
	u, _ := s.UserByEmail("ada@example.com")
	q := authz.Request{
		Principal: s.UserPrincipal(u, noon), Grant: full, Action: identity.PermModelUse, Resource: m.Target, Name: "acme/m", Context: authz.Context{Now: noon},
	}
	b.ReportAllocs()
	for b.Loop() {
		if !authz.Decide(&q).Allowed {
			b.Fatal("denied")
		}
	}
}
