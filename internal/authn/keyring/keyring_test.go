package keyring

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuer  = "https://idp.example/realm"
	jwksURL = "https://idp.example/jwks"
)

var keyPool = sync.OnceValue(func() (keys []*ecdsa.PrivateKey) {
	for range 4 {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		keys = append(keys, k)
	}
	return keys
})

// keySetOf makes a document; kid "a1" is key 1 of the pool under the name a1.
func keySetOf(kids ...string) string {
	set := gojose.JSONWebKeySet{Keys: []gojose.JSONWebKey{}}
	for _, kid := range kids {
		set.Keys = append(set.Keys, gojose.JSONWebKey{Key: keyPool()[kid[len(kid)-1]-'0'].Public(), KeyID: kid, Use: "sig"})
	}
	raw, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// idp is an identity provider in memory: answer decides, calls counts.
type idp struct {
	mu     sync.Mutex
	answer func(*http.Request) (*http.Response, error)
	calls  []string
	times  []time.Time
}

func (i *idp) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	answer := i.answer
	i.calls, i.times = append(i.calls, r.URL.String()), append(i.times, time.Now())
	i.mu.Unlock()
	resp, err := answer(r)
	if resp != nil {
		resp.Request = r
	}
	return resp, err
}

func (i *idp) set(answer func(*http.Request) (*http.Response, error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

func (i *idp) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.calls)
}

func reply(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for n := 0; n+1 < len(header); n += 2 {
		h.Set(header[n], header[n+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1}
}

// serving publishes these keys, by discovery or directly.
func serving(kids ...string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
			return reply(200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, jwksURL)), nil
		}
		return reply(200, keySetOf(kids...)), nil
	}
}

func down(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

func hanging(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func always(resp func() *http.Response) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return resp(), nil }
}

func source() Source { return Source{UID: "u1", Name: "okta", JWKSURLs: []string{jwksURL}} }

// world runs in fake time with one provider that has fetched once, or tried to.
func world(t *testing.T, o Options, s Source, answer func(*http.Request) (*http.Response, error), f func(*Ring, *idp)) {
	t.Helper()
	keyPool()
	synctest.Test(t, func(t *testing.T) {
		i := &idp{answer: answer}
		o.Transport = func(Source) http.RoundTripper { return i }
		r := New(o)
		defer r.Close()
		r.Reconcile([]Source{s})
		synctest.Wait()
		f(r, i)
	})
}

func lookup(r *Ring, kid string) error {
	_, err := r.Lookup(context.Background(), "u1", kid)
	return err
}

func wantKnown(t *testing.T, r *Ring, kid string) {
	t.Helper()
	found, err := r.Lookup(context.Background(), "u1", kid)
	if err != nil || len(found.Keys) != 1 || found.Keys[0].Kid != kid {
		t.Errorf("kid %s: %d keys, %v", kid, len(found.Keys), err)
	}
}

func wantUnknown(t *testing.T, r *Ring, kid string) {
	t.Helper()
	if err := lookup(r, kid); !errors.Is(err, ErrUnknownKid) {
		t.Errorf("kid %s: %v, want ErrUnknownKid (401)", kid, err)
	}
}

func wantUnavailable(t *testing.T, r *Ring, kid string) {
	t.Helper()
	err := lookup(r, kid)
	var u *UnavailableError
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownKid) || !errors.As(err, &u) || u.RetryAfter < time.Second {
		t.Errorf("kid %s: %v, want ErrUnavailable (503) with RetryAfter", kid, err)
	}
}

func TestStartWithoutTheIdP(t *testing.T) {
	world(t, Options{}, source(), hanging, func(r *Ring, i *idp) {
		if r.Status()[0].Keys != 0 || i.count() != 1 {
			t.Fatal("Reconcile came back while the provider hangs, with one fetch under way")
		}
		i.set(down)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantUnavailable(t, r, "a1")
		i.set(serving("a1"))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		wantKnown(t, r, "a1")
		if st := r.Status()[0]; st.LastError != "" || st.Expired {
			t.Errorf("%+v", st)
		}
	})
}

