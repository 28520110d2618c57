package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
	"github.com/gatehouse-ai/gatehouse/internal/control/audit"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/testlog"
)

var _ audit.Store = (*sqlite.DB)(nil)

func TestExportOfTheWholeChainVerifies(t *testing.T) {
	db := newDB(t)
	a := start(t, db)
	if r := verify(t, export(t, a, 0), strict(a)); r.Entries != 0 || r.Checkpoints != 0 {
		t.Fatalf("an empty audit: %+v", r)
	}
	fill(t, db, 3)
	sign(t, a)
	fill(t, db, 4)
	noted := sign(t, a)
	fill(t, db, 2)
	opt := strict(a)
	opt.Expect = &noted
	r := verify(t, export(t, a, 1), opt)
	if r.Entries != 9 || r.Checkpoints != 3 || r.From != 1 || r.Signed != 9 || r.Uncovered() != 0 || !r.Expected || !r.Pinned {
		t.Fatalf("%+v", r)
	}
	if id, head, err := db.AuditHead(t.Context()); err != nil || id != r.Chain || head != r.Head {
		t.Fatalf("the head is %s %+v, %v; verified %+v", id, head, err, r)
	}
	if d := cmp.Diff(export(t, a, 1), export(t, a, 1)); d != "" {
		t.Errorf("a second export is another:\n%s", d)
	}
}

func TestPartialExportVerifiesAndSaysThatItIsOne(t *testing.T) {
	db := newDB(t)
	a := start(t, db)
	fill(t, db, 5)
	sign(t, a)
	fill(t, db, 5)
	whole := verify(t, export(t, a, 1), strict(a))
	opt := strict(a)
	opt.Whole = false
	for from, want := range map[uint64]struct{ entries, checkpoints uint64 }{2: {9, 2}, 5: {6, 2}, 6: {5, 2}, 7: {4, 1}, 10: {1, 1}, 11: {0, 1}} {
		text := export(t, a, from)
		r := verify(t, text, opt)
		if r.From != from || !r.Partial() || r.Entries != want.entries || r.Checkpoints != want.checkpoints || r.Head != whole.Head {
			t.Errorf("from %d: %+v", from, r)
		}
		_, err := auditchain.Verify(bytes.NewReader(text), strict(a))
		wantKind(t, err, auditchain.KindPartial)
	}
	var out bytes.Buffer
	if err := a.Export(t.Context(), &out, 12); identity.CodeOf(err) != identity.CodeConflict || out.Len() != 0 {
		t.Errorf("from behind the end: %v, %d bytes", err, out.Len())
	}
}

