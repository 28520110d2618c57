package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func lookupTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestTeamMembersAreListedBySource":               teamMembers,
		"TestSecurityTombstonesAreFoundByWhatTheyHold":   tombstonesFound,
		"TestResourceIsFoundByItsUIDAndKind":             resourceByUID,
		"TestSecurityLocalAdministratorIsReplacedByOne":  breakGlassOnce,
		"TestLocalAdministratorIsKept":                   breakGlassKept,
		"TestSecurityLocalAdministratorsValueIsNotEmpty": breakGlassEmpty,
	}
}

func teamMembers(t *testing.T, f *fixture) {
	soon := start().Add(time.Minute)
	with := func(n int, list ...identity.Membership) identity.User {
		u := user(uidOf(n), fmt.Sprintf("u%d@example.com", n))
		u.Memberships = list
		return u
	}
	f.commit(&record.Batch{PutUsers: []identity.User{
		with(1, identity.Membership{Team: "a", Source: "scim"}, identity.Membership{Team: "b", Source: "manual"}),
		with(2, identity.Membership{Team: "a", Source: "manual"}, identity.Membership{Team: "a", Source: "scim"}),
		with(3, identity.Membership{Team: "a", Source: "token", ExpiresAt: &soon}),
		with(4, identity.Membership{Team: "b", Source: "scim"}),
		with(5, identity.Membership{Team: "a", Source: "scim"}),
	}})
	f.clock.advance(time.Hour) // stored is stored, expired or not
	for _, tc := range []struct {
		team, source, after string
		limit               int
		want                []string
	}{
		{"a", "", "", 0, []string{uidOf(1), uidOf(2), uidOf(3), uidOf(5)}},
		{"a", "scim", "", 0, []string{uidOf(1), uidOf(2), uidOf(5)}},
		{"a", "scim", "", 2, []string{uidOf(1), uidOf(2)}},
		{"a", "scim", uidOf(2), 2, []string{uidOf(5)}},
		{"a", "", uidOf(1), 2, []string{uidOf(2), uidOf(3)}},
		{"a", "manual", "", 0, []string{uidOf(2)}},
		{"a", "other", "", 0, nil},
		{"c", "", "", 0, nil},
		{"", "", "", 0, nil},
	} {
		got, err := f.TeamMembers(t.Context(), tc.team, tc.source, tc.after, tc.limit)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, fmt.Sprintf("%d of %s from %q after %q", tc.limit, tc.team, tc.source, tc.after), got, tc.want)
	}
}

func tombstonesFound(t *testing.T, f *fixture) {
	f.commit(&record.Batch{PutUsers: []identity.User{
		user("u-1", "ada@example.com", "https://a|1", "https://b|1"), user("u-2", "bob@example.com", "https://a|2"), user("u-3", "eve@example.com", "https://a|3"),
	}})
	f.commit(&record.Batch{DeleteUsers: []string{"u-1", "u-2"}})
	key := func(issuer, subject string) identity.IdentityKey {
		return identity.IdentityKey{Issuer: issuer, Subject: subject}
	}
	for _, tc := range []struct {
		email string
		keys  []identity.IdentityKey
		want  []string
	}{
		{"ada@example.com", nil, []string{"u-1"}},
		{" Ada@Example.COM", nil, []string{"u-1"}},
		{"", nil, nil},
		{"", []identity.IdentityKey{key("https://a", "2")}, []string{"u-2"}},
		{"bob@example.com", []identity.IdentityKey{key("https://b", "1"), key("https://a", "1"), key("https://a", "2")}, []string{"u-1", "u-2"}},
		{"eve@example.com", []identity.IdentityKey{key("https://a", "3"), key("https://b", "2"), key("", "")}, nil},
	} {
		got, err := f.TombstonesOf(t.Context(), tc.email, tc.keys)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, fmt.Sprint(tc.email, " ", tc.keys), got, tc.want)
	}
}

func resourceByUID(t *testing.T, f *fixture) {
	a, b := team("a", "x"), virtualAccount("b")
	f.commit(&record.Batch{PutResources: []v1.Resource{a, b}})
	got, err := f.ResourceByUID(t.Context(), v1.KindTeam, a.UID)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "the team", got, v1.Resource(a))
	for _, tc := range []struct {
		kind v1.Kind
		uid  string
	}{{v1.KindTeam, b.UID}, {v1.KindTeam, "a"}, {v1.KindTeam, ""}} {
		_, err := f.ResourceByUID(t.Context(), tc.kind, tc.uid)
		wantCode(t, err, identity.CodeNotFound)
	}
}

func (f *fixture) wantBreakGlass(want string) {
	f.t.Helper()
	got, err := f.BreakGlass(f.t.Context())
	if err != nil || string(got) != want || (want == "") != (got == nil) {
		f.t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

func breakGlassKept(t *testing.T, f *fixture) {
	before := f.head()
	f.wantBreakGlass("")
	wantCode(t, f.SetBreakGlass(t.Context(), []byte("one"), []byte("two")), identity.CodePreconditionFailed)
	f.wantBreakGlass("")
	last := []byte(nil)
	for _, next := range []string{"one \x00\xff", "two", "three"} {
		if err := f.SetBreakGlass(t.Context(), last, []byte(next)); err != nil {
			t.Fatal(err)
		}
		f.wantBreakGlass(next)
		for _, old := range [][]byte{last, nil, []byte("other")} {
			wantCode(t, f.SetBreakGlass(t.Context(), old, []byte("stolen")), identity.CodePreconditionFailed)
		}
		f.wantBreakGlass(next)
		last = []byte(next)
	}
	if !f.backend.Volatile {
		f.reopen()
		f.wantBreakGlass("three")
	}
	if f.head() != before {
		t.Fatal("it took a revision")
	}
}

func breakGlassEmpty(t *testing.T, f *fixture) {
	wantCode(t, f.SetBreakGlass(t.Context(), nil, nil), identity.CodeInvalidRequest)
	wantCode(t, f.SetBreakGlass(t.Context(), nil, []byte{}), identity.CodeInvalidRequest)
	f.wantBreakGlass("")
}

func breakGlassOnce(t *testing.T, f *fixture) {
	stores, last := []Store{f.Store, f.second()}, []byte(nil)
	for round := range 3 {
		const racers = 8
		won := ""
		for i, err := range race(racers, func(i int) error {
			return stores[i%2].SetBreakGlass(context.WithoutCancel(t.Context()), last, fmt.Append(nil, round, ".", i))
		}) {
			if err == nil {
				if won != "" {
					t.Fatalf("round %d: two won", round)
				}
				won = fmt.Sprint(round, ".", i)
				continue
			}
			wantCode(t, err, identity.CodePreconditionFailed)
		}
		f.wantBreakGlass(won)
		last = []byte(won)
	}
}
