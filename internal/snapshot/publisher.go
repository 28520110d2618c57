package snapshot

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Loader is where configuration is kept.
type Loader interface {
	// Load hands over everything, in portions, as of one revision.
	Load(ctx context.Context, yield func(*identity.Rows) error) (identity.Head, error)
	// Since hands over what has changed; full says that only Load can tell.
	Since(ctx context.Context, since identity.Head) (rows *identity.Rows, head identity.Head, full bool, err error)
	// Watch returns a channel that wakes the reader after a change, and its end.
	Watch() (<-chan struct{}, func())
}

// Runtime is something that outlives snapshots and is told of each before it
// is published. It must not wait for the network for longer than a moment.
type Runtime interface {
	Reconcile(prev, next *Snapshot)
}

// Journal keeps what a change removes, before the change is published, so that
// a copy on disk never revives it.
type Journal interface {
	// Removed returns when the removals of rows are on stable storage.
	Removed(head identity.Head, rows *identity.Rows) error
	// Full is told, before it is published, of a snapshot that was read whole:
	// what it removed since the last copy is not known.
	Full(head identity.Head)
}

// Options are the settings of a Publisher.
type Options struct {
	Loader   Loader
	Runtimes []Runtime
	// Journal may be nil.
	Journal Journal
	// Poll is how often the loader is asked even if it does not wake us.
	// Default 500ms.
	Poll time.Duration
	// Coalesce is how long a burst of changes is gathered. Default 20ms.
	Coalesce time.Duration
	// MaxStaleness is how long a snapshot is used without an answer of the
	// loader. Default 24h.
	MaxStaleness time.Duration
	Now          func() time.Time
	Log          *slog.Logger
}

// Publisher follows a loader and publishes snapshots.
type Publisher struct {
	opt     Options
	current atomic.Pointer[Snapshot]

	mu        sync.Mutex
	last      *Snapshot // as current, but kept when it is too old to be used
	seeded    bool      // last did not come from the loader
	confirmed time.Time // when the loader last agreed with last
	problem   error
	changed   chan struct{} // closed and replaced at every publish

	stop    context.CancelFunc
	running sync.WaitGroup
}

// NewPublisher returns a publisher that has nothing yet. Call Start.
func NewPublisher(opt Options) *Publisher {
	if opt.Poll == 0 {
		opt.Poll = 500 * time.Millisecond
	}
	if opt.Coalesce == 0 {
		opt.Coalesce = 20 * time.Millisecond
	}
	if opt.MaxStaleness == 0 {
		opt.MaxStaleness = 24 * time.Hour
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Publisher{opt: opt, changed: make(chan struct{})}
}

// Load returns the present snapshot; nil where there is none, or where it is
// too old to be trusted.
func (p *Publisher) Load() *Snapshot { return p.current.Load() }

// Seed publishes a snapshot that did not come from the loader: the copy on
// disk. since is when the loader last agreed with it. It stands in for the loader
// until that answers, and then everything is read anew: of a database that was
// restored meanwhile, and written to since, a revision that is right by number
// may be of another history.
// One that is too old is kept, for what the loader changes, but not served.
func (p *Publisher) Seed(s *Snapshot, since time.Time) {
	if now := p.opt.Now(); since.After(now) {
		since = now
	}
	p.publish(s, since, true)
}

// Start loads once and then follows until Close. Where the first load fails it
// returns the error; with a seed it goes on all the same.
func (p *Publisher) Start(ctx context.Context) error {
	wake, unwatch := p.opt.Loader.Watch()
	err := p.refresh(ctx)
	if err != nil {
		if p.newest() == nil {
			unwatch()
			return err
		}
		p.fail(err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop = stop
	p.running.Go(func() {
		defer unwatch()
		p.follow(run, wake)
	})
	p.running.Go(func() { p.age(run) })
	return nil
}

// Close stops following.
func (p *Publisher) Close() {
	if p.stop != nil {
		p.stop()
		p.running.Wait()
	}
}

// age takes back a snapshot that has grown too old. It does not wait for the
// loader, which may hang instead of failing.
func (p *Publisher) age(ctx context.Context) {
	tick := time.NewTicker(p.opt.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.mu.Lock()
			p.serve()
			p.mu.Unlock()
		}
	}
}

// serve makes the newest snapshot the present one while it is young enough.
// The caller holds mu.
func (p *Publisher) serve() {
	s := p.last
	if p.opt.Now().Sub(p.confirmed) > p.opt.MaxStaleness {
		s = nil
	}
	if p.current.Load() != s {
		p.current.Store(s)
	}
}

func (p *Publisher) follow(ctx context.Context, wake <-chan struct{}) {
	poll := time.NewTicker(p.opt.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
			select {
			case <-ctx.Done():
				return
			case <-time.After(p.opt.Coalesce):
			}
			select {
			case <-wake: // of the same burst: what is read next holds it
			default:
			}
		case <-poll.C:
		}
		if err := p.refresh(ctx); err != nil && ctx.Err() == nil {
			p.fail(err)
		}
	}
}

// fail keeps the last snapshot while it is young enough.
func (p *Publisher) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.problem == nil {
		p.opt.Log.Error("configuration cannot be read; serving the last one", "error", err)
	}
	p.problem = err
	p.serve()
}

