package snapshot

import (
	"slices"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// farFuture is a time at which every grant that ends has ended.
var farFuture = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Entry is one role of one subject on a resource.
type Entry struct {
	// Subject is the subject's number; Permissions is what the role holds.
	Subject     uint32
	Permissions identity.PermissionSet
	// Expires is Unix seconds; 0 is never.
	Expires int64
	// Who, Role and Source are for explain: the subject, the role's name and
	// the resource that says so (role-binding:x, provider-account:y).
	Who    identity.Subject
	Role   string
	Source string
}

// Target is something that a decision can be about, with everybody who has a
// role on it and the resource above it.
type Target struct {
	Ref identity.ResourceRef
	// Entries are sorted by subject.
	Entries []Entry
	// Narrowed: what was granted above counts for managers only.
	Narrowed bool
	// Above is the parent; nil for the tenant.
	Above *Target
	// Model is set for models.
	Model *Model
}

// Each calls yield for every entry of a subject among ids (sorted) until it
// returns false. It allocates nothing, and its cost grows with the shorter of
// the two lists.
func (t *Target) Each(ids []uint32, yield func(*Entry) bool) {
	e := t.Entries
	switch {
	case len(ids) == 0 || len(e) == 0:
	case len(ids) > 8*len(e):
		for i := range e {
			if _, ok := slices.BinarySearch(ids, e[i].Subject); ok && !yield(&e[i]) {
				return
			}
		}
	case len(e) > 8*len(ids):
		for _, id := range ids {
			i, _ := slices.BinarySearchFunc(e, id, compareEntry)
			for ; i < len(e) && e[i].Subject == id; i++ {
				if !yield(&e[i]) {
					return
				}
			}
		}
	default:
		i := 0
		for j := range e {
			for i < len(ids) && ids[i] < e[j].Subject {
				i++
			}
			if i == len(ids) {
				return
			}
			if ids[i] == e[j].Subject && !yield(&e[j]) {
				return
			}
		}
	}
}

func compareEntry(e Entry, id uint32) int {
	switch {
	case e.Subject < id:
		return -1
	case e.Subject > id:
		return 1
	default:
		return 0
	}
}

// grants reports whether one of the subjects has a permission on this very
// target, whatever stands above it.
func (t *Target) grants(ids []uint32, perm identity.Permission, now time.Time) bool {
	found := false
	t.Each(ids, func(e *Entry) bool {
		found = e.Permissions.Has(perm) && (e.Expires == 0 || now.Unix() < e.Expires)
		return !found
	})
	return found
}

func (t *Target) sort() {
	slices.SortStableFunc(t.Entries, func(a, b Entry) int { return compareEntry(a, b.Subject) })
}

// Targets walks over everything on which somebody has a role, in no order; for
// tests and reports.
func (s *Snapshot) Targets(yield func(*Target) bool) {
	if !yield(s.cfg.tenant) {
		return
	}
	for _, t := range s.cfg.targets {
		if !yield(t) {
			return
		}
	}
}

// Tenant is the installation itself.
func (s *Snapshot) Tenant() *Target { return s.cfg.tenant }

// Target returns what a reference names. One that is not there stands directly
// under the tenant, so that an administrator may ask about it and nobody else
// learns whether it exists.
func (s *Snapshot) Target(ref identity.ResourceRef) *Target {
	if ref == identity.Tenant {
		return s.cfg.tenant
	}
	if t, ok := s.cfg.targets[ref]; ok {
		return t
	}
	return &Target{Ref: ref, Above: s.cfg.tenant}
}
