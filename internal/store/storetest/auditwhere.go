package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// lets is the filter, said once more and in the plainest way.
func lets(f record.AuditFilter, e *record.AuditEntry) bool {
	prefix, some := strings.CutSuffix(f.Action, "*")
	return (f.Actor == "" || e.Actor == f.Actor) && (f.Target == "" || e.Target == f.Target) && (f.Outcome == "" || e.Outcome == f.Outcome) &&
		(f.Action == "" || e.Action == f.Action && !some || some && strings.HasPrefix(e.Action, prefix)) &&
		(f.Since.IsZero() || !e.At.Before(f.Since)) && (f.Until.IsZero() || e.At.Before(f.Until))
}

func auditFiltered(t *testing.T, f *fixture) {
	actions := []string{"user.create", "user.update", "user", "users.x", "team.create", "team.update", "Team.update", "user_create", "user.%"}
	var b record.Batch
	for i := range 120 {
		e := entry(actions[i*7%len(actions)])
		e.Actor, e.Target = fmt.Sprint("user:", i%3), fmt.Sprint("team:", i%5)
		e.At = start().Add(time.Duration(i*i%37) * time.Millisecond) // clocks of replicas differ
		if i%4 == 0 {
			e.Outcome = "denied"
		}
		b.Audit = append(b.Audit, e)
	}
	f.commit(&b)
	all := slices.Clone(b.Audit)
	slices.Reverse(all)
	slices.SortStableFunc(all, func(a, b record.AuditEntry) int { return cmp.Compare(b.At.UnixMilli(), a.At.UnixMilli()) })
	rapid.Check(t, func(rt *rapid.T) {
		one := func(what string, of ...string) string { return rapid.SampledFrom(append(of, "", "")).Draw(rt, what) }
		when := func(what string) time.Time {
			if n := rapid.IntRange(-10, 40).Draw(rt, what); n >= 0 {
				return start().Add(time.Duration(n) * time.Millisecond)
			}
			return time.Time{}
		}
		filter := record.AuditFilter{
			Actor: one("actor", "user:0", "user:1", "user"), Target: one("target", "team:0", "team:4"), Outcome: one("outcome", "done", "denied"),
			Action: one("action", append(actions, "*", "user*", "user.*", "u*", "team.*", "none.*", "none", "user.create*")...), Since: when("since"), Until: when("until"),
		}
		var want []string
		for i := range all {
			if lets(filter, &all[i]) {
				want = append(want, all[i].ID)
			}
		}
		wantSame(t, fmt.Sprintf("%+v", filter), f.auditPages(filter, rapid.IntRange(1, 50).Draw(rt, "page")), want)
	})
}

// auditPages reads all pages and returns the ids.
func (f *fixture) auditPages(filter record.AuditFilter, size int) (ids []string) {
	f.t.Helper()
	for after := ""; ; {
		list, err := f.AuditWhere(f.t.Context(), filter, after, size)
		if err != nil || len(list) > size {
			f.t.Fatalf("%d entries, %v", len(list), err)
		}
		for _, e := range list {
			ids = append(ids, e.ID)
			after = e.ID
		}
		if len(list) < size {
			return ids
		}
	}
}

func auditFilterExact(t *testing.T, f *fixture) {
	b := &record.Batch{Audit: []record.AuditEntry{entry("team.create"), entry("user.create")}}
	f.commit(b)
	got, err := f.AuditWhere(t.Context(), record.AuditFilter{Action: "team.*"}, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "the entry, whole", got, b.Audit[:1])
	_, err = f.AuditWhere(t.Context(), record.AuditFilter{}, "no such entry", 2)
	wantCode(t, err, identity.CodeInvalidRequest)
	for _, filter := range []record.AuditFilter{
		{Actor: "USER:ada@example.com"},
		{Actor: "user:ada@example.com' OR '1'='1"},
		{Action: "%"},
		{Action: "team_create"},
		{Action: "team.c%*"},
		{Target: "team:*"},
		{Until: start()},
		{Since: start().Add(time.Millisecond)},
	} {
		if list, err := f.AuditWhere(t.Context(), filter, "", 10); err != nil || len(list) != 0 {
			t.Errorf("%+v finds %d entries, %v", filter, len(list), err)
		}
	}
}
