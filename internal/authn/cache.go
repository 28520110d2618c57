package authn

import (
	"crypto/sha256"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/maypok86/otter/v2"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// cacheFor is the longest that a verified token is believed without being
// verified again.
const cacheFor = 5 * time.Minute

// cache keeps verified tokens. The key is the SHA-256 of the whole token; the
// provider that verified it stands in the value and is compared on every use.
type cache struct {
	tokens *otter.Cache[[sha256.Size]byte, *verified]
}

func newCache(size int) *cache {
	return &cache{tokens: otter.Must(&otter.Options[[sha256.Size]byte, *verified]{MaximumSize: size})}
}

// tokenKey hashes a token without copying it.
func tokenKey(token string) [sha256.Size]byte {
	return sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token)))
}

// verified is a token whose signature and claims one provider has accepted.
// What it means under a configuration is kept in meaning.
type verified struct {
	provider   string // name
	uid        string
	version    string // of the provider's resource
	issuer     string // the token's iss
	thumbprint string
	payload    string // the claims as they were signed
	expires    time.Time
	skew       time.Duration
	until      time.Time // when the token, sent again, must be verified again
	grant      *identity.Grant
	meaning    atomic.Pointer[meaning]
}

// meaning is what a verified token says under one configuration, and who it is
// for one state of the person.
type meaning struct {
	config    uint64
	facts     *facts
	user      *snapshot.User
	userUntil time.Time // zero: does not end
	principal *identity.Principal
}

// expired reports whether the token's own time is over.
func (v *verified) expired(now time.Time) bool { return !now.Before(v.expires.Add(v.skew)) }

// trusted reports whether the entry may still be believed as long as the token
// lives: the provider is as it was and may still judge it, the key is there.
func (v *verified) trusted(s *snapshot.Snapshot, keys Keys) (*snapshot.Provider, bool) {
	p, ok := s.Provider(v.provider)
	if !ok || p.UID != v.uid || p.Version != v.version || !slices.Contains(s.Candidates(v.issuer), p) {
		return nil, false
	}
	return p, keys.Alive(v.uid, v.thumbprint)
}
