package ledger

import (
	"context"
	"log/slog"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

const (
	writeTimeout = 30 * time.Second
	retryFirst   = 100 * time.Millisecond
	retryMax     = 10 * time.Second
)

// run writes batches until the ledger is closed and empty.
func (l *Ledger) run() {
	timer := time.NewTimer(l.interval)
	timer.Stop()
	for {
		c, wait, done := l.next()
		switch {
		case c != nil:
			l.write(c.records)
			l.release(c)
		case done:
			return
		case wait > 0:
			timer.Reset(wait)
			select {
			case <-l.wake:
				timer.Stop()
			case <-timer.C:
			}
		default:
			<-l.wake
		}
	}
}

// next takes the oldest batch that is due; or says how long until one is (zero:
// there are no records), or that everything is done.
func (l *Ledger) next() (c *chunk, wait time.Duration, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.ready) > 0:
		c = l.ready[0]
		l.ready[0] = nil
		l.ready = l.ready[1:]
	case l.tail != nil:
		if wait = l.interval - l.clock().Sub(l.tail.since); wait > 0 && !l.closed {
			// Never longer than the interval, even if the clock was set back.
			return nil, min(wait, l.interval), false
		}
		c, l.tail = l.tail, nil
	default:
		return nil, 0, l.closed
	}
	l.writing = c
	return c, 0, false
}

// release counts a batch out and keeps its memory for another.
func (l *Ledger) release(c *chunk) {
	n := len(c.records)
	clear(c.records) // lets go of the strings
	c.records = c.records[:0]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = nil
	l.queued -= n
	if len(l.free) < freeChunks {
		l.free = append(l.free, c)
	}
	l.makeRoom()
}

// write hands records to the sink until it takes them. What the sink can never
// take, and what is left when Close runs out of time, is dropped and counted.
func (l *Ledger) write(records []record.Request) {
	wait, away := retryFirst, false
	for {
		err := l.append(records)
		switch {
		case err == nil:
			l.count(func(s *Stats) { s.Written += uint64(len(records)) })
			if away {
				l.log.Info("request records are written again", slog.Uint64("dropped", l.Stats().Dropped))
			}
			return
		case l.ctx.Err() != nil:
			l.count(func(s *Stats) { s.Dropped += uint64(len(records)) })
			return
		case identity.CodeOf(err) == identity.CodeInvalidRequest && len(records) > 1:
			l.count(func(s *Stats) { s.Failures++ })
			half := len(records) / 2
			l.write(records[:half])
			l.write(records[half:])
			return
		case identity.CodeOf(err) == identity.CodeInvalidRequest:
			l.count(func(s *Stats) { s.Failures++; s.Dropped++ })
			l.log.Error("a request record cannot be written and was dropped", slog.String("request", records[0].ID), slog.String("error", err.Error()))
			return
		}
		l.count(func(s *Stats) { s.Failures++ })
		if !away {
			l.log.Warn("request records cannot be written, trying again", slog.String("error", err.Error()))
			away = true
		}
		pause(l.ctx, wait)
		wait = min(2*wait, retryMax)
	}
}

func (l *Ledger) append(records []record.Request) error {
	ctx, cancel := context.WithTimeout(l.ctx, writeTimeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.sink.AppendRequests(ctx, records)
}

func (l *Ledger) count(f func(*Stats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.stats)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
