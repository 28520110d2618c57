package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func historyTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestChangesAfterRandomBatchesEqualAFullLoad": sinceEqualsLoad,
		"TestSinceSaysWhenOnlyAFullLoadCanTell":       whenFull,
		"TestSecurityRestartKeepsEverything":          restart,
		"TestLoadEndsWithTheErrorOfItsReader":         loadError,
		"TestLoadComesInPortions":                     portions,
		"TestClosedStoreSaysUnavailable":              closedStore,
	}
}

// sinceEqualsLoad: a reader that follows the changes, however many batches at a
// time, has what a reader has that loads everything.
func sinceEqualsLoad(t *testing.T, f *fixture) {
	p, head := f.load()
	serial := 0
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(1, 4).Draw(rt, "batches") {
			b := randomBatch(rt, &serial)
			if _, err := f.Commit(t.Context(), b); err != nil {
				// A batch that is refused changes nothing; that too must show.
				if code := identity.CodeOf(err); code != identity.CodeConflict && code != identity.CodeNotFound && code != identity.CodePreconditionFailed {
					rt.Fatalf("commit: %v", err)
				}
			}
			if rapid.IntRange(0, 3).Draw(rt, "arrival") == 0 {
				n := rapid.IntRange(0, 5).Draw(rt, "who")
				_, _, _ = f.EnsureUser(t.Context(), arrival("https://idp", fmt.Sprint(n), fmt.Sprintf("u%d@example.com", n)))
			}
		}
		rows, next, full, err := f.Since(t.Context(), head)
		if err != nil || full {
			rt.Fatalf("since: full %v, %v", full, err)
		}
		p.apply(rows)
		want, at := f.load()
		if next != at {
			rt.Fatalf("head %+v, loaded %+v", next, at)
		}
		head = next
		wantSame(t, "the configuration that followed the changes", p, want)
		for _, tok := range want.Tokens {
			if u, known := want.Users[tok.Owner]; known && !u.Active || !known && isTombstone(want, tok.Owner) {
				rt.Fatalf("%s %s lives, and its owner %s does not", tok.Kind, tok.ID, tok.Owner)
			}
		}
	})
}

func isTombstone(p *picture, uid string) bool { _, found := p.Tombstones[uid]; return found }

func randomBatch(rt *rapid.T, serial *int) *record.Batch {
	*serial++
	n := *serial
	small := func(what string) int { return rapid.IntRange(0, 5).Draw(rt, what) }
	b := &record.Batch{}
	for range rapid.IntRange(1, 3).Draw(rt, "acts") {
		name := fmt.Sprintf("r%d", small("name"))
		switch rapid.IntRange(0, 11).Draw(rt, "act") {
		case 0:
			b.PutResources = append(b.PutResources, team(name, fmt.Sprint(small("label")), fmt.Sprintf("u%d@example.com", small("member"))))
		case 1:
			va := virtualAccount(name)
			va.Spec.Team = fmt.Sprint("t", small("team"))
			b.PutResources = append(b.PutResources, va)
		case 2:
			kind := rapid.SampledFrom([]v1.Kind{v1.KindTeam, v1.KindVirtualAccount}).Draw(rt, "kind")
			b.DeleteResources = append(b.DeleteResources, identity.ResourceKey{Kind: kind, Name: name})
		case 3, 4:
			u := user(uidOf(rapid.IntRange(0, 20).Draw(rt, "uid")), fmt.Sprintf("u%d@example.com", small("email")), fmt.Sprintf("https://idp|%d", small("subject")))
			u.Active = small("active") > 0
			u.Memberships = []identity.Membership{{Team: name, Source: "manual"}}
			u.Manager, u.ExternalID = rapid.SampledFrom([]string{"", "scim:okta"}).Draw(rt, "manager"), fmt.Sprint(small("external id"))
			b.PutUsers = append(b.PutUsers, u)
		case 5:
			b.DeleteUsers = append(b.DeleteUsers, uidOf(rapid.IntRange(0, 20).Draw(rt, "gone")))
		case 6, 7:
			b.PutTokens = append(b.PutTokens, token(fmt.Sprintf("t-%d-%d", n, len(b.PutTokens)), uidOf(rapid.IntRange(0, 20).Draw(rt, "owner"))))
		case 8:
			b.RevokeTokens = append(b.RevokeTokens, fmt.Sprintf("t-%d-0", rapid.IntRange(max(1, n-5), n).Draw(rt, "revoked")))
		case 9, 10:
			b.PutSessions = append(b.PutSessions, session(fmt.Sprintf("s-%d-%d", n, len(b.PutSessions)), uidOf(rapid.IntRange(0, 20).Draw(rt, "signed in"))))
		case 11:
			b.EndSessions = append(b.EndSessions, record.SessionEnd{ID: fmt.Sprintf("s-%d-0", rapid.IntRange(max(1, n-5), n).Draw(rt, "ended")), By: "admin"})
			b.LiftTombstones = append(b.LiftTombstones, uidOf(rapid.IntRange(0, 20).Draw(rt, "lifted")))
		}
	}
	if small("futurism") == 0 {
		b.PutResources = append(b.PutResources, futureOf(v1.KindTeam, fmt.Sprintf("r%d", small("future"))))
	}
	return b
}

