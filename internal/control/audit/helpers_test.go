package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
	"github.com/gatehouse-ai/gatehouse/internal/control/audit"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// never is an interval that plays no part.
const never = 1000 * time.Hour

// sealer binds bytes to a place and a key, and hides them well enough for a test.
type sealer string

func (s sealer) Seal(plain, place []byte) ([]byte, error) {
	return slices.Concat([]byte(string(s)+"|"), place, []byte("|"), flip(plain)), nil
}

func (s sealer) Open(sealed, place []byte) ([]byte, error) {
	plain, ok := bytes.CutPrefix(sealed, slices.Concat([]byte(string(s)+"|"), place, []byte("|")))
	if !ok {
		return nil, errors.New("sealed with another master key")
	}
	return flip(plain), nil
}

func flip(b []byte) []byte {
	out := slices.Clone(b)
	for i := range out {
		out[i] ^= 0xff
	}
	return out
}

// memory is a chain without a database.
type memory struct {
	mu          sync.Mutex
	head        auditchain.Head
	entries     []auditchain.Entry
	checkpoints []auditchain.Checkpoint
	keys        map[string][]byte
	// fail is asked before every call.
	fail func(call string) error
}

const memoryChain = "chain-of-a-test"

func (m *memory) lock(ctx context.Context, call string) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	if m.fail != nil {
		if err := m.fail(call); err != nil {
			m.mu.Unlock()
			return nil, err
		}
	}
	return m.mu.Unlock, nil
}

func (m *memory) AuditHead(ctx context.Context) (string, auditchain.Head, error) {
	unlock, err := m.lock(ctx, "AuditHead")
	if err != nil {
		return "", auditchain.Head{}, err
	}
	defer unlock()
	return memoryChain, m.head, nil
}

func (m *memory) AuditEntries(ctx context.Context, after uint64, limit int) ([]auditchain.Entry, error) {
	unlock, err := m.lock(ctx, "AuditEntries")
	if err != nil {
		return nil, err
	}
	defer unlock()
	rest := m.entries[min(after, uint64(len(m.entries))):]
	return slices.Clone(rest[:min(limit, len(rest))]), nil
}

func (m *memory) Checkpoints(ctx context.Context, from uint64, limit int) ([]auditchain.Checkpoint, error) {
	unlock, err := m.lock(ctx, "Checkpoints")
	if err != nil {
		return nil, err
	}
	defer unlock()
	var list []auditchain.Checkpoint
	for _, c := range m.checkpoints {
		if c.Seq >= from && len(list) < limit {
			list = append(list, c)
		}
	}
	return list, nil
}

func (m *memory) PutCheckpoint(ctx context.Context, c *auditchain.Checkpoint) error {
	unlock, err := m.lock(ctx, "PutCheckpoint")
	if err != nil {
		return err
	}
	defer unlock()
	m.checkpoints = append(m.checkpoints, *c)
	return nil
}

func (m *memory) PutKey(ctx context.Context, name string, sealed []byte) ([]byte, error) {
	unlock, err := m.lock(ctx, "PutKey")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if m.keys == nil {
		m.keys = map[string][]byte{}
	}
	if m.keys[name] == nil {
		m.keys[name] = sealed
	}
	return m.keys[name], nil
}

// write appends n entries.
func (m *memory) write(t testing.TB, n int) {
	t.Helper()
	chain, err := auditchain.NewChain(memoryChain)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		e := entry(len(m.entries) + 1)
		e.ID, e.At = fmt.Sprint("aud-", m.head.Seq+1), time.Unix(int64(m.head.Seq), 0)
		next, err := chain.Link(m.head, &e)
		if err != nil {
			t.Fatal(err)
		}
		m.entries = append(m.entries, auditchain.Entry{AuditEntry: e, Seq: next.Seq, PrevHash: m.head.Hash, Hash: next.Hash})
		m.head = next
	}
}

// signed lists the seqs of the checkpoints.
func (m *memory) signed() (seqs []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.checkpoints {
		seqs = append(seqs, c.Seq)
	}
	return seqs
}

func entry(n int) record.AuditEntry {
	return record.AuditEntry{
		Actor: "user:ada@example.com", ActorUID: "u-1", Via: "session", TokenID: "s-1", RemoteAddr: "127.0.0.1", RequestID: fmt.Sprint("r-", n),
		Action: "team.update", Target: fmt.Sprint("team:t-", n), Before: json.RawMessage(`{"n":0}`), After: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)), Outcome: "done",
	}
}

func openDB(t testing.TB, path string) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func newDB(t testing.TB) *sqlite.DB { return openDB(t, filepath.Join(t.TempDir(), "gatehouse.db")) }

// fill writes n entries in one commit.
func fill(t testing.TB, db *sqlite.DB, n int) {
	t.Helper()
	b := &record.Batch{}
	for i := range n {
		b.Audit = append(b.Audit, entry(i+1))
	}
	if _, err := db.Commit(context.WithoutCancel(t.Context()), b); err != nil {
		t.Fatal(err)
	}
}

// start is an auditor that signs when it is asked.
func start(t testing.TB, s audit.Store) *audit.Auditor {
	t.Helper()
	return with(t, audit.Options{Store: s, Sealer: sealer("master"), Every: never})
}

func with(t testing.TB, o audit.Options) *audit.Auditor {
	t.Helper()
	a, err := audit.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func sign(t testing.TB, a *audit.Auditor) auditchain.Head {
	t.Helper()
	head, err := a.Sign(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

func export(t testing.TB, a *audit.Auditor, from uint64) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := a.Export(t.Context(), &out, from); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// strict knows the key and that nothing may be missing at either end.
func strict(a *audit.Auditor) auditchain.Options {
	return auditchain.Options{Keys: []ed25519.PublicKey{a.PublicKey()}, Whole: true, SignedHead: true}
}

func verify(t testing.TB, text []byte, o auditchain.Options) auditchain.Report {
	t.Helper()
	r, err := auditchain.Verify(bytes.NewReader(text), o)
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, text)
	}
	return r
}

func wantKind(t testing.TB, err error, kinds ...auditchain.Kind) {
	t.Helper()
	p, ok := errors.AsType[*auditchain.Problem](err)
	if !ok || !slices.Contains(kinds, p.Kind) {
		t.Fatalf("found %v, want %v", err, kinds)
	}
}
