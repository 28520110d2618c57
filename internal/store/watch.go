package store

import (
	"sync"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// watchers wakes whoever waits for changes. A wake-up that nobody has taken
// yet stands for all that follow.
type watchers struct {
	mu   sync.Mutex
	next int
	all  map[int]chan struct{}
	// woken is the newest head that they were woken for. What is heard of it
	// again, from another process or by asking the database, wakes nobody.
	woken identity.Head
}

// Watch returns a channel that is ready after the revision has grown,
// in this process or, where the database is shared, in another, and a function that ends the watch. Wake-ups are coalesced; the
// first may be for a change that the caller has seen already. The channel is
// never closed.
func (db *Database) Watch() (<-chan struct{}, func()) {
	w := &db.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[int]chan struct{}{}
	}
	id, ch := w.next, make(chan struct{}, 1)
	w.next++
	w.all[id] = ch
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, id)
	}
}

// Wake wakes whoever watches, unless they were woken for this head already.
// Whoever hears of other processes' commits calls it.
func (db *Database) Wake(head identity.Head) { db.watch.wake(head) }

func (w *watchers) wake(head identity.Head) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if head.Epoch == w.woken.Epoch && head.Revision <= w.woken.Revision {
		return
	}
	w.woken = head
	for _, ch := range w.all {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
