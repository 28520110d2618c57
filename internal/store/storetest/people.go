package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func userTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestUsersAreKeptWhole":                         usersKeptWhole,
		"TestUnchangedUserTakesNoRevision":              unchangedUser,
		"TestSecurityConflictNamesTheFieldNotThePerson": conflictNamesField,
		"TestExpiredMembershipIsNotThere":               expiredMembership,
		"TestSecurityDeletedUserLeavesATombstone":       tombstones,
		"TestUsersAreListedByEmail":                     usersByEmail,
	}
}

func usersKeptWhole(t *testing.T, f *fixture) {
	soon := start().Add(time.Hour)
	u := user("", " Ada@Example.com ", "https://b|2", "https://a|1")
	u.UserName = "Ada"
	u.Memberships = []identity.Membership{
		{Team: "research", Source: "sso:https://a", ExpiresAt: &soon}, {Team: "platform", Source: "manual", Manager: true},
	}
	before := f.head()
	b := &record.Batch{PutUsers: []identity.User{u}}
	f.commit(b)
	got := b.PutUsers[0]
	if got.UID == "" || got.Email != "ada@example.com" || !got.CreatedAt.Equal(start()) || !got.Identities[1].LinkedAt.Equal(start()) {
		t.Fatalf("user %+v", got)
	}
	for what, read := range map[string]func() (identity.User, error){
		"by uid":    func() (identity.User, error) { return f.User(t.Context(), got.UID) },
		"by e-mail": func() (identity.User, error) { return f.UserByEmail(t.Context(), "ADA@example.com") },
		"by name":   func() (identity.User, error) { return f.UserByName(t.Context(), " aDA ") },
		"loaded":    func() (identity.User, error) { return loaded(f).Users[got.UID], nil },
		"since":     func() (identity.User, error) { return f.since(before).Users[0], nil },
	} {
		read, err := read()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		wantSame(t, what, read, got)
	}
	// Replaced whole: what is left out is gone; the times of what stays are kept.
	f.clock.advance(time.Minute)
	less := user(got.UID, "ada@example.com", "https://a|1")
	less.Active = false
	before = f.head()
	f.commit(&record.Batch{PutUsers: []identity.User{less}})
	rows := f.since(before)
	less.CreatedAt, less.Identities[0].LinkedAt = start(), start()
	if less.Version = rows.Users[0].Version; less.Version <= got.Version {
		t.Fatalf("version %d after %d", less.Version, got.Version)
	}
	wantSame(t, "the deactivated user", rows, &identity.Rows{Users: []identity.User{less}})
	_, err := f.User(t.Context(), "nobody")
	wantCode(t, err, identity.CodeNotFound)
	_, err = f.UserByEmail(t.Context(), "nobody@example.com")
	wantCode(t, err, identity.CodeNotFound)
	for _, name := range []string{"ada", ""} { // nobody is called so any more, and nobody is called nothing
		_, err = f.UserByName(t.Context(), name)
		wantCode(t, err, identity.CodeNotFound)
	}
}

func unchangedUser(t *testing.T, f *fixture) {
	u := user("u-1", "ada@example.com", "https://a|1", "https://b|2")
	u.Memberships = []identity.Membership{{Team: "research", Source: "manual"}}
	before := f.commit(&record.Batch{PutUsers: []identity.User{u}})
	f.clock.advance(time.Hour)
	u.Identities[0], u.Identities[1] = u.Identities[1], u.Identities[0]
	if after := f.commit(&record.Batch{PutUsers: []identity.User{u}}); after != before {
		t.Fatalf("head %+v, want %+v", after, before)
	}
}

