package scim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/control/scim"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// denied lists what was refused, the newest first.
func (w *world) denied() (list []record.AuditEntry) {
	w.t.Helper()
	all, err := w.back.(witness).Audit(w.t.Context(), "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range all {
		if e.Outcome == "denied" {
			list = append(list, e)
		}
	}
	return list
}

func newPerson(userName, email string) string {
	return `{` + userSchema + `,"userName":"` + userName + `","emails":[{"value":"` + email + `"}]}`
}

func TestSecurityARefusedTakeOverIsAudited(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		w.putUser(identity.User{Email: "admin@example.com", UserName: "root", Active: true})
		own, ada := w.add("own"), w.add("ada")
		w.trust.admins = []string{"admin@example.com", "root", "future@example.com", "future-root", "ada@example.com"}
		w.trust.granted = []string{"payroll"}
		set := func(attribute, value string) string {
			return patch(`{"op":"replace","path":"` + attribute + `","value":"` + value + `"}`)
		}
		for i, c := range []struct {
			method, path, body, action, target string
			status                             int
			before, why                        string
		}{
			{"POST", "/Users", newPerson("x", "admin@example.com"), "user.create", "user:admin@example.com", 409, `"root"`, "who has it administers"},
			{"POST", "/Users", newPerson("ROOT", "x@example.com"), "user.create", "user:ROOT", 409, "admin@example.com", "who has it administers"},
			{"POST", "/Users", newPerson("x", "future@example.com"), "user.create", "user:future@example.com", 409, "", "the name administers"},
			{"POST", "/Users", newPerson("future-root", "x@example.com"), "user.create", "user:future-root", 409, "", "the name administers"},
			{"POST", "/Users", newPerson("x", identity.LocalAdministrator), "user.create", "user:" + identity.LocalAdministrator, 400, "", "Gatehouse's own"},
			{"PATCH", "/Users/" + own, set("emails", "admin@example.com"), "user.update", "user:admin@example.com", 409, "own@example.com", "the name administers"},
			{"PUT", "/Users/" + own, newPerson("root", "own@example.com"), "user.update", "user:root", 409, own, "the name administers"},
			{"PATCH", "/Users/" + own, set("emails", identity.LocalAdministrator), "user.update", "user:" + identity.LocalAdministrator, 400, own, "Gatehouse's own"},
			{"PATCH", "/Users/" + ada, set("emails", "mallory@example.com"), "user.update", "user:mallory@example.com", 409, "ada@example.com", "the person administers"},
			{"PATCH", "/Users/" + ada, set("userName", "eve@example.com"), "user.update", "user:eve@example.com", 409, ada, "the person administers"},
			{"POST", "/Groups", `{` + groupSchema + `,"displayName":"Payroll"}`, "team.create", "team:payroll", 201, "", "something is granted"},
		} {
			r := w.do(c.method, c.path, c.body).want(c.status)
			list := w.denied()
			if len(list) != i+1 {
				t.Fatalf("%s %s: %d entries, want %d", c.method, c.body, len(list), i+1)
			}
			e := list[0]
			if e.Action != c.action || e.Target != c.target || e.Actor != "scim:okta" || e.Via != "scim-token" || e.TokenID != "token-of-okta" ||
				e.RemoteAddr != "192.0.2.7" || e.RequestID != r.header.Get("X-Request-Id") {
				t.Errorf("%s %s: audited as %+v", c.method, c.body, e)
			}
			if !strings.Contains(string(e.Before), c.before) || (c.before == "") != (e.Before == nil) || !strings.Contains(string(e.After), c.why) {
				t.Errorf("%s %s: before %s, after %s", c.method, c.body, e.Before, e.After)
			}
		}
		w.team("payroll-2")
	})
}

