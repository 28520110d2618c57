package ledger

import (
	"context"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Toucher keeps when each token was last used, and from where. Uses may come
// late or twice; the later one wins.
type Toucher interface {
	TouchTokens(ctx context.Context, lastUsed map[string]identity.TokenUse) error
}

const (
	touchShards  = 64
	touchPortion = 1000 // tokens in one call of the Toucher
)

// touches gathers last-used times. Every interval the shards' maps are taken
// and replaced, so memory follows the number of tokens in use, not of all.
type touches struct {
	ctx     context.Context
	toucher Toucher
	every   time.Duration
	log     *slog.Logger

	seed     maphash.Seed
	shards   [touchShards]touchShard
	armed    atomic.Bool // the goroutine knows that there is something
	wake     chan struct{}
	stop     chan struct{}
	failures atomic.Uint64
}

// use is a TokenUse in Unix seconds.
type use struct {
	at   int64
	from string
}

// touchShard holds uses by token id. It fills a cache line, so that
// two shards do not slow each other down.
type touchShard struct {
	mu   sync.Mutex
	seen map[string]use
	_    [48]byte
}

func newTouches(ctx context.Context, t Toucher, every time.Duration, log *slog.Logger) *touches {
	if every <= 0 || every > time.Minute {
		every = DefaultTouchInterval
	}
	ts := &touches{ctx: ctx, toucher: t, every: every, log: log, seed: maphash.MakeSeed(), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	for i := range ts.shards {
		ts.shards[i].seen = map[string]use{}
	}
	return ts
}

func (t *touches) shard(id string) *touchShard {
	return &t.shards[maphash.String(t.seed, id)%touchShards]
}

func (t *touches) touch(id string, at time.Time, from string) {
	s, now := t.shard(id), at.Unix()
	s.mu.Lock()
	last, ok := s.seen[id]
	if ok && last.at/60 >= now/60 {
		s.mu.Unlock()
		return
	}
	if !ok {
		id = strings.Clone(id) // It may be part of something large.
	}
	s.seen[id] = use{now, from}
	s.mu.Unlock()
	t.arm()
}

// arm lets the goroutine know, once between two flushes.
func (t *touches) arm() {
	if t.armed.Load() || !t.armed.CompareAndSwap(false, true) {
		return
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// run sleeps until a token is touched, waits for others, and writes.
func (t *touches) run() {
	away := false
	for {
		select {
		case <-t.wake:
		case <-t.stop:
			_ = t.flush() // What is left is counted by Close.
			return
		}
		timer := time.NewTimer(t.every)
		select {
		case <-timer.C:
		case <-t.stop:
			timer.Stop()
			_ = t.flush()
			return
		}
		// Disarmed before the maps are taken: a touch that comes too late for
		// them arms again.
		t.armed.Store(false)
		err := t.flush()
		if (err != nil) != away {
			away = err != nil
			if away {
				t.log.Warn("last-used times of tokens cannot be written, trying again", slog.String("error", err.Error()))
			} else {
				t.log.Info("last-used times of tokens are written again")
			}
		}
		if err != nil {
			t.arm()
		}
	}
}

// flush writes everything, and puts back what cannot be written.
func (t *touches) flush() error {
	portion := make(map[string]identity.TokenUse)
	var failed error
	write := func() {
		if len(portion) == 0 {
			return
		}
		if failed == nil {
			failed = t.write(portion)
		}
		if failed != nil {
			t.putBack(portion)
		}
		clear(portion)
	}
	for i := range t.shards {
		for id, u := range t.shards[i].take() {
			portion[id] = identity.TokenUse{At: time.Unix(u.at, 0).UTC(), From: u.from}
			if len(portion) == touchPortion {
				write()
			}
		}
	}
	write()
	return failed
}

func (s *touchShard) take() map[string]use {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		return nil
	}
	seen := s.seen
	s.seen = make(map[string]use, len(seen))
	return seen
}

func (t *touches) write(portion map[string]identity.TokenUse) error {
	ctx, cancel := context.WithTimeout(t.ctx, writeTimeout)
	defer cancel()
	err := ctx.Err()
	if err == nil {
		err = t.toucher.TouchTokens(ctx, portion)
	}
	if err != nil {
		t.failures.Add(1)
	}
	return err
}

// putBack keeps the later of the uses.
func (t *touches) putBack(portion map[string]identity.TokenUse) {
	for id, was := range portion {
		s := t.shard(id)
		s.mu.Lock()
		if later, ok := s.seen[id]; !ok || later.at < was.At.Unix() {
			s.seen[id] = use{was.At.Unix(), was.From}
		}
		s.mu.Unlock()
	}
}

// pending is the number of tokens whose last use is not written.
func (t *touches) pending() (n int) {
	for i := range t.shards {
		t.shards[i].mu.Lock()
		n += len(t.shards[i].seen)
		t.shards[i].mu.Unlock()
	}
	return n
}
