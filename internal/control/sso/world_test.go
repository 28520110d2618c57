package sso

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/seal"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ours = "https://gatehouse.example"

// world is a handler on a store in memory, with a clock that stands still.
type world struct {
	behind bool // another replica has written what this one has not seen
	t      testing.TB
	h      *Handler
	idp    *scriptedIDP

	mu        sync.Mutex
	now       time.Time
	users     map[string]identity.User
	arrived   identity.Arrival // the last that was asked for
	sessions  map[string]identity.Session
	tombs     []identity.Tombstone
	resources map[identity.ResourceKey]v1.Resource
	claimed   map[string]bool
	audit     []record.AuditEntry
	batches   []record.Batch
	bg        []byte
	bgOff     bool
	touches   int
	realTime  bool
	down      bool // the database is away
	onUser    func()
	onCommit  func() // called once, before something is written
	snap      *snapshot.Snapshot
	rev       uint64
}

const teams = `
apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: research}
spec: {identityProviderGroups: [{ssoConnection: main, group: eng}]}
---
apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: ops}
spec: {identityProviderGroups: [{identityProvider: idp, group: operators}]}
---
apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: other}
spec: {identityProviderGroups: [{ssoConnection: elsewhere, group: eng}]}
`

func newWorld(t testing.TB, change func(*v1.SsoConnection)) *world {
	t.Helper()
	w := &world{
		t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), users: map[string]identity.User{}, sessions: map[string]identity.Session{},
		resources: map[identity.ResourceKey]v1.Resource{}, claimed: map[string]bool{},
	}
	w.idp = newIDP(t, w)
	w.apply(teams + `---
apiVersion: gatehouse.dev/v1
kind: IdentityProvider
metadata: {name: idp}
spec: {issuer: "` + w.idp.URL + `", audiences: [api]}
`)
	c := w.connection("main")
	if change != nil {
		change(c)
	}
	w.put(c)
	t.Setenv("SSO_TEST_KEY", base64.StdEncoding.EncodeToString([]byte(rand.Text() + rand.Text())[:32]))
	keys, err := seal.Open("env:SSO_TEST_KEY", seal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.h, err = New(Options{
		Snapshots: w, Store: w, Sessions: w, Sealer: keys, BreakGlass: w, ExternalURL: ours, Now: w.clock,
		Secret:        func(*v1.SsoConnection) (string, error) { return "s3cret/+ ", nil },
		BreakGlassOff: func() bool { return w.bgOff },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.h.guard.memory = 64 // the tests are about other things
	t.Cleanup(w.h.Close)
	return w
}

// connection is a complete connection to the scripted provider.
func (w *world) connection(name string) *v1.SsoConnection {
	c := &v1.SsoConnection{Spec: v1.SsoConnectionSpec{
		Enabled: true, Users: v1.UsersCreate, EmailDomains: v1.Strings{"example.com"}, Domains: v1.Strings{name + ".example"},
		OIDC: &v1.SsoOpenID{Issuer: w.idp.URL, ClientID: "gate:house", ClientSecret: &v1.SecretValue{Value: "x"}},
	}}
	c.APIVersion, c.Kind, c.Name, c.UID, c.ResourceVersion = v1.APIVersion, v1.KindSsoConnection, name, "uid-"+name, "1"
	return c
}

func (w *world) put(list ...v1.Resource) {
	w.t.Helper()
	for _, r := range list {
		r.Default()
		if errs := r.Validate(); len(errs) > 0 {
			w.t.Fatal(errs)
		}
		w.mu.Lock()
		w.resources[identity.ResourceKey{Kind: r.Type().Kind, Name: r.Meta().Name}] = r
		w.mu.Unlock()
	}
	w.publish()
}

func (w *world) apply(yaml string) {
	w.t.Helper()
	list, err := manifest.Parse("test.yaml", []byte(yaml))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range list {
		w.put(r.Resource)
	}
}

func (w *world) publish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := snapshot.NewBuilder(nil)
	rows := identity.Rows{Resources: slices.Collect(maps.Values(w.resources)), Users: slices.Collect(maps.Values(w.users)), Tombstones: w.tombs}
	for _, s := range w.sessions {
		if s.EndedAt == nil {
			rows.Tokens = append(rows.Tokens, s.Token())
		}
	}
	b.Add(&rows)
	w.rev++
	w.snap = b.Build(identity.Head{Epoch: "e", Revision: w.rev})
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.realTime {
		return time.Now()
	}
	return w.now
}

func (w *world) pass(d time.Duration) { w.mu.Lock(); w.now = w.now.Add(d); w.mu.Unlock() }

func (w *world) Load() *snapshot.Snapshot { w.mu.Lock(); defer w.mu.Unlock(); return w.snap }

func (w *world) WaitFor(_ context.Context, head identity.Head) error {
	if w.behind {
		w.behind = false
		w.publish() // what another replica has written arrives
	}
	if w.Load().Head().Revision < head.Revision {
		return context.DeadlineExceeded
	}
	return nil
}

func (w *world) Head(context.Context) (identity.Head, error) { return identity.Head{Epoch: "e"}, nil }

func away() error { return identity.Errorf(identity.CodeDatabaseUnavailable, "the database is away") }

func (w *world) addUser(u identity.User) {
	w.mu.Lock()
	u.Version = 1
	w.users[u.UID] = u
	w.mu.Unlock()
	w.publish()
}

func (w *world) userByEmail(email string) (identity.User, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.users {
		if u.Email == email {
			return u, true
		}
	}
	return identity.User{}, false
}

// EnsureUser follows the rules of store.EnsureUser.
func (w *world) EnsureUser(_ context.Context, a identity.Arrival) (string, identity.Head, error) {
	w.mu.Lock()
	w.arrived = a
	link := identity.UserIdentity{Issuer: a.Key.Issuer, Subject: a.Key.Subject}
	uid := ""
	for _, u := range w.users {
		if slices.ContainsFunc(u.Identities, func(i identity.UserIdentity) bool { return i.Issuer == a.Key.Issuer && i.Subject == a.Key.Subject }) {
			w.mu.Unlock()
			return u.UID, identity.Head{}, nil
		}
		if u.Email == a.Email {
			uid = u.UID
		}
	}
	u := w.users[uid]
	create, err := a.Decide(uid != "", slices.ContainsFunc(u.Identities, func(i identity.UserIdentity) bool { return i.Issuer == a.Key.Issuer }))
	switch {
	case err != nil:
	case create:
		uid = "new-" + a.Key.Subject
		w.users[uid] = identity.User{UID: uid, Email: a.Email, DisplayName: a.DisplayName, Active: true, Version: 1, Identities: []identity.UserIdentity{link}}
	default:
		u.Identities = append(slices.Clone(u.Identities), link)
		u.Version++
		w.users[uid] = u
	}
	w.mu.Unlock()
	w.publish()
	return uid, identity.Head{}, err
}

func (w *world) User(_ context.Context, uid string) (identity.User, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u, ok := w.users[uid]
	if !ok {
		return u, identity.Errorf(identity.CodeNotFound, "no user")
	}
	if f := w.onUser; f != nil {
		w.onUser = nil
		f()
	}
	return u, nil
}

func (w *world) Commit(_ context.Context, b *record.Batch) (identity.Head, error) {
	if f := w.onCommit; f != nil {
		w.onCommit = nil
		f()
	}
	w.mu.Lock()
	if w.down {
		w.mu.Unlock()
		return identity.Head{}, away()
	}
	for _, c := range b.UserConditions {
		if w.users[c.UID].Version != c.Version {
			w.mu.Unlock()
			return identity.Head{}, identity.Errorf(identity.CodePreconditionFailed, "changed")
		}
	}
	for _, u := range b.PutUsers {
		if slices.ContainsFunc(w.tombs, func(t identity.Tombstone) bool { return t.UID == u.UID }) {
			w.mu.Unlock()
			return identity.Head{}, identity.Errorf(identity.CodeConflict, "uid: is not used again")
		}
	}
	if err := w.addressesTwice(b.PutUsers); err != nil {
		w.mu.Unlock()
		return identity.Head{}, err
	}
	w.tombs = slices.DeleteFunc(w.tombs, func(t identity.Tombstone) bool { return slices.Contains(b.LiftTombstones, t.UID) })
	w.batches = append(w.batches, *b)
	for _, u := range b.PutUsers {
		u.Version = w.users[u.UID].Version + 1
		w.users[u.UID] = u
	}
	for _, s := range b.PutSessions {
		w.sessions[s.ID] = s
	}
	for _, e := range b.EndSessions {
		if s, ok := w.sessions[e.ID]; ok && s.EndedAt == nil {
			at := w.now
			s.EndedAt, s.EndedBy = &at, e.By
			w.sessions[e.ID] = s
		}
	}
	w.audit = append(w.audit, b.Audit...)
	for _, r := range b.PutResources {
		w.resources[identity.ResourceKey{Kind: r.Type().Kind, Name: r.Meta().Name}] = r
	}
	w.mu.Unlock()
	w.publish()
	return identity.Head{}, nil
}

// addressesTwice refuses a write after which two would have one address; the
// order counts, as it does in a database.
func (w *world) addressesTwice(writes []identity.User) error {
	after := maps.Clone(w.users)
	for _, u := range writes {
		for uid, other := range after {
			if uid != u.UID && other.Email == u.Email {
				return identity.Errorf(identity.CodeConflict, "email: another user has this e-mail address")
			}
		}
		after[u.UID] = u
	}
	return nil
}

func (w *world) Claim(_ context.Context, scope, id string, _ time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.claimed[scope+" "+id] {
		return identity.Errorf(identity.CodeConflict, "claimed already")
	}
	w.claimed[scope+" "+id] = true
	return nil
}

func (w *world) Session(_ context.Context, id string) (identity.Session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.sessions[id]
	switch {
	case w.down:
		return s, away()
	case !ok:
		return s, identity.Errorf(identity.CodeNotFound, "no session")
	}
	return s, nil
}

func (w *world) list(keep func(identity.Session) bool) []identity.Session {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []identity.Session
	for _, s := range w.sessions {
		if s.EndedAt == nil && keep(s) {
			list = append(list, s)
		}
	}
	return list
}

func (w *world) Sessions(_ context.Context, uid string) ([]identity.Session, error) {
	return w.list(func(s identity.Session) bool { return s.UserUID == uid }), nil
}

func (w *world) SessionsAt(_ context.Context, issuer, sub, sid string) ([]identity.Session, error) {
	return w.list(func(s identity.Session) bool {
		return s.Issuer == issuer && (sub == "" || s.Subject == sub) && (sid == "" || s.ProviderSession == sid)
	}), nil
}

func (w *world) TouchSession(_ context.Context, id string, at time.Time, idle time.Duration) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return false, away()
	}
	w.touches++
	s, ok := w.sessions[id]
	if !ok || s.EndedAt != nil || at.Sub(s.LastSeenAt) >= idle {
		return false, nil
	}
	s.LastSeenAt = at
	w.sessions[id] = s
	return true, nil
}

