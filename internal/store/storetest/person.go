package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

const okta, entra = "scim:okta", "scim:entra"

func personTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestPersonOfADirectoryIsKeptWhole":                     directoryPerson,
		"TestVersionGrowsWithEveryWrite":                        versionGrows,
		"TestUserConditionsMustHold":                            userConditions,
		"TestOfTwoWritersOfAPersonOneWins":                      oneWriterWins,
		"TestSecurityDirectoryFindsItsOwnPeopleOnly":            foundByManager,
		"TestSecurityExternalIDIsUniqueWithinADirectory":        externalIDs,
		"TestPeopleOfADirectoryComeInPages":                     directoryPages,
		"TestSecurityDeactivationEndsTokensAndSessionsForGood":  deactivation,
		"TestSecurityDeletionEndsSessions":                      deletionEndsSessions,
		"TestSecurityNoCredentialIsMadeForTheInactiveOrRemoved": ownersMustLive,
		"TestListedTombstonesAreLifted":                         listedTombstones,
		"TestOrderIsThatOfBytes":                                orderOfBytes,
	}
}

func directoryPerson(t *testing.T, f *fixture) {
	u := user("", "ada@example.com", "https://a|1")
	u.UserName, u.Manager, u.ExternalID = "Ada", okta, "00u1"
	u.Attributes = json.RawMessage(` {"title": "Countess", "big": 123456789012345678901234567890, "ü": "\u0000"} `)
	before := f.head()
	b := &record.Batch{PutUsers: []identity.User{u}}
	f.commit(b)
	whole := b.PutUsers[0]
	if whole.Version == 0 || string(whole.Attributes) != `{"title":"Countess","big":123456789012345678901234567890,"ü":"\u0000"}` {
		t.Fatalf("user %+v, attributes %s", whole, whole.Attributes)
	}
	bare := whole
	bare.Attributes = nil
	list := func(l []identity.User, err error) (identity.User, error) {
		if len(l) != 1 {
			return identity.User{}, fmt.Errorf("%d users, %w", len(l), err)
		}
		return l[0], err
	}
	for what, read := range map[string]func() (identity.User, error){
		"by uid":      func() (identity.User, error) { return f.User(t.Context(), whole.UID) },
		"by e-mail":   func() (identity.User, error) { return f.UserByEmail(t.Context(), "ada@example.com") },
		"listed":      func() (identity.User, error) { return list(f.Users(t.Context(), "", 10)) },
		"of manager":  func() (identity.User, error) { return list(f.UsersOf(t.Context(), okta, "", 10)) },
		"by external": func() (identity.User, error) { return f.UserOf(t.Context(), okta, "externalId", "00u1") },
	} {
		got, err := read()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		wantSame(t, what, got, whole)
	}
	wantSame(t, "loaded, without attributes", loaded(f).Users[whole.UID], bare)
	wantSame(t, "since, without attributes", f.since(before).Users[0], bare)
	for _, bad := range []string{`[]`, `"x"`, `{`, `{"a":1}{}`} {
		u := whole
		u.Attributes = json.RawMessage(bad)
		_, err := f.Commit(t.Context(), &record.Batch{PutUsers: []identity.User{u}})
		wantCode(t, err, identity.CodeInvalidRequest)
	}
	// api is the empty manager: one manager has one name.
	whole.Manager, whole.Attributes = "api", json.RawMessage(`{}`)
	b = &record.Batch{PutUsers: []identity.User{whole}}
	f.commit(b)
	if got := b.PutUsers[0]; got.Manager != "" || got.Attributes != nil {
		t.Fatalf("manager %q, attributes %s", got.Manager, got.Attributes)
	}
}

