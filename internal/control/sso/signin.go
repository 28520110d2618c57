package sso

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

const (
	writeTries  = 3
	waitForView = 2 * time.Second
	hintCookie  = "__Host-gatehouse-hint"
	// maxHint is how long a cookie's value may be, so that browsers take it.
	maxHint = 3800
)

// signIn makes a session of a verified assertion, or says why not. begun is nil
// where the identity provider began.
func (h *Handler) signIn(w http.ResponseWriter, r *http.Request, s *snapshot.Snapshot, c *v1.SsoConnection, a *Assertion, begun *Attempt) {
	if begun == nil {
		begun = &Attempt{ReturnTo: "/"}
	}
	s, c, err := h.newest(r.Context(), s, c)
	if err == nil && !c.Spec.Enabled {
		err = noConnection() // it was switched off meanwhile
	}
	var p *person
	if err == nil {
		p, err = h.admit(c, a)
	}
	uid := ""
	if err == nil {
		uid, err = h.find(r, s, c, p)
	}
	if err != nil {
		h.refuse(w, r, c, a, err)
		return
	}
	n := &newSession{
		connection: c.Name, uid: uid, assertion: a, life: c.Spec.Sessions.Absolute.Std(),
		teams: teamsOf(s, c, p), name: p.name, source: "sso:" + p.key.Issuer,
		memberFor: s.Settings().MembershipMaxAge.Std(), before: begun.Session,
	}
	_, n.scim = s.IssuerDirectory(p.key.Issuer)
	if err := h.establish(w, r, s, n); err != nil {
		h.refuse(w, r, c, a, err)
		return
	}
	http.Redirect(w, r, safeReturnTo(begun.ReturnTo), http.StatusSeeOther)
}

// admit holds an assertion to what the connection demands, and reads it.
func (h *Handler) admit(c *v1.SsoConnection, a *Assertion) (*person, error) {
	if err := checkRequired(c, a, h.now()); err != nil {
		return nil, err
	}
	return readPerson(c, a)
}

// newest waits until this process has seen what others have written: who was
// removed or let in at another replica a moment ago is so here as well. The
// connection may have become another meanwhile.
func (h *Handler) newest(ctx context.Context, s *snapshot.Snapshot, c *v1.SsoConnection) (*snapshot.Snapshot, *v1.SsoConnection, error) {
	latest, err := h.latest(ctx)
	if err != nil {
		return s, c, err
	}
	again, ok := latest.SsoConnection(c.Name)
	if !ok || again.UID != c.UID {
		return latest, c, noConnection()
	}
	return latest, again, nil
}

// latest is the configuration with everything that any replica has written.
func (h *Handler) latest(ctx context.Context) (*snapshot.Snapshot, error) {
	head, err := h.opt.Store.Head(ctx)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, waitForView)
	defer cancel()
	if err := h.opt.Snapshots.WaitFor(wait, head); err != nil {
		return nil, identity.Wrap(identity.CodeNoSnapshot, err, "the configuration is not up to date; try again")
	}
	return h.snapshot()
}

// newSession is what establish makes a session of.
type newSession struct {
	connection string
	uid        string
	assertion  *Assertion
	life       time.Duration
	teams      []string
	name       string
	source     string // of the memberships: sso:ISSUER; empty: none are changed
	memberFor  time.Duration
	scim       bool // the issuer's people come by SCIM, which beats a sign-in
	action     string
	before     string // the session that the browser had when it began
	// holds says whether what the session was made of still holds once it is
	// written; where it does not, the session ends before anybody has it.
	holds func(context.Context) error
}

