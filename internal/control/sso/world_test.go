package sso

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
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

// browser keeps cookies and sends requests to the handler. It is Chromium in
// what the checks look at.
type browser struct {
	w       *world
	cookies map[string]string
	addr    string // where it is; empty: where all are
	gone    bool   // it waits for nothing
}

func (w *world) browser() *browser { return &browser{w: w, cookies: map[string]string{}} }

// at is a browser at an address of its own.
func (w *world) at(addr string) *browser {
	b := w.browser()
	b.addr = addr
	return b
}

// written counts the audit's entries of an action and an outcome.
func (w *world) written(action, outcome string) (n int) {
	for _, e := range w.audit {
		if e.Action == action && e.Outcome == outcome {
			n++
		}
	}
	return n
}

func (b *browser) do(r *http.Request) *httptest.ResponseRecorder {
	b.w.t.Helper()
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	if b.addr != "" {
		r.RemoteAddr = net.JoinHostPort(b.addr, "4711")
	}
	if b.gone {
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		r = r.WithContext(ctx)
	}
	rec := httptest.NewRecorder()
	b.w.h.ServeHTTP(rec, r)
	for _, c := range rec.Result().Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite == 0 {
			b.w.t.Errorf("the cookie %s is not bound to this host: %+v", c.Name, c)
		}
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return rec
}

func (b *browser) get(path string) *httptest.ResponseRecorder {
	return b.do(httptest.NewRequest(http.MethodGet, ours+path, nil))
}

// post sends a form of one of our pages.
func (b *browser) post(path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, ours+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", ours)
	return b.do(r)
}

// begin starts a sign-in and returns the provider's address.
func (b *browser) begin(path string) string {
	b.w.t.Helper()
	rec := b.get(path)
	if rec.Code != http.StatusSeeOther {
		b.w.t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	return rec.Header().Get("Location")
}

// provider follows the provider's address to its answer: a path of ours.
func (b *browser) provider(location string) string {
	b.w.t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: b.w.idp.Client().Transport}
	resp, err := client.Get(location)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	back := resp.Header.Get("Location")
	if !strings.HasPrefix(back, ours+"/") {
		b.w.t.Fatalf("the provider answers %d %q", resp.StatusCode, back)
	}
	return strings.TrimPrefix(back, ours)
}

// signIn goes all the way.
func (b *browser) signIn() *httptest.ResponseRecorder {
	b.w.t.Helper()
	return b.get(b.provider(b.begin("/sso/main/login?return_to=/console/")))
}

// api is a request with the browser's session to something that is not ours
// to serve.
func (b *browser) api(method string, header ...string) *http.Request {
	r := httptest.NewRequest(method, ours+"/api/v1/me", nil)
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
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

// scriptedIDP is an OpenID provider that does what a test says.
type scriptedIDP struct {
	*httptest.Server
	key *rsa.PrivateKey
	kid string

	mu        sync.Mutex
	claims    map[string]any                // of the ID token, beside the protocol's
	info      map[string]any                // the userinfo answer
	discovery func(map[string]any)          // changes the discovery document
	answer    func(url.Values)              // changes what the browser brings back
	idToken   func(c map[string]any) string // replaces the signature
	codes     map[string]url.Values         // code → authorization request
	requests  []url.Values                  // of /authorize
	tokenReqs []url.Values
	infoCalls int
	keyCalls  int
	clock     func() time.Time
}

// testKey is made once: it takes longer than most tests.
var testKey = sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func newIDP(t testing.TB, w *world) *scriptedIDP {
	t.Helper()
	p := &scriptedIDP{key: testKey(), kid: "k1", codes: map[string]url.Values{}, clock: w.clock, claims: map[string]any{
		"sub": "ada-1", "email": "ada@example.com", "email_verified": true, "name": "Ada", "groups": []string{"eng"}, "sid": "sid-1",
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.serveDiscovery)
	mux.HandleFunc("GET /authorize", p.serveAuthorize)
	mux.HandleFunc("POST /token", p.serveToken)
	mux.HandleFunc("GET /jwks", func(rw http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.keyCalls++
		writeJSON(rw, gojose.JSONWebKeySet{Keys: []gojose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: p.kid, Use: "sig"}}})
	})
	mux.HandleFunc("GET /userinfo", func(rw http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.infoCalls++
		if r.Header.Get("Authorization") != "Bearer access-1" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		writeJSON(rw, p.info)
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(func() { p.Close(); p.Client().CloseIdleConnections() })
	return p
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (p *scriptedIDP) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	d := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize?realm=a", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/jwks",
		"userinfo_endpoint": p.URL + "/userinfo", "end_session_endpoint": p.URL + "/logout", "code_challenge_methods_supported": []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.discovery != nil {
		p.discovery(d)
	}
	writeJSON(w, d)
}

func (p *scriptedIDP) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, q)
	code := rand.Text()
	p.codes[code] = q
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.URL}}
	if p.answer != nil {
		p.answer(back)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusSeeOther)
}

// serveToken holds the client to PKCE with S256: no verifier, no token.
func (p *scriptedIDP) serveToken(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokenReqs = append(p.tokenReqs, r.PostForm)
	q, ok := p.codes[r.PostForm.Get("code")]
	delete(p.codes, r.PostForm.Get("code"))
	id, secret, _ := r.BasicAuth()
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	fail := ""
	switch {
	case id != "gate%3Ahouse" || secret != "s3cret%2F%2B+":
		fail = "invalid_client"
	case !ok || q.Get("redirect_uri") != r.PostForm.Get("redirect_uri") || q.Get("code_challenge_method") != "S256" ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge"):
		fail = "invalid_grant"
	}
	if fail != "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": fail})
		return
	}
	hash := sha256.Sum256([]byte("access-1"))
	claims := map[string]any{
		"iss": p.URL, "aud": "gate:house", "iat": p.clock().Unix(), "exp": p.clock().Add(time.Minute).Unix(), "nonce": q.Get("nonce"),
		"auth_time": p.clock().Unix(), "at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]),
	}
	for k, v := range p.claims {
		if v == nil {
			delete(claims, k)
		} else {
			claims[k] = v
		}
	}
	token := ""
	if p.idToken != nil {
		token = p.idToken(claims)
	} else {
		token = p.sign(claims, "JWT")
	}
	writeJSON(w, map[string]any{"access_token": "access-1", "token_type": "bearer", "id_token": token, "expires_in": 60})
}

func (p *scriptedIDP) sign(claims map[string]any, typ string) string {
	opts := (&gojose.SignerOptions{}).WithHeader("kid", p.kid)
	if typ != "" {
		opts = opts.WithType(gojose.ContentType(typ))
	}
	return sign(gojose.SigningKey{Algorithm: gojose.RS256, Key: p.key}, claims, opts)
}

func sign(key gojose.SigningKey, claims map[string]any, opts *gojose.SignerOptions) string {
	s, err := gojose.NewSigner(key, opts)
	if err != nil {
		panic(err)
	}
	body, _ := json.Marshal(claims)
	jws, err := s.Sign(body)
	if err != nil {
		panic(err)
	}
	out, _ := jws.CompactSerialize()
	return out
}

// script changes what the provider does.
func (p *scriptedIDP) script(f func()) { p.mu.Lock(); defer p.mu.Unlock(); f() }

// addToken is the present snapshot with one token more.
func addToken(w *world, tok identity.Token) *snapshot.Snapshot {
	b := snapshot.NewBuilder(w.snap)
	b.Add(&identity.Rows{Tokens: []identity.Token{tok}})
	return b.Build(identity.Head{Epoch: "e", Revision: w.rev + 1})
}
