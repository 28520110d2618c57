package postgres

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-ai/gatehouse/internal/store"
)

// channel is where commits are told.
const channel = "gatehouse_head"

const (
	// firstBackoff and longestBackoff are between two attempts to listen. Polling
	// goes on meanwhile.
	firstBackoff   = 100 * time.Millisecond
	longestBackoff = 5 * time.Second
	// quietFor is how long nothing may be heard before the server is asked
	// whether it is there.
	quietFor = 15 * time.Second
)

// follower hears of the other replicas' commits.
type follower struct {
	db      *store.Database
	cfg     *pgx.ConnConfig
	log     *slog.Logger
	poll    time.Duration
	stop    context.CancelFunc
	running sync.WaitGroup
}

// follow begins. Only close ends it.
func follow(ctx context.Context, db *store.Database, cfg *pgx.ConnConfig, o Options) *follower {
	f := &follower{db: db, cfg: session(cfg, map[string]string{"application_name": "gatehouse-listen"}), log: o.Log, poll: o.Poll}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	f.running.Go(func() { f.look(run) })
	if !o.NoNotify {
		f.running.Go(func() { f.listen(run) })
	}
	return f
}

func (f *follower) close() {
	f.stop()
	f.running.Wait()
}

// look polls the revision, so that a revocation holds whatever becomes of
// NOTIFY. That the database is away is no news here: whoever needs it says so.
func (f *follower) look(ctx context.Context) {
	tick := time.NewTicker(f.poll)
	defer tick.Stop()
	for {
		if head, err := f.db.Head(ctx); err == nil {
			f.db.Wake(head)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// listen holds a connection of its own and comes back after a failure.
func (f *follower) listen(ctx context.Context) {
	wait, told := firstBackoff, false
	for {
		heard, err := f.hear(ctx)
		if ctx.Err() != nil {
			return
		}
		if heard {
			wait, told = firstBackoff, false
		}
		if !told {
			f.log.Warn("other replicas' changes are found by polling: the connection that listens for them failed", "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, longestBackoff)
	}
}

// hear connects, listens and wakes until something fails. heard says that it
// came to listening.
func (f *follower) hear(ctx context.Context) (heard bool, err error) {
	begin, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	conn, err := pgx.ConnectConfig(begin, f.cfg)
	if err != nil {
		return false, err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(end)
	}()
	if _, err := conn.Exec(begin, `LISTEN `+channel); err != nil {
		return false, err
	}
	// What was told before is not heard any more.
	if head, err := f.db.Head(ctx); err == nil {
		f.db.Wake(head)
	}
	for {
		payload, err := notification(ctx, conn)
		if err != nil {
			return true, err
		}
		if head, ok := store.ParseHead(payload); ok {
			f.db.Wake(head)
		}
	}
}

// notification waits for one, and asks now and then whether the server is still
// there: one that has left the network says nothing. "" is none.
func notification(ctx context.Context, conn *pgx.Conn) (payload string, err error) {
	quiet, cancel := context.WithTimeout(ctx, quietFor)
	defer cancel()
	n, err := conn.WaitForNotification(quiet)
	switch {
	case err == nil:
		return n.Payload, nil
	case quiet.Err() == nil || ctx.Err() != nil:
		return "", err
	}
	ask, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return "", conn.Ping(ask)
}
