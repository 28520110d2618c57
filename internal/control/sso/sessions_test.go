package sso

import (
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func (w *world) authenticates(b *browser) identity.Code {
	_, err := w.h.Sessions().Authenticate(b.api("GET"))
	if err == nil {
		return ""
	}
	return identity.CodeOf(err)
}

func TestASessionEndsAtItsAbsoluteLimit(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) { c.Spec.Sessions = v1.SsoSessions{Idle: "1h", Absolute: "2h"} })
	b := w.browser()
	b.signIn()
	for range 4 {
		if code := w.authenticates(b); code != "" {
			t.Fatal(code)
		}
		w.pass(30 * time.Minute)
	}
	if code := w.authenticates(b); code != identity.CodeInvalidToken {
		t.Errorf("after two hours of use: %q", code)
	}
}

func TestASessionEndsWhenItIsIdle(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) { c.Spec.Sessions = v1.SsoSessions{Idle: "1h", Absolute: "2h"} })
	b := w.browser()
	b.signIn()
	w.pass(59 * time.Minute)
	if code := w.authenticates(b); code != "" {
		t.Fatal(code)
	}
	w.pass(time.Hour)
	if code := w.authenticates(b); code != identity.CodeInvalidToken {
		t.Errorf("after an hour without use: %q", code)
	}
	if list := w.live(); len(list) != 0 {
		t.Errorf("it is not ended for good: %+v", list)
	}
	for _, s := range w.sessions {
		if s.EndedBy != "idle" {
			t.Errorf("ended by %q", s.EndedBy)
		}
	}
}

func TestASessionIsTouchedOnceAMinute(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn()
	for range 10 {
		w.authenticates(b)
		w.pass(5 * time.Second)
	}
	if w.touches != 1 {
		t.Errorf("touched %d times within a minute", w.touches)
	}
	w.pass(time.Minute)
	w.authenticates(b)
	if w.touches != 2 {
		t.Errorf("touched %d times", w.touches)
	}
}

func TestSecurityADatabaseThatIsAwayNeitherEndsNorPassesSessions(t *testing.T) {
	w := newWorld(t, func(c *v1.SsoConnection) { c.Spec.Sessions = v1.SsoSessions{Idle: "1h", Absolute: "8h"} })
	b, stranger := w.browser(), w.browser()
	b.signIn()
	stranger.signIn()
	w.authenticates(b)
	w.mu.Lock()
	w.down = true
	w.mu.Unlock()
	w.pass(10 * time.Minute)
	if code := w.authenticates(b); code != "" {
		t.Errorf("a session that was seen: %q", code)
	}
	if code := w.authenticates(stranger); code != identity.CodeDatabaseUnavailable {
		t.Errorf("one whose idle limit cannot be looked at: %q", code)
	}
	w.pass(time.Hour)
	if code := w.authenticates(b); code != identity.CodeDatabaseUnavailable {
		t.Errorf("after its idle limit: %q", code)
	}
}

func TestSecurityWhoseCookieItIs(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn()
	secret := b.cookies[SessionCookie]
	s := w.live()[0]

	t.Run("no cookie", func(t *testing.T) {
		if code := w.authenticates(w.browser()); code != identity.CodeNoCredential {
			t.Error(code)
		}
	})
	t.Run("the secret as a bearer token", func(t *testing.T) {
		if _, ok := identity.ParseToken(secret); ok {
			t.Error("it reads as a token")
		}
	})
	t.Run("a personal token as a cookie", func(t *testing.T) {
		// A token whose text could be a cookie's, in the snapshot, of another kind.
		text := identity.NewSessionSecret()
		tok := s.Token()
		tok.Kind, tok.Digest, tok.ID = identity.TokenPersonal, identity.DigestOf(text), "01890000-0000-7000-8000-000000000001"
		w.snap = addToken(w, tok)
		other := w.browser()
		other.cookies[SessionCookie] = text
		if code := w.authenticates(other); code != identity.CodeInvalidToken {
			t.Error(code)
		}
		other.cookies[SessionCookie] = identity.NewToken(identity.TokenPersonal)
		if code := w.authenticates(other); code != identity.CodeInvalidToken {
			t.Error(code)
		}
		w.publish()
	})
	t.Run("two cookies", func(t *testing.T) {
		r := b.api("GET")
		r.Header.Add("Cookie", SessionCookie+"="+identity.NewSessionSecret())
		if _, err := w.h.Sessions().Authenticate(r); identity.CodeOf(err) != identity.CodeInvalidToken {
			t.Error(err)
		}
	})
	t.Run("ended", func(t *testing.T) {
		if _, err := w.h.Sessions().End(t.Context(), s.UserUID, s.ID, "user", record.AuditEntry{Actor: "user:ada@example.com"}); err != nil {
			t.Fatal(err)
		}
		if code := w.authenticates(b); code != identity.CodeInvalidToken {
			t.Error(code)
		}
		last := w.audit[len(w.audit)-1]
		if last.Action != "session.end" || last.Target != "session:"+s.ID || last.Actor != "user:ada@example.com" {
			t.Errorf("%+v", last)
		}
	})
	t.Run("switched off", func(t *testing.T) {
		b.signIn()
		u := w.users[s.UserUID]
		u.Active = false
		w.users[s.UserUID] = u
		w.publish()
		if code := w.authenticates(b); code != identity.CodeInvalidToken {
			t.Error(code)
		}
	})
}