func versionGrows(t *testing.T, f *fixture) {
	var last uint64
	grown := func(what string, want bool) {
		t.Helper()
		u, err := f.User(t.Context(), "u-1")
		if err != nil || (u.Version > last) != want || u.Version < last || u.Version == 0 {
			t.Fatalf("after %s: version %d, was %d, %v", what, u.Version, last, err)
		}
		last = u.Version
	}
	u := user("u-1", "ada@example.com")
	put := func(change func(*identity.User)) *record.Batch {
		change(&u) // one thing only: what was changed before stays
		return &record.Batch{PutUsers: []identity.User{u}}
	}
	f.commit(put(func(*identity.User) {}))
	grown("the first write", true)
	b := put(func(u *identity.User) { u.Version = 7 }) // the store's to set
	f.commit(b)
	grown("the same again", false)
	if b.PutUsers[0].Version != last {
		t.Fatalf("told version %d, want %d", b.PutUsers[0].Version, last)
	}
	for i, change := range []func(*identity.User){
		func(u *identity.User) { u.DisplayName = "Ada" }, func(u *identity.User) { u.ExternalID = "x" },
		func(u *identity.User) { u.Manager = okta }, func(u *identity.User) { u.Attributes = json.RawMessage(`{"a":1}`) },
		func(u *identity.User) { u.Memberships = []identity.Membership{{Team: "a", Source: "scim"}} },
		func(u *identity.User) { u.Active = false },
	} {
		b := put(change)
		f.commit(b)
		grown(fmt.Sprint("change ", i), true)
		if b.PutUsers[0].Version != last {
			t.Fatalf("told version %d, want %d", b.PutUsers[0].Version, last)
		}
	}
	if _, _, err := f.EnsureUser(t.Context(), arrival("https://a", "1", "ada@example.com")); err != nil {
		t.Fatal(err)
	}
	grown("a link", true)
	u.Identities = []identity.UserIdentity{{Issuer: "https://a", Subject: "1"}}
	// A clock that goes back does not take the version with it.
	f.clock.advance(-time.Hour)
	f.commit(put(func(u *identity.User) { u.DisplayName = "earlier" }))
	grown("a write under an earlier clock", true)
	f.clock.advance(48 * time.Hour)
	f.commit(put(func(u *identity.User) { u.DisplayName = "later" }))
	if grown("a later write", true); last < uint64(start().UnixMilli()) {
		t.Fatalf("version %d could have been there before a restore", last)
	}
}

func userConditions(t *testing.T, f *fixture) {
	b := &record.Batch{PutUsers: []identity.User{user("u-1", "ada@example.com")}}
	f.commit(b)
	v := b.PutUsers[0].Version
	for _, tc := range []struct {
		name string
		cond record.UserCondition
		ok   bool
	}{
		{"the present version", record.UserCondition{UID: "u-1", Version: v}, true},
		{"an older version", record.UserCondition{UID: "u-1", Version: v - 1}, false},
		{"must not exist, exists", record.UserCondition{UID: "u-1"}, false},
		{"must not exist, does not", record.UserCondition{UID: "u-2"}, true},
		{"a version of nobody", record.UserCondition{UID: "u-2", Version: v}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := f.head()
			_, err := f.Commit(t.Context(), &record.Batch{
				UserConditions: []record.UserCondition{tc.cond}, PutResources: []v1.Resource{team("research", tc.name)},
			})
			if tc.ok {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantCode(t, err, identity.CodePreconditionFailed)
			if f.head() != before {
				t.Fatal("something was written")
			}
		})
	}
}

func oneWriterWins(t *testing.T, f *fixture) {
	b := &record.Batch{PutUsers: []identity.User{user("u-1", "ada@example.com")}}
	f.commit(b)
	cond := record.UserCondition{UID: "u-1", Version: b.PutUsers[0].Version}
	const racers = 8
	won := 0
	for _, err := range race(racers, func(i int) error {
		u := user("u-1", "ada@example.com")
		u.DisplayName = fmt.Sprint("writer ", i)
		_, err := f.Commit(context.WithoutCancel(t.Context()), &record.Batch{UserConditions: []record.UserCondition{cond}, PutUsers: []identity.User{u}})
		return err
	}) {
		if err == nil {
			won++
			continue
		}
		wantCode(t, err, identity.CodePreconditionFailed)
	}
	if won != 1 {
		t.Fatalf("%d of %d won, want one", won, racers)
	}
}

