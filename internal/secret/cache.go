package secret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	fetchTimeout = 10 * time.Second
	fetchSlots   = 8 // fetches at a time
	retryFirst   = 250 * time.Millisecond
	retryMax     = 30 * time.Second
)

// Options configure a Cache.
type Options struct {
	// Backends fetch values, by kind; KindValue needs none. A kind without one
	// is not available: its references stay unresolved.
	Backends map[Kind]Backend
	// Allow says which references may be resolved; the zero value allows those
	// of the operator's own files and environment only.
	Allow Allow
	// Clock tells the time for Status; nil means time.Now.
	Clock func() time.Time
	// Log hears of secrets that cannot be fetched and of their return; nil
	// means nobody.
	Log *slog.Logger
}

// Cache holds the handles of one configuration. It is safe for concurrent use.
type Cache struct {
	backends map[Kind]Backend
	allow    Allow
	clock    func() time.Time
	log      *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	handles map[key]*Handle
	closed  bool
}

// New returns an empty cache. Close it; its backends belong to who made them
// and are closed after it.
func New(o Options) *Cache {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Cache{
		backends: o.Backends, allow: o.Allow, clock: o.Clock, log: o.Log,
		ctx: ctx, cancel: cancel, slots: make(chan struct{}, fetchSlots), handles: map[key]*Handle{},
	}
}

// Reconcile makes refs the secrets in use. A reference that has not changed
// keeps its handle and value; one that changed in any way gets a new handle,
// never the old value. It does not wait: values and environment variables are
// there when it returns, the rest is being fetched (see WaitReady).
func (c *Cache) Reconcile(refs []Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	next := make(map[key]*Handle, len(refs))
	for _, ref := range refs {
		k := ref.key()
		if next[k] != nil {
			continue
		}
		h := c.handles[k]
		if h == nil {
			h = newHandle(ref)
			c.begin(h)
		}
		next[k] = h
	}
	for k, h := range c.handles {
		if next[k] == nil {
			h.drop()
		}
	}
	c.handles = next
	c.watch()
}

// begin starts the first fetch of a handle. Callers hold mu.
func (c *Cache) begin(h *Handle) {
	switch h.kind {
	case KindValue:
		value := h.ref.Value.Value.Reveal()
		h.ref.Value.Value = ""
		c.settle(h, value, nil)
	case KindEnv:
		value, err := c.fetch(h)
		c.settle(h, value, err)
	default:
		c.start(h)
	}
}

// drop forgets what is scheduled for a handle. Callers hold mu.
func (h *Handle) drop() {
	h.dropped = true
	if h.retry != nil {
		h.retry.Stop()
	}
}

// watch tells the file backend which files matter. Callers hold mu.
func (c *Cache) watch() {
	w, ok := c.backends[KindFile].(Watcher)
	if !ok {
		return
	}
	var files []string
	for _, h := range c.handles {
		if h.kind == KindFile {
			files = append(files, h.ref.Value.File)
		}
	}
	slices.Sort(files)
	w.Watch(slices.Compact(files), c.fileChanged)
}

func (c *Cache) fileChanged(file string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.handles {
		if h.kind == KindFile && h.ref.Value.File == file {
			c.start(h)
		}
	}
}

