package store

import "sync"

// watchers wakes whoever waits for changes. A wake-up that nobody has taken
// yet stands for all that follow.
type watchers struct {
	mu   sync.Mutex
	next int
	all  map[int]chan struct{}
}

// Watch returns a channel that is ready after the revision has grown in this
// process, and a function that ends the watch. Wake-ups are coalesced; the
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

func (w *watchers) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.all {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
