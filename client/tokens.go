package client

import (
	"context"
	"net/http"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// Narrowing makes a token weaker than its owner. A nil list is no limit, an
// empty one permits nothing.
type Narrowing struct {
	Models     []string   `json:"models,omitzero"`
	MCPServers []string   `json:"mcpServers,omitzero"`
	Agents     []string   `json:"agents,omitzero"`
	CIDR       []string   `json:"cidr,omitzero"`
	NotAfter   *time.Time `json:"notAfter,omitempty"`
}

// Token is a token, without itself.
type Token struct {
	ID string `json:"id"`
	// Kind is personal-access-token or virtual-account-token.
	Kind         string     `json:"kind"`
	Name         string     `json:"name"`
	CreatedAt    time.Time  `json:"createdAt"`
	ExpiresAt    time.Time  `json:"expiresAt"`
	RevokedAt    *time.Time `json:"revokedAt"`
	LastUsedAt   *time.Time `json:"lastUsedAt"`
	LastUsedFrom string     `json:"lastUsedFrom"`
	CreatedBy    string     `json:"createdBy"`
	Narrowing    *Narrowing `json:"narrowing"`
}

// NewToken is a token that was just made; Secret is never shown again, and
// prints as [redacted].
type NewToken struct {
	Token
	Secret v1.Sensitive `json:"token"`
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Name string `json:"name"`
	// ExpiresIn may be empty: then Gatehouse decides.
	ExpiresIn v1.Duration `json:"expiresIn,omitempty"`
	Narrowing *Narrowing  `json:"narrowing,omitempty"`
}

// tokens reads all of somebody's tokens, in the order in which they were made.
func (c *Client) tokens(ctx context.Context, segments ...string) ([]Token, error) {
	return all[Token](ctx, c, "", segments...)
}

func (c *Client) createToken(ctx context.Context, req TokenRequest, segments ...string) (*NewToken, error) {
	body, err := asJSON(req)
	if err != nil {
		return nil, err
	}
	out := &NewToken{}
	if err := c.do(ctx, request{method: http.MethodPost, segments: segments, form: formJSON, body: body}, out); err != nil {
		return nil, err
	}
	return out, nil
}

// MyTokens lists the caller's personal access tokens.
func (c *Client) MyTokens(ctx context.Context) ([]Token, error) { return c.tokens(ctx, "me", "tokens") }

// CreateMyToken makes a personal access token.
func (c *Client) CreateMyToken(ctx context.Context, req TokenRequest) (*NewToken, error) {
	return c.createToken(ctx, req, "me", "tokens")
}

// RevokeMyToken revokes one of the caller's tokens.
func (c *Client) RevokeMyToken(ctx context.Context, id string) error {
	return c.remove(ctx, nil, "me", "tokens", id)
}

// RevokeMyTokens revokes all of the caller's tokens.
func (c *Client) RevokeMyTokens(ctx context.Context) error {
	return c.remove(ctx, nil, "me", "tokens")
}

// UserTokens lists a person's tokens; the person by uid or e-mail address.
func (c *Client) UserTokens(ctx context.Context, user string) ([]Token, error) {
	return c.tokens(ctx, "users", user, "tokens")
}

// RevokeUserToken revokes one of a person's tokens.
func (c *Client) RevokeUserToken(ctx context.Context, user, id string) error {
	return c.remove(ctx, nil, "users", user, "tokens", id)
}

// RevokeUserTokens revokes all of a person's tokens.
func (c *Client) RevokeUserTokens(ctx context.Context, user string) error {
	return c.remove(ctx, nil, "users", user, "tokens")
}

// VirtualAccountTokens lists a virtual account's tokens.
func (c *Client) VirtualAccountTokens(ctx context.Context, account string) ([]Token, error) {
	return c.tokens(ctx, "virtual-accounts", account, "tokens")
}

// CreateVirtualAccountToken makes a token of a virtual account.
func (c *Client) CreateVirtualAccountToken(ctx context.Context, account string, req TokenRequest) (*NewToken, error) {
	return c.createToken(ctx, req, "virtual-accounts", account, "tokens")
}

// RevokeVirtualAccountToken revokes one of a virtual account's tokens.
func (c *Client) RevokeVirtualAccountToken(ctx context.Context, account, id string) error {
	return c.remove(ctx, nil, "virtual-accounts", account, "tokens", id)
}
