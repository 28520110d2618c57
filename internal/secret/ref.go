package secret

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Kind is the form of a secret value.
type Kind string

// The kinds; KindNone is a value that uses no form, or several.
const (
	KindNone   Kind = "none"
	KindValue  Kind = "value"
	KindStored Kind = "stored"
	KindEnv    Kind = "env"
	KindFile   Kind = "file"
	KindStore  Kind = "store"
)

// KindOf returns the form that v uses.
func KindOf(v v1.SecretValue) Kind {
	kind, forms := KindNone, 0
	for _, f := range []struct {
		set  bool
		kind Kind
	}{
		{v.Value != "", KindValue},
		{v.Stored, KindStored},
		{v.Env != "", KindEnv},
		{v.File != "", KindFile},
		{v.Store != "", KindStore},
	} {
		if f.set {
			kind, forms = f.kind, forms+1
		}
	}
	if forms != 1 {
		return KindNone
	}
	return kind
}

// Ref is a secret value where it stands: a field of a resource.
type Ref struct {
	// ResourceUID and Path identify the place; ResourceName is for people.
	ResourceUID  string
	ResourceName string
	// Path is the field: spec.credentials.apiKey.
	Path string
	// Manager is who wrote the resource (v1.Metadata.Manager). It decides which
	// references are allowed, so it is never left out: empty is nobody's.
	Manager string
	// Value is the secret or where it is. For a stored value its Digest says
	// which one; another digest is another secret.
	Value v1.SecretValue
	// Within is set by Cache for the file backend: the directory that the file
	// must not leave, also not through links; empty for a file that the
	// operator named.
	Within string
}

// Backend fetches values of one kind. Errors must not contain the value.
type Backend interface {
	Fetch(ctx context.Context, ref Ref) (string, error)
}

// Watcher is a backend that notices changes by itself. Watch replaces the set
// of watched files; changed is called from the backend's goroutine with the
// file of a reference that should be fetched again.
type Watcher interface {
	Watch(files []string, changed func(file string))
}

// key identifies a handle: the place, and everything on which its value or the
// right to read it depends.
type key struct {
	uid, path string
	sum       [sha256.Size]byte
}

func (r Ref) key() key {
	h := sha256.New()
	for _, s := range []string{
		r.Manager, r.Value.Value.Reveal(), r.Value.Digest, r.Value.Env, r.Value.File, r.Value.Store, r.Value.Path, r.Value.Key,
	} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	if r.Value.Stored {
		h.Write([]byte{1})
	}
	k := key{uid: r.ResourceUID, path: r.Path}
	h.Sum(k.sum[:0])
	return k
}

// Handle is a secret in use. It is safe for concurrent use, and stays valid
// (with its last value) after Cache has let go of it, so that requests under
// an older snapshot finish.
type Handle struct {
	ref  Ref
	kind Kind
	cur  atomic.Pointer[result]
	// tried is closed when the first attempt to fetch has ended.
	tried chan struct{}

	// The rest is guarded by Cache.mu.
	inflight, again, dropped bool
	attempted                bool
	failures                 int
	retry                    *time.Timer
	fetchedAt                time.Time
	lastErr                  error
}

// result is what Value returns; immutable.
type result struct {
	value string
	err   error
}

// Value returns the secret. It is one atomic load and never waits. Until the
// first fetch succeeds the error has CodeSecretUnavailable; afterwards there
// is none, however old the value is (see Status).
func (h *Handle) Value() (string, error) {
	r := h.cur.Load()
	return r.value, r.err
}

// Format keeps fmt from walking into the handle: it does not ask the types of
// unexported fields how they want to be printed.
func (h *Handle) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// newHandle returns a handle without a value.
func newHandle(ref Ref) *Handle {
	h := &Handle{ref: ref, kind: KindOf(ref.Value), tried: make(chan struct{})}
	h.cur.Store(&result{err: h.unavailable(nil, "not fetched yet")})
	return h
}

// unavailable is the caller's error; what it names is for the operator only.
func (h *Handle) unavailable(cause error, detail string) error {
	return &identity.Error{
		Code:       identity.CodeSecretUnavailable,
		Message:    "a secret that this needs cannot be read at present; the operator finds the reason in the log",
		Detail:     h.ref.ResourceName + " " + h.ref.Path + " (" + string(h.kind) + "): " + detail,
		RetryAfter: time.Second,
		Err:        cause,
	}
}

// Status describes a handle for operators: never the value.
type Status struct {
	ResourceUID  string
	ResourceName string
	Path         string
	Kind         Kind
	// Ready: there is a value. Stale: there is one, but the last attempt to
	// fetch it again failed.
	Ready, Stale bool
	// FetchedAt is when the value was last fetched, Age the time since; both
	// zero where there is none. env and stored values are fetched once: their
	// age means nothing unless Stale.
	FetchedAt time.Time
	Age       time.Duration
	// LastError is empty after a success.
	LastError string
}
