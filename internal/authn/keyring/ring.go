package keyring

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn/jose"
)

// Options of a Ring.
type Options struct {
	Clock func() time.Time // default time.Now
	Dir   string           // where sets are kept over a restart (0700, files 0600); "" keeps none
	Log   *slog.Logger     // default: discard
	// Transport replaces the transport that is made for a provider; for tests.
	Transport func(Source) http.RoundTripper
}

// Ring holds the key sets. Safe for concurrent use.
type Ring struct {
	clock     func() time.Time
	disk      disk
	log       *slog.Logger
	transport func(Source) http.RoundTripper

	providers   atomic.Pointer[map[string]*provider]
	generations atomic.Uint64

	mu     sync.Mutex // Reconcile and Close
	closed bool
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Result of a look-up: the keys to try. The slice is shared and must not be changed.
type Result struct {
	Keys []*jose.Key
	// Generation of the set that the keys are from.
	Generation uint64
}

// New returns an empty ring. Its owner calls Close.
func New(o Options) *Ring {
	r := &Ring{clock: o.Clock, disk: disk{dir: o.Dir}, log: o.Log, transport: o.Transport}
	if r.clock == nil {
		r.clock = time.Now
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.providers.Store(&map[string]*provider{})
	return r
}

// Reconcile makes the ring serve exactly these sources. A source whose Hash is unchanged keeps its keys; one whose
// trust changed starts with none, and the old keys and their copy on disk are gone; one that is no longer named is
// dropped. Nothing here waits for the network: fetching starts in the background.
func (r *Ring) Reconcile(sources []Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	old := *r.providers.Load()
	next := make(map[string]*provider, len(sources))
	for _, s := range sources {
		s, hash := s.clone(), s.Hash()
		if p := old[s.UID]; p != nil && p.hash == hash {
			p.settings.Store(&s)
			next[s.UID] = p
			continue
		}
		next[s.UID] = r.start(s, hash)
	}
	r.providers.Store(&next)
	for uid, p := range old {
		if next[uid] != p {
			p.retire()
		}
	}
}

func (r *Ring) start(s Source, hash string) *provider {
	p := newProvider(r, s, hash)
	p.load()
	if !s.static() {
		ctx, cancel := context.WithCancel(r.ctx)
		p.cancel = cancel
		// The first fetch is nobody's refetch, even if a token is faster than the goroutine.
		p.begin(r.clock(), false)
		r.wg.Go(func() { p.run(ctx) })
	}
	return p
}

// Lookup returns the keys that may have signed a token with this kid; "" is a token without one, for which all keys of
// the provider are candidates. A kid that is not known waits for one shared refetch, at most 10 s and not longer than
// ctx. Errors: ErrUnknownKid, or an *UnavailableError (ErrUnavailable).
func (r *Ring) Lookup(ctx context.Context, uid, kid string) (Result, error) {
	p := (*r.providers.Load())[uid]
	if p == nil {
		return Result{}, unavailable(uid, "the provider is not set up here yet", time.Second)
	}
	if found, ok := p.known(kid); ok {
		return found, nil
	}
	return p.waitFor(ctx, kid)
}

// Peek is Lookup without a refetch, without waiting and without a trace: for explain.
func (r *Ring) Peek(uid, kid string) (Result, error) {
	p := (*r.providers.Load())[uid]
	if p == nil {
		return Result{}, unavailable(uid, "the provider is not set up here yet", time.Second)
	}
	if found, ok := p.known(kid); ok {
		return found, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return Result{}, p.verdict(r.clock())
}

// Alive reports whether a key may still be trusted: it is in the provider's current set and the set is not too old.
func (r *Ring) Alive(uid, thumbprint string) bool {
	p := (*r.providers.Load())[uid]
	if p == nil {
		return false
	}
	set := p.set.Load()
	return set.usable(r.clock()) && set.thumbprints[thumbprint]
}

// Generation changes whenever the provider's key set does; 0 means that it has none, or one that is too old.
func (r *Ring) Generation(uid string) uint64 {
	p := (*r.providers.Load())[uid]
	if p == nil {
		return 0
	}
	if set := p.set.Load(); set.usable(r.clock()) {
		return set.generation
	}
	return 0
}

// Status of every provider, by name.
func (r *Ring) Status() []Status {
	var all []Status
	for _, p := range *r.providers.Load() {
		all = append(all, p.status())
	}
	slices.SortFunc(all, func(a, b Status) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.UID, b.UID)
	})
	return all
}

// Close ends all fetching, lets waiters go with ErrUnavailable, and waits for the goroutines. Copies on disk stay.
func (r *Ring) Close() {
	r.mu.Lock()
	r.closed = true
	r.cancel()
	r.mu.Unlock()
	r.wg.Wait()
}
