package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn/keyring"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const acme, partner = "https://acme.example", "https://partner.example"

func newKey() crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

// testKeys are made once: acme's, partner's, and one that nobody trusts.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	return map[string]crypto.Signer{"acme": newKey(), "partner": newKey(), "forged": newKey()}
})

func jwks(keys ...string) string {
	var set gojose.JSONWebKeySet
	for _, k := range keys {
		name, kid, _ := strings.Cut(k, "=")
		set.Keys = append(set.Keys, gojose.JSONWebKey{Key: testKeys()[name].Public(), KeyID: kid})
	}
	b, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return string(b)
}

type claimSet map[string]any

// with returns the claims with others put over them; nil takes one away.
func (c claimSet) with(over claimSet) claimSet {
	out := maps.Clone(c)
	for k, v := range over {
		out[k] = v
		if v == nil {
			delete(out, k)
		}
	}
	return out
}

func base(iss string) claimSet {
	return claimSet{"iss": iss, "sub": "s1", "aud": "gw", "exp": noon.Add(time.Hour).Unix(), "iat": noon.Unix()}
}

// sign makes a token with another library than the one under test.
func sign(t testing.TB, key, kid string, c claimSet) string {
	t.Helper()
	s, err := gojose.NewSigner(gojose.SigningKey{Algorithm: gojose.ES256, Key: gojose.JSONWebKey{Key: testKeys()[key], KeyID: kid}}, (&gojose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(map[string]any(c))
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func res(t testing.TB, kind v1.Kind, name, spec string) v1.Resource {
	t.Helper()
	r := v1.New(kind)
	if err := json.Unmarshal([]byte(`{"metadata":{"name":"`+name+`"},"spec":`+spec+`}`), r); err != nil {
		t.Fatalf("%s %s: %v\n%s", kind, name, err, spec)
	}
	*r.Type() = v1.TypeMeta{APIVersion: v1.APIVersion, Kind: kind}
	r.Meta().UID, r.Meta().ResourceVersion = "uid-"+kind.Slug()+"-"+name, "1"
	r.Default()
	return r
}

// idp is an identity provider; more is put into its spec.
func idp(t testing.TB, name, issuer, keys, more string) v1.Resource {
	t.Helper()
	spec := `"audiences":["gw"],"jwks":` + keys
	if strings.Contains(more, "audiences") || strings.Contains(more, "insecureSkipAudience") {
		spec = `"jwks":` + keys
	}
	if issuer != "" {
		spec += `,"issuer":"` + issuer + `"`
	}
	if more != "" {
		spec += "," + more
	}
	return res(t, v1.KindIdentityProvider, name, "{"+spec+"}")
}

func person(email string, change ...func(*identity.User)) identity.User {
	u := identity.User{UID: "uid-" + email, Email: email, Active: true}
	for _, c := range change {
		c(&u)
	}
	return u
}

func linked(issuer, sub string) func(*identity.User) {
	return func(u *identity.User) {
		u.Identities = append(u.Identities, identity.UserIdentity{Issuer: issuer, Subject: sub})
	}
}

func inactive(u *identity.User) { u.Active = false }

// bench is an authenticator with a configuration that tests change.
type bench struct {
	t    testing.TB
	a    *Authenticator
	ring *keyring.Ring
	dir  *fakeDirectory

	clockMu sync.Mutex
	now     time.Time

	mu   sync.Mutex
	snap *snapshot.Snapshot
	rev  uint64
}

func newBench(t testing.TB, list ...v1.Resource) *bench {
	t.Helper()
	b := &bench{t: t, now: noon, dir: &fakeDirectory{}}
	b.dir.b = b
	b.ring = keyring.New(keyring.Options{Clock: b.clock})
	t.Cleanup(b.ring.Close)
	b.a = New(Options{Keys: b.ring, Directory: b.dir, Snapshots: b, Now: b.clock, CacheSize: 1000})
	b.change(identity.Rows{Resources: list})
	return b
}

func (b *bench) clock() time.Time {
	b.clockMu.Lock()
	defer b.clockMu.Unlock()
	return b.now
}

func (b *bench) pass(d time.Duration) {
	b.clockMu.Lock()
	defer b.clockMu.Unlock()
	b.now = b.now.Add(d)
}

// change publishes a change as the app does: the ring first.
func (b *bench) change(rows identity.Rows) identity.Head {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rev++
	build := snapshot.NewBuilder(b.snap)
	build.Add(&rows)
	s := build.Build(identity.Head{Epoch: "e", Revision: b.rev})
	var sources []keyring.Source
	for _, p := range s.Providers() {
		sources = append(sources, keyring.Source{UID: p.UID, Name: p.Name, Issuer: p.Spec.Issuer, JWKSURLs: p.Spec.JWKSURLs, Inline: p.Spec.JWKS, StaleFor: p.StaleFor})
	}
	b.ring.Reconcile(sources)
	b.snap = s
	return s.Head()
}

func (b *bench) put(list ...v1.Resource) {
	for _, r := range list {
		r.Meta().ResourceVersion = fmt.Sprint("v", b.rev+1)
	}
	b.change(identity.Rows{Resources: list})
}

func (b *bench) users(list ...identity.User) { b.change(identity.Rows{Users: list}) }

func (b *bench) Load() *snapshot.Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.snap
}

func (b *bench) WaitFor(ctx context.Context, head identity.Head) error {
	if b.Load().Head().Revision < head.Revision {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// ask authenticates a token as a request would bring it.
func (b *bench) ask(token string) (Caller, error) {
	return b.a.Authenticate(b.t.Context(), b.Load(), Credential{Authorization: []string{"Bearer " + token}, Addr: netip.MustParseAddr("192.0.2.1")})
}

// outcome is what a token is, in one line: its subjects, or the error's code.
func outcome(c Caller, err error) string {
	if err != nil {
		return string(identity.CodeOf(err))
	}
	list := slices.Clone(c.Principal.Subjects)
	list = slices.DeleteFunc(list, func(s identity.Subject) bool { return s == identity.Everyone })
	return strings.Trim(fmt.Sprint(list), "[]")
}

func (b *bench) want(token, want string) {
	b.t.Helper()
	if got := outcome(b.ask(token)); got != want {
		b.t.Errorf("got %q, want %q", got, want)
	}
}

// explain returns what explain prints, and checks that it comes to the same end.
func (b *bench) explain(token string) (string, error) {
	tr := &identity.Trace{}
	_, err := b.a.Explain(b.t.Context(), b.Load(), token, tr)
	text := ""
	for _, s := range tr.Steps {
		text += fmt.Sprintf("%s %t: %s\n", s.Stage, s.OK, s.Message)
	}
	return text, err
}

// fakeDirectory creates and links people as the store does.
type fakeDirectory struct {
	b     *bench
	mu    sync.Mutex
	calls int
	err   error
	block chan struct{}
	last  identity.Arrival
	panic bool
}

func (d *fakeDirectory) Ensure(ctx context.Context, a identity.Arrival) (string, identity.Head, error) {
	d.mu.Lock()
	d.calls++
	d.last = a
	err, block, boom := d.err, d.block, d.panic
	d.mu.Unlock()
	if boom {
		panic("directory")
	}
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return "", identity.Head{}, ctx.Err()
		}
	}
	if err != nil {
		return "", identity.Head{}, err
	}
	s := d.b.Load()
	if u, ok := s.UserByIdentity(a.Key); ok {
		return u.UID, s.Head(), nil
	}
	u := person(a.Email, linked(a.Key.Issuer, a.Key.Subject))
	if old, ok := s.UserByEmail(a.Email); ok {
		u = old.User
		linked(a.Key.Issuer, a.Key.Subject)(&u)
	}
	return u.UID, d.b.change(identity.Rows{Users: []identity.User{u}}), nil
}

func (d *fakeDirectory) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

func (d *fakeDirectory) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}
