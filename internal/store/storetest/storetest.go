package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// Configuration is how changes are written and read.
type Configuration interface {
	Head(ctx context.Context) (identity.Head, error)
	Load(ctx context.Context, yield func(*identity.Rows) error) (identity.Head, error)
	Since(ctx context.Context, since identity.Head) (*identity.Rows, identity.Head, bool, error)
	Watch() (<-chan struct{}, func())
	Commit(ctx context.Context, b *record.Batch) (identity.Head, error)
}

// Resources is how the control API reads resources.
type Resources interface {
	Resource(ctx context.Context, key identity.ResourceKey) (v1.Resource, error)
	Resources(ctx context.Context, kind v1.Kind, after string, limit int) ([]v1.Resource, error)
	AllResources(ctx context.Context) ([]v1.Resource, error)
	SealedSecret(ctx context.Context, resourceUID, path string) ([]byte, string, error)
}

// People is how users and tokens are read and found.
type People interface {
	EnsureUser(ctx context.Context, a identity.Arrival) (string, identity.Head, error)
	User(ctx context.Context, uid string) (identity.User, error)
	UserByEmail(ctx context.Context, email string) (identity.User, error)
	UserByName(ctx context.Context, userName string) (identity.User, error)
	Users(ctx context.Context, after string, limit int) ([]identity.User, error)
}

// Directories is how the people of one manager are found.
type Directories interface {
	UserOf(ctx context.Context, manager, attribute, value string) (identity.User, error)
	UsersOf(ctx context.Context, manager, after string, limit int) ([]identity.User, error)
	UserBefore(ctx context.Context, manager string, leaveOut int) (string, error)
	CountUsersOf(ctx context.Context, manager string) (int, error)
}

// Sessions is how signed-in browsers are found.
type Sessions interface {
	Session(ctx context.Context, id string) (identity.Session, error)
	SessionByDigest(ctx context.Context, d identity.Digest) (identity.Session, error)
	Sessions(ctx context.Context, userUID string) ([]identity.Session, error)
	SessionsAt(ctx context.Context, issuer, subject, providerSession string) ([]identity.Session, error)
	TouchSession(ctx context.Context, id string, at time.Time, idle time.Duration) (bool, error)
}

// Once is what one of many does, and all see.
type Once interface {
	Claim(ctx context.Context, scope, id string, until time.Time) error
	PutKey(ctx context.Context, name string, sealed []byte) ([]byte, error)
	Key(ctx context.Context, name string) ([]byte, error)
	KeepCheckValue(ctx context.Context, value []byte) ([]byte, error)
}

// Tokens is how tokens are read.
type Tokens interface {
	Token(ctx context.Context, id string) (identity.Token, error)
	Tokens(ctx context.Context, owner string) ([]identity.Token, error)
	TokenPage(ctx context.Context, owner, after string, limit int) ([]identity.Token, error)
	TouchTokens(ctx context.Context, used map[string]identity.TokenUse) error
}

// Records is how what happened is written and read.
type Records interface {
	AppendRequests(ctx context.Context, list []record.Request) error
	Requests(ctx context.Context, principalUID string, limit int) ([]record.Request, error)
	AllRequests(ctx context.Context, limit int) ([]record.Request, error)
	CountRequests(ctx context.Context) (int64, error)
	RemoveRequestsBefore(ctx context.Context, t time.Time) error
}

// Upkeep is the rest.
type Upkeep interface {
	Audit(ctx context.Context, after string, limit int) ([]record.AuditEntry, error)
	CheckValue(ctx context.Context) ([]byte, error)
	SetCheckValue(ctx context.Context, value []byte) error
	Prune(ctx context.Context) error
	Integrity(ctx context.Context) error
}

// Chain is how the audit is proved and searched.
type Chain interface {
	AuditHead(ctx context.Context) (chain string, head auditchain.Head, err error)
	AuditEntries(ctx context.Context, after uint64, limit int) ([]auditchain.Entry, error)
	Checkpoints(ctx context.Context, from uint64, limit int) ([]auditchain.Checkpoint, error)
	PutCheckpoint(ctx context.Context, c *auditchain.Checkpoint) error
	AuditWhere(ctx context.Context, f record.AuditFilter, after string, limit int) ([]record.AuditEntry, error)
}

