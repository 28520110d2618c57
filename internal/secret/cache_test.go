package secret_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
	"github.com/gatehouse-ai/gatehouse/internal/secret/env"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a backend whose answers a test sets.
type fake struct {
	mu    sync.Mutex
	value string
	err   error
	delay time.Duration
	calls int
	last  secret.Ref

	files   []string
	changed func(string)
}

func (f *fake) set(value string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.value, f.err = value, err
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *fake) Fetch(ctx context.Context, ref secret.Ref) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.last = ref
	if f.delay > 0 {
		delay := f.delay
		f.mu.Unlock()
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
		f.mu.Lock()
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return f.value, f.err
}

func (f *fake) Watch(files []string, changed func(string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files, f.changed = files, changed
}

func storedRef(digest string) secret.Ref {
	return secret.Ref{ResourceUID: "u1", ResourceName: "openai", Path: "spec.apiKey", Manager: "api", Value: v1.SecretValue{Stored: true, Digest: digest}}
}

func fileRef(name, path string) secret.Ref {
	return secret.Ref{ResourceUID: name, ResourceName: name, Path: "spec.apiKey", Manager: "dir", Value: v1.SecretValue{File: path}}
}

func wantValue(t *testing.T, h *secret.Handle, want string) {
	t.Helper()
	if got, err := h.Value(); err != nil || got != want {
		t.Fatalf("Value = %q, %v; want %q", got, err, want)
	}
}

func wantUnavailable(t *testing.T, h *secret.Handle) error {
	t.Helper()
	got, err := h.Value()
	if identity.CodeOf(err) != identity.CodeSecretUnavailable || got != "" {
		t.Fatalf("Value = %q, %v; want %s", got, err, identity.CodeSecretUnavailable)
	}
	return err
}

func TestValuesAndEnvironmentAreThereAfterReconcile(t *testing.T) {
	lookup := func(n string) (string, bool) { return "from " + n, n == "A" }
	c := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{secret.KindEnv: env.New(lookup)}, Allow: secret.Allow{Env: []string{"A", "B"}}})
	defer c.Close()
	value := secret.Ref{ResourceUID: "1", Path: "p", Manager: "api", Value: v1.SecretValue{Value: "plain"}}
	a := secret.Ref{ResourceUID: "2", Path: "p", Manager: "api", Value: v1.SecretValue{Env: "A"}}
	b := secret.Ref{ResourceUID: "3", Path: "p", Manager: "api", Value: v1.SecretValue{Env: "B"}}
	c.Reconcile([]secret.Ref{value, a, b, a})
	wantValue(t, c.Handle(value), "plain")
	wantValue(t, c.Handle(a), "from A")
	if err := wantUnavailable(t, c.Handle(b)); !strings.Contains(err.Error(), "B is not set") {
		t.Errorf("%v; want the variable's name for the operator", err)
	}
	if n := len(c.Status()); n != 3 {
		t.Errorf("%d secrets, want 3", n)
	}
}

func TestUnchangedReferenceKeepsItsHandleAndAChangedOneNeverGetsTheOldValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{value: "one"}
		c := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{secret.KindStored: f}})
		defer c.Close()
		c.Reconcile([]secret.Ref{storedRef("d1")})
		if err := c.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		first := c.Handle(storedRef("d1"))
		c.Reconcile([]secret.Ref{storedRef("d1")})
		if c.Handle(storedRef("d1")) != first || f.count() != 1 {
			t.Fatal("an unchanged reference was fetched again")
		}
		f.set("", errors.New("away"))
		c.Reconcile([]secret.Ref{storedRef("d2")})
		synctest.Wait()
		wantUnavailable(t, c.Handle(storedRef("d2")))
		wantValue(t, first, "one") // a request under the older snapshot
		wantUnavailable(t, c.Handle(storedRef("d1")))
		for name, change := range map[string]func(*secret.Ref){
			"manager": func(r *secret.Ref) { r.Manager = "dir" }, "path": func(r *secret.Ref) { r.Path = "x" },
			"uid": func(r *secret.Ref) { r.ResourceUID = "u2" },
		} {
			r := storedRef("d2")
			change(&r)
			if c.Handle(r) == c.Handle(storedRef("d2")) {
				t.Errorf("another %s shares the handle", name)
			}
		}
	})
}

