package sso

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const goodPassword = "correct horse battery"

// setUp follows the printed link to a password.
func (w *world) setUp() *browser {
	w.t.Helper()
	link, err := w.h.BreakGlassLink(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	b := w.browser()
	if rec := b.follow(link); rec.Code != http.StatusSeeOther {
		w.t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	return b
}

// follow opens a one-time link and chooses the good password.
func (b *browser) follow(link string) *httptest.ResponseRecorder {
	b.w.t.Helper()
	if rec := b.get(strings.TrimPrefix(link, ours)); rec.Code != http.StatusOK {
		return rec
	}
	u, _ := url.Parse(link)
	return b.post("/sso/break-glass/setup", url.Values{"token": {u.Query().Get("token")}, "password": {goodPassword}, "again": {goodPassword}})
}

func TestTheLinkMakesTheLocalAdministrator(t *testing.T) {
	w := newWorld(t, nil)
	b := w.setUp()
	v, err := w.h.Sessions().Authenticate(b.api("GET"))
	if err != nil || !v.Principal.Admin || v.Principal.Email != breakGlassEmail {
		t.Fatalf("%v %+v", err, v.Principal)
	}
	if s := w.live(); len(s) != 1 || s[0].Connection != BreakGlassConnection || s[0].ExpiresAt.Sub(w.now) != breakGlassLife {
		t.Errorf("%+v", s)
	}
	if link, err := w.h.BreakGlassLink(t.Context()); link != "" || err != nil {
		t.Errorf("a second link: %q %v", link, err)
	}
	again := w.browser()
	if rec := again.post("/sso/break-glass", url.Values{"password": {goodPassword}, "return_to": {"/console/"}}); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/console/" {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	w.pass(breakGlassIdle)
	if code := w.authenticates(again); code != identity.CodeInvalidToken {
		t.Errorf("half an hour without use: %q", code)
	}
}

func TestSecurityTheLinkWorksOnceAndForADay(t *testing.T) {
	w := newWorld(t, nil)
	first, _ := w.h.BreakGlassLink(t.Context())
	second, _ := w.h.BreakGlassLink(t.Context())
	get := func(link string) int { return w.browser().get(strings.TrimPrefix(link, ours)).Code }
	if get(first) != http.StatusForbidden || get(second) != http.StatusOK {
		t.Error("the newer link must end the older")
	}
	if get(ours+"/sso/break-glass/setup?token=") != http.StatusForbidden {
		t.Error("no token is a token")
	}
	w.pass(breakGlassLink)
	if get(second) != http.StatusForbidden {
		t.Error("it works after a day")
	}
	w = newWorld(t, nil)
	link, _ := w.h.BreakGlassLink(t.Context())
	u, _ := url.Parse(link)
	form := url.Values{"token": {u.Query().Get("token")}, "password": {goodPassword}, "again": {goodPassword}}
	if rec := w.browser().post("/sso/break-glass/setup", form); rec.Code != http.StatusSeeOther {
		t.Fatal(rec.Body)
	}
	form.Set("password", "another password of mine")
	form.Set("again", "another password of mine")
	if rec := w.browser().post("/sso/break-glass/setup", form); rec.Code != http.StatusForbidden {
		t.Error("it works twice")
	}
}

func TestSecurityAWeakPasswordIsNotTaken(t *testing.T) {
	w := newWorld(t, nil)
	link, _ := w.h.BreakGlassLink(t.Context())
	u, _ := url.Parse(link)
	for _, p := range [][2]string{{"short", "short"}, {goodPassword, goodPassword + "x"}, {strings.Repeat("a", maxPassword+1), strings.Repeat("a", maxPassword+1)}} {
		rec := w.browser().post("/sso/break-glass/setup", url.Values{"token": {u.Query().Get("token")}, "password": {p[0]}, "again": {p[1]}})
		if rec.Code != http.StatusBadRequest || len(w.users) != 0 {
			t.Errorf("%q: %d", p, rec.Code)
		}
	}
}

func TestSecurityBreakGlassTriesAreLimitedAndLoud(t *testing.T) {
	w := newWorld(t, nil)
	w.setUp()
	var log bytes.Buffer
	w.h.opt.Log = slog.New(slog.NewTextHandler(&log, nil))
	before, tried := len(w.live()), 0
	for range triesPerNetwork + 3 {
		rec := w.browser().post("/sso/break-glass", url.Values{"password": {"wrong password, really"}})
		if rec.Code == http.StatusTooManyRequests {
			tried++
		}
	}
	if tried != 3 || len(w.live()) != before {
		t.Errorf("%d tries were stopped", tried)
	}
	// The right one is stopped as well, until the window is over.
	if rec := w.browser().post("/sso/break-glass", url.Values{"password": {goodPassword}}); rec.Code != http.StatusTooManyRequests {
		t.Error("a right password passes the limit")
	}
	w.pass(window)
	if rec := w.browser().post("/sso/break-glass", url.Values{"password": {goodPassword}}); rec.Code != http.StatusSeeOther {
		t.Error(rec.Body)
	}
	denied, done := 0, 0
	for _, e := range w.audit {
		if e.Action == "break-glass.sign-in" {
			if e.Outcome == "denied" {
				denied++
			} else {
				done++
			}
		}
	}
	if denied != triesPerNetwork+4 || done != 2 || strings.Count(log.String(), "BREAK GLASS") != triesPerNetwork+5 || !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("%d denied, %d done in the audit; log:\n%s", denied, done, log.String())
	}
	if strings.Contains(log.String(), "password, really") {
		t.Error("the log has a password")
	}
}

func TestSecurityBreakGlassCanBeSwitchedOff(t *testing.T) {
	w := newWorld(t, nil)
	w.setUp()
	w.bgOff = true
	b := w.browser()
	for _, rec := range []int{
		b.get("/sso/break-glass").Code, b.post("/sso/break-glass", url.Values{"password": {goodPassword}}).Code,
		b.get("/sso/break-glass/setup?token=x").Code, b.post("/sso/break-glass/setup", url.Values{"token": {"x"}}).Code,
	} {
		if rec != http.StatusNotFound {
			t.Error(rec)
		}
	}
	if strings.Contains(b.get("/sso/login").Body.String(), "break-glass") {
		t.Error("the sign-in page links to it")
	}
	if link, err := w.h.BreakGlassReset(t.Context()); link != "" || identity.CodeOf(err) != identity.CodeConflict {
		t.Errorf("there is a new link, or no reason why not: %v", err)
	}
	w.bgOff = false
	if !strings.Contains(b.get("/sso/login").Body.String(), "/sso/break-glass") {
		t.Error("the sign-in page does not link to it")
	}
}

func TestSecuritySwitchingOffEndsTheLocalAdministratorsSessions(t *testing.T) {
	w := newWorld(t, nil)
	seen, unseen, away, person := w.setUp(), w.browser(), w.browser(), w.browser()
	for _, b := range []*browser{unseen, away} {
		b.tryPassword(goodPassword)
	}
	person.signIn()
	for _, b := range []*browser{seen, away} { // this process knows them
		if code := w.authenticates(b); code != "" {
			t.Fatal(code)
		}
	}
	w.bgOff, w.down = true, true
	if code := w.authenticates(away); code != identity.CodeInvalidToken {
		t.Errorf("while the database is away: %q", code)
	}
	w.down = false
	for name, b := range map[string]*browser{"seen": seen, "not seen": unseen} {
		if code := w.authenticates(b); code != identity.CodeInvalidToken {
			t.Errorf("a session %s a moment ago goes on: %q", name, code)
		}
	}
	if code := w.authenticates(person); code != "" {
		t.Errorf("somebody else's session: %q", code)
	}
	w.bgOff = false
	for _, b := range []*browser{seen, unseen} {
		if code := w.authenticates(b); code != identity.CodeInvalidToken {
			t.Errorf("switched on again, it comes back: %q", code)
		}
	}
}

func TestTheLocalAdministratorIsOneAgainWhenSomebodyTookTheRoleAway(t *testing.T) {
	w := newWorld(t, nil)
	w.setUp()
	for k := range w.resources {
		if k.Name == breakGlassBinding {
			delete(w.resources, k)
		}
	}
	w.publish()
	b := w.browser()
	b.post("/sso/break-glass", url.Values{"password": {goodPassword}})
	if v, err := w.h.Sessions().Authenticate(b.api("GET")); err != nil || !v.Principal.Admin {
		t.Errorf("%v %+v", err, v.Principal)
	}
}

func TestTheLocalAdministratorComesBackThoughSomebodyDeletedThem(t *testing.T) {
	w := newWorld(t, nil)
	w.setUp()
	u, _ := w.userByEmail(breakGlassEmail)
	delete(w.users, u.UID)
	w.tombs = []identity.Tombstone{{UID: u.UID, Email: breakGlassEmail}}
	w.publish()
	for range 2 {
		again := w.browser()
		if rec := again.post("/sso/break-glass", url.Values{"password": {goodPassword}}); rec.Code != http.StatusSeeOther {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		v, err := w.h.Sessions().Authenticate(again.api("GET"))
		if err != nil || !v.Principal.Admin || v.Principal.UID == u.UID {
			t.Errorf("%v %+v", err, v.Principal)
		}
	}
	if len(w.tombs) != 0 {
		t.Error("the tombstone is still there")
	}
}

func TestSecurityAResetThatCannotBeWrittenDownChangesNothing(t *testing.T) {
	w := newWorld(t, nil)
	w.setUp()
	w.down = true
	if link, err := w.h.BreakGlassReset(t.Context()); err == nil || link != "" {
		t.Error("it goes on without the audit")
	}
	w.down = false
	if rec := w.browser().post("/sso/break-glass", url.Values{"password": {goodPassword}}); rec.Code != http.StatusSeeOther {
		t.Errorf("the password is gone, and nobody was told: %d", rec.Code)
	}
}

func TestResetTakesThePasswordAway(t *testing.T) {
	w := newWorld(t, nil)
	w.setUp()
	link, err := w.h.BreakGlassReset(t.Context())
	if err != nil || link == "" {
		t.Fatal(err)
	}
	told := w.audit[len(w.audit)-2:]
	if told[0].Action != "break-glass.reset" || told[1].Action != "session.end" || told[0].Actor != "system:operator" || told[1].Actor != "system:operator" || len(w.live()) != 0 {
		t.Errorf("the audit says %+v, and %d sessions go on", told, len(w.live()))
	}
	if rec := w.browser().post("/sso/break-glass", url.Values{"password": {goodPassword}}); rec.Code != http.StatusNotFound {
		t.Error(rec.Code)
	}
	if rec := w.browser().get(strings.TrimPrefix(link, ours)); rec.Code != http.StatusOK {
		t.Error(rec.Body)
	}
}

func TestSecurityAResetEndsSignInsUnderWay(t *testing.T) {
	for name, signIn := range map[string]func(*browser, string) *httptest.ResponseRecorder{
		"by the password": func(b *browser, _ string) *httptest.ResponseRecorder {
			return b.post("/sso/break-glass", url.Values{"password": {goodPassword}})
		},
		"by the link before": (*browser).follow,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.setUp()
			before, err := w.h.BreakGlassReset(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if name == "by the password" {
				w.browser().follow(before)
			}
			thief, link := w.browser(), ""
			reset := func() { link, err = w.h.BreakGlassReset(t.Context()) }
			w.onCommit = reset // the password has been found to be right
			if name == "by the link before" {
				w.onCommit = func() { w.onCommit = reset } // the link has, and the administrator was made
			}
			rec := signIn(thief, before)
			if err != nil || link == "" {
				t.Fatalf("there was no reset: %v", err)
			}
			if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "password_reset") || thief.cookies[SessionCookie] != "" || len(w.live()) != 0 {
				t.Errorf("%d, %d sessions are alive\n%s", rec.Code, len(w.live()), rec.Body)
			}
			if e := w.audit[len(w.audit)-1]; e.Action != "session.end" {
				t.Errorf("the last in the audit is %s", e.Action)
			}
			if rec := w.browser().follow(link); rec.Code != http.StatusSeeOther {
				t.Errorf("the new link: %d\n%s", rec.Code, rec.Body)
			}
		})
	}
}

