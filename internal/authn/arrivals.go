package authn

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const (
	directoryTimeout   = 2 * time.Second
	arrivalsPerIssuer  = 8 // at once
	arrivalsRetryAfter = time.Second
)

// arrivals asks the directory once for each person, however many requests
// bring the same token at the same time, and for few people of an issuer at
// once, so that one issuer cannot keep the others waiting.
type arrivals struct {
	directory Directory

	mu      sync.Mutex
	flying  map[identity.IdentityKey]*arrival
	issuers map[string]int
}

type arrival struct {
	done chan struct{}
	uid  string
	head identity.Head
	err  error
}

func newArrivals(d Directory) *arrivals {
	return &arrivals{directory: d, flying: map[identity.IdentityKey]*arrival{}, issuers: map[string]int{}}
}

func (a *arrivals) ensure(ctx context.Context, who identity.Arrival) (string, identity.Head, error) {
	if a.directory == nil {
		return "", identity.Head{}, directoryAway(errors.New("no directory"))
	}
	a.mu.Lock()
	f, joined := a.flying[who.Key]
	if !joined {
		if a.issuers[who.Key.Issuer] >= arrivalsPerIssuer {
			a.mu.Unlock()
			return "", identity.Head{}, directoryAway(errors.New("too many people of this issuer arrive at once"))
		}
		f = &arrival{done: make(chan struct{})}
		a.flying[who.Key] = f
		a.issuers[who.Key.Issuer]++
	}
	a.mu.Unlock()
	if !joined {
		a.fly(ctx, who, f)
	}
	select {
	case <-f.done:
		return f.uid, f.head, f.err
	case <-ctx.Done():
		return "", identity.Head{}, directoryAway(ctx.Err())
	}
}

// fly asks in the first caller's goroutine, but not under its cancellation:
// others may wait for the answer.
func (a *arrivals) fly(ctx context.Context, who identity.Arrival, f *arrival) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), directoryTimeout)
	defer cancel()
	f.err = directoryAway(errors.New("the directory gave no answer")) // what others see if it panics
	defer func() {
		a.mu.Lock()
		delete(a.flying, who.Key)
		if a.issuers[who.Key.Issuer]--; a.issuers[who.Key.Issuer] == 0 {
			delete(a.issuers, who.Key.Issuer)
		}
		a.mu.Unlock()
		close(f.done)
	}()
	uid, head, err := a.directory.Ensure(ctx, who)
	switch identity.CodeOf(err) {
	case identity.CodeInternal, identity.CodeNotFound: // not found: the snapshot was a moment behind
		if err != nil {
			err = directoryAway(err)
		}
	}
	f.uid, f.head, f.err = uid, head, err
}

func sortedUnique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
