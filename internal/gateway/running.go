package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

const (
	runningShards = 16
	// watchEvery is how late a limit in time may strike.
	watchEvery = 250 * time.Millisecond
)

// What a running call is waiting for.
const (
	phaseWaiting uint32 = iota + 1 // for the answer to begin
	phaseReading                   // for more of the answer
)

// running lists the calls that are on their way to or from a provider, so that
// they can be decided again and limited in time. One goroutine watches all of
// them: a timer for each would cost more than the call's own bookkeeping.
type running struct {
	shards [runningShards]runningShard
	next   atomic.Uint32
}

type runningShard struct {
	mu    sync.Mutex
	first *Exchange
	count int
}

func (r *running) add(e *Exchange) {
	s := &r.shards[r.next.Add(1)%runningShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	e.shard, e.after = s, s.first
	if s.first != nil {
		s.first.before = e
	}
	s.first = e
	s.count++
}

// remove does nothing for an exchange that is not in the list.
func (r *running) remove(e *Exchange) {
	s := e.shard
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.before != nil {
		e.before.after = e.after
	} else {
		s.first = e.after
	}
	if e.after != nil {
		e.after.before = e.before
	}
	e.before, e.after, e.shard = nil, nil, nil
	s.count--
}

// each calls f for every running call. f must not wait.
func (r *running) each(f func(*Exchange)) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for e := s.first; e != nil; e = e.after {
			f(e)
		}
		s.mu.Unlock()
	}
}

func (r *running) count() int {
	n := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		n += s.count
		s.mu.Unlock()
	}
	return n
}

// enlist makes the exchange one of the running. A snapshot that was announced
// between its decision and this moment is taken into account here: Reconcile
// sets latest first and walks the list then.
func (e *Exchange) enlist() {
	if end := e.caller.Grant.ExpiresAt; !end.IsZero() {
		e.limit = int64(time.Since(e.g.base) + end.Sub(e.at) + e.g.opt.MaxStream)
	}
	e.g.running.add(e)
	if s := e.g.latest.Load(); s != nil && s != e.snap {
		e.decideAgain(s)
	}
}

// arm sets how long the present phase may take.
func (e *Exchange) arm(phase uint32, d time.Duration) {
	e.phase.Store(phase)
	e.deadline.Store(int64(time.Since(e.g.base) + d))
}

func (e *Exchange) disarm() { e.deadline.Store(0) }

// watch cuts the calls whose time is up.
func (g *Gateway) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := int64(time.Since(g.base))
			g.running.each(func(e *Exchange) { e.expire(now) })
		}
	}
}

func (e *Exchange) expire(now int64) {
	if d := e.deadline.Load(); d != 0 && now >= d {
		message := "the provider did not begin to answer in time"
		if e.phase.Load() == phaseReading {
			message = "the provider was silent for too long in the middle of its answer"
		}
		e.ctx.cut(identity.Errorf(identity.CodeUpstreamTimeout, "%s", message))
	}
	if e.limit != 0 && now >= e.limit {
		e.ctx.cut(identity.Errorf(identity.CodeInvalidToken, "the credential of this call has expired"))
	}
}

// decideAgain cuts a running call that a newer snapshot does not permit any
// more. It may run in any goroutine.
func (e *Exchange) decideAgain(s *snapshot.Snapshot) {
	if err := e.stillPermitted(s); err != nil {
		e.ctx.cut(codedError(err))
	}
}

func (e *Exchange) stillPermitted(s *snapshot.Snapshot) error {
	account, name := e.rec.Account, e.rec.Model
	if e.g.recheck == nil {
		// Numbers of subjects do not compare between snapshots, so without
		// the caller found anew there is only the model to look at.
		if m, ok := s.Model(account, name); !ok || !m.Enabled() {
			return notPermitted("the model is gone")
		}
		return nil
	}
	who, err := e.g.recheck.Recheck(s, e.caller)
	if err != nil {
		return err
	}
	if who.Principal == nil || who.Grant == nil || !who.Grant.AllowsAddress(e.addr) {
		return identity.Errorf(identity.CodeInvalidToken, "the credential of this call is not valid any more")
	}
	return e.decided(s, &who, account, name)
}

func (e *Exchange) decided(s *snapshot.Snapshot, who *authn.Caller, account, name string) error {
	m, err := e.permitted(s, who, account, name)
	if err != nil {
		return err
	}
	return e.reaches(who, m.Account)
}
