package authz_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// world is a random installation, kept as what was written so that single
// grants can be taken out of it.
type world map[identity.ResourceKey]string

var (
	teams           = []string{"t0", "t1", "t2"}
	accounts        = []string{"a0", "a1"}
	models          = []string{"m", "m-2024-08-06", "n", "*"}
	askable         = []string{"m", "m-2024-08-06", "M", "n", "n-latest", "x", "*", ""}
	emails          = []string{"u0@example.com", "u1@example.com", "u2@example.com"}
	somePermissions = []identity.Permission{identity.PermModelUse, identity.PermAccountAccess, identity.PermTenantAdmin, "provider-account:update"}

	bots = []string{"v0", "v1", "v2"}
)

func genSubject(t *rapid.T) string {
	return rapid.SampledFrom([]string{
		"user:u0@example.com", "user:u1@example.com", "team:t0", "team:t1", "team:everyone", "virtual-account:v0", "virtual-account:v1", "external-identity:x0",
	}).Draw(t, "subject")
}

func genRole(t *rapid.T) string {
	return rapid.SampledFrom([]string{"model-user", "provider-account-user", "provider-account-manager", "provider-account-editor", "tenant-admin", "tenant-member", "custom", "no-such"}).Draw(t, "role")
}

func genResource(t *rapid.T) string {
	switch rapid.IntRange(0, 4).Draw(t, "resource") {
	case 0:
		return "tenant"
	case 1, 2:
		return "provider-account:" + rapid.SampledFrom(accounts).Draw(t, "account")
	default:
		return "model:" + rapid.SampledFrom(accounts).Draw(t, "account") + "/" + rapid.SampledFrom([]string{"m", "n", "x", "m-2024-08-06"}).Draw(t, "model")
	}
}

func genCollaborators(t *rapid.T) string {
	var list []string
	for range rapid.IntRange(0, 2).Draw(t, "collaborators") {
		list = append(list, fmt.Sprintf(`{"subject":%q,"role":%q}`, genSubject(t), genRole(t)))
	}
	return "[" + strings.Join(list, ",") + "]"
}

func genResourceOf(t *rapid.T, key identity.ResourceKey) string {
	switch key.Kind {
	case v1.KindTeam:
		return fmt.Sprintf(`{"members":[%q]}`, rapid.SampledFrom(emails).Draw(t, "member"))
	case v1.KindRole:
		return `{"permissions":["model:use","provider-account:manage-access"]}`
	case v1.KindProviderAccount:
		var list []string
		for _, name := range models {
			switch rapid.IntRange(0, 5).Draw(t, "model "+name) {
			case 0:
			case 1:
				list = append(list, fmt.Sprintf(`{"name":%q,"enabled":false}`, name))
			case 2, 3:
				list = append(list, fmt.Sprintf(`{"name":%q,"collaborators":%s}`, name, genCollaborators(t)))
			default:
				list = append(list, fmt.Sprintf(`{"name":%q}`, name))
			}
		}
		return fmt.Sprintf(`{"provider":"echo","collaborators":%s,"models":[%s]}`, genCollaborators(t), strings.Join(list, ","))
	case v1.KindVirtualAccount:
		team := rapid.SampledFrom([]string{"", "t0", "t1", "gone"}).Draw(t, "team")
		return fmt.Sprintf(`{"team":%q,"access":[{"resource":%q,"role":%q}]}`, team, genResource(t), genRole(t))
	case v1.KindAuthzRules:
		return fmt.Sprintf(`{"rules":[{"models":[%q],"users":[%q,"name0"]}]}`, strings.TrimPrefix("model:a0/m", "model:"), genSubject(t))
	default:
		expires := ""
		if rapid.Bool().Draw(t, "expires") {
			expires = fmt.Sprintf(`,"expiresAt":%q`, noon.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "hours"))*time.Hour).Format(time.RFC3339))
		}
		return fmt.Sprintf(`{"subjects":[%q],"role":%q,"resources":[%q]%s}`, genSubject(t), genRole(t), genResource(t), expires)
	}
}

