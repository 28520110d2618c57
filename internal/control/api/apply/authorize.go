package apply

import (
	"errors"
	"slices"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

const (
	verbRead   = "read"
	verbCreate = "create"
	verbUpdate = "update"
	verbDelete = "delete"
)

// ofAdmins reports whether writing a kind needs a tenant admin: it decides
// where tokens come from, or what nobody should decide by a role.
func ofAdmins(k v1.Kind) bool {
	return identity.AdminOnly().Has(identity.KindPermission(k, verbUpdate))
}

// Target returns what a decision about a stored resource is about. The target
// of a virtual account hangs below the team that the resource itself names,
// which need not be the one that the snapshot knows.
func Target(s *snapshot.Snapshot, r v1.Resource) *snapshot.Target {
	t := s.Target(identity.KindRef(r.Type().Kind, r.Meta().Name))
	v, ok := r.(*v1.VirtualAccount)
	if !ok {
		return t
	}
	above := s.Tenant()
	if v.Spec.Team != "" {
		above = s.Target(identity.KindRef(v1.KindTeam, v.Spec.Team))
	}
	if t.Above == above {
		return t
	}
	return &snapshot.Target{Ref: t.Ref, Above: above}
}

func (p *plan) target(r v1.Resource) *snapshot.Target { return Target(p.snap, r) }

// may asks the one function that decides. The operator's own writer has no
// principal to ask about.
func (p *plan) may(perm identity.Permission, ref identity.ResourceRef, t *snapshot.Target) error {
	if p.actor.system {
		return nil
	}
	err := authz.Allows(p.actor.Principal, p.actor.Grant, perm, t, p.now)
	if e, ok := errors.AsType[*identity.Error](err); ok {
		return denied(perm, string(ref)+": "+e.Message)
	}
	return err
}

func denied(perm identity.Permission, message string) error {
	return &identity.Error{Code: identity.CodePermissionDenied, Permission: string(perm), Message: message}
}

// mayAdmin is for what only tenant admins do. The permission is asked for on
// the tenant: tenant-admin on one resource is not an admin.
func (p *plan) mayAdmin(ref identity.ResourceRef) error {
	return p.may(identity.PermTenantAdmin, ref, p.snap.Tenant())
}

func (p *plan) mayRead(r v1.Resource) bool {
	key := keyOf(r)
	return p.may(identity.KindPermission(key.Kind, verbRead), identity.KindRef(key.Kind, key.Name), p.target(r)) == nil
}

func (p *plan) mayDelete(r v1.Resource) error {
	key := keyOf(r)
	ref := identity.KindRef(key.Kind, key.Name)
	err := p.mayDeleteAt(ref, key.Kind, p.target(r))
	if ofAdmins(key.Kind) {
		return err
	}
	if err != nil && p.may(identity.KindPermission(key.Kind, verbRead), ref, p.target(r)) != nil {
		return denied(identity.KindPermission(key.Kind, verbDelete), "this would remove what you may not remove")
	}
	if err == nil {
		err = p.mayTakeAway(r, nil)
	}
	return err
}

// mayDeleteAt asks for a target alone, whether something is there or not.
func (p *plan) mayDeleteAt(ref identity.ResourceRef, k v1.Kind, t *snapshot.Target) error {
	if ofAdmins(k) {
		return p.mayAdmin(ref)
	}
	return p.may(identity.KindPermission(k, verbDelete), ref, t)
}

// mayWrite asks for create or update. To somebody who may not even read what
// exists, the answer is the same as if it did not.
func (p *plan) mayWrite(it *item) error {
	if ofAdmins(it.key.Kind) {
		return p.mayAdmin(it.ref())
	}
	create := func() error {
		return p.may(identity.KindPermission(it.key.Kind, verbCreate), it.ref(), p.target(it.new()))
	}
	if it.old == nil {
		return create()
	}
	err := p.may(identity.KindPermission(it.key.Kind, verbUpdate), it.ref(), p.target(it.old))
	if err != nil && onlyMembersChange(it.old, it.new()) {
		if p.may(identity.PermTeamMembers, it.ref(), p.target(it.old)) == nil {
			return nil
		}
	}
	if err != nil && !p.mayRead(it.old) {
		return denied(identity.KindPermission(it.key.Kind, verbCreate),
			string(it.ref())+": this needs the permission "+string(identity.KindPermission(it.key.Kind, verbCreate)))
	}
	if err == nil && teamOf(it.old) != teamOf(it.new()) {
		err = create()
	}
	return err
}

// onlyMembersChange reports whether a write changes nothing of a team but its
// members: what a team manager may change. Managers are for whoever may
// update the team.
func onlyMembersChange(old, new v1.Resource) bool {
	a, ok := old.(*v1.Team)
	b, same := new.(*v1.Team)
	if !ok || !same {
		return false
	}
	c := *b
	c.Spec.Members = a.Spec.Members
	c.Manager = a.Manager // another manager is another refusal
	unchanged, err := equal(a, &c)
	return err == nil && unchanged
}

func teamOf(r v1.Resource) string {
	if v, ok := r.(*v1.VirtualAccount); ok {
		return v.Spec.Team
	}
	return ""
}

// mode enforces who may make virtual accounts (TenantSettings). What counts is
// making one, moving one to another team, and giving one more access.
func (p *plan) mode(it *item) error {
	v, ok := it.new().(*v1.VirtualAccount)
	if !ok || p.actor.system {
		return nil
	}
	fresh := it.old == nil || teamOf(it.old) != v.Spec.Team
	var had []grant
	if !fresh {
		had = grantsOf(it.old)
	}
	more := added(had, grantsOf(v))
	switch p.snap.Settings().VirtualAccounts {
	case v1.VirtualAccountsGitOps:
		return denied(identity.PermTenantAdmin, string(it.ref())+": virtual accounts come from the operator's manifests here (TenantSettings, virtualAccounts: gitops)")
	case v1.VirtualAccountsDelegated:
		if v.Spec.Team != "" {
			return p.withinTeam(v, more)
		}
	}
	if fresh || len(more) > 0 {
		return p.mayAdmin(it.ref())
	}
	return nil
}

// withinTeam refuses access that the owning team does not have itself. It
// would be cut at use; saying so now spares a riddle. Tenant admins may write
// it all the same, for a team that is about to get it.
func (p *plan) withinTeam(v *v1.VirtualAccount, more []grant) error {
	if p.mayAdmin(identity.KindRef(v1.KindVirtualAccount, v.Name)) == nil {
		return nil
	}
	team := &identity.Principal{SubjectIDs: p.snap.Intern([]identity.Subject{identity.TeamSubject(v.Spec.Team), identity.Everyone})}
	for _, g := range more {
		r, err := p.role(g.role)
		if err != nil {
			return err
		}
		if !r.exists {
			return noSuchRole(g)
		}
		held := authz.Held(team, &identity.Grant{}, grantTarget(p.snap, g.ref), p.now)
		if missing := r.perms.Without(held).List(); len(missing) > 0 {
			if p.hidesRole(g.role) {
				return noSuchRole(g)
			}
			return denied(missing[0], g.path+": team:"+v.Spec.Team+" does not have "+g.role+" on "+string(g.ref)+" itself")
		}
	}
	return nil
}

// hidesRole reports whether the actor is not to be told that a role is there,
// or what it permits.
func (p *plan) hidesRole(name string) bool {
	ref := identity.KindRef(v1.KindRole, name)
	if _, builtin := identity.BuiltinRole(name); builtin || p.actor.system || p.inSet[identity.ResourceKey{Kind: v1.KindRole, Name: name}] != nil {
		return false
	}
	return p.may(identity.KindPermission(v1.KindRole, verbRead), ref, p.snap.Target(ref)) != nil
}

// noSuchRole is what is said of a role that is not there, and of one that the
// actor may neither give nor see.
func noSuchRole(g grant) error {
	return denied(identity.PermRoleBind, g.path+": there is no role "+g.role+" that you may give on "+string(g.ref))
}

// holds refuses what the actor does not hold. role:bind on the target stands
// in for everything but what only tenant admins can hold, so that nobody
// becomes an admin by binding.
func (p *plan) holds(perms identity.PermissionSet, t *snapshot.Target, what string) error {
	if p.actor.system || perms.IsEmpty() {
		return nil
	}
	held := authz.Held(p.actor.Principal, p.actor.Grant, t, p.now)
	if held.Has(identity.PermRoleBind) {
		held = held.Union(identity.AllPermissions().Without(identity.AdminOnly()))
	}
	missing := perms.Without(held).List()
	if len(missing) == 0 {
		return nil
	}
	return denied(missing[0], what+": nobody grants more than they hold, and you do not hold "+string(missing[0])+" there")
}

// containsAll reports whether a list has everything of another.
func containsAll[T comparable](list, of []T) bool {
	has := make(map[T]bool, len(list))
	for _, v := range list {
		has[v] = true
	}
	return !slices.ContainsFunc(of, func(v T) bool { return !has[v] })
}
