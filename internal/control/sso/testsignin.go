package sso

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/sso/saml"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// testLife is how long the link of a test works, as often as one likes.
const testLife = 15 * time.Minute

const (
	maxShownClaims = 100
	maxShownValue  = 400 // bytes
	// triesTest is how many tests one network begins in a quarter of an hour,
	// testsOf how many all do by the links of one administrator: each leaves an
	// entry in the audit.
	triesTest = 60
	testsOf   = 300
)

// testTicket is what the link of a test carries, sealed.
type testTicket struct {
	Connection string    `json:"connection"`
	UID        string    `json:"uid"`
	By         string    `json:"by"`
	ExpiresAt  time.Time `json:"expiresAt"`
}

var testPlace = []byte("gatehouse/sso/test/1")

// TestLink returns a link by which a connection is tried in a browser, enabled
// or not: whoever opens it signs in at the identity provider and is shown what
// would come of it. Nobody is signed in and nothing is changed. by is the
// subject of the administrator who asks, for the audit.
func (h *Handler) TestLink(connection, uid, by string) (link string, expiresAt time.Time, err error) {
	t := testTicket{Connection: connection, UID: uid, By: by, ExpiresAt: h.now().Add(testLife).UTC().Truncate(time.Second)}
	plain, err := json.Marshal(t)
	if err != nil {
		return "", time.Time{}, err
	}
	sealed, err := h.opt.Sealer.Seal(plain, testPlace)
	if err != nil {
		return "", time.Time{}, err
	}
	return h.base + "/sso/" + connection + "/login?" + url.Values{"test": {base64.RawURLEncoding.EncodeToString(sealed)}}.Encode(), t.ExpiresAt, nil
}

// tester opens the ticket of a test of a connection and says who asked for it.
func (h *Handler) tester(r *http.Request, c *v1.SsoConnection, ticket string) (string, error) {
	over := &Failure{
		Status: http.StatusNotFound, Reason: "test_over", Title: "This test is over",
		Text: "The link of a test sign-in works for a quarter of an hour, and for the connection that it was made for. Make a new one.",
	}
	var t testTicket
	sealed, err := base64.RawURLEncoding.DecodeString(ticket)
	if err == nil {
		sealed, err = h.opt.Sealer.Open(sealed, testPlace)
	}
	if err == nil {
		err = json.Unmarshal(sealed, &t)
	}
	if err == nil && (t.Connection != c.Name || t.UID != c.UID || t.By == "" || !h.now().Before(t.ExpiresAt)) {
		err = errors.New("it is another connection's or too old")
	}
	if err != nil {
		over.Err = err
		return "", over
	}
	now := h.now()
	if !h.crowd.allow("test/"+network(h.addr(r)), triesTest, now) || !h.crowd.allow("test-of/"+t.By, testsOf, now) {
		return "", tooMany()
	}
	return t.By, nil
}

// rehearsal is what a sign-in would come to.
type rehearsal struct {
	c         *v1.SsoConnection
	assertion *Assertion // nil where it did not get so far
	person    *person
	user      *identity.User // who they are; nil for somebody new
	linked    bool           // by the e-mail address, with this sign-in
	teams     []string
	directory bool // teams are a SCIM directory's
	err       error
}

// tested answers a test sign-in: err, or what the assertion would have led to.
func (h *Handler) tested(w http.ResponseWriter, r *http.Request, s *snapshot.Snapshot, c *v1.SsoConnection, a *Assertion, begun *Attempt, err error) {
	t := &rehearsal{c: c, assertion: a, err: err}
	if err == nil {
		t = h.rehearse(r.Context(), s, c, a)
	}
	if err := h.auditTest(r, t, begun.Test); err != nil {
		h.fail(w, r, c.Name, err)
		return
	}
	if t.err != nil {
		h.opt.Log.InfoContext(r.Context(), "test sign-in refused", "id", requestID(r), "connection", c.Name, "reason", failureOf(t.err).Reason, "error", t.err)
	}
	h.pages.tested(w, t.page())
}

// rehearse does what signIn does, up to where something would be written.
func (h *Handler) rehearse(ctx context.Context, s *snapshot.Snapshot, c *v1.SsoConnection, a *Assertion) *rehearsal {
	t := &rehearsal{c: c, assertion: a}
	if s, t.c, t.err = h.newest(ctx, s, c); t.err != nil {
		return t
	}
	if t.person, t.err = h.admit(t.c, a); t.person == nil {
		// What they are may be of use even so.
		t.person, _ = readPerson(t.c, a)
		return t
	}
	var what plan
	if what, t.err = h.plan(s, t.c, t.person); t.err != nil {
		return t
	}
	if t.err = h.meet(ctx, s, t, what); t.err != nil {
		return t
	}
	_, t.directory = s.IssuerDirectory(t.person.key.Issuer)
	t.directory = t.directory || t.user != nil && t.user.FromDirectory()
	t.teams = teamsOf(s, t.c, t.person)
	return t
}

