package snapshot

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const account = `{"provider":"echo","models":[{"name":"gpt-4o"},{"name":"*"}]}`

func TestSecurityWhatCannotBeReadGrantsNothing(t *testing.T) {
	for _, tc := range []struct {
		name    string
		rows    []identity.Rows
		problem string
	}{
		{"a role that does not exist", []identity.Rows{resources(
			res(t, v1.KindRoleBinding, "b", `{"subjects":["user:ada@example.com"],"role":"no-such-role","resources":["model:acme/gpt-4o"]}`))}, "no-such-role"},
		{"a subject that is none", []identity.Rows{resources(
			res(t, v1.KindRoleBinding, "b", `{"subjects":["ada@example.com","user:","team:*"],"role":"model-user","resources":["model:acme/gpt-4o"]}`))}, "not a subject"},
		{"a resource that is none", []identity.Rows{resources(
			res(t, v1.KindRoleBinding, "b", `{"subjects":["user:ada@example.com"],"role":"model-user","resources":["model:acme","everything","model:*/gpt-4o"]}`))}, "not a resource"},
		{"a model whose account is not there", []identity.Rows{resources(
			res(t, v1.KindRoleBinding, "b", `{"subjects":["user:ada@example.com"],"role":"model-user","resources":["model:other/gpt-4o"]}`))}, "account does not exist"},
		{"a quarantined binding", []identity.Rows{
			resources(res(t, v1.KindRoleBinding, "b", `{"subjects":["user:ada@example.com"],"role":"model-user","resources":["model:acme/gpt-4o"]}`)),
			{Quarantined: []identity.Quarantined{{Key: identity.ResourceKey{Kind: v1.KindRoleBinding, Name: "b"}, Reason: "newer"}}},
		}, "newer"},
		{"a custom role with the name of a built-in one", []identity.Rows{resources(
			res(t, v1.KindRole, "tenant-member", `{"permissions":["model:use"]}`))}, "built-in"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := snap(append([]identity.Rows{resources(res(t, v1.KindProviderAccount, "acme", account))}, tc.rows...)...)
			m, _ := s.Model("acme", "gpt-4o")
			for target := m.Target; target != nil; target = target.Above {
				for _, e := range target.Entries {
					if e.Who != identity.TenantAdmin && e.Permissions.Has(identity.PermModelUse) {
						t.Errorf("%s has %s on %s", e.Who, e.Role, target.Ref)
					}
				}
			}
			if !strings.Contains(strings.Join(problems(s), "\n"), tc.problem) {
				t.Errorf("problems: %q", problems(s))
			}
		})
	}
}

func TestSecurityACustomRoleHoldsNothingThatIsForAdmins(t *testing.T) {
	s := snap(resources(res(t, v1.KindRole, "almighty", `{"permissions":["tenant:admin","resource:take-over","identity-provider:update","secret-store:create","no:such","model:use"]}`)))
	perms, _ := s.Role("almighty")
	if diff := cmp.Diff([]identity.Permission{identity.PermModelUse}, perms.List()); diff != "" {
		t.Error(diff)
	}
}

func TestSecurityABindingThatEndedIn1970IsNotForEver(t *testing.T) {
	s := snap(resources(
		res(t, v1.KindProviderAccount, "acme", account),
		res(t, v1.KindRoleBinding, "b", `{"subjects":["user:ada@example.com"],"role":"model-user","resources":["model:acme/gpt-4o"],"expiresAt":"1970-01-01T00:00:00Z"}`)))
	m, _ := s.Model("acme", "gpt-4o")
	if e := m.Target.Entries; len(e) != 1 || e[0].Expires == 0 {
		t.Errorf("entries: %+v", e)
	}
}

func TestAuthzRulesNamePeopleByAddressNameAndSubject(t *testing.T) {
	s := snap(resources(
		res(t, v1.KindProviderAccount, "acme", account),
		res(t, v1.KindAuthzRules, "r", `{"rules":[{"models":["acme/gpt-4o"],"users":["ada@Example.com","ada","team:research","role:tenant-admin"]}]}`)))
	want := []string{"role:tenant-admin model-user", "team:research model-user", "user-name/ada model-user", "user:ada@example.com model-user"}
	if diff := cmp.Diff(want, grants(s, "model:acme/gpt-4o")); diff != "" {
		t.Error(diff)
	}
}

