package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Me is who the caller is.
type Me struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	UID   string `json:"uid,omitempty"`
	Email string `json:"email,omitempty"`
	// Subjects are all that apply.
	Subjects []identity.Subject `json:"subjects"`
	Teams    []MyTeam           `json:"teams"`
	// Via is how the caller came: jwt, personal-access-token, …
	Via       string              `json:"via"`
	TokenID   string              `json:"tokenId,omitempty"`
	Provider  string              `json:"identityProvider,omitempty"`
	ExpiresAt time.Time           `json:"expiresAt"`
	Narrowing *identity.Narrowing `json:"narrowing,omitempty"`
	Admin     bool                `json:"admin"`
	// Permissions are those on the tenant.
	Permissions []identity.Permission `json:"permissions"`
}

// MyTeam is a team of the caller, and where that comes from.
type MyTeam struct {
	Name string `json:"name"`
	// Source is manifest, manual, scim, sso:ISSUER, token or owner.
	Source  string `json:"source"`
	Manager bool   `json:"manager,omitempty"`
}

// Permissions is the catalogue.
type Permissions struct {
	Permissions []identity.Permission `json:"permissions"`
	// AdminOnly cannot stand in custom roles.
	AdminOnly []identity.Permission `json:"adminOnly"`
	Roles     []BuiltinRole         `json:"builtinRoles"`
}

// BuiltinRole is a role that is always there.
type BuiltinRole struct {
	Name        string                `json:"name"`
	Permissions []identity.Permission `json:"permissions"`
}

func (a *API) selfOperations() []operation {
	return []operation{
		{
			ID: "me", Method: http.MethodGet, Path: base + "/me", Summary: "Who am I", Permission: authenticated, On: onSelf,
			AuditAction: notAudited, Answer: Me{}, Status: http.StatusOK, run: (*call).whoAmI,
		},
		{
			ID: "permissions", Method: http.MethodGet, Path: base + "/permissions", Summary: "The catalogue of permissions and the built-in roles",
			Permission: authenticated, On: onSelf, AuditAction: notAudited, Answer: Permissions{}, Status: http.StatusOK, run: (*call).permissions,
		},
		{
			ID: "openapi", Method: http.MethodGet, Path: base + "/openapi.json", Summary: "This description", Permission: authenticated, On: onSelf,
			AuditAction: notAudited, Status: http.StatusOK, run: func(c *call) (*answer, error) { return &answer{text: c.openapi, form: formJSON}, nil },
		},
	}
}

func (c *call) whoAmI() (*answer, error) {
	p, g := c.caller.Principal, c.caller.Grant
	me := Me{
		Kind: string(p.Kind), Name: p.Name, UID: p.UID, Email: p.Email, Subjects: subjects(p), Teams: c.teams(),
		Via: g.Via, TokenID: g.TokenID, Provider: g.Provider, ExpiresAt: g.ExpiresAt, Narrowing: g.Narrowing,
		Permissions: authz.Held(p, g, c.snap.Tenant(), c.now).List(),
	}
	me.Admin = slices.Contains(me.Permissions, identity.PermTenantAdmin)
	if me.Permissions == nil {
		me.Permissions = []identity.Permission{}
	}
	return &answer{body: me}, nil
}

// subjects are the principal's, but for the one by which AuthzRules find a user
// name: that is ours, and nothing that could be written anywhere.
func subjects(p *identity.Principal) []identity.Subject {
	list := []identity.Subject{}
	for _, s := range p.Subjects {
		if !strings.HasPrefix(string(s), string(identity.UserNameSubject(""))) {
			list = append(list, s)
		}
	}
	return list
}

// teams says where each membership comes from. What is not stored, the token
// says.
func (c *call) teams() []MyTeam {
	p := c.caller.Principal
	list := []MyTeam{}
	if u, ok := c.snap.UserByUID(p.UID); ok && p.Kind == identity.KindUser {
		for _, t := range c.snap.UserTeams(u, "", c.now) {
			if slices.Contains(p.Teams, t.Team) {
				list = append(list, MyTeam{Name: t.Team, Source: t.Source, Manager: t.Manager})
			}
		}
	}
	for _, name := range p.Teams {
		if slices.ContainsFunc(list, func(t MyTeam) bool { return t.Name == name }) {
			continue
		}
		source := "token"
		if p.Kind == identity.KindVirtualAccount {
			source = "owner"
		}
		list = append(list, MyTeam{Name: name, Source: source})
	}
	return list
}

func (c *call) permissions() (*answer, error) {
	out := Permissions{Permissions: identity.AllPermissions().List(), AdminOnly: identity.AdminOnly().List()}
	for _, name := range identity.BuiltinRoleNames() {
		perms, _ := identity.BuiltinRole(name)
		out.Roles = append(out.Roles, BuiltinRole{Name: name, Permissions: perms.List()})
	}
	return &answer{body: out}, nil
}
