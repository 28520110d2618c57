package storetest

import (
	"slices"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func teamTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestSecurityATeamsPeopleGoWithTheTeam":      teamsPeopleGo,
		"TestATeamTakenFromADirectoryKeepsItsPeople": teamTakenOver,
		"TestSecurityANewTeamBeginsWithNobody":       teamBeginsEmpty,
	}
}

// membershipsOf is who is in a team and why, as two readers see it: one who
// loads everything, and one who was told of the changes.
func (f *fixture) membershipsOf(team string, changed *identity.Rows) (list []string) {
	f.t.Helper()
	for _, u := range loaded(f).Users {
		for _, m := range u.Memberships {
			if m.Team == team {
				list = append(list, u.UID+" "+m.Source)
			}
		}
	}
	slices.Sort(list)
	var told []string
	for _, u := range changed.Users {
		for _, m := range u.Memberships {
			if m.Team == team {
				told = append(told, u.UID+" "+m.Source)
			}
		}
	}
	slices.Sort(told)
	wantSame(f.t, "what changed", told, list)
	return list
}

func inTeams(uid string, list ...identity.Membership) identity.User {
	u := user(uid, uid+"@example.com")
	u.Memberships = list
	return u
}

// limited are tenant settings with a longest age of personal access tokens.
func limited(age v1.Duration) *v1.TenantSettings {
	s := &v1.TenantSettings{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindTenantSettings}, ObjectMeta: v1.ObjectMeta{Name: "default"}}
	s.Spec.PersonalAccessTokenMaxAge = age
	s.Default()
	return s
}

func shortened(t *testing.T, f *fixture) {
	lives := func(id string, kind identity.TokenKind, d time.Duration) identity.Token {
		tok := token(id, "u-1")
		tok.Kind, tok.CreatedAt, tok.ExpiresAt = kind, start(), start().Add(d)
		return tok
	}
	f.commit(&record.Batch{PutTokens: []identity.Token{
		lives("short", identity.TokenPersonal, time.Hour), lives("long", identity.TokenPersonal, 90*24*time.Hour),
		lives("old", identity.TokenPersonal, 90*24*time.Hour), lives("revoked", identity.TokenPersonal, 90*24*time.Hour),
		lives("account", identity.TokenVirtualAccount, 90*24*time.Hour),
	}})
	f.commit(&record.Batch{RevokeTokens: []string{"revoked"}})
	f.clock.advance(time.Hour / 2)
	before := f.head()
	f.commit(&record.Batch{PutResources: []v1.Resource{limited("7d")}})
	want := map[string]time.Duration{"short": time.Hour, "long": 7 * 24 * time.Hour, "old": 7 * 24 * time.Hour, "revoked": 90 * 24 * time.Hour, "account": 90 * 24 * time.Hour}
	for id, d := range want {
		if tok, err := f.Token(t.Context(), id); err != nil || !tok.ExpiresAt.Equal(start().Add(d)) {
			t.Errorf("%s ends %v after its beginning, want %v (%v)", id, tok.ExpiresAt.Sub(start()), d, err)
		}
	}
	var told []string
	for _, tok := range f.since(before).Tokens {
		told = append(told, tok.ID)
	}
	slices.Sort(told)
	wantSame(t, "told of", told, []string{"long", "old"})
	// A limit that nothing exceeds changes nothing, and a higher one brings nothing back.
	before = f.head()
	f.commit(&record.Batch{PutResources: []v1.Resource{limited("30d")}})
	if list := f.since(before).Tokens; len(list) != 0 {
		t.Errorf("told of %v", list)
	}
	f.clock.advance(8 * 24 * time.Hour)
	f.commit(&record.Batch{PutResources: []v1.Resource{limited("1h")}})
	if tok, err := f.Token(t.Context(), "long"); err != nil || !tok.ExpiresAt.Equal(start().Add(7*24*time.Hour)) {
		t.Errorf("what has ended was changed: %v, %v", tok.ExpiresAt, err)
	}
}