// What is no take-over is none in the audit: else nobody looks there.
func TestSecurityOnlyTakeOversAreAuditedAsRefused(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		for _, name := range []string{"member", "third", "admin"} {
			w.putUser(identity.User{Email: name + "@example.com", UserName: name, Active: true})
		}
		w.as = "entra"
		w.add("foreign")
		w.as = "okta"
		w.trust.admins, w.trust.granted = []string{"admin@example.com"}, []string{"payroll", "everyone"}
		w.add("own")
		w.addGroup("Ops")
		w.addGroup("Everyone")
		w.do("POST", "/Users", newPerson("third", "member@example.com")).refused(409, "uniqueness")
		w.do("POST", "/Users", newPerson("x", "foreign@example.com")).refused(409, "uniqueness")
		w.do("POST", "/Users", newPerson("own@example.com", "own@example.com")).refused(409, "uniqueness")
		w.do("POST", "/Users", newPerson("x", "no address")).refused(400, "invalidValue")
		w.do("POST", "/Groups", `{`+groupSchema+`,"displayName":"Ops"}`).refused(409, "uniqueness")
		// A dry run tries nothing, and writes nothing.
		w.do("POST", "/Users?dryRun=true", newPerson("x", "admin@example.com")).refused(409, "uniqueness")
		w.do("POST", "/Users?dryRun=true", newPerson("x", identity.LocalAdministrator)).refused(400, "invalidValue")
		w.do("POST", "/Groups?dryRun=true", `{`+groupSchema+`,"displayName":"Payroll"}`).want(200)
		if list := w.denied(); len(list) != 0 {
			t.Errorf("audited: %+v", list)
		}
	})
}

// serveAt makes the world's server anew, with a clock and a writer.
func (w *world) serveAt(now *time.Time, writer scim.Writer, report func(context.Context, error)) {
	w.t.Helper()
	s, err := scim.New(scim.Options{
		People: w.back, Past: w.back, Teams: w.back, Writer: writer, Authenticator: w.door, Trust: w.trust,
		Now: func() time.Time { return *now }, Report: report,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.server = s
}

func TestSecurityADirectoryCannotFillTheAuditWithRefusals(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
		w.serveAt(&now, w.back, nil)
		w.trust.admins = []string{"admin@example.com"}
		try := func(n int) {
			for range n {
				w.do("POST", "/Users", newPerson("x", "admin@example.com")).refused(409, "uniqueness")
			}
		}
		untold := func(e record.AuditEntry) int {
			var after struct{ NotAudited int }
			if err := json.Unmarshal(e.After, &after); err != nil {
				t.Fatal(err)
			}
			return after.NotAudited
		}
		try(100)
		if n := len(w.denied()); n != 60 {
			t.Fatalf("%d entries of a hundred refusals in one minute, want 60", n)
		}
		w.as = "entra" // another directory's are not lost by it
		try(1)
		if list := w.denied(); len(list) != 61 || list[0].Actor != "scim:entra" || untold(list[0]) != 0 {
			t.Fatalf("%d entries, the last is %+v", len(list), list[0])
		}
		w.as = "okta"
		now = now.Add(time.Minute)
		try(2)
		if list := w.denied(); len(list) != 63 || untold(list[1]) != 40 || untold(list[0]) != 0 {
			t.Errorf("%d entries; the next tells of %d, the one after of %d; want 40 and 0", len(list), untold(list[1]), untold(list[0]))
		}
		if e := w.denied()[0]; len(e.Target) > 310 || len(e.After) > 2000 {
			t.Errorf("an entry is large: %+v", e)
		}
	})
}

// failing refuses to write some times.
type failing struct {
	backend
	times int
}

func (f *failing) Commit(ctx context.Context, b *record.Batch) (identity.Head, error) {
	if f.times--; f.times >= 0 {
		return identity.Head{}, errors.New("the disk is full")
	}
	if err := ctx.Err(); err != nil {
		return identity.Head{}, err
	}
	return f.backend.Commit(ctx, b)
}

func TestSecurityARefusalStaysOneWhenItCannotBeAudited(t *testing.T) {
	w := newWorld(t)
	now, reported := time.Now(), 0
	w.serveAt(&now, &failing{w.back, 3}, func(context.Context, error) { reported++ })
	w.trust.admins = []string{"admin@example.com"}
	for range 4 {
		w.do("POST", "/Users", newPerson("x", "admin@example.com")).refused(409, "uniqueness")
	}
	list := w.denied()
	if reported != 3 || len(list) != 1 || !strings.Contains(string(list[0].After), `"notAudited":3`) {
		t.Errorf("reported %d times, audited %s", reported, fmt.Sprint(list))
	}
	// Nor does it help to hang up.
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	r := httptest.NewRequestWithContext(ctx, "POST", "https://gate.example/scim/v2/Users", strings.NewReader(newPerson("x", "admin@example.com")))
	r.Header.Set("Authorization", "Bearer "+w.tokens["okta"])
	w.server.ServeHTTP(httptest.NewRecorder(), r)
	if len(w.denied()) != 2 {
		t.Error("a refusal is not audited because the caller hung up")
	}
}
