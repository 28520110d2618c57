package apply

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// grant is one role of one subject on one resource, as a manifest says it.
type grant struct {
	path    string // the field
	ref     identity.ResourceRef
	who     identity.Subject
	role    string
	expires int64 // Unix seconds; 0 is never
}

// grantsOf lists everything that a resource grants. A team's managers are
// among it; that members have what their team has is not (see membership).
func grantsOf(r v1.Resource) []grant {
	var list []grant
	add := func(path string, ref identity.ResourceRef, subject, role string, expires int64) {
		who, _ := identity.ParseSubject(subject)
		list = append(list, grant{path: path, ref: ref, who: who, role: role, expires: expires})
	}
	collaborators := func(path string, ref identity.ResourceRef, cs []v1.Collaborator) {
		for i, c := range cs {
			add(fmt.Sprintf("%s[%d]", path, i), ref, c.Subject, c.Role, 0)
		}
	}
	switch r := r.(type) {
	case *v1.ProviderAccount:
		collaborators("spec.collaborators", identity.AccountRef(r.Name), r.Spec.Collaborators)
		for i, m := range r.Spec.Models {
			collaborators(fmt.Sprintf("spec.models[%d].collaborators", i), identity.ModelRef(r.Name+"/"+m.Name), m.Collaborators)
		}
	case *v1.SecretStore:
		collaborators("spec.collaborators", identity.KindRef(v1.KindSecretStore, r.Name), r.Spec.Collaborators)
	case *v1.RoleBinding:
		for i, res := range r.Spec.Resources {
			for _, s := range r.Spec.Subjects {
				add(fmt.Sprintf("spec.resources[%d]", i), refOf(res), s, r.Spec.Role, snapshot.BindingEnd(r))
			}
		}
	case *v1.VirtualAccount:
		for i, a := range r.Spec.Access {
			add(fmt.Sprintf("spec.access[%d]", i), refOf(a.Resource), string(identity.VirtualAccountSubject(r.Name)), a.Role, 0)
		}
	case *v1.Team:
		for i, m := range r.Spec.Managers {
			add(fmt.Sprintf("spec.managers[%d]", i), identity.KindRef(v1.KindTeam, r.Name), "user:"+m, identity.RoleTeamManager, 0)
		}
	case *v1.AuthzRules:
		list = append(list, ruleGrants(r)...)
	}
	return list
}

func ruleGrants(r *v1.AuthzRules) []grant {
	var list []grant
	for i, rule := range r.Spec.Rules {
		for j, m := range rule.Models {
			for _, u := range rule.Users {
				list = append(list, grant{path: fmt.Sprintf("spec.rules[%d].models[%d]", i, j), ref: identity.ModelRef(m), who: snapshot.RuleSubject(u), role: identity.RoleModelUser})
			}
		}
	}
	return list
}

// refOf normalises what a binding names, as the snapshot does.
func refOf(resource string) identity.ResourceRef {
	kind, name, ok := v1.ParseResource(resource)
	if !ok || kind == string(identity.Tenant) {
		return identity.ResourceRef(resource)
	}
	return identity.ResourceRef(kind + ":" + name)
}

// added lists the grants of the new list that the old one does not give, or
// gives for a shorter time.
func added(old, new []grant) []grant {
	type key struct {
		ref  identity.ResourceRef
		who  identity.Subject
		role string
	}
	const never = math.MaxInt64
	end := func(g grant) int64 {
		if g.expires == 0 {
			return never
		}
		return g.expires
	}
	had := make(map[key]int64, len(old))
	for _, g := range old {
		k := key{g.ref, g.who, g.role}
		if until, ok := had[k]; !ok || end(g) > until {
			had[k] = end(g)
		}
	}
	var list []grant
	for _, g := range new {
		if until, ok := had[key{g.ref, g.who, g.role}]; !ok || end(g) > until {
			list = append(list, g)
		}
	}
	return list
}

// maxGrants is how many grants one resource may amount to. A binding of many
// subjects on many resources is their product.
const maxGrants = 100_000

// grantCount is how many grants a resource amounts to, without listing them.
func grantCount(r v1.Resource) int {
	n := 0
	switch r := r.(type) {
	case *v1.RoleBinding:
		n = len(r.Spec.Subjects) * len(r.Spec.Resources)
	case *v1.AuthzRules:
		for _, rule := range r.Spec.Rules {
			n += len(rule.Models) * len(rule.Users)
		}
	}
	return n
}

// grantTarget finds what a grant is about. A model without an entry of its own
// hangs below the wildcard or the account, as it does in the snapshot.
func grantTarget(s *snapshot.Snapshot, ref identity.ResourceRef) *snapshot.Target {
	fqn, ok := strings.CutPrefix(string(ref), "model:")
	t := s.Target(ref)
	if !ok || t.Model != nil {
		return t
	}
	account, _, _ := v1.SplitFQN(fqn)
	a, ok := s.Account(account)
	switch {
	case !ok:
		return t
	case a.Wildcard != nil:
		return &snapshot.Target{Ref: ref, Above: a.Wildcard.Target}
	default:
		return &snapshot.Target{Ref: ref, Above: a.Target}
	}
}

// role is what a role may do.
type role struct {
	perms  identity.PermissionSet
	exists bool
}

// role looks a role up: in the set, else where it is stored, which then must
// not change before the commit.
func (p *plan) role(name string) (role, error) {
	if perms, ok := identity.BuiltinRole(name); ok {
		return role{perms, true}, nil
	}
	if r, ok := p.roles[name]; ok {
		return r, nil
	}
	key := identity.ResourceKey{Kind: v1.KindRole, Name: name}
	var found v1.Resource
	if it := p.inSet[key]; it != nil {
		found = it.new()
	} else if !p.gone[key] {
		var err error
		if found, err = p.stored(key); err != nil {
			return role{}, err
		}
		if found != nil {
			p.condition(key, found)
		}
	}
	r := role{}
	if custom, ok := found.(*v1.Role); ok {
		r = role{snapshot.RolePermissions(custom), true}
	}
	p.roles[name] = r
	return r, nil
}

