package keyring

import (
	"container/list"
	"crypto/sha256"
)

// lru remembers kids by digest: a kid may be 2 KiB of an attacker's choice, and a digest that collides does not exist.
type lru struct {
	limit int
	order *list.List
	where map[[32]byte]*list.Element
}

func newLRU(limit int) lru {
	return lru{limit: limit, order: list.New(), where: map[[32]byte]*list.Element{}}
}

func (l *lru) has(kid string) bool {
	e, ok := l.where[sha256.Sum256([]byte(kid))]
	if ok {
		l.order.MoveToFront(e)
	}
	return ok
}

func (l *lru) add(kid string) { l.put(sha256.Sum256([]byte(kid))) }

// take moves everything that another remembers here.
func (l *lru) take(from *lru) {
	for e := from.order.Back(); e != nil; e = e.Prev() {
		l.put(e.Value.([32]byte))
	}
	*from = newLRU(from.limit)
}

func (l *lru) put(digest [32]byte) {
	if e, ok := l.where[digest]; ok {
		l.order.MoveToFront(e)
		return
	}
	l.where[digest] = l.order.PushFront(digest)
	if l.order.Len() > l.limit {
		last := l.order.Back()
		delete(l.where, l.order.Remove(last).([32]byte))
	}
}
