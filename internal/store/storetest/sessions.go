package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func sessionTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestSessionsAreKeptWhole":                            sessionsKeptWhole,
		"TestSecurityEndedSessionIsRemoved":                   endedSession,
		"TestSecurityExpiredSessionIsNotThere":                expiredSession,
		"TestSecuritySessionIsOfSomebodyAndExpires":           badSessions,
		"TestSecurityBackChannelLogoutFindsTheSessionsItSays": sessionsAt,
		"TestSecurityTouchedSessionIsAliveByTheRules":         touchRules,
		"TestOldSessionsAreForgotten":                         oldSessions,
	}
}

// session makes a stored session; its cookie is "cookie of ID".
func session(id, uid string) identity.Session {
	return identity.Session{
		ID: id, Digest: identity.DigestOf("cookie of " + id), UserUID: uid, Connection: "keycloak", Issuer: "https://idp", Subject: "sub " + uid,
		ProviderSession: "sid " + id, AuthenticatedAt: start().Add(-time.Minute), ACR: "urn:mfa", AMR: []string{"pwd", "otp"},
		ExpiresAt: start().Add(12 * time.Hour), RemoteAddr: "192.0.2.1", UserAgent: "A browser",
	}
}

func sessionsKeptWhole(t *testing.T, f *fixture) {
	full, bare := session("s-1", "u-1"), identity.Session{Digest: identity.DigestOf("bare"), UserUID: "u-1", Connection: "break-glass", ExpiresAt: start().Add(time.Hour)}
	b := &record.Batch{PutSessions: []identity.Session{full, bare}}
	before := f.head()
	f.commit(b)
	full.CreatedAt, full.LastSeenAt = start(), start()
	wantSame(t, "completed", b.PutSessions[0], full)
	if s := b.PutSessions[1]; s.ID == "" || !s.CreatedAt.Equal(start()) || !s.AuthenticatedAt.Equal(start()) || !s.LastSeenAt.Equal(start()) {
		t.Fatalf("session %+v, want an id and times", s)
	}
	p, since := loaded(f), f.pictureOf(f.since(before))
	for _, want := range b.PutSessions {
		byID, err := f.Session(t.Context(), want.ID)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "by id", byID, want)
		byDigest, err := f.SessionByDigest(t.Context(), want.Digest)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "by digest", byDigest, want)
		wantSame(t, "loaded", p.Tokens[want.Digest], want.Token())
		wantSame(t, "since", since.Tokens[want.Digest], want.Token())
	}
	if list, err := f.Sessions(t.Context(), "u-1"); err != nil || len(list) != 2 {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	if tokens, err := f.Tokens(t.Context(), "u-1"); err != nil || len(tokens) != 0 {
		t.Fatalf("%d sessions are listed as tokens, %v", len(tokens), err)
	}
	for _, other := range []identity.Session{session("s-1", "u-2"), {ID: "s-9", Digest: full.Digest, UserUID: "u-2", ExpiresAt: full.ExpiresAt}} {
		other := other
		if other.ID == "s-1" {
			other.Digest = identity.DigestOf("another")
		}
		_, err := f.Commit(t.Context(), &record.Batch{PutSessions: []identity.Session{other}})
		wantCode(t, err, identity.CodeConflict)
	}
	_, err := f.Session(t.Context(), "none")
	wantCode(t, err, identity.CodeNotFound)
	_, err = f.SessionByDigest(t.Context(), identity.DigestOf("none"))
	wantCode(t, err, identity.CodeNotFound)
}

func endedSession(t *testing.T, f *fixture) {
	f.commit(&record.Batch{PutSessions: []identity.Session{session("s-1", "u-1"), session("s-2", "u-1")}})
	f.clock.advance(time.Minute)
	before := f.head()
	end := &record.Batch{EndSessions: []record.SessionEnd{{ID: "s-1", By: "sign-out"}}}
	after := f.commit(end)
	if after.Revision != before.Revision+1 {
		t.Fatalf("an end took revision %d after %d", after.Revision, before.Revision)
	}
	wantSame(t, "changes", f.since(before), &identity.Rows{RemovedTokens: []identity.Digest{session("s-1", "").Digest}})
	if p := loaded(f); len(p.Tokens) != 1 {
		t.Fatalf("%d sessions loaded, want 1", len(p.Tokens))
	}
	_, err := f.SessionByDigest(t.Context(), session("s-1", "").Digest)
	wantCode(t, err, identity.CodeNotFound)
	end.EndSessions[0].By = "admin"
	if again := f.commit(end); again != after {
		t.Fatal("ending again took a revision")
	}
	s, err := f.Session(t.Context(), "s-1")
	if err != nil || s.EndedAt == nil || !s.EndedAt.Equal(start().Add(time.Minute)) || s.EndedBy != "sign-out" {
		t.Fatalf("session %+v, %v; want it ended by its own sign-out", s, err)
	}
	_, err = f.Commit(t.Context(), &record.Batch{EndSessions: []record.SessionEnd{{ID: "none", By: "admin"}}})
	wantCode(t, err, identity.CodeNotFound)
}

