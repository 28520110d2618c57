package route

import (
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func build(list ...*v1.ProviderAccount) *snapshot.Snapshot {
	rows := &identity.Rows{}
	for _, a := range list {
		rows.Resources = append(rows.Resources, a)
	}
	b := snapshot.NewBuilder(nil)
	b.Add(rows)
	return b.Build(identity.Head{Epoch: "e", Revision: 1})
}

func account(name, base string, change func(*v1.ProviderAccountSpec)) *v1.ProviderAccount {
	a := &v1.ProviderAccount{}
	a.TypeMeta = v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindProviderAccount}
	a.ObjectMeta.Name, a.ObjectMeta.UID = name, "uid-"+name
	a.Spec = v1.ProviderAccountSpec{Provider: v1.ProviderOpenAICompatible, BaseURL: base, Models: []v1.Model{{Name: "*"}}}
	if change != nil {
		change(&a.Spec)
	}
	a.Default()
	return a
}

func target(t *testing.T, p *Pool, s *snapshot.Snapshot, name string) *Target {
	t.Helper()
	a, ok := s.Account(name)
	if !ok {
		t.Fatalf("no account %s", name)
	}
	got, err := p.Target(a)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTransportIsKeptUntilATrustFieldChanges(t *testing.T) {
	p := NewPool(Options{})
	defer p.Close()
	const base = "http://127.0.0.1:1/v1"
	before := build(account("a", base, nil))
	p.Reconcile(nil, before)
	kept := target(t, p, before, "a").Transport
	for name, c := range map[string]struct {
		change func(*v1.ProviderAccountSpec)
		same   bool
	}{
		"description":   {func(s *v1.ProviderAccountSpec) { s.Description = "x" }, true},
		"models":        {func(s *v1.ProviderAccountSpec) { s.Models = append(s.Models, v1.Model{Name: "x"}) }, true},
		"collaborators": {func(s *v1.ProviderAccountSpec) { s.Collaborators = []v1.Collaborator{} }, true},
		"timeouts":      {func(s *v1.ProviderAccountSpec) { s.Timeouts.FirstByte = "1s" }, true},
		"baseURL":       {func(s *v1.ProviderAccountSpec) { s.BaseURL = "http://127.0.0.1:2/v1" }, false},
		"provider":      {func(s *v1.ProviderAccountSpec) { s.Provider = v1.ProviderOpenAI }, false},
		"network":       {func(s *v1.ProviderAccountSpec) { s.AllowPrivateNetwork = true }, false},
		"plain http":    {func(s *v1.ProviderAccountSpec) { s.InsecureHTTP = true }, false},
		"CA":            {func(s *v1.ProviderAccountSpec) { s.CACert = &v1.CACert{PEM: someCA(t)} }, false},
	} {
		next := build(account("a", base, c.change))
		p.Reconcile(before, next)
		got := target(t, p, next, "a")
		if (got.Transport == kept) != c.same {
			t.Errorf("%s: kept %v, want %v", name, got.Transport == kept, c.same)
		}
		if want := next.Accounts()[0].Resource.Spec.Timeouts.FirstByte.Std(); got.FirstByte != want {
			t.Errorf("%s: first byte %s, want %s", name, got.FirstByte, want)
		}
		if target(t, p, before, "a").Transport != kept {
			t.Errorf("%s: a request of the snapshot before got another transport", name)
		}
		p.Reconcile(nil, before)
		kept = target(t, p, before, "a").Transport
	}
	again := account("a", base, nil)
	again.ObjectMeta.UID = "another"
	next := build(again)
	p.Reconcile(before, next)
	if target(t, p, next, "a").Transport == kept {
		t.Error("an account that was made anew got the old one's connections")
	}
}

func someCA(t *testing.T) string {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

func TestCAIsTrustedForItsAccountAloneAndItsFileIsReadAgain(t *testing.T) {
	up := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer up.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	good := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: up.Certificate().Raw})
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := build(account("with", up.URL, func(s *v1.ProviderAccountSpec) { s.CACert = &v1.CACert{File: file} }), account("without", up.URL, nil))
	p := NewPool(Options{})
	defer p.Close()
	p.Reconcile(nil, s)
	with, _ := s.Account("with")
	if _, err := p.Target(with); err == nil {
		t.Fatal("an account whose CA cannot be read has a transport")
	}
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(name string) error {
		tg := target(t, p, s, name)
		req := tg.Upstream.Request(llm.ModelsList, "").WithContext(context.Background())
		req.Header = http.Header{}
		resp, err := tg.Transport.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	if err := ask("with"); err != nil {
		t.Error(err)
	}
	if ask("without") == nil {
		t.Error("another account trusts the CA too")
	}
	first := target(t, p, s, "with")
	if err := os.WriteFile(file, append(good, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	p.checkFiles()
	if target(t, p, s, "with") == first {
		t.Error("the file's new contents were not taken up")
	}
}

func TestCatalogueIsFetchedOnceAndRefreshedInTheBackground(t *testing.T) {
	var asked atomic.Int32
	var fail atomic.Bool
	names := atomic.Pointer[string]{}
	one, two := `{"data":[{"id":"b"},{"id":"a"},{"id":"a"},{"id":7}]}`, `{"data":[{"id":"c"}]}`
	names.Store(&one)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if fail.Load() || r.URL.Path != "/v1/models" || r.Header.Get("Authorization") != "" {
			w.WriteHeader(500)
			return
		}
		_, _ = io.WriteString(w, *names.Load())
	}))
	defer up.Close()
	var clock atomic.Int64
	p := NewPool(Options{Now: func() time.Time { return time.Unix(clock.Load(), 0) }})
	defer p.Close()
	s := build(account("a", up.URL+"/v1", nil))
	p.Reconcile(nil, s)
	a, _ := s.Account("a")
	settle := func() []string {
		got := p.Names(a)
		c := target(t, p, s, "a").catalogue
		c.mu.Lock()
		busy := c.busy
		c.mu.Unlock()
		if busy != nil {
			<-busy
		}
		return got
	}
	p.Warm(context.Background(), s.Accounts())
	for range 3 {
		if diff := cmp.Diff([]string{"a", "b"}, settle()); diff != "" {
			t.Error(diff)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	clock.Add(601)
	names.Store(&two)
	if diff := cmp.Diff([]string{"a", "b"}, settle()); diff != "" {
		t.Errorf("a stale list is used while it is fetched anew: %s", diff)
	}
	if diff := cmp.Diff([]string{"c"}, settle()); diff != "" {
		t.Error(diff)
	}
	clock.Add(601)
	fail.Store(true)
	settle()
	if diff := cmp.Diff([]string{"c"}, settle()); diff != "" {
		t.Errorf("the last good list is lost: %s", diff)
	}
}

func TestListDoesNotWaitForASilentProvider(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer up.Close()
	p := NewPool(Options{})
	s := build(account("a", up.URL, nil))
	p.Reconcile(nil, s)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	p.Warm(ctx, s.Accounts())
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("waited %s", took)
	}
	p.Close() // ends the fetch
}

func TestSecurityPrivateAndMetadataAddressesAreNotDialled(t *testing.T) {
	p := NewPool(Options{})
	defer p.Close()
	s := build(account("private", "https://10.1.2.3/v1", nil), account("meta", "http://169.254.169.254/v1", func(s *v1.ProviderAccountSpec) { s.AllowPrivateNetwork, s.InsecureHTTP = true, true }))
	p.Reconcile(nil, s)
	for _, name := range []string{"private", "meta"} {
		tg := target(t, p, s, name)
		req := tg.Upstream.Request(llm.ModelsList, "").WithContext(context.Background())
		req.Header = http.Header{}
		if resp, err := tg.Transport.RoundTrip(req); err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s was reached", name)
		}
	}
}