// meet looks at the user of a plan, and does not carry it out.
func (h *Handler) meet(ctx context.Context, s *snapshot.Snapshot, t *rehearsal, what plan) error {
	uid := what.uid
	if uid == "" {
		if u, exists := s.UserByEmail(what.arrival.Email); exists {
			uid, t.linked = u.UID, true
		}
	}
	if uid != "" {
		u, err := h.opt.Store.User(ctx, uid)
		if err != nil {
			return err
		}
		t.user = &u
	}
	if what.uid == "" {
		other := t.user != nil && slices.ContainsFunc(t.user.Identities, func(i identity.UserIdentity) bool { return i.Issuer == what.arrival.Key.Issuer })
		if _, err := what.arrival.Decide(t.user != nil, other); err != nil {
			return unfound(err)
		}
	}
	if t.user != nil && !t.user.Active {
		return inactive()
	}
	return nil
}

func (h *Handler) auditTest(r *http.Request, t *rehearsal, by string) error {
	about, outcome := map[string]string{"by": by}, "done"
	if t.assertion != nil {
		about["issuer"], about["subject"] = cut(t.assertion.Issuer, 256), cut(t.assertion.Subject, 256)
	}
	if t.err != nil {
		about["reason"], outcome = failureOf(t.err).Reason, "denied"
	}
	after, err := json.Marshal(about)
	if err != nil {
		return err
	}
	_, err = h.opt.Store.Commit(r.Context(), &record.Batch{Audit: []record.AuditEntry{{
		Actor: "anonymous", Via: "sso:" + t.c.Name, RemoteAddr: h.addr(r), RequestID: requestID(r),
		Action: "session.test", Target: "sso-connection:" + t.c.Name, After: after, Outcome: outcome,
	}}})
	return err
}

// page says it to the administrator, with what the provider has sent.
func (t *rehearsal) page() testPage {
	page := testPage{Title: "The test worked", Connection: t.c.Title()}
	if !t.c.Spec.Enabled {
		page.Next = "To let people sign in this way, set spec.enabled to true."
	}
	if t.err != nil {
		f := failureOf(t.err)
		page = testPage{Title: "The test failed", Connection: t.c.Title(), Change: f.Change, Reason: f.Reason}
		if f.Change == "" {
			page.Problem = f.Text
		}
		if own, ok := errors.AsType[*Failure](t.err); ok && own.Err != nil && tellable(own) {
			page.Detail = cut(own.Err.Error(), maxShownValue)
		}
	}
	page.Facts = t.facts()
	if t.assertion == nil {
		return page
	}
	for _, name := range slices.Sorted(maps.Keys(t.assertion.Claims)) {
		if len(page.Claims) == maxShownClaims {
			page.Claims = append(page.Claims, fact{"…", "and more"})
			break
		}
		value, err := json.Marshal(t.assertion.Claims[name])
		if err != nil {
			value = []byte("(not shown)")
		}
		shown := string(value)
		if len(shown) > maxShownValue {
			shown = cut(shown, maxShownValue) + "…"
		}
		page.Claims = append(page.Claims, fact{cut(name, maxShownValue), shown})
	}
	return page
}

// tellable says whether the cause of a failure is about what the provider has
// said, and so for the administrator to see. What was seen on the way there, and
// what is wrong with our own storage and files, is for the log.
func tellable(f *Failure) bool {
	answered := []string{"client_refused", "token_refused", "token_type"}
	return f.Status < http.StatusInternalServerError || saml.ReasonOf(f) != "" || slices.Contains(answered, f.Reason)
}

func (t *rehearsal) facts() []fact {
	p := t.person
	if p == nil {
		return nil
	}
	var list []fact
	add := func(name, value, otherwise string) {
		if value == "" {
			value = otherwise
		}
		list = append(list, fact{name, value})
	}
	if t.err == nil {
		switch {
		case t.user == nil:
			add("Who they would be", p.email+", a new user", "")
		case t.linked:
			add("Who they would be", t.user.Email+", a user here, linked with this sign-in by the e-mail address", "")
		default:
			add("Who they would be", t.user.Email+", a user here", "")
		}
	}
	add("Known there as", p.key.Subject+" at "+p.key.Issuer, "")
	email := p.email
	if email != "" && p.trusted {
		email += ", which counts"
	} else if email != "" {
		email += ", which does not count: it is not verified, or not in emailDomains"
	}
	add("E-mail address", email, "none that can be read; look at claims.email")
	add("Name", p.name, "none")
	add("Groups", strings.Join(p.groups, ", "), "none; look at claims.groups")
	if t.err != nil {
		return list
	}
	if t.directory {
		add("Teams", "", "those that the SCIM directory says")
	} else {
		add("Teams", strings.Join(t.teams, ", "), "none; no team lists one of the groups for this connection")
	}
	add("Session", "at most "+string(t.c.Spec.Sessions.Absolute)+", "+string(t.c.Spec.Sessions.Idle)+" without use", "")
	return list
}
