package api

import (
	"net/http"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// longestDirectoryToken is the longest life of a SCIM token: directories do
// not renew them by themselves.
const longestDirectoryToken = 3650 * 24 * time.Hour

// DirectoryTokenWrite asks for a SCIM token: a TokenWrite without a narrowing,
// which says why it is refused.
type DirectoryTokenWrite struct {
	// Name is for people.
	Name string `json:"name"`
	// ExpiresIn is a length of time such as 365d, which is the default.
	ExpiresIn v1.Duration `json:"expiresIn,omitempty"`
}

// directoryOperations are about the tokens of ScimDirectories. There may be
// several at once, so that one is replaced without an outage: make the new
// one, give it to the directory, revoke the old one.
func (a *API) directoryOperations() []operation {
	tokens := base + "/scim-directories/{name}/tokens"
	perm := identity.KindPermission(v1.KindScimDirectory, "update")
	return []operation{
		{
			ID: "list-scim-directory-tokens", Method: http.MethodGet, Path: tokens, Summary: "List a directory's SCIM tokens", Permission: perm, On: onTenant,
			AuditAction: notAudited, Query: paging(), Answer: TokenList{}, Status: http.StatusOK, run: (*call).directoryTokens,
		},
		{
			ID: "create-scim-directory-token", Method: http.MethodPost, Path: tokens, Summary: "Make a SCIM token, which opens /scim/v2 and nothing else", Permission: perm, On: onTenant,
			AuditAction: "token.create", Body: DirectoryTokenWrite{}, Answer: NewToken{}, Status: http.StatusCreated, run: (*call).createDirectoryToken,
		},
		{
			ID: "revoke-scim-directory-token", Method: http.MethodDelete, Path: tokens + "/{id}", Summary: "Revoke one of a directory's SCIM tokens", Permission: perm, On: onTenant,
			AuditAction: "token.revoke", Status: http.StatusNoContent, run: (*call).revokeDirectoryToken,
		},
	}
}

func (c *call) directoryTokens() (*answer, error) {
	d, err := c.existing(v1.KindScimDirectory)
	if err != nil {
		return nil, err
	}
	return c.tokens(d.Meta().UID)
}

func (c *call) createDirectoryToken() (*answer, error) {
	d, err := c.existing(v1.KindScimDirectory)
	if err != nil {
		return nil, err
	}
	t, err := c.newToken(identity.TokenSCIM, 365*24*time.Hour, longestDirectoryToken)
	if err != nil {
		return nil, err
	}
	if t.Narrowing != nil {
		return nil, identity.Errorf(identity.CodeInvalidRequest, "narrowing: a SCIM token opens /scim/v2 alone; there is nothing to narrow")
	}
	t.Owner = d.Meta().UID
	return c.mint(t, []record.Condition{{Key: identity.ResourceKey{Kind: v1.KindScimDirectory, Name: d.Meta().Name}, ResourceVersion: d.Meta().ResourceVersion}})
}

func (c *call) revokeDirectoryToken() (*answer, error) {
	d, err := c.existing(v1.KindScimDirectory)
	if err != nil {
		return nil, err
	}
	return nil, c.revokeOne(d.Meta().UID)
}
