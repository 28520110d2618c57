package keyring

import "time"

type counts struct {
	fetches, failures, refetches uint64
	lastSuccess                  time.Time
}

// Status of one provider's keys, for /readyz, metrics and explain.
type Status struct {
	UID, Name   string
	URL         string        // the discovery document, the key sets, or "inline"
	Keys        int           // usable now
	Age         time.Duration // since the set in use was asked for; 0 where there is none or it is inline
	LastSuccess time.Time     // of a fetch in this process; zero: none yet
	LastError   string        // of the last fetch; "" after a good one
	NextFetch   time.Time     // zero for inline keys
	Stale       bool          // the last fetch failed and an older set is in use
	Expired     bool          // there is no set, or it is older than StaleFor: tokens get 503
	Fetches     uint64        // attempts
	Failures    uint64        // of those
	Refetches   uint64        // of those, caused by tokens with an unknown kid
	Generation  uint64
	TrustedCA   string   // whom TLS to this provider trusts; "" before the first fetch
	Problems    []string // keys left out, and why
}

func (p *provider) status() Status {
	s, now := p.settings.Load(), p.ring.clock()
	set := p.set.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{
		UID: s.UID, Name: s.Name, URL: s.address(), LastSuccess: p.counts.lastSuccess, NextFetch: p.due,
		Fetches: p.counts.fetches, Failures: p.counts.failures, Refetches: p.counts.refetches, TrustedCA: p.trustedCA,
		Expired: !set.usable(now),
	}
	if !st.Expired {
		st.Keys, st.Generation = len(set.all), set.generation
	}
	if !set.goodUntil.IsZero() {
		st.Age = now.Sub(set.goodUntil.Add(-set.staleFor))
	}
	if p.failure != nil {
		st.LastError = p.failure.Error()
		st.Stale = !st.Expired && p.cancel != nil
	}
	for _, problem := range p.problems {
		st.Problems = append(st.Problems, problem.Error())
	}
	return st
}
