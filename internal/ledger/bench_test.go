package ledger_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/ledger"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

type nowhere struct{}

func (nowhere) AppendRequests(context.Context, []record.Request) error          { return nil }
func (nowhere) TouchTokens(context.Context, map[string]identity.TokenUse) error { return nil }
func benchRecord() *record.Request {
	return &record.Request{ID: "0198f2c0-0000-7000-8000-000000000000", At: time.Now(), Endpoint: "chat.completions", Principal: "user:a@example.com", Model: "m", Status: 200}
}

// BenchmarkAdd is the cost on the request path while the writer keeps up:
// after each batch the clock stands still until it is written.
func BenchmarkAdd(b *testing.B) {
	l := ledger.New(ledger.Options{Sink: nowhere{}})
	r := benchRecord()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		l.Add(r)
		if n++; n%ledger.DefaultBatch == 0 {
			b.StopTimer()
			for l.Stats().Queued > 0 {
				runtime.Gosched()
			}
			b.StartTimer()
		}
	}
	b.StopTimer()
	_ = l.Close(context.Background())
}

// BenchmarkAddParallel is a flood: adding is all that the machine does, so a
// backlog grows and most of the time goes into new memory for it.
func BenchmarkAddParallel(b *testing.B) {
	l := ledger.New(ledger.Options{Sink: nowhere{}, Queue: 1 << 30})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := benchRecord()
		for pb.Next() {
			l.Add(r)
		}
	})
	b.StopTimer()
	_ = l.Close(context.Background())
}

// pooled is the other way to do it, kept for comparison: pointers from a
// sync.Pool under a mutex, copied again into a batch by the writer.
type pooled struct {
	pool  sync.Pool
	mu    sync.Mutex
	queue []*record.Request
	spare []*record.Request
	batch []record.Request
}

func (p *pooled) add(r *record.Request) {
	c, _ := p.pool.Get().(*record.Request)
	if c == nil {
		c = new(record.Request)
	}
	*c = *r
	p.mu.Lock()
	p.queue = append(p.queue, c)
	full := len(p.queue) >= 512
	var take []*record.Request
	if full {
		take, p.queue = p.queue, p.spare[:0]
		p.spare = nil
	}
	p.mu.Unlock()
	if !full {
		return
	}
	batch := p.batch[:0]
	for _, c := range take {
		batch = append(batch, *c)
		*c = record.Request{}
		p.pool.Put(c)
	}
	clear(take)
	p.batch, p.spare = batch, take
}

func BenchmarkAddPooledPointers(b *testing.B) {
	p, r := &pooled{}, benchRecord()
	b.ReportAllocs()
	for b.Loop() {
		p.add(r)
	}
}

// BenchmarkTouchAgain is a token that was touched in this minute already.
func BenchmarkTouchAgain(b *testing.B) {
	l := ledger.New(ledger.Options{Sink: nowhere{}, Toucher: nowhere{}})
	ids := make([]string, 1024)
	for i := range ids {
		ids[i] = fmt.Sprintf("0198f2c0-0000-7000-8000-%012d", i)
	}
	now := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			l.TouchToken(ids[i%len(ids)], now, "192.0.2.1")
		}
	})
	b.StopTimer()
	_ = l.Close(context.Background())
}