// A user name is chosen by SCIM or an admin, and is never mistaken for a
// subject, however it is spelled.
func TestSecurityAUserNameIsNeverAnotherSubject(t *testing.T) {
	s := snap(resources(res(t, v1.KindTeam, "research", `{}`)))
	for _, name := range []string{"team:research", "user:ada@example.com", "role:tenant-admin", "user-name/ada", "ada", "team:everyone"} {
		p := s.NewUserPrincipal(&User{User: identity.User{Email: "eve@example.com", UserName: name, Active: true}}, nil, nil)
		want := []identity.Subject{identity.Everyone, "user-name/" + identity.Subject(name), "user:eve@example.com"}
		slices.Sort(want)
		if diff := cmp.Diff(want, p.Subjects); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestSecurityAnExpiringAdminIsNoAdmin(t *testing.T) {
	binding := func(expires string) v1.Resource {
		return res(t, v1.KindRoleBinding, "b", `{"subjects":["user:ada@example.com"],"role":"tenant-admin","resources":["tenant"]`+expires+`}`)
	}
	u := &User{User: identity.User{Email: "ada@example.com", Active: true}}
	if !snap(resources(binding(""))).NewUserPrincipal(u, nil, nil).Admin {
		t.Error("an admin is none")
	}
	if snap(resources(binding(`,"expiresAt":"2027-01-01T00:00:00Z"`))).NewUserPrincipal(u, nil, nil).Admin {
		t.Error("an admin for a while is one for good")
	}
}

func TestATeamAccountStandsUnderItsTeamWhoeverNamesItFirst(t *testing.T) {
	s := snap(resources(
		res(t, v1.KindTeam, "research", `{}`),
		res(t, v1.KindVirtualAccount, "aaa", `{"access":[{"resource":"virtual-account:zzz","role":"virtual-account-viewer"}]}`),
		res(t, v1.KindVirtualAccount, "zzz", `{"team":"research"}`)))
	if above := s.Target("virtual-account:zzz").Above; above == nil || above.Ref != "team:research" {
		t.Errorf("it stands under %+v", above)
	}
}

func TestSecurityAnAccountOfATeamThatIsNotThereMayDoNothing(t *testing.T) {
	s := snap(resources(
		res(t, v1.KindTeam, "research", `{}`),
		res(t, v1.KindVirtualAccount, "central", `{}`),
		res(t, v1.KindVirtualAccount, "owned", `{"team":"research"}`),
		res(t, v1.KindVirtualAccount, "orphan", `{"team":"gone"}`)))
	limits := map[string]int{}
	s.VirtualAccounts(func(v *VirtualAccount) bool {
		limits[v.Name] = -1
		if v.Principal.LimitIDs != nil {
			limits[v.Name] = len(v.Principal.LimitIDs)
		}
		return true
	})
	if diff := cmp.Diff(map[string]int{"central": -1, "owned": 2, "orphan": 0}, limits); diff != "" {
		t.Error(diff)
	}
}

func TestWhenThereIsAnAdmin(t *testing.T) {
	bind := func(subject, extra string) v1.Resource {
		return res(t, v1.KindRoleBinding, "admins", `{"subjects":["`+subject+`"],"role":"tenant-admin","resources":["tenant"]`+extra+`}`)
	}
	ada := people("ada@example.com")
	off := people("ada@example.com")
	off.Users[0].Active = false
	member := people("ada@example.com")
	member.Users[0].Memberships = []identity.Membership{{Team: "ops", Source: "scim"}}
	ops := res(t, v1.KindTeam, "ops", `{}`)
	for _, tc := range []struct {
		name string
		rows []identity.Rows
		want bool
	}{
		{"nobody", nil, false},
		{"bound, but not there yet", []identity.Rows{resources(bind("user:ada@example.com", ""))}, false},
		{"there", []identity.Rows{ada, resources(bind("user:ada@example.com", ""))}, true},
		{"deactivated", []identity.Rows{off, resources(bind("user:ada@example.com", ""))}, false},
		{"for a while", []identity.Rows{ada, resources(bind("user:ada@example.com", `,"expiresAt":"2027-01-01T00:00:00Z"`))}, false},
		{"a lesser role", []identity.Rows{ada, resources(res(t, v1.KindRoleBinding, "x", `{"subjects":["user:ada@example.com"],"role":"tenant-member","resources":["tenant"]}`))}, false},
		{"by a team's manifest", []identity.Rows{ada, resources(res(t, v1.KindTeam, "ops", `{"members":["ada@example.com"]}`), bind("team:ops", ""))}, true},
		{"by a membership that is stored", []identity.Rows{member, resources(ops, bind("team:ops", ""))}, true},
		{"by a membership of a team that is not there", []identity.Rows{member, resources(bind("team:ops", ""))}, false},
		{"by being anybody", []identity.Rows{ada, resources(bind("team:everyone", ""))}, true},
		{"a central account", []identity.Rows{resources(res(t, v1.KindVirtualAccount, "ci", `{"access":[{"resource":"tenant","role":"tenant-admin"}]}`))}, true},
		{"an account that is off", []identity.Rows{resources(res(t, v1.KindVirtualAccount, "ci", `{"enabled":false,"access":[{"resource":"tenant","role":"tenant-admin"}]}`))}, false},
		{"an account that a team holds down", []identity.Rows{resources(ops, res(t, v1.KindVirtualAccount, "ci", `{"team":"ops","access":[{"resource":"tenant","role":"tenant-admin"}]}`))}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := snap(tc.rows...)
			if s.HasAdmin() != tc.want {
				t.Errorf("HasAdmin = %t", s.HasAdmin())
			}
			if s2 := next(s, people("eve@other.example")); s2.HasAdmin() != tc.want && tc.name != "by being anybody" {
				t.Errorf("after another user came: %t", s2.HasAdmin())
			}
			gone := next(s, identity.Rows{RemovedUsers: []string{"uid-ada@example.com"}, RemovedResources: []identity.ResourceKey{{Kind: v1.KindVirtualAccount, Name: "ci"}}})
			if gone.HasAdmin() {
				t.Error("still there after everybody was removed")
			}
		})
	}
}

func TestSecurityAnAdminByMembershipIsFoundAgainAfterEachChange(t *testing.T) {
	rows := people("a@example.com", "b@example.com")
	rows.Users[0].Memberships = []identity.Membership{{Team: "ops", Source: "scim"}}
	s := snap(rows, resources(res(t, v1.KindTeam, "ops", `{}`),
		res(t, v1.KindRoleBinding, "admins", `{"subjects":["team:ops"],"role":"tenant-admin","resources":["tenant"]}`)))
	left := people("a@example.com") // without the membership
	both := next(s, left)
	if !s.HasAdmin() || both.HasAdmin() {
		t.Errorf("before %t, after the last one left %t", s.HasAdmin(), both.HasAdmin())
	}
}

func TestSecurityAProviderWithAPathThatCannotBeReadAcceptsNothing(t *testing.T) {
	const bad = `/a~b`
	for _, field := range []string{
		`"claims":{"subject":["` + bad + `","email"]}`, `"claims":{"subjectWithin":"` + bad + `"}`,
		`"claims":{"emailVerified":["` + bad + `"]},"emailVerified":"assumed"`, `"clientTokenUnless":["` + bad + `"]`,
	} {
		s := snap(resources(
			res(t, v1.KindIdentityProvider, "broken", `{"issuer":"https://idp.example","audiences":["gw"],`+field+`}`),
			res(t, v1.KindIdentityProvider, "signature-only", `{"jwks":{"keys":[{}]},"audiences":["gw"]}`)))
		if got := s.Candidates("https://idp.example"); len(got) != 0 {
			t.Errorf("%s: %d providers judge its tokens", field, len(got))
		}
		if got := s.Candidates("https://nobody.example"); len(got) != 1 {
			t.Errorf("%d providers judge tokens that nobody claims", len(got))
		}
	}
}

func TestSecurityAProviderWithoutIssuerYieldsNoUsers(t *testing.T) {
	for manager, want := range map[string]v1.ResolveUsers{v1.ManagerAPI: v1.UsersNever, v1.ManagerEnv: v1.UsersCreate} {
		p := res(t, v1.KindIdentityProvider, "p", `{"jwks":{"keys":[{}]},"audiences":["gw"],"emailDomains":["example.com"],"trustUsers":true,"resolve":{"users":"create"}}`)
		p.Meta().Manager = manager
		got, _ := snap(resources(p)).Provider("p")
		if got.Spec.Resolve.Users != want {
			t.Errorf("%s: users: %s", manager, got.Spec.Resolve.Users)
		}
		if p.(*v1.IdentityProvider).Spec.Resolve.Users != v1.UsersCreate {
			t.Error("the resource itself was changed")
		}
	}
}

func TestWarningsAboutWhatTrustsTooMuch(t *testing.T) {
	s := snap(resources(
		res(t, v1.KindIdentityProvider, "p", `{"jwks":{"keys":[{}]},"insecureSkipAudience":true,"emailDomains":["*"]}`),
		res(t, v1.KindExternalIdentity, "all", `{"identityProvider":"p"}`)))
	all := strings.Join(problems(s), "\n")
	for _, want := range []string{"any audience", "no issuer", "any domain", "everybody who has any token"} {
		if !strings.Contains(all, want) {
			t.Errorf("no word on %q in:\n%s", want, all)
		}
	}
}

func TestMembershipsEndAndSourcesAreTold(t *testing.T) {
	end := noon.Add(time.Hour)
	rows := people("ada@example.com")
	rows.Users[0].Memberships = []identity.Membership{
		{Team: "research", Source: "manual"}, {Team: "ops", Source: "sso:https://idp.example", ExpiresAt: &end}, {Team: "gone", Source: "manual"},
	}
	s := snap(rows, resources(res(t, v1.KindTeam, "research", `{"managers":["Ada@example.com"],"members":["ada@example.com"]}`), res(t, v1.KindTeam, "ops", `{}`)))
	u, _ := s.UserByEmail("ada@example.com")
	teams := func(now time.Time) []string { return s.UserPrincipal(u, now).Teams }
	if diff := cmp.Diff([]string{"ops", "research"}, teams(noon)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"research"}, teams(end)); diff != "" {
		t.Errorf("at the end, from the cache: %s", diff)
	}
	if got := s.UserTeams(u, "https://idp.example", noon); len(got) != 2 || got[0].Source != "manifest" || !got[0].Manager {
		t.Errorf("without what the issuer said: %+v", got)
	}
}

