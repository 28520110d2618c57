package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// Defaults of Options.
const (
	DefaultQueue         = 65536
	DefaultBatch         = 512
	DefaultInterval      = 200 * time.Millisecond
	DefaultBlockFor      = time.Second
	DefaultTouchInterval = 50 * time.Second
)

// Sink keeps request records. A call writes all of them or none; it may be
// repeated with the same records after an error, so it takes them by id. It
// must not keep the slice. An error with CodeInvalidRequest says that a record
// can never be written: the batch is halved until that record is found and
// dropped. Any other error means that the sink is away.
type Sink interface {
	AppendRequests(ctx context.Context, records []record.Request) error
}

// Policy is what happens to a record that finds the queue full.
type Policy uint8

const (
	// Drop leaves the new record out and counts it.
	Drop Policy = iota
	// Block lets the request wait for room, for Options.BlockFor at most; then
	// the record is dropped and counted.
	Block
)

// ParsePolicy reads "drop" or "block"; anything else is an error.
func ParsePolicy(s string) (Policy, error) {
	switch s {
	case "drop":
		return Drop, nil
	case "block":
		return Block, nil
	}
	return Drop, fmt.Errorf("%q is not a policy for a full queue; use drop or block", s)
}

// Options configure a Ledger. Zero values mean the defaults above.
type Options struct {
	// Sink keeps the records; required.
	Sink Sink
	// Toucher keeps last-used times; nil: TouchToken does nothing.
	Toucher Toucher
	// Queue is the largest number of records in memory, about 0.5 KB each and
	// used only as far as there is a backlog.
	Queue int
	// Batch is the largest number of records in one call of the sink.
	Batch int
	// Interval is the longest time that a record waits for others before it is
	// handed to a sink that works. A kill -9 loses at most the records of this time.
	Interval time.Duration
	// Full is what happens when the queue is full, BlockFor the limit of Block.
	Full     Policy
	BlockFor time.Duration
	// TouchInterval is the longest time that a last-used time waits; below a minute.
	TouchInterval time.Duration
	// Clock tells the time for Stats.Lag; nil means time.Now.
	Clock func() time.Time
	// Log hears when the sink goes away and when it is back; nil means nobody.
	Log *slog.Logger
}

// Stats are counters since the start, and the queue at present.
type Stats struct {
	// Queued is the number of records in memory, with those being written.
	Queued int
	// Written and Dropped count records; Failures counts calls of the sink that
	// failed, TouchFailures those of the toucher.
	Written, Dropped, Failures, TouchFailures uint64
	// Lag is how long the oldest record in memory has waited.
	Lag time.Duration
}

// Ledger queues records and writes them from one goroutine, which sleeps while
// there is nothing to do. It is safe for concurrent use.
type Ledger struct {
	sink     Sink
	limit    int
	batch    int
	interval time.Duration
	full     Policy
	blockFor time.Duration
	clock    func() time.Time
	log      *slog.Logger
	touches  *touches

	ctx    context.Context // ends when Close runs out of time
	cancel context.CancelFunc
	wake   chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	tail    *chunk   // being filled; nil when empty
	ready   []*chunk // full ones, oldest first
	writing *chunk
	free    []*chunk
	queued  int
	room    chan struct{} // closed when there is room again; nil while nobody waits
	closed  bool
	stats   Stats
}

// chunk is a batch while it is being filled. Records are copied into it once
// and handed to the sink in place, so the queue takes memory only as far as
// there is a backlog, and the garbage collector has nothing to walk while
// there is none.
type chunk struct {
	records []record.Request
	since   time.Time
}

// freeChunks is how many empty chunks are kept for use again: with the default
// batch about 3 MB, and only after a backlog as long.
const freeChunks = 16

// New starts a ledger. Close it.
func New(o Options) *Ledger {
	if o.Queue <= 0 {
		o.Queue = DefaultQueue
	}
	if o.Batch <= 0 {
		o.Batch = DefaultBatch
	}
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	if o.BlockFor <= 0 {
		o.BlockFor = DefaultBlockFor
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Ledger{
		sink: o.Sink, limit: o.Queue, batch: min(o.Batch, o.Queue), interval: o.Interval, full: o.Full, blockFor: o.BlockFor,
		clock: o.Clock, log: o.Log, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1),
	}
	l.wg.Go(l.run)
	if o.Toucher != nil {
		l.touches = newTouches(ctx, o.Toucher, o.TouchInterval, o.Log)
		l.wg.Go(l.touches.run)
	}
	return l
}

