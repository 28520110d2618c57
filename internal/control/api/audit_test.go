package api_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
)

// actions lists the entries of a page of the audit, the newest first.
func (w *world) actions(path string) (list []string, next string) {
	w.t.Helper()
	r := w.do("admin", "GET", path, "")
	w.want(r, 200)
	var page struct {
		Items []struct {
			Action, Actor, Outcome string
			At                     time.Time
		}
		NextCursor string
	}
	if err := json.Unmarshal([]byte(r.body), &page); err != nil {
		w.t.Fatal(err)
	}
	for _, e := range page.Items {
		list = append(list, e.Action+" "+e.Actor+" "+e.Outcome)
	}
	return list, page.NextCursor
}

func TestTheAuditIsFoundByWhatItSays(t *testing.T) {
	w := newWorld(t)
	before := url.QueryEscape(time.Now().Add(-time.Hour).Format(time.RFC3339))
	after := url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339))
	w.want(w.do("member", "POST", "/me/tokens", `{"name":"x"}`), 201)
	w.want(w.do("member", "POST", "/me/tokens", `{"name":"y"}`), 201)
	w.want(w.do("admin", "PUT", "/users/member@example.com", `{"displayName":"M"}`), 200)
	w.want(w.do("outsider", "PUT", "/users/member@example.com", `{}`), 403)
	const mine, other, denied = "token.create user:member@example.com done", "user.update user:admin@example.com done", "user.update user:outsider@example.com denied"
	for path, want := range map[string]string{
		"/audit?actor=user:member@example.com":                          mine + "|" + mine,
		"/audit?actor=user:member@example.com&action=token.create":      mine + "|" + mine,
		"/audit?actor=user:member@example.com&action=user.update":       "",
		"/audit?action=user.*":                                          denied + "|" + other,
		"/audit?action=user.*&outcome=done":                             other,
		"/audit?target=user:member@example.com&outcome=denied":          denied,
		"/audit?action=user.update&since=" + before:                     denied + "|" + other,
		"/audit?action=user.update&since=" + after:                      "",
		"/audit?action=user.update&until=" + before:                     "",
		"/audit?action=user.update&until=" + after + "&since=" + before: denied + "|" + other,
		"/audit?action=user.update&limit=1":                             denied,
		"/audit?actor=user:nobody@example.com":                          "",
	} {
		got, _ := w.actions(path)
		if strings.Join(got, "|") != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestSecurityAnAuditCursorIsBoundToItsFilter(t *testing.T) {
	w := newWorld(t)
	w.want(w.do("member", "POST", "/me/tokens", `{"name":"x"}`), 201)
	w.want(w.do("member", "POST", "/me/tokens", `{"name":"y"}`), 201)
	const path = "/audit?actor=user:member@example.com&limit=1"
	first, next := w.actions(path)
	if len(first) != 1 || next == "" {
		t.Fatalf("%v %q", first, next)
	}
	second, end := w.actions(path + "&cursor=" + next)
	if len(second) != 1 || end != "" {
		t.Errorf("the second page: %v %q", second, end)
	}
	for _, p := range []string{
		"/audit?limit=1&cursor=" + next, "/audit?actor=user:admin@example.com&cursor=" + next, "/audit?actor=user:member@example.com&outcome=done&cursor=" + next,
		"/audit?actor=user:member@example.com&since=2020-01-01T00:00:00Z&cursor=" + next,
	} {
		w.want(w.do("admin", "GET", p, ""), 400, "cursor")
	}
}

func TestWhatAQueryDoesNotHaveIsRefused(t *testing.T) {
	w := newWorld(t)
	for _, p := range []string{
		"/audit?outcome=maybe", "/audit?outcome=", "/audit?actor=", "/audit?since=yesterday", "/audit?since=", "/audit?action=%2A", "/audit?action=user.%2Ax",
		"/audit?actor=a&actor=b", "/audit?limit=0", "/audit?limit=%2B5", "/audit?limit=", "/audit?limit=1e1", "/audit?actr=user:admin@example.com", "/audit?limit=1;cursor=x",
		"/audit?actor=%ff", "/audit?actor=" + strings.Repeat("a", 513), "/users?filtr=x", "/teams?filter=kind+pr&filter=kind+pr", "/audit/export?from=0", "/audit/export?from=-1",
		"/audit/export?from=99999999999999999999", "/audit/export?from=9007199254740992", "/me?x=y",
	} {
		w.want(w.do("admin", "GET", p, ""), 400, "invalid_request")
	}
	w.want(w.do("admin", "DELETE", "/users/member@example.com/identities?issuer=", ""), 400, "issuer")
	w.want(w.do("admin", "DELETE", "/sessions?keepCurrent=1", ""), 400, "keepCurrent")
	w.want(w.do("", "GET", "/audit?actr=x", ""), 401)
}

func TestTheAuditIsExportedAsAStream(t *testing.T) {
	w := newWorld(t)
	r := w.do("admin", "GET", "/audit/export?from=7", "")
	w.want(r, 200)
	if r.body != "{\"from\":7}\n" || r.header.Get("Content-Type") != "application/jsonl" {
		t.Errorf("%q %v", r.body, r.header)
	}
	w.want(w.do("admin", "GET", "/audit/export", ""), 200, `"from":1`)
	w.want(w.do("lead", "GET", "/audit/export", ""), 403, "audit:read")
	w.want(w.do("", "GET", "/audit/keys", ""), 401)
	keys := w.do("admin", "GET", "/audit/keys", "")
	var list struct{ Items []struct{ KeyID, PEM string } }
	if err := json.Unmarshal([]byte(keys.body), &list); err != nil || len(list.Items) != 1 {
		t.Fatal(keys.body)
	}
	pub, err := auditchain.ParsePublicKeys([]byte(list.Items[0].PEM))
	if err != nil || len(pub) != 1 || auditchain.KeyID(pub[0]) != list.Items[0].KeyID || !pub[0].Equal(w.PublicKey()) {
		t.Errorf("%v %s", err, keys.body)
	}
}

func TestSecurityABrokenExportIsNotTakenForWhole(t *testing.T) {
	w := newWorld(t)
	w.exportFails = func(io.Writer) error { return errors.New("the disk is gone") }
	r := w.do("admin", "GET", "/audit/export", "")
	w.want(r, 500, "internal_error")
	w.without(r, "disk")
	w.exportFails = func(out io.Writer) error {
		_, err := out.Write([]byte("{}\n"))
		return errors.Join(err, errors.New("the disk is gone"))
	}
	srv := httptest.NewServer(w.api.Handler())
	t.Cleanup(srv.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/api/v1/audit/export", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.tokens["admin"])
	res, err := srv.Client().Do(req)
	if err == nil {
		_, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
	}
	if err == nil {
		t.Error("a client takes a part of the audit for the whole")
	}
	if !strings.Contains(w.log.String(), "the disk is gone") {
		t.Error("the operator is not told")
	}
}

// slowConn counts how often the answer's time was extended.
type slowConn struct {
	*httptest.ResponseRecorder
	extended int
}

func (s *slowConn) SetWriteDeadline(at time.Time) error {
	if time.Until(at) > 10*time.Second {
		s.extended++
	}
	return nil
}

func TestAnExportHasTimeForEveryWrite(t *testing.T) {
	w := newWorld(t)
	w.exportFails = func(out io.Writer) error {
		for range 3 {
			if _, err := out.Write([]byte("{}\n")); err != nil {
				return err
			}
		}
		return nil
	}
	req := httptest.NewRequest(http.MethodGet, "/api/v1/audit/export", nil)
	req.Header.Set("Authorization", "Bearer "+w.tokens["admin"])
	rec := &slowConn{ResponseRecorder: httptest.NewRecorder()}
	w.api.Handler().ServeHTTP(rec, req)
	if rec.Code != 200 || rec.extended != 3 {
		t.Errorf("status %d, the time was extended %d times", rec.Code, rec.extended)
	}
}