func TestIdPDiesKnownKeysGoOnUpToStaleFor(t *testing.T) {
	s := source()
	s.StaleFor = 3 * time.Hour
	world(t, Options{}, s, serving("a1"), func(r *Ring, i *idp) {
		start := time.Now()
		wantKnown(t, r, "a1")
		thumb := r.Status()[0]
		i.set(down)
		time.Sleep(3*time.Hour - time.Second)
		wantKnown(t, r, "a1")
		wantUnavailable(t, r, "b2")
		st := r.Status()[0]
		if !st.Stale || st.Expired || !strings.Contains(st.LastError, "connection refused") || st.Age != time.Since(start) || st.Generation != thumb.Generation {
			t.Errorf("%+v", st)
		}
		time.Sleep(time.Second)
		wantUnavailable(t, r, "a1")
		if st := r.Status()[0]; !st.Expired || st.Stale || r.Generation("u1") != 0 {
			t.Errorf("%+v", st)
		}
		i.set(serving("a1"))
		time.Sleep(34 * time.Second)
		synctest.Wait()
		wantKnown(t, r, "a1")
	})
}

func TestIdPDiesKeysLiveOverARestart(t *testing.T) {
	dir := t.TempDir()
	s := source()
	s.JWKSURLs, s.Issuer = nil, issuer
	world(t, Options{Dir: dir}, s, serving("a1", "b2"), func(r *Ring, i *idp) { wantKnown(t, r, "b2") })
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 1 {
		t.Fatalf("%v", files)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	// Each synctest bubble starts at the same instant, so the set is as old as the bubble's sleep.
	world(t, Options{Dir: dir}, s, down, func(r *Ring, i *idp) {
		wantKnown(t, r, "a1")
		wantKnown(t, r, "b2")
		wantUnavailable(t, r, "c3")
		time.Sleep(24*time.Hour + time.Minute)
		wantUnavailable(t, r, "a1")
	})
}

func TestSecurityKeptKeysAreNotReadByAnotherConfiguration(t *testing.T) {
	dir := t.TempDir()
	s := source()
	world(t, Options{Dir: dir}, s, serving("a1"), func(r *Ring, i *idp) { wantKnown(t, r, "a1") })
	s.CAPEM = []byte("another CA")
	world(t, Options{Dir: dir}, s, down, func(r *Ring, i *idp) { wantUnavailable(t, r, "a1") })
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
		t.Errorf("the old copy is still there: %v", files)
	}
}

func TestSecurityKeptKeysFromTheFutureAreNotUsed(t *testing.T) {
	dir := t.TempDir()
	world(t, Options{Dir: dir}, source(), serving("a1"), func(r *Ring, i *idp) {})
	back := func() time.Time { return time.Now().Add(-time.Hour) }
	world(t, Options{Dir: dir, Clock: back}, source(), down, func(r *Ring, i *idp) { wantUnavailable(t, r, "a1") })
}

func TestABrokenCopyOnDiskIsNotFatal(t *testing.T) {
	dir := t.TempDir()
	s := source()
	if err := os.WriteFile(disk{dir}.path(s.UID, s.Hash()), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	world(t, Options{Dir: dir}, s, serving("a1"), func(r *Ring, i *idp) { wantKnown(t, r, "a1") })
}

func TestIdPHangsWaitersAreBounded(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		i.set(hanging)
		start := time.Now()
		wantUnavailable(t, r, "b2")
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("waited %s", d)
		}
		synctest.Wait()
		start = time.Now()
		wantUnavailable(t, r, "b2")
		if d := time.Since(start); d != 0 {
			t.Errorf("while it fails nobody waits: %s", d)
		}
		wantKnown(t, r, "a1")
		for n := range 60 { // nor for the attempts that run begins, and which hang
			time.Sleep(time.Second)
			start = time.Now()
			wantUnavailable(t, r, fmt.Sprint("x", n))
			if d := time.Since(start); d != 0 {
				t.Fatalf("waited %s", d)
			}
		}
		if i.count() < 3 {
			t.Errorf("%d fetches", i.count())
		}
	})
}

func TestAKidKnownToBeUnknownWaitsForNothing(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		wantUnknown(t, r, "b2")
		time.Sleep(time.Minute)
		i.set(hanging)
		start := time.Now()
		wantUnknown(t, r, "b2")
		if time.Since(start) != 0 {
			t.Errorf("waited %s", time.Since(start))
		}
		synctest.Wait()
		if i.count() != 3 {
			t.Errorf("%d fetches: it must still cause one in the background", i.count())
		}
	})
}

func TestWaitingEndsWithTheCallersContext(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		i.set(hanging)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := r.Lookup(ctx, "u1", "b2"); !errors.Is(err, ErrUnavailable) || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

func TestSecurityWaitersAreLimitedWhileTheIdPHangs(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		i.set(hanging)
		var wg sync.WaitGroup
		for n := range maxWaiters {
			wg.Go(func() { _ = lookup(r, fmt.Sprint("x", n)) })
		}
		synctest.Wait()
		start := time.Now()
		wantUnavailable(t, r, "one-more")
		if time.Since(start) != 0 {
			t.Error("one more request waited")
		}
		wg.Wait()
	})
}