func TestExportWhileEntriesAreWritten(t *testing.T) {
	db := newDB(t)
	a := start(t, db)
	fill(t, db, 1500) // more than one portion
	stop := make(chan struct{})
	var writing sync.WaitGroup
	for range 2 {
		writing.Go(func() {
			for {
				fill(t, db, 3)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	var last uint64
	for range 5 {
		r := verify(t, export(t, a, 1), strict(a))
		if r.Entries < last || r.Entries < 1500 {
			t.Errorf("%d entries after %d", r.Entries, last)
		}
		last = r.Entries
	}
	close(stop)
	writing.Wait()
}

func TestAuditorsOfOneStoreShareTheKeyAndTheChain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	stores := []*sqlite.DB{openDB(t, path), openDB(t, path)}
	var auditors [2]*audit.Auditor
	var making sync.WaitGroup
	for i := range auditors {
		making.Go(func() { auditors[i] = start(t, stores[i]) })
	}
	making.Wait()
	if !auditors[0].PublicKey().Equal(auditors[1].PublicKey()) {
		t.Fatal("two keys")
	}
	for range 4 {
		fill(t, stores[0], 2)
		fill(t, stores[1], 1)
		for i := range auditors {
			making.Go(func() {
				if _, err := auditors[i].Sign(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
			})
		}
		making.Wait()
	}
	if r := verify(t, export(t, auditors[1], 1), strict(auditors[0])); r.Entries != 12 || r.Checkpoints != 4 {
		t.Fatalf("%+v", r)
	}
	if again := start(t, openDB(t, path)); !again.PublicKey().Equal(auditors[0].PublicKey()) {
		t.Error("a restart has another key")
	}
}

func TestSecuritySigningKeyLiesSealedUnderTheMasterKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "gatehouse.db")
	db := openDB(t, path)
	a := start(t, db)
	a.Close()
	sealed, err := db.Key(t.Context(), "audit-signing-1")
	if err != nil {
		t.Fatal(err)
	}
	seed, err := sealer("master").Open(sealed, []byte("key/audit-signing-1"))
	if err != nil || !ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey).Equal(a.PublicKey()) {
		t.Fatalf("what is kept is not the key, sealed for its place: %v", err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		if data, err := os.ReadFile(f); err != nil || bytes.Contains(data, seed) {
			t.Errorf("%s holds the signing key, %v", filepath.Base(f), err)
		}
	}
	for name, s := range map[string]audit.Options{
		"another master key": {Store: db, Sealer: sealer("other")},
		"what is no key":     {Store: &memory{keys: map[string][]byte{"audit-signing-1": []byte("master|key/audit-signing-1|short")}}, Sealer: sealer("master")},
	} {
		if a, err := audit.New(t.Context(), s); err == nil {
			a.Close()
			t.Errorf("%s: a new key was made", name)
		}
	}
}

func TestCloseSignsTheLastHead(t *testing.T) {
	m := &memory{}
	a := start(t, m)
	m.write(t, 3)
	a.Close()
	a.Close()
	if d := cmp.Diff([]uint64{3}, m.signed()); d != "" {
		t.Error(d)
	}
}

func TestCloseSignsAlsoWhenTheContextOfTheStartIsOver(t *testing.T) {
	m := &memory{}
	ctx, cancel := context.WithCancel(t.Context())
	a, err := audit.New(ctx, audit.Options{Store: m, Sealer: sealer("master"), Every: never})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	m.write(t, 1)
	a.Close()
	if d := cmp.Diff([]uint64{1}, m.signed()); d != "" {
		t.Error(d)
	}
}

// A replica may start while its database is away.
func TestAStoreThatIsAwayAtTheStartIsSignedWhenItIsBack(t *testing.T) {
	m := &memory{}
	m.write(t, 1)
	m.fail = func(string) error { return identity.Errorf(identity.CodeDatabaseUnavailable, "away") }
	a := start(t, m)
	if _, err := a.Sign(t.Context()); identity.CodeOf(err) != identity.CodeDatabaseUnavailable || a.PublicKey() != nil {
		t.Fatalf("signed with %x, %v", a.PublicKey(), err)
	}
	if err := a.Export(t.Context(), io.Discard, 1); identity.CodeOf(err) != identity.CodeDatabaseUnavailable {
		t.Errorf("exported: %v", err)
	}
	m.mu.Lock()
	m.fail = nil
	m.mu.Unlock()
	if head := sign(t, a); head.Seq != 1 || a.PublicKey() == nil {
		t.Errorf("signed %d with %x", head.Seq, a.PublicKey())
	}
}

func TestHeadIsSignedAtIntervalsAndOnlyWhenItHasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := &memory{}, &testlog.Buffer{}
		a := with(t, audit.Options{Store: m, Sealer: sealer("master"), Log: log.Log(slog.LevelWarn)})
		defer a.Close()
		check := func(when string, lines int, want ...uint64) {
			t.Helper()
			synctest.Wait()
			if d := cmp.Diff(want, m.signed()); d != "" || log.Lines() != lines {
				t.Errorf("%s: %d lines of log (-want +got)\n%s", when, log.Lines(), d)
			}
		}
		time.Sleep(90 * time.Second)
		check("nothing happened", 0)
		m.write(t, 2)
		check("before the minute is over", 0)
		time.Sleep(time.Minute)
		check("the minute is over", 0, 2)
		time.Sleep(5 * time.Minute)
		check("nothing more happened", 0, 2)
		m.write(t, 1)
		m.mu.Lock()
		m.fail = func(string) error { return errors.New("away") }
		m.mu.Unlock()
		time.Sleep(2 * time.Minute)
		check("the store is away", 2, 2)
		m.mu.Lock()
		m.fail = nil
		m.mu.Unlock()
		time.Sleep(time.Minute)
		check("the store is back", 2, 2, 3)
		if at := m.checkpoints[0].At; at.Sub(m.checkpoints[1].At) > -5*time.Minute {
			t.Errorf("signed at %v and %v", at, m.checkpoints[1].At)
		}
	})
}

