package sso

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/google/uuid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

const (
	breakGlassBinding = "break-glass"
	// displacedAt is where somebody is put who had the local administrator's
	// address; before it stands their uid. Not in the administrator's own domain,
	// of which nobody is written by way of the control API: they can be removed.
	displacedAt = "@displaced.gatehouse.invalid"
	maxUIDs     = 16 // of the local administrator, one after the other
)

// soundAdmin reports whether the local administrator's user is there, active,
// nobody else's, and a tenant admin.
func (h *Handler) soundAdmin(ctx context.Context, s *snapshot.Snapshot, uid string) (bool, error) {
	u, err := h.opt.Store.User(ctx, uid)
	if identity.CodeOf(err) == identity.CodeNotFound {
		return false, nil
	}
	if err != nil || !u.Active || u.Email != breakGlassEmail || othersToo(&u) {
		return false, err
	}
	seen, ok := s.UserByUID(uid)
	return ok && s.UserPrincipal(seen, h.now()).Admin, nil
}

// othersToo reports whether somebody comes to a user by another way than the
// password: by an identity provider, or as a directory, which may write it.
func othersToo(u *identity.User) bool {
	return len(u.Identities) > 0 || u.FromDirectory()
}

// repair makes the local administrator one again, whatever somebody has done to
// their user, address or role: whoever has the password must get in.
func (h *Handler) repair(r *http.Request, st *breakGlassState, stored []byte) error {
	uid, err := h.makeAdmin(r, "break-glass.repair", st.UID)
	if err != nil || uid == st.UID {
		return err
	}
	st.UID = uid
	err = h.setBreakGlass(r.Context(), stored, *st)
	if identity.CodeOf(err) == identity.CodePreconditionFailed {
		return h.unchanged(r.Context(), *st) // another has repaired it just so, or there was a reset
	}
	return err
}

// makeAdmin makes the local administrator's user what it must be, and their
// role, and returns the uid, which is another one where theirs cannot be used.
func (h *Handler) makeAdmin(r *http.Request, action, uid string) (string, error) {
	ctx := r.Context()
	var (
		m    mended
		head identity.Head
	)
	had := action != "break-glass.setup"
	for try := 1; ; try++ {
		var err error
		if m, err = h.mendAdmin(ctx, uid, had); err != nil {
			return "", err
		}
		b := m.batch()
		b.Audit = []record.AuditEntry{{
			Actor: "system:break-glass", ActorUID: m.user.UID, Via: "sso:" + BreakGlassConnection, RemoteAddr: h.addr(r), RequestID: requestID(r),
			Action: action, Target: "user:" + breakGlassEmail, After: m.told(), Outcome: "done",
		}}
		if head, err = h.opt.Store.Commit(ctx, b); err == nil {
			break
		}
		code := identity.CodeOf(err)
		if code != identity.CodePreconditionFailed && code != identity.CodeConflict || try == writeTries {
			return "", err
		}
		had = had || code == identity.CodeConflict // the uid may be a removed person's
	}
	wait, cancel := context.WithTimeout(ctx, waitForView)
	defer cancel()
	if err := h.opt.Snapshots.WaitFor(wait, head); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return "", err
	}
	return m.user.UID, nil
}

// mended is what must be written so that the local administrator is one.
type mended struct {
	user      identity.User // theirs; version 0 is a new one
	activated bool
	// displaced lose the address. They keep their own identities, so that these
	// go on to find them and are not linked, by the address, with theirs.
	displaced []identity.User
	lift      []string // tombstones that are in the way
}

// mendAdmin looks at what is there. A user that somebody else comes to as well
// is not cleaned but left: what may have been made with it, tokens and
// memberships, is no administrator's then.
func (h *Handler) mendAdmin(ctx context.Context, uid string, had bool) (m mended, err error) {
	if m.lift, err = h.opt.BreakGlass.TombstonesOf(ctx, breakGlassEmail, nil); err != nil {
		return m, err
	}
	had = had || len(m.lift) > 0
	for range maxUIDs {
		u, err := h.opt.Store.User(ctx, uid)
		missing := identity.CodeOf(err) == identity.CodeNotFound
		switch {
		case err != nil && !missing:
			return m, err
		case missing && had: // it was removed, and a uid is not used again
			had = false
		case missing:
			m.user = identity.User{UID: uid, Email: breakGlassEmail, DisplayName: "Break-glass administrator", Active: true, CreatedAt: h.now().UTC()}
			return m, h.displaceOthers(ctx, &m)
		case othersToo(&u):
			u.Memberships = nil // given to the local administrator
			m.displace(u)
			had = false
		default:
			m.activated = !u.Active
			u.Email, u.Active = breakGlassEmail, true
			m.user = u
			return m, h.displaceOthers(ctx, &m)
		}
		uid = nextUID(uid)
	}
	return m, identity.Errorf(identity.CodeConflict, "the local administrator has had %d uids, and none can be used", maxUIDs)
}

// nextUID follows from the one before, so that two who repair at the same moment
// make one user.
func nextUID(uid string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("gatehouse/break-glass/"+uid)).String()
}

// displaceOthers takes the address from another user who has it.
func (h *Handler) displaceOthers(ctx context.Context, m *mended) error {
	s, err := h.latest(ctx)
	if err != nil { // what this process knows must do; the store refuses two of one address
		if s, err = h.snapshot(); err != nil {
			return err
		}
	}
	other, ok := s.UserByEmail(breakGlassEmail)
	if !ok || other.UID == m.user.UID || slices.ContainsFunc(m.displaced, func(u identity.User) bool { return u.UID == other.UID }) {
		return nil
	}
	u, err := h.opt.Store.User(ctx, other.UID)
	if identity.CodeOf(err) == identity.CodeNotFound {
		return nil
	}
	if err == nil && u.Email == breakGlassEmail {
		m.displace(u)
	}
	return err
}

func (m *mended) displace(u identity.User) {
	u.Email = u.UID + displacedAt
	m.displaced = append(m.displaced, u)
}

// batch puts the displaced first: the address must be free.
func (m *mended) batch() *record.Batch {
	b := &record.Batch{PutResources: []v1.Resource{adminBinding()}, LiftTombstones: m.lift, PutUsers: append(slices.Clone(m.displaced), m.user)}
	for _, u := range b.PutUsers {
		b.UserConditions = append(b.UserConditions, record.UserCondition{UID: u.UID, Version: u.Version})
	}
	return b
}

func (m *mended) told() json.RawMessage {
	about := map[string]any{}
	if m.activated {
		about["activated"] = true
	}
	uids := make([]string, len(m.displaced))
	for i := range m.displaced {
		uids[i] = m.displaced[i].UID
	}
	if len(uids) > 0 {
		about["displaced"] = uids
	}
	if len(about) == 0 {
		return nil
	}
	after, _ := json.Marshal(about) // strings and a bool: this cannot fail
	return after
}

func adminBinding() *v1.RoleBinding {
	b := &v1.RoleBinding{Spec: v1.RoleBindingSpec{
		Subjects: v1.Strings{string(identity.UserSubject(breakGlassEmail))}, Role: identity.RoleTenantAdmin, Resources: v1.Strings{"tenant"},
	}}
	b.APIVersion, b.Kind, b.Name, b.Manager = v1.APIVersion, v1.KindRoleBinding, breakGlassBinding, v1.ManagerAPI
	b.Default()
	return b
}
