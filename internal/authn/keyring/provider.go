package keyring

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn/jose"
)

const (
	fetchTimeout = 10 * time.Second
	fetchLimit   = 1 << 20
	askInterval  = 30 * time.Second // between fetches that tokens cause
	minRefresh   = time.Minute
	maxRefresh   = time.Hour
	maxWaiters   = 1024 // requests that wait for one fetch; each holds a connection
	maxUnknown   = 256  // kids remembered as unknown
)

// round is one fetch, and what waits for it.
type round struct {
	done  chan struct{}
	asked bool // a token caused it
}

type provider struct {
	ring     *Ring
	hash     string
	settings atomic.Pointer[Source] // trust fields never change; the others may
	set      atomic.Pointer[keySet]
	cancel   context.CancelFunc // nil for inline keys
	wake     chan struct{}

	mu        sync.Mutex
	retired   bool
	inflight  *round
	due       time.Time // of the next fetch
	dueAsked  bool      // that one is for tokens
	lastAsked time.Time
	attempted bool  // some fetch has ended
	failure   error // of the last fetch; nil after a good one
	waiters   int
	unknown   lru
	pending   lru // kids that came too soon after a fetch; the next one says whether they are unknown
	counts    counts
	problems  []error
	trustedCA string

	// What only run touches, after load.
	parts       []part
	jwksURL     string // from discovery
	caDigest    [32]byte
	client      *http.Client
	consecutive int // failures

	diskMu sync.Mutex // held while the copy on disk is written or removed
}

func newProvider(r *Ring, s Source, hash string) *provider {
	p := &provider{ring: r, hash: hash, wake: make(chan struct{}, 1), unknown: newLRU(maxUnknown), pending: newLRU(maxUnknown)}
	p.settings.Store(&s)
	return p
}

// load takes what is there without a network: inline keys and the copy on disk.
func (p *provider) load() {
	s := *p.settings.Load()
	now := p.ring.clock()
	if len(s.Inline) > 0 {
		keys, problems, err := jose.ParseKeySet(s.Inline)
		p.failure, p.problems = err, problems
		p.parts = append(p.parts, part{keys: keys})
	}
	if !s.static() {
		parts, jwksURL, err := p.ring.disk.load(s, p.hash, now)
		if err != nil {
			p.ring.log.Warn("the kept copy of a key set is not used", "provider", s.Name, "error", err)
		}
		p.parts, p.jwksURL = append(p.parts, parts...), jwksURL
	}
	p.publish(newKeySet(p.parts, now, s.staleFor()))
}

// publish keeps the generation where the keys are the same.
func (p *provider) publish(next *keySet) (changed bool) {
	if old := p.set.Load(); old != nil && old.identity == next.identity {
		next.generation = old.generation
	} else {
		next.generation, changed = p.ring.generations.Add(1), true
	}
	p.set.Store(next)
	return changed
}

// known is the hot path: no lock, no allocation.
func (p *provider) known(kid string) (Result, bool) {
	set := p.set.Load()
	if !set.usable(p.ring.clock()) {
		return Result{}, false
	}
	keys := set.find(kid)
	return Result{Keys: keys, Generation: set.generation}, len(keys) > 0
}

