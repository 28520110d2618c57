package snapshot

import "hash/maphash"

const mapShards = 256

// sharded is a map that is copied one small part at a time: a snapshot's is
// never changed, a Builder's shares every part that the change leaves alone.
type sharded[K comparable, V any] struct {
	parts [mapShards]map[K]V
	owned [mapShards]bool // parts that this builder has copied already
	seed  *maphash.Seed
	count int
}

func newSharded[K comparable, V any]() *sharded[K, V] {
	seed := maphash.MakeSeed()
	return &sharded[K, V]{seed: &seed}
}

func (m *sharded[K, V]) part(k K) int { return int(maphash.Comparable(*m.seed, k) % mapShards) }

func (m *sharded[K, V]) get(k K) (V, bool) {
	v, ok := m.parts[m.part(k)][k]
	return v, ok
}

// fork returns a map that can be changed without this one noticing.
func (m *sharded[K, V]) fork() *sharded[K, V] {
	return &sharded[K, V]{parts: m.parts, seed: m.seed, count: m.count}
}

func (m *sharded[K, V]) own(i int) map[K]V {
	if m.owned[i] {
		return m.parts[i]
	}
	c := make(map[K]V, len(m.parts[i])+1)
	for k, v := range m.parts[i] {
		c[k] = v
	}
	m.parts[i], m.owned[i] = c, true
	return c
}

func (m *sharded[K, V]) set(k K, v V) {
	p := m.own(m.part(k))
	if _, ok := p[k]; !ok {
		m.count++
	}
	p[k] = v
}

func (m *sharded[K, V]) remove(k K) {
	i := m.part(k)
	if _, ok := m.parts[i][k]; !ok {
		return
	}
	delete(m.own(i), k)
	m.count--
}

// seal forgets what was owned, so that nothing changes the map any more.
func (m *sharded[K, V]) seal() { m.owned = [mapShards]bool{} }

func (m *sharded[K, V]) each(yield func(K, V) bool) {
	for _, p := range m.parts {
		for k, v := range p {
			if !yield(k, v) {
				return
			}
		}
	}
}
