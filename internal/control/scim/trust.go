package scim

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// Snapshots hold the present configuration.
type Snapshots interface{ Load() *snapshot.Snapshot }

// SnapshotTrust is Trust by what is configured. Without a configuration a
// directory may take nothing.
type SnapshotTrust struct {
	snapshots Snapshots
	now       func() time.Time
}

// TrustOf returns the trust that follows from the present configuration.
func TrustOf(snapshots Snapshots, now func() time.Time) *SnapshotTrust {
	return &SnapshotTrust{snapshots: snapshots, now: now}
}

// MayAdopt keeps a directory from becoming a tenant admin: by taking one over, by
// giving one another's address, or by giving somebody the address or user name
// that a binding names.
func (d *SnapshotTrust) MayAdopt(_ context.Context, _ string, u identity.User) bool {
	s := d.snapshots.Load()
	return s != nil && !s.Administers(&u, d.now())
}

// MayUnbury: somebody who was removed while an address led to a tenant admin is
// let in again by an administrator. Whom this snapshot does not know is not.
func (d *SnapshotTrust) MayUnbury(_ context.Context, uids []string) bool {
	s := d.snapshots.Load()
	return s != nil && !slices.ContainsFunc(uids, func(uid string) bool {
		t, ok := s.Tombstone(uid)
		return !ok || s.Administers(&identity.User{Email: t.Email}, d.now())
	})
}

// MayName: grants that name a team wait for that team, and not for whatever
// group a directory calls so; unless the directory's resource says that it may.
func (d *SnapshotTrust) MayName(_ context.Context, directory, team string) bool {
	s := d.snapshots.Load()
	if s == nil {
		return false
	}
	res, ok := s.ScimDirectory(directory)
	if !ok {
		return false
	}
	if len(s.Intern([]identity.Subject{identity.TeamSubject(team)})) == 0 {
		return true
	}
	return slices.ContainsFunc(res.Spec.Teams, func(pattern string) bool {
		prefix, open := strings.CutSuffix(pattern, "*")
		return pattern == team || open && strings.HasPrefix(team, prefix)
	})
}