func foundByManager(t *testing.T, f *fixture) {
	ada, bob, eve := user("u-1", "ada@example.com"), user("u-2", "bob@example.com"), user("u-3", "eve@example.com")
	ada.Manager, ada.UserName, ada.ExternalID = okta, "Ada@Corp", "X1"
	bob.Manager, bob.UserName, bob.ExternalID = entra, "Bob@Corp", "X1"
	f.commit(&record.Batch{PutUsers: []identity.User{ada, bob, eve}})
	for _, tc := range []struct{ manager, attribute, value, uid string }{
		{okta, "userName", "ada@corp", "u-1"},
		{okta, "userName", "ADA@CORP", "u-1"},
		{okta, "userName", "bob@corp", ""},
		{entra, "userName", "bob@corp", "u-2"},
		{okta, "email", "ADA@example.com", "u-1"},
		{entra, "email", "ada@example.com", ""},
		{okta, "externalId", "X1", "u-1"},
		{entra, "externalId", "X1", "u-2"},
		{okta, "externalId", "x1", ""}, // caseExact (RFC 7643, 3.1)
		{"api", "externalId", "", ""},  // nobody has none
		{"api", "email", "eve@example.com", "u-3"},
		{"", "email", "eve@example.com", "u-3"},
		{"api", "userName", "", ""},
	} {
		got, err := f.UserOf(t.Context(), tc.manager, tc.attribute, tc.value)
		if tc.uid == "" {
			wantCode(t, err, identity.CodeNotFound)
			continue
		}
		if err != nil || got.UID != tc.uid {
			t.Errorf("%s %s %s: %q, %v; want %s", tc.manager, tc.attribute, tc.value, got.UID, err, tc.uid)
		}
	}
	_, err := f.UserOf(t.Context(), okta, "displayName", "x")
	wantCode(t, err, identity.CodeInvalidRequest)
}

func externalIDs(t *testing.T, f *fixture) {
	of := func(uid, manager, id string) identity.User {
		u := user(uid, uid+"@example.com")
		u.Manager, u.ExternalID = manager, id
		return u
	}
	f.commit(&record.Batch{PutUsers: []identity.User{of("u-1", okta, "1"), of("u-2", entra, "1"), of("u-3", okta, ""), of("u-4", okta, "")}})
	for _, u := range []identity.User{of("u-5", okta, "1"), of("u-2", okta, "1"), of("u-3", okta, "1")} {
		_, err := f.Commit(t.Context(), &record.Batch{PutUsers: []identity.User{u}})
		wantCode(t, err, identity.CodeConflict)
	}
	// It can be had again when it is free, also in the same batch.
	f.commit(&record.Batch{DeleteUsers: []string{"u-1"}, PutUsers: []identity.User{of("u-6", okta, "1")}})
}

func directoryPages(t *testing.T, f *fixture) {
	var want []string
	b := &record.Batch{}
	for i := range 25 {
		u := user(uidOf(i), fmt.Sprintf("%d@example.com", i), fmt.Sprintf("https://a|%d", i))
		u.Memberships = []identity.Membership{{Team: u.UID, Source: "scim"}}
		if i%3 == 0 {
			u.Manager = okta
			want = append(want, u.UID)
		}
		b.PutUsers = append(b.PutUsers, u)
	}
	f.commit(b)
	var got []string
	for after := ""; ; {
		page, err := f.UsersOf(t.Context(), okta, after, 4)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page {
			if len(u.Identities) != 1 || len(u.Memberships) != 1 || u.Memberships[0].Team != u.UID {
				t.Fatalf("%+v has not what is theirs", u)
			}
			got = append(got, u.UID)
			after = u.UID
		}
		if len(page) < 4 {
			break
		}
	}
	wantSame(t, "the pages", got, want)
	for manager, n := range map[string]int{okta: len(want), "api": 25 - len(want), entra: 0} {
		if got, err := f.CountUsersOf(t.Context(), manager); err != nil || got != n {
			t.Fatalf("%d people of %s, %v; want %d", got, manager, err, n)
		}
	}
	for leaveOut, uid := range map[int]string{-1: "", 0: "", 1: want[0], 5: want[4], 9: want[8], 100: want[8]} {
		if got, err := f.UserBefore(t.Context(), okta, leaveOut); err != nil || got != uid {
			t.Fatalf("before the page that leaves out %d: %q, %v; want %q", leaveOut, got, err, uid)
		}
	}
	if got, err := f.UserBefore(t.Context(), entra, 5); err != nil || got != "" {
		t.Fatalf("%q, %v", got, err)
	}
}