func (w *world) BreakGlass(context.Context) ([]byte, error) { return w.bg, nil }

func (w *world) TombstonesOf(_ context.Context, email string, _ []identity.IdentityKey) (uids []string, err error) {
	for _, t := range w.tombs {
		if t.Email == email {
			uids = append(uids, t.UID)
		}
	}
	return uids, nil
}

func (w *world) SetBreakGlass(_ context.Context, old, value []byte) error {
	if string(old) != string(w.bg) {
		return identity.Errorf(identity.CodePreconditionFailed, "changed")
	}
	w.bg = value
	return nil
}

// live lists the sessions that have not ended.
func (w *world) live() []identity.Session {
	return w.list(func(identity.Session) bool { return true })
}

// refused asserts a page of a failure with this reason, and no session.
func (w *world) refused(rec *httptest.ResponseRecorder, reason string) {
	w.t.Helper()
	if rec.Code < 400 || !strings.Contains(rec.Body.String(), "<code>"+reason+"</code>") {
		w.t.Errorf("want a refusal for %s, got %d %s\n%s", reason, rec.Code, rec.Header().Get("Location"), rec.Body)
	}
	if n := len(w.live()); n != 0 {
		w.t.Errorf("there are %d sessions after a refusal", n)
	}
	for _, c := range rec.Result().Cookies() {
		if c.Name == SessionCookie && c.MaxAge >= 0 {
			w.t.Error("a refusal sets a session cookie")
		}
	}
}

// addToken is the present snapshot with one token more.
func addToken(w *world, tok identity.Token) *snapshot.Snapshot {
	b := snapshot.NewBuilder(w.snap)
	b.Add(&identity.Rows{Tokens: []identity.Token{tok}})
	return b.Build(identity.Head{Epoch: "e", Revision: w.rev + 1})
}
