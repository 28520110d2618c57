package api

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// maxBody is the size of the largest body, in bytes.
const maxBody = 4 << 20

// call is one request to an operation.
type call struct {
	*API
	w      http.ResponseWriter
	r      *http.Request
	op     *operation
	caller authn.Caller
	snap   *snapshot.Snapshot
	now    time.Time
	id     string
	addr   string
	// about names what the call is about, for the audit of a refusal.
	about string
	// dryRun: nothing would have been changed.
	dryRun bool
	// sent is the body, read before anything is decided.
	sent sent
}

func newRequestID(*http.Request) string { return uuid.Must(uuid.NewV7()).String() }

// begin prepares the answer, takes the body in and finds out who is asking.
// The credential leaves the header here; nothing later sees it.
//
// A body comes as slowly as its sender likes. So who is asking, and what they
// may do, is found out once more when it is there: a token that was revoked
// and a role that was taken away meanwhile count for nothing. The first time
// is only to take in nothing of strangers.
func (a *API) begin(w http.ResponseWriter, r *http.Request, op *operation) (*call, error) {
	c := &call{API: a, w: w, r: r, op: op, id: w.Header().Get("X-Request-Id")}
	if c.id == "" {
		c.id = a.opt.RequestID(r)
	}
	h := w.Header()
	h.Set("X-Request-Id", c.id)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	browser := r.WithContext(r.Context())
	browser.Header = r.Header.Clone()
	r.Header.Del("Cookie")
	addr := a.opt.Addr(r)
	if addr.IsValid() {
		c.addr = addr.String()
	}
	cred := authn.FromHeader(r.Header, addr)
	err := c.authenticate(cred, addr, browser)
	if err == nil && op != nil && op.Body != nil {
		c.receive()
		err = c.authenticate(cred, addr, browser)
	}
	if err == nil && a.opt.Used != nil {
		// A session is kept alive by Browsers, and is no token.
		if g := c.caller.Grant; g.TokenID != "" && g.Via != viaSession {
			a.opt.Used(g.TokenID, c.now, c.addr)
		}
	}
	return c, err
}

// signedIn finds out whose browser asks, where no token is sent.
func (c *call) signedIn(browser *http.Request) error {
	none := identity.Errorf(identity.CodeNoCredential, "send a token: Authorization: Bearer TOKEN")
	if c.opt.Browsers == nil {
		return none
	}
	p, g, s, err := c.opt.Browsers.Visit(browser)
	switch {
	case identity.IsCode(err, identity.CodeNoCredential):
		return none
	case err != nil:
		return err
	case p == nil || g == nil || s == nil:
		return errors.New("a session without anybody")
	}
	c.caller, c.snap = authn.Caller{Principal: p, Grant: g, Snapshot: s}, s
	return nil
}

// authenticate finds out who is asking, under the present configuration.
func (c *call) authenticate(cred authn.Credential, addr netip.Addr, browser *http.Request) error {
	c.now, c.caller, c.snap = c.opt.Now(), authn.Caller{}, nil
	s := c.opt.Snapshots.Load()
	switch {
	case len(cred.Authorization)+len(cred.APIKey) == 0:
		// Not left to the authenticator: with AUTH_ENABLE=false it knows an
		// anonymous caller, who is nobody here.
		return c.signedIn(browser)
	case s == nil:
		return &identity.Error{Code: identity.CodeNoSnapshot, Message: "the configuration is not available yet", RetryAfter: time.Second}
	}
	caller, err := c.opt.Authenticator.Authenticate(c.r.Context(), s, cred)
	if err != nil {
		return err
	}
	if caller.Principal == nil || caller.Grant == nil || !caller.Grant.AllowsAddress(addr) {
		return identity.Errorf(identity.CodeAddressNotPermitted, "this token does not work from your address")
	}
	if c.caller, c.snap = caller, caller.Snapshot; c.snap == nil {
		c.snap = s
	}
	return nil
}

// subject names what the path says that the call is about, before anything is
// looked up: a refusal is about something too.
func (c *call) subject() string {
	if name := c.r.PathValue("name"); name != "" {
		plural, _, _ := strings.Cut(strings.TrimPrefix(c.op.Path, base+"/"), "/")
		if k, ok := v1.ParseKind(plural); ok {
			return string(identity.KindRef(k, name))
		}
	}
	user := c.r.PathValue("user")
	if _, ok := c.op.parameter("user"); ok {
		user = c.r.URL.Query().Get("user")
	}
	switch {
	case user != "":
		return c.userRef(user)
	case strings.HasPrefix(c.op.Path, base+"/me/"), strings.HasPrefix(c.op.Path, base+"/sessions"):
		return c.self()
	}
	return ""
}

// self names the caller.
func (c *call) self() string {
	p := c.caller.Principal
	return string(p.Kind) + ":" + p.Name
}

// may asks the one function that decides.
func (c *call) may(perm identity.Permission, t *snapshot.Target) error {
	return authz.Allows(c.caller.Principal, c.caller.Grant, perm, t, c.now)
}

// mayTenant asks on the installation.
func (c *call) mayTenant(perm identity.Permission) error { return c.may(perm, c.snap.Tenant()) }

// actor is the caller as somebody who writes.
func (c *call) actor(manager string) apply.Actor {
	return apply.Actor{
		Principal: c.caller.Principal, Grant: c.caller.Grant, Snapshot: c.snap, Manager: manager,
		RemoteAddr: c.addr, RequestID: c.id,
	}
}

// entry begins an audit entry of the caller.
func (c *call) entry(action, target, outcome string) record.AuditEntry {
	return apply.Entry(c.actor(apply.ManagerAPI), action, target, outcome)
}

// commit writes a batch with its audit entry and returns when it is live.
func (c *call) commit(b *record.Batch) error {
	head, err := c.opt.Writer.Commit(c.r.Context(), b)
	if err != nil {
		return err
	}
	c.await(head)
	return nil
}

// await gives the change two seconds to be live; it is stored in any case.
func (c *call) await(head identity.Head) {
	ctx, cancel := contextWithTimeout(c.r.Context())
	defer cancel()
	if c.opt.Snapshots.WaitFor(ctx, head) != nil {
		c.warn("the change is stored, but not live yet")
	}
}

// warn tells the caller something that is not an error.
func (c *call) warn(message string) {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, message)
	c.w.Header().Add("X-Gatehouse-Warning", clean)
}