// A store that says nothing is not one that is closed: it must be heard of.
func TestCheckpointThatTakesTooLongIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := &memory{}, &testlog.Buffer{}
		a := with(t, audit.Options{Store: stalling{m}, Sealer: sealer("master"), Log: log.Log(slog.LevelWarn)})
		time.Sleep(75 * time.Second)
		synctest.Wait()
		if log.Lines() != 1 {
			t.Errorf("%d lines of log", log.Lines())
		}
		a.Close()
	})
}

type stalling struct{ *memory }

func (stalling) AuditHead(ctx context.Context) (string, auditchain.Head, error) {
	<-ctx.Done()
	return "", auditchain.Head{}, ctx.Err()
}

// failingWriter fails after so many bytes.
type failingWriter struct {
	bytes.Buffer
	left int
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("the connection is gone")
	}
	return w.Buffer.Write(p)
}

func TestSecurityExportThatFailedInTheMiddleHasNoEnd(t *testing.T) {
	for name, failing := range map[string]struct {
		call  string
		times int
		bytes int
	}{
		"the second portion": {"AuditEntries", 2, 1 << 30},
		"the third portion":  {"AuditEntries", 3, 1 << 30},
		"the checkpoints":    {"Checkpoints", 3, 1 << 30},
		"the head":           {"AuditHead", 1, 1 << 30},
		"signing":            {"PutCheckpoint", 1, 1 << 30},
		"the writer":         {"", 0, 100_000},
		"the writer's end":   {"", 0, 900_000},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			a := start(t, m)
			m.write(t, 2500)
			n := 0
			m.mu.Lock()
			m.fail = func(call string) error {
				if call == failing.call {
					if n++; n >= failing.times {
						return errors.New("the database is gone")
					}
				}
				return nil
			}
			m.mu.Unlock()
			w := &failingWriter{left: failing.bytes}
			if err := a.Export(t.Context(), w, 1); err == nil || !strings.Contains(err.Error(), "gone") {
				t.Fatalf("error %v", err)
			}
			if strings.Contains(w.String(), `"type":"end"`) {
				t.Error("it has an end")
			}
			if _, err := auditchain.Verify(bytes.NewReader(w.Bytes()), strict(a)); err == nil {
				t.Error("it verifies")
			}
		})
	}
}

func TestAHundredThousandEntriesAreExportedAndVerifiedInSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP many rows")
	}
	db := newDB(t)
	a := start(t, db)
	const each = 1000
	commits := 100
	if raceEnabled {
		commits = 10
	}
	begin := time.Now()
	for range commits {
		fill(t, db, each)
		sign(t, a)
	}
	written := time.Since(begin)
	begin = time.Now()
	text := export(t, a, 1)
	exported := time.Since(begin)
	begin = time.Now()
	r := verify(t, text, strict(a))
	took := time.Since(begin)
	if r.Entries != uint64(commits*each) || r.Checkpoints != uint64(commits) || r.Covered != r.Entries {
		t.Fatalf("%+v", r)
	}
	t.Logf("%d entries, %d MiB: written in %v, exported in %v, verified in %v", r.Entries, len(text)>>20,
		written.Round(time.Millisecond), exported.Round(time.Millisecond), took.Round(time.Millisecond))
	if exported > 30*time.Second || took > 30*time.Second { // on a busy machine; about one otherwise
		t.Errorf("%v and %v are not seconds", exported, took)
	}
}
