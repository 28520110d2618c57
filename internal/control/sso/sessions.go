package sso

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// SessionCookie carries the session's secret.
const SessionCookie = "__Host-gatehouse-session"

const (
	touchEvery     = time.Minute
	breakGlassIdle = 30 * time.Minute
	maxKnown       = 100_000
)

// Sessions says whose a browser's cookie is, and lists and ends sessions. It
// is safe for concurrent use.
type Sessions struct {
	h *Handler

	mu    sync.Mutex
	known map[string]known // by session id
}

// known is what a process remembers of a session that it has seen.
type known struct {
	connection string
	touched    time.Time
	expires    time.Time
}

// Visitor is who a session's cookie belongs to.
type Visitor struct {
	Principal *identity.Principal
	// Grant says Via: session, with the session's id as TokenID and its end.
	Grant    identity.Grant
	Snapshot *snapshot.Snapshot
}

func newSessions(h *Handler) *Sessions { return &Sessions{h: h, known: map[string]known{}} }

// currentSession finds the live session of a request's cookie. Nothing else
// than a session is found by it, whatever the cookie holds.
func currentSession(s *snapshot.Snapshot, r *http.Request) (snapshot.Token, bool) {
	cookies := r.CookiesNamed(SessionCookie)
	if len(cookies) != 1 || !identity.ValidSessionSecret(cookies[0].Value) {
		return snapshot.Token{}, false
	}
	t, ok := s.Token(identity.DigestOf(cookies[0].Value))
	return t, ok && t.Kind == identity.TokenSession
}

// Authenticate says whose the request's session is. It is for requests without
// an Authorization header; the caller decides which of the two counts.
//
// A request that may change something must come from a page of ours.
//
// Errors: no_credential (no session cookie), invalid_token (unknown, expired,
// ended, idle for too long, its user is gone or inactive, the local
// administrator's who is switched off), permission_denied (from another origin), configuration_unavailable, database_unavailable.
func (s *Sessions) Authenticate(r *http.Request) (Visitor, error) {
	snap, err := s.h.snapshot()
	if err != nil {
		return Visitor{}, err
	}
	if len(r.CookiesNamed(SessionCookie)) == 0 {
		return Visitor{}, identity.Errorf(identity.CodeNoCredential, "sign in")
	}
	if err := s.h.SameOrigin(r); err != nil {
		return Visitor{}, err
	}
	t, ok := currentSession(snap, r)
	now := s.h.now()
	switch {
	case !ok || t.Owner == nil || t.Owner.User == nil:
		return Visitor{}, over("there is no such session")
	case !now.Before(t.ExpiresAt):
		return Visitor{}, over("the session has expired")
	case !t.Owner.User.Active:
		return Visitor{}, over("the user is deactivated")
	}
	if err := s.touch(r.Context(), snap, &t, now); err != nil {
		return Visitor{}, err
	}
	return Visitor{
		Principal: snap.UserPrincipal(t.Owner.User, now), Snapshot: snap,
		Grant: identity.Grant{Via: "session", TokenID: t.ID, ExpiresAt: t.ExpiresAt},
	}, nil
}

// Visit is Authenticate in the form in which the control API asks.
func (s *Sessions) Visit(r *http.Request) (*identity.Principal, *identity.Grant, *snapshot.Snapshot, error) {
	v, err := s.Authenticate(r)
	if err != nil {
		return nil, nil, nil, err
	}
	return v.Principal, &v.Grant, v.Snapshot, nil
}

func over(detail string) *identity.Error {
	return &identity.Error{Code: identity.CodeInvalidToken, Message: "your session has ended; sign in again", Detail: detail}
}

// touch keeps a session alive, at most once a minute, and ends one that was
// idle for too long, or the local administrator's when there is to be none.
// While the database is away, a session that this process has seen within its
// idle limit goes on.
func (s *Sessions) touch(ctx context.Context, snap *snapshot.Snapshot, t *snapshot.Token, now time.Time) error {
	s.mu.Lock()
	k, seen := s.known[t.ID]
	s.mu.Unlock()
	if !seen {
		stored, err := s.h.opt.Sessions.Session(ctx, t.ID)
		if err != nil {
			return err
		}
		k = known{connection: stored.Connection, touched: stored.LastSeenAt, expires: t.ExpiresAt}
	}
	if k.connection == BreakGlassConnection && !s.h.breakGlassOn() {
		return s.finish(ctx, t.ID, "break-glass-off", "the local administrator is switched off")
	}
	if seen && now.Sub(k.touched) < touchEvery {
		return nil
	}
	idle := idleOf(snap, k.connection)
	alive, err := s.h.opt.Sessions.TouchSession(ctx, t.ID, now, idle)
	switch {
	case err != nil && seen && now.Sub(k.touched) < idle:
		return nil
	case err != nil:
		return err
	case !alive:
		return s.finish(ctx, t.ID, "idle", "it was idle for longer than its connection allows, or has been ended")
	}
	k.touched = now
	s.remember(t.ID, k, now)
	return nil
}

// finish ends a session for good that is not to go on, and returns the refusal:
// it is one whether the end can be written or not.
func (s *Sessions) finish(ctx context.Context, id, by, why string) error {
	s.forget(id)
	_, err := s.h.opt.Store.Commit(ctx, &record.Batch{EndSessions: []record.SessionEnd{{ID: id, By: by}}})
	ended := over(why)
	ended.Err = err
	return ended
}

