package sso

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
)

const (
	window    = 15 * time.Minute
	maxCounts = 10_000

	// Argon2id as RFC 9106, 4 recommends where memory is constrained.
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 4
	argonKey     = 32
	argonSalt    = 16
)

// guard bounds what may be tried at the emergency door, and hashes one password
// at a time: each takes 64 MiB.
type guard struct {
	*tally
	one    sync.Mutex
	memory uint32 // KiB
}

// tally bounds what strangers may do.
type tally struct {
	mu     sync.Mutex
	counts map[string]*count
}

type count struct {
	n     int
	since time.Time
}

func newGuard() *guard { return &guard{tally: newTally(), memory: argonMemory} }

func newTally() *tally { return &tally{counts: map[string]*count{}} }

// allow reports whether something may be tried once more: at most limit times
// in a quarter of an hour.
func (t *tally) allow(what string, limit int, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts[what]
	if c == nil || now.Sub(c.since) >= window {
		if c == nil && len(t.counts) >= maxCounts {
			for k, old := range t.counts {
				if now.Sub(old.since) >= window {
					delete(t.counts, k)
				}
			}
			if len(t.counts) >= maxCounts {
				return false
			}
		}
		c = &count{since: now}
		t.counts[what] = c
	}
	c.n++
	return c.n <= limit
}

// spent reports whether a limit is used up, and counts nothing: where only what
// was refused counts, what is genuine goes on however much of it there is.
func (t *tally) spent(what string, limit int, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts[what]
	return c != nil && now.Sub(c.since) < window && c.n >= limit
}

// network is an address as strangers are counted by it: of IPv6 the /64, which
// is what one of them has.
func network(addr string) string {
	a, err := netip.ParseAddr(addr)
	if err != nil || !a.Is6() {
		return addr
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return addr
	}
	return p.String()
}

func tooMany() *Failure {
	return &Failure{Status: http.StatusTooManyRequests, Reason: "too_many_tries", Title: "Too many tries", Text: "Wait a quarter of an hour and try again."}
}

// hash returns a password's hash in the usual text form of argon2id.
func (g *guard) hash(password string) string {
	salt := make([]byte, argonSalt)
	rand.Read(salt)
	key := g.derive(password, salt)
	enc := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, g.memory, argonTime, argonThreads, enc(salt), enc(key))
}

func (g *guard) derive(password string, salt []byte) []byte {
	g.one.Lock()
	defer g.one.Unlock()
	return argon2.IDKey([]byte(password), salt, argonTime, g.memory, argonThreads, argonKey)
}

// verify compares a password with a hash. One with other parameters than ours
// verifies nothing; nobody else writes them.
func (g *guard) verify(password, hash string) bool {
	prefix := fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, g.memory, argonTime, argonThreads)
	rest, ok := strings.CutPrefix(hash, prefix)
	saltText, keyText, cut := strings.Cut(rest, "$")
	salt, err1 := base64.RawStdEncoding.DecodeString(saltText)
	want, err2 := base64.RawStdEncoding.DecodeString(keyText)
	if !ok || !cut || err1 != nil || err2 != nil || len(want) != argonKey || len(password) > maxPassword {
		return false
	}
	return subtle.ConstantTimeCompare(g.derive(password, salt), want) == 1
}