func (p *Publisher) refresh(ctx context.Context) error {
	prev := p.newest()
	if prev != nil && !p.isSeeded() {
		rows, head, full, err := p.opt.Loader.Since(ctx, prev.head)
		switch {
		case err != nil:
			return err
		case full:
		case head == prev.head:
			p.confirm()
			return nil
		default:
			if p.opt.Journal != nil {
				if err := p.opt.Journal.Removed(head, rows); err != nil {
					return err
				}
			}
			b := NewBuilder(prev)
			if rows != nil {
				b.Add(rows)
			}
			p.publish(b.Build(head), p.opt.Now(), false)
			return nil
		}
	}
	b := NewBuilder(nil)
	head, err := p.opt.Loader.Load(ctx, func(rows *identity.Rows) error {
		b.Add(rows)
		return nil
	})
	if err != nil {
		return err
	}
	if p.opt.Journal != nil {
		p.opt.Journal.Full(head)
	}
	p.publish(b.Build(head), p.opt.Now(), false)
	return nil
}

func (p *Publisher) isSeeded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seeded
}

func (p *Publisher) newest() *Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

func (p *Publisher) confirm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.confirmed, p.problem = p.opt.Now(), nil
	p.serve()
}

func (p *Publisher) publish(s *Snapshot, confirmed time.Time, seeded bool) {
	prev := p.newest()
	for _, r := range p.opt.Runtimes {
		r.Reconcile(prev, s)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.seeded, p.confirmed, p.problem = s, seeded, confirmed, nil
	p.serve()
	close(p.changed)
	p.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next publish.
func (p *Publisher) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// WaitFor returns when a revision, or a later one, is published.
func (p *Publisher) WaitFor(ctx context.Context, head identity.Head) error {
	for {
		changed := p.Changed()
		if s := p.newest(); s != nil && !p.isSeeded() && s.head.Epoch == head.Epoch && s.head.Revision >= head.Revision {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(identity.Errorf(identity.CodeNoSnapshot, "the change is stored, but not live yet"), ctx.Err())
		case <-changed:
		}
	}
}

// Health says how fresh the snapshot is.
type Health struct {
	Head      identity.Head
	Present   bool
	Confirmed time.Time
	Problem   error
}

// Health says how fresh the snapshot is.
func (p *Publisher) Health() Health {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := Health{Confirmed: p.confirmed, Problem: p.problem, Present: p.current.Load() != nil}
	if p.last != nil {
		h.Head = p.last.head
	}
	return h
}
