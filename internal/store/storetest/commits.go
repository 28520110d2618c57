package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func commitTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestConditionsMustHold":                              conditionsMustHold,
		"TestOfTwoCommitsWithOneConditionOneWins":             oneConditionOneWins,
		"TestRevisionOrderIsCommitOrder":                      revisionOrder,
		"TestSecurityFailedBatchLeavesNothing":                failedBatch,
		"TestSecurityAuditIsInTheTransaction":                 auditInTransaction,
		"TestBatchThatChangesNothingIsAuditedWithoutRevision": auditOnly,
		"TestAuditIsListedNewestFirst":                        auditPages,
		"TestWatchWakesAfterACommit":                          watchWakes,
		"TestCheckValueIsKept":                                checkValue,
		"TestCancelledContextChangesNothing":                  cancelled,
	}
}

func conditionsMustHold(t *testing.T, f *fixture) {
	r := team("research", "one")
	f.commit(&record.Batch{PutResources: []v1.Resource{r}})
	missing := identity.ResourceKey{Kind: v1.KindTeam, Name: "missing"}
	for _, tc := range []struct {
		name string
		cond record.Condition
		ok   bool
	}{
		{"the present version", record.Condition{Key: keyOf(r), ResourceVersion: r.ResourceVersion}, true},
		{"another version", record.Condition{Key: keyOf(r), ResourceVersion: "other"}, false},
		{"must not exist, exists", record.Condition{Key: keyOf(r)}, false},
		{"must not exist, does not", record.Condition{Key: missing}, true},
		{"a version of nothing", record.Condition{Key: missing, ResourceVersion: r.ResourceVersion}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := f.Commit(t.Context(), &record.Batch{Conditions: []record.Condition{tc.cond}})
			if tc.ok && err != nil {
				t.Fatal(err)
			}
			if !tc.ok {
				wantCode(t, err, identity.CodePreconditionFailed)
			}
		})
	}
}

func oneConditionOneWins(t *testing.T, f *fixture) {
	r := team("research", "zero")
	f.commit(&record.Batch{PutResources: []v1.Resource{r}})
	cond := record.Condition{Key: keyOf(r), ResourceVersion: r.ResourceVersion}
	const racers = 8
	errs := race(racers, func(i int) error {
		_, err := f.Commit(context.WithoutCancel(t.Context()), &record.Batch{
			Conditions: []record.Condition{cond}, PutResources: []v1.Resource{team("research", fmt.Sprint(i+1))},
		})
		return err
	})
	won := 0
	for _, err := range errs {
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

// race runs fn n times at once.
func race(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			errs[i] = fn(i)
		})
	}
	done.Wait()
	return errs
}