func (s *Sessions) remember(id string, k known, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxKnown {
		for other, k := range s.known {
			if now.Sub(k.touched) >= touchEvery || !now.Before(k.expires) {
				delete(s.known, other)
			}
		}
	}
	s.known[id] = k
}

func (s *Sessions) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, id)
}

// idleOf is the idle limit of a connection's sessions. Those of one that is
// gone end soon.
func idleOf(s *snapshot.Snapshot, connection string) time.Duration {
	if c, ok := s.SsoConnection(connection); ok && connection != BreakGlassConnection {
		return c.Spec.Sessions.Idle.Std()
	}
	return breakGlassIdle
}

// List returns a user's sessions that are alive, the newest first. One that was
// idle for too long is not, though it is ended only when somebody comes with it.
func (s *Sessions) List(ctx context.Context, userUID string) ([]identity.Session, error) {
	snap, err := s.h.snapshot()
	if err != nil {
		return nil, err
	}
	list, err := s.unended(ctx, userUID)
	now := s.h.now()
	return slices.DeleteFunc(list, func(x identity.Session) bool {
		return now.Sub(x.LastSeenAt) > idleOf(snap, x.Connection)+touchEvery
	}), err
}

// unended returns a user's sessions that could go on, if only because a limit
// was raised, the newest first.
func (s *Sessions) unended(ctx context.Context, userUID string) ([]identity.Session, error) {
	list, err := s.h.opt.Sessions.Sessions(ctx, userUID)
	if err != nil {
		return nil, err
	}
	now := s.h.now()
	list = slices.DeleteFunc(list, func(x identity.Session) bool { return x.EndedAt != nil || !now.Before(x.ExpiresAt) })
	slices.SortFunc(list, func(a, b identity.Session) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return list, nil
}

// End ends one session of a user. by is user, admin or sign-out; audit says
// who acts, and gets action and target here. Errors: not_found (no such
// session, or somebody else's).
func (s *Sessions) End(ctx context.Context, userUID, id, by string, audit record.AuditEntry) (identity.Head, error) {
	x, err := s.h.opt.Sessions.Session(ctx, id)
	if err != nil {
		return identity.Head{}, err
	}
	if x.UserUID != userUID || x.EndedAt != nil {
		return identity.Head{}, identity.Errorf(identity.CodeNotFound, "there is no such session")
	}
	return s.end(ctx, []identity.Session{x}, by, cmp.Or(audit.Target, "session:"+id), audit)
}

// EndAll ends all sessions of a user but one; except may be empty.
func (s *Sessions) EndAll(ctx context.Context, userUID, except, by string, audit record.AuditEntry) (identity.Head, error) {
	list, err := s.unended(ctx, userUID)
	if err != nil {
		return identity.Head{}, err
	}
	list = slices.DeleteFunc(list, func(x identity.Session) bool { return x.ID == except })
	return s.end(ctx, list, by, cmp.Or(audit.Target, "user:"+userUID), audit)
}

func (s *Sessions) end(ctx context.Context, list []identity.Session, by, target string, audit record.AuditEntry) (identity.Head, error) {
	b := &record.Batch{}
	for i := range list {
		b.EndSessions = append(b.EndSessions, record.SessionEnd{ID: list[i].ID, By: by})
	}
	audit.Action, audit.Target, audit.Outcome = "session.end", target, "done"
	if audit.After == nil {
		audit.Before = toldOf(list)
	}
	b.Audit = []record.AuditEntry{audit}
	head, err := s.h.opt.Store.Commit(ctx, b)
	if err != nil {
		return identity.Head{}, err
	}
	for i := range list {
		s.forget(list[i].ID)
	}
	return head, nil
}

// maxTold is how many sessions the entry about their end names.
const maxTold = 100

// toldOf is what the audit is told of sessions that end.
func toldOf(list []identity.Session) json.RawMessage {
	type one struct {
		ID         string    `json:"id"`
		Connection string    `json:"connection,omitempty"`
		CreatedAt  time.Time `json:"createdAt,omitzero"`
		RemoteAddr string    `json:"remoteAddr,omitempty"`
	}
	about := struct {
		Sessions []one `json:"sessions"`
		More     int   `json:"more,omitempty"`
	}{Sessions: []one{}}
	for i := range list[:min(len(list), maxTold)] {
		x := &list[i]
		about.Sessions = append(about.Sessions, one{x.ID, x.Connection, x.CreatedAt, x.RemoteAddr})
	}
	about.More = len(list) - len(about.Sessions)
	told, _ := json.Marshal(about) // texts, times and a number: this cannot fail
	return told
}

// SameOrigin refuses a request that may change something and does not prove
// that a page of ours sent it: by Sec-Fetch-Site, else by Origin. One without
// either is no browser's, or an old one's, and has no business with a cookie.
// Errors: permission_denied.
func (h *Handler) SameOrigin(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	// A page under Referrer-Policy: no-referrer, which a proxy may have added,
	// sends "Origin: null" to ourselves too. Only the browser writes
	// Sec-Fetch-Site, and it calls no opaque origin same-origin.
	ours := origin == h.origin || (origin == "null" && site == "same-origin")
	if u, err := url.Parse(origin); err == nil && u.Host != "" && u.Host == r.Host {
		ours = true // another allowed name of this listener: the door has checked Host
	}
	switch {
	case site != "" && site != "same-origin", origin != "" && !ours, site == "" && origin == "":
		return identity.Errorf(identity.CodePermissionDenied, "this request did not come from a page of Gatehouse")
	}
	return nil
}