func TestReconcileDoesNotWaitAndWaitReadyDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{value: "v", delay: 5 * time.Second}
		c := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{secret.KindStored: f}})
		defer c.Close()
		start := time.Now()
		c.Reconcile([]secret.Ref{storedRef("d")})
		h := c.Handle(storedRef("d"))
		wantUnavailable(t, h)
		if time.Since(start) != 0 {
			t.Fatal("Reconcile waited for the backend")
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.WaitReady(short); identity.CodeOf(err) != identity.CodeSecretUnavailable {
			t.Fatalf("WaitReady that ran out of time: %v", err)
		}
		if err := c.WaitReady(t.Context()); err != nil || time.Since(start) != 5*time.Second {
			t.Fatalf("WaitReady: %v after %v", err, time.Since(start))
		}
		wantValue(t, h, "v")
	})
}

func TestStaleValueIsUsedAndItsSourceIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		f := &fake{err: errors.New("disk away")}
		c := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{secret.KindFile: f}, Log: slog.New(slog.NewTextHandler(&out, nil))})
		defer c.Close()
		ref := fileRef("r", "/x")
		c.Reconcile([]secret.Ref{ref})
		h := c.Handle(ref)
		time.Sleep(time.Hour) // the bubble's clock
		if n := f.count(); n < 100 || n > 140 {
			t.Fatalf("%d attempts in an hour of failure, want one in about 30 s", n)
		}
		wantUnavailable(t, h)
		f.set("v1", nil)
		time.Sleep(31 * time.Second)
		wantValue(t, h, "v1")
		calls := f.count()
		time.Sleep(time.Hour)
		if f.count() != calls {
			t.Fatal("fetched again without a change")
		}
		f.set("", errors.New("gone"))
		f.changed("/x")
		synctest.Wait()
		wantValue(t, h, "v1")
		s := c.Status()[0]
		if !s.Ready || !s.Stale || s.Age < time.Hour || s.LastError != "gone" {
			t.Errorf("status of a stale secret: %+v", s)
		}
		f.set("v2", nil)
		time.Sleep(time.Second)
		wantValue(t, h, "v2")
		if s := c.Status()[0]; s.Stale || s.LastError != "" {
			t.Errorf("status after recovery: %+v", s)
		}
		if n := strings.Count(out.String(), "secret cannot be read"); n != 2 {
			t.Errorf("%d warnings, want one for each failure that began:\n%s", n, out.String())
		}
	})
}

func TestChangeDuringAFetchIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{value: "old", delay: time.Second}
		c := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{secret.KindFile: f}})
		defer c.Close()
		ref := fileRef("r", "/x")
		c.Reconcile([]secret.Ref{ref})
		synctest.Wait()
		f.changed("/x")
		f.changed("/x")
		time.Sleep(10 * time.Second)
		if n := f.count(); n != 2 {
			t.Fatalf("%d fetches, want the first and one more", n)
		}
	})
}

func TestWatchedFilesAreThoseInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{value: "v"}
		c := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{secret.KindFile: f}})
		defer c.Close()
		c.Reconcile([]secret.Ref{fileRef("a", "/b"), fileRef("b", "/a"), fileRef("c", "/a")})
		if got := fmt.Sprint(f.files); got != "[/a /b]" {
			t.Errorf("watched %s", got)
		}
		c.Reconcile([]secret.Ref{fileRef("a", "/b")})
		if got := fmt.Sprint(f.files); got != "[/b]" {
			t.Errorf("watched %s", got)
		}
		synctest.Wait()
	})
}

func TestSecurityReferenceInTheDatabaseIsCheckedAgainWhenItIsResolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{value: "root:x:0:0"}
		e := &fake{value: "env"}
		c := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{secret.KindFile: f, secret.KindEnv: e}})
		defer c.Close()
		byAPI := fileRef("r", "/etc/passwd")
		byAPI.Manager = "api"
		envByAPI := secret.Ref{ResourceUID: "e", Path: "p", Manager: "api", Value: v1.SecretValue{Env: "HOME"}}
		c.Reconcile([]secret.Ref{byAPI, envByAPI})
		synctest.Wait()
		for _, ref := range []secret.Ref{byAPI, envByAPI} {
			err := wantUnavailable(t, c.Handle(ref))
			if !identity.IsCode(err, identity.CodePermissionDenied) && !strings.Contains(err.Error(), string(identity.CodePermissionDenied)) {
				t.Errorf("%v; want the refusal as its cause", err)
			}
		}
		if f.count()+e.count() != 0 {
			t.Fatal("the backend was asked")
		}
	})
}

