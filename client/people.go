package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// User is a person.
type User struct {
	UID         string    `json:"uid"`
	Email       string    `json:"email"`
	UserName    string    `json:"userName"`
	DisplayName string    `json:"displayName"`
	Active      bool      `json:"active"`
	CreatedAt   time.Time `json:"createdAt"`
	// Version grows with every change; PutUser can ask for it.
	Version uint64 `json:"version"`
	// Manager is who owns the person's data: api, which may be left out, or
	// scim:NAME for a directory.
	Manager string `json:"manager"`
	// ExternalID and Attributes are the directory's; Attributes is an object.
	ExternalID  string          `json:"externalId"`
	Attributes  json.RawMessage `json:"attributes"`
	Identities  []UserIdentity  `json:"identities"`
	Memberships []Membership    `json:"memberships"`
}

// UserIdentity is how one issuer names a person.
type UserIdentity struct {
	Issuer   string    `json:"issuer"`
	Subject  string    `json:"subject"`
	LinkedAt time.Time `json:"linkedAt"`
}

// Membership says that a person belongs to a team, other than by the team's
// manifest.
type Membership struct {
	Team string `json:"team"`
	// Source is manual, scim or sso:ISSUER.
	Source  string `json:"source"`
	Manager bool   `json:"manager"`
	// ExpiresAt ends what was learned at a sign-in.
	ExpiresAt *time.Time `json:"expiresAt"`
}

// UserWrite is what can be written of a person; nil stays as it is.
type UserWrite struct {
	UserName    *string `json:"userName,omitempty"`
	DisplayName *string `json:"displayName,omitempty"`
	Active      *bool   `json:"active,omitempty"`
}

// Users lists the people that a filter matches ("" is all), by e-mail address.
// The filter is in SCIM's grammar (RFC 7644, 3.4.2.2) over userName, email,
// displayName, active and manager.
func (c *Client) Users(ctx context.Context, filter string) ([]User, error) {
	return all[User](ctx, c, filter, "users")
}

// User reads a person by uid or e-mail address.
func (c *Client) User(ctx context.Context, user string) (*User, error) {
	out := &User{}
	if err := c.do(ctx, request{method: http.MethodGet, segments: []string{"users", user}}, out); err != nil {
		return nil, err
	}
	return out, nil
}

// UserOptions say how a person is written.
type UserOptions struct {
	// Version is the one that was read; 0 is any.
	Version uint64
	// Create: there must be no such person yet.
	Create bool
}

// PutUser changes a person, by uid or e-mail address, or creates one by e-mail
// address. It returns what is stored now.
func (c *Client) PutUser(ctx context.Context, user string, w UserWrite, opt UserOptions) (*User, error) {
	body, err := asJSON(w)
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	if opt.Version != 0 {
		h = conditions(strconv.FormatUint(opt.Version, 10))
	}
	if opt.Create {
		h.Set("If-None-Match", "*")
	}
	out := &User{}
	if err := c.do(ctx, request{method: http.MethodPut, segments: []string{"users", user}, header: h, form: formJSON, body: body}, out); err != nil {
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