// Add queues a copy of a record. It does not wait, except with Block while the
// queue is full. The strings must not lie in a buffer that is used again.
func (l *Ledger) Add(r *record.Request) {
	l.mu.Lock()
	if l.closed || l.queued >= l.limit {
		l.addFull(r)
		return
	}
	signal := l.push(r)
	l.mu.Unlock()
	if signal {
		l.signal()
	}
}

// push copies the record and reports whether the writer must hear of it: when
// it starts a batch and when it completes one. Callers hold mu.
func (l *Ledger) push(r *record.Request) (signal bool) {
	c := l.tail
	if c == nil {
		c = l.newChunk()
		l.tail, signal = c, true
	}
	c.records = append(c.records, *r)
	l.queued++
	if len(c.records) == l.batch {
		l.ready, l.tail, signal = append(l.ready, c), nil, true
	}
	return signal
}

func (l *Ledger) newChunk() *chunk {
	if n := len(l.free); n > 0 {
		c := l.free[n-1]
		l.free = l.free[:n-1]
		c.since = l.clock()
		return c
	}
	return &chunk{records: make([]record.Request, 0, l.batch), since: l.clock()}
}

// addFull is Add without room. It is called with mu held and lets go of it.
func (l *Ledger) addFull(r *record.Request) {
	if l.closed || l.full == Drop {
		l.stats.Dropped++
		l.mu.Unlock()
		return
	}
	limit := time.NewTimer(l.blockFor)
	defer limit.Stop()
	for l.queued >= l.limit && !l.closed {
		if l.room == nil {
			l.room = make(chan struct{})
		}
		room := l.room
		l.mu.Unlock()
		timedOut := false
		select {
		case <-room:
		case <-limit.C:
			timedOut = true
		}
		l.mu.Lock()
		if timedOut {
			break
		}
	}
	if l.queued >= l.limit || l.closed {
		l.stats.Dropped++
		l.mu.Unlock()
		return
	}
	signal := l.push(r)
	l.mu.Unlock()
	if signal {
		l.signal()
	}
}

func (l *Ledger) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // It will look anyway.
	}
}

// TouchToken notes that a token was used from an address. Within a minute only the first time
// costs more than a look; it reaches the Toucher within a minute.
func (l *Ledger) TouchToken(id string, at time.Time, from string) {
	if l.touches != nil {
		l.touches.touch(id, at, from)
	}
}

// Stats returns the counters.
func (l *Ledger) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Queued = l.queued
	oldest := l.writing
	if oldest == nil && len(l.ready) > 0 {
		oldest = l.ready[0]
	}
	if oldest == nil {
		oldest = l.tail
	}
	if oldest != nil {
		s.Lag = max(0, l.clock().Sub(oldest.since))
	}
	if l.touches != nil {
		s.TouchFailures = l.touches.failures.Load()
	}
	return s
}

// Close takes no more records and writes those it has, as long as ctx allows.
// Where the sink stays away longer the rest is dropped and counted, and the
// error says how many; without a deadline Close waits for the sink.
func (l *Ledger) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		l.wg.Wait()
		return nil
	}
	l.closed = true
	before := l.stats.Dropped
	l.makeRoom()
	l.mu.Unlock()
	l.signal()
	if l.touches != nil {
		close(l.touches.stop)
	}
	release := context.AfterFunc(ctx, l.cancel)
	l.wg.Wait()
	release()
	l.cancel()
	var errs []error
	if lost := l.Stats().Dropped - before; lost > 0 {
		errs = append(errs, fmt.Errorf("%d request records could not be written before the end", lost))
	}
	if l.touches != nil && l.touches.pending() > 0 {
		errs = append(errs, fmt.Errorf("the last use of %d tokens could not be written before the end", l.touches.pending()))
	}
	return errors.Join(errs...)
}

// makeRoom wakes whoever waits for room. Callers hold mu.
func (l *Ledger) makeRoom() {
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
}