func conflictNamesField(t *testing.T, f *fixture) {
	ada := user("u-1", "ada@example.com", "https://a|1")
	ada.UserName = "Ada"
	gone := user("u-9", "gone@example.com")
	f.commit(&record.Batch{PutUsers: []identity.User{ada, gone}})
	f.commit(&record.Batch{DeleteUsers: []string{"u-9"}})
	for _, tc := range []struct {
		name, field string
		change      func(*identity.User)
	}{
		{"e-mail in other case", "email", func(u *identity.User) { u.Email = "ADA@example.com" }},
		{"user name in other case", "userName", func(u *identity.User) { u.UserName = "aDA" }},
		{"identity", "identities", func(u *identity.User) { u.Identities = ada.Identities }},
		{"uid of a deleted user", "uid", func(u *identity.User) { u.UID = "u-9" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bob := user("u-2", "bob@example.com", "https://a|2")
			tc.change(&bob)
			_, err := f.Commit(t.Context(), &record.Batch{PutUsers: []identity.User{bob}})
			wantCode(t, err, identity.CodeConflict)
			e, _ := errors.AsType[*identity.Error](err)
			if msg := e.Message; !strings.HasPrefix(msg, tc.field+":") || strings.Contains(msg, "u-1") || strings.Contains(msg, "ada@") {
				t.Fatalf("message %q, want the field %s and nobody's name", e.Message, tc.field)
			}
		})
	}
}

func expiredMembership(t *testing.T, f *fixture) {
	soon := start().Add(time.Hour)
	u := user("u-1", "ada@example.com")
	u.Memberships = []identity.Membership{{Team: "research", Source: "sso:https://a", ExpiresAt: &soon}, {Team: "platform", Source: "manual"}}
	f.commit(&record.Batch{PutUsers: []identity.User{u}})
	if n := len(loaded(f).Users["u-1"].Memberships); n != 2 {
		t.Fatalf("%d memberships, want 2", n)
	}
	f.clock.advance(time.Hour)
	if ms := loaded(f).Users["u-1"].Memberships; len(ms) != 1 || ms[0].Team != "platform" {
		t.Fatalf("memberships %v, want platform alone", ms)
	}
}

func tombstones(t *testing.T, f *fixture) {
	f.commit(&record.Batch{
		PutUsers: []identity.User{user("u-1", "ada@example.com", "https://a|1", "https://b|2")}, PutTokens: []identity.Token{token("t-1", "u-1")},
	})
	before := f.head()
	f.commit(&record.Batch{DeleteUsers: []string{"u-1", "never was"}})
	tomb := identity.Tombstone{
		UID: "u-1", Email: "ada@example.com", DeletedAt: start(),
		Identities: []identity.IdentityKey{{Issuer: "https://a", Subject: "1"}, {Issuer: "https://b", Subject: "2"}},
	}
	wantSame(t, "changes", f.since(before), &identity.Rows{
		RemovedUsers: []string{"u-1"}, RemovedTokens: []identity.Digest{token("t-1", "").Digest}, Tombstones: []identity.Tombstone{tomb},
	})
	p := loaded(f)
	if len(p.Users) != 0 || len(p.Tokens) != 0 {
		t.Fatal("the user or the token is still there")
	}
	wantSame(t, "tombstones", p.Tombstones, map[string]identity.Tombstone{"u-1": tomb})
	if tok, err := f.Token(t.Context(), "t-1"); err != nil || tok.RevokedAt == nil {
		t.Fatalf("token %+v, %v; want it revoked and kept", tok, err)
	}
	for _, a := range []identity.Arrival{
		arrival("https://b", "2", "other@example.com"), arrival("https://c", "3", "ADA@example.com"),
	} {
		_, _, err := f.EnsureUser(t.Context(), a)
		wantCode(t, err, identity.CodeInvalidToken)
	}
	// An admin makes the person again: another uid, the tombstone is lifted.
	before = f.head()
	f.commit(&record.Batch{PutUsers: []identity.User{user("u-2", "ada@example.com")}})
	if rows := f.since(before); len(rows.LiftedTombstones) != 1 || rows.LiftedTombstones[0] != "u-1" {
		t.Fatalf("lifted %v, want u-1", rows.LiftedTombstones)
	}
	if uid, _, err := f.EnsureUser(t.Context(), arrival("https://a", "1", "ada@example.com")); err != nil || uid != "u-2" {
		t.Fatalf("uid %q, %v; want u-2", uid, err)
	}
}