// silenced asserts that nothing of u-1 lives and that readers of the changes
// were told which digests went.
func (f *fixture) silenced(before identity.Head) {
	f.t.Helper()
	rows := f.since(before)
	gone := map[identity.Digest]bool{}
	for _, d := range rows.RemovedTokens {
		gone[d] = true
	}
	want := map[identity.Digest]bool{token("t-1", "").Digest: true, token("t-2", "").Digest: true, session("s-1", "").Digest: true, session("s-2", "").Digest: true}
	wantSame(f.t, "the digests that went", gone, want)
	p := loaded(f)
	if len(p.Tokens) != 2 {
		f.t.Fatalf("tokens and sessions %v are alive, want those of u-2 alone", p.Tokens)
	}
	for _, tok := range p.Tokens {
		if tok.Owner != "u-2" {
			f.t.Fatalf("%s of %s is alive", tok.ID, tok.Owner)
		}
	}
	for _, id := range []string{"s-1", "s-2"} {
		s, err := f.Session(f.t.Context(), id)
		if err != nil || s.EndedAt == nil || !s.EndedAt.Equal(f.clock.Now()) || s.EndedBy != "deactivation" {
			f.t.Fatalf("session %+v, %v", s, err)
		}
		if alive, err := f.TouchSession(f.t.Context(), id, f.clock.Now(), 0); alive || err != nil {
			f.t.Fatalf("alive %v, %v", alive, err)
		}
	}
}

func withCredentials(f *fixture) {
	f.commit(&record.Batch{
		PutUsers:    []identity.User{user("u-1", "ada@example.com"), user("u-2", "bob@example.com")},
		PutTokens:   []identity.Token{token("t-1", "u-1"), token("t-2", "u-1"), token("t-3", "u-2")},
		PutSessions: []identity.Session{session("s-1", "u-1"), session("s-2", "u-1"), session("s-3", "u-2")},
	})
	f.clock.advance(time.Minute)
}

func deactivation(t *testing.T, f *fixture) {
	withCredentials(f)
	before := f.head()
	off := user("u-1", "ada@example.com")
	off.Active = false
	f.commit(&record.Batch{PutUsers: []identity.User{off}})
	f.silenced(before)
	f.clock.advance(time.Minute)
	f.commit(&record.Batch{PutUsers: []identity.User{user("u-1", "ada@example.com")}})
	for _, tok := range loaded(f).Tokens {
		if tok.Owner == "u-1" {
			t.Fatalf("%s came back with its owner", tok.ID)
		}
	}
	// Off and on in one batch, the last counts, but the credentials are gone.
	f.commit(&record.Batch{PutTokens: []identity.Token{token("t-4", "u-1")}, PutUsers: []identity.User{off, user("u-1", "ada@example.com")}})
	if _, alive := loaded(f).Tokens[token("t-4", "").Digest]; alive {
		t.Fatal("a token survived a deactivation in its own batch")
	}
}

func deletionEndsSessions(_ *testing.T, f *fixture) {
	withCredentials(f)
	before := f.head()
	f.commit(&record.Batch{DeleteUsers: []string{"u-1"}})
	f.silenced(before)
}

