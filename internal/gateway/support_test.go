package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const providerKey = "sk-the-providers-own-key"

// people is an Authenticator whose tokens are names.
type people struct {
	mu     sync.Mutex
	tokens map[string]person
}

type person struct {
	subjects []identity.Subject
	teams    []string
	grant    identity.Grant
}

func newPeople() *people {
	return &people{tokens: map[string]person{
		"member":   {subjects: []identity.Subject{"user:member@example.com", identity.Everyone}, teams: []string{"platform", "research"}},
		"manager":  {subjects: []identity.Subject{"user:manager@example.com"}},
		"outsider": {subjects: []identity.Subject{"user:outsider@example.com"}},
		"admin":    {subjects: []identity.Subject{"user:admin@example.com", identity.TenantAdmin}},
		"narrow":   {subjects: []identity.Subject{identity.Everyone}, grant: identity.Grant{TokenID: "tok-1", Narrowing: &identity.Narrowing{Models: []string{"main/other"}}}},
		"cidr":     {subjects: []identity.Subject{identity.Everyone}, grant: identity.Grant{Narrowing: &identity.Narrowing{CIDR: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}},
	}}
}

func (p *people) find(s *snapshot.Snapshot, name string) (authn.Caller, error) {
	p.mu.Lock()
	who, ok := p.tokens[name]
	p.mu.Unlock()
	if !ok {
		return authn.Caller{}, identity.Errorf(identity.CodeInvalidToken, "the token is not valid")
	}
	grant := who.grant
	return authn.Caller{
		Principal: &identity.Principal{Kind: identity.KindUser, UID: "uid-" + name, Name: name, Subjects: who.subjects, SubjectIDs: s.Intern(who.subjects), Teams: who.teams},
		Grant:     &grant, Snapshot: s,
	}, nil
}

func (p *people) Authenticate(_ context.Context, s *snapshot.Snapshot, c authn.Credential) (authn.Caller, error) {
	switch {
	case len(c.APIKey) == 1:
		return p.find(s, c.APIKey[0])
	case len(c.Authorization) == 1:
		return p.find(s, strings.TrimPrefix(c.Authorization[0], "Bearer "))
	default:
		return authn.Caller{}, identity.Errorf(identity.CodeNoCredential, "send a token")
	}
}

func (p *people) Recheck(s *snapshot.Snapshot, c authn.Caller) (authn.Caller, error) {
	return p.find(s, c.Principal.Name)
}

func (p *people) remove(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tokens, name)
}

// book is a Recorder.
type book struct {
	mu      sync.Mutex
	records []*record.Request
	touched []string
	added   chan struct{}
}

func newBook() *book { return &book{added: make(chan struct{}, 100000)} }

func (b *book) Add(r *record.Request) {
	b.mu.Lock()
	b.records = append(b.records, r)
	b.mu.Unlock()
	b.added <- struct{}{}
}

func (b *book) TouchToken(id string, _ time.Time, _ string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.touched = append(b.touched, id)
}

// last waits for one record and returns the newest.
func (b *book) last(t *testing.T) *record.Request {
	t.Helper()
	select {
	case <-b.added:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was recorded")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.records[len(b.records)-1]
}

type keys struct{ err error }

func (k keys) Key(*snapshot.Account) (string, error) { return providerKey, k.err }

// shelf is a Snapshots.
type shelf struct {
	mu sync.Mutex
	s  *snapshot.Snapshot
}

func (s *shelf) Load() *snapshot.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s
}

func (s *shelf) put(next *snapshot.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s = next
}

// world is a gateway with one upstream behind it and a server before it.
type world struct {
	t        *testing.T
	people   *people
	book     *book
	shelf    *shelf
	gateway  *Gateway
	server   *httptest.Server
	accounts []*v1.ProviderAccount
	revision uint64
}

