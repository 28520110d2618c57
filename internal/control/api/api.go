package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/control/audit"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// Snapshots hands out the present configuration.
type Snapshots interface {
	Load() *snapshot.Snapshot
	WaitFor(ctx context.Context, head identity.Head) error
}

// Authenticator says who a credential belongs to.
type Authenticator interface {
	Authenticate(ctx context.Context, s *snapshot.Snapshot, c authn.Credential) (authn.Caller, error)
}

// Explainer authenticates a token with a trace and without side effects.
type Explainer interface {
	Explain(ctx context.Context, s *snapshot.Snapshot, token string, tr *identity.Trace) (authn.Caller, error)
}

// Writer writes a batch whole or not at all.
type Writer interface {
	Commit(ctx context.Context, b *record.Batch) (identity.Head, error)
}

// Resources reads stored resources.
type Resources interface {
	Resource(ctx context.Context, key identity.ResourceKey) (v1.Resource, error)
	AllResources(ctx context.Context) ([]v1.Resource, error)
}

// People reads users.
type People interface {
	User(ctx context.Context, uid string) (identity.User, error)
	UserByEmail(ctx context.Context, email string) (identity.User, error)
	// UserByName finds by userName, without regard to case.
	UserByName(ctx context.Context, userName string) (identity.User, error)
	Users(ctx context.Context, after string, limit int) ([]identity.User, error)
	// Members lists those who have a membership of a team, by uid.
	Members(ctx context.Context, team, after string, limit int) ([]identity.User, error)
}

// Tokens reads tokens, which are not secret: everything but themselves.
type Tokens interface {
	Token(ctx context.Context, id string) (identity.Token, error)
	Tokens(ctx context.Context, owner string) ([]identity.Token, error)
	// TokenPage lists an owner's tokens by id, those after one.
	TokenPage(ctx context.Context, owner, after string, limit int) ([]identity.Token, error)
}

// AuditLog reads the audit, the newest first.
type AuditLog interface {
	Audit(ctx context.Context, after string, limit int) ([]record.AuditEntry, error)
}

// Logs reads the records of requests, the newest first.
type Logs interface {
	Requests(ctx context.Context, principalUID string, limit int) ([]record.Request, error)
	AllRequests(ctx context.Context, limit int) ([]record.Request, error)
}

// Sealer encrypts secret values and cursors.
type Sealer interface {
	Seal(plaintext, associatedData []byte) ([]byte, error)
	Open(sealed, associatedData []byte) ([]byte, error)
	Digest(plaintext string, associatedData []byte) string
}

// Options are what an API needs. All are required but AuditExport, Browsers,
// SignInTests, Used, Logs, RequestID, Now and Log.
type Options struct {
	Snapshots     Snapshots
	Authenticator Authenticator
	Explainer     Explainer
	Writer        Writer
	Resources     Resources
	People        People
	Tokens        Tokens
	// Audit may be an AuditFinder as well: then the audit can be filtered.
	Audit AuditLog
	// AuditExport may be nil: then there is no /audit/export and no /audit/keys.
	AuditExport AuditExport
	// Browsers may be nil: then there are no sessions, and cookies mean nothing.
	Browsers Browsers
	// SignInTests may be nil: then connections cannot be tried.
	SignInTests SignInTests
	// Logs may be nil: then there is no /logs.
	Logs   Logs
	Sealer Sealer
	Allow  apply.AllowList
	// Used notes that a token of ours was used, and from where. Nil: nobody does.
	Used func(tokenID string, at time.Time, from string)
	// ExternalURL is our own issuer.
	ExternalURL string
	// Addr returns the caller's address, as far as it can be trusted.
	Addr func(*http.Request) netip.Addr
	// RequestID returns the id of a request. Default: a new UUIDv7.
	RequestID func(*http.Request) string
	Now       func() time.Time
	// Log hears of internal errors. Default none.
	Log *slog.Logger
}

// API is the control API.
type API struct {
	opt     Options
	applier *apply.Applier
	mux     *http.ServeMux
	huma    huma.API
	ops     []operation
	openapi []byte

	refusals audit.Refusals
}

// New returns the control API. The error is a mistake in an operation's
// registration.
func New(opt Options) (*API, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.RequestID == nil {
		opt.RequestID = newRequestID
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{opt: opt, mux: http.NewServeMux()}
	a.applier = apply.New(apply.Options{
		Snapshots: opt.Snapshots, Resources: opt.Resources, Writer: opt.Writer, Sealer: opt.Sealer, Allow: opt.Allow,
		ExternalURL: opt.ExternalURL, Now: opt.Now,
	})
	a.huma = huma.NewAPI(huma.Config{OpenAPI: a.description()}, humago.NewAdapter(a.mux, ""))
	groups := []func() []operation{
		a.resourceOperations, a.applyOperations, a.userOperations, a.memberOperations, a.sessionOperations, a.tokenOperations, a.directoryOperations, a.testSignInOperations,
		a.selfOperations, a.explainOperations, a.auditOperations, a.logOperations,
	}
	for _, group := range groups {
		for _, op := range group() {
			if err := a.register(op); err != nil {
				return nil, err
			}
		}
	}
	return a, a.describe()
}

// Applier returns the engine, for manifests.dir and the environment.
func (a *API) Applier() *apply.Applier { return a.applier }

// Handler serves everything under /api/v1/.
func (a *API) Handler() http.Handler { return http.HandlerFunc(a.route) }
