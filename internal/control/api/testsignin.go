package api

import (
	"net/http"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// SignInTests makes the links by which an SsoConnection is tried.
type SignInTests interface {
	// TestLink names the connection by name and uid; by is the caller's subject.
	TestLink(connection, uid, by string) (link string, expiresAt time.Time, err error)
}

// TestSignIn is a link to open in a browser.
type TestSignIn struct {
	// URL leads to the identity provider, and back to a page that says what
	// would have come of the sign-in.
	URL string `json:"url"`
	// ExpiresAt is until when it works, as often as one likes.
	ExpiresAt time.Time `json:"expiresAt"`
}

func (a *API) testSignInOperations() []operation {
	if a.opt.SignInTests == nil {
		return nil
	}
	return []operation{{
		ID: "create-test-sign-in", Method: http.MethodPost, Path: base + "/sso-connections/{name}/test-sign-ins",
		Summary:    "Make a link by which a connection is tried, enabled or not, without signing anybody in",
		Permission: identity.KindPermission(v1.KindSsoConnection, "update"), On: onTenant,
		AuditAction: "sso-connection.test", Answer: TestSignIn{}, Status: http.StatusCreated, run: (*call).createTestSignIn,
	}}
}

func (c *call) createTestSignIn() (*answer, error) {
	r, err := c.existing(v1.KindSsoConnection)
	if err != nil {
		return nil, err
	}
	entry := c.entry("sso-connection.test", c.about, apply.OutcomeDone)
	link, expiresAt, err := c.opt.SignInTests.TestLink(r.Meta().Name, r.Meta().UID, entry.Actor)
	if err != nil {
		return nil, err
	}
	if _, err := c.opt.Writer.Commit(c.r.Context(), &record.Batch{Audit: []record.AuditEntry{entry}}); err != nil {
		return nil, err
	}
	return &answer{body: TestSignIn{URL: link, ExpiresAt: expiresAt}}, nil
}