func usersByEmail(t *testing.T, f *fixture) {
	f.commit(&record.Batch{PutUsers: []identity.User{user("u-1", "c@x.io", "i|c"), user("u-2", "a@x.io", "i|a"), user("u-3", "b@x.io")}})
	var got []string
	for after := ""; ; {
		list, err := f.Users(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range list {
			got = append(got, fmt.Sprint(u.Email, len(u.Identities)))
			after = u.Email
		}
		if len(list) < 2 {
			break
		}
	}
	wantSame(t, "users", got, []string{"a@x.io1", "b@x.io0", "c@x.io1"})
}

func tokenTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestTokensAreKeptWhole":                               tokensKeptWhole,
		"TestSecurityRevokedTokenIsRemoved":                    revokedRemoved,
		"TestSecurityDeletedVirtualAccountHasNoTokens":         virtualAccountTokens,
		"TestSecurityExpiredTokenIsNotLoaded":                  expiredToken,
		"TestSecurityTokenWithoutExpiryOrDigestIsRefused":      badTokens,
		"TestSecurityTokenMadeWithTheDeletionOfItsOwnerIsDead": tokenOfTheDead,
		"TestLastUseTakesNoRevisionAndNeverGoesBack":           lastUse,
		"TestSecurityALowerLimitEndsTokensSooner":              shortened,
	}
}

func tokensKeptWhole(t *testing.T, f *fixture) {
	tok, plain := token("t-1", "u-1"), token("", "u-1")
	plain.Narrowing, plain.Bootstrap, plain.Digest = nil, true, identity.DigestOf("another")
	b := &record.Batch{PutTokens: []identity.Token{tok, plain}}
	before := f.head()
	f.commit(b)
	if b.PutTokens[1].ID == "" || !b.PutTokens[1].CreatedAt.Equal(start()) {
		t.Fatalf("token %+v, want an id and a time", b.PutTokens[1])
	}
	p := loaded(f)
	since := f.pictureOf(f.since(before))
	for _, want := range b.PutTokens {
		wantSame(t, "loaded", p.Tokens[want.Digest], want)
		wantSame(t, "since", since.Tokens[want.Digest], want)
		got, err := f.Token(t.Context(), want.ID)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "by id", got, want)
		if n := got.Narrowing; n != nil && (n.Agents == nil || n.MCPServers != nil) {
			t.Fatalf("narrowing %+v: absent and empty are different", n)
		}
	}
	list, err := f.Tokens(t.Context(), "u-1")
	if err != nil || len(list) != 2 {
		t.Fatalf("%d tokens, %v", len(list), err)
	}
	_, err = f.Token(t.Context(), "none")
	wantCode(t, err, identity.CodeNotFound)
	_, err = f.Commit(t.Context(), &record.Batch{PutTokens: []identity.Token{token("t-1", "u-2")}})
	wantCode(t, err, identity.CodeConflict)
}

func revokedRemoved(t *testing.T, f *fixture) {
	f.commit(&record.Batch{PutTokens: []identity.Token{token("t-1", "u-1"), token("t-2", "u-1")}})
	before := f.head()
	after := f.commit(&record.Batch{RevokeTokens: []string{"t-1"}})
	if after.Revision != before.Revision+1 {
		t.Fatalf("a revocation took revision %d after %d", after.Revision, before.Revision)
	}
	wantSame(t, "changes", f.since(before), &identity.Rows{RemovedTokens: []identity.Digest{token("t-1", "").Digest}})
	if p := loaded(f); len(p.Tokens) != 1 {
		t.Fatalf("%d tokens loaded, want 1", len(p.Tokens))
	}
	if again := f.commit(&record.Batch{RevokeTokens: []string{"t-1"}}); again != after {
		t.Fatalf("revoking again took a revision: %+v", again)
	}
	_, err := f.Commit(t.Context(), &record.Batch{RevokeTokens: []string{"none"}})
	wantCode(t, err, identity.CodeNotFound)
}