func expiredSession(t *testing.T, f *fixture) {
	before := f.head()
	f.commit(&record.Batch{PutSessions: []identity.Session{session("s-1", "u-1")}})
	f.clock.advance(12 * time.Hour)
	if p := loaded(f); len(p.Tokens) != 0 {
		t.Fatal("an expired session was loaded")
	}
	if rows := f.since(before); len(rows.Tokens) != 0 || len(rows.RemovedTokens) != 1 {
		t.Fatalf("changes %+v, want the session removed", rows)
	}
	_, err := f.SessionByDigest(t.Context(), session("s-1", "").Digest)
	wantCode(t, err, identity.CodeNotFound)
	if list, err := f.SessionsAt(t.Context(), "https://idp", "sub u-1", ""); err != nil || len(list) != 0 {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
}

func badSessions(t *testing.T, f *fixture) {
	forever, nothing, nobodys := session("s-1", "u-1"), session("s-2", "u-1"), session("s-3", "")
	forever.ExpiresAt, nothing.Digest = time.Time{}, identity.Digest{}
	for _, s := range []identity.Session{forever, nothing, nobodys} {
		if _, err := f.Commit(t.Context(), &record.Batch{PutSessions: []identity.Session{s}}); err == nil {
			t.Fatalf("%+v was stored", s)
		}
	}
	f.commit(&record.Batch{PutSessions: []identity.Session{session("s-1", "u-1")}})
	if _, err := f.Commit(t.Context(), &record.Batch{EndSessions: []record.SessionEnd{{ID: "s-1"}}}); err == nil {
		t.Fatal("a session was ended and nobody says why")
	}
}

func sessionsAt(t *testing.T, f *fixture) {
	with := func(id, issuer, subject, sid string) identity.Session {
		s := session(id, "u-1")
		s.Issuer, s.Subject, s.ProviderSession = issuer, subject, sid
		return s
	}
	f.commit(&record.Batch{PutSessions: []identity.Session{
		with("s-1", "https://a", "ada", "x"), with("s-2", "https://a", "ada", "y"), with("s-3", "https://b", "ada", "x"),
		with("s-4", "https://a", "bob", "x"), with("s-5", "https://a", "", ""), with("s-6", "https://a", "ada", "x"), with("s-7", "", "", ""),
	}})
	f.commit(&record.Batch{EndSessions: []record.SessionEnd{{ID: "s-6", By: "user"}}})
	for _, tc := range []struct {
		issuer, subject, sid string
		want                 []string
	}{
		{"https://a", "ada", "", []string{"s-1", "s-2"}},
		{"https://a", "", "x", []string{"s-1", "s-4"}},
		{"https://a", "ada", "x", []string{"s-1"}},
		{"https://b", "ada", "", []string{"s-3"}},
		{"https://c", "ada", "", nil},
		{"https://a", "eve", "x", nil},
	} {
		list, err := f.SessionsAt(t.Context(), tc.issuer, tc.subject, tc.sid)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range list {
			got = append(got, s.ID)
		}
		wantSame(t, fmt.Sprint("sessions of ", tc), got, tc.want)
	}
	for _, nobody := range [][3]string{{"https://a", "", ""}, {"", "ada", "x"}, {"", "", ""}} {
		_, err := f.SessionsAt(t.Context(), nobody[0], nobody[1], nobody[2])
		wantCode(t, err, identity.CodeInvalidRequest)
	}
}

// touchRules compares the store with the rules, told again in Go.
func touchRules(t *testing.T, f *fixture) {
	serial := 0
	rapid.Check(t, func(rt *rapid.T) {
		serial++
		s := session(fmt.Sprintf("s-%05d", serial), "u-1")
		life := time.Duration(rapid.IntRange(1, 40).Draw(rt, "life")) * time.Minute
		s.CreatedAt, s.ExpiresAt = start(), start().Add(life)
		if _, err := f.Commit(t.Context(), &record.Batch{PutSessions: []identity.Session{s}}); err != nil {
			rt.Fatal(err)
		}
		before := f.head()
		idle := time.Duration(rapid.IntRange(0, 10).Draw(rt, "idle")) * time.Minute
		seen, ended := s.CreatedAt, false
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			if rapid.IntRange(0, 9).Draw(rt, "end") == 0 {
				before = f.commit(&record.Batch{EndSessions: []record.SessionEnd{{ID: s.ID, By: "user"}}})
				ended = true
			}
			at := start().Add(time.Duration(rapid.IntRange(0, 45).Draw(rt, "at")) * time.Minute)
			want := !ended && at.Before(s.ExpiresAt) && (idle == 0 || at.Sub(seen) <= idle)
			alive, err := f.TouchSession(t.Context(), s.ID, at, idle)
			if err != nil || alive != want {
				rt.Fatalf("at %v, seen %v, expires %v, idle %v, ended %v: alive %v, %v", at, seen, s.ExpiresAt, idle, ended, alive, err)
			}
			if alive && at.After(seen) {
				seen = at
			}
			if got, err := f.Session(t.Context(), s.ID); err != nil || !got.LastSeenAt.Equal(seen) {
				rt.Fatalf("last seen %v, %v; want %v", got.LastSeenAt, err, seen)
			}
		}
		if f.head() != before {
			rt.Fatal("a touch took a revision")
		}
	})
	if alive, err := f.TouchSession(t.Context(), "none", start(), 0); alive || err != nil {
		t.Fatalf("a session that is not there is alive: %v, %v", alive, err)
	}
}

