package apply

import (
	"slices"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Who administers the installation is decided by those who do, whatever else
// somebody may write: they alone put people and tokens to a team or an
// application that is a tenant admin, and they alone take them, or that, away.
// Otherwise whoever may delete a binding could take it away, join the team, and
// wait for the manifests to be applied again.

// mayManage asks that of a subject.
func (p *plan) mayManage(who identity.Subject, ref identity.ResourceRef) error {
	if !p.snap.SubjectAdministers(who, p.now) {
		return nil
	}
	return p.mayAdmin(ref)
}

// MayManage says whether an actor who may manage a team's people, or an
// account's tokens, may do so with this one.
func (a *Applier) MayManage(actor Actor, who identity.Subject, ref identity.ResourceRef) error {
	p := &plan{Applier: a, actor: actor, snap: actor.Snapshot, now: a.opt.Now()}
	return p.mayManage(who, ref)
}

// mayTakeAway asks it of a write, or of a removal, where next is nil.
func (p *plan) mayTakeAway(old, next v1.Resource) error {
	if p.actor.system {
		return nil
	}
	key := keyOf(old)
	ref := identity.KindRef(key.Kind, key.Name)
	switch old := old.(type) {
	case *v1.Team:
		if next, ok := next.(*v1.Team); ok && keepsPeople(&old.Spec, &next.Spec) {
			return nil
		}
		return p.mayManage(identity.TeamSubject(key.Name), ref)
	case *v1.VirtualAccount:
		if next, ok := next.(*v1.VirtualAccount); !ok || next.IsEnabled() != old.IsEnabled() || next.Spec.Team != old.Spec.Team {
			if err := p.mayManage(identity.VirtualAccountSubject(key.Name), ref); err != nil {
				return err
			}
		}
	}
	return p.mayUngrant(old, next, ref)
}

// keepsPeople reports whether nobody leaves a team, by name or by group.
func keepsPeople(old, next *v1.TeamSpec) bool {
	people := slices.Concat(next.Managers, next.Members)
	return containsAll(people, old.Managers) && containsAll(people, old.Members) && containsAll(next.IdentityProviderGroups, old.IdentityProviderGroups)
}

// mayUngrant looks for a grant of tenant-admin that there is no more, or for a
// shorter time.
func (p *plan) mayUngrant(old, next v1.Resource, ref identity.ResourceRef) error {
	var left []grant
	if next != nil {
		left = grantsOf(next)
	}
	for _, g := range added(left, grantsOf(old)) {
		if g.ref != identity.Tenant || g.expires != 0 && g.expires <= p.now.Unix() {
			continue
		}
		r, err := p.role(g.role)
		if err != nil {
			return err
		}
		if r.perms.Has(identity.PermTenantAdmin) {
			return p.mayAdmin(ref)
		}
	}
	return nil
}