// ownersMustLive: who asks for a credential may have read of the person before
// they were deactivated; it would come to life with them.
func ownersMustLive(t *testing.T, f *fixture) {
	off := user("u-1", "ada@example.com")
	off.Active = false
	f.commit(&record.Batch{PutUsers: []identity.User{off, user("u-2", "bob@example.com"), user("u-3", "eve@example.com")}})
	f.commit(&record.Batch{DeleteUsers: []string{"u-2"}})
	for _, uid := range []string{"u-1", "u-2"} {
		_, err := f.Commit(t.Context(), &record.Batch{PutTokens: []identity.Token{token("t-"+uid, uid)}})
		wantCode(t, err, identity.CodePreconditionFailed)
		_, err = f.Commit(t.Context(), &record.Batch{PutSessions: []identity.Session{session("s-"+uid, uid)}})
		wantCode(t, err, identity.CodePreconditionFailed)
	}
	// With the person's own making or reactivation it is right.
	f.commit(&record.Batch{PutUsers: []identity.User{user("u-4", "dan@example.com")}, PutSessions: []identity.Session{session("s-4", "u-4")}})
	f.commit(&record.Batch{PutTokens: []identity.Token{token("t-3", "u-3"), token("t-va", "a virtual account")}})
	if n := len(loaded(f).Tokens); n != 3 {
		t.Fatalf("%d live, want 3", n)
	}
}

func listedTombstones(t *testing.T, f *fixture) {
	f.commit(&record.Batch{PutUsers: []identity.User{user("u-1", "ada@example.com", "https://a|1")}})
	f.commit(&record.Batch{DeleteUsers: []string{"u-1"}})
	_, _, err := f.EnsureUser(t.Context(), arrival("https://a", "1", "ada@example.com"))
	wantCode(t, err, identity.CodeInvalidToken)
	before := f.head()
	f.commit(&record.Batch{LiftTombstones: []string{"u-1", "never was"}})
	wantSame(t, "changes", f.since(before), &identity.Rows{LiftedTombstones: []string{"u-1"}})
	before = f.head()
	if after := f.commit(&record.Batch{LiftTombstones: []string{"u-1"}}); after != before {
		t.Fatal("lifting again took a revision")
	}
	uid, _, err := f.EnsureUser(t.Context(), arrival("https://a", "1", "ada@example.com"))
	if err != nil || uid == "u-1" {
		t.Fatalf("uid %q, %v; want a new one", uid, err)
	}
}

// orderOfBytes: a database that sorts as people do would leave rows out between
// two pages, or give somebody's memberships to nobody.
func orderOfBytes(t *testing.T, f *fixture) {
	uids := []string{"A-b", "a", "a-", "a_b", "aB", "ab", "B", "b-a", "ba", "Z", "\u00e4", "\u00c4"}
	b := &record.Batch{}
	for _, uid := range uids {
		u := user(uid, fmt.Sprintf("%x@example.com", uid), "https://a|"+uid)
		u.Manager, u.Memberships = okta, []identity.Membership{{Team: "x", Source: "scim"}, {Team: "X", Source: "scim"}, {Team: "x-", Source: "scim"}}
		b.PutUsers = append(b.PutUsers, u)
		b.PutResources = append(b.PutResources, team(uid, ""))
	}
	f.commit(b)
	sorted := slices.Sorted(slices.Values(uids))
	for _, size := range []int{1, 2, 5, 100} {
		var people, teams []string
		for after := ""; ; {
			page, err := f.UsersOf(t.Context(), okta, after, size)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range page {
				if len(u.Identities) != 1 || len(u.Memberships) != 3 || u.Memberships[0].Team != "X" || u.Memberships[2].Team != "x-" {
					t.Fatalf("%+v has not what is theirs, in the order of bytes", u)
				}
				people = append(people, u.UID)
				after = u.UID
			}
			if len(page) < size {
				break
			}
		}
		for after := ""; ; {
			page, err := f.Resources(t.Context(), v1.KindTeam, after, size)
			if err != nil {
				t.Fatal(err)
			}
			teams = append(teams, names(page)...)
			if len(page) < size {
				break
			}
			after = teams[len(teams)-1]
		}
		wantSame(t, fmt.Sprint("people in pages of ", size), people, sorted)
		wantSame(t, fmt.Sprint("teams in pages of ", size), teams, sorted)
	}
	p := loaded(f)
	if len(p.Users) != len(uids) || len(p.Resources) != len(uids) {
		t.Fatalf("%d users and %d teams loaded, want %d", len(p.Users), len(p.Resources), len(uids))
	}
	for _, u := range p.Users {
		if len(u.Identities) != 1 || len(u.Memberships) != 3 {
			t.Fatalf("%+v has not what is theirs", u)
		}
	}
}