func TestIdPAnswersNonsenseTheOldSetStays(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"500":              always(func() *http.Response { return reply(500, keySetOf("c3")) }),
		"404":              always(func() *http.Response { return reply(404, keySetOf("c3")) }),
		"HTML":             always(func() *http.Response { return reply(200, "<html>maintenance</html>") }),
		"empty":            always(func() *http.Response { return reply(200, "") }),
		"not a key set":    always(func() *http.Response { return reply(200, `{"error":"x"}`) }),
		"2 MiB":            always(func() *http.Response { return reply(200, keySetOf("c3")+strings.Repeat(" ", 2<<20)) }),
		"redirect to http": always(func() *http.Response { return reply(302, "", "Location", "http://idp.example/jwks") }),
		"redirect to loopback": func(r *http.Request) (*http.Response, error) {
			if r.URL.Hostname() == "localhost" {
				return reply(200, keySetOf("c3")), nil
			}
			return reply(302, "", "Location", "https://localhost/jwks"), nil
		},
		"redirects without end": always(func() *http.Response { return reply(302, "", "Location", "https://idp.example/jwks") }),
	} {
		t.Run(name, func(t *testing.T) {
			world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
				i.set(answer)
				wantUnavailable(t, r, "c3")
				wantKnown(t, r, "a1")
				if st := r.Status()[0]; st.LastError == "" || !st.Stale {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestRotatedKeyWorksAtOnce(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		before := r.Generation("u1")
		i.set(serving("a1", "b2"))
		start := time.Now()
		wantKnown(t, r, "b2")
		if time.Since(start) != 0 || i.count() != 2 || r.Generation("u1") == before {
			t.Errorf("%s, %d fetches, generation %d", time.Since(start), i.count(), r.Generation("u1"))
		}
	})
}

func TestRemovedSigningKeyStopsWorking(t *testing.T) {
	world(t, Options{}, source(), serving("a1", "b2"), func(r *Ring, i *idp) {
		found, err := r.Lookup(context.Background(), "u1", "a1")
		if err != nil {
			t.Fatal(err)
		}
		thumb, before := found.Keys[0].Thumbprint, r.Generation("u1")
		if !r.Alive("u1", thumb) || r.Alive("u1", "x") || r.Alive("u2", thumb) {
			t.Error("Alive")
		}
		i.set(serving("b2"))
		time.Sleep(17 * time.Minute) // 15 min and the jitter
		synctest.Wait()
		if r.Alive("u1", thumb) || r.Generation("u1") == before {
			t.Error("the removed key is still alive, or the generation did not tell")
		}
		wantUnknown(t, r, "a1")
	})
}

func TestUnchangedSetKeepsItsGeneration(t *testing.T) {
	world(t, Options{}, source(), serving("a1", "b2"), func(r *Ring, i *idp) {
		before := r.Generation("u1")
		i.set(serving("b2", "a1"))
		time.Sleep(time.Hour)
		synctest.Wait()
		if i.count() < 3 || r.Generation("u1") != before || before == 0 {
			t.Errorf("%d fetches, generation %d then %d", i.count(), before, r.Generation("u1"))
		}
	})
}

func TestDryLookupsFetchNothing(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		for range 10 {
			if _, err := r.Peek("u1", "b2"); !errors.Is(err, ErrUnknownKid) {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if found, err := r.Peek("u1", "a1"); err != nil || len(found.Keys) != 1 || i.count() != 1 {
			t.Error(err, i.count())
		}
		if _, err := r.Peek("nobody", "a1"); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	})
}

func TestATokenWithoutKidGetsAllKeys(t *testing.T) {
	world(t, Options{}, source(), serving("a1", "b2"), func(r *Ring, i *idp) {
		if found, err := r.Lookup(context.Background(), "u1", ""); err != nil || len(found.Keys) != 2 {
			t.Error(found, err)
		}
	})
}

func TestAnEmptySetIsUnavailableNotUnknown(t *testing.T) {
	world(t, Options{}, source(), serving("a1"), func(r *Ring, i *idp) {
		i.set(serving())
		wantUnavailable(t, r, "b2")
		wantUnavailable(t, r, "a1") // a new set replaces the old one
	})
}