func teamsPeopleGo(t *testing.T, f *fixture) {
	soon := start().Add(time.Hour)
	f.commit(&record.Batch{
		PutResources: []v1.Resource{team("a", ""), team("b", "")},
		PutUsers: []identity.User{
			inTeams("u-1", identity.Membership{Team: "a", Source: "manual"}, identity.Membership{Team: "b", Source: "manual"}),
			inTeams("u-2", identity.Membership{Team: "a", Source: "scim"}, identity.Membership{Team: "a", Source: "sso:https://a", ExpiresAt: &soon}),
			inTeams("u-3", identity.Membership{Team: "b", Source: "scim"}),
		},
	})
	versions := loaded(f).Users
	before := f.head()
	f.commit(&record.Batch{DeleteResources: []identity.ResourceKey{keyOf(team("a", ""))}})
	changed := f.since(before)
	if got := f.membershipsOf("a", changed); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	for _, u := range loaded(f).Users {
		if touched := u.Version != versions[u.UID].Version; touched != (u.UID != "u-3") {
			t.Errorf("%s has version %d after %d", u.UID, u.Version, versions[u.UID].Version)
		}
	}
	f.commit(&record.Batch{PutResources: []v1.Resource{team("a", "")}})
	if list, err := f.TeamMembers(t.Context(), "a", "", "", 0); err != nil || len(list) != 0 {
		t.Errorf("the next team of the name begins with %v, %v", list, err)
	}
	if list, err := f.TeamMembers(t.Context(), "b", "", "", 0); err != nil || len(list) != 2 {
		t.Errorf("another team has %v, %v", list, err)
	}
}

func teamBeginsEmpty(t *testing.T, f *fixture) {
	// Written without a condition on the team, as by a sign-in.
	f.commit(&record.Batch{PutUsers: []identity.User{inTeams("u-1", identity.Membership{Team: "a", Source: "sso:https://a"}, identity.Membership{Team: "b", Source: "manual"})}})
	before := f.head()
	f.commit(&record.Batch{
		PutResources: []v1.Resource{team("a", "")},
		PutUsers:     []identity.User{inTeams("u-2", identity.Membership{Team: "a", Source: "manual"})}, // put there by whoever makes it
	})
	if got := f.membershipsOf("a", f.since(before)); len(got) != 1 || got[0] != "u-2 manual" {
		t.Errorf("it begins with %v", got)
	}
	if list, err := f.TeamMembers(t.Context(), "b", "", "", 0); err != nil || len(list) != 1 {
		t.Errorf("another team has %v, %v", list, err)
	}
	f.commit(&record.Batch{PutResources: []v1.Resource{team("a", "changed")}})
	if list, err := f.TeamMembers(t.Context(), "a", "", "", 0); err != nil || len(list) != 1 {
		t.Errorf("a change of the team leaves %v, %v", list, err)
	}
}

func teamTakenOver(t *testing.T, f *fixture) {
	owned := team("a", "")
	owned.Manager = "scim:okta"
	f.commit(&record.Batch{
		PutResources: []v1.Resource{owned},
		PutUsers: []identity.User{
			inTeams("u-1", identity.Membership{Team: "a", Source: "scim"}),
			inTeams("u-2", identity.Membership{Team: "a", Source: "scim"}, identity.Membership{Team: "a", Source: "manual"}),
			inTeams("u-3", identity.Membership{Team: "a", Source: "sso:https://a"}),
		},
	})
	owned = team("a", "another label")
	owned.Manager = "scim:okta"
	f.commit(&record.Batch{PutResources: []v1.Resource{owned}})
	if list, err := f.TeamMembers(t.Context(), "a", "scim", "", 0); err != nil || len(list) != 2 {
		t.Fatalf("the directory's own write left %v, %v", list, err)
	}
	before := f.head()
	taken := team("a", "another label")
	taken.Manager = v1.ManagerAPI
	f.commit(&record.Batch{PutResources: []v1.Resource{taken}})
	list, err := f.TeamMembers(t.Context(), "a", "manual", "", 0)
	wantSame(t, "by hand", list, []string{"u-1", "u-2"})
	if err != nil || len(f.since(before).Users) != 2 {
		t.Errorf("told of %v, %v", f.since(before).Users, err)
	}
	if list, err := f.TeamMembers(t.Context(), "a", "scim", "", 0); err != nil || len(list) != 0 {
		t.Errorf("left of the directory: %v, %v", list, err)
	}
}
