package auditchain

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// bench is a chain in the making, with its key.
type bench struct {
	chain   Chain
	key     ed25519.PrivateKey
	entries []Entry
	signed  map[uint64]Checkpoint
}

func seeded(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

var start = time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)

func newBench(t testing.TB, id string) *bench {
	t.Helper()
	c, err := NewChain(id)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{chain: c, key: seeded(1), signed: map[uint64]Checkpoint{}}
}

func (b *bench) head() Head {
	if len(b.entries) == 0 {
		return Head{}
	}
	last := b.entries[len(b.entries)-1]
	return Head{last.Seq, last.Hash}
}

func (b *bench) add(t testing.TB, e record.AuditEntry) Entry {
	t.Helper()
	prev := b.head()
	next, err := b.chain.Link(prev, &e)
	if err != nil {
		t.Fatal(err)
	}
	b.entries = append(b.entries, Entry{e, next.Seq, prev.Hash, next.Hash})
	return b.entries[len(b.entries)-1]
}

func (b *bench) sign(t testing.TB) {
	t.Helper()
	cp, err := b.chain.Sign(b.head(), start.Add(time.Hour), b.key)
	if err != nil {
		t.Fatal(err)
	}
	b.signed[cp.Seq] = cp
}

func plain(n int) record.AuditEntry {
	return record.AuditEntry{
		ID: fmt.Sprintf("aud_%06d", n), At: start.Add(time.Duration(n) * time.Second), Actor: "user:admin@example.com", ActorUID: "usr_1",
		Via: "token", TokenID: "tok_1", RemoteAddr: "192.0.2.7", RequestID: fmt.Sprintf("req_%d", n), Action: "provider-account.update",
		Target: "provider-account:openai-main", Before: json.RawMessage(`{"spec":{"provider":"openai","weight":0}}`),
		After: json.RawMessage(fmt.Sprintf(`{"spec":{"provider":"openai","weight":%d}}`, n)), Outcome: "done",
	}
}

// filled is a chain of n entries with a checkpoint after every k-th and the last.
func filled(t testing.TB, n, k int) *bench {
	b := newBench(t, "chain-1")
	for i := 1; i <= n; i++ {
		b.add(t, plain(i))
		if i%k == 0 || i == n {
			b.sign(t)
		}
	}
	return b
}

func (b *bench) header() Header {
	return Header{Chain: b.chain.ID(), Keys: []ed25519.PublicKey{public(b.key)}}
}

// write exports the chain; from a seq above 1 in part.
func (b *bench) write(t testing.TB, out io.Writer, from uint64) {
	t.Helper()
	h := b.header()
	if from > 1 {
		h.After = Head{from - 1, b.entries[from-2].Hash}
	}
	w, err := NewWriter(out, h)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range b.entries {
		e := &b.entries[i]
		if e.Seq >= from {
			check(w.Entry(e))
		}
		if cp, ok := b.signed[e.Seq]; ok && e.Seq+1 >= from {
			check(w.Checkpoint(&cp))
		}
	}
	check(w.Close())
}

func (b *bench) export(t testing.TB) []byte {
	var out bytes.Buffer
	b.write(t, &out, 1)
	return out.Bytes()
}

func (b *bench) pinned() Options { return Options{Keys: []ed25519.PublicKey{public(b.key)}} }

// strict is what somebody knows who noted the head.
func (b *bench) strict() Options {
	o, h := b.pinned(), b.head()
	o.Expect = &h
	return o
}

// peak reads a file and looks at the heap from time to time.
type peak struct {
	io.Reader
	reads, heap uint64
}

func (p *peak) Read(b []byte) (int, error) {
	if p.reads++; p.reads%100 == 1 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		p.heap = max(p.heap, m.HeapAlloc)
	}
	return p.Reader.Read(b)
}

func TestAHundredThousandEntriesAreVerifiedInSecondsAndConstantMemory(t *testing.T) {
	const n = 100_000
	name := filepath.Join(t.TempDir(), "audit.jsonl")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a test
	b := newBench(t, "chain-1")
	w, err := NewWriter(f, b.header())
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	head := Head{}
	for i := 1; i <= n; i++ {
		e := plain(i)
		next, err := b.chain.Link(head, &e)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Entry(&Entry{e, next.Seq, head.Hash, next.Hash}); err != nil {
			t.Fatal(err)
		}
		if head = next; i%1000 == 0 {
			cp, err := b.chain.Sign(head, start, b.key)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Checkpoint(&cp); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	written := time.Since(begin)
	size, _ := f.Seek(0, io.SeekCurrent)
	_, _ = f.Seek(0, io.SeekStart)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p := &peak{Reader: f}
	opt := b.pinned()
	opt.Expect, opt.SignedHead, opt.Whole = &head, true, true
	begin = time.Now()
	r, err := Verify(p, opt)
	took := time.Since(begin)
	if err != nil || r.Entries != n || r.Checkpoints != n/1000 || r.Covered != n {
		t.Fatal(err, r)
	}
	t.Logf("%d entries, %d MiB: linked and written in %v, verified in %v", n, size>>20, written.Round(time.Millisecond), took.Round(time.Millisecond))
	if took > time.Minute { // with the race detector on a busy machine; a tenth of it without
		t.Errorf("%v is not seconds", took)
	}
	if grown := int64(p.heap) - int64(m.HeapAlloc); grown > 4<<20 {
		t.Errorf("%d MiB were held while verifying", grown>>20)
	}
}

func BenchmarkVerify(b *testing.B) {
	text := filled(b, 1000, 100).export(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(bytes.NewReader(text), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLink(b *testing.B) {
	c, _ := NewChain("chain-1")
	head, e := Head{}, plain(1)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if head, err = c.Link(head, &e); err != nil {
			b.Fatal(err)
		}
	}
}
