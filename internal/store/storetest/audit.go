package storetest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func auditTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestSecurityEveryAuditEntryIsLinked":            everyEntryLinked,
		"TestSecurityFailedBatchLeavesNoGapInTheChain":   failedBatchNoGap,
		"TestSecurityWritersAtOnceMakeOneChain":          writersMakeOneChain,
		"TestSecurityChainGoesOnAfterARestart":           chainAfterRestart,
		"TestAuditEntryIsKeptAsItIsHashed":               keptAsHashed,
		"TestAuditEntriesComeInPages":                    entryPages,
		"TestCheckpointsAreKeptAndListed":                checkpoints,
		"TestSecurityCheckpointOfAnotherChainIsRefused":  wrongCheckpoints,
		"TestSecurityFirstCheckpointOfAnEntryStays":      firstCheckpointStays,
		"TestAuditIsFilteredAsALookAtEveryEntryWouldSay": auditFiltered,
		"TestAuditFilterIsExact":                         auditFilterExact,
	}
}

// chain reads the whole chain and fails where it does not verify.
func (f *fixture) chain() (id string, head auditchain.Head, list []auditchain.Entry) {
	f.t.Helper()
	id, head, err := f.AuditHead(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	list, err = f.AuditEntries(f.t.Context(), 0, 10_000)
	if err != nil {
		f.t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := auditchain.NewWriter(&out, auditchain.Header{Chain: id})
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range list {
		if err := w.Entry(&list[i]); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.t.Fatal(err)
	}
	r, err := auditchain.Verify(&out, auditchain.Options{Whole: true})
	if err != nil || r.Head != head || r.Entries != uint64(len(list)) {
		f.t.Fatalf("the chain: %v; head %+v, verified %+v", err, head, r)
	}
	return id, head, list
}

func everyEntryLinked(t *testing.T, f *fixture) {
	if id, head, list := f.chain(); id == "" || head != (auditchain.Head{}) || len(list) != 0 || id == f.head().Epoch {
		t.Fatalf("chain %q, head %+v, %d entries", id, head, len(list))
	}
	f.commit(&record.Batch{Audit: []record.AuditEntry{entry("a"), entry("b")}})
	f.commit(&record.Batch{})
	f.commit(&record.Batch{PutUsers: []identity.User{user("u-1", "ada@example.com")}})
	if _, _, err := f.EnsureUser(t.Context(), arrival("https://a", "1", "ada@example.com")); err != nil {
		t.Fatal(err)
	}
	f.commit(&record.Batch{Audit: []record.AuditEntry{entry("c")}})
	_, _, list := f.chain()
	var got []string
	for _, e := range list {
		got = append(got, fmt.Sprint(e.Seq, " ", e.Action))
	}
	wantSame(t, "the chain", got, []string{"1 a", "2 b", "3 user.link", "4 c"})
	all := f.audit("", 10)
	slices.Reverse(all)
	for i, e := range list {
		wantSame(t, "the entry of the chain", e.AuditEntry, all[i])
	}
}

func failedBatchNoGap(t *testing.T, f *fixture) {
	f.commit(&record.Batch{Audit: []record.AuditEntry{entry("a")}})
	same := entry("b")
	same.ID = "the-same"
	_, err := f.Commit(t.Context(), &record.Batch{Audit: []record.AuditEntry{same, same}})
	wantCode(t, err, identity.CodeConflict)
	bad := entry("c")
	bad.After = json.RawMessage(`{"a":`)
	b := &record.Batch{Audit: []record.AuditEntry{bad}}
	if _, err := f.Commit(t.Context(), b); err == nil || b.Audit[0].ID != "" {
		t.Fatalf("an entry that cannot be hashed: %v, %+v", err, b.Audit[0])
	}
	f.commit(&record.Batch{Audit: []record.AuditEntry{entry("d")}})
	if _, head, list := f.chain(); head.Seq != 2 || len(list) != 2 {
		t.Fatalf("head %+v, %d entries; want 2", head, len(list))
	}
}

// second is another store on the same database, as another replica is.
func (f *fixture) second() Store {
	f.t.Helper()
	if f.backend.Volatile {
		return f.Store
	}
	s := f.backend.Open(f.t, f.dir, f.clock.Now)
	f.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.t.Errorf("close: %v", err)
		}
	})
	return s
}

