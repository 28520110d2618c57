package keyring

import (
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn/jose"
)

// part is what one address (or the manifest: url "") last gave.
type part struct {
	url      string
	fetched  time.Time // zero for inline keys, which do not age
	document []byte
	keys     []jose.Key
	problems []error
	maxAge   time.Duration // of the answer; 0 where it said nothing
}

// keySet is everything a look-up needs. It is immutable.
type keySet struct {
	byKid       map[string][]*jose.Key
	all         []*jose.Key
	thumbprints map[string]bool
	goodUntil   time.Time // zero: for ever
	staleFor    time.Duration
	generation  uint64
	identity    string // equal for equal sets
}

// usable is false for no set, an empty one, and one older than StaleFor.
func (s *keySet) usable(now time.Time) bool {
	return s != nil && len(s.all) > 0 && (s.goodUntil.IsZero() || now.Before(s.goodUntil))
}

// find returns the keys for a kid, or all of them for a token without one. A key without kid is a candidate only for
// tokens without kid: otherwise an unknown kid would never be recognised as unknown.
func (s *keySet) find(kid string) []*jose.Key {
	if kid == "" {
		return s.all
	}
	return s.byKid[kid]
}

// newKeySet merges the parts that are not too old. The set is good until the youngest part is too old; the parts that
// age before it are dropped at the next fetch, which comes within 33 s while a fetch fails.
func newKeySet(parts []part, now time.Time, staleFor time.Duration) *keySet {
	s := &keySet{staleFor: staleFor, byKid: map[string][]*jose.Key{}, thumbprints: map[string]bool{}}
	forever := false
	var lines []string
	for _, p := range parts {
		if until := p.fetched.Add(staleFor); p.fetched.IsZero() {
			forever = true
		} else if !now.Before(until) {
			continue
		} else if until.After(s.goodUntil) {
			s.goodUntil = until
		}
		for i := range p.keys {
			k := &p.keys[i]
			line := k.Kid + "\x00" + k.Alg + "\x00" + k.Thumbprint
			if slices.Contains(lines, line) {
				continue
			}
			lines = append(lines, line)
			s.all = append(s.all, k)
			s.thumbprints[k.Thumbprint] = true
			if k.Kid != "" {
				s.byKid[k.Kid] = append(s.byKid[k.Kid], k)
			}
		}
	}
	if forever {
		s.goodUntil = time.Time{}
	}
	slices.Sort(lines)
	s.identity = strings.Join(lines, "\x01")
	return s
}