// start fetches in the background, once at a time. Callers hold mu.
func (c *Cache) start(h *Handle) {
	if h.dropped || c.closed {
		return
	}
	if h.inflight {
		h.again = true
		return
	}
	h.inflight, h.again = true, false
	if h.retry != nil {
		h.retry.Stop()
	}
	c.wg.Go(func() {
		var value string
		var err error
		select {
		case c.slots <- struct{}{}:
			value, err = c.fetch(h)
			<-c.slots
		case <-c.ctx.Done():
			err = c.ctx.Err()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		h.inflight = false
		c.settle(h, value, err)
		if h.again {
			c.start(h)
		}
	})
}

// fetch asks the backend, after it has asked Allow once more: a reference is
// not allowed because it has come as far as the database.
func (c *Cache) fetch(h *Handle) (string, error) {
	ref := h.ref
	within, err := c.allow.check(ref.Value, ref.Manager)
	if err != nil {
		return "", err
	}
	ref.Within = within
	backend := c.backends[h.kind]
	switch {
	case h.kind == KindNone:
		return "", errors.New("the secret uses none of value, stored, env, file and store, or several")
	case backend == nil:
		return "", errors.New("secrets of the kind " + string(h.kind) + " are not available in this version")
	}
	ctx, cancel := context.WithTimeout(c.ctx, fetchTimeout)
	defer cancel()
	value, err := backend.Fetch(ctx, ref)
	if err == nil && value == "" {
		err = errors.New("the secret is empty")
	}
	return value, err
}

// settle takes the outcome of a fetch. Callers hold mu.
func (c *Cache) settle(h *Handle, value string, err error) {
	if h.dropped || c.closed {
		h.markTried()
		return
	}
	defer h.markTried()
	had := !h.fetchedAt.IsZero()
	if err == nil {
		if h.lastErr != nil {
			c.log.Info("secret can be read again", h.attrs()...)
		}
		if old := h.cur.Load(); !had || old.value != value {
			h.cur.Store(&result{value: value})
		}
		h.failures, h.lastErr, h.fetchedAt = 0, nil, c.clock()
		return
	}
	if h.lastErr == nil || h.lastErr.Error() != err.Error() {
		c.log.Warn("secret cannot be read", append(h.attrs(), slog.Bool("stale", had), slog.String("error", err.Error()))...)
	}
	h.lastErr = err
	if !had {
		h.cur.Store(&result{err: h.unavailable(err, "cannot be read")})
	}
	c.scheduleRetry(h)
}

// scheduleRetry tries again later what may change while we run. Callers hold mu.
func (c *Cache) scheduleRetry(h *Handle) {
	if (h.kind != KindFile && h.kind != KindStored) || c.backends[h.kind] == nil {
		return
	}
	wait := retryMax
	if h.failures < 7 {
		wait = min(retryFirst<<h.failures, retryMax)
	}
	h.failures++
	h.retry = time.AfterFunc(wait, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.start(h)
	})
}

func (h *Handle) markTried() {
	if !h.attempted {
		h.attempted = true
		close(h.tried)
	}
}

func (h *Handle) attrs() []any {
	return []any{slog.String("resource", h.ref.ResourceName), slog.String("field", h.ref.Path), slog.String("kind", string(h.kind))}
}

// Handle returns the handle of a reference that the last Reconcile was given.
// For any other it returns one whose Value always fails: it is never nil.
func (c *Cache) Handle(ref Ref) *Handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.handles[ref.key()]; h != nil {
		return h
	}
	return newHandle(ref)
}

// WaitReady waits until every present handle has been tried once, or ctx ends.
// The error joins what is without a value then (CodeSecretUnavailable each);
// it is for the log: such handles go on trying.
func (c *Cache) WaitReady(ctx context.Context) error {
	c.mu.Lock()
	handles := make([]*Handle, 0, len(c.handles))
	for _, h := range c.handles {
		handles = append(handles, h)
	}
	c.mu.Unlock()
	slices.SortFunc(handles, func(a, b *Handle) int {
		return cmp.Or(cmp.Compare(a.ref.ResourceName, b.ref.ResourceName), cmp.Compare(a.ref.Path, b.ref.Path))
	})
	var errs []error
	for _, h := range handles {
		select {
		case <-h.tried:
		case <-ctx.Done():
		}
		if _, err := h.Value(); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return identity.Wrap(identity.CodeSecretUnavailable, err, fmt.Sprintf("%d of %d secrets cannot be read", len(errs), len(handles)))
	}
	return nil
}

// Status lists the present secrets by resource name and path.
func (c *Cache) Status() []Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Status, 0, len(c.handles))
	for _, h := range c.handles {
		s := Status{
			ResourceUID: h.ref.ResourceUID, ResourceName: h.ref.ResourceName, Path: h.ref.Path, Kind: h.kind,
			Ready: !h.fetchedAt.IsZero(), FetchedAt: h.fetchedAt,
		}
		if s.Ready {
			s.Age = c.clock().Sub(h.fetchedAt)
		}
		if h.lastErr != nil {
			s.LastError, s.Stale = h.lastErr.Error(), s.Ready
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.ResourceName, b.ResourceName), cmp.Compare(a.Path, b.Path))
	})
	return out
}

// Close ends all fetching and waits for it. Handles keep their last values.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	for _, h := range c.handles {
		h.drop()
	}
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
}