func writersMakeOneChain(t *testing.T, f *fixture) {
	stores := []Store{f.Store, f.second()}
	f.commit(&record.Batch{PutUsers: []identity.User{user("u-1", "ada@example.com")}})
	const writers, each = 6, 10
	ctx := context.WithoutCancel(t.Context())
	for _, err := range race(writers, func(i int) error {
		for j := range each {
			b := &record.Batch{Audit: []record.AuditEntry{entry(fmt.Sprint(i, ".", j)), entry(fmt.Sprint(i, ".", j, "b"))}}
			if j%2 == 0 { // with a revision and without
				b.PutUsers = []identity.User{user(fmt.Sprintf("u-%d-%d", i, j), fmt.Sprintf("u%d.%d@example.com", i, j))}
			}
			if _, err := stores[i%2].Commit(ctx, b); err != nil {
				return err
			}
			if _, _, err := stores[i%2].EnsureUser(ctx, arrival("https://a", fmt.Sprint(i, j), fmt.Sprintf("new%d.%d@example.com", i, j))); err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	_, head, list := f.chain()
	if head.Seq != 3*writers*each || len(list) != 3*writers*each {
		t.Fatalf("head %+v, %d entries; want %d", head, len(list), 3*writers*each)
	}
	otherID, other, err := stores[1].AuditHead(ctx)
	if id, _, _ := f.chain(); err != nil || other != head || otherID != id {
		t.Fatalf("the other store has head %+v of %s, %v", other, otherID, err)
	}
}

func chainAfterRestart(t *testing.T, f *fixture) {
	if f.backend.Volatile {
		t.Skip("SKIP this store forgets everything when it is closed")
	}
	f.commit(&record.Batch{Audit: []record.AuditEntry{entry("a")}})
	id, head, _ := f.chain()
	f.reopen()
	again, same, _ := f.chain()
	if again != id || same != head {
		t.Fatalf("chain %s, head %+v; was %s, %+v", again, same, id, head)
	}
	f.commit(&record.Batch{Audit: []record.AuditEntry{entry("b")}})
	if _, _, list := f.chain(); len(list) != 2 || list[1].PrevHash != head.Hash {
		t.Fatalf("%d entries, the last after %v, want %v", len(list), list[1].PrevHash, head.Hash)
	}
}

func keptAsHashed(t *testing.T, f *fixture) {
	strange := entry("strange")
	strange.At = time.Date(2026, 3, 1, 10, 0, 0, 1_999_999, time.FixedZone("", 3600))
	strange.Actor, strange.Target, strange.RequestID = "a\x00b\xffc", "é\u2028<>&😀\n\t\"\\", ""
	strange.Before = json.RawMessage("{ \"b\": 1.0e+2,\n \"a\": [null, \"\\u0000\"], \"a\": 12345678901234567890 }")
	strange.After = json.RawMessage("null")
	bare := record.AuditEntry{Action: "start", Before: json.RawMessage{}}
	b := &record.Batch{Audit: []record.AuditEntry{strange, bare}}
	f.commit(b)
	_, _, list := f.chain()
	for i, e := range list {
		wantSame(t, "what the caller is told", b.Audit[i], e.AuditEntry)
	}
	got := list[0]
	if got.Actor != "a\uFFFDb\uFFFDc" || got.Target != strange.Target || !got.At.Equal(time.Date(2026, 3, 1, 9, 0, 0, 1_000_000, time.UTC)) {
		t.Errorf("kept %+v", got)
	}
	if string(got.Before) != `{"b":1.0e+2,"a":[null,"\u0000"],"a":12345678901234567890}` || string(got.After) != "null" || list[1].Before != nil || list[1].After != nil {
		t.Errorf("before %s, after %s; of the bare %q %q", got.Before, got.After, list[1].Before, list[1].After)
	}
}

func entryPages(t *testing.T, f *fixture) {
	b := &record.Batch{}
	for i := range 7 {
		b.Audit = append(b.Audit, entry(fmt.Sprint(i)))
	}
	f.commit(b)
	for _, tc := range []struct {
		after uint64
		limit int
		want  []uint64
	}{
		{0, 3, []uint64{1, 2, 3}},
		{3, 3, []uint64{4, 5, 6}},
		{6, 3, []uint64{7}},
		{7, 3, nil},
		{1 << 63, 3, nil},
		{5, 0, []uint64{6, 7}},
	} {
		list, err := f.AuditEntries(t.Context(), tc.after, tc.limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, e := range list {
			got = append(got, e.Seq)
		}
		wantSame(t, fmt.Sprintf("%d after %d", tc.limit, tc.after), got, tc.want)
	}
}

// signed makes and keeps a checkpoint of the head.
func (f *fixture) signed(seed byte) auditchain.Checkpoint {
	f.t.Helper()
	c := f.checkpoint(seed)
	if err := f.PutCheckpoint(f.t.Context(), &c); err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) checkpoint(seed byte) auditchain.Checkpoint {
	f.t.Helper()
	id, head, err := f.AuditHead(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	chain, err := auditchain.NewChain(id)
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := chain.Sign(head, start().Add(1234567*time.Microsecond), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) checkpoints(from uint64, limit int) []auditchain.Checkpoint {
	f.t.Helper()
	list, err := f.Checkpoints(f.t.Context(), from, limit)
	if err != nil {
		f.t.Fatal(err)
	}
	return list
}

func checkpoints(t *testing.T, f *fixture) {
	if list := f.checkpoints(0, 10); len(list) != 0 {
		t.Fatalf("%d checkpoints of nothing", len(list))
	}
	before := f.head()
	var want []auditchain.Checkpoint
	for range 3 {
		f.commit(&record.Batch{Audit: []record.AuditEntry{entry("a"), entry("b")}})
		want = append(want, f.signed(1))
	}
	for _, tc := range []struct {
		from  uint64
		limit int
		want  []auditchain.Checkpoint
	}{{0, 10, want}, {2, 0, want}, {3, 10, want[1:]}, {4, 1, want[1:2]}, {7, 10, nil}, {1 << 63, 1, nil}} {
		wantSame(t, fmt.Sprintf("%d from %d", tc.limit, tc.from), f.checkpoints(tc.from, tc.limit), tc.want)
	}
	if f.head() != before {
		t.Fatal("a checkpoint took a revision")
	}
}

func wrongCheckpoints(t *testing.T, f *fixture) {
	f.commit(&record.Batch{Audit: []record.AuditEntry{entry("a")}})
	for what, spoil := range map[string]func(*auditchain.Checkpoint){
		"of another chain": func(c *auditchain.Checkpoint) { c.Chain = "another" },
		"of no entry":      func(c *auditchain.Checkpoint) { c.Seq = 0 },
		"of the future":    func(c *auditchain.Checkpoint) { c.Seq = 2 },
		"unsigned":         func(c *auditchain.Checkpoint) { c.Signature = nil },
	} {
		c := f.checkpoint(1)
		spoil(&c)
		if err := f.PutCheckpoint(t.Context(), &c); identity.CodeOf(err) != identity.CodeInvalidRequest {
			t.Errorf("one %s: %v", what, err)
		}
	}
	if list := f.checkpoints(0, 10); len(list) != 0 {
		t.Fatalf("kept %+v", list)
	}
}

func firstCheckpointStays(t *testing.T, f *fixture) {
	f.commit(&record.Batch{Audit: []record.AuditEntry{entry("a")}})
	want := f.signed(1)
	f.signed(2)
	wantSame(t, "checkpoints", f.checkpoints(0, 10), []auditchain.Checkpoint{want})
}