// revisionOrder: whoever sees a revision sees everything up to it and nothing
// after it, while others write.
func revisionOrder(t *testing.T, f *fixture) {
	const writers, each = 4, 12
	revisions := sync.Map{} // name → revision
	type seen struct {
		head  identity.Head
		names map[string]bool
	}
	var sights []seen
	stop, reading := make(chan struct{}), sync.WaitGroup{}
	reading.Go(func() {
		for {
			p, head := f.load()
			s := seen{head, map[string]bool{}}
			for k := range p.Resources {
				s.names[k.Name] = true
			}
			sights = append(sights, s)
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	errs := race(writers, func(i int) error {
		for j := range each {
			name := fmt.Sprintf("t-%d-%d", i, j)
			head, err := f.Commit(context.WithoutCancel(t.Context()), &record.Batch{PutResources: []v1.Resource{team(name, "")}})
			if err != nil {
				return err
			}
			revisions.Store(name, head.Revision)
		}
		return nil
	})
	close(stop)
	reading.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	taken := map[uint64]bool{}
	revisions.Range(func(name, rev any) bool {
		taken[rev.(uint64)] = true
		for _, s := range sights {
			if want := rev.(uint64) <= s.head.Revision; s.names[name.(string)] != want {
				t.Errorf("at revision %d, %s of revision %d: seen %v", s.head.Revision, name, rev, !want)
			}
		}
		return true
	})
	for r := uint64(1); r <= writers*each; r++ {
		if !taken[r] {
			t.Fatalf("revision %d was skipped", r)
		}
	}
}

func entry(action string) record.AuditEntry {
	return record.AuditEntry{
		Actor: "user:ada@example.com", ActorUID: "u-1", Via: "jwt", TokenID: "t-1", RemoteAddr: "127.0.0.1", RequestID: "r-1",
		Action: action, Target: "team:research", Before: json.RawMessage(`{"a":1}`), After: json.RawMessage(`{"a":2}`), Outcome: "done",
	}
}

// failing is a batch whose last step fails after everything else was written.
func failing() *record.Batch {
	b := stored("d", "s")
	b.PutResources = append(b.PutResources, team("research", ""))
	b.DeleteResources = []identity.ResourceKey{{Kind: v1.KindTeam, Name: "there"}}
	b.PutUsers = []identity.User{user("u-2", "bob@example.com", "https://idp|bob")}
	b.DeleteUsers = []string{"u-1"}
	b.PutTokens = []identity.Token{token("t-2", "u-2")}
	b.RevokeTokens = []string{"t-1", "no such token"}
	b.Audit = []record.AuditEntry{entry("team.create")}
	return b
}

func failedBatch(t *testing.T, f *fixture) {
	f.commit(&record.Batch{
		PutResources: []v1.Resource{team("there", "")},
		PutUsers:     []identity.User{user("u-1", "ada@example.com", "https://idp|ada")}, PutTokens: []identity.Token{token("t-1", "u-1")},
	})
	before, head := f.load()
	b := failing()
	_, err := f.Commit(t.Context(), b)
	wantCode(t, err, identity.CodeNotFound)
	after, now := f.load()
	wantSame(t, "the configuration after a failed batch", after, before)
	wantSame(t, "the head", now, head)
	if b.PutResources[0].Meta().UID != "" || b.Audit[0].ID != "" {
		t.Fatal("a failed batch was told that it was written")
	}
	wantSame(t, "changes", f.since(head), &identity.Rows{})
}

func auditInTransaction(t *testing.T, f *fixture) {
	if _, err := f.Commit(t.Context(), failing()); err == nil {
		t.Fatal("the batch should fail")
	}
	if list := f.audit("", 10); len(list) != 0 {
		t.Fatalf("a failed batch left %d audit entries", len(list))
	}
	// The other way round: an entry that cannot be written takes the change with it.
	same := entry("team.create")
	same.ID = "the-same"
	b := &record.Batch{PutResources: []v1.Resource{team("research", "")}, Audit: []record.AuditEntry{same, same}}
	_, err := f.Commit(t.Context(), b)
	wantCode(t, err, identity.CodeConflict)
	if p := loaded(f); len(p.Resources) != 0 {
		t.Fatal("a change was written without its audit entry")
	}
}

func (f *fixture) audit(after string, limit int) []record.AuditEntry {
	f.t.Helper()
	list, err := f.Audit(f.t.Context(), after, limit)
	if err != nil {
		f.t.Fatal(err)
	}
	return list
}

func auditOnly(t *testing.T, f *fixture) {
	before := f.head()
	b := &record.Batch{Audit: []record.AuditEntry{entry("team.update")}}
	if after := f.commit(b); after != before {
		t.Fatalf("head %+v, want %+v", after, before)
	}
	if b.Audit[0].ID == "" || !b.Audit[0].At.Equal(start()) {
		t.Fatalf("entry %+v, want an id and the time", b.Audit[0])
	}
	wantSame(t, "the audit", f.audit("", 10), b.Audit)
}

func auditPages(t *testing.T, f *fixture) {
	for i := range 5 {
		f.commit(&record.Batch{Audit: []record.AuditEntry{entry(fmt.Sprint("a", i))}})
	}
	var got []string
	for after := ""; ; {
		list := f.audit(after, 2)
		for _, e := range list {
			got = append(got, e.Action)
			after = e.ID
		}
		if len(list) < 2 {
			break
		}
	}
	wantSame(t, "actions", got, []string{"a4", "a3", "a2", "a1", "a0"})
	_, err := f.Audit(t.Context(), "no such entry", 2)
	wantCode(t, err, identity.CodeInvalidRequest)
}

func watchWakes(t *testing.T, f *fixture) {
	ch, end := f.Watch()
	other, endOther := f.Watch()
	endOther()
	f.commit(&record.Batch{Audit: []record.AuditEntry{entry("nothing")}})
	if woken(ch) {
		t.Fatal("woken without a change")
	}
	for i := range 3 {
		f.commit(&record.Batch{PutResources: []v1.Resource{team("research", fmt.Sprint(i))}})
	}
	if !woken(ch) || woken(ch) {
		t.Fatal("three commits should be one wake-up")
	}
	if woken(other) {
		t.Fatal("woken after the end of the watch")
	}
	if _, _, err := f.EnsureUser(t.Context(), arrival("https://idp", "ada", "ada@example.com")); err != nil {
		t.Fatal(err)
	}
	if !woken(ch) {
		t.Fatal("a new user wakes nobody")
	}
	end()
}

func woken(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func checkValue(t *testing.T, f *fixture) {
	v, err := f.CheckValue(t.Context())
	if err != nil || v != nil {
		t.Fatalf("check value %q, %v; want none", v, err)
	}
	if err := f.SetCheckValue(t.Context(), []byte("check")); err != nil {
		t.Fatal(err)
	}
	v, err = f.CheckValue(t.Context())
	if err != nil || string(v) != "check" {
		t.Fatalf("check value %q, %v", v, err)
	}
	// Of several processes with an empty database one is first; the others are told.
	if kept, err := f.KeepCheckValue(t.Context(), []byte("another")); err != nil || string(kept) != "check" {
		t.Fatalf("kept %q, %v; want the first", kept, err)
	}
	if f.head().Revision != 0 {
		t.Fatal("the check value took a revision")
	}
}

func cancelled(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Commit(ctx, &record.Batch{PutResources: []v1.Resource{team("research", "")}}); err == nil {
		t.Fatal("committed under a cancelled context")
	}
	ctx, cancel = context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	_, err := f.Commit(ctx, &record.Batch{PutResources: []v1.Resource{team("research", "")}})
	wantCode(t, err, identity.CodeDatabaseUnavailable)
	if p := loaded(f); len(p.Resources) != 0 {
		t.Fatal("something was written")
	}
}