// newWorld starts a gateway whose accounts all lead to upstream (nil: none).
func newWorld(t *testing.T, upstream http.Handler, change func(*Options, *[]*v1.ProviderAccount)) *world {
	t.Helper()
	base := "http://127.0.0.1:1"
	if upstream != nil {
		up := httptest.NewServer(upstream)
		t.Cleanup(up.Close)
		base = up.URL
	}
	w := &world{t: t, people: newPeople(), book: newBook(), shelf: &shelf{}, accounts: accounts(base)}
	opt := Options{Snapshots: w.shelf, Authenticator: w.people, Recorder: w.book, Keys: keys{}, SpoolDir: t.TempDir()}
	if change != nil {
		change(&opt, &w.accounts)
	}
	w.gateway = New(opt)
	w.publish()
	w.server = httptest.NewServer(w.gateway.Handler())
	t.Cleanup(func() {
		w.server.CloseClientConnections()
		w.server.Close()
		w.gateway.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return w
}

// accounts: main (OpenAI), claude, azure, azure-old and echo, open to everyone;
// main/private for nobody, main/off switched off, main/other.
func accounts(base string) []*v1.ProviderAccount {
	everyone := []v1.Collaborator{
		{Subject: "team:everyone", Role: identity.RoleProviderAccountUser},
		{Subject: "user:manager@example.com", Role: identity.RoleProviderAccountManager},
	}
	off := false
	key := v1.ProviderCredentials{APIKey: &v1.SecretValue{}}
	make1 := func(name string, spec v1.ProviderAccountSpec) *v1.ProviderAccount {
		a := &v1.ProviderAccount{Spec: spec}
		a.TypeMeta = v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindProviderAccount}
		a.ObjectMeta.Name, a.ObjectMeta.UID = name, "uid-"+name
		a.Spec.Collaborators = everyone
		a.Default()
		return a
	}
	return []*v1.ProviderAccount{
		make1("main", v1.ProviderAccountSpec{Provider: v1.ProviderOpenAI, BaseURL: base + "/v1", Credentials: key, Organization: "org-1", Models: []v1.Model{
			{Name: "gpt", Model: "gpt-4o-2024-11-20"},
			{Name: "other"},
			{Name: "off", Enabled: &off},
			{Name: "private", Collaborators: []v1.Collaborator{}},
			{Name: "embed", Types: []v1.ModelType{v1.ModelEmbedding}},
		}}),
		make1("wild", v1.ProviderAccountSpec{Provider: v1.ProviderOpenAICompatible, BaseURL: base + "/v1", Models: []v1.Model{{Name: "*"}}}),
		make1("claude", v1.ProviderAccountSpec{Provider: v1.ProviderAnthropic, BaseURL: base, Credentials: key, Models: []v1.Model{{Name: "sonnet", Model: "claude-sonnet-4"}}}),
		make1("azure", v1.ProviderAccountSpec{Provider: v1.ProviderAzureOpenAI, BaseURL: base, Credentials: key, Models: []v1.Model{{Name: "gpt", Model: "dep-1"}}}),
		make1("azure-old", v1.ProviderAccountSpec{Provider: v1.ProviderAzureOpenAI, BaseURL: base, APIVersion: "2024-10-21", Credentials: key, Models: []v1.Model{{Name: "gpt", Model: "dep 1"}}}),
		make1("echo", v1.ProviderAccountSpec{Provider: v1.ProviderEcho, Models: []v1.Model{{Name: "echo"}}}),
	}
}

// publish compiles the accounts and announces the snapshot.
func (w *world) publish() {
	w.revision++
	prev := w.shelf.Load()
	rows := &identity.Rows{}
	for _, a := range w.accounts {
		rows.Resources = append(rows.Resources, a)
	}
	b := snapshot.NewBuilder(nil)
	b.Add(rows)
	next := b.Build(identity.Head{Epoch: "e", Revision: w.revision})
	w.gateway.Reconcile(prev, next)
	w.shelf.put(next)
}

type answer struct {
	status int
	header http.Header
	body   string
}

// call sends a request as a person; header pairs follow.
func (w *world) call(method, path, who, body string, header ...string) answer {
	w.t.Helper()
	resp, err := w.start(context.Background(), method, path, who, strings.NewReader(body), header...)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body) // an answer that breaks off is judged by what came
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func (w *world) start(ctx context.Context, method, path, who string, body io.Reader, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, w.server.URL+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if who != "" {
		req.Header.Set("Authorization", "Bearer "+who)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header[header[i]] = []string{header[i+1]}
	}
	return http.DefaultTransport.RoundTrip(req)
}

// mustHave and mustNotHave judge what an answer says.
func (a answer) must(t *testing.T, status int, has ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d: %s", a.status, status, a.body)
	}
	for _, h := range has {
		if !strings.Contains(a.body, h) {
			t.Errorf("answer lacks %q: %s", h, a.body)
		}
	}
}

func chat(model string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hello there"}],"x_unknown":{"keep":[1,2.50,"\u00e9"]}}`, model)
}

// seen keeps what an upstream was shown.
type seen struct {
	mu     sync.Mutex
	method string
	uri    string
	header http.Header
	body   string
	count  int
}

// handler takes the request down and answers with a fixed answer.
func (s *seen) handler(answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.method, s.uri, s.header, s.body = r.Method, r.RequestURI, r.Header.Clone(), string(b)
		s.count++
		s.mu.Unlock()
		answer(w, r)
	})
}

func okJSON(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}
}

// nobody is an Authenticator that is broken in the worst way.
type nobody struct{}

func (nobody) Authenticate(context.Context, *snapshot.Snapshot, authn.Credential) (authn.Caller, error) {
	return authn.Caller{}, nil
}