// Lookups are what a directory and the local administrator need besides.
type Lookups interface {
	TeamMembers(ctx context.Context, team, source, after string, limit int) ([]string, error)
	TombstonesOf(ctx context.Context, email string, keys []identity.IdentityKey) ([]string, error)
	ResourceByUID(ctx context.Context, kind v1.Kind, uid string) (v1.Resource, error)
	BreakGlass(ctx context.Context) ([]byte, error)
	SetBreakGlass(ctx context.Context, old, value []byte) error
}

// Store is everything the suite uses.
type Store interface {
	Configuration
	Resources
	People
	Directories
	Sessions
	Once
	Tokens
	Records
	Chain
	Lookups
	Upkeep
	Close() error
}

// Backend says how a store is opened.
type Backend struct {
	// Open opens the store in a directory, empty or used before, with a clock.
	// The suite closes it.
	Open func(t *testing.T, dir string, now func() time.Time) Store
	// Volatile stores forget everything when they are closed.
	Volatile bool
}

// Run runs the suite.
func Run(t *testing.T, b Backend) {
	for _, group := range []map[string]func(*testing.T, *fixture){
		resourceTests(), commitTests(), userTests(), teamTests(), tokenTests(), directoryTests(), historyTests(), recordTests(),
		personTests(), sessionTests(), onceTests(), auditTests(), lookupTests(), tokenPageTests(),
	} {
		for name, test := range group {
			t.Run(name, func(t *testing.T) { test(t, newFixture(t, b)) })
		}
	}
}

// fixture is an empty store and its clock.
type fixture struct {
	Store
	t       *testing.T
	backend Backend
	dir     string
	clock   *clock
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func newFixture(t *testing.T, b Backend) *fixture {
	f := &fixture{t: t, backend: b, dir: t.TempDir(), clock: &clock{now: start()}}
	f.Store = b.Open(t, f.dir, f.clock.Now)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

// reopen closes the store and opens it again.
func (f *fixture) reopen() {
	f.t.Helper()
	if err := f.Close(); err != nil {
		f.t.Fatalf("close: %v", err)
	}
	f.Store = f.backend.Open(f.t, f.dir, f.clock.Now)
}

func (f *fixture) commit(b *record.Batch) identity.Head {
	f.t.Helper()
	head, err := f.Commit(f.t.Context(), b)
	if err != nil {
		f.t.Fatalf("commit: %v", err)
	}
	return head
}

func (f *fixture) head() identity.Head {
	f.t.Helper()
	head, err := f.Head(f.t.Context())
	if err != nil {
		f.t.Fatalf("head: %v", err)
	}
	return head
}

// since reads changes and fails where everything would have to be loaded.
func (f *fixture) since(h identity.Head) *identity.Rows {
	f.t.Helper()
	rows, _, full, err := f.Since(f.t.Context(), h)
	if err != nil || full {
		f.t.Fatalf("since %v: full %v, error %v", h, full, err)
	}
	return rows
}

func wantCode(t *testing.T, err error, code identity.Code) {
	t.Helper()
	if e, ok := errors.AsType[*identity.Error](err); !ok || e.Code != code {
		t.Fatalf("error %v, want code %s", err, code)
	}
}

func wantSame(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func team(name, description string, members ...string) *v1.Team {
	return &v1.Team{
		TypeMeta:   v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindTeam},
		ObjectMeta: v1.ObjectMeta{Name: name, Manager: "api", Labels: map[string]string{"description": description}},
		Spec:       v1.TeamSpec{Members: members},
	}
}

func account(name string, key *v1.SecretValue) *v1.ProviderAccount {
	return &v1.ProviderAccount{
		TypeMeta:   v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindProviderAccount},
		ObjectMeta: v1.ObjectMeta{Name: name, Manager: "api"},
		Spec:       v1.ProviderAccountSpec{Provider: "openai", Credentials: v1.ProviderCredentials{APIKey: key}},
	}
}

func virtualAccount(name string) *v1.VirtualAccount {
	return &v1.VirtualAccount{
		TypeMeta:   v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindVirtualAccount},
		ObjectMeta: v1.ObjectMeta{Name: name, Manager: "api"},
		Spec:       v1.VirtualAccountSpec{Access: []v1.Access{{Resource: "model:a/b", Role: "model-user"}}},
	}
}

