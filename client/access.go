package client

import (
	"context"
	"net/http"
	"time"
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
	err := c.do(ctx, request{method: http.MethodGet, segments: []string{"me"}}, out)
	return out, err
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
	if err := c.do(ctx, request{method: http.MethodPost, segments: []string{"access:explain"}, form: formJSON, body: body}, out); err != nil {
		return nil, err
	}
	return out, nil
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
	if err := c.do(ctx, request{method: http.MethodPost, segments: []string{"sso-connections", connection, "test-sign-ins"}}, out); err != nil {
		return nil, err
	}
	return out, nil
}