func oldSessions(t *testing.T, f *fixture) {
	before := f.commit(&record.Batch{PutSessions: []identity.Session{session("s-1", "u-1")}})
	_ = before
	f.clock.advance(29 * 24 * time.Hour)
	if err := f.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Session(t.Context(), "s-1"); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(2 * 24 * time.Hour)
	if err := f.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := f.Session(t.Context(), "s-1")
	wantCode(t, err, identity.CodeNotFound)
}

func onceTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestSecurityWhatIsUsedOnceIsUsedOnce": claims,
		"TestSecurityClaimHoldsUntilItsTime":   claimHolds,
		"TestFirstKeyIsEverybodys":             sharedKey,
	}
}

func claims(t *testing.T, f *fixture) {
	const racers = 8
	until := start().Add(time.Hour)
	before := f.head()
	for _, id := range []string{"a", "b"} {
		won := 0
		for _, err := range race(racers, func(int) error { return f.Claim(context.WithoutCancel(t.Context()), "saml", id, until) }) {
			if err == nil {
				won++
				continue
			}
			wantCode(t, err, identity.CodeConflict)
		}
		if won != 1 {
			t.Fatalf("%d of %d claimed %s, want one", won, racers, id)
		}
	}
	if err := f.Claim(t.Context(), "state", "a", until); err != nil {
		t.Fatalf("another scope: %v", err)
	}
	for _, nothing := range [][2]string{{"", "a"}, {"saml", ""}} {
		wantCode(t, f.Claim(t.Context(), nothing[0], nothing[1], until), identity.CodeInvalidRequest)
	}
	if f.head() != before {
		t.Fatal("a claim took a revision")
	}
}

func claimHolds(t *testing.T, f *fixture) {
	claim := func() error { return f.Claim(t.Context(), "jti", "x", start().Add(time.Hour)) }
	if err := claim(); err != nil {
		t.Fatal(err)
	}
	if !f.backend.Volatile {
		f.reopen()
	}
	for _, at := range []time.Duration{0, time.Hour} {
		f.clock.advance(at)
		if err := f.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantCode(t, claim(), identity.CodeConflict)
	}
	f.clock.advance(time.Second)
	wantCode(t, claim(), identity.CodeConflict) // expired, but not forgotten yet
	if err := f.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := claim(); err != nil {
		t.Fatalf("an expired claim was not forgotten: %v", err)
	}
}

func sharedKey(t *testing.T, f *fixture) {
	_, err := f.Key(t.Context(), "signing")
	wantCode(t, err, identity.CodeNotFound)
	const racers = 8
	kept := make([]string, racers)
	for i, err := range race(racers, func(i int) error {
		k, err := f.PutKey(context.WithoutCancel(t.Context()), "signing", []byte{byte(i), 0, 255})
		kept[i] = string(k)
		return err
	}) {
		if err != nil || kept[i] != kept[0] || len(kept[i]) != 3 {
			t.Fatalf("kept %q, %v; want %q", kept[i], err, kept[0])
		}
	}
	if k, err := f.Key(t.Context(), "signing"); err != nil || string(k) != kept[0] {
		t.Fatalf("%q, %v", k, err)
	}
	if k, err := f.PutKey(t.Context(), "other", []byte("b")); err != nil || !slices.Equal(k, []byte("b")) {
		t.Fatalf("%q, %v", k, err)
	}
	for name, k := range map[string][]byte{"": []byte("x"), "empty": nil} {
		_, err := f.PutKey(t.Context(), name, k)
		wantCode(t, err, identity.CodeInvalidRequest)
	}
}
