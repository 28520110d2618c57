package identity

import (
	"slices"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// Permission is one thing that somebody may do, written kind:verb.
type Permission string

// The permissions that are not the plain reading and writing of a resource kind.
const (
	PermModelUse             Permission = "model:use"
	PermHostedTools          Permission = "provider-account:hosted-tools"
	PermAccountAccess        Permission = "provider-account:manage-access"
	PermTeamMembers          Permission = "team:manage-members"
	PermVirtualAccountTokens Permission = "virtual-account:manage-tokens"
	PermSecretStoreUse       Permission = "secret-store:use"
	PermRoleBind             Permission = "role:bind"
	PermUserRead             Permission = "user:read"
	PermUserCreate           Permission = "user:create"
	PermUserUpdate           Permission = "user:update"
	PermUserDelete           Permission = "user:delete"
	PermTokenCreateOwn       Permission = "token:create-own"
	PermTokenReadAll         Permission = "token:read"
	PermTokenRevokeAll       Permission = "token:revoke"
	PermSessionRead          Permission = "session:read"
	PermSessionEnd           Permission = "session:end"
	PermAccessExplain        Permission = "access:explain"
	PermLogsRead             Permission = "logs:read"
	PermLogsReadBodies       Permission = "logs:read-bodies"
	PermMetricsRead          Permission = "metrics:read"
	PermAuditRead            Permission = "audit:read"
	PermTenantAdmin          Permission = "tenant:admin"
	PermTakeOver             Permission = "resource:take-over"
	verbRead, verbCreate                = "read", "create"
	verbUpdate, verbDelete              = "update", "delete"
)

// KindPermission returns the permission to read, create, update or delete
// resources of a kind: "provider-account:update".
func KindPermission(k v1.Kind, verb string) Permission { return Permission(k.Slug() + ":" + verb) }

// Catalogue lists every permission, in the order of their bits in a
// PermissionSet. The order is an implementation detail and may change.
func Catalogue() []Permission { return slices.Clone(catalogue) }

var catalogue = buildCatalogue()

func buildCatalogue() []Permission {
	list := []Permission{
		PermModelUse, PermHostedTools, PermAccountAccess, PermTeamMembers, PermVirtualAccountTokens, PermSecretStoreUse,
		PermRoleBind, PermUserRead, PermUserCreate, PermUserUpdate, PermUserDelete, PermTokenCreateOwn, PermTokenReadAll,
		PermTokenRevokeAll, PermSessionRead, PermSessionEnd, PermAccessExplain, PermLogsRead, PermLogsReadBodies, PermMetricsRead, PermAuditRead,
		PermTenantAdmin, PermTakeOver,
	}
	for _, k := range v1.Kinds() {
		for _, verb := range []string{verbRead, verbCreate, verbUpdate, verbDelete} {
			list = append(list, KindPermission(k, verb))
		}
	}
	return list
}

var permissionBits = func() map[Permission]int {
	m := make(map[Permission]int, len(catalogue))
	for i, p := range catalogue {
		m[p] = i
	}
	return m
}()

// Known reports whether the catalogue holds the permission.
func (p Permission) Known() bool { _, ok := permissionBits[p]; return ok }

// PermissionSet is a set of permissions of the catalogue. The zero value is empty.
type PermissionSet [2]uint64

// NewPermissionSet returns the set of the given permissions; ones that the
// catalogue does not hold are left out.
func NewPermissionSet(perms ...Permission) PermissionSet {
	var s PermissionSet
	for _, p := range perms {
		if bit, ok := permissionBits[p]; ok {
			s[bit/64] |= 1 << (bit % 64)
		}
	}
	return s
}

// Has reports whether the set holds a permission.
func (s PermissionSet) Has(p Permission) bool {
	bit, ok := permissionBits[p]
	return ok && s[bit/64]&(1<<(bit%64)) != 0
}

// Union returns what is in either set.
func (s PermissionSet) Union(o PermissionSet) PermissionSet {
	return PermissionSet{s[0] | o[0], s[1] | o[1]}
}

// Intersect returns what is in both sets.
func (s PermissionSet) Intersect(o PermissionSet) PermissionSet {
	return PermissionSet{s[0] & o[0], s[1] & o[1]}
}

// Without returns what is in s and not in o.
func (s PermissionSet) Without(o PermissionSet) PermissionSet {
	return PermissionSet{s[0] &^ o[0], s[1] &^ o[1]}
}

// IsEmpty reports whether the set holds nothing.
func (s PermissionSet) IsEmpty() bool { return s == PermissionSet{} }

// Covers reports whether s holds everything that o holds.
func (s PermissionSet) Covers(o PermissionSet) bool { return o.Without(s).IsEmpty() }

// List returns the permissions of the set, sorted.
func (s PermissionSet) List() []Permission {
	var list []Permission
	for i, p := range catalogue {
		if s[i/64]&(1<<(i%64)) != 0 {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

// AllPermissions returns the set of the whole catalogue.
func AllPermissions() PermissionSet { return NewPermissionSet(catalogue...) }

// AdminOnly are the permissions that custom roles cannot contain: to write
// where tokens come from, or what nobody should decide by a role, needs
// tenant-admin.
func AdminOnly() PermissionSet {
	s := NewPermissionSet(PermTenantAdmin, PermTakeOver)
	for _, k := range []v1.Kind{v1.KindIdentityProvider, v1.KindExternalIdentity, v1.KindSecretStore, v1.KindTenantSettings, v1.KindSsoConnection, v1.KindScimDirectory} {
		for _, verb := range []string{verbCreate, verbUpdate, verbDelete} {
			s = s.Union(NewPermissionSet(KindPermission(k, verb)))
		}
	}
	return s
}

// The built-in roles' names.
const (
	RoleTenantAdmin            = "tenant-admin"
	RoleTenantMember           = "tenant-member"
	RoleProviderAccountManager = "provider-account-manager"
	RoleProviderAccountEditor  = "provider-account-editor"
	RoleProviderAccountUser    = "provider-account-user"
	RoleModelUser              = "model-user"
	RoleTeamManager            = "team-manager"
	RoleVirtualAccountManager  = "virtual-account-manager"
	RoleSecretStoreUser        = "secret-store-user"
)

// BuiltinRole returns what a built-in role may do, and whether there is one of
// that name.
func BuiltinRole(name string) (PermissionSet, bool) {
	read := func(k v1.Kind) Permission { return KindPermission(k, verbRead) }
	switch name {
	case RoleTenantAdmin:
		return AllPermissions(), true
	case RoleTenantMember:
		return NewPermissionSet(PermTokenCreateOwn, read(v1.KindTeam)), true
	case RoleProviderAccountManager:
		return NewPermissionSet(PermModelUse, PermHostedTools, PermAccountAccess, PermRoleBind, read(v1.KindProviderAccount),
			KindPermission(v1.KindProviderAccount, verbUpdate), KindPermission(v1.KindProviderAccount, verbDelete)), true
	case RoleProviderAccountEditor:
		return NewPermissionSet(read(v1.KindProviderAccount), KindPermission(v1.KindProviderAccount, verbUpdate)), true
	case RoleProviderAccountUser:
		return NewPermissionSet(PermModelUse), true
	case RoleModelUser:
		return NewPermissionSet(PermModelUse), true
	case RoleTeamManager:
		return NewPermissionSet(read(v1.KindTeam), PermTeamMembers, read(v1.KindVirtualAccount), KindPermission(v1.KindVirtualAccount, verbCreate),
			KindPermission(v1.KindVirtualAccount, verbUpdate), KindPermission(v1.KindVirtualAccount, verbDelete), PermVirtualAccountTokens), true
	case RoleVirtualAccountManager:
		return NewPermissionSet(read(v1.KindVirtualAccount), KindPermission(v1.KindVirtualAccount, verbUpdate),
			KindPermission(v1.KindVirtualAccount, verbDelete), PermVirtualAccountTokens), true
	case RoleSecretStoreUser:
		return NewPermissionSet(read(v1.KindSecretStore), PermSecretStoreUse), true
	}
	if kind, ok := strings.CutSuffix(name, "-viewer"); ok {
		if k, ok := v1.ParseKind(kind); ok && k.Slug() == kind {
			return NewPermissionSet(read(k)), true
		}
	}
	return PermissionSet{}, false
}

// BuiltinRoleNames lists the built-in roles, sorted.
func BuiltinRoleNames() []string {
	names := []string{
		RoleTenantAdmin, RoleTenantMember, RoleProviderAccountManager, RoleProviderAccountEditor, RoleProviderAccountUser,
		RoleModelUser, RoleTeamManager, RoleVirtualAccountManager, RoleSecretStoreUser,
	}
	for _, k := range v1.Kinds() {
		names = append(names, k.Slug()+"-viewer")
	}
	slices.Sort(names)
	return names
}
