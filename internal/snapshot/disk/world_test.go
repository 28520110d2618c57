package disk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/seal"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fataler is *testing.T and *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func testKeys(t testing.TB, seed byte) *seal.Keyset {
	t.Helper()
	k, err := seal.Open("env:KEY", seal.Options{LookupEnv: func(string) (string, bool) {
		return fmt.Sprintf("%064x", int(seed)+1), true
	}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func resource(t fataler, kind v1.Kind, name, spec string) v1.Resource {
	t.Helper()
	r := v1.New(kind)
	if err := json.Unmarshal([]byte(`{"metadata":{"name":"`+name+`"},"spec":`+spec+`}`), r); err != nil {
		t.Fatalf("%s %s: %v", kind, name, err)
	}
	*r.Type() = v1.TypeMeta{APIVersion: v1.APIVersion, Kind: kind}
	created := noon.Add(-time.Hour)
	m := r.Meta()
	m.UID, m.ResourceVersion, m.Generation, m.Manager, m.CreationTimestamp = "uid-"+name, "5f", 3, v1.ManagerAPI, &created
	m.Labels = map[string]string{"team": "a&b <c>"}
	r.Default()
	return r
}

// world is a store: what is there now, and what has changed since a publish.
type world struct {
	t           fataler
	head        identity.Head
	users       map[string]identity.User
	tokens      map[identity.Digest]identity.Token
	tombs       map[string]identity.Tombstone
	resources   map[identity.ResourceKey]v1.Resource
	quarantined map[identity.ResourceKey]string

	changedUsers     map[string]bool
	changedTokens    map[identity.Digest]bool
	changedTombs     map[string]bool
	changedResources map[identity.ResourceKey]bool

	digests    map[identity.Digest]bool // that ever were
	identities map[identity.IdentityKey]bool
	states     map[uint64]*snapshot.Snapshot // by revision
	beforeEnd  func()                        // called at the end of a Load
	failure    error
}

func newWorld(t fataler) *world {
	w := &world{
		t: t, head: identity.Head{Epoch: "e1", Revision: 10},
		users: map[string]identity.User{}, tokens: map[identity.Digest]identity.Token{}, tombs: map[string]identity.Tombstone{},
		resources: map[identity.ResourceKey]v1.Resource{}, quarantined: map[identity.ResourceKey]string{},
		digests: map[identity.Digest]bool{}, identities: map[identity.IdentityKey]bool{}, states: map[uint64]*snapshot.Snapshot{},
	}
	w.published()
	w.states[w.head.Revision] = w.compile()
	return w
}

func (w *world) published() {
	w.changedUsers, w.changedTokens = map[string]bool{}, map[identity.Digest]bool{}
	w.changedTombs, w.changedResources = map[string]bool{}, map[identity.ResourceKey]bool{}
}

// commit ends a transaction.
func (w *world) commit() {
	w.head.Revision++
	w.states[w.head.Revision] = w.compile()
}

func (w *world) putUser(uid string, active bool, teams ...string) {
	u := identity.User{
		UID: uid, Email: uid + "@example.com", UserName: "n-" + uid, Active: active, CreatedAt: noon,
		Identities: []identity.UserIdentity{{Issuer: "https://idp.example.com", Subject: uid, LinkedAt: noon}},
	}
	for _, team := range teams {
		until := noon.Add(time.Hour)
		u.Memberships = append(u.Memberships, identity.Membership{Team: team, Source: "scim", Manager: true, ExpiresAt: &until})
	}
	w.users[uid], w.changedUsers[uid] = u, true
	w.identities[identity.IdentityKey{Issuer: "https://idp.example.com", Subject: uid}] = true
}

func (w *world) removeUser(uid string) {
	u, ok := w.users[uid]
	if !ok {
		return
	}
	delete(w.users, uid)
	w.changedUsers[uid] = true
	tomb := identity.Tombstone{UID: uid, Email: u.Email, DeletedAt: noon}
	for _, id := range u.Identities {
		tomb.Identities = append(tomb.Identities, identity.IdentityKey{Issuer: id.Issuer, Subject: id.Subject})
	}
	w.tombs[uid], w.changedTombs[uid] = tomb, true
	for d, t := range w.tokens {
		if t.Owner == uid {
			w.revoke(d)
		}
	}
}

func (w *world) liftTombstone(uid string) {
	delete(w.tombs, uid)
	w.changedTombs[uid] = true
}

func (w *world) putToken(n int, owner string, narrowing *identity.Narrowing) identity.Digest {
	d := identity.DigestOf(fmt.Sprint("token ", n))
	w.tokens[d] = identity.Token{
		ID: fmt.Sprintf("0193f1a2-0000-7000-8000-%012d", n), Kind: identity.TokenPersonal, Name: "laptop", Digest: d, Owner: owner,
		CreatedAt: noon, ExpiresAt: noon.Add(time.Duration(n+1) * time.Hour), Narrowing: narrowing, CreatedBy: "user:x@example.com",
	}
	w.digests[d], w.changedTokens[d] = true, true
	return d
}

func (w *world) revoke(d identity.Digest) {
	delete(w.tokens, d)
	w.changedTokens[d] = true
}

func (w *world) put(kind v1.Kind, name, spec string) identity.ResourceKey {
	key := identity.ResourceKey{Kind: kind, Name: name}
	w.resources[key], w.changedResources[key] = resource(w.t, kind, name, spec), true
	delete(w.quarantined, key)
	return key
}

func (w *world) remove(key identity.ResourceKey) {
	delete(w.resources, key)
	delete(w.quarantined, key)
	w.changedResources[key] = true
}

func (w *world) quarantine(key identity.ResourceKey) {
	delete(w.resources, key)
	w.quarantined[key], w.changedResources[key] = "this version cannot read it", true
}

// delta lists what has changed since the last publish, as it is now.
func (w *world) delta() *identity.Rows {
	r := &identity.Rows{}
	for uid := range w.changedUsers {
		if u, ok := w.users[uid]; ok {
			r.Users = append(r.Users, u)
		} else {
			r.RemovedUsers = append(r.RemovedUsers, uid)
		}
	}
	for d := range w.changedTokens {
		if t, ok := w.tokens[d]; ok {
			r.Tokens = append(r.Tokens, t)
		} else {
			r.RemovedTokens = append(r.RemovedTokens, d)
		}
	}
	for uid := range w.changedTombs {
		if t, ok := w.tombs[uid]; ok {
			r.Tombstones = append(r.Tombstones, t)
		} else {
			r.LiftedTombstones = append(r.LiftedTombstones, uid)
		}
	}
	for key := range w.changedResources {
		if res, ok := w.resources[key]; ok {
			r.Resources = append(r.Resources, res)
		} else if reason, ok := w.quarantined[key]; ok {
			r.Quarantined = append(r.Quarantined, identity.Quarantined{Key: key, Reason: reason})
		} else {
			r.RemovedResources = append(r.RemovedResources, key)
		}
	}
	return r
}

// Load hands over everything in small portions.
func (w *world) Load(_ context.Context, yield func(*identity.Rows) error) (identity.Head, error) {
	head := w.head
	if w.failure != nil {
		return identity.Head{}, w.failure
	}
	rows := []*identity.Rows{{Resources: slices.Collect(maps.Values(w.resources))}}
	for key, reason := range w.quarantined {
		rows = append(rows, &identity.Rows{Quarantined: []identity.Quarantined{{Key: key, Reason: reason}}})
	}
	rows = append(rows, &identity.Rows{Users: slices.Collect(maps.Values(w.users))},
		&identity.Rows{Tombstones: slices.Collect(maps.Values(w.tombs))})
	for part := range slices.Chunk(slices.Collect(maps.Values(w.tokens)), 10_000) {
		rows = append(rows, &identity.Rows{Tokens: part})
	}
	for _, r := range rows {
		if err := yield(r); err != nil {
			return identity.Head{}, err
		}
	}
	if f := w.beforeEnd; f != nil {
		w.beforeEnd = nil
		f()
	}
	return head, nil
}

func (w *world) compile() *snapshot.Snapshot {
	b := snapshot.NewBuilder(nil)
	end := w.beforeEnd
	w.beforeEnd = nil
	head, err := w.Load(context.Background(), func(r *identity.Rows) error { b.Add(r); return nil })
	w.beforeEnd = end
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	return b.Build(head)
}

// look is what a snapshot shows from outside.
type look struct {
	Head       identity.Head
	Stats      snapshot.Stats
	HasAdmin   bool
	Resources  map[identity.ResourceKey]v1.Resource
	Problems   []string
	Users      map[string]identity.User
	Teams      map[string][]string
	Tokens     map[string]tokenLook
	Tombstoned map[identity.IdentityKey]bool
}

type tokenLook struct {
	snapshot.Token
	User, VirtualAccount string
}

func (w *world) look(s *snapshot.Snapshot) look {
	l := look{
		Head: s.Head(), Stats: s.Stats(), HasAdmin: s.HasAdmin(), Resources: map[identity.ResourceKey]v1.Resource{}, Teams: map[string][]string{},
		Users: map[string]identity.User{}, Tokens: map[string]tokenLook{}, Tombstoned: map[identity.IdentityKey]bool{},
	}
	for r := range s.Resources {
		l.Resources[identity.ResourceKey{Kind: r.Type().Kind, Name: r.Meta().Name}] = r
	}
	for _, p := range s.Problems() {
		l.Problems = append(l.Problems, fmt.Sprint(p))
	}
	slices.Sort(l.Problems)
	for u := range s.Users {
		l.Users[u.UID] = u.User
		l.Teams[u.UID] = s.UserPrincipal(u, noon).Teams
		if again, ok := s.UserByEmail(u.Email); !ok || again != u {
			w.t.Fatalf("%s is not found by address", u.UID)
		}
	}
	for d := range w.digests {
		tok, ok := s.Token(d)
		if !ok {
			continue
		}
		tl := tokenLook{Token: tok}
		if o := tok.Owner; o != nil && o.User != nil {
			tl.User = o.User.UID
		} else if o != nil {
			tl.VirtualAccount = o.VirtualAccount.Name
		}
		tl.Owner = nil
		l.Tokens[d.String()] = tl
	}
	for key := range w.identities {
		if s.Tombstoned(key, "") {
			l.Tombstoned[key] = true
		}
	}
	return l
}

// same fails unless got is what the store held at its revision.
func (w *world) same(got *snapshot.Snapshot) {
	w.t.Helper()
	want, ok := w.states[got.Head().Revision]
	if !ok {
		w.t.Fatalf("there never was a revision %d", got.Head().Revision)
	}
	if diff := cmp.Diff(w.look(want), w.look(got), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		w.t.Fatalf("the snapshot from disk differs at revision %d (-store +disk):\n%s", got.Head().Revision, diff)
	}
}

// rig is a world with a copy of it on disk; its base is written when the test
// says so.
type rig struct {
	*world
	copy *Copy
	opt  Options
	now  time.Time
	// published is the revision that a gateway serves.
	published uint64
}

func newRig(t testing.TB, ft fataler, dir string) *rig {
	r := &rig{world: newWorld(ft), now: noon}
	r.opt = Options{Dir: dir, Keys: testKeys(t, 1), Source: r.world, Now: func() time.Time { return r.now }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	return r
}

// full begins as a first start does: nothing on disk, everything read.
func (r *rig) full() {
	r.t.Helper()
	r.begin()
	r.copy.Full(r.head)
	r.world.published()
	r.published = r.head.Revision
}

func (r *rig) begin() {
	r.t.Helper()
	c, err := begin(r.opt)
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	r.copy = c
}

func (r *rig) base() {
	r.t.Helper()
	if err := r.copy.writeBase(context.Background()); err != nil {
		r.t.Fatalf("%v", err)
	}
}

// publish tells the copy what has changed, and only then serves it.
func (r *rig) publish() {
	r.t.Helper()
	if r.published == r.head.Revision {
		return
	}
	rows := r.delta()
	if err := r.copy.Removed(r.head, rows); err != nil {
		r.t.Fatalf("%v", err)
	}
	r.world.published()
	if !empty(rows) { // a revision that changes nothing is not written down
		r.published = r.head.Revision
	}
}

// commitAndPublish is one change.
func (r *rig) commitAndPublish() {
	r.t.Helper()
	r.commit()
	r.publish()
}

func (r *rig) read() (*snapshot.Snapshot, error) {
	s, _, err := Read(r.opt.Dir, r.opt.Keys, r.now, time.Hour)
	return s, err
}

// mustRead reads the copy: it is what the store held, and not before what was
// published.
func (r *rig) mustRead() *snapshot.Snapshot {
	r.t.Helper()
	s, err := r.read()
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	r.same(s)
	if s.Head().Revision < r.published {
		r.t.Fatalf("the copy is at revision %d, but %d was published", s.Head().Revision, r.published)
	}
	return s
}

// copyDir is the disk as a crash would leave it.
func copyDir(t fataler, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if err := errors.Join(os.RemoveAll(to), os.MkdirAll(to, 0o700)); err != nil {
		t.Fatalf("%v", err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatalf("%v", err)
		}
	}
}

// furnish puts one of everything into a world.
func (w *world) furnish() {
	w.putUser("ann", true, "research")
	w.putUser("bob", true)
	w.putUser("cy", false)
	w.putUser("gone", true)
	w.putToken(1, "ann", nil)
	w.putToken(2, "bob", &identity.Narrowing{Models: []string{}, CIDR: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	w.putToken(3, "bob", &identity.Narrowing{Models: []string{"echo/*"}, MCPServers: []string{}})
	w.putToken(4, "gone", nil)
	w.removeUser("gone")
	boot := identity.DigestOf("bootstrap")
	w.tokens[boot] = identity.Token{ID: "not-a-uuid", Kind: identity.TokenPersonal, Digest: boot, Bootstrap: true, ExpiresAt: noon.Add(time.Hour)}
	w.digests[boot] = true
	w.put(v1.KindTeam, "research", `{"managers":["Ann@example.com"],"members":["bob@example.com"]}`)
	w.put(v1.KindProviderAccount, "echo", `{"provider":"echo","models":[{"name":"gpt"}],"credentials":{"apiKey":{"stored":true,"digest":"hmac:abc"}}}`)
	given := identity.DigestOf("given")
	w.put(v1.KindVirtualAccount, "bot", `{"enabled":false,"access":[{"resource":"provider-account:echo","role":"provider-account-access"}],"tokens":[{"digest":"`+given.String()+`","expiresAt":"2027-01-01T00:00:00Z"}]}`)
	w.digests[given] = true
	w.put(v1.KindRoleBinding, "admins", `{"subjects":["user:ann@example.com"],"role":"tenant-admin","resources":["tenant"]}`)
	w.quarantine(identity.ResourceKey{Kind: v1.KindRole, Name: "odd"})
}
