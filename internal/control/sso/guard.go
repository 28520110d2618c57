package sso

import (
	"container/list"
	"crypto/rand"
	"crypto/sha256"
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
// at a time: each takes 64 MiB. It has tallies of its own, into which nothing
// goes but passwords that were tried.
type guard struct {
	tries  *tally // passwords, by network
	denied *tally // audit entries about passwords that nobody looked at, by network
	all    *tally // both, by everybody: keys of ours alone, which nobody fills
	one    sync.Mutex
	memory uint32 // KiB
}

// tally bounds what strangers may do. What they fill it with pushes out what is
// oldest, and keeps nobody out.
type tally struct {
	mu     sync.Mutex
	counts map[string]*list.Element
	byAge  *list.List // of *count, the oldest first
}

type count struct {
	what  string
	n     int
	since time.Time
}

func newGuard() *guard {
	return &guard{tries: newTally(), denied: newTally(), all: newTally(), memory: argonMemory}
}

func newTally() *tally { return &tally{counts: map[string]*list.Element{}, byAge: list.New()} }

// allow reports whether something may be done once more: at most limit times in
// a quarter of an hour.
func (t *tally) allow(what string, limit int, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.find(what, now)
	if c == nil {
		if len(t.counts) >= maxCounts {
			t.drop(t.byAge.Front())
		}
		c = &count{what: what, since: now}
		t.counts[what] = t.byAge.PushBack(c)
	}
	c.n++
	return c.n <= limit
}

// spent reports whether a limit is used up, and counts nothing: where only what
// was refused counts, what is genuine goes on however much of it there is.
func (t *tally) spent(what string, limit int, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.find(what, now)
	return c != nil && c.n >= limit
}

// find forgets what is over, and returns what is left of a thing; nil for
// nothing.
func (t *tally) find(what string, now time.Time) *count {
	for oldest := t.byAge.Front(); oldest != nil && now.Sub(oldest.Value.(*count).since) >= window; oldest = t.byAge.Front() {
		t.drop(oldest)
	}
	if e := t.counts[what]; e != nil {
		return e.Value.(*count)
	}
	return nil
}

func (t *tally) drop(e *list.Element) {
	delete(t.counts, e.Value.(*count).what)
	t.byAge.Remove(e)
}

const (
	// triesPerNetwork and triesOfAll are how many passwords of the local
	// administrator are looked at. More of them are denied, and deniedPerNetwork
	// and deniedOfAll are how many of those are written down.
	triesPerNetwork  = 5
	triesOfAll       = 60
	deniedPerNetwork = 10
	deniedOfAll      = 240
)

// mayTry reports whether a password of this network is looked at.
func (g *guard) mayTry(network string, now time.Time) bool {
	const all = "passwords"
	return !g.all.spent(all, triesOfAll, now) && g.tries.allow(network, triesPerNetwork, now) && g.all.allow(all, triesOfAll, now)
}

// mayTellDenied reports whether it is written down that a password of this
// network was not looked at.
func (g *guard) mayTellDenied(network string, now time.Time) bool {
	return g.denied.allow(network, deniedPerNetwork, now) && g.all.allow("denied", deniedOfAll, now)
}

const (
	// refusedPerNetwork, refusedOfAll: what anybody can cause. refusedPerSubject,
	// vouchedPerNetwork: what takes an account at an identity provider.
	refusedPerNetwork = 30
	refusedOfAll      = 3000
	refusedPerSubject = 30
	vouchedPerNetwork = 300
)

// refusals bounds how many entries of the audit, which only grows, are caused by
// sign-ins that are refused. The log has all of them.
type refusals struct{ strangers, all, vouched, subjects *tally }

func newRefusals() *refusals {
	return &refusals{strangers: newTally(), all: newTally(), vouched: newTally(), subjects: newTally()}
}

// mayTell reports whether one more is written down. a is nil where no identity
// provider has said who it was.
func (t *refusals) mayTell(network string, a *Assertion, now time.Time) bool {
	if a == nil {
		return t.strangers.allow(network, refusedPerNetwork, now) && t.all.allow("all", refusedOfAll, now)
	}
	subject := sha256.Sum256([]byte(a.Issuer + "\x00" + a.Subject)) // a key of one length
	return t.subjects.allow(string(subject[:]), refusedPerSubject, now) && t.vouched.allow(network, vouchedPerNetwork, now)
}

// network is an address as strangers are counted by it: of IPv6 the /64, which
// is what one of them has.
func network(addr string) string {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return addr
	}
	if a = a.Unmap(); !a.Is6() {
		return a.String()
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
