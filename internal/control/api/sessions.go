package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// viaSession is identity.Grant.Via of a signed-in browser.
const viaSession = "session"

// Browsers knows the sessions of people who have signed in.
type Browsers interface {
	// Visit says whose session the request's cookie is. Errors: no_credential
	// where there is no cookie.
	Visit(r *http.Request) (*identity.Principal, *identity.Grant, *snapshot.Snapshot, error)
	List(ctx context.Context, userUID string) ([]identity.Session, error)
	// End ends one session of a user, EndAll all but one.
	End(ctx context.Context, userUID, id, by string, audit record.AuditEntry) (identity.Head, error)
	EndAll(ctx context.Context, userUID, except, by string, audit record.AuditEntry) (identity.Head, error)
}

// Session is a signed-in browser as it is shown.
type Session struct {
	identity.Session
	// Current: it is the session by which the caller asks.
	Current bool `json:"current,omitempty"`
}

// SessionList is one page of somebody's sessions that are alive, the newest
// first.
type SessionList struct {
	Items      []Session `json:"items"`
	NextCursor string    `json:"nextCursor,omitempty"`
}

func (a *API) sessionOperations() []operation {
	if a.opt.Browsers == nil {
		return nil
	}
	const sessions = base + "/sessions"
	user := query{"user", "Whose, by e-mail address or uid; it takes session:read, and session:end to end them. Default: one's own.", patterned(userPattern)}
	keep := query{"keepCurrent", "Leave the session by which this is asked. Default false.", flag()}
	return []operation{
		{
			ID: "list-sessions", Method: http.MethodGet, Path: sessions, Summary: "List signed-in browsers", Permission: authenticated, On: onSelf,
			AuditAction: notAudited, Query: append(paging(), user), Answer: SessionList{}, Status: http.StatusOK, run: (*call).listSessions,
		},
		{
			ID: "end-sessions", Method: http.MethodDelete, Path: sessions, Summary: "Sign out everywhere", Permission: authenticated, On: onSelf,
			AuditAction: "session.end", Query: []query{user, keep}, Status: http.StatusNoContent, run: (*call).endSessions,
		},
		{
			ID: "end-session", Method: http.MethodDelete, Path: sessions + "/{id}", Summary: "Sign one browser out", Permission: authenticated, On: onSelf,
			AuditAction: "session.end", Query: []query{user}, Status: http.StatusNoContent, run: (*call).endSession,
		},
	}
}

// whose finds the person of the parameter user, and asks; without one it is
// the caller.
func (c *call) whose(perm identity.Permission) (uid, by string, err error) {
	name := c.r.URL.Query().Get("user")
	if name == "" {
		uid, err = c.me()
		return uid, "user", err
	}
	if err := c.mayTenant(perm); err != nil {
		return "", "", err
	}
	u, err := c.find(name)
	return u.UID, "admin", err
}

func (c *call) listSessions() (*answer, error) {
	uid, _, err := c.whose(identity.PermSessionRead)
	if err != nil {
		return nil, err
	}
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	context := "sessions\x00" + uid
	after, err := c.after(context)
	if err != nil {
		return nil, err
	}
	list, err := c.opt.Browsers.List(c.r.Context(), uid)
	if err != nil {
		return nil, err
	}
	list = sessionsAfter(list, after)
	page := SessionList{Items: []Session{}}
	for _, s := range list[:min(limit, len(list))] {
		page.Items = append(page.Items, Session{Session: s, Current: s.ID == c.session()})
	}
	if len(list) > limit {
		page.NextCursor, err = c.cursor(context, placeOf(&list[limit-1]))
	}
	return &answer{body: page}, err
}

// placeOf says where a session stands in a list by age. Of the texts the
// greater one is the younger session.
func placeOf(s *identity.Session) string {
	return fmt.Sprintf("%020d %s", max(0, s.CreatedAt.UnixMilli()), s.ID)
}

// sessionsAfter puts sessions in order, the newest first, and leaves those that
// come after a place; "" is the beginning.
func sessionsAfter(list []identity.Session, place string) []identity.Session {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b identity.Session) int { return cmp.Compare(placeOf(&b), placeOf(&a)) })
	if place == "" {
		return list
	}
	i := slices.IndexFunc(list, func(s identity.Session) bool { return placeOf(&s) < place })
	if i < 0 {
		return nil
	}
	return list[i:]
}

// session is the id of the session by which the caller asks; "" for a token.
func (c *call) session() string {
	if c.caller.Grant.Via != viaSession {
		return ""
	}
	return c.caller.Grant.TokenID
}

func (c *call) endSessions() (*answer, error) {
	keep, err := c.flag("keepCurrent")
	if err != nil {
		return nil, err
	}
	uid, by, err := c.whose(identity.PermSessionEnd)
	if err != nil {
		return nil, err
	}
	except := ""
	if keep {
		except = c.session()
	}
	head, err := c.opt.Browsers.EndAll(c.r.Context(), uid, except, by, c.entry("session.end", c.about, apply.OutcomeDone))
	if err != nil {
		return nil, err
	}
	c.await(head)
	return nil, nil
}

func (c *call) endSession() (*answer, error) {
	uid, by, err := c.whose(identity.PermSessionEnd)
	if err != nil {
		return nil, err
	}
	head, err := c.opt.Browsers.End(c.r.Context(), uid, c.r.PathValue("id"), by, c.entry("session.end", c.about, apply.OutcomeDone))
	if err != nil {
		return nil, err
	}
	c.await(head)
	return nil, nil
}