func allKeys() []identity.ResourceKey {
	keys := []identity.ResourceKey{{Kind: v1.KindRole, Name: "custom"}, {Kind: v1.KindAuthzRules, Name: "r"}}
	for kind, names := range map[v1.Kind][]string{
		v1.KindTeam: teams, v1.KindProviderAccount: accounts, v1.KindVirtualAccount: bots, v1.KindRoleBinding: {"b0", "b1", "b2", "b3"},
	} {
		for _, name := range names {
			keys = append(keys, identity.ResourceKey{Kind: kind, Name: name})
		}
	}
	slices.SortFunc(keys, func(a, b identity.ResourceKey) int {
		return strings.Compare(string(a.Kind)+a.Name, string(b.Kind)+b.Name)
	})
	return keys
}

func genWorld(t *rapid.T) world {
	w := world{}
	for _, key := range allKeys() {
		if rapid.IntRange(0, 5).Draw(t, "is there") > 0 {
			w[key] = genResourceOf(t, key)
		}
	}
	return w
}

func peopleRows() identity.Rows {
	rows := identity.Rows{Users: []identity.User{person(emails[0], "t1"), person(emails[1]), person(emails[2])}}
	rows.Users[2].UserName = "name0"
	return rows
}

func (w world) build(t *rapid.T) *snapshot.Snapshot {
	rows := identity.Rows{}
	for key, spec := range w {
		rows.Resources = append(rows.Resources, res(t, key.Kind, key.Name, spec))
	}
	return build(nil, peopleRows(), rows)
}

func principals(s *snapshot.Snapshot) []*identity.Principal {
	var list []*identity.Principal
	for _, e := range emails {
		u, _ := s.UserByEmail(e)
		list = append(list, s.UserPrincipal(u, noon))
	}
	for _, b := range bots {
		if v, ok := s.VirtualAccount(b); ok {
			list = append(list, v.Principal)
		}
	}
	x := &identity.Principal{Kind: identity.KindExternal, Name: "x0"}
	s.Finish(x, []identity.Subject{"external-identity:x0", "team:t0"})
	return append(list, x)
}

// access says, for everybody, what they may do: a set that can be compared.
func access(s *snapshot.Snapshot) map[string]bool {
	set := map[string]bool{}
	for _, p := range principals(s) {
		for _, a := range accounts {
			for _, m := range askable {
				if may(s, p, full, a+"/"+m, nil).Allowed {
					set[p.Name+" uses "+a+"/"+m] = true
				}
			}
			for _, perm := range somePermissions {
				if authz.Allows(p, full, perm, s.Target(identity.AccountRef(a)), noon) == nil {
					set[p.Name+" "+string(perm)+" "+a] = true
				}
			}
		}
	}
	return set
}

func names(*snapshot.Account) []string { return []string{"x", "x", "m", "n-latest", "M", "y", ""} }

func TestListingIsCalling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genWorld(t).build(t)
		for _, p := range principals(s) {
			listed := map[string]bool{}
			authz.Models(s, p, full, noon, names, func(fqn string, m *snapshot.Model) {
				if listed[fqn] {
					t.Fatalf("%s is listed twice", fqn)
				}
				listed[fqn] = true
			})
			callable := map[string]bool{}
			for _, a := range s.Accounts() {
				candidates := slices.Concat(names(a), a.Granted())
				for _, m := range a.Named() {
					candidates = append(candidates, m.Name)
				}
				for _, m := range candidates {
					if may(s, p, full, a.Name+"/"+m, nil).Allowed {
						callable[a.Name+"/"+m] = true
					}
				}
			}
			if diff := cmp.Diff(callable, listed); diff != "" {
				t.Fatalf("%s (-callable +listed):\n%s", p.Name, diff)
			}
		}
	})
}

func TestSecurityNobodyGainsByNarrowing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genWorld(t).build(t)
		n := identity.Narrowing{}
		if rapid.Bool().Draw(t, "models") {
			n.Models = rapid.SliceOfN(rapid.SampledFrom([]string{"a0/m", "a0/*", "a1/x", "*"}), 0, 3).Draw(t, "list")
			if n.Models == nil {
				n.Models = []string{}
			}
		}
		if rapid.Bool().Draw(t, "ends") {
			end := noon.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "hours")) * time.Hour)
			n.NotAfter = &end
		}
		for _, p := range principals(s) {
			for _, a := range accounts {
				for _, m := range askable {
					if fqn := a + "/" + m; may(s, p, narrowed(n), fqn, nil).Allowed && !may(s, p, full, fqn, nil).Allowed {
						t.Fatalf("%s gains %s by %+v", p.Name, fqn, n)
					}
				}
			}
			if !authz.Held(p, narrowed(n), s.Tenant(), noon).IsEmpty() {
				t.Fatalf("%s holds something with a narrowed token", p.Name)
			}
		}
	})
}

func TestSecurityNoTokenExceedsItsOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genWorld(t).build(t)
		s.VirtualAccounts(func(v *snapshot.VirtualAccount) bool {
			team := v.Resource.Spec.Team
			if team == "" {
				return true
			}
			owner := &identity.Principal{Name: "team " + team}
			if _, ok := s.Team(team); ok {
				s.Finish(owner, []identity.Subject{identity.TeamSubject(team), identity.Everyone})
			}
			for _, a := range accounts {
				for _, m := range askable {
					if fqn := a + "/" + m; may(s, v.Principal, full, fqn, nil).Allowed && !may(s, owner, full, fqn, nil).Allowed {
						t.Fatalf("%s may use %s, and its owner %s may not", v.Name, fqn, owner.Name)
					}
				}
				for _, perm := range somePermissions {
					target := s.Target(identity.AccountRef(a))
					if authz.Allows(v.Principal, full, perm, target, noon) == nil && authz.Allows(owner, full, perm, target, noon) != nil {
						t.Fatalf("%s may %s on %s, and its owner may not", v.Name, perm, a)
					}
				}
			}
			return true
		})
	})
}

// without takes one grant out of a world: a binding, a rule, one collaborator
// of an account or of a model, one access of a virtual account.
func (w world) without(t *rapid.T) (world, string) {
	less := maps.Clone(w)
	var candidates []identity.ResourceKey
	for _, key := range allKeys() {
		if _, ok := w[key]; ok && key.Kind != v1.KindTeam && key.Kind != v1.KindRole {
			candidates = append(candidates, key)
		}
	}
	if len(candidates) == 0 {
		return less, "nothing"
	}
	key := rapid.SampledFrom(candidates).Draw(t, "from")
	var spec map[string]any
	if err := json.Unmarshal([]byte(w[key]), &spec); err != nil {
		t.Fatal(err)
	}
	switch key.Kind {
	case v1.KindProviderAccount:
		holders := []map[string]any{spec}
		list, _ := spec["models"].([]any)
		for _, m := range list {
			holders = append(holders, m.(map[string]any))
		}
		in := rapid.SampledFrom(holders).Draw(t, "holder")
		list, _ = in["collaborators"].([]any)
		if len(list) == 0 {
			return less, "nothing"
		}
		in["collaborators"] = list[1:]
	case v1.KindVirtualAccount:
		spec["access"] = []any{}
	default:
		delete(less, key)
		return less, string(key.Kind) + "/" + key.Name
	}
	raw, _ := json.Marshal(spec)
	less[key] = string(raw)
	return less, string(key.Kind) + "/" + key.Name
}

func TestSecurityTakingAwayAGrantNeverAddsAccess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := genWorld(t)
		less, what := w.without(t)
		before := access(w.build(t))
		for a := range access(less.build(t)) {
			if !before[a] {
				t.Fatalf("without a grant of %s: %s", what, a)
			}
		}
	})
}

func TestIncrementalCompileIsFullCompile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := genWorld(t)
		s := w.build(t)
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			key := rapid.SampledFrom(allKeys()).Draw(t, "key")
			rows := identity.Rows{}
			switch rapid.IntRange(0, 2).Draw(t, "op") {
			case 0:
				delete(w, key)
				rows.RemovedResources = []identity.ResourceKey{key}
			case 1:
				delete(w, key)
				rows.Quarantined = []identity.Quarantined{{Key: key, Reason: "newer"}}
			default:
				w[key] = genResourceOf(t, key)
				rows.Resources = []v1.Resource{res(t, key.Kind, key.Name, w[key])}
			}
			s = build(s, rows)
		}
		if diff := cmp.Diff(access(w.build(t)), access(s)); diff != "" {
			t.Fatalf("(-full +incremental):\n%s", diff)
		}
	})
}