func TestSecurityWhatAUserIsUnderAnOldConfigurationIsNotKept(t *testing.T) {
	with := snap(people("ada@example.com"), resources(res(t, v1.KindTeam, "ops", `{"members":["ada@example.com"]}`)))
	without := next(with, identity.Rows{RemovedResources: []identity.ResourceKey{{Kind: v1.KindTeam, Name: "ops"}}})
	u, _ := without.UserByEmail("ada@example.com")
	if got := with.UserPrincipal(u, noon).Teams; len(got) != 1 {
		t.Errorf("before: %v", got)
	}
	if got := without.UserPrincipal(u, noon).Teams; len(got) != 0 {
		t.Errorf("after: %v", got)
	}
}

func TestAddressesAndIdentitiesMoveWithTheirUsers(t *testing.T) {
	rows := people("a@example.com", "b@example.com")
	rows.Users[0].Identities = []identity.UserIdentity{{Issuer: "i", Subject: "1"}}
	s1 := snap(rows)
	swapped := people("a@example.com", "b@example.com")
	swapped.Users[0].Email, swapped.Users[1].Email = "b@example.com", "c@example.com"
	swapped.Users[1].Identities = []identity.UserIdentity{{Issuer: "i", Subject: "1"}}
	for _, order := range [][]identity.User{swapped.Users, {swapped.Users[1], swapped.Users[0]}} {
		s2 := next(s1, identity.Rows{Users: order})
		for email, want := range map[string]string{"a@example.com": "", "b@example.com": "uid-a@example.com", "c@example.com": "uid-b@example.com"} {
			got := ""
			if u, ok := s2.UserByEmail(email); ok {
				got = u.UID
			}
			if got != want {
				t.Errorf("%s is %q, want %q", email, got, want)
			}
		}
		if u, ok := s2.UserByIdentity(identity.IdentityKey{Issuer: "i", Subject: "1"}); !ok || u.UID != "uid-b@example.com" {
			t.Errorf("the identity is %+v", u)
		}
		if u, ok := s1.UserByEmail("a@example.com"); !ok || u.UID != "uid-a@example.com" {
			t.Error("the older snapshot changed")
		}
	}
}

