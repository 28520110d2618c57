package audit

import (
	"sync"
	"time"
)

const (
	// RefusalsPerMinute is how many refusals of one caller are written one by one.
	// What comes on top is counted, and the next entry tells how many: the audit
	// only grows, and somebody who may do nothing must not be able to fill it, or
	// to keep the database's one writer busy.
	RefusalsPerMinute = 60
	// refusalCallers is of how many callers the counts are kept.
	refusalCallers = 10_000
)

// Refusals counts, by caller, what was refused. The zero value is ready.
type Refusals struct {
	mu       sync.Mutex
	byCaller map[string]*refusals
}

type refusals struct {
	since time.Time
	// told counts since then; untold, since the last entry.
	told, untold int
}

// Admit reports whether a refusal is to be written, and how many of the same
// caller were not since the last one that was.
func (f *Refusals) Admit(caller string, now time.Time) (untold int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.of(caller, now)
	if now.Sub(r.since) >= time.Minute {
		r.since, r.told = now, 0
	}
	if r.told == RefusalsPerMinute {
		r.untold++
		return 0, false
	}
	r.told++
	untold, r.untold = r.untold, 0
	return untold, true
}

// Missed counts those that were admitted and could not be written.
func (f *Refusals) Missed(caller string, n int, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of(caller, now).untold += n
}

func (f *Refusals) of(caller string, now time.Time) *refusals {
	r := f.byCaller[caller]
	if r == nil {
		if f.byCaller == nil || len(f.byCaller) >= refusalCallers {
			f.byCaller = map[string]*refusals{}
		}
		r = &refusals{since: now}
		f.byCaller[caller] = r
	}
	return r
}