func virtualAccountTokens(t *testing.T, f *fixture) {
	va := virtualAccount("bot")
	f.commit(&record.Batch{PutResources: []v1.Resource{va}})
	f.commit(&record.Batch{PutTokens: []identity.Token{token("t-1", va.UID), token("t-2", "u-1")}})
	before := f.head()
	f.commit(&record.Batch{DeleteResources: []identity.ResourceKey{keyOf(va), {Kind: v1.KindTeam, Name: "never-was"}}})
	wantSame(t, "changes", f.since(before), &identity.Rows{
		RemovedResources: []identity.ResourceKey{keyOf(va)}, RemovedTokens: []identity.Digest{token("t-1", "").Digest},
	})
	if p := loaded(f); len(p.Tokens) != 1 || len(p.Resources) != 0 {
		t.Fatalf("%d tokens and %d resources loaded", len(p.Tokens), len(p.Resources))
	}
}

func expiredToken(t *testing.T, f *fixture) {
	before := f.head()
	f.commit(&record.Batch{PutTokens: []identity.Token{token("t-1", "u-1")}})
	f.clock.advance(24 * time.Hour)
	if p := loaded(f); len(p.Tokens) != 0 {
		t.Fatal("an expired token was loaded")
	}
	if rows := f.since(before); len(rows.Tokens) != 0 || len(rows.RemovedTokens) != 1 {
		t.Fatalf("changes %+v, want the token removed", rows)
	}
}

func badTokens(t *testing.T, f *fixture) {
	forever, nothing := token("t-1", "u-1"), token("t-2", "u-1")
	forever.ExpiresAt, nothing.Digest = time.Time{}, identity.Digest{}
	for _, tok := range []identity.Token{forever, nothing} {
		if _, err := f.Commit(t.Context(), &record.Batch{PutTokens: []identity.Token{tok}}); err == nil {
			t.Fatalf("%+v was stored", tok)
		}
	}
}

func tokenOfTheDead(t *testing.T, f *fixture) {
	f.commit(&record.Batch{PutUsers: []identity.User{user("u-1", "ada@example.com")}})
	f.commit(&record.Batch{DeleteUsers: []string{"u-1"}, PutTokens: []identity.Token{token("t-1", "u-1")}})
	if p := loaded(f); len(p.Tokens) != 0 {
		t.Fatal("a token outlived its owner")
	}
}

func lastUse(t *testing.T, f *fixture) {
	f.commit(&record.Batch{PutTokens: []identity.Token{token("t-1", "u-1")}})
	before := f.head()
	for _, at := range []time.Duration{time.Minute, time.Second} {
		use := identity.TokenUse{At: start().Add(at), From: "192.0.2." + strconv.Itoa(int(at/time.Second))}
		if err := f.TouchTokens(t.Context(), map[string]identity.TokenUse{"t-1": use, "none": use}); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := f.Token(t.Context(), "t-1")
	if err != nil || tok.LastUsedAt == nil || !tok.LastUsedAt.Equal(start().Add(time.Minute)) {
		t.Fatalf("last used %v, %v; want a minute after the start", tok.LastUsedAt, err)
	}
	if tok.LastUsedFrom != "192.0.2.60" {
		t.Errorf("last used from %s", tok.LastUsedFrom)
	}
	if f.head() != before {
		t.Fatal("last use took a revision")
	}
}

func directoryTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestSecurityArrivalIsResolvedAsPermitted": arrivals,
		"TestArrivalsAtOnceMakeOneUser":            arrivalsAtOnce,
		"TestLinkIsWrittenOnceAndAudited":          linkOnce,
	}
}

// arrival may be created and linked.
func arrival(issuer, subject, email string) identity.Arrival {
	return identity.Arrival{
		Key: identity.IdentityKey{Issuer: issuer, Subject: subject}, Email: email, DisplayName: "Somebody", Create: true, LinkByEmail: true,
		Via: "sso:company", Through: "sso-connection:company", RemoteAddr: "192.0.2.7", RequestID: "r-1",
	}
}