// waitFor handles a kid that is not known, or a provider without keys.
func (p *provider) waitFor(ctx context.Context, kid string) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	// The first fetch joined may have begun before the key was published; then one more may be asked for.
	for range 2 {
		if found, ok := p.known(kid); ok {
			return found, nil
		}
		now := p.ring.clock()
		if p.retired || p.failure != nil || p.cancel == nil {
			// A failing provider is tried again by run, not by tokens.
			return Result{}, p.verdict(now)
		}
		joined := p.inflight != nil
		r := p.ask(now)
		if p.unknown.has(kid) {
			break
		}
		if r == nil {
			// The keys were read moments ago, and this kid was not looked for then: its key may be newer. We do not
			// ask again yet, which is our choice and not the token's fault.
			p.pending.add(kid)
			return Result{}, unavailable(p.settings.Load().Name, "its keys were read moments ago, without this one", max(p.due.Sub(now), time.Second))
		}
		if p.waiters >= maxWaiters {
			return Result{}, unavailable(p.settings.Load().Name, "too many requests wait for its keys", time.Second)
		}
		if err := p.wait(ctx, r); err != nil {
			return Result{}, unavailable(p.settings.Load().Name, "its keys did not come in time", time.Second)
		}
		if !joined {
			break
		}
	}
	if found, ok := p.known(kid); ok {
		return found, nil
	}
	err := p.verdict(p.ring.clock())
	if errors.Is(err, ErrUnknownKid) {
		p.unknown.add(kid)
	}
	return Result{}, err
}

// wait is called with mu held and returns with it held.
func (p *provider) wait(ctx context.Context, r *round) error {
	p.waiters++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.waiters--
	}()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask returns the fetch under way, or starts one if the last that tokens caused is 30 s ago. Otherwise it sees to one
// at that time, so that a key published a moment too late works then without anybody waiting, and returns nil.
func (p *provider) ask(now time.Time) *round {
	if p.inflight != nil {
		return p.inflight
	}
	if p.lastAsked.IsZero() || now.Sub(p.lastAsked) >= askInterval {
		p.begin(now, true)
		p.wakeUp()
		return p.inflight
	}
	if at := p.lastAsked.Add(askInterval); at.Before(p.due) {
		p.due, p.dueAsked = at, true
		p.wakeUp()
	}
	return nil
}

func (p *provider) begin(now time.Time, asked bool) {
	p.inflight = &round{done: make(chan struct{}), asked: asked}
	if asked {
		p.lastAsked = now
	}
	if asked && p.failure == nil {
		p.counts.refetches++
	}
}

func (p *provider) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// verdict on a kid that is not in the set: our trouble or the token's? Called with mu held.
func (p *provider) verdict(now time.Time) error {
	s := p.settings.Load()
	retry := max(p.due.Sub(now), time.Second)
	switch {
	case p.retired:
		return unavailable(s.Name, "the provider has just been changed", time.Second)
	case p.failure != nil && p.cancel == nil:
		return unavailable(s.Name, "its inline keys cannot be read: "+p.failure.Error(), time.Minute)
	case p.failure != nil:
		return unavailable(s.Name, p.failure.Error(), retry)
	case !p.attempted && p.cancel != nil:
		return unavailable(s.Name, "its keys have not been fetched yet", time.Second)
	case !p.set.Load().usable(now):
		return unavailable(s.Name, "it publishes no usable key", min(retry, askInterval))
	}
	return ErrUnknownKid
}

// run fetches when it is time and when somebody asks, until ctx ends. It is the only fetcher of this provider.
func (p *provider) run(ctx context.Context) {
	defer p.letGo()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := p.ring.clock()
		p.mu.Lock()
		if p.inflight == nil && !now.Before(p.due) {
			// What repeats a fetch that tokens may have caused counts as theirs, else a provider that fails and
			// recovers would pay twice. Without any key nobody's token is the reason.
			p.begin(now, p.dueAsked || p.failure != nil && len(p.set.Load().all) > 0)
		}
		r, wait := p.inflight, p.due.Sub(now)
		p.mu.Unlock()
		if r != nil {
			p.refresh(ctx, r)
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-p.wake:
		}
	}
}

