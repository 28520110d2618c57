package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// Me is who the caller is.
type Me struct {
	Kind     string   `json:"kind"`
	Name     string   `json:"name"`
	UID      string   `json:"uid"`
	Email    string   `json:"email"`
	Subjects []string `json:"subjects"`
	Teams    []struct {
		Name    string `json:"name"`
		Source  string `json:"source"`
		Manager bool   `json:"manager"`
	} `json:"teams"`
	Via              string     `json:"via"`
	TokenID          string     `json:"tokenId"`
	IdentityProvider string     `json:"identityProvider"`
	ExpiresAt        time.Time  `json:"expiresAt"`
	Narrowing        *Narrowing `json:"narrowing"`
	Admin            bool       `json:"admin"`
	Permissions      []string   `json:"permissions"`
}

// Me says who the caller is.
func (c *Client) Me(ctx context.Context) (*Me, error) {
	out := &Me{}
	_, err := c.do(ctx, request{method: http.MethodGet, segments: []string{"me"}}, out)
	return out, err
}

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
	ID         string     `json:"id"`
	Kind       string     `json:"kind"`
	Name       string     `json:"name"`
	CreatedAt  time.Time  `json:"createdAt"`
	ExpiresAt  time.Time  `json:"expiresAt"`
	RevokedAt  *time.Time `json:"revokedAt"`
	LastUsedAt *time.Time `json:"lastUsedAt"`
	CreatedBy  string     `json:"createdBy"`
	Narrowing  *Narrowing `json:"narrowing"`
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

func (c *Client) tokens(ctx context.Context, segments ...string) ([]Token, error) {
	var out struct {
		Items []Token `json:"items"`
	}
	_, err := c.do(ctx, request{method: http.MethodGet, segments: segments}, &out)
	return out.Items, err
}

func (c *Client) createToken(ctx context.Context, req TokenRequest, segments ...string) (*NewToken, error) {
	body, err := asJSON(req)
	if err != nil {
		return nil, err
	}
	out := &NewToken{}
	if _, err := c.do(ctx, request{method: http.MethodPost, segments: segments, form: formJSON, body: body}, out); err != nil {
		return nil, err
	}
	return out, nil
}

func (c *Client) remove(ctx context.Context, query url.Values, segments ...string) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, segments: segments, query: query}, nil)
	return err
}

