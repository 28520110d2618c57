package sso

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/sso/saml"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/testlog"
)

func TestAFailureHasTheRequestsIDOnThePageInTheLogAndInTheAudit(t *testing.T) {
	w := newWorld(t, nil)
	var log testlog.Buffer
	w.h.opt.Log = log.Log(slog.LevelDebug)
	b := w.browser()
	rec := b.get(with(with(b.provider(b.begin("/sso/main/login")), "code", ""), "error", "access_denied"))
	id := rec.Header().Get("X-Request-Id")
	if id == "" || !strings.Contains(rec.Body.String(), "<code>"+id+"</code>") {
		t.Errorf("the page of request %q:\n%s", id, rec.Body)
	}
	if e := w.audit[len(w.audit)-1]; e.RequestID != id {
		t.Errorf("the audit has %q, not %q", e.RequestID, id)
	}
	if text := log.String(); log.Lines() != 1 || !strings.Contains(text, "id="+id) || !strings.Contains(text, `level=WARN msg="sign-in failed"`) {
		t.Errorf("the log of request %q:\n%s", id, text)
	}
}

func TestTheLogSaysOnceWhatHasFailed(t *testing.T) {
	w := newSLOWorld(t, nil)
	w.setUp()
	down := func(ask func() *httptest.ResponseRecorder) func() *httptest.ResponseRecorder {
		return func() *httptest.ResponseRecorder { w.down = true; defer func() { w.down = false }(); return ask() }
	}
	get := func(path string) func() *httptest.ResponseRecorder {
		return func() *httptest.ResponseRecorder { return w.browser().get(path) }
	}
	signedIn := w.samlSignIn()
	for _, tc := range []struct {
		name, want string
		ask        func() *httptest.ResponseRecorder
	}{
		{"no page", `level=DEBUG msg="page failed"`, get("/sso/nothing")},
		{"no connection", `level=DEBUG msg="sign-in failed"`, get("/sso/nothing/login")},
		{"no metadata", `level=DEBUG msg="page failed"`, get("/sso/main/saml/metadata")},
		{"no attempt", `level=WARN msg="sign-in failed"`, get("/sso/main/callback?state=x&code=x")},
		{"a logout message", `level=WARN msg="sign-out failed"`, get(ourSLO + "?SAMLRequest=x")},
		{"a front channel", `level=WARN msg="sign-out failed"`, get("/sso/main/frontchannel-logout")},
		{"no connection's back channel", `level=DEBUG msg="back-channel logout refused"`, func() *httptest.ResponseRecorder {
			return w.browser().post("/sso/nothing/backchannel-logout", nil)
		}},
		{"a sign-out", `level=WARN msg="sign-out failed"`, down(func() *httptest.ResponseRecorder { return signedIn.post("/sso/logout", nil) })},
		{"a provider's sign-out", `level=WARN msg="sessions could not be ended`, down(func() *httptest.ResponseRecorder {
			return w.browser().carry(w.provider(nil).LogoutRequest(saml.Assertion{NameID: "grace"}, ""))
		})},
		{"a provider's sign-out that cannot be answered", `level=WARN msg="sign-out failed"`, down(func() *httptest.ResponseRecorder {
			w.change(func(s *v1.SsoConnectionSpec) { s.SAML.SLOURL = "" })
			return w.browser().carry(w.provider(nil).LogoutRequest(saml.Assertion{NameID: "grace"}, ""))
		})},
		{"a password", `level=ERROR msg="BREAK GLASS`, func() *httptest.ResponseRecorder {
			return w.browser().post("/sso/break-glass", map[string][]string{"password": {"wrong, wrong, wrong"}})
		}},
		{"a password too many", `level=ERROR msg="BREAK GLASS`, func() *httptest.ResponseRecorder {
			for range triesPerNetwork {
				w.h.guard.mayTry("192.0.2.1", w.clock())
			}
			return w.browser().post("/sso/break-glass", map[string][]string{"password": {"wrong, wrong, wrong"}})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log testlog.Buffer
			w.h.opt.Log = log.Log(slog.LevelDebug)
			rec := tc.ask()
			if text := log.String(); log.Lines() != 1 || !strings.Contains(text, tc.want) || !strings.Contains(text, "id="+rec.Header().Get("X-Request-Id")) {
				t.Errorf("%d, want once %s, got\n%s", rec.Code, tc.want, text)
			}
		})
	}
}
