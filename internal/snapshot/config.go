package snapshot

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// config is what all manifests together mean.
type config struct {
	id               uint64
	subjects         map[identity.Subject]uint32
	tenant           *Target
	targets          map[identity.ResourceRef]*Target
	roles            map[string]identity.PermissionSet
	accounts         map[string]*Account
	accountList      []*Account
	teams            map[string]*v1.Team
	teamsByEmail     map[string][]TeamMembership
	groupTeams       map[v1.GroupRef][]string
	providers        map[string]*Provider
	providerList     []*Provider
	byIssuer         map[string][]*Provider
	issuerless       []*Provider
	virtualAccounts  map[string]*VirtualAccount
	externalIdentity map[string][]*ExternalIdentity
	digests          map[identity.Digest]Token
	connections      map[string]*v1.SsoConnection
	connectionList   []*v1.SsoConnection
	directories      map[string]*v1.ScimDirectory
	directoryIssuers map[string]string
	settings         *v1.TenantSettings
	problems         []Problem
}

// Problem is something in the configuration that means less than was written.
type Problem struct {
	Resource string `json:"resource"`
	Message  string `json:"message"`
}

// compiler makes a config of resources. What it cannot make sense of grants
// nothing and is reported.
type compiler struct {
	cfg    *config
	source string
}