func whenFull(t *testing.T, f *fixture) {
	beginning := f.head()
	old := f.commit(&record.Batch{PutResources: []v1.Resource{team("old", "")}})
	f.clock.advance(7*24*time.Hour + time.Minute)
	recent := f.commit(&record.Batch{PutResources: []v1.Resource{team("recent", "")}})
	if rows := f.since(beginning); len(rows.Resources) != 2 {
		t.Fatalf("%d resources before pruning, want 2", len(rows.Resources))
	}
	if err := f.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		since identity.Head
		full  bool
	}{
		{"older than the changes kept", beginning, true},
		{"just before the oldest change kept", old, false},
		{"now", recent, false},
		{"ahead", identity.Head{Epoch: recent.Epoch, Revision: recent.Revision + 1}, true},
		{"another epoch", identity.Head{Epoch: "another", Revision: recent.Revision}, true},
		{"never loaded", identity.Head{}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rows, head, full, err := f.Since(t.Context(), tc.since)
			if err != nil || full != tc.full || full != (rows == nil) || head != recent {
				t.Fatalf("full %v, rows %v, head %+v, %v; want full %v", full, rows, head, err, tc.full)
			}
		})
	}
	wantSame(t, "what is kept", names(f.since(old).Resources), []string{"recent"})
}

func restart(t *testing.T, f *fixture) {
	if f.backend.Volatile {
		t.Skip("this store forgets everything when it is closed, as it says")
	}
	b := stored("d", "s")
	b.PutUsers = []identity.User{user("u-1", "ada@example.com", "https://a|1"), user("u-2", "bob@example.com")}
	b.PutTokens = []identity.Token{token("t-1", "u-1"), token("t-2", "u-1")}
	b.Audit = []record.AuditEntry{entry("all")}
	f.commit(b)
	f.commit(&record.Batch{RevokeTokens: []string{"t-2"}, DeleteUsers: []string{"u-2"}})
	if err := f.AppendRequests(t.Context(), []record.Request{{ID: "r-1", At: start(), UID: "u-1"}}); err != nil {
		t.Fatal(err)
	}
	before, head := f.load()
	f.reopen()
	after, again := f.load()
	wantSame(t, "the configuration", after, before)
	wantSame(t, "the head", again, head)
	wantSame(t, "the sealed value", f.sealed(b.PutResources[0].Meta().UID), "d s")
	if n, err := f.CountRequests(t.Context()); err != nil || n != 1 || len(f.audit("", 10)) != 1 {
		t.Fatalf("%d requests, %v", n, err)
	}
	if err := f.Integrity(t.Context()); err != nil {
		t.Fatal(err)
	}
	if next := f.commit(&record.Batch{PutResources: []v1.Resource{team("new", "")}}); next.Revision != head.Revision+1 {
		t.Fatalf("revision %d after %d", next.Revision, head.Revision)
	}
}

func loadError(t *testing.T, f *fixture) {
	f.commit(&record.Batch{PutResources: []v1.Resource{team("one", "")}})
	stop := errors.New("stop")
	if _, err := f.Load(t.Context(), func(*identity.Rows) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("error %v, want the reader's", err)
	}
	f.commit(&record.Batch{PutResources: []v1.Resource{team("two", "")}})
}

func portions(t *testing.T, f *fixture) {
	if f.backend.Volatile {
		t.Skip("many rows; the stores that keep them are tested with them")
	}
	const n = 10_001
	b := &record.Batch{}
	for i := range n {
		b.PutTokens = append(b.PutTokens, token(fmt.Sprintf("t-%06d", i), "u-1"))
		u := user(fmt.Sprintf("u-%06d", i), fmt.Sprintf("u%d@example.com", i))
		if i%100 == 0 {
			u.Identities = []identity.UserIdentity{{Issuer: "https://a", Subject: u.UID}}
			u.Memberships = []identity.Membership{{Team: u.UID, Source: "manual"}}
		}
		b.PutUsers = append(b.PutUsers, u)
	}
	f.commit(b)
	tokens, users := map[identity.Digest]bool{}, map[string]bool{}
	_, err := f.Load(t.Context(), func(rows *identity.Rows) error {
		if len(rows.Tokens) > 10_000 || len(rows.Users) > 10_000 {
			t.Errorf("a portion of %d tokens and %d users", len(rows.Tokens), len(rows.Users))
		}
		for _, tok := range rows.Tokens {
			tokens[tok.Digest] = true
		}
		for _, u := range rows.Users {
			if whole := strings.HasSuffix(u.UID, "00"); whole && (len(u.Identities) != 1 || u.Identities[0].Subject != u.UID ||
				len(u.Memberships) != 1 || u.Memberships[0].Team != u.UID) || !whole && len(u.Identities)+len(u.Memberships) != 0 {
				t.Errorf("user %+v has not what is theirs", u)
			}
			users[u.UID] = true
		}
		return nil
	})
	if err != nil || len(tokens) != n || len(users) != n {
		t.Fatalf("%d tokens and %d users, %v; want %d of each", len(tokens), len(users), err, n)
	}
}

func closedStore(t *testing.T, f *fixture) {
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := f.Head(t.Context())
	wantCode(t, err, identity.CodeDatabaseUnavailable)
	_, err = f.Commit(t.Context(), &record.Batch{PutResources: []v1.Resource{team("one", "")}})
	wantCode(t, err, identity.CodeDatabaseUnavailable)
}
