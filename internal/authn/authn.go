package authn

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn/jose"
	"github.com/gatehouse-ai/gatehouse/internal/authn/keyring"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// Credential is what a request brings to prove who is asking.
type Credential struct {
	// Authorization and APIKey are all values of the Authorization and
	// x-api-key headers.
	Authorization []string
	APIKey        []string
	// Addr is the caller's address, as far as it can be trusted.
	Addr netip.Addr
}

// FromHeader takes the credential out of a request's header, so that nothing
// after authentication ever sees it.
func FromHeader(h http.Header, addr netip.Addr) Credential {
	c := Credential{Authorization: h["Authorization"], APIKey: h["X-Api-Key"], Addr: addr}
	delete(h, "Authorization")
	delete(h, "X-Api-Key")
	return c
}

// Caller is who is asking, as of one snapshot. Snapshot may be newer than the
// one that was asked with, where a person had to be created first.
type Caller struct {
	Principal *identity.Principal
	Grant     *identity.Grant
	Snapshot  *snapshot.Snapshot

	digest identity.Digest // of a token of ours
	entry  *verified       // of a token of an identity provider
	addr   netip.Addr
}

// Directory creates or links a person whom the snapshot does not know yet.
type Directory interface {
	// Ensure returns the person's uid and the revision at which the snapshot
	// knows them.
	Ensure(ctx context.Context, a identity.Arrival) (uid string, head identity.Head, err error)
}

// Snapshots is where newer snapshots come from.
type Snapshots interface {
	Load() *snapshot.Snapshot
	WaitFor(ctx context.Context, head identity.Head) error
}

// Keys are the key sets of the identity providers.
type Keys interface {
	Lookup(ctx context.Context, uid, kid string) (keyring.Result, error)
	Peek(uid, kid string) (keyring.Result, error)
	Alive(uid, thumbprint string) bool
	Status() []keyring.Status
}

// Options are what an Authenticator needs.
type Options struct {
	Keys Keys
	// Directory may be nil: then nobody is created or linked (503).
	Directory Directory
	Snapshots Snapshots
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// CacheSize is the number of verified tokens kept. Default 100 000.
	CacheSize int
	// Anonymous, where not nil, is who a caller without any credential is:
	// only with AUTH_ENABLE=false, on loopback, on the gateway's routes.
	Anonymous func(*snapshot.Snapshot) *identity.Principal
}

// Authenticator turns credentials into callers.
type Authenticator struct {
	opt     Options
	cache   *cache
	arrival *arrivals
}

// New returns an authenticator.
func New(opt Options) *Authenticator {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.CacheSize == 0 {
		opt.CacheSize = 100_000
	}
	return &Authenticator{opt: opt, cache: newCache(opt.CacheSize), arrival: newArrivals(opt.Directory)}
}

// mode says whether an authentication may have side effects.
type mode int

const (
	live  mode = iota
	dry        // explain: no refetch, nobody created
	again      // recheck: as dry, and whoever is not known any more is nobody
)

// Authenticate says who a credential belongs to.
//
// Errors are *identity.Error: no_credential and invalid_token (401),
// credentials_disagree (400), identity_not_mapped, identity_ambiguous,
// identity_conflict and address_not_permitted (403),
// identity_provider_unavailable and directory_unavailable (503).
func (a *Authenticator) Authenticate(ctx context.Context, s *snapshot.Snapshot, c Credential) (Caller, error) {
	token, err := bearer(c)
	if err != nil {
		if a.opt.Anonymous != nil && identity.IsCode(err, identity.CodeNoCredential) {
			return a.anonymous(s), nil
		}
		return Caller{}, err
	}
	return a.authenticate(ctx, s, token, c.Addr, live, nil)
}

func (a *Authenticator) anonymous(s *snapshot.Snapshot) Caller {
	grant := &identity.Grant{Via: "anonymous", ExpiresAt: a.opt.Now().Add(24 * time.Hour)}
	return Caller{Principal: a.opt.Anonymous(s), Grant: grant, Snapshot: s}
}

// authenticate decides by the look of the credential, never by trying things
// until something passes.
func (a *Authenticator) authenticate(ctx context.Context, s *snapshot.Snapshot, token string, addr netip.Addr, m mode, tr *identity.Trace) (Caller, error) {
	var caller Caller
	var err error
	switch {
	case identity.LooksLikeOurs(token):
		caller, err = a.ours(s, token, tr)
	case jose.LooksLikeJWT(token):
		caller, err = a.jwt(ctx, s, token, addr, m, tr)
	default:
		tr.Note("credential", false, "this is neither a token of ours (gtp_…, gtv_…) nor a JWT (three parts with dots between)")
		err = invalid("the credential is neither a token of ours nor a JWT")
	}
	if err != nil {
		return Caller{}, err
	}
	if m == dry {
		return caller, nil // the token may be somebody else's
	}
	caller.addr = addr.Unmap().WithZone("")
	return caller.checked()
}

// checked refuses a token that is narrowed to addresses from any other, and
// from one that is not known.
func (c Caller) checked() (Caller, error) {
	if !c.Grant.AllowsAddress(c.addr) {
		return Caller{}, identity.Errorf(identity.CodeAddressNotPermitted, "this token does not work from your address")
	}
	return c, nil
}

// Recheck says who a caller is under a newer snapshot, without the credential:
// for requests that are still running. It creates nobody and asks nobody. That
// the credential has expired meanwhile does not end them: how long an answer
// may go on after that is the gateway's limit.
func (a *Authenticator) Recheck(s *snapshot.Snapshot, c Caller) (Caller, error) {
	var next Caller
	var err error
	switch {
	case c.entry != nil:
		next, err = a.resolveEntry(context.Background(), s, c.entry, c.addr, again, nil)
	case c.digest != (identity.Digest{}):
		next, err = a.byDigest(s, c.digest, again, nil)
	case a.opt.Anonymous != nil:
		next = a.anonymous(s)
	default:
		err = invalid("the credential is not known any more")
	}
	if err != nil {
		return Caller{}, err
	}
	next.addr = c.addr
	return next.checked()
}

// Explain authenticates a token with a trace and without side effects. It does
// not look at the address, because the token may be somebody else's.
func (a *Authenticator) Explain(ctx context.Context, s *snapshot.Snapshot, token string, tr *identity.Trace) (Caller, error) {
	return a.authenticate(ctx, s, token, netip.Addr{}, dry, tr)
}

// invalid is what every bad credential gets: the reasons are for explain and
// the log.
func invalid(detail string) *identity.Error {
	return &identity.Error{Code: identity.CodeInvalidToken, Message: "the access token is not valid", Detail: detail}
}
