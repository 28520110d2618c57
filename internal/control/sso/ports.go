package sso

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// Snapshots hands out the present configuration.
type Snapshots interface {
	Load() *snapshot.Snapshot
	WaitFor(ctx context.Context, head identity.Head) error
}

// Store writes people and sessions.
type Store interface {
	// Head is the newest revision that any replica has written.
	Head(ctx context.Context) (identity.Head, error)
	// EnsureUser finds, links or creates a person, as the arrival permits.
	// Errors: invalid_token (deleted), identity_conflict, not_found,
	// database_unavailable.
	EnsureUser(ctx context.Context, a identity.Arrival) (uid string, head identity.Head, err error)
	// User reads a person with the version that a write must state.
	User(ctx context.Context, uid string) (identity.User, error)
	// Commit writes a batch whole or not at all. Errors: precondition_failed.
	Commit(ctx context.Context, b *record.Batch) (identity.Head, error)
	// Claim takes a one-time thing. Errors: conflict (somebody has it already).
	Claim(ctx context.Context, scope, id string, until time.Time) error
}

// SessionStore reads sessions and keeps them alive.
type SessionStore interface {
	Session(ctx context.Context, id string) (identity.Session, error)
	// Sessions lists those of a user that have not ended.
	Sessions(ctx context.Context, userUID string) ([]identity.Session, error)
	// SessionsAt lists those that came from an issuer, of a subject or of a
	// session there; an empty one of the two is any.
	SessionsAt(ctx context.Context, issuer, subject, providerSession string) ([]identity.Session, error)
	// TouchSession notes that a session was used, unless it has ended or was
	// idle for longer than idle: then alive is false.
	TouchSession(ctx context.Context, id string, at time.Time, idle time.Duration) (alive bool, err error)
}

// Sealer encrypts what cookies carry and what BreakGlassStore keeps.
type Sealer interface {
	Seal(plaintext, associatedData []byte) ([]byte, error)
	Open(sealed, associatedData []byte) ([]byte, error)
}

// BreakGlassStore keeps one sealed value: the local administrator.
type BreakGlassStore interface {
	// BreakGlass returns the value; nil where there is none yet.
	BreakGlass(ctx context.Context) ([]byte, error)
	// SetBreakGlass replaces old by value. Errors: precondition_failed (it is
	// not old any more).
	SetBreakGlass(ctx context.Context, old, value []byte) error
	// TombstonesOf lists the uids of removed people who had an address.
	TombstonesOf(ctx context.Context, email string, keys []identity.IdentityKey) ([]string, error)
}

// Onward is where the browser goes: to an address, or there by POST of a form.
type Onward struct {
	Location string
	Form     map[string]string
}

// Attempt is one person's attempt to sign in, from the button to the answer, or
// to sign out at a SAML identity provider. It lies sealed in a cookie of the
// browser that began it.
type Attempt struct {
	// ID is the state (OpenID Connect) or RelayState (SAML); it is claimed once.
	ID string `json:"id"`
	// Connection and UID name the connection, and exactly that one: not
	// another of the same name made later.
	Connection string `json:"connection"`
	UID        string `json:"uid"`
	// SignOut says that it is an attempt to sign out.
	SignOut  bool   `json:"signOut,omitempty"`
	ReturnTo string `json:"returnTo"`
	// Hint is the address that the person typed in.
	Hint string `json:"hint,omitempty"`
	// Test names who asked for a test sign-in, which signs nobody in; empty is a
	// real one.
	Test string `json:"test,omitempty"`
	// Session is the id of the session that the browser had, which a sign-in
	// ends: a cross-site POST does not bring its cookie.
	Session   string    `json:"session,omitempty"`
	ExpiresAt time.Time `json:"expiresAt"`
	// Issuer, Nonce and Verifier are OpenID Connect's.
	Issuer   string `json:"issuer,omitempty"`
	Nonce    string `json:"nonce,omitempty"`
	Verifier string `json:"verifier,omitempty"`
	// Request is SAML's: the id of the request that is to be answered.
	Request string `json:"request,omitempty"`

	claimed bool // by this request
}

// Assertion is what an identity provider said about a person, verified.
type Assertion struct {
	// Issuer is the OpenID provider's issuer or the SAML entity id.
	Issuer string
	// Subject is the person's name at the issuer as the protocol has it (sub,
	// NameID): a back-channel logout names it.
	Subject string
	// Claims are what SsoClaims look into; SAML attributes are lists of strings.
	Claims map[string]any
	// EmailClaims are where the address and its verification are read, both
	// from the same source. Nil: Claims.
	EmailClaims map[string]any
	// ProviderSession is the sid or SessionIndex.
	ProviderSession string
	// AuthenticatedAt is when the person proved who they are; zero where the
	// provider does not say.
	AuthenticatedAt time.Time
	ACR             string
	AMR             []string
	// NotAfter ends the session early (SAML SessionNotOnOrAfter); zero: no.
	NotAfter time.Time
	// SignOutHint is kept for the sign-out at the provider: the ID token, or
	// what belongs to the NameID.
	SignOutHint string
}

// Options are what a Handler needs. Required are Snapshots, Store, Sessions,
// Sealer, Secret and ExternalURL.
type Options struct {
	Snapshots Snapshots
	Store     Store
	Sessions  SessionStore
	Sealer    Sealer
	// Secret returns the present client secret of a connection that has one.
	// Errors: secret_unavailable.
	Secret func(c *v1.SsoConnection) (string, error)
	// SAML returns our key for SAML. Nil: connections with protocol saml sign
	// nobody in.
	SAML ServiceKey
	// BreakGlass may be nil: then there is no local administrator.
	BreakGlass BreakGlassStore
	// BreakGlassOff reports whether the local administrator is switched off.
	// Nil: never.
	BreakGlassOff func() bool
	// CheckFile says whether a resource of this manager may name a file as its
	// CA (secret.Allow.CheckFile). Nil: none may.
	CheckFile func(path, manager string) error
	// ExternalURL is our own, as browsers see it.
	ExternalURL string
	// Addr returns the caller's address, as far as it can be trusted. Default:
	// the connection's.
	Addr func(*http.Request) netip.Addr
	Now  func() time.Time
	// Log hears of failures that people report by an id. Default none.
	Log *slog.Logger
}