// refresh does one fetch and makes its outcome count.
func (p *provider) refresh(ctx context.Context, r *round) {
	s := *p.settings.Load()
	// After a failure discovery is asked again: the key set may have moved.
	parts, err := p.fetchAll(ctx, s, r.asked && p.failure == nil)
	now := p.ring.clock()
	p.parts = parts
	set := newKeySet(parts, now, s.staleFor())

	p.mu.Lock()
	if p.retired || ctx.Err() != nil {
		p.mu.Unlock()
		return // letGo wakes the waiters
	}
	before := p.failure
	p.attempted, p.failure, p.inflight, p.dueAsked = true, err, nil, false
	p.problems = problemsOf(parts)
	p.counts.fetches++
	if err != nil {
		p.consecutive++
		p.counts.failures++
	} else {
		p.consecutive = 0
		p.counts.lastSuccess = now
		p.unknown.take(&p.pending)
		if old := p.set.Load(); old != nil {
			for kid := range old.byKid { // one that was taken away was looked for, by its absence
				if len(set.find(kid)) == 0 {
					p.unknown.add(kid)
				}
			}
		}
	}
	p.due = now.Add(p.pause(s, set))
	changed := p.publish(set)
	close(r.done)
	p.mu.Unlock()

	p.report(s, before, err, changed, set)
	if err == nil {
		p.save(s)
	}
}

// pause until the next fetch. While a provider with keys fails it is 30 s and a little more, never less: a token may
// have caused the fetch that failed. Without keys the first attempts come quickly, so that a provider which starts a
// moment later than we do is found at once.
func (p *provider) pause(s Source, set *keySet) time.Duration {
	if p.failure != nil {
		if len(set.all) == 0 && p.consecutive <= 5 {
			return jitter(time.Second << (p.consecutive - 1))
		}
		return askInterval + time.Duration(rand.Int64N(int64(askInterval/10)))
	}
	var shortest time.Duration
	for _, one := range p.parts {
		if one.maxAge > 0 && (shortest == 0 || one.maxAge < shortest) {
			shortest = one.maxAge
		}
	}
	return jitter(min(max(cmp.Or(shortest, s.refreshDefault()), minRefresh), maxRefresh))
}

// jitter spreads by ten percent either way, so that replicas do not arrive together.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(rand.Int64N(int64(d/5)))
}

func (p *provider) report(s Source, before, after error, changed bool, set *keySet) {
	switch {
	case after != nil && (before == nil || before.Error() != after.Error()):
		p.ring.log.Warn("identity provider's keys cannot be fetched", "provider", s.Name, "error", after, "keys_kept", len(set.all))
	case after == nil && before != nil:
		p.ring.log.Info("identity provider's keys are fetched again", "provider", s.Name, "keys", len(set.all))
	case changed:
		p.ring.log.Info("identity provider's key set changed", "provider", s.Name, "keys", len(set.all))
	}
}

// retire drops the provider: its keys, its fetching and its copy on disk. It waits for nothing but a local write.
func (p *provider) retire() {
	p.mu.Lock()
	p.retired = true
	p.mu.Unlock()
	p.set.Store(&keySet{})
	if p.cancel != nil {
		p.cancel()
	}
	p.diskMu.Lock()
	defer p.diskMu.Unlock()
	if err := p.ring.disk.remove(p.settings.Load().UID, p.hash); err != nil {
		p.ring.log.Warn("the kept copy of a dropped key set cannot be removed", "provider", p.settings.Load().Name, "error", err)
	}
}

// letGo ends what waits when run ends.
func (p *provider) letGo() {
	p.mu.Lock()
	p.retired = true
	if p.inflight != nil {
		close(p.inflight.done)
		p.inflight = nil
	}
	p.mu.Unlock()
	p.set.Store(&keySet{})
	p.closeClient()
}

// save keeps the set on disk, unless the provider was dropped meanwhile.
func (p *provider) save(s Source) {
	p.diskMu.Lock()
	defer p.diskMu.Unlock()
	p.mu.Lock()
	retired := p.retired
	p.mu.Unlock()
	if retired {
		return
	}
	if err := p.ring.disk.save(s, p.hash, p.jwksURL, p.parts); err != nil {
		p.ring.log.Warn("a key set cannot be kept on disk", "provider", s.Name, "error", err)
	}
}

func problemsOf(parts []part) (all []error) {
	for _, p := range parts {
		all = append(all, p.problems...)
	}
	return all
}
