package scim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/scim"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
)

// backend is what the server needs, and what tests look at besides.
type backend interface {
	scim.People
	scim.Past
	scim.Teams
	scim.Writer
}

type witness interface {
	Audit(ctx context.Context, after string, limit int) ([]record.AuditEntry, error)
	Tokens(ctx context.Context, owner string) ([]identity.Token, error)
}

func openDatabase(t testing.TB) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// trust is a Trust that a test can change.
type trust struct {
	admins, granted []string // addresses and names of admins; teams with grants
	buried          []string // uids of people who were removed and would be admins
}

func (p *trust) MayAdopt(_ context.Context, _ string, u identity.User) bool {
	return !slices.Contains(p.admins, u.Email) && !slices.Contains(p.admins, u.UserName)
}

func (p *trust) MayUnbury(_ context.Context, uids []string) bool {
	return !slices.ContainsFunc(uids, func(uid string) bool { return slices.Contains(p.buried, uid) })
}

func (p *trust) MayName(_ context.Context, _, team string) bool {
	return !slices.Contains(p.granted, team)
}

// door knows the tokens of directories.
type door struct {
	mu     sync.Mutex
	tokens map[string]string // token → directory
	err    error
}

func (d *door) Authenticate(_ context.Context, r *http.Request) (string, string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return "", "", d.err
	}
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	dir, ok := d.tokens[token]
	if !ok {
		return "", "", identity.Errorf(identity.CodeInvalidToken, "unknown")
	}
	return dir, "token-of-" + dir, nil
}

// world is a server with two directories, okta and entra.
type world struct {
	t       testing.TB
	back    backend
	mem     *memory // nil on SQLite
	server  *scim.Server
	door    *door
	trust   *trust
	tokens  map[string]string
	awaited int
	// as is the directory that asks.
	as string
}

// eachBackend runs a test on the store in memory and on the real one.
func eachBackend(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("memory", func(t *testing.T) { test(t, newWorld(t)) })
	t.Run("sqlite", func(t *testing.T) { test(t, worldOn(t, openDatabase(t))) })
}

func newWorld(t testing.TB) *world {
	m := newMemory()
	w := worldOn(t, m)
	w.mem = m
	return w
}

func worldOn(t testing.TB, back backend) *world {
	t.Helper()
	w := &world{t: t, back: back, as: "okta", trust: &trust{}, tokens: map[string]string{}, door: &door{tokens: map[string]string{}}}
	for _, dir := range []string{"okta", "entra"} {
		w.tokens[dir] = identity.NewToken(identity.TokenSCIM)
		w.door.tokens[w.tokens[dir]] = dir
		w.put(&v1.ScimDirectory{
			TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindScimDirectory}, ObjectMeta: v1.ObjectMeta{Name: dir, Manager: "api"},
			Spec: v1.ScimDirectorySpec{Issuers: v1.Strings{"https://" + dir + ".example"}},
		})
	}
	server, err := scim.New(scim.Options{
		People: back, Past: back, Teams: back, Writer: back, Authenticator: w.door, Trust: w.trust,
		BaseURL: "https://gate.example", Await: func(context.Context, identity.Head) { w.awaited++ },
		Addr:   func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.7") },
		Report: func(_ context.Context, err error) { t.Logf("reported: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	return w
}

func (w *world) put(r v1.Resource) v1.Resource {
	w.t.Helper()
	if _, err := w.back.Commit(w.t.Context(), &record.Batch{PutResources: []v1.Resource{r}}); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) putUser(u identity.User) identity.User {
	w.t.Helper()
	b := &record.Batch{PutUsers: []identity.User{u}}
	if _, err := w.back.Commit(w.t.Context(), b); err != nil {
		w.t.Fatal(err)
	}
	return b.PutUsers[0]
}

func (w *world) person(uid string) identity.User {
	w.t.Helper()
	u, err := w.back.User(w.t.Context(), uid)
	if err != nil {
		w.t.Fatalf("user %s: %v", uid, err)
	}
	return u
}

// reply is an answer, read.
type reply struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	text   string
	body   map[string]any
}

// do sends a request; headers are pairs.
func (w *world) do(method, path, body string, headers ...string) *reply {
	w.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, "https://gate.example/scim/v2"+path, in)
	r.Header.Set("Authorization", "Bearer "+w.tokens[w.as])
	r.Header.Set("Content-Type", "application/scim+json")
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	out := &reply{t: w.t, what: method + " " + path, status: rec.Code, header: rec.Header(), text: rec.Body.String()}
	if rec.Body.Len() > 0 {
		if err := json.NewDecoder(bytes.NewReader(rec.Body.Bytes())).Decode(&out.body); err != nil {
			w.t.Fatalf("%s: not JSON: %s", out.what, out.text)
		}
	}
	return out
}

func (r *reply) want(status int) *reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: %d, want %d: %s", r.what, r.status, status, r.text)
	}
	return r
}