// TestSignIn is a link by which an SsoConnection is tried in a browser.
type TestSignIn struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// CreateTestSignIn makes a link by which a connection is tried, enabled or not;
// nobody is signed in by it.
func (c *Client) CreateTestSignIn(ctx context.Context, connection string) (*TestSignIn, error) {
	out := &TestSignIn{}
	if _, err := c.do(ctx, request{method: http.MethodPost, segments: []string{"sso-connections", connection, "test-sign-ins"}}, out); err != nil {
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

// User is a person.
type User struct {
	UID         string    `json:"uid"`
	Email       string    `json:"email"`
	UserName    string    `json:"userName"`
	DisplayName string    `json:"displayName"`
	Active      bool      `json:"active"`
	CreatedAt   time.Time `json:"createdAt"`
	Identities  []struct {
		Issuer   string    `json:"issuer"`
		Subject  string    `json:"subject"`
		LinkedAt time.Time `json:"linkedAt"`
	} `json:"identities"`
	Memberships []struct {
		Team      string     `json:"team"`
		Source    string     `json:"source"`
		Manager   bool       `json:"manager"`
		ExpiresAt *time.Time `json:"expiresAt"`
	} `json:"memberships"`
}

// UserWrite is what can be written of a person; nil stays as it is.
type UserWrite struct {
	UserName    *string `json:"userName,omitempty"`
	DisplayName *string `json:"displayName,omitempty"`
	Active      *bool   `json:"active,omitempty"`
}

// Users lists all people.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	var list []User
	opt := ListOptions{Limit: 500}
	for {
		var page struct {
			Items      []User `json:"items"`
			NextCursor string `json:"nextCursor"`
		}
		if _, err := c.do(ctx, request{method: http.MethodGet, segments: []string{"users"}, query: opt.query()}, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Items...)
		if opt.Cursor = page.NextCursor; opt.Cursor == "" {
			return list, nil
		}
	}
}

// User reads a person by uid or e-mail address.
func (c *Client) User(ctx context.Context, user string) (*User, error) {
	out := &User{}
	if _, err := c.do(ctx, request{method: http.MethodGet, segments: []string{"users", user}}, out); err != nil {
		return nil, err
	}
	return out, nil
}

// PutUser creates or changes a person.
func (c *Client) PutUser(ctx context.Context, email string, w UserWrite) (*User, error) {
	body, err := asJSON(w)
	if err != nil {
		return nil, err
	}
	out := &User{}
	if _, err := c.do(ctx, request{method: http.MethodPut, segments: []string{"users", email}, form: formJSON, body: body}, out); err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteUser removes a person for good.
func (c *Client) DeleteUser(ctx context.Context, user string) error {
	return c.remove(ctx, nil, "users", user)
}

// UnlinkUser forgets how an issuer names a person; "" is every issuer.
func (c *Client) UnlinkUser(ctx context.Context, user, issuer string) error {
	q := url.Values{}
	if issuer != "" {
		q.Set("issuer", issuer)
	}
	return c.remove(ctx, q, "users", user, "identities")
}

// Question asks why something is allowed or denied. With neither Token nor As
// it is about the caller.
type Question struct {
	Token string `json:"token,omitempty"`
	// As is user:EMAIL or virtual-account:NAME.
	As string `json:"as,omitempty"`
	// Model is account/model; Resource is anything else.
	Model    string `json:"model,omitempty"`
	Resource string `json:"resource,omitempty"`
	// Action is a permission. Default model:use.
	Action string `json:"action,omitempty"`
}

// Explanation is the answer to a Question.
type Explanation struct {
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason"`
	Steps   []struct {
		Stage   string `json:"stage"`
		OK      bool   `json:"ok"`
		Message string `json:"message"`
	} `json:"steps"`
}

// Explain asks why something is allowed or denied.
func (c *Client) Explain(ctx context.Context, q Question) (*Explanation, error) {
	body, err := asJSON(q)
	if err != nil {
		return nil, err
	}
	out := &Explanation{}
	if _, err := c.do(ctx, request{method: http.MethodPost, segments: []string{"access:explain"}, form: formJSON, body: body}, out); err != nil {
		return nil, err
	}
	return out, nil
}

// AuditEntry is one administrative act or refusal.
type AuditEntry struct {
	ID         string          `json:"id"`
	At         time.Time       `json:"at"`
	Actor      string          `json:"actor"`
	ActorUID   string          `json:"actorUid"`
	Via        string          `json:"via"`
	TokenID    string          `json:"tokenId"`
	RemoteAddr string          `json:"remoteAddr"`
	RequestID  string          `json:"requestId"`
	Action     string          `json:"action"`
	Target     string          `json:"target"`
	Before     json.RawMessage `json:"before"`
	After      json.RawMessage `json:"after"`
	Outcome    string          `json:"outcome"`
}

// Audit reads one page of the audit, the newest first.
func (c *Client) Audit(ctx context.Context, opt ListOptions) (entries []AuditEntry, next string, err error) {
	var page struct {
		Items      []AuditEntry `json:"items"`
		NextCursor string       `json:"nextCursor"`
	}
	_, err = c.do(ctx, request{method: http.MethodGet, segments: []string{"audit"}, query: opt.query()}, &page)
	return page.Items, page.NextCursor, err
}

// LogRecord is one call through the gateway.
type LogRecord struct {
	ID            string    `json:"id"`
	At            time.Time `json:"at"`
	Endpoint      string    `json:"endpoint"`
	Principal     string    `json:"principal"`
	Team          string    `json:"team"`
	Via           string    `json:"via"`
	TokenID       string    `json:"tokenId"`
	Account       string    `json:"account"`
	Model         string    `json:"model"`
	UpstreamModel string    `json:"upstreamModel"`
	Status        int       `json:"status"`
	Code          string    `json:"code"`
	Stream        bool      `json:"stream"`
	InputTokens   int64     `json:"inputTokens"`
	OutputTokens  int64     `json:"outputTokens"`
	DurationMS    int64     `json:"durationMs"`
	FirstByteMS   int64     `json:"firstByteMs"`
	RemoteAddr    string    `json:"remoteAddr"`
	TraceID       string    `json:"traceId"`
}

// Logs reads the newest calls through the gateway: the caller's own, or with
// all everybody's, which needs logs:read.
func (c *Client) Logs(ctx context.Context, all bool, limit int) ([]LogRecord, error) {
	q := url.Values{}
	if all {
		q.Set("scope", "all")
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var page struct {
		Items []LogRecord `json:"items"`
	}
	_, err := c.do(ctx, request{method: http.MethodGet, segments: []string{"logs"}, query: q}, &page)
	return page.Items, err
}

// Permissions is the catalogue.
type Permissions struct {
	Permissions  []string `json:"permissions"`
	AdminOnly    []string `json:"adminOnly"`
	BuiltinRoles []struct {
		Name        string   `json:"name"`
		Permissions []string `json:"permissions"`
	} `json:"builtinRoles"`
}

// Permissions lists the permissions and the built-in roles.
func (c *Client) Permissions(ctx context.Context) (*Permissions, error) {
	out := &Permissions{}
	_, err := c.do(ctx, request{method: http.MethodGet, segments: []string{"permissions"}}, out)
	return out, err
}