func arrivals(t *testing.T, f *fixture) {
	f.commit(&record.Batch{PutUsers: []identity.User{
		user("u-1", "ada@example.com", "https://a|1"), user("u-2", "bob@example.com"), user("u-3", "eve@example.com"),
	}})
	with := func(a identity.Arrival, create, link bool) identity.Arrival {
		a.Create, a.LinkByEmail = create, link
		return a
	}
	for _, tc := range []struct {
		name    string
		arrival identity.Arrival
		uid     string
		code    identity.Code
	}{
		{"known identity, whatever the e-mail", with(arrival("https://a", "1", "bob@example.com"), false, false), "u-1", ""},
		{"another subject of the same issuer", arrival("https://a", "2", "ada@example.com"), "", identity.CodeIdentityConflict},
		{"linking not permitted", with(arrival("https://a", "3", "bob@example.com"), true, false), "", identity.CodeIdentityConflict},
		{"linked by e-mail in other case", with(arrival("https://a", "3", "Bob@Example.com"), false, true), "u-2", ""},
		{"the same subject of another issuer is another", arrival("https://b", "1", "eve@example.com"), "u-3", ""},
		{"nobody, creating not permitted", with(arrival("https://a", "4", "new@example.com"), false, true), "", identity.CodeNotFound},
		{"creating without an e-mail", arrival("https://a", "5", ""), "", identity.CodeNotFound},
		{"creating with something that is no e-mail", arrival("https://a", "5", "root"), "", identity.CodeNotFound},
		{"no subject", arrival("https://a", "", "ada@example.com"), "", identity.CodeInvalidToken},
		{"no issuer", arrival("", "1", "ada@example.com"), "", identity.CodeInvalidToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := f.head()
			uid, head, err := f.EnsureUser(t.Context(), tc.arrival)
			if tc.code != "" {
				wantCode(t, err, tc.code)
				if f.head() != before {
					t.Fatal("a refusal took a revision")
				}
				return
			}
			if err != nil || uid != tc.uid || head != f.head() {
				t.Fatalf("uid %q, head %+v, %v; want %s", uid, head, err, tc.uid)
			}
		})
	}
}

func arrivalsAtOnce(t *testing.T, f *fixture) {
	const racers = 8
	uids := make([]string, racers)
	for i, err := range race(racers, func(i int) (err error) {
		uids[i], _, err = f.EnsureUser(context.WithoutCancel(t.Context()), arrival("https://a", "1", "ada@example.com"))
		return err
	}) {
		if err != nil || uids[i] != uids[0] {
			t.Fatalf("uid %q, %v; want %q", uids[i], err, uids[0])
		}
	}
	p, head := f.load()
	if len(p.Users) != 1 || head.Revision != 1 {
		t.Fatalf("%d users at revision %d, want one of each", len(p.Users), head.Revision)
	}
	u := p.Users[uids[0]]
	want := identity.User{
		UID: u.UID, Email: "ada@example.com", DisplayName: "Somebody", Active: true, CreatedAt: start(), Version: u.Version,
		Identities: []identity.UserIdentity{{Issuer: "https://a", Subject: "1", LinkedAt: start()}},
	}
	wantSame(t, "the user", u, want)
}

func linkOnce(t *testing.T, f *fixture) {
	f.commit(&record.Batch{PutUsers: []identity.User{user("u-1", "ada@example.com")}})
	for range 2 {
		if _, _, err := f.EnsureUser(t.Context(), arrival("https://a", "1", "ada@example.com")); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := f.EnsureUser(t.Context(), arrival("https://a", "2", "bob@example.com")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range f.audit("", 10) {
		got = append(got, strings.Join([]string{e.Action, e.Target, e.Outcome, e.Via, e.RemoteAddr, e.RequestID}, " "))
		if !strings.Contains(string(e.After), `"through":"sso-connection:company"`) {
			t.Errorf("%s does not say through what: %s", e.Action, e.After)
		}
	}
	const how = " done sso:company 192.0.2.7 r-1"
	wantSame(t, "audit", got, []string{"user.create user:bob@example.com" + how, "user.link user:ada@example.com" + how})
}