// refused wants an error in SCIM's form.
func (r *reply) refused(status int, kind string) *reply {
	r.t.Helper()
	r.want(status)
	if got, _ := r.body["scimType"].(string); got != kind {
		r.t.Fatalf("%s: scimType %q, want %q: %s", r.what, got, kind, r.text)
	}
	if r.body["status"] != fmt.Sprint(status) || !strings.Contains(r.text, "api:messages:2.0:Error") || r.header.Get("Content-Type") != "application/scim+json" {
		r.t.Fatalf("%s: not an error of RFC 7644, 3.12: %s", r.what, r.text)
	}
	return r
}

// get reads a value by a path such as emails.0.value.
func (r *reply) get(path string) any {
	var v any = r.body
	for rest := path; rest != "" && v != nil; {
		key := rest
		if m, ok := v.(map[string]any); ok {
			if e, ok := m[rest]; ok {
				return e
			}
		}
		key, rest, _ = strings.Cut(key, ".")
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i := int(key[0] - '0')
			if i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (r *reply) is(path string, want any) *reply {
	r.t.Helper()
	got, wanted := r.get(path), want
	if n, ok := want.(int); ok {
		wanted = float64(n)
	}
	if fmt.Sprint(got) != fmt.Sprint(wanted) {
		r.t.Fatalf("%s: %s is %v, want %v: %s", r.what, path, got, want, r.text)
	}
	return r
}

func (r *reply) id() string {
	r.t.Helper()
	id, _ := r.body["id"].(string)
	if id == "" {
		r.t.Fatalf("%s: no id: %s", r.what, r.text)
	}
	return id
}

const (
	userSchema  = `"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"]`
	groupSchema = `"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"]`
	patchSchema = `"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"]`
	enterprise  = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
)

func patch(ops ...string) string {
	return `{` + patchSchema + `,"Operations":[` + strings.Join(ops, ",") + `]}`
}

// add creates a user and returns the id.
func (w *world) add(name string) string {
	w.t.Helper()
	return w.do("POST", "/Users", `{`+userSchema+`,"userName":"`+name+`@example.com","externalId":"x-`+name+`"}`).want(201).id()
}

func (w *world) addGroup(name string, members ...string) string {
	w.t.Helper()
	list := []string{}
	for _, m := range members {
		list = append(list, `{"value":"`+m+`"}`)
	}
	return w.do("POST", "/Groups", `{`+groupSchema+`,"displayName":"`+name+`","members":[`+strings.Join(list, ",")+`]}`).want(201).id()
}

func (w *world) members(group string) []string {
	w.t.Helper()
	var ids []string
	list, _ := w.do("GET", "/Groups/"+group, "").want(200).body["members"].([]any)
	for _, m := range list {
		ids = append(ids, m.(map[string]any)["value"].(string))
	}
	slices.Sort(ids)
	return ids
}

func (w *world) token(owner string) string {
	w.t.Helper()
	tok := identity.Token{
		ID: identity.NewToken(identity.TokenPersonal)[4:20], Kind: identity.TokenPersonal, Owner: owner,
		Digest: identity.DigestOf(identity.NewToken(identity.TokenPersonal)), CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
	}
	if w.mem != nil {
		w.mem.tokens[tok.ID] = tok
		return tok.ID
	}
	if _, err := w.back.Commit(w.t.Context(), &record.Batch{PutTokens: []identity.Token{tok}}); err != nil {
		w.t.Fatal(err)
	}
	return tok.ID
}

// live counts tokens that work.
func (w *world) live(owner string) (n int) {
	w.t.Helper()
	list, err := w.back.(witness).Tokens(w.t.Context(), owner)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, tok := range list {
		if tok.RevokedAt == nil {
			n++
		}
	}
	return n
}

func (w *world) lastAudit() record.AuditEntry {
	w.t.Helper()
	list, err := w.back.(witness).Audit(w.t.Context(), "", 1)
	if err != nil || len(list) == 0 {
		w.t.Fatalf("no audit entry: %v", err)
	}
	return list[0]
}