// establish writes memberships and session in one batch, ends the session that
// the browser had, and puts the new one's secret into its cookie. The batch
// states the version of the person that was read: whoever is switched off in
// between gets no session.
func (h *Handler) establish(w http.ResponseWriter, r *http.Request, s *snapshot.Snapshot, n *newSession) error {
	secret := identity.NewSessionSecret()
	var (
		sess identity.Session
		head identity.Head
	)
	for try := 1; ; try++ {
		u, err := h.opt.Store.User(r.Context(), n.uid)
		if err != nil {
			return err
		}
		if !u.Active {
			return inactive()
		}
		sess = h.session(r, n, secret)
		b := &record.Batch{
			UserConditions: []record.UserCondition{{UID: u.UID, Version: u.Version}},
			PutSessions:    []identity.Session{sess},
			Audit:          []record.AuditEntry{h.audit(r, &u, &sess, n)},
		}
		if next, changed := memberships(u, n, h.now()); changed {
			b.PutUsers = []identity.User{next}
		}
		if id := h.replaced(r, s, n); id != "" {
			b.EndSessions = []record.SessionEnd{{ID: id, By: "sign-in"}}
		}
		head, err = h.opt.Store.Commit(r.Context(), b)
		if err == nil {
			break
		}
		if identity.CodeOf(err) != identity.CodePreconditionFailed || try == writeTries {
			return err
		}
	}
	if n.holds != nil {
		if err := n.holds(r.Context()); err != nil {
			return errors.Join(err, h.takeBack(r, &sess))
		}
	}
	h.setSession(w, &sess, secret)
	h.keepHint(w, &sess, n.assertion)
	ctx, cancel := context.WithTimeout(r.Context(), waitForView)
	defer cancel()
	_ = h.opt.Snapshots.WaitFor(ctx, head) // late: the next page is a moment too early, and no more
	return nil
}

// takeBack ends a session whose secret nobody has been given.
func (h *Handler) takeBack(r *http.Request, sess *identity.Session) error {
	audit := record.AuditEntry{Actor: "system:sso", Via: "sso:" + sess.Connection, RemoteAddr: sess.RemoteAddr, RequestID: requestID(r)}
	_, err := h.sessions.end(context.WithoutCancel(r.Context()), []identity.Session{*sess}, "reset", "session:"+sess.ID, audit)
	return err
}

// replaced is the id of the session that a sign-in takes the place of; empty
// where there is none.
func (h *Handler) replaced(r *http.Request, s *snapshot.Snapshot, n *newSession) string {
	if old, ok := currentSession(s, r); ok {
		return old.ID
	}
	if n.before == "" {
		return ""
	}
	if _, err := h.opt.Sessions.Session(r.Context(), n.before); err != nil {
		return "" // it is no more, or cannot be read: that keeps nobody out
	}
	return n.before
}

func (h *Handler) session(r *http.Request, n *newSession, secret string) identity.Session {
	now := h.now().UTC()
	a := n.assertion
	sess := identity.Session{
		ID: uuid.Must(uuid.NewV7()).String(), Digest: identity.DigestOf(secret), UserUID: n.uid, Connection: n.connection,
		Issuer: a.Issuer, Subject: a.Subject, ProviderSession: a.ProviderSession, AuthenticatedAt: a.AuthenticatedAt, ACR: a.ACR, AMR: a.AMR,
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(n.life), RemoteAddr: h.addr(r), UserAgent: cut(r.UserAgent(), 256),
	}
	if sess.AuthenticatedAt.IsZero() {
		sess.AuthenticatedAt = now
	}
	if !a.NotAfter.IsZero() && a.NotAfter.Before(sess.ExpiresAt) {
		sess.ExpiresAt = a.NotAfter.UTC()
	}
	return sess
}

// memberships replaces the set of the issuer whole. Other sources are not
// touched; where the person or the issuer's people are a directory's, the set
// becomes empty.
func memberships(u identity.User, n *newSession, now time.Time) (identity.User, bool) {
	if n.source == "" {
		return u, false
	}
	scim := n.scim || u.FromDirectory()
	had := len(u.Memberships)
	u.Memberships = slices.DeleteFunc(slices.Clone(u.Memberships), func(m identity.Membership) bool { return m.Source == n.source })
	changed := len(u.Memberships) != had
	if !scim {
		until := now.Add(n.memberFor).UTC()
		for _, team := range n.teams {
			u.Memberships = append(u.Memberships, identity.Membership{Team: team, Source: n.source, ExpiresAt: &until})
			changed = true
		}
		if u.DisplayName == "" && n.name != "" {
			u.DisplayName, changed = n.name, true
		}
	}
	return u, changed
}