// mayGrant is the rule that nobody grants more than they hold. Only what is
// added counts; whoever may write a resource may take away, but not administering.
func (p *plan) mayGrant(it *item) error {
	if p.actor.system {
		return nil
	}
	if it.old != nil {
		if err := p.mayTakeAway(it.old, it.new()); err != nil {
			return err
		}
	}
	var had []grant
	if it.old != nil && teamOf(it.old) == teamOf(it.new()) {
		had = grantsOf(it.old)
	}
	for _, g := range added(had, grantsOf(it.new())) {
		r, err := p.role(g.role)
		if err != nil {
			return err
		}
		if !r.exists {
			return noSuchRole(g)
		}
		if err := p.holds(r.perms, grantTarget(p.snap, g.ref), string(it.ref())+" "+g.path); err != nil {
			if p.hidesRole(g.role) {
				return noSuchRole(g)
			}
			return err
		}
	}
	switch r := it.new().(type) {
	case *v1.Role:
		return p.mayWiden(it, r)
	case *v1.Team:
		return p.mayJoin(it, r)
	case *v1.VirtualAccount:
		return p.mayIdentify(it, r)
	case *v1.ProviderAccount:
		return p.mayUnnarrow(it, r)
	}
	return nil
}

// mayWiden: whoever has the role gets what is added to it, wherever it is
// bound; so it must be held on the tenant.
func (p *plan) mayWiden(it *item, r *v1.Role) error {
	perms := snapshot.RolePermissions(r)
	if old, ok := it.old.(*v1.Role); ok {
		perms = perms.Without(snapshot.RolePermissions(old))
	}
	return p.holds(perms, p.snap.Tenant(), string(it.ref())+" spec.permissions")
}

// mayJoin: who comes into a team has what the team has. Adding members is what
// team:manage-members is for; managers and groups are for those who hold all
// of it themselves.
func (p *plan) mayJoin(it *item, t *v1.Team) error {
	old, _ := it.old.(*v1.Team)
	if old == nil {
		old = &v1.Team{}
	}
	managers := !containsAll(old.Spec.Managers, t.Spec.Managers)
	groups := !containsAll(old.Spec.IdentityProviderGroups, t.Spec.IdentityProviderGroups)
	members := !containsAll(slices.Concat(old.Spec.Members, old.Spec.Managers), t.Spec.Members)
	if members && !managers && !groups && it.old != nil && p.may(identity.PermTeamMembers, it.ref(), p.target(it.old)) == nil {
		return p.mayManage(identity.TeamSubject(t.Name), it.ref())
	}
	if !managers && !groups && !members {
		return nil
	}
	return p.membership(identity.TeamSubject(t.Name), string(it.ref()), identity.PermTeamMembers)
}

// membership refuses to make somebody a subject that has more than the actor.
// It names nothing: the actor may not see what the subject has.
func (p *plan) membership(who identity.Subject, what string, perm identity.Permission) error {
	for r := range p.snap.Resources {
		for _, g := range grantsOf(r) {
			if g.who != who {
				continue
			}
			r, err := p.role(g.role)
			if err != nil {
				return err
			}
			if p.holds(r.perms, grantTarget(p.snap, g.ref), "") != nil {
				return denied(perm, what+": "+string(who)+" has more than you hold yourself")
			}
		}
	}
	return nil
}

// MayMake says whether an actor may make somebody a subject: whether they hold
// everything themselves that is granted to it. For subjects that do not come
// from resources, such as user names.
func (a *Applier) MayMake(ctx context.Context, actor Actor, who identity.Subject, perm identity.Permission) error {
	p := &plan{Applier: a, ctx: ctx, actor: actor, snap: actor.Snapshot, now: a.opt.Now(), roles: map[string]role{}}
	return p.membership(who, string(who), perm)
}

// mayIdentify: what makes somebody a virtual account. A new account gets what
// was granted to its name before it existed.
func (p *plan) mayIdentify(it *item, v *v1.VirtualAccount) error {
	old, _ := it.old.(*v1.VirtualAccount)
	if old == nil {
		old = &v1.VirtualAccount{}
		if err := p.membership(identity.VirtualAccountSubject(v.Name), string(it.ref()), identity.PermTenantAdmin); err != nil {
			return err
		}
	}
	for _, m := range v.Spec.IdentityProviderMappings {
		same := func(o v1.IdentityProviderMapping) bool { return reflect.DeepEqual(o, m) }
		if slices.ContainsFunc(old.Spec.IdentityProviderMappings, same) {
			continue
		}
		if err := p.mayAdmin(it.ref() + " spec.identityProviderMappings"); err != nil {
			return err
		}
	}
	for i, d := range v.Spec.Tokens {
		same := func(o v1.TokenDigest) bool {
			return o.Digest == d.Digest && o.ExpiresAt != nil && d.ExpiresAt != nil && !d.ExpiresAt.After(*o.ExpiresAt)
		}
		if slices.ContainsFunc(old.Spec.Tokens, same) {
			continue
		}
		where := identity.ResourceRef(fmt.Sprintf("%s spec.tokens[%d]", it.ref(), i))
		if err := p.may(identity.PermVirtualAccountTokens, where, p.target(v)); err != nil {
			return err
		}
		if err := p.mayManage(identity.VirtualAccountSubject(v.Name), where); err != nil {
			return err
		}
	}
	return nil
}