func TestSessionsAreListedAndEnded(t *testing.T) {
	w := newWorld(t, nil)
	w.idp.claims["sub"], w.idp.claims["email"] = "eve", "eve@example.com"
	w.browser().signIn()
	w.idp.claims["sub"], w.idp.claims["email"] = "ada-1", "ada@example.com"
	var mine []*browser
	for range 3 {
		w.pass(time.Second)
		b := w.browser()
		b.signIn()
		mine = append(mine, b)
	}
	ada, _ := w.userByEmail("ada@example.com")
	eve, _ := w.userByEmail("eve@example.com")
	ss := w.h.Sessions()
	list, err := ss.List(t.Context(), ada.UID)
	if err != nil || len(list) != 3 || !list[0].CreatedAt.After(list[2].CreatedAt) {
		t.Fatalf("%v %+v", err, list)
	}
	if _, err := ss.End(t.Context(), eve.UID, list[0].ID, "user", record.AuditEntry{}); identity.CodeOf(err) != identity.CodeNotFound {
		t.Errorf("somebody else's session: %v", err)
	}
	if _, err := ss.EndAll(t.Context(), ada.UID, list[0].ID, "user", record.AuditEntry{}); err != nil {
		t.Fatal(err)
	}
	if got := []identity.Code{w.authenticates(mine[0]), w.authenticates(mine[1]), w.authenticates(mine[2])}; got[0] == "" || got[1] == "" || got[2] != "" {
		t.Errorf("%q", got)
	}
	if list, _ := ss.List(t.Context(), eve.UID); len(list) != 1 {
		t.Error("another's session ended")
	}
	w.mu.Lock()
	told := w.audit[len(w.audit)-1]
	w.mu.Unlock()
	for _, ended := range list[1:] {
		if !strings.Contains(string(told.Before), `"id":"`+ended.ID+`","connection":"main"`) {
			t.Errorf("the audit does not say that %s ended: %s", ended.ID, told.Before)
		}
	}
	if strings.Contains(string(told.Before), list[0].ID) {
		t.Errorf("the audit says that %s ended: %s", list[0].ID, told.Before)
	}
	if _, err := ss.End(t.Context(), ada.UID, list[1].ID, "user", record.AuditEntry{}); identity.CodeOf(err) != identity.CodeNotFound {
		t.Errorf("one that has ended: %v", err)
	}
	if list, _ := ss.List(t.Context(), ada.UID); len(list) != 1 {
		t.Errorf("%+v", list)
	}
}

// A session that was idle for too long is none to look at, and ended with the
// others all the same: its limit may be raised.
func TestAnIdleSessionIsNotListedAndIsEndedWithTheOthers(t *testing.T) {
	w := newWorld(t, nil)
	w.browser().signIn()
	ada, _ := w.userByEmail("ada@example.com")
	ss := w.h.Sessions()
	w.pass(12*time.Hour + 2*time.Minute)
	b := w.browser()
	b.signIn()
	list, err := ss.List(t.Context(), ada.UID)
	if err != nil || len(list) != 1 || len(w.live()) != 2 {
		t.Fatalf("%d listed, %d not ended, %v", len(list), len(w.live()), err)
	}
	if _, err := ss.EndAll(t.Context(), ada.UID, list[0].ID, "user", record.AuditEntry{}); err != nil {
		t.Fatal(err)
	}
	if left := w.live(); len(left) != 1 || left[0].ID != list[0].ID {
		t.Errorf("left: %+v", left)
	}
}

func TestSecurityCrossSiteRequestsChangeNothing(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn()
	for _, tc := range []struct {
		name   string
		method string
		header []string
		ok     bool
	}{
		{"reading", "GET", []string{"Sec-Fetch-Site", "cross-site"}, true},
		{"our page", "POST", []string{"Sec-Fetch-Site", "same-origin", "Origin", ours}, true},
		{"our page, without Sec-Fetch-Site", "PUT", []string{"Origin", ours}, true},
		{"our page without a referrer", "POST", []string{"Sec-Fetch-Site", "same-origin", "Origin", "null"}, true},
		{"a sandboxed frame", "POST", []string{"Sec-Fetch-Site", "cross-site", "Origin", "null"}, false},
		{"another site", "POST", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, false},
		{"a sibling domain", "DELETE", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://other.gatehouse.example"}, false},
		{"another site, an old browser", "POST", []string{"Origin", "https://evil.example"}, false},
		{"an opaque origin", "POST", []string{"Origin", "null"}, false},
		{"same-origin by word, another by Origin", "POST", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"}, false},
		{"no word at all", "POST", nil, false},
		{"typed into the address bar", "POST", []string{"Sec-Fetch-Site", "none"}, false},
	} {
		_, err := w.h.Sessions().Authenticate(b.api(tc.method, tc.header...))
		if tc.ok != (err == nil) || (err != nil && identity.CodeOf(err) != identity.CodePermissionDenied) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestSecurityNoConfigurationIsNoSession(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn()
	w.snap = nil
	if code := w.authenticates(b); code != identity.CodeNoSnapshot {
		t.Error(code)
	}
	if rec := b.get("/sso/login"); rec.Code != 503 || !strings.Contains(rec.Body.String(), "try again") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