func TestSecurityBreakGlassFormsOfOtherSites(t *testing.T) {
	w := newWorld(t, nil)
	w.setUp()
	n := len(w.live())
	r := httptest.NewRequest(http.MethodPost, ours+"/sso/break-glass", strings.NewReader(url.Values{"password": {goodPassword}}.Encode()))
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if rec := w.browser().do(r); rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "cross_origin") || len(w.live()) != n {
		t.Error(rec.Code)
	}
}

func TestSecurityPasswordsAreHashedWithArgon2id(t *testing.T) {
	g := newGuard()
	hash := g.hash(goodPassword)
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=65536,t=3,p=4$") || !g.verify(goodPassword, hash) || g.verify("x", hash) || g.hash(goodPassword) == hash {
		t.Error(hash)
	}
	for _, bad := range []string{"", "x", "$argon2id$v=19$m=65536,t=3,p=4$", "$argon2i$" + hash[10:], hash[:len(hash)-4]} {
		if g.verify(goodPassword, bad) || g.verify("", bad) {
			t.Errorf("%q verifies", bad)
		}
	}
}

func TestSecurityATallyForgetsTheOldestAndKeepsNobodyOut(t *testing.T) {
	c, now := newTally(), time.Unix(1_000_000, 0)
	for i := range maxCounts {
		c.allow(strconv.Itoa(i), 1, now.Add(time.Duration(i)))
	}
	later := now.Add(time.Minute)
	if !c.allow("one more", 1, later) || c.allow("one more", 1, later) {
		t.Error("a full tally keeps somebody out, or counts nothing")
	}
	if len(c.counts) != maxCounts || c.byAge.Len() != maxCounts {
		t.Errorf("%d counts: it grows without end", len(c.counts))
	}
	if c.spent("0", 1, later) || !c.spent("1", 1, later) {
		t.Error("another than the oldest had to go")
	}
	if !c.allow("one more", 1, later.Add(window)) || len(c.counts) != 1 || c.byAge.Len() != 1 {
		t.Errorf("%d counts after the window", len(c.counts))
	}
}