func TestSecurityFilesOfAnAllowedDirectoryAreHeldToIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir() + "/"
		f := &fake{value: "v"}
		c := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{secret.KindFile: f}, Allow: secret.Allow{Files: []string{dir}}})
		defer c.Close()
		ref := fileRef("r", dir+"x")
		ref.Manager, ref.Within = "api", "/"
		c.Reconcile([]secret.Ref{ref})
		synctest.Wait()
		wantValue(t, c.Handle(ref), "v")
		if f.last.Within != dir {
			t.Errorf("Within = %q, want %q", f.last.Within, dir)
		}
	})
}

func TestKindsWithoutABackendSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := secret.New(secret.Options{})
		defer c.Close()
		store := secret.Ref{ResourceUID: "1", Manager: "api", Value: v1.SecretValue{Store: "vault", Path: "x"}}
		two := secret.Ref{ResourceUID: "2", Manager: "dir", Value: v1.SecretValue{Value: "a", Env: "B"}}
		none := secret.Ref{ResourceUID: "3", Manager: "dir"}
		c.Reconcile([]secret.Ref{store, two, none})
		synctest.Wait()
		for _, tc := range []struct {
			ref  secret.Ref
			want string
		}{{store, "kind store are not available in this version"}, {two, "or several"}, {none, "uses none of"}} {
			if err := wantUnavailable(t, c.Handle(tc.ref)); !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want %q", err, tc.want)
			}
		}
	})
}

func TestSecurityEmptySecretIsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{secret.KindStored: &fake{value: ""}}})
		defer c.Close()
		c.Reconcile([]secret.Ref{storedRef("d")})
		synctest.Wait()
		wantUnavailable(t, c.Handle(storedRef("d")))
	})
}

func TestSecurityValuesAreNotPrinted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const private = "sk-very-private"
		var out bytes.Buffer
		f := &fake{value: private}
		c := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{secret.KindStored: f}, Log: slog.New(slog.NewTextHandler(&out, nil))})
		value := secret.Ref{ResourceUID: "v", Path: "p", Manager: "api", Value: v1.SecretValue{Value: private}}
		c.Reconcile([]secret.Ref{value, storedRef("d")})
		synctest.Wait()
		status, err := json.Marshal(c.Status())
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"status": string(status), "%+v": fmt.Sprintf("%+v", c.Status()), "log": out.String(), "handle": fmt.Sprintf("%+v", c.Handle(value)), "ref": fmt.Sprintf("%+v %#v", value, value),
		} {
			if strings.Contains(text, private) {
				t.Errorf("%s shows the value: %s", name, text)
			}
		}
		c.Close()
	})
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{value: "v", delay: time.Hour}
		c := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{secret.KindStored: f}})
		var refs []secret.Ref
		for i := range 20 {
			r := storedRef("d")
			r.ResourceUID = fmt.Sprint(i)
			refs = append(refs, r)
		}
		c.Reconcile(refs)
		synctest.Wait()
		if n := f.count(); n != 8 {
			t.Errorf("%d fetches at a time, want 8", n)
		}
		start := time.Now()
		c.Close()
		if time.Since(start) != 0 {
			t.Error("Close waited for the backend's delay")
		}
		c.Reconcile(refs)
		c.Close()
		if err := c.WaitReady(t.Context()); err == nil {
			t.Error("nothing was fetched, but WaitReady is content")
		}
	})
}

func TestValueDoesNotAllocate(t *testing.T) {
	c := secret.New(secret.Options{})
	defer c.Close()
	good := secret.Ref{ResourceUID: "1", Manager: "api", Value: v1.SecretValue{Value: "x"}}
	bad := secret.Ref{ResourceUID: "2", Manager: "api", Value: v1.SecretValue{Env: "X"}}
	c.Reconcile([]secret.Ref{good, bad})
	for _, h := range []*secret.Handle{c.Handle(good), c.Handle(bad)} {
		if n := testing.AllocsPerRun(100, func() { _, _ = h.Value() }); n != 0 {
			t.Errorf("Value allocates %v times", n)
		}
	}
}

func BenchmarkValue(b *testing.B) {
	c := secret.New(secret.Options{})
	defer c.Close()
	ref := secret.Ref{ResourceUID: "1", Manager: "api", Value: v1.SecretValue{Value: "x"}}
	c.Reconcile([]secret.Ref{ref})
	h := c.Handle(ref)
	for b.Loop() {
		_, _ = h.Value()
	}
}