func TestTombstonesAreLifted(t *testing.T) {
	key := identity.IdentityKey{Issuer: "i", Subject: "1"}
	s1 := snap(identity.Rows{Tombstones: []identity.Tombstone{
		{UID: "u1", Email: "a@example.com", Identities: []identity.IdentityKey{key}}, {UID: "u2", Email: "a@example.com"},
	}})
	s2 := next(s1, identity.Rows{LiftedTombstones: []string{"u1"}})
	s3 := next(s2, identity.Rows{LiftedTombstones: []string{"u2"}})
	for i, want := range []bool{true, true, false} {
		s := []*Snapshot{s1, s2, s3}[i]
		if got := s.Tombstoned(identity.IdentityKey{}, "a@example.com"); got != want {
			t.Errorf("snapshot %d: the address is buried: %t", i+1, got)
		}
		if got := s.Tombstoned(key, ""); got != (i == 0) {
			t.Errorf("snapshot %d: the identity is buried: %t", i+1, got)
		}
	}
}

func TestEveryKindIsCompiled(t *testing.T) {
	order, kinds := compileOrder(), v1.Kinds()
	slices.Sort(order)
	slices.Sort(kinds)
	if diff := cmp.Diff(kinds, order); diff != "" {
		t.Errorf("-there are +compiled\n%s", diff)
	}
}

func TestSecurityAKindThatNobodyCompilesIsReported(t *testing.T) {
	r := res(t, v1.KindTeam, "a", `{}`)
	cfg := compileConfig(map[identity.ResourceKey]v1.Resource{{Kind: "Notice", Name: "a"}: r}, nil)
	if len(cfg.problems) != 1 || !strings.Contains(cfg.problems[0].Message, "does not know") || cfg.problems[0].Resource != "notice:a" || len(cfg.teams) != 0 {
		t.Errorf("problems %+v, teams %v", cfg.problems, cfg.teams)
	}
}