func user(uid, email string, ids ...string) identity.User {
	u := identity.User{UID: uid, Email: email, DisplayName: strings.ToUpper(email), Active: true}
	for _, id := range ids {
		issuer, subject, _ := strings.Cut(id, "|")
		u.Identities = append(u.Identities, identity.UserIdentity{Issuer: issuer, Subject: subject})
	}
	return u
}

// token makes a stored token; its plain text is "secret of ID".
func token(id, owner string) identity.Token {
	return identity.Token{
		ID: id, Kind: identity.TokenPersonal, Name: "laptop", Digest: identity.DigestOf("secret of " + id), Owner: owner,
		ExpiresAt: start().Add(24 * time.Hour), CreatedBy: "user:ada@example.com",
		Narrowing: &identity.Narrowing{Models: []string{"a/b"}, Agents: []string{}},
	}
}

func keyOf(r v1.Resource) identity.ResourceKey {
	return identity.ResourceKey{Kind: r.Type().Kind, Name: r.Meta().Name}
}

// future is a resource of a kind that this version does not know.
type future struct {
	v1.TypeMeta
	v1.ObjectMeta `json:"metadata"`
	Spec          map[string]string `json:"spec"`
}

func (f *future) Type() *v1.TypeMeta        { return &f.TypeMeta }
func (f *future) Meta() *v1.ObjectMeta      { return &f.ObjectMeta }
func (f *future) Default()                  {}
func (f *future) Validate() v1.FieldErrors  { return nil }
func (f *future) Secrets() []v1.SecretField { return nil }

func futureOf(kind v1.Kind, name string) *future {
	return &future{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: kind}, ObjectMeta: v1.ObjectMeta{Name: name},
		Spec: map[string]string{"aFieldOfTheFuture": "x"},
	}
}

// picture is the configuration as a reader of Load and Since has it.
type picture struct {
	Resources   map[identity.ResourceKey]v1.Resource
	Quarantined map[identity.ResourceKey]string
	Users       map[string]identity.User
	Tokens      map[identity.Digest]identity.Token
	Tombstones  map[string]identity.Tombstone
}

func newPicture() *picture {
	return &picture{
		map[identity.ResourceKey]v1.Resource{},
		map[identity.ResourceKey]string{},
		map[string]identity.User{},
		map[identity.Digest]identity.Token{},
		map[string]identity.Tombstone{},
	}
}

func (p *picture) apply(rows *identity.Rows) {
	for _, r := range rows.Resources {
		p.Resources[keyOf(r)] = r
		delete(p.Quarantined, keyOf(r))
	}
	for _, q := range rows.Quarantined {
		p.Quarantined[q.Key] = q.Reason
		delete(p.Resources, q.Key)
	}
	for _, k := range rows.RemovedResources {
		delete(p.Resources, k)
		delete(p.Quarantined, k)
	}
	for _, u := range rows.Users {
		p.Users[u.UID] = u
	}
	for _, uid := range rows.RemovedUsers {
		delete(p.Users, uid)
	}
	for _, tok := range rows.Tokens {
		p.Tokens[tok.Digest] = tok
	}
	for _, d := range rows.RemovedTokens {
		delete(p.Tokens, d)
	}
	for _, tomb := range rows.Tombstones {
		p.Tombstones[tomb.UID] = tomb
	}
	for _, uid := range rows.LiftedTombstones {
		delete(p.Tombstones, uid)
	}
}

func (f *fixture) load() (*picture, identity.Head) {
	f.t.Helper()
	p := newPicture()
	head, err := f.Load(f.t.Context(), func(rows *identity.Rows) error {
		p.apply(rows)
		return nil
	})
	if err != nil {
		f.t.Fatalf("load: %v", err)
	}
	return p, head
}

func uidOf(i int) string { return fmt.Sprintf("u-%03d", i) }