func (h *Handler) audit(r *http.Request, u *identity.User, sess *identity.Session, n *newSession) record.AuditEntry {
	after, _ := json.Marshal(map[string]any{ // strings only: this cannot fail
		"connection": sess.Connection, "issuer": sess.Issuer, "subject": sess.Subject, "teams": n.teams, "acr": sess.ACR, "amr": sess.AMR, "userAgent": sess.UserAgent,
	})
	action := n.action
	if action == "" {
		action = "session.sign-in"
	}
	return record.AuditEntry{
		Actor: string(identity.UserSubject(u.Email)), ActorUID: u.UID, Via: "sso:" + sess.Connection, TokenID: sess.ID, RemoteAddr: sess.RemoteAddr,
		RequestID: requestID(r), Action: action, Target: "session:" + sess.ID, After: after, Outcome: "done",
	}
}

// refuse audits a sign-in that was refused and answers with its page. How many
// entries one network and one account may cause is bounded: anybody can begin an
// attempt, and whoever is nobody here may have an account there.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, c *v1.SsoConnection, a *Assertion, err error) {
	f := failureOf(err)
	about := map[string]string{"reason": f.Reason}
	if a != nil {
		about["issuer"], about["subject"] = cut(a.Issuer, 256), cut(a.Subject, 256)
	}
	if h.refusals.mayTell(network(h.addr(r)), a, h.now()) {
		after, _ := json.Marshal(about)
		_, auditErr := h.opt.Store.Commit(r.Context(), &record.Batch{Audit: []record.AuditEntry{{
			Actor: "anonymous", Via: "sso:" + c.Name, RemoteAddr: h.addr(r), RequestID: requestID(r),
			Action: "session.sign-in", Target: "sso-connection:" + c.Name, After: after, Outcome: "denied",
		}}})
		if auditErr != nil {
			f = failureOf(auditErr)
		}
	}
	h.fail(w, r, c.Name, f)
}

func (h *Handler) setSession(w http.ResponseWriter, sess *identity.Session, secret string) {
	http.SetCookie(w, &http.Cookie{
		Name: SessionCookie, Value: secret, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: max(int(sess.ExpiresAt.Sub(sess.CreatedAt)/time.Second), 1),
	})
}

// keepHint keeps what the sign-out at the provider needs, sealed, bound to the
// session, where it is short enough for a cookie. Without it the provider may
// ask the person once more.
func (h *Handler) keepHint(w http.ResponseWriter, sess *identity.Session, a *Assertion) {
	value := ""
	if a.SignOutHint != "" {
		if sealed, err := h.opt.Sealer.Seal([]byte(a.SignOutHint), hintPlace(sess.ID)); err == nil {
			value = base64.RawURLEncoding.EncodeToString(sealed)
		}
	}
	if value == "" || len(value) > maxHint {
		h.clearCookie(w, hintCookie)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: hintCookie, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: max(int(sess.ExpiresAt.Sub(sess.CreatedAt)/time.Second), 1),
	})
}

func hintPlace(sessionID string) []byte { return []byte("gatehouse/sso/hint/1/" + sessionID) }

func (h *Handler) hint(r *http.Request, sessionID string) string {
	cookies := r.CookiesNamed(hintCookie)
	if len(cookies) != 1 {
		return ""
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookies[0].Value)
	if err != nil {
		return ""
	}
	plain, err := h.opt.Sealer.Open(sealed, hintPlace(sessionID))
	if err != nil {
		return ""
	}
	return string(plain)
}

func requestID(r *http.Request) string { return cut(r.Header.Get("X-Request-Id"), 64) }

func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