// compileConfig reads the resources in an order in which what others refer to
// comes first; within a kind by name, so that the outcome does not depend on
// the order of rows.
func compileConfig(resources map[identity.ResourceKey]v1.Resource, quarantined map[identity.ResourceKey]string) *config {
	c := &compiler{cfg: &config{
		id: rand.Uint64(), subjects: map[identity.Subject]uint32{}, targets: map[identity.ResourceRef]*Target{},
		roles: map[string]identity.PermissionSet{}, accounts: map[string]*Account{},
		teams: map[string]*v1.Team{}, teamsByEmail: map[string][]TeamMembership{}, groupTeams: map[v1.GroupRef][]string{},
		providers: map[string]*Provider{}, byIssuer: map[string][]*Provider{},
		virtualAccounts: map[string]*VirtualAccount{}, externalIdentity: map[string][]*ExternalIdentity{},
		digests: map[identity.Digest]Token{}, connections: map[string]*v1.SsoConnection{},
		directories: map[string]*v1.ScimDirectory{}, directoryIssuers: map[string]string{},
	}}
	c.cfg.settings = &v1.TenantSettings{}
	c.cfg.settings.Default()
	c.cfg.tenant = &Target{Ref: identity.Tenant}
	c.source = "built-in"
	c.grant(c.cfg.tenant, identity.TenantAdmin, identity.RoleTenantAdmin, 0)
	c.grant(c.cfg.tenant, identity.Everyone, identity.RoleTenantMember, 0)
	for _, name := range identity.BuiltinRoleNames() {
		c.cfg.roles[name], _ = identity.BuiltinRole(name)
	}
	byKind := map[v1.Kind][]v1.Resource{}
	for key, r := range resources {
		byKind[key.Kind] = append(byKind[key.Kind], r)
	}
	for _, kind := range compileOrder() {
		slices.SortFunc(byKind[kind], func(a, b v1.Resource) int { return cmp.Compare(a.Meta().Name, b.Meta().Name) })
		for _, r := range byKind[kind] {
			c.resource(r)
		}
		delete(byKind, kind)
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) { // none, or one that compileOrder has forgotten
		for _, r := range byKind[kind] {
			c.source = string(identity.KindRef(kind, r.Meta().Name))
			c.problemf("has a kind that this version does not know; it means nothing")
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(quarantined), compareKeys) {
		c.source = string(identity.KindRef(key.Kind, key.Name))
		c.problemf("cannot be read by this version and denies: %s", quarantined[key])
	}
	c.finish()
	return c.cfg
}

func compareKeys(a, b identity.ResourceKey) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// compileOrder puts what is referred to before what refers.
func compileOrder() []v1.Kind {
	return []v1.Kind{
		v1.KindTenantSettings, v1.KindRole, v1.KindTeam, v1.KindSecretStore, v1.KindIdentityProvider, v1.KindProviderAccount,
		v1.KindSsoConnection, v1.KindScimDirectory, v1.KindExternalIdentity, v1.KindVirtualAccount, v1.KindRoleBinding, v1.KindAuthzRules,
	}
}

func (c *compiler) resource(r v1.Resource) {
	ref := identity.KindRef(r.Type().Kind, r.Meta().Name)
	c.source = string(ref)
	switch r := r.(type) {
	case *v1.TenantSettings:
		c.cfg.settings = r
	case *v1.Role:
		c.role(r)
	case *v1.Team:
		c.team(r)
	case *v1.SecretStore:
		c.collaborators(c.target(ref, c.cfg.tenant), c.source, r.Spec.Collaborators)
	case *v1.IdentityProvider:
		c.provider(r)
	case *v1.ProviderAccount:
		c.account(r)
	case *v1.SsoConnection:
		c.connection(r)
	case *v1.ScimDirectory:
		c.directory(r)
	case *v1.ExternalIdentity:
		c.externalIdentity(r)
	case *v1.VirtualAccount:
		c.virtualAccount(r)
	case *v1.RoleBinding:
		c.roleBinding(r)
	case *v1.AuthzRules:
		c.authzRules(r)
	default:
		c.problemf("has a kind that this version does not know; it means nothing")
	}
}

func (c *compiler) problemf(format string, args ...any) {
	c.cfg.problems = append(c.cfg.problems, Problem{Resource: c.source, Message: fmt.Sprintf(format, args...)})
}

func (c *compiler) target(ref identity.ResourceRef, above *Target) *Target {
	if t, ok := c.cfg.targets[ref]; ok {
		return t
	}
	t := &Target{Ref: ref, Above: above}
	c.cfg.targets[ref] = t
	return t
}

// subject numbers a subject. Numbers follow the order of first use, which is
// the same for the same resources.
func (c *compiler) subject(s identity.Subject) uint32 {
	id, ok := c.cfg.subjects[s]
	if !ok {
		id = uint32(len(c.cfg.subjects)) + 1
		c.cfg.subjects[s] = id
	}
	return id
}

// grant gives a subject a role on a target; an unknown role grants nothing.
func (c *compiler) grant(t *Target, who identity.Subject, role string, expires int64) {
	perms, ok := c.cfg.roles[role]
	if !ok {
		if perms, ok = identity.BuiltinRole(role); !ok {
			c.problemf("names the role %q, which does not exist; it grants nothing", role)
			return
		}
	}
	t.Entries = append(t.Entries, Entry{Subject: c.subject(who), Permissions: perms, Expires: expires, Who: who, Role: role, Source: c.source})
}

func (c *compiler) collaborators(t *Target, source string, list []v1.Collaborator) {
	saved := c.source
	c.source = source
	for _, col := range list {
		if who, ok := identity.ParseSubject(col.Subject); ok {
			c.grant(t, who, col.Role, 0)
		} else {
			c.problemf("has the collaborator %q, which is not a subject", col.Subject)
		}
	}
	c.source = saved
}

func (c *compiler) role(r *v1.Role) {
	if _, builtin := identity.BuiltinRole(r.Name); builtin {
		c.problemf("has the name of a built-in role and is ignored")
		return
	}
	for _, name := range r.Spec.Permissions {
		switch p := identity.Permission(name); {
		case !p.Known():
			c.problemf("names the permission %q, which does not exist; it grants nothing", p)
		case identity.AdminOnly().Has(p):
			c.problemf("names %s, which only tenant-admin can hold; it is left out", p)
		}
	}
	c.cfg.roles[r.Name] = RolePermissions(r)
}

// RolePermissions is what a custom role amounts to: what is known and not for
// tenant admins alone.
func RolePermissions(r *v1.Role) identity.PermissionSet {
	var perms identity.PermissionSet
	for _, name := range r.Spec.Permissions {
		if p := identity.Permission(name); p.Known() {
			perms = perms.Union(identity.NewPermissionSet(p))
		}
	}
	return perms.Without(identity.AdminOnly())
}

func (c *compiler) team(t *v1.Team) {
	target := c.target(identity.KindRef(v1.KindTeam, t.Name), c.cfg.tenant)
	c.cfg.teams[t.Name] = t
	for _, m := range t.Spec.Managers {
		c.grant(target, identity.UserSubject(m), identity.RoleTeamManager, 0)
		c.cfg.teamsByEmail[m] = append(c.cfg.teamsByEmail[m], TeamMembership{Team: t.Name, Source: "manifest", Manager: true})
	}
	for _, m := range t.Spec.Members {
		if !slices.Contains(t.Spec.Managers, m) {
			c.cfg.teamsByEmail[m] = append(c.cfg.teamsByEmail[m], TeamMembership{Team: t.Name, Source: "manifest"})
		}
	}
	for _, g := range t.Spec.IdentityProviderGroups {
		c.cfg.groupTeams[g] = append(c.cfg.groupTeams[g], t.Name)
	}
}

func (c *compiler) roleBinding(b *v1.RoleBinding) {
	expires := BindingEnd(b)
	for _, res := range b.Spec.Resources {
		t := c.granted(res)
		if t == nil {
			continue
		}
		for _, s := range b.Spec.Subjects {
			if who, ok := identity.ParseSubject(s); ok {
				c.grant(t, who, b.Spec.Role, expires)
			} else {
				c.problemf("names %q, which is not a subject", s)
			}
		}
	}
}

// BindingEnd is when a binding ends, in Unix seconds; 0 is never.
func BindingEnd(b *v1.RoleBinding) int64 {
	if b.Spec.ExpiresAt == nil {
		return 0
	}
	return max(b.Spec.ExpiresAt.Unix(), 1)
}

// granted finds what a binding names. A model of an account that is not there
// (yet) grants nothing.
func (c *compiler) granted(res string) *Target {
	kind, name, ok := v1.ParseResource(res)
	switch {
	case !ok:
		c.problemf("names %q, which is not a resource", res)
		return nil
	case kind == string(identity.Tenant):
		return c.cfg.tenant
	case kind == "model":
		t := c.modelTarget(name)
		if t == nil {
			c.problemf("names %s, whose account does not exist; it grants nothing", res)
		}
		return t
	default:
		return c.target(identity.ResourceRef(kind+":"+name), c.cfg.tenant)
	}
}

func (c *compiler) authzRules(r *v1.AuthzRules) {
	for _, rule := range r.Spec.Rules {
		for _, fqn := range rule.Models {
			t := c.modelTarget(fqn)
			if t == nil {
				c.problemf("names the model %s, whose account does not exist; it grants nothing", fqn)
				continue
			}
			for _, u := range rule.Users {
				c.grant(t, RuleSubject(u), identity.RoleModelUser, 0)
			}
		}
	}
}

// RuleSubject reads a user of AuthzRules: a subject, an e-mail address, or a
// user name.
func RuleSubject(u string) identity.Subject {
	if who, ok := identity.ParseSubject(u); ok {
		return who
	}
	if strings.Contains(u, "@") {
		return identity.UserSubject(v1.NormalizeEmail(u))
	}
	return identity.UserNameSubject(u)
}

func (c *compiler) finish() {
	c.cfg.tenant.sort()
	for _, t := range c.cfg.targets {
		t.sort()
	}
}

// Problems lists what means less than was written.
func (s *Snapshot) Problems() []Problem { return s.cfg.problems }

// Settings returns the tenant's settings, with defaults where there are none.
func (s *Snapshot) Settings() *v1.TenantSettingsSpec { return &s.cfg.settings.Spec }

// Role returns what a role may do.
func (s *Snapshot) Role(name string) (identity.PermissionSet, bool) {
	perms, ok := s.cfg.roles[name]
	return perms, ok
}

// Team finds a team.
func (s *Snapshot) Team(name string) (*v1.Team, bool) {
	t, ok := s.cfg.teams[name]
	return t, ok
}

// GroupTeams lists the teams that list a group of an identity provider.
func (s *Snapshot) GroupTeams(provider, group string) []string {
	return s.cfg.groupTeams[v1.GroupRef{IdentityProvider: provider, Group: group}]
}
